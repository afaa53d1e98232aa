"""What the config groups offer and where fields are explained, as `--help` shows it; read from the files themselves."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import OmegaConf

CONF = Path(__file__).parent / "conf"
TITLES = {
    "objective": "what is learnt; part of every point",
    "ablation": "the axis of a sweep; several as [a,b]",
    "profile": "size of the training",
    "preset": "settings that belong together, perhaps with their sweep",
    "system": "what +preset=paper compares",
    "teacher": "what the student's target is",
    "hydra/launcher": "where the points of a sweep run",
}
LAUNCHERS = {
    "basic": "Here, one after the other. The default.",
    "slurm_sweep": "Jobs that resume, on SLURM (hydra.launcher.cluster=2x48gb, or a profile of yours) or here (local); returns at once.",
    "submitit_slurm": "hydra's own launcher for SLURM: waits for the jobs, packs and resumes nothing.",
    "submitit_local": "The same as processes of this machine.",
}
FIELDS = {
    "root, seed, init, shards, jobs, scratch, blocks.*": "sweeps/config.py",
    "corpus.*": "lcm/corpus/config.py",
    "degradation.*": "lcm/degrade.py",
    "codec.*": "lcm/codec.py",
    "teacher.*": "lcm/teachers/base.py",
    "network.*": "lcm/network.py",
    "reference.*": "lcm/reference.py",
    "schedule.*": "lcm/schedule.py",
    "objective.*": "lcm/objectives/base.py",
    "losses.*": "lcm/losses.py",
    "data.*": "lcm/data.py",
    "train.*": "lcm/training/optim.py",
    "evaluate.*": "lcm/evaluate.py",
    "hydra.launcher.*": "sweeps/sweep/settings.py",
}


def options(group: str) -> dict[str, str]:
    """Return the options of a config group and what each is for: the first sentence of its comment."""
    if group == "hydra/launcher":
        return LAUNCHERS
    return {file.stem: _first_sentence(file) for file in sorted((CONF / group).glob("*.yaml"))}


def _first_sentence(file: Path) -> str:
    """Return the first sentence of the comment at the top of a file, `# @package` apart."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    comment = " ".join(line.removeprefix("#").strip() for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")])
    return re.split(r"(?<=[.?]) (?=[A-Z])", comment)[0]


def register() -> None:
    """Let hydra's help template name them, as `${options:GROUP}` and `${fields:}`."""
    OmegaConf.register_new_resolver("options", _section, replace=True)
    OmegaConf.register_new_resolver("fields", lambda: _columns(FIELDS), replace=True)


def _section(prefixed: str) -> str:
    group = prefixed.removeprefix("+")
    return f"{prefixed}=    {TITLES[group]}\n{_columns(options(group))}"


def _columns(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "".join(f"  {name:{width}}  {text}\n" for name, text in rows.items()).replace("$", "$$")
