"""The bars that a one-step student is held to, as one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TEACHER_STEPS = 18


@dataclass(frozen=True)
class Rule:
    """What the student must show against a rival. Worsening is how much worse the student is; negative is better.

    Attributes:
        text: the criterion in words.
        margin: the worsening's 95 % interval must end below it; NaN where nothing is asked.
        relative: whether the worsening is a share of the rival's mean, else in the metric's unit.
    """

    text: str
    margin: float
    relative: bool = False


BETTER = Rule("better, interval without 0", 0.0)
SHOW = Rule("beside it", np.nan)
COST = Rule("beside it", np.nan, relative=True)


def at_most(share: float) -> Rule:
    """Return the rule of at most this share worse."""
    return Rule(f"at most {100 * share:g} % worse", share, relative=True)


def at_most_db(margin_db: float) -> Rule:
    """Return the rule of at most so many dB worse."""
    return Rule(f"at most {margin_db:g} dB worse", margin_db)


@dataclass(frozen=True)
class Bar:
    """One bar: the student against one rival in one metric.

    Attributes:
        group: which question it belongs to.
        rival: the other system; "student" for the student itself at one step.
        metric: metric of the records.
        rule: what is asked.
        copy: with low-band copy, or raw.
        steps: the student's steps.
        rival_steps: the rival's steps.
        asked: whether the bar counts; the others stand beside it.
    """

    group: str
    rival: str
    metric: str
    rule: Rule
    copy: bool = True
    steps: int = 1
    rival_steps: int = 1
    asked: bool = True


TEACHER = "One step against the 18-step Heun teacher (35 calls)"
TOKENS = "One step against token_ce"
RIVAL = "One step against regression"
BOTH_SIDES = "One step against regression, on both sides"
CODEC = "One step against the codec and the resamplers"
STEPS = "More steps against one"
POINT_METRICS = ("lsd", "lsd_hf", "mr_stft")
BARS: tuple[Bar, ...] = (
    *(Bar(TEACHER, "teacher", m, at_most(0.02), c, rival_steps=TEACHER_STEPS) for c in (True, False) for m in POINT_METRICS),
    *(Bar(TEACHER, "teacher", "si_sdr", at_most_db(0.3), c, rival_steps=TEACHER_STEPS) for c in (True, False)),
    *(Bar(TEACHER, "teacher", m, COST, rival_steps=TEACHER_STEPS, asked=False) for m in ("time_network", "time_total")),
    *(Bar(TOKENS, "token_ce", m, BETTER, c, asked=c) for c in (True, False) for m in POINT_METRICS),
    *(Bar(TOKENS, "token_ce", "si_sdr", SHOW, c, asked=False) for c in (True, False)),
    *(Bar(RIVAL, "regression", m, BETTER, c, asked=c) for c in (True, False) for m in ("hf_bias", "fine_structure", "frechet_hf")),
    *(Bar(RIVAL, "regression", "lsd_hf", at_most(0.05), c, asked=c) for c in (True, False)),
    *(Bar(BOTH_SIDES, "regression", m, BETTER, c, asked=False) for c in (True, False) for m in (*POINT_METRICS, "si_sdr")),
    Bar(CODEC, "codec_ceiling", "lsd_hf", at_most(0.2), rival_steps=0),
    *(Bar(CODEC, rival, "lsd_hf", BETTER, rival_steps=0) for rival in ("zero_order_hold", "degraded_codes")),
    Bar(CODEC, "sinc", "si_sdr", at_most_db(1.5), rival_steps=0),
    *(Bar(STEPS, "student", "lsd_hf", at_most(0.02), c, n, asked=c) for c in (True, False) for n in (2, 4)),
    *(Bar(STEPS, "student", "frechet_hf", BETTER, c, n, asked=c) for c in (True, False) for n in (2, 4)),
)
"""Every bar of the project. `asked=False`: shown beside the bars, as SI-SDR, which rewards adding nothing, and the raw output."""
