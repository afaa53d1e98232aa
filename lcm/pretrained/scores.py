"""What a run's records say in a few rows, with intervals over speakers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lcm.paths import Root, Run
from lcm.records import WHOLE_SET, read_records

METRICS = ("lsd", "lsd_hf", "lsd_lf", "lsd_hf_1e6", "si_sdr", "estoi", "mr_stft", "hf_bias", "fine_structure", "frechet_hf", "rtf")
BASELINES = ("sinc", "degraded_codes", "codec_ceiling")
_DRAWS, _SHARE = 2000, 0.95


def scores(run: Run) -> list[dict[str, Any]]:
    """Return a row for each system, step count, switch of low-band copy and metric; none where the run was not evaluated.

    Plain resampling, the input's codes and the codec's ceiling are beside the model where its root folder has them.

    Returns:
        Rows of system, steps, low_band_copy, metric, unit, mean, low, high (95 % interval, speakers drawn with replacement; null for a
        metric over the whole set or fewer than three speakers), n (utterances), speakers.
    """
    if not run.records.exists():
        return []
    tables = [read_records(run.records)]
    beside = Root(run.folder.resolve().parent.parent).baselines.records
    if beside.exists():
        tables.append(read_records(beside).query("system in @BASELINES"))
    table = pd.concat(tables).query("metric in @METRICS").dropna(subset="value")
    keys = ["system", "steps", "low_band_copy", "metric", "unit"]
    return [_row(dict(zip(keys, key, strict=True)), rows) for key, rows in table.groupby(keys, sort=False)]


def _row(key: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in key.items()}
    per_speaker = rows.groupby("speaker")["value"].agg(["sum", "count"]).to_numpy(np.float64)
    low, high = _interval(per_speaker)
    whole = bool((rows["utterance"] == WHOLE_SET).all())
    count = {} if whole else {"n": len(rows), "speakers": len(per_speaker)}
    return {**plain, "mean": _rounded(rows["value"].mean()), "low": low, "high": high, **count}


def _interval(per_speaker: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return the percentile interval of the mean over utterances, [speakers, (sum, count)], speakers drawn with replacement."""
    if len(per_speaker) < 3:
        return None, None
    drawn = per_speaker[np.random.default_rng(0).integers(len(per_speaker), size=(_DRAWS, len(per_speaker)))].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - _SHARE) / 2, (1 + _SHARE) / 2])
    return _rounded(low), _rounded(high)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
