"""A world in one dimension where everything is known in closed form, behind the interface that objectives see.

The data are a mixture of two normals with mean 0 and deviation 0.5 (SIGMA_DATA). Its optimal denoiser is a formula, and its
probability-flow ODE keeps the order of points, so that the exact consistency function maps quantiles to quantiles.
Shapes: states [B, 1, F]; every frame is a sample of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lcm.codec import CodecConfig
from lcm.data import Batch, CropSource, DataConfig
from lcm.degrade import Degradation
from lcm.generate import OverlayProducer
from lcm.network import Prediction
from lcm.objectives import Step, objective_of
from lcm.schedule import ScheduleConfig, c_in, c_noise, c_out, c_skip
from lcm.store import Store
from lcm.teachers import TeacherConfig
from lcm.training.draws import Draws
from lcm.training.optim import update_ema
from slurm.local import run_plan
from slurm.shards import make_plan

CLIPS, FRAMES = 128, 16
SCHEDULE = ScheduleConfig(sigma_min=0.02, sigma_max=5.0)


class Mixture:
    """Two normals of deviation 0.2 at -0.3 and 0.7: mean 0, deviation 0.5."""

    shares, means, deviation = torch.tensor([0.7, 0.3]), torch.tensor([-0.3, 0.7]), 0.2
    grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)

    def sample(self, *shape, seed=0):
        generator = torch.Generator().manual_seed(seed)
        which = (torch.rand(shape, generator=generator) > float(self.shares[0])).long()
        return self.means[which] + self.deviation * torch.randn(shape, generator=generator)

    def denoise(self, x, sigma):
        """E[x0 | x0 + sigma n = x], in double precision inside: far tails would underflow."""
        variance = self.deviation**2 + sigma.double() ** 2
        away = x.double()[..., None] - self.means
        share = torch.softmax(self.shares.double().log() - away.square() / (2 * variance[..., None]), -1)
        return (share * (self.means + self.deviation**2 / variance[..., None] * away)).sum(-1).to(x)

    def distribution(self, x, sigma):
        scale = (self.deviation**2 + sigma**2) ** 0.5
        return (self.shares * torch.special.ndtr((x.double()[..., None] - self.means) / scale)).sum(-1)

    def ode_end(self, x, sigma):
        """The exact consistency function: the quantile of x at level sigma, at level 0."""
        wanted = self.distribution(x, sigma).clamp(1e-9, 1 - 1e-9)
        place = torch.searchsorted(self.distribution(self.grid, 0.0), wanted).clamp(1, len(self.grid) - 1)
        return self.grid[place].to(x)


def world(network, schedule=SCHEDULE):
    """Wrap a network as the part of a Model that objectives look at."""
    model = nn.Module()
    model.network = network
    model.blocks = SimpleNamespace(dimension=1, loss_weights=lambda: torch.ones(1))
    model.spec = SimpleNamespace(schedule=schedule)
    return model


class Exact(nn.Module):
    """Answers with a formula of (x, sigma), both [B, 1, F]."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x, sigma, condition, cutoff_hz, mask, *, logits=False, forced=None):
        return Prediction(self.formula(x, sigma[:, None, None].expand_as(x)))


class Learner(nn.Module):
    """A small perceptron with EDM preconditioning."""

    def __init__(self, width=96):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x, sigma, condition, cutoff_hz, mask, *, logits=False, forced=None):
        level = sigma[:, None, None].expand_as(x)
        raw = self.layers(torch.stack([c_in(level) * x, c_noise(level)], -1))[..., 0]
        return Prediction(c_skip(level) * x + c_out(level) * raw)


def batch_of(clips=CLIPS, frames=FRAMES, width=1):
    empty = torch.zeros(clips, width, frames)
    codes = torch.zeros(clips, 1, frames, dtype=torch.long)
    mask, cutoff = torch.ones(clips, frames, dtype=torch.bool), torch.full((clips,), 6000.0)
    return Batch(codes, codes, cutoff, mask, torch.zeros(clips, 0), torch.zeros(clips, dtype=torch.bool), empty, empty)


def step_of(config, student, x0, *, index=0, total=1000, seed=0, teacher=None, target=None, **batch):
    batch = replace(batch_of(*x0.shape[::2]), **batch)
    draws = Draws(seed, index, 0, len(x0))
    return Step(config, student, x0, torch.zeros_like(x0), batch, index, total, draws, target, teacher)


def train(config, *, steps, mixture, seed=0, rate=2e-3):
    """Train a learner from its start by an objective, with its averaged target; return the learner as a world."""
    torch.manual_seed(seed)
    student, objective = world(Learner()), objective_of(config)[1]
    target, teacher = (world(Learner()) if config.target_ema else None), world(Exact(mixture.denoise))
    if target is not None:
        target.load_state_dict(student.state_dict())
    optimiser = torch.optim.RAdam(student.parameters(), lr=rate, betas=(0.9, 0.99))
    for index in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - index / steps)
        x0 = mixture.sample(CLIPS, 1, FRAMES, seed=seed * steps + index)
        step = step_of(config, student, x0, index=index, total=steps, seed=seed, teacher=teacher, target=target)
        optimiser.zero_grad()
        objective(step)[0].mean().backward()
        optimiser.step()
        if target is not None:
            update_ema(target, student, config.target_ema)
    return student


@torch.no_grad()
def one_step(student, samples=20_000, seed=9):
    """Sample a student in one call, [samples]; returns the noisy inputs too."""
    sigma = student.spec.schedule.sigma_max
    noise = torch.randn(samples, 1, 1, generator=torch.Generator().manual_seed(seed))
    x = sigma * noise
    state = student.network(x, torch.full((samples,), sigma), None, None, None).state
    return x.flatten(), state.flatten()


@pytest.fixture(scope="session")
def toys():
    """The toy world's parts by name."""
    return SimpleNamespace(
        mixture=Mixture(), world=world, exact=Exact, learner=Learner, step=step_of, train=train, one_step=one_step,
        schedule=SCHEDULE, clips=CLIPS, frames=FRAMES,
    )  # fmt: skip


@pytest.fixture(scope="session")
def store(encode_store):
    return encode_store(2, [Degradation(6000.0, "resample"), Degradation(4500.0, "resample")])


@pytest.fixture(scope="session")
def overlay_of(store, tmp_path_factory):
    """Run a teacher's checkpoint over the store, latents included."""

    def make(checkpoint, steps=2):
        folder = tmp_path_factory.mktemp("overlay")
        items = [(f"{k}|{i}", store.frames(k)) for k in store.keys for i in range(2)]
        teacher = TeacherConfig(checkpoint=str(checkpoint), steps=steps)
        run_plan(folder, make_plan(items, 1), partial(OverlayProducer, str(store.folder), CodecConfig(), teacher, latents=True))
        return Store(folder)

    return make


@pytest.fixture
def batch_for(store, speech):
    """Draw a batch of crops of the store: target, overlay and settings as given."""

    def make(target="hr", overlay=None, pairs=False, size=4, frames=32, step=0):
        config = DataConfig(crop_frames=frames, context_frames=2, target=target)
        source = CropSource(store, store.keys, config, overlay=overlay, waveforms=lambda k: np.roll(speech, 1000 * int(k[1:])), pairs=pairs)
        return source.batch(size, seed=0, step=step)

    return make
