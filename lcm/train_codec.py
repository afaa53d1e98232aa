"""Train `encodec_small` on a folder of 24 kHz speech.

    python -m lcm.train_codec SPEECH_DIR ... --exclude ccbysa --demo --steps 20000 -o RUN_DIR

To resume, run the same command again. Recipe: waveform first (a log-spectral term before the waveform has
locked on pulls the phase apart), then k-means codebooks, then both losses with a cosine rate.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from safetensors.torch import save_file
from scipy.signal import butter, sosfiltfilt
from torch import Tensor

from lcm import small_codec
from lcm.small_codec import SAMPLE_RATE, codebooks, quantise_and_learn

CROP, BATCH, RATE, WARM_STEPS = 24_000, 16, 1.2e-3, 300
SPEEDS = (0.82, 0.87, 0.91, 0.96, 1.0, 1.05, 1.1, 1.15, 1.21)
STFTS = ((2048, 512), (1024, 256), (512, 128))


def load_speech(folders: list[Path], exclude: str, demo: bool) -> list[Tensor]:
    """Read every FLAC/WAV below the folders at 24 kHz, each at several speeds, as one list of signals [T]."""
    files = [f for d in folders for f in sorted(d.rglob("*")) if f.suffix in (".flac", ".wav") and (not exclude or exclude not in str(f))]
    clips = [soundfile.read(f, dtype="float32", always_2d=True) for f in files]
    waves = [soxr.resample(x.mean(1), sr, SAMPLE_RATE, "VHQ") for x, sr in clips]
    if demo:
        waves += demo_speech()
    return [torch.from_numpy(soxr.resample(w, SAMPLE_RATE, SAMPLE_RATE / s, "HQ").astype(np.float32)) for w in waves for s in SPEEDS]


def demo_speech(count: int = 60) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Synthesise a few minutes of varied voices."""
    from lcm.corpus.demo import TEXTS, VOICES
    from lcm.corpus.espeak import synthesise

    spoken = [synthesise(TEXTS[i % len(TEXTS)], VOICES[i % len(VOICES)]) for i in range(count)]
    return [0.7 * soxr.resample(x, sr, SAMPLE_RATE, "VHQ") for x, sr in spoken]


def low_pass(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Low-pass a batch [B, 1, T] at a random cutoff: the codec must also carry degraded speech."""
    sos = butter(8, rng.uniform(3500, 8000), fs=SAMPLE_RATE, output="sos")
    return torch.from_numpy(sosfiltfilt(sos, batch.numpy(), axis=-1).astype(np.float32))


def batch_of(signals: list[Tensor], rng: np.random.Generator) -> Tensor:
    """Draw BATCH audible crops [B, 1, CROP], augmented: a quarter hour of speech is soon learned by heart."""
    batch = torch.stack([tilt(c, rng) for c in audible_crops(signals, 2 * BATCH, rng)])
    mixed = torch.from_numpy(rng.random((BATCH, 1)) < 0.25) * 10 ** -rng.uniform(0.1, 0.8)
    batch = (batch[:BATCH] + mixed * batch[BATCH:]).float()[:, None]
    return low_pass(batch, rng) if rng.random() < 1 / 6 else batch


def tilt(crop: Tensor, rng: np.random.Generator) -> Tensor:
    """Apply a random spectral tilt, gain and polarity to a crop [T]."""
    a, gain = rng.uniform(-0.4, 0.4), float(rng.choice([-1, 1]) * 10 ** rng.uniform(-0.4, 0.15))
    tilted = crop + a * torch.nn.functional.pad(crop, (1, 0))[:-1]
    return gain * tilted * (crop.std() / tilted.std())


def audible_crops(signals: list[Tensor], count: int, rng: np.random.Generator) -> list[Tensor]:
    """Draw crops [CROP], each place in the speech as likely as any other; silent ones have an exploding relative error."""
    edges = np.cumsum([len(s) for s in signals])
    crops: list[Tensor] = []
    while len(crops) < count:
        s = signals[int(np.searchsorted(edges, rng.integers(edges[-1]), side="right"))]
        start = int(rng.integers(0, max(1, len(s) - CROP)))
        crop = torch.nn.functional.pad(s[start : start + CROP], (0, max(0, CROP - len(s))))
        if crop.std() > 3e-3:
            crops.append(crop)
    return crops


def relative_error(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean over clips of |error| / |target|: 0.42 is 7.5 dB."""
    error: Tensor = torch.linalg.vector_norm((estimate - target).flatten(1), dim=1)
    ratio: Tensor = error / torch.linalg.vector_norm(target.flatten(1), dim=1)
    return ratio.mean()


def log_spectral(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the log-spectral distance, floor 1e-6, averaged over three resolutions."""
    return torch.stack([_lsd(estimate[:, 0], target[:, 0], n, hop) for n, hop in STFTS]).mean()


def _lsd(estimate: Tensor, target: Tensor, n_fft: int, hop: int) -> Tensor:
    window = torch.hann_window(n_fft)
    both = torch.stft(torch.cat([estimate, target]), n_fft, hop, window=window, return_complex=True)
    power = torch.log10(both.real.square() + both.imag.square() + 1e-6 * n_fft / 2048)
    a, b = power.chunk(2)
    return ((a - b).square().mean(1) + 1e-6).sqrt().mean()


def quantise(model: Any, latents: Tensor, n_q: int) -> tuple[Tensor, Tensor]:
    """Quantise latents [B, D, F] with straight-through gradients while the codebooks learn; also the commitment loss."""
    rows = latents.detach().transpose(1, 2).reshape(-1, latents.shape[1]).float()
    total = torch.zeros_like(rows)
    for codebook in codebooks(model)[:n_q]:
        total += quantise_and_learn(codebook, rows - total)
    quantised = total.view(latents.shape[0], -1, latents.shape[1]).transpose(1, 2)
    commitment = (latents.float() - quantised).square().mean()
    return latents + (quantised - latents).detach(), commitment


@torch.no_grad()
def initialise_codebooks(model: Any, signals: list[Tensor], rng: np.random.Generator, rows: int = 12_000) -> None:
    """Fit the codebooks one after another by k-means on residuals."""
    parts = [model.encoder(batch_of(signals, rng)).transpose(1, 2).flatten(0, 1) for _ in range(rows // (BATCH * CROP // 320) + 1)]
    residual = torch.cat(parts)
    for codebook in codebooks(model):
        centres = residual[torch.randperm(len(residual))[: codebook.codebook_size]].clone()
        for _ in range(8):
            index = torch.cdist(residual, centres).argmin(1)
            count = torch.bincount(index, minlength=len(centres)).clamp_min(1)
            centres = torch.zeros_like(centres).index_add_(0, index, residual) / count[:, None]
        codebook.embed.copy_(centres)
        codebook.embed_avg.copy_(centres)
        codebook.cluster_size.fill_(1.0)
        codebook.inited.fill_(1)
        residual = residual - centres[torch.cdist(residual, centres).argmin(1)]


@torch.no_grad()
def measure_deviation(model: Any, signals: list[Tensor], rng: np.random.Generator) -> None:
    """Set the per-bin deviation that balances high against low frequencies inside the blocks."""
    c = torch.cat([model.encoder.compress(batch_of(signals, rng)).flatten(0, 1) for _ in range(8)])
    for part in (model.encoder, model.decoder):
        part.deviation.copy_(c.std(0).clamp_min(0.02))


def rate_at(step: int, steps: int) -> float:
    """Warm up for 100 steps, then cosine to zero."""
    return RATE * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(args: argparse.Namespace) -> None:
    """Run or resume the training."""
    args.out.mkdir(parents=True, exist_ok=True)
    state_file = args.out / "state.pt"
    torch.manual_seed(0)
    model, rng = small_codec.build().train(), np.random.default_rng(0)
    signals = load_speech(args.speech, args.exclude, args.demo)
    print(f"{len(signals) // len(SPEEDS)} clips, {sum(map(len, signals)) / SAMPLE_RATE / 60 / len(SPEEDS):.1f} min", flush=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.03)
    first = 0
    if state_file.exists():
        saved = torch.load(state_file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        first, rng = saved["step"], np.random.default_rng(saved["step"])
    else:
        measure_deviation(model, signals, rng)
    started, log = time.time(), [0.0, 0.0, 0.0]
    for step in range(first, args.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, args.steps)
        if step == WARM_STEPS:
            initialise_codebooks(model, signals, rng)
        losses = one_step(model, batch_of(signals, rng), step, rng, args.spectral)
        optimiser.zero_grad()
        sum(losses, torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        log = [0.98 * a + 0.02 * float(b.detach()) for a, b in zip(log, losses, strict=True)]
        if (step + 1) % 250 == 0:
            print(f"step {step + 1} {(time.time() - started) / (step + 1 - first):.3f} s/step  error, spectral, commit {log}", flush=True)
        if (step + 1) % 1000 == 0 or step + 1 == args.steps:
            save(model, optimiser, step + 1, args.out, state_file)


def one_step(model: Any, audio: Tensor, step: int, rng: np.random.Generator, spectral: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted losses: waveform, spectral, commitment."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = model.encoder(audio)
        zero = torch.zeros(())
        if step < WARM_STEPS:
            return relative_error(model.decoder(latents).float(), audio), zero, zero
        n_q = int(rng.choice([2, 4, 8], p=[0.08, 0.08, 0.84]))
        quantised, commitment = quantise(model, latents, n_q)
        decoded = model.decoder(quantised)
    decoded = decoded.float()
    return relative_error(decoded, audio), spectral * log_spectral(decoded, audio), 0.05 * commitment


def save(model: Any, optimiser: torch.optim.Optimizer, step: int, out: Path, state_file: Path) -> None:
    """Write the resumable state and the fp16 weights, each atomically."""
    part = state_file.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, part)
    part.replace(state_file)
    half = out / "encodec_small.part"
    save_file(small_codec.to_half(model), half)
    half.replace(out / "encodec_small.safetensors")


def main() -> None:
    """Parse and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", nargs="+", type=Path, help="folders of speech")
    parser.add_argument("--exclude", default="", help="leave out paths that contain this text")
    parser.add_argument("--demo", action="store_true", help="add synthesised voices")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--spectral", type=float, default=0.3, help="weight of the log-spectral term")
    parser.add_argument("-o", "--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
