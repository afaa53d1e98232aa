"""audiocraft's own MultiBandDiffusion classes, without the rest of audiocraft.

audiocraft 1.3.0 pins torch 2.1, xformers and spacy and imports all it has, so it does not run beside a modern torch. The four modules that
MultiBandDiffusion is made of need torch, numpy, einops, julius and tqdm alone. They are executed inside empty package shells; what they
import for other models is a placeholder. The shells are taken out of `sys.modules` afterwards, so that a real `import audiocraft`
elsewhere in the process means what it says.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from lcm.errors import LcmError
from lcm.mbd.released import SAMPLE_RATE

VERSION = "1.3.0"
INSTALL = f"pip install --no-deps audiocraft=={VERSION} julius"
_PACKAGES = ("audiocraft", "audiocraft.modules", "audiocraft.models", "audiocraft.solvers")
_PLACEHOLDERS = {
    "audiocraft.models.encodec": ("CompressionModel",),
    "audiocraft.models.loaders": ("load_compression_model", "load_diffusion_models"),
    "audiocraft.solvers.compression": ("CompressionSolver",),
    "xformers": ("ops",),
    "xformers.ops": (),
}


@dataclass(frozen=True)
class Audiocraft:
    """The classes, as audiocraft defines them.

    Attributes:
        MultiBandDiffusion: The sampler of four bands and its equaliser.
        DiffusionProcess: A U-Net with its schedule.
        DiffusionUnet: The network of one band.
        NoiseSchedule: The reverse process.
        MultiBandProcessor: Scales a band's signal to the power of noise.
        SampleProcessor: The same without scaling.
    """

    MultiBandDiffusion: Any
    DiffusionProcess: Any
    DiffusionUnet: Any
    NoiseSchedule: Any
    MultiBandProcessor: Any
    SampleProcessor: Any


@cache
def load() -> Audiocraft:
    """Import the classes, once a process.

    Raises:
        LcmError: audiocraft or julius is not installed; the message holds the command.
    """
    root = _folder("audiocraft")
    _folder("julius")
    with _shells(root):
        diffusion = importlib.import_module("audiocraft.models.multibanddiffusion")
        unet = importlib.import_module("audiocraft.models.unet")
        schedule = importlib.import_module("audiocraft.modules.diffusion_schedule")
    return Audiocraft(
        diffusion.MultiBandDiffusion,
        diffusion.DiffusionProcess,
        unet.DiffusionUnet,
        schedule.NoiseSchedule,
        schedule.MultiBandProcessor,
        schedule.SampleProcessor,
    )


def split_bands(bands: int) -> Any:
    """Return julius' filter bank of bands evenly spaced in mel, at 24 kHz.

    Raises:
        LcmError: julius is not installed; the message holds the command.
    """
    _folder("julius")
    julius: Any = importlib.import_module("julius")
    return julius.SplitBands(SAMPLE_RATE, n_bands=bands)


def _folder(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LcmError(
            f"The teacher mbd needs {package}, which is not installed here. Install it beside this torch by `{INSTALL}` "
            "(--no-deps: its own pins would replace torch)."
        )
    return spec.submodule_search_locations[0]


@contextmanager
def _shells(root: str) -> Iterator[None]:
    """Let `audiocraft.*` be found in its folder without its packages' own imports; all is as before afterwards."""
    touched = ("audiocraft", "xformers")
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in touched}
    for name in before:
        del sys.modules[name]
    try:
        for name in _PACKAGES:
            sys.modules[name] = _module(name, path=root + "".join(f"/{part}" for part in name.split(".")[1:]))
        for name, attributes in _PLACEHOLDERS.items():
            sys.modules[name] = _module(name, attributes=attributes)
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in touched]:
            del sys.modules[name]
        sys.modules.update(before)


def _module(name: str, *, path: str = "", attributes: tuple[str, ...] = ()) -> ModuleType:
    module: Any = ModuleType(name)
    if path:
        module.__path__ = [path]
    for attribute in attributes:
        setattr(module, attribute, type(attribute, (), {"__doc__": "Not needed by MultiBandDiffusion's sampling."}))
    return module  # type: ignore[no-any-return]  # a module that takes attributes is Any to mypy
