"""The last stage of MultiBandDiffusion: match the power of 32 bands to the codec's output, clip by clip.

Source: audiocraft 1.3.0, `MultiBandDiffusion.re_eq`, which takes one power over a whole batch; here each clip has its own, so that a
clip does not depend on its neighbours. For a batch of one it is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcm.mbd.audiocraft import split_bands

BANDS = 32
_SILENT = 1e-12  # a band without power stays without, in place of 0 / 0


class Equaliser(nn.Module):
    """Scale the bands of a signal to the deviations of a reference's."""

    def __init__(self, bands: int = BANDS) -> None:
        super().__init__()
        self.split = split_bands(bands)

    def forward(self, audio: Tensor, reference: Tensor) -> Tensor:
        """Return the equalised audio.

        Args:
            audio: [B, 1, T].
            reference: [B, 1, T].
        """
        bands = self.split(audio)  # [bands, B, 1, T]
        own, wanted = (part.std(dim=(2, 3), keepdim=True) for part in (bands, self.split(reference)))
        equalised: Tensor = torch.sum(bands * (wanted / own.clamp(min=_SILENT)), dim=0)
        return equalised
