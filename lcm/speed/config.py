"""What is timed and how often."""

from __future__ import annotations

from dataclasses import dataclass

from lcm.codec import FRAME_RATE_HZ, CodecConfig
from lcm.errors import LcmError
from lcm.teachers.base import TeacherConfig

SYSTEMS = ("mbd", "mbd-fast", "teacher", "student-1", "student-2", "student-4", "reference", "codec")
FULL_CALLS = 20  # U-Net calls of each band in audiocraft


@dataclass(frozen=True)
class SpeedConfig:
    """Settings of a run.

    Attributes:
        codec: `encodec_24khz` or `encodec_small`.
        codec_weights: `random` or `pretrained`; time does not depend on it.
        codec_folder: Folder of the codec's weights; empty: the caches.
        kbps: Bandwidths of the students; 6 is 8 codebooks, 24 is 32. MultiBandDiffusion is given the most.
        weights: Weights of MultiBandDiffusion, `random` or `pretrained`.
        folder: Folder of these weights; empty: the caches.
        bw: Bandwidth that MultiBandDiffusion was trained for.
        hidden, res_blocks: Size of its U-Nets, of random weights only; 48 and 2 as released.
        seconds: Length of a clip.
        batch: Clips of a batch of the cheap systems.
        repeats: Measured rounds of the cheap systems.
        mbd_calls: U-Net calls of each band; 20 is the whole chain, less is for a quick look.
        mbd_repeats: Measured calls of MultiBandDiffusion.
        only: Systems to measure, of `SYSTEMS`; empty: all.
        root: Root folder whose trained points are timed too; empty: none.
        audio: Recordings to take clips from; empty: synthesised speech.
        fast_codec: Whether our systems use the faster copies of codec and network (`lcm.codec_speed`, `lcm.network_speed`).
        reference: Whether the reference's protocol is run too.
    """

    codec: str = "encodec_24khz"
    codec_weights: str = "random"
    codec_folder: str = ""
    kbps: tuple[float, ...] = (24.0, 6.0)
    weights: str = "random"
    folder: str = ""
    bw: float = 3.0
    hidden: int = 48
    res_blocks: int = 2
    seconds: float = 4.0
    batch: int = 8
    repeats: int = 9
    mbd_calls: int = FULL_CALLS
    mbd_repeats: int = 1
    only: tuple[str, ...] = ()
    root: str = ""
    audio: tuple[str, ...] = ()
    fast_codec: bool = True
    reference: bool = True

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.only) - set(SYSTEMS)):
            raise LcmError(f"--only {','.join(unknown)}: no such system. Systems are: {', '.join(SYSTEMS)}.")
        counts = {"--batch": self.batch, "--repeats": self.repeats, "--mbd-calls": self.mbd_calls, "--mbd-repeats": self.mbd_repeats}
        for name, value in counts.items():
            if value < 1:
                raise LcmError(f"{name} {value}: expected at least 1.")
        if round(self.seconds * FRAME_RATE_HZ) < 1 or not self.kbps:
            raise LcmError(f"--seconds {self.seconds:g} --kbps {list(self.kbps)}: expected a length above 0 and at least one bandwidth.")

    @property
    def whole_chain(self) -> bool:
        """Whether MultiBandDiffusion runs as released, so that its times mean something."""
        return (self.mbd_calls, self.hidden, self.res_blocks) == (FULL_CALLS, 48, 2)

    def wants(self, name: str) -> bool:
        """Return whether a system is to be measured."""
        return not self.only or name in self.only

    def codec_config(self, kbps: float) -> CodecConfig:
        """Return the codec at one bandwidth."""
        return CodecConfig(self.codec, kbps, self.codec_folder or None, self.codec_weights)

    def mbd(self, codebooks: int) -> TeacherConfig:
        """Return MultiBandDiffusion, given a number of codebooks."""
        own = {"weights": self.weights, "folder": self.folder or None, "hidden": self.hidden, "res_blocks": self.res_blocks}
        return TeacherConfig("mbd", bw=self.bw, codebooks=codebooks, steps=self.mbd_calls, **own)  # type: ignore[arg-type]
