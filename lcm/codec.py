"""The frozen codec: waveform <-> codes <-> latents.

Shapes: audio [B, 1, T] at 24 kHz, codes [B, K, F], latents [B, D, F] with F = ceil(T / 320).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lcm import small_codec
from lcm.codec_files import encodec_state
from lcm.compat import import_encodec
from lcm.errors import CodecError

HOP, FRAME_RATE_HZ = 320, 75
WEIGHTS = Path(__file__).parent / "weights"


@dataclass
class CodecConfig:
    """Which codec.

    Attributes:
        name: `encodec_small` (ships with the package) or `encodec_24khz` (Meta's weights).
        bandwidth_kbps: 1.5, 3 or 6; for `encodec_24khz` also 12 and 24. 6 means K = 8 codebooks.
        folder: Folder that holds `encodec_24khz-d7cc33bc.th`, or the hub's `facebook/encodec_24khz`, for machines without network.
        weights: `pretrained`, or `random` for the real architecture untrained (tests, benchmarks).
    """

    name: str = "encodec_small"
    bandwidth_kbps: float = 6.0
    folder: str | None = None
    weights: str = "pretrained"


class Codec(nn.Module):
    """A frozen EnCodec-style model at one bandwidth.

    Attributes:
        name: Its configured name.
        n_q: Number of codebooks K in use.
        dimension: Latent channels D.
        identity: Hash of name, K and weights; two codecs with one identity give the same codes.
    """

    def __init__(self, model: Any, name: str, bandwidth_kbps: float) -> None:
        super().__init__()
        if bandwidth_kbps not in model.target_bandwidths:
            raise CodecError(f"{name} has no bandwidth of {bandwidth_kbps} kbps: one of {model.target_bandwidths} (codec.bandwidth_kbps).")
        model.set_target_bandwidth(bandwidth_kbps)
        self.model = model.requires_grad_(False)
        self.train(False)
        self.name, self.bandwidth_kbps = name, bandwidth_kbps
        self.n_q: int = model.quantizer.get_num_quantizers_for_bandwidth(FRAME_RATE_HZ, bandwidth_kbps)
        self.dimension: int = model.quantizer.dimension
        self.identity = _identity(model, f"{name}-{self.n_q}")

    def train(self, mode: bool = True) -> Codec:
        """Stay in evaluation mode: the codec is frozen."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, nn.LSTM):  # cuDNN gives no gradients through an LSTM in evaluation mode; it has no dropout
                module.train(True)
        return self

    @property
    def device(self) -> torch.device:
        """Where the codec runs; models and clips follow it."""
        device: torch.device = self.model.quantizer.vq.layers[0].codebook.device
        return device

    @property
    def embeddings(self) -> list[Tensor]:
        """The K codebooks' vectors, [bins, D] each, one by one: stacking all of them for one block would copy 16 MB a call."""
        return [layer.codebook for layer in self.model.quantizer.vq.layers[: self.n_q]]

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """Encode audio [B, 1, T] into codes [B, K, F], int64."""
        codes: Tensor = self.model.encode(audio)[0][0]
        return codes

    def codebook_latents(self, codes: Tensor, start: int = 0) -> Tensor:
        """Return the vectors of codes [B, k, F] of codebooks start .. start + k, as [B, k, D, F]."""
        tables = self.embeddings[start : start + codes.shape[1]]
        return torch.stack([table[c] for table, c in zip(tables, codes.unbind(1), strict=True)], dim=1).transpose(2, 3)

    def latents(self, codes: Tensor) -> Tensor:
        """Return the quantised latents [B, D, F] of codes [B, K, F]."""
        return self.codebook_latents(codes).sum(1)

    @torch.no_grad()
    def requantise(self, latents: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Quantise latents [B, D, F] greedily with codebooks start .. stop into codes [B, stop - start, F]."""
        residual, codes = latents.transpose(1, 2), []
        for table in self.embeddings[start:stop]:
            distance = table.square().sum(1) - 2 * residual @ table.t()
            codes.append(distance.argmin(-1))
            residual = residual - table[codes[-1]]
        return torch.stack(codes, dim=1)

    def decode(self, latents: Tensor, length: int | None = None) -> Tensor:
        """Decode latents [B, D, F] to audio [B, 1, T], trimmed to `length` samples. Gradients pass through."""
        audio: Tensor = self.model.decoder(latents)
        return audio if length is None else audio[..., :length]


def load_codec(config: CodecConfig) -> Codec:
    """Build the configured codec.

    Raises:
        CodecError: The name or bandwidth is unknown, or weights are missing; it says what to fetch and where to put it.
    """
    builders = {"encodec_small": _small, "encodec_24khz": _encodec_24khz}
    if config.name not in builders:
        raise CodecError(f"There is no codec {config.name!r}: choose one of {sorted(builders)} (codec.name).")
    return Codec(builders[config.name](config), config.name, config.bandwidth_kbps)


def first_codebooks(config: CodecConfig, n_q: int) -> CodecConfig:
    """Return the config of the same codec at another number of codebooks K; its codes are the first K of the others'.

    Raises:
        CodecError: No bandwidth has that many codebooks, or the codes have fewer.
    """
    kbps_per_codebook = FRAME_RATE_HZ * 10 / 1000  # 1024 entries are 10 bits
    wanted, stored = n_q * kbps_per_codebook, round(config.bandwidth_kbps / kbps_per_codebook)
    if not 0 < n_q <= stored or n_q & (n_q - 1) or n_q == 1:
        raise CodecError(
            f"blocks.codebooks={n_q}: expected 2, 4, 8, 16 or 32, and no more than the {stored} of codec.bandwidth_kbps="
            f"{config.bandwidth_kbps:g}, which the codes store holds."
        )
    return replace(config, bandwidth_kbps=wanted)


def best_device() -> torch.device:
    """Return this process's GPU, or the CPU. TF32 is off: the protocol says float32."""
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _small(config: CodecConfig) -> Any:
    if config.weights == "random":
        return _seeded(small_codec.build)
    file = Path(config.folder or WEIGHTS) / "encodec_small.safetensors"
    if not file.exists():
        raise CodecError(f"encodec_small's weights are not at {file}: reinstall the package, or train them by `python -m lcm.train_codec`.")
    return small_codec.from_half(load_file(file))


def _encodec_24khz(config: CodecConfig) -> Any:
    encodec = import_encodec()
    if config.weights == "random":
        return _seeded(lambda: encodec.EncodecModel.encodec_model_24khz(pretrained=False))
    model = encodec.EncodecModel.encodec_model_24khz(pretrained=False)
    model.load_state_dict(encodec_state(config.folder, model.state_dict()))
    model.name = "encodec_24khz"
    return model


def _seeded(build: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for layer in model.quantizer.vq.layers:  # codebooks start at zero until k-means: give them distinct vectors
            layer._codebook.embed.normal_()
    return model.eval()


def _identity(model: Any, prefix: str) -> str:
    digest = hashlib.sha256(prefix.encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.endswith(("cluster_size", "embed_avg", "inited")):  # training statistics do not touch the codes
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(load_codec(CodecConfig("encodec_24khz")).identity)
