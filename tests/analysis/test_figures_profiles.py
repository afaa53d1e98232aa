from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tables_of_values import tidy

from analysis.figures import NotDrawn, performance_profiles
from analysis.figures.spec import SPECS


def _systems():
    generator = np.random.default_rng(0)
    learned = [tidy(level + 0.2 * generator.normal(size=(3, 8, 3)), name, name) for level, name in ((1.0, "student"), (1.5, "token_ce"))]
    return pd.concat([*learned, tidy(9 + 0.2 * generator.normal(size=(1, 8, 3)), "b", "sinc", steps=0)])


def test_the_data_behind_the_profiles_rises_from_nothing_to_all():
    _, data = SPECS["performance_profiles"].pair(_systems())
    own = data[data["system"] == "student"].sort_values("threshold")
    assert own["share"].is_monotonic_increasing
    assert (own["share"].iloc[0], own["share"].iloc[-1]) == (0, 1)


def test_a_system_that_is_far_off_does_not_squeeze_the_others():
    _, data = SPECS["performance_profiles"].pair(_systems())
    assert data["threshold"].max() < 3
    assert (data.loc[data["system"] == "sinc", "share"] == 0).all()


def test_better_is_to_the_left_for_every_metric():
    figure = performance_profiles(pd.concat([_systems(), _systems().assign(metric="si_sdr")]))
    lsd, si_sdr = (axis.get_xlim() for axis in figure.axes)
    assert lsd[0] < lsd[1]
    assert si_sdr[0] > si_sdr[1]


def test_a_single_clip_has_no_profile():
    with pytest.raises(NotDrawn, match="fewer than two clips"):
        performance_profiles(tidy(np.ones((2, 1, 1))))
