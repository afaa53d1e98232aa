"""How training went: the loss of every run, and learning curves over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.curves import load_curves
from analysis.figures.spec import Pair, plot
from analysis.figures.style import FAINT, INK, SERIES, NotDrawn, end_labels, footnote, panels, paper, plain_log, shortened
from analysis.names import metric as describe

LOSS_NAMES = ("loss", "total", "loss/total", "train/loss", "loss_total", "train/loss/total")
LOSS_COLUMNS = 4
LINES = 24
"""Most runs drawn in a panel of training losses: more are a smear."""
ROWS = 300
"""Most values kept of a run's curve: a page is not wider."""
SHOWN = 8
"""Most points with a learning curve of their own."""
KEY_CHARACTERS = 130
"""Characters of the key in a line across the page."""
VALID = "valid/"
LOOKS = {"chosen": (SERIES[0], "-"), "best": (SERIES[1], "--")}
ROLES = {"chosen": " (chosen)", "best": " (best student)"}


@plot("Training loss", source=load_curves)
def training_loss(scalars: pd.DataFrame) -> Pair:
    """Draw the training loss of runs, one panel per objective: their scales cannot be compared.

    Args:
        scalars: columns run, step, name, value, objective, from `load_scalars` or `load_curves`.

    Returns:
        The figure; its data has the values drawn, with a running mean in column `smooth`.

    Raises:
        NotDrawn: no run has written its loss.
    """
    data = _thinned(_losses(scalars))
    objectives = list(dict.fromkeys(data["objective"]))
    drawn = pd.concat([_spread_runs(data[data["objective"] == o]) for o in objectives], ignore_index=True)
    with paper():
        figure, axes = panels(len(objectives), rows=-(-len(objectives) // LOSS_COLUMNS))
        for axis, objective in zip(axes, objectives, strict=True):
            _loss_panel(axis, drawn[drawn["objective"] == objective], objective)
        axes[0].set_ylabel("Training loss")
        some = " Of many runs some, spread evenly from the lowest to the highest final loss." if len(drawn) < len(data) else ""
        footnote(figure, f"One line per run, running mean over a twentieth of it. Each objective has a scale of its own.{some}")
    return figure, drawn


def _losses(scalars: pd.DataFrame) -> pd.DataFrame:
    """Return each run's training loss with its running mean over a twentieth of the values logged."""
    name = next((n for n in LOSS_NAMES if (scalars["name"] == n).any()), None)
    own = scalars["name"] == (name or scalars["objective"])  # without a total, the objective's own term stands for it
    if not own.any():
        names = ", ".join(LOSS_NAMES)
        raise NotDrawn(f"no run has a scalars.csv with its objective's term or one of {names}: copy it beside the records")
    data = scalars[own].sort_values(["objective", "run", "step"], ignore_index=True)
    width = max(1, int(data.groupby("run").size().median()) // 20)
    smooth = data.groupby("run", sort=False)["value"].rolling(width, min_periods=1).mean()
    return data.assign(smooth=smooth.droplevel(0))


def _thinned(data: pd.DataFrame) -> pd.DataFrame:
    """Keep at most `ROWS` values of a run, evenly spaced, its last one among them."""
    place, size = data.groupby("run").cumcount(ascending=False), data.groupby("run")["step"].transform("size")
    return data[place % -(-size // ROWS) == 0].reset_index(drop=True)


def _spread_runs(data: pd.DataFrame) -> pd.DataFrame:
    final = data.groupby("run")["smooth"].last().sort_values(kind="stable")
    picked = final.index[np.unique(np.linspace(0, len(final) - 1, min(len(final), LINES)).astype(int))]
    return data[data["run"].isin(picked)]


def _loss_panel(axis: Axes, data: pd.DataFrame, objective: str) -> None:
    runs = list(dict.fromkeys(data["run"]))
    for index, run in enumerate(runs):
        own = data[data["run"] == run]
        alpha = 0.9 if len(runs) < 6 else 0.55
        axis.plot(own["step"], own["smooth"], linewidth=0.9, color=SERIES[index % len(SERIES)], alpha=alpha)
    if (data["smooth"] > 0).all():
        axis.set_yscale("log")
        plain_log(axis.yaxis)
    there = int(data["runs"].iloc[0]) if "runs" in data else len(runs)
    of_all = f"{len(runs)} of {there:,}" if there > len(runs) else f"{len(runs)}"
    axis.set_title(f"{objective} ({of_all} run{'s' * (there > 1)})")
    axis.set_xlabel("Training step")


@plot("Learning curves", source=load_curves)
def learning_curves(scalars: pd.DataFrame) -> Pair:
    """Draw the validation metrics over training, mean over each point's seeds; without validation the training loss.

    Args:
        scalars: what `load_curves` returns.

    Returns:
        The figure; its data has one row per metric, point and step: mean, low and high over seeds, seeds, and whether it is drawn.

    Raises:
        NotDrawn: no run has written a validation metric or a loss.
    """
    values, note = _progress(scalars)
    keys = ["name", "signature", "label", "role", "step"]
    data = values.groupby(keys, sort=False)["value"].agg(mean="mean", low="min", high="max", seeds="count").reset_index()
    data = data.assign(drawn=data["signature"].isin(_to_draw(data)))
    names = list(dict.fromkeys(data["name"]))
    with paper():
        figure, axes = panels(len(names), height=3.0 if len(names) == 1 else 3.4)
        for axis, name in zip(axes, names, strict=True):
            _curve_panel(axis, data[data["name"] == name], name)
        footnote(figure, f"{note} {_counts(data, scalars)}")
        _name_curves(figure, {axis: data[(data["name"] == name) & data["drawn"]] for axis, name in zip(axes, names, strict=True)})
    return figure, data


def _progress(scalars: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the curves that points can be compared by, as columns name, signature, label, role, step, value, and what they are."""
    valid = [f"{VALID}{m}" for m in ("lsd_hf", "si_sdr") if (scalars["name"] == f"{VALID}{m}").any()]
    if valid:
        return scalars[scalars["name"].isin(valid)].sort_values(["name", "step"]), "Validation clips, averaged weights."
    losses = _losses(scalars)
    objective = next(iter(losses["objective"][losses["role"] != ""]), losses["objective"].mode()[0])
    own = _thinned(losses[losses["objective"] == objective])
    note = f"No validation (train.validate_every=0): training loss of {objective}, running mean; other objectives' cannot be compared."
    return own.assign(value=own["smooth"], name=f"Training loss of {objective}"), note


def _to_draw(data: pd.DataFrame) -> list[str]:
    """Choose the points drawn one by one: the chosen, the best, and others evenly spread from best to worst at the end."""
    first = data[data["name"] == data["name"].iloc[0]]
    final = first.groupby("signature")["mean"].last().sort_values(kind="stable")
    named = list(dict.fromkeys(first.loc[first["role"] != "", "signature"]))
    rest = [s for s in final.index if s not in named]
    places = np.unique(np.linspace(0, len(rest) - 1, min(len(rest), SHOWN - len(named))).astype(int))
    return [*named, *(str(rest[i]) for i in places if rest)]


def _curve_panel(axis: Axes, data: pd.DataFrame, name: str) -> None:
    others = data[~data["drawn"]]
    if len(others):
        bounds = others.groupby("step")["mean"].quantile([0.05, 0.95]).unstack()
        axis.fill_between(bounds.index, bounds[0.05], bounds[0.95], color="#e3e5e9", linewidth=0, zorder=1)
    for (_, role), own in data[data["drawn"]].groupby(["signature", "role"], sort=False):
        colour, dash = LOOKS.get(str(role), (FAINT, "-"))
        axis.plot(own["step"], own["mean"], color=colour, linestyle=dash, linewidth=1.5 if role else 0.8, zorder=4 if role else 2)
        if role:
            axis.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.18, linewidth=0, zorder=3)
    axis.set_xlabel("Training step")
    axis.set_ylabel(describe(name.removeprefix(VALID)).axis if name.startswith(VALID) else name)


def _name_curves(figure: Figure, drawn: dict[Axes, pd.DataFrame]) -> None:
    """Name the curves at their ends; of several panels by numbers, with a key above, for names would take their width."""
    last = {axis: own.sort_values("step").groupby("signature", sort=False).tail(1) for axis, own in drawn.items()}
    first = next(iter(last.values())).sort_values("mean", ascending=False).to_dict("records")
    names = {row["signature"]: str(row["label"]) + ROLES.get(str(row["role"]), "") for row in first}
    numbers = {signature: str(number) for number, signature in enumerate(names, start=1)}
    single = len(drawn) == 1
    if not single:
        key = [f"{numbers[s]}  {shortened(name, 60)}" for s, name in names.items()]
        blank = [Line2D([], [], linestyle="none") for _ in key]
        columns = max(1, min(4, KEY_CHARACTERS // max(map(len, key))))
        figure.legend(blank, key, loc="outside upper left", ncols=columns, handlelength=0, handletextpad=0.3, fontsize=6.8)
    figure.canvas.draw()  # heights of the panels are final only after the layout has run
    for axis, own in last.items():
        rows = [row for row in own.to_dict("records") if row["signature"] in names]
        texts = [shortened(names[row["signature"]], 40) if single else numbers[row["signature"]] for row in rows]
        colours = [LOOKS.get(str(row["role"]), (INK, "-"))[0] for row in rows]
        end_labels(axis, [(float(row["mean"]), t, c) for row, t, c in zip(rows, texts, colours, strict=True)], size=6.2)


def _counts(data: pd.DataFrame, scalars: pd.DataFrame) -> str:
    others = data.loc[~data["drawn"], "signature"].nunique()
    read, there = scalars["signature"].nunique(), int(scalars["points"].iloc[0])
    text = "Lines: mean over a point's seeds; shade: from the lowest to the highest seed."
    if others:
        text += f" Grey band: where 90 % of {others} other points lie."
    return text + (f" {read} of {there:,} points were read, evenly spread over the sweep." if there > read else "")
