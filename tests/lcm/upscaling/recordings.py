"""Recordings to be upscaled, in all kinds of files."""

import io
import os

import numpy as np
import soundfile


def voice(seconds=0.6, rate=12_000, channels=1, level=0.3, seed=0):
    """Noise that moves like speech, up to half the rate, [T, C]."""
    count = round(seconds * rate)
    noise = np.random.default_rng(seed).normal(0, level / 3, (count, channels))
    return np.clip(noise * (0.6 + 0.4 * np.sin(np.arange(count) * 20 / rate))[:, None], -0.99, 0.99)


def write(path, samples, rate=12_000, subtype=None, tags=None, container=None):
    """Write a file in small blocks (Vorbis needs them) with tags; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.atleast_2d(np.asarray(samples).T).T
    container = container or {".aiff": "AIFF", ".opus": "OGG"}.get(path.suffix, path.suffix[1:].upper())
    with soundfile.SoundFile(os.fsencode(path), "w", rate, samples.shape[1], format=container, subtype=subtype) as file:
        for name, text in (tags or {}).items():
            setattr(file, name, text)
        for start in range(0, len(samples), 4_096):
            file.write(samples[start : start + 4_096])
    return path


def encoded(container, subtype=None, samples=None, rate=12_000):
    """Return the bytes of a file."""
    content = io.BytesIO()
    soundfile.write(content, voice() if samples is None else samples, rate, format=container, subtype=subtype)
    return content.getvalue()
