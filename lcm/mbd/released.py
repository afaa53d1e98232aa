"""What the publisher of MultiBandDiffusion released for 24 kHz: names, sizes, digests, default configs.

Source: the model repository's files as listed there; audiocraft 1.3.0, config/solver/diffusion and config/model/score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lcm.errors import CheckpointError
from lcm.offline import job_environment

REPOSITORY = "facebook/multiband-diffusion"  # a name on the Hugging Face hub
REVISION = "8fe85b126e0a4e816ae095d96244578d841a20ab"  # the commit that holds all three files
LICENCE = f"CC-BY-NC 4.0, by Meta ({REPOSITORY}): not for commercial use"
CODEBOOKS = {1.5: 2, 3.0: 4, 6.0: 8}  # kbps -> codebooks of EnCodec 24 kHz
FILE_BYTES = 4_583_268_549  # each of the three
SHA256 = {
    2: "8c76007b3592c62185bdd54eb425b81f908f09f3439a177a91f2c89c9371121a",
    4: "488a3b7502f240c13791e581df17fb73a438bba32bd15d7ec0e0e3e55d28c965",
    8: "b250c90e03815fc1b61f428560cc93900e3172d9ae8810001e07398aa8978130",
}
SAMPLE_RATE, BANDS, CODEC_DIM = 24_000, 4, 128

SCHEDULE: dict[str, Any] = {
    "repartition": "power",
    "beta_t0": 1e-5,
    "beta_t1": 2.9e-2,
    "beta_exp": 7.5,
    "num_steps": 1000,
    "variance": "beta",
    "clip": 5.0,
    "rescale": 1.0,
    "n_bands": None,
    "noise_scale": 1.0,
}
UNET: dict[str, Any] = {  # audiocraft's default: 165.6 M parameters a band
    "hidden": 48,
    "depth": 4,
    "res_blocks": 1,
    "norm_groups": 4,
    "kernel": 8,
    "stride": 4,
    "growth": 4.0,
    "max_channels": 10_000,
    "dropout": 0.0,
    "emb_all_layers": True,
    "bilstm": False,
    "codec_dim": CODEC_DIM,
    "transformer": False,
    "cross_attention": False,
}
# The released files are larger than four such networks (2,649,470,976 bytes) by 1.93 GB. With a second residual block a layer the
# tensors take 4,582,960,128 bytes (286.4 M parameters a band), which leaves 308 kB for names and configs, as torch.save needs.
UNET_RELEASED: dict[str, Any] = {**UNET, "res_blocks": 2}
PROCESSOR: dict[str, Any] = {"use": True, "name": "multi_band_processor", "n_bands": 8, "num_samples": 10_000, "power_std": 1.0}


def file_name(n_q: int) -> str:
    """Return the released file's name for 2, 4 or 8 codebooks.

    Raises:
        CheckpointError: There is none for this number.
    """
    if n_q not in SHA256:
        known = ", ".join(f"{bw:g} kbps ({k})" for bw, k in CODEBOOKS.items())
        raise CheckpointError(f"MultiBandDiffusion was not released for {n_q} codebooks: choose one of {known} (teacher.bw).")
    return f"mbd_comp_{n_q}.pt"


def own_cache() -> Path:
    """Return the folder that this package fetches and converts to when none is named."""
    return Path(job_environment()["TORCH_HOME"]) / "lcm-mbd"
