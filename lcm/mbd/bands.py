"""The four diffusion processes of MultiBandDiffusion, of audiocraft's own classes, with the released weights or with random ones.

Source: San Roman et al. 2023, "From Discrete Tokens to High-Fidelity Audio Using Multi-Band Diffusion"; audiocraft 1.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lcm.errors import LcmError
from lcm.mbd import audiocraft
from lcm.mbd.released import BANDS, CODEBOOKS, PROCESSOR, SAMPLE_RATE, SCHEDULE, UNET_RELEASED
from lcm.teachers.base import TeacherConfig


@dataclass(frozen=True)
class Bands:
    """What MultiBandDiffusion samples with.

    Attributes:
        processes: A `DiffusionProcess` a band: its U-Net and noise schedule.
        n_q: Codebooks that they were trained for.
        identity: Hash of the weights and of how they are used.
    """

    processes: tuple[Any, ...]
    n_q: int
    identity: str


def codebooks_of(bw: float) -> int:
    """Return the number of codebooks of a bandwidth in kbps.

    Raises:
        LcmError: MultiBandDiffusion was not trained for it.
    """
    if bw not in CODEBOOKS:
        raise LcmError(f"teacher.bw={bw:g} is none that MultiBandDiffusion was trained for: 1.5, 3 or 6 kbps (2, 4 or 8 codebooks).")
    return CODEBOOKS[bw]


def load_bands(config: TeacherConfig, device: torch.device | str = "cpu") -> Bands:
    """Build the processes on a device, in evaluation mode.

    Raises:
        LcmError: audiocraft is not installed, the bandwidth is unknown, or the weights are not there.
    """
    n_q = codebooks_of(config.bw)
    if config.weights == "random":
        return _random(n_q, {"hidden": config.hidden, "res_blocks": config.res_blocks}, torch.device(device))
    own = {name for name in ("hidden", "res_blocks") if getattr(config, name) != UNET_RELEASED[name]}
    if own:
        raise LcmError(f"teacher.{min(own)}={getattr(config, min(own))} is for teacher.weights=random: released weights have their own.")
    from lcm.mbd.weights import read

    weights = read(config.folder, n_q)
    processes = []
    for band in weights.bands:
        made = process({"chin": band.channels, **band.unet}, band.schedule, band.processor)
        made.model.load_state_dict(band.unet_state)
        made.schedule.sample_processor.load_state_dict(band.processor_state)
        processes.append(to_device(made, torch.device(device)))
    return Bands(tuple(processes), n_q, weights.identity)


def process(unet: Mapping[str, Any], schedule: Mapping[str, Any], processor: Mapping[str, Any]) -> Any:
    """Build one band's `DiffusionProcess` on the CPU, as `audiocraft.models.loaders.load_diffusion_models` does."""
    classes = audiocraft.load()
    model = classes.DiffusionUnet(num_steps=schedule["num_steps"], **unet).requires_grad_(False).eval()
    noise = classes.NoiseSchedule(**schedule, sample_processor=_processor(classes, processor), device="cpu")
    return classes.DiffusionProcess(model=model, noise_schedule=noise)


def to_device(made: Any, device: torch.device) -> Any:
    """Move a process; its schedule is no module."""
    made.model.to(device)
    made.schedule.sample_processor.to(device)
    made.schedule.betas = made.schedule.betas.to(device)
    return made


def _processor(classes: audiocraft.Audiocraft, settings: Mapping[str, Any]) -> Any:
    if not settings["use"]:
        return classes.SampleProcessor()
    own = {name: value for name, value in settings.items() if name not in ("use", "name")}
    return classes.MultiBandProcessor(sample_rate=SAMPLE_RATE, **own)


def _random(n_q: int, unet: Mapping[str, int], device: torch.device) -> Bands:
    """Return untrained processes whose statistics are those of a quiet signal, so that their output is neither silent nor clipped."""
    built = []
    for band in range(BANDS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(band)
            made = process({"chin": 1, **UNET_RELEASED, **unet}, SCHEDULE, PROCESSOR)
        scale = made.schedule.sample_processor
        scale.counts.fill_(1.0)
        scale.sum_target_x2.fill_(1.0 / PROCESSOR["n_bands"])
        scale.sum_x2.copy_(torch.logspace(-3, -4, PROCESSOR["n_bands"]))
        built.append(to_device(made, device))
    return Bands(tuple(built), n_q, f"random-{unet['hidden']}-{unet['res_blocks']}")
