"""A faster copy of the frozen codec, for inference on a CPU: the same layers, computed frame by frame in memory.

Measured on 2 threads for 4 s, EnCodec 24 kHz (`analysis/results/speed.md`): convolutions of few channels over many samples are bound by
memory, and PyTorch's oneDNN kernels first reorder every `[B, C, T]` input into blocks of channels. Given channels last they need not.
What else pays: weight norm folded once, reflection copied at the ends alone, ELU in place, transposed convolutions as ordinary ones over
two frames, and clips one by one (a batch leaves the cache). torch.compile gained nothing. On a GPU weight norm alone is folded.
`encodec_small`'s layers are in `lcm.spectral_speed`; the quantiser here serves both.

Shapes here: [B, T, C].
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcm.channels_last import Pointwise, convolve, two_dimensional
from lcm.codec import Codec
from lcm.spectral_speed import FastDecoder, FastEncoder


def fast(codec: Codec) -> Codec:
    """Return a copy for inference whose latents and audio are the codec's to about 1e-5; weights of the quantiser and identity are shared.

    The copy passes no gradients and does not move to another device. A code can differ where two vectors are equally near to rounding:
    stores are made by the codec itself. On a GPU `encodec_small` is returned as it is.
    """
    small = codec.name == "encodec_small"
    if isinstance(codec, FastCodec):
        return codec
    if codec.device.type != "cpu":
        return codec if small else _with(copy.copy(codec), codec, _Folded(codec.model.encoder.model), _Folded(codec.model.decoder.model))
    if small:
        return FastCodec(codec, FastEncoder(codec.model.encoder), FastDecoder(codec.model.decoder))
    return FastCodec(codec, _ChannelsLast(codec.model.encoder.model), _ChannelsLast(codec.model.decoder.model))


def _with(faster: Codec, codec: Codec, encoder: nn.Module, decoder: nn.Module) -> Codec:
    """Give a copy of the codec another encoder and decoder."""
    model = copy.copy(codec.model)
    model._modules = {**codec.model._modules, "encoder": encoder, "decoder": decoder}
    faster._modules = {"model": model}
    return faster


class FastCodec(Codec):
    """A codec with another encoder and decoder, whose quantiser is one matrix product and one search a codebook.

    Args:
        codec: The codec, on the CPU; it stays as it is.
        encoder: Audio [B, 1, T] to latents [B, D, F].
        decoder: The reverse.
    """

    def __init__(self, codec: Codec, encoder: nn.Module, decoder: nn.Module) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({k: v for k, v in codec.__dict__.items() if not k.startswith("_")})
        _with(self, codec, encoder, decoder)
        self.training = False
        tables = self.embeddings
        # The nearest vector has the largest x . v - |v|^2 / 2.
        self._scores = [Pointwise(table, -0.5 * table.square().sum(1)) for table in tables]
        self._table = torch.cat(tables)
        self._first = torch.tensor([0, *(len(t) for t in tables[:-1])]).cumsum(0)

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """Encode audio [B, 1, T] into codes [B, K, F], int64."""
        codes: Tensor = self.requantise(self.model.encoder(audio))
        return codes

    @torch.no_grad()
    def requantise(self, latents: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Quantise latents [B, D, F] greedily with codebooks start .. stop into codes [B, stop - start, F]."""
        residual, codes = latents.transpose(1, 2).contiguous(), []
        for scores, table in zip(self._scores[start:stop], self.embeddings[start:stop], strict=True):
            codes.append(_argmax(scores(residual)))
            residual = residual - F.embedding(codes[-1], table)
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def latents(self, codes: Tensor) -> Tensor:
        """Return the quantised latents [B, D, F] of codes [B, K, F]."""
        rows = codes.transpose(1, 2) + self._first[: codes.shape[1]]
        summed = F.embedding_bag(rows.reshape(-1, rows.shape[-1]), self._table, mode="sum")
        quantised: Tensor = summed.view(*rows.shape[:2], -1).transpose(1, 2)
        return quantised


def _argmax(scores: Tensor) -> Tensor:
    """Return the first largest of the last axis: among 32 groups, whose maxima are found several times faster, then in one."""
    if scores.shape[-1] % 32:
        return scores.argmax(-1)
    groups = scores.unflatten(-1, (32, -1))
    best = groups.amax(-1).argmax(-1, keepdim=True)
    inside = groups.gather(-2, best[..., None].expand(*best.shape, groups.shape[-1]))[..., 0, :]
    first: Tensor = (best * groups.shape[-1])[..., 0] + inside.argmax(-1)
    return first


class _Folded(nn.Module):
    """The same layers with weight norm folded."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        with torch.no_grad():
            for module in layers.modules():
                for hook in module._forward_pre_hooks.values():
                    hook(module, None)  # a weight made under no_grad can be copied
        self.layers = copy.deepcopy(layers)
        for module in self.layers.modules():
            if hasattr(module, "weight_g"):
                nn.utils.remove_weight_norm(module)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] as the original does."""
        result: Tensor = self.layers(x)
        return result


class _ChannelsLast(nn.Module):
    """The same layers on [B, T, C], clip by clip."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_convert(layer) for layer in layers])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] as the original does."""
        return torch.cat([self._one(clip[None].transpose(1, 2).contiguous()) for clip in x]).transpose(1, 2)

    def _one(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _convert(layer: Any) -> nn.Module:
    """Return one of SEANet's layers for [B, T, C]; only the first layer's input is the caller's, so ELU may work in place."""
    kinds = {"SConv1d": _Convolution, "SConvTranspose1d": _Transposed, "SEANetResnetBlock": _Residual, "SLSTM": _Recurrent}
    name = type(layer).__name__
    return nn.ELU(layer.alpha, inplace=True) if name == "ELU" else kinds[name](layer)


def _weight(convolution: Any) -> Tensor:
    """Return the weight with weight norm folded, detached."""
    if not hasattr(convolution, "weight_g"):
        return convolution.weight.detach()  # type: ignore[no-any-return]
    folded: Tensor = torch._weight_norm(convolution.weight_v, convolution.weight_g, 0)
    return folded.detach()


def _reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Pad [B, T, C] by reflection as encodec's `pad1d` does: a clip shorter than the reflection gets zeros first."""
    if left == right == 0:
        return x
    short = max(0, max(left, right) - x.shape[1] + 1)
    x = F.pad(x, (0, 0, 0, short)) if short else x  # a padding of nothing would be a copy
    before, after = x[:, 1 : left + 1].flip(1), x[:, x.shape[1] - right - 1 : -1].flip(1)
    padded = torch.cat([before, x, after], dim=1)
    return padded[:, : padded.shape[1] - short].contiguous()


class _Convolution(nn.Module):
    """SConv1d."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        inner = layer.conv.conv
        self.weight, self.bias = two_dimensional(_weight(inner)), inner.bias.detach()
        self.kernel, self.stride, self.dilation = inner.kernel_size[0], inner.stride[0], inner.dilation[0]
        self.causal = layer.causal

    def forward(self, x: Tensor) -> Tensor:
        total = (self.kernel - 1) * self.dilation - (self.stride - 1)
        frames = (x.shape[1] - self.kernel + total) / self.stride + 1  # the last window is filled up
        extra = (math.ceil(frames) - 1) * self.stride + self.kernel - total - x.shape[1]
        right = 0 if self.causal else total // 2
        return convolve(_reflect(x, total - right, right + extra), self.weight, self.bias, self.stride, self.dilation)


class _Transposed(nn.Module):
    """SConvTranspose1d with a kernel of two strides: each frame and the one before it give `stride` samples."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        inner = layer.convtr.convtr
        self.stride, weight = inner.stride[0], _weight(inner)  # [in, out, 2 * stride]
        now, before = weight[:, :, : self.stride], weight[:, :, self.stride :]
        both = torch.stack([before, now], dim=-1).permute(2, 1, 0, 3)  # [stride, out, in, 2]
        self.weight = two_dimensional(both.reshape(-1, *both.shape[2:]))
        self.bias, self.channels = inner.bias.detach().repeat(self.stride), inner.out_channels
        padding = inner.kernel_size[0] - self.stride
        self.cut_right = math.ceil(padding * layer.trim_right_ratio) if layer.causal else padding // 2
        self.cut_left = padding - self.cut_right

    def forward(self, x: Tensor) -> Tensor:
        frames = convolve(F.pad(x, (0, 0, 1, 1)), self.weight, self.bias).reshape(len(x), -1, self.channels)
        return frames[:, self.cut_left : frames.shape[1] - self.cut_right].contiguous()


class _Residual(nn.Module):
    """SEANetResnetBlock."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.block = nn.Sequential(*(_convert(part) for part in layer.block))
        self.block[0] = nn.ELU(layer.block[0].alpha)  # the shortcut still needs its input
        self.shortcut = nn.Identity() if isinstance(layer.shortcut, nn.Identity) else _convert(layer.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.block(x)
        return update.add_(self.shortcut(x))


class _Recurrent(nn.Module):
    """SLSTM."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.lstm, self.skip = layer.lstm, layer.skip

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(0, 1)
        y: Tensor = self.lstm(steps)[0]
        return ((y + steps) if self.skip else y).transpose(0, 1).contiguous()
