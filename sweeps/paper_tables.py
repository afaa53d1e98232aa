"""Rows of `python -m sweeps.paper`: measured again by the reference's protocol, and read from the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean

import pandas as pd
import torch

from lcm.codec import HOP
from lcm.errors import LcmError
from lcm.mbd.system import mbd_system
from lcm.model import Model
from lcm.paths import Root
from lcm.records import WHOLE_SET, read_records
from lcm.speed import published as protocol
from lcm.speed.diffusion import stock_mbd
from lcm.speed.quality import score
from lcm.speed.timed import Timed, of_model
from lcm.systems import NAMES, model_system
from lcm.teachers.mbd import MbdTeacher
from sweeps.paper_root import PaperRoot, Point

Columns = Sequence[str]
PUBLISHED: Columns = ("system", "target", "seeds", "clips", "SI-SDR dB", "STOI", "s a batch of two", "x")
HONEST: Columns = ("system", "steps", "low-band copy", "points", "SI-SDR dB", "STOI", "LSD-HF", "s a clip with codec", "RTF", "x")
REFERENCE = (
    ("the reference's teacher, as it published", "", "", "<= 200", "-8.47", "0.921", "61.837", "1"),
    ("the reference's student, as it published", "", "", "<= 200", "3.27", "0.894", "0.111", "557"),
)
STEPS = {"consistency": (1, 2, 4), "diffusion": (18,)}
MEASURES = ("si_sdr", "stoi", "lsd_hf", "time_total", "rtf")


def published(found: PaperRoot, clips: int, mbd_clips: int, tell: Callable[[str], object] = lambda _: None) -> list[list[str]]:
    """Return the table of the reference's protocol; MultiBandDiffusion's row says why where it has no numbers."""
    used = found.clips[:clips]
    pairs = _pairs(found, clips)
    rows, teacher_s = _teacher_row(found, min(clips, mbd_clips), tell)
    ordered = sorted(found.points, key=_kind)
    for _, members in groupby(ordered, _kind):
        points = list(members)
        for steps in STEPS.get(points[0].model.spec.kind, (1,)):
            systems = [model_system(p.model, found.codec, steps=steps, seed=0) for p in points]
            scores = [score(system, used, tell=tell) for system in systems]
            seconds = _batch_s(_timed(points[0].model, found, steps), pairs)
            name = _name(points[0], steps)
            means = (mean(s["si_sdr"] for s in scores), mean(s["stoi"] for s in scores))
            rows.append(_row(name, points[0].target, len(points), len(used), means, seconds, teacher_s))
    without = [[name, "", "", "", f"left out: {why}", "", "", ""] for name, why in found.without.items()]
    return [*rows, *without, *(list(row) for row in REFERENCE)]


def _kind(point: Point) -> tuple[str, str]:
    return NAMES[point.model.spec.kind], point.target


def _name(point: Point, steps: int) -> str:
    kind = point.model.spec.kind
    named = {"token_ce": "reference's student", "diffusion": "latent teacher"}.get(kind, NAMES[kind])
    return f"{named}, {steps} step{'s' if steps > 1 else ''}" if len(STEPS.get(kind, ())) > 1 else named


def _row(name: str, target: str, seeds: int, clips: int, scores: tuple[float, float], seconds: float, stock: float | None) -> list[str]:
    ratio = f"{stock / seconds:.0f}" if stock else ""
    return [name, target, str(seeds), str(clips), f"{scores[0]:.2f}", f"{scores[1]:.3f}", f"{seconds:.4g}", ratio]


def _teacher_row(found: PaperRoot, clips: int, tell: Callable[[str], object]) -> tuple[list[list[str]], float | None]:
    """Return MultiBandDiffusion's row, scored as stored, and its seconds a batch."""
    try:
        if not clips:
            raise LcmError("--mbd-clips 0")
        teacher = MbdTeacher(found.mbd, found.codec)
    except LcmError as error:
        return [["MultiBandDiffusion", "", "", "", f"not measured: {error}", "", "", ""]], None
    used = found.clips[:clips]
    scores = score(mbd_system(teacher, found.codec, seed=0), used, stored=True, tell=tell)
    del teacher  # gigabytes: audiocraft's own sampler is timed, with the same weights
    tell("audiocraft's MultiBandDiffusion: batches of two")
    seconds = _batch_s(stock_mbd(found.mbd, found.codec), _pairs(found, clips))
    row = _row("MultiBandDiffusion, as stored", "", 1, len(used), (scores["si_sdr"], scores["stoi"]), seconds, seconds)
    return [row], seconds


def _pairs(found: PaperRoot, clips: int) -> list[torch.Tensor]:
    """Return at most 100 batches of two test clips, each padded to one length of whole frames [2, 1, T]."""
    used = list(found.clips[:clips])
    used += used[:1] * (len(used) % protocol.BATCH)
    pairs = zip(used[:: protocol.BATCH], used[1 :: protocol.BATCH], strict=True)
    return [_padded([clip.degraded for clip in pair]) for pair in pairs][: protocol.BATCHES]


def _padded(clips: Sequence[torch.Tensor]) -> torch.Tensor:
    length = -(-max(len(clip) for clip in clips) // HOP) * HOP
    return torch.stack([torch.nn.functional.pad(clip, (0, length - len(clip))) for clip in clips])[:, None]


def _batch_s(timed: Timed, pairs: Sequence[torch.Tensor]) -> float:
    """Return the mean seconds of batches as the reference's clock sees them."""
    return mean(protocol.measure([timed], pair, repeats=1, slow_repeats=1)[0].mean_s for pair in pairs)


def _timed(model: Model, found: PaperRoot, steps: int) -> Timed:
    return of_model(model.to(found.codec.device), found.codec, key="point", label="", network="", steps=steps)


def honest(folder: Path) -> list[list[str]]:
    """Return the means of a root's records: quality beside resampling and the codec's ceiling, times with encoding and decoding.

    Raises:
        LcmError: Nothing has been evaluated.
    """
    root = Root(folder)
    files = [root.baselines.records, *sorted(folder.glob("teachers/*/records.parquet")), *sorted(root.points.glob("*/records.parquet"))]
    tables = [read_records(file) for file in files if file.exists()]
    if not tables:
        raise LcmError(f"{folder} holds no records: let its points finish (python -m sweeps status {folder}).")
    records = pd.concat(tables)
    records = records[(records.utterance != WHOLE_SET) & records.metric.isin(MEASURES)]
    keys = ["system", "steps", "low_band_copy"]
    wide = records.groupby([*keys, "metric"]).value.mean().unstack("metric")
    points = records.assign(point=records.signature + "-s" + records.seed.astype(str)).groupby(keys).point.nunique()
    mbd = wide.loc["mbd"].time_total.min() if "mbd" in wide.index.get_level_values("system") else None
    rows = [_honest_row(key, row, int(points[key]), mbd) for key, row in wide.iterrows()]
    return rows if mbd else [*rows, ["mbd", "", "", "", "not evaluated here", "", "", "", "", ""]]


def _honest_row(key: tuple[str, int, bool], row: pd.Series, points: int, mbd: float | None) -> list[str]:
    system, steps, copied = key
    seconds = float(row.time_total)
    ratio = f"{mbd / seconds:.1f}" if mbd and seconds > 0 else ""
    quality = (f"{row.si_sdr:.2f}", f"{row.stoi:.3f}", f"{row.lsd_hf:.2f}")
    return [system, str(steps or ""), "yes" if copied else "", str(points), *quality, f"{seconds:.4g}", f"{row.rtf:.3g}", ratio]
