"""Print the tables and write them as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lcm.paths import write_text
from lcm.speed import notes, published
from lcm.speed.config import SpeedConfig
from lcm.speed.table import PublishedRow, Row

HONEST = (
    *("system", "K", "network", "calls", "TFLOP", "codec", "batch", "bare ms", "x bare"),
    *("with codec ms", "fastest-slowest", "x with codec", "RTF", "rounds"),
)
PRINTED = ("system", "K", "codec", "batch", "bare ms", "x bare", "with codec ms", "x with codec", "RTF")  # what a terminal has room for
PUBLISHED = ("system", "K", "s a batch of two", "x", "batches")


@dataclass(frozen=True)
class Report:
    """Everything that a run found.

    Attributes:
        config: What was asked for.
        rows: By the honest protocol.
        published: By the reference's.
        machine: Where; see `lcm.speed.machine`.
    """

    config: SpeedConfig
    rows: Sequence[Row]
    published: Sequence[PublishedRow]
    machine: dict[str, Any]

    def print(self, console: Console) -> None:
        """Print both tables and what they mean."""
        for title, head, body in self._tables():
            shown = [i for i, name in enumerate(head) if name in PRINTED or head is not HONEST]
            view = Table(*(head[i] for i in shown), title=title)
            for line in body:
                view.add_row(*(line[i] for i in shown))
            console.print(view)
        for saying in (*self._sayings(), *self._differences()):
            console.print(saying.replace("**", ""), highlight=False, markup=False)

    def write(self, folder: Path) -> list[Path]:
        """Write speed.md, speed.csv and speed.json; return their paths."""
        texts = {"speed.md": self.markdown(), "speed.csv": self._csv(), "speed.json": json.dumps(self.to_dict(), indent=1) + "\n"}
        for name, text in texts.items():
            write_text(folder / name, text)
        return [folder / name for name in texts]

    def _config(self) -> dict[str, Any]:
        """Return the settings with base names in place of this machine's paths."""
        paths = {name: Path(value).name for name in ("root", "folder", "codec_folder") if (value := getattr(self.config, name))}
        return asdict(self.config) | paths | {"audio": [Path(file).name for file in self.config.audio]}

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return {
            "config": self._config(), "machine": self.machine,
            "honest": [row.to_dict() for row in self.rows], "published": [row.to_dict() for row in self.published],
        }  # fmt: skip

    def markdown(self) -> str:
        """Return the tables with what a reader has to know."""
        facts = "; ".join(f"{name} {value}" for name, value in self.machine.items() if name != "command")
        parts = ["# Speed", f"`{self.machine['command']}`", facts, "\n".join(f"- {line}" for line in self._sayings())]
        for title, head, body in self._tables():
            lines = [head, ["---"] * len(head), *body]
            parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts.append("## Where the protocols differ\n\n" + "\n".join(f"- {line}" for line in self._differences()))
        return "\n\n".join(parts) + "\n"

    def _tables(self) -> list[tuple[str, Sequence[str], list[list[str]]]]:
        seconds = f"clips of {self.config.seconds:g} s; milliseconds a clip, medians; x: times less than audiocraft's one by one"
        tables: list[tuple[str, Sequence[str], list[list[str]]]] = [(f"Honest: {seconds}", HONEST, list(map(_honest, self.rows)))]
        if self.published:
            theirs = [
                ["the reference's table", "32", f"{published.TEACHER_S} / {published.STUDENT_S}", "557", "<= 100"],
                ["its row for batches", "32", f"{published.TEACHER_BATCH_S} / {published.STUDENT_BATCH_S}", "499", ""],
            ]
            title = "As published: no synchronisation, no warm-up, no codec; means over batches of two; x: times less than its teacher"
            tables.append((title, PUBLISHED, [*(_published(row) for row in self.published), *theirs]))
        return tables

    def _sayings(self) -> list[str]:
        load = float(self.machine.get("load", 0.0))
        return [*notes.headline(self.rows), *(notes.goals(self.rows) if self.config.whole_chain else []), *notes.caveats(self.config, load)]

    def _differences(self) -> Sequence[str]:
        return notes.DIFFERENCES if self.published else ()

    def _csv(self) -> str:
        names = [f.name for f in fields(Row)]
        file = io.StringIO()
        writer = csv.DictWriter(file, ["protocol", *names, *(n for n in ("batch_s", "ratio", "batches"))], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({"protocol": "honest", **row.to_dict()} for row in self.rows)
        writer.writerows({"protocol": "published", **row.to_dict()} for row in self.published)
        return file.getvalue()


def _honest(row: Row) -> list[str]:
    if row.missing:
        return [row.system, "", f"not measured: {row.missing}", "", "", "not measured", *[""] * (len(HONEST) - 6)]
    spread = f"{_ms(row.fastest_s)}-{_ms(row.slowest_s)}"
    return [
        row.system, str(row.codebooks), row.network, str(row.calls or ""), _number(row.tflop, 3), row.codec, str(row.batch),
        _ms(row.network_s if row.calls else None), _number(row.bare_ratio), _ms(row.whole_s), spread, _number(row.whole_ratio),
        _number(row.whole_rtf, 3), str(row.rounds),
    ]  # fmt: skip


def _published(row: PublishedRow) -> list[str]:
    return [row.system, str(row.codebooks), _number(row.batch_s, 4), _number(row.ratio), str(row.batches)]


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else _number(1e3 * seconds)


def _number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits that count, and none made up."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.{digits}g}"
