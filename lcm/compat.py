"""Imports that need help beside a CPU-only or differently built torch."""

from __future__ import annotations

import sys
import types
from importlib import import_module
from typing import Any


def import_encodec() -> Any:
    """Import the `encodec` package beside any torch build.

    `encodec` imports torchaudio, whose compiled extension fails to load when torch is CPU-only or of
    another CUDA minor version. encodec uses nothing of that extension, so a stand-in takes its place
    for the import; where the real extension loads, it is used.

    Returns:
        The `encodec` module.
    """
    if "torchaudio" not in sys.modules:
        try:
            import_module("torchaudio")
        except (OSError, ImportError, RuntimeError):
            for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
                del sys.modules[name]
            sys.modules["torchaudio._extension"] = _torchaudio_extension()
    return import_module("encodec")


def _torchaudio_extension() -> types.ModuleType:
    """Answer for `torchaudio._extension` when its shared library cannot be loaded."""

    def unavailable(function: Any) -> Any:
        return function

    module: Any = types.ModuleType("torchaudio._extension")
    module._IS_TORCHAUDIO_EXT_AVAILABLE = False
    module._IS_RIR_AVAILABLE = False
    module._IS_ALIGN_AVAILABLE = False
    module._check_cuda_version = lambda: None
    module.fail_if_no_align = unavailable
    module.fail_if_no_rir = unavailable
    module.lazy_import_sox_ext = lambda: None
    return module  # type: ignore[no-any-return]  # built as Any to set attributes freely
