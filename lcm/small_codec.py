"""`encodec_small`: the encodec package's model class and quantiser around the spectral encoder and decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lcm.compat import import_encodec
from lcm.spectral import SpectralDecoder, SpectralEncoder

N_Q, BINS, DIMENSION, SAMPLE_RATE = 8, 1024, 128, 24_000
BANDWIDTHS_KBPS = [1.5, 3.0, 6.0]


def build() -> Any:
    """Return an untrained `encodec.EncodecModel` with 8 codebooks of 1024 x 128 at 75 Hz."""
    encodec = import_encodec()
    from encodec.quantization import ResidualVectorQuantizer  # type: ignore[attr-defined]  # after import_encodec; not re-exported

    quantizer = ResidualVectorQuantizer(DIMENSION, n_q=N_Q, bins=BINS, kmeans_init=False)
    model = encodec.EncodecModel(
        SpectralEncoder(DIMENSION), SpectralDecoder(DIMENSION), quantizer, BANDWIDTHS_KBPS, SAMPLE_RATE, channels=1, name="encodec_small"
    )
    model.set_target_bandwidth(BANDWIDTHS_KBPS[-1])
    return model


def codebooks(model: Any) -> list[Any]:
    """Return the codebook modules, coarse to fine; each has `embed` [1024, 128]."""
    return [layer._codebook for layer in model.quantizer.vq.layers]


def to_half(model: Any) -> dict[str, Tensor]:
    """Return the tensors that ship: fp16, without the quantiser's training statistics."""
    drop = ("cluster_size", "embed_avg", "inited")
    return {k: v.detach().half().contiguous() for k, v in model.state_dict().items() if not k.endswith(drop)}


def from_half(tensors: dict[str, Tensor]) -> Any:
    """Rebuild the frozen model from `to_half`'s tensors."""
    model = build()
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    wrong = [k for k in missing if not k.endswith(("cluster_size", "embed_avg", "inited"))] + list(unexpected)
    if wrong:
        raise ValueError(f"These are not encodec_small weights: missing or unexpected tensors {wrong[:4]}.")
    return model.eval().requires_grad_(False)


@torch.no_grad()
def quantise_and_learn(codebook: Any, residual: Tensor, *, decay: float = 0.99, revive_below: float = 0.5) -> Tensor:
    """Quantise rows [N, 128] to their nearest code and update the codebook by moving averages.

    Dead codes are moved onto random rows together with their averages. (The encodec package overwrites
    such a replacement with the old average in the same step, so its dead codes stay dead.)

    Source: van den Oord et al. 2017, appendix A.1; code revival as in Zeghidour et al. 2021.
    """
    index = codebook.quantize(residual)
    quantised: Tensor = codebook.embed[index]
    count = torch.bincount(index, minlength=codebook.codebook_size).to(residual)
    total = torch.zeros_like(codebook.embed).index_add_(0, index, residual)
    codebook.cluster_size.mul_(decay).add_(count, alpha=1 - decay)
    codebook.embed_avg.mul_(decay).add_(total, alpha=1 - decay)
    dead = codebook.cluster_size < revive_below * residual.shape[0] / codebook.codebook_size * 0.1
    fresh = residual[torch.randint(len(residual), (int(dead.sum()),))]
    codebook.embed_avg[dead] = fresh
    codebook.cluster_size[dead] = 1.0
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size.clamp_min(1e-5)[:, None])
    return quantised
