"""Build the systems, time them by both protocols, print and write the table."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lcm.codec import Codec, best_device, load_codec
from lcm.codec_speed import fast
from lcm.errors import LcmError
from lcm.speed import honest, networks, published
from lcm.speed.clips import clips
from lcm.speed.config import SpeedConfig
from lcm.speed.machine import machine
from lcm.speed.operations import tflop
from lcm.speed.report import Report
from lcm.speed.table import published_rows, rows
from lcm.speed.timed import Timed, of_codec


def run(config: SpeedConfig, output: Path | None = None, console: Console | None = None) -> Report:
    """Measure, print and write.

    Args:
        config: What is timed.
        output: Folder for speed.md, speed.csv and speed.json.
        console: Where to print.

    Raises:
        LcmError: A codec, recording or root cannot be read.
    """
    console = console or Console()
    console.width = max(console.width, 120)  # of a table; a file or a pipe has no width of its own
    with _told(console) as tell:
        report = measure(config, tell)
    report.print(console)
    for path in report.write(output) if output else []:
        console.print(f"written: {path}", highlight=False)
    return report


def measure(config: SpeedConfig, tell: Callable[[str], object] = lambda _: None) -> Report:
    """Time every wanted system by both protocols."""
    here = machine()
    audio = clips(max(2, config.batch), config.seconds, config.audio)
    systems, missing = build(config, tell)
    if not systems:
        raise LcmError(f"There is nothing to time: {'; '.join(f'{name}: {why}' for name, why in missing.items())}")
    counts = {"repeats": config.repeats, "slow_repeats": config.mbd_repeats}
    as_published = published.measure(systems, audio, tell=tell, **counts) if config.reference else []  # first: it has no warm-up
    timings = honest.measure(systems, audio, batch=config.batch, tell=tell, **counts)
    tflops = {id(system): tflop(system, audio[:1]) for system in systems}
    return Report(config, rows(timings, missing, tflops), published_rows(as_published), here)


def build(config: SpeedConfig, tell: Callable[[str], object] = lambda _: None) -> tuple[list[Timed], dict[str, str]]:
    """Return the systems, and those that cannot be measured with the reason."""
    systems: list[Timed] = []
    missing: dict[str, str] = {}
    for number, kbps in enumerate(sorted(config.kbps, reverse=True)):
        codec = load_codec(config.codec_config(kbps)).to(best_device())
        own = fast(codec) if config.fast_codec else codec
        codec_name = "as published" if own is codec else "fast"
        if number == 0:
            tell("building MultiBandDiffusion")
            _add_diffusion(config, codec, own, codec_name, systems, missing)
        tell(f"building networks for {codec.n_q} codebooks")
        systems += networks.untrained(config, codec, own, codec_name)
        for found in networks.trained(Path(config.root), codec, own, codec_name) if config.root else []:
            if isinstance(found, Timed):
                systems.append(found)
            else:
                missing[f"{found[0]} with {codec.n_q} codebooks"] = found[1]
        if config.wants("codec"):
            systems += [of_codec(own, codec_name), *([of_codec(codec, "as published")] if own is not codec else [])]
    return systems, missing


def _add_diffusion(config: SpeedConfig, codec: Codec, own: Codec, name: str, systems: list[Timed], missing: dict[str, str]) -> None:
    """Add MultiBandDiffusion where audiocraft and its weights are there; it needs none of our systems and they need none of it."""
    for key, make in _diffusions(config, codec, own, name).items():
        if not config.wants(key):
            missing[f"MultiBandDiffusion ({key})"] = "left out by --only"
            continue
        try:
            systems.append(make())
        except LcmError as error:
            missing[f"MultiBandDiffusion ({key})"] = str(error)
    gc.collect()  # gigabytes


def _diffusions(config: SpeedConfig, codec: Codec, own: Codec, name: str) -> dict[str, Callable[[], Timed]]:
    from lcm.speed.diffusion import fast_mbd, stock_mbd

    teacher = config.mbd(codec.n_q)
    return {"mbd": lambda: stock_mbd(teacher, codec), "mbd-fast": lambda: fast_mbd(teacher, codec, own, name)}


@contextmanager
def _told(console: Console) -> Iterator[Callable[[str], object]]:
    """Show what is being measured, and for how long."""
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda text: bar.update(task, description=text)
