"""Speech synthesised with espeak-ng, from the shared library that the PyPI package `espeakng-loader` carries."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SYNCHRONOUS, _UTF8, _CHARACTER = 2, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker.

    Attributes:
        name: espeak-ng voice and variant, such as `en-us+f3`.
        rate_wpm: Speaking rate, 80 to 450 words a minute.
        pitch: Base pitch, 0 to 99.
        pitch_range: Liveliness of the pitch, 0 to 99.
    """

    name: str
    rate_wpm: int = 165
    pitch: int = 50
    pitch_range: int = 50


@lru_cache(maxsize=1)
def _library() -> tuple[Any, int]:
    """Load espeak-ng once a process; the library keeps global state, so it is used from one thread only."""
    import espeakng_loader  # heavy and only needed for the demo corpus

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng did not start with the data in {data.decode()}: reinstall `espeakng-loader`.")
    return library, rate


def synthesise(text: str, voice: Voice, *, seed: int = 1) -> tuple[NDArray[np.float32], int]:
    """Speak a text.

    Args:
        text: What to say, in the voice's language.
        voice: Who says it.
        seed: Seed of the breath noise, not 0: espeak-ng takes 0 for the time of day, which is its default too.

    Returns:
        Samples in [-1, 1], [T], and the sample rate in Hz (22,050). They still depend on what this process
        said before, for espeak-ng carries more state than its seed: see `lcm.corpus.speak`.

    Raises:
        ValueError: espeak-ng has no such voice.
    """
    library, rate = _library()
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice.name!r}. Voices are a language and a variant, such as 'en-us+f3'.")
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)
    pieces: list[NDArray[np.int16]] = []

    def collect(samples: Any, count: int, _: Any) -> int:
        if count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, len(encoded), 0, _CHARACTER, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return (np.concatenate(pieces) / 32768).astype(np.float32), rate
