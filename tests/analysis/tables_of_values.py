"""Tidy tables made of arrays, for tests of statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd


def tidy(values, signature="a", system="student", metric="lsd_hf", steps=1, **settings):
    """Turn values [runs, speakers, clips] into a tidy table; settings become "config." columns."""
    values = np.asarray(values, float)
    run, speaker, clip = (index.ravel() for index in np.indices(values.shape))
    frame = pd.DataFrame({
        "signature": signature, "seed": run, "system": system, "utterance": [f"s{s}u{u}" for s, u in zip(speaker, clip, strict=True)],
        "speaker": [f"s{s}" for s in speaker], "steps": steps, "low_band_copy": True, "metric": metric, "value": values.ravel(),
        "unit": "1", "protocol": 1, "run": [f"{signature}-s{r}" for r in run],
    })  # fmt: skip
    return frame.assign(**{f"config.{name.replace('__', '.')}": value for name, value in settings.items()})


def crossed(generator, runs, speakers, clips, spreads):
    """Draw values with random effects of seed, speaker, their interaction, and clip."""
    of_seed, of_speaker, of_both, of_clip = spreads
    shapes = ((runs, 1, 1), (1, speakers, 1), (runs, speakers, 1), (runs, speakers, clips))
    return sum(s * generator.normal(size=shape) for s, shape in zip((of_seed, of_speaker, of_both, of_clip), shapes, strict=True))


def grid(levels, effect, generator, *, seeds=3, speakers=6, clips=2, seed_noise=0.02, noise=0.05, skip=()):
    """Return a full factorial sweep; `effect` maps a combination of levels to its mean."""
    import itertools

    shared = 0.3 * generator.normal(size=(1, speakers, clips))
    parts = []
    for number, combination in enumerate(itertools.product(*levels.values())):
        if combination in skip:
            continue
        own = seed_noise * generator.normal(size=(seeds, 1, 1)) + noise * generator.normal(size=(seeds, speakers, clips))
        parts.append(tidy(effect(*combination) + shared + own, f"p{number:02d}", **dict(zip(levels, combination, strict=True))))
    return pd.concat(parts, ignore_index=True)
