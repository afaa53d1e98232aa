"""The card of a model: what it is, from what and how it was made, how well it does, what it is for. JSON-able, from a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lcm import checkpoint
from lcm.codec import FRAME_RATE_HZ
from lcm.errors import LcmError
from lcm.model import ModelSpec
from lcm.paths import Run
from lcm.pretrained.scores import scores

SCHEMA = "lcm-card-1"
UNSTATED = "not stated"
_SETTINGS = ("init", "seed", "degradation", "blocks", "network", "reference", "schedule", "objective", "losses", "data", "train")
_WHAT = {
    "consistency": "a one-step consistency model",
    "diffusion": "a diffusion teacher, sampled in several steps",
    "flow": "a flow-matching model, sampled in several steps",
    "regression": "a regression model",
    "token_ce": "a token classifier",
}
_USE = "Restoring the band above the cutoff of band-limited speech, at 24 kHz. Its input is a recording whose upper band is missing."
_LIMITS = (
    "What it adds is plausible, not what was there: no evidence can rest on it. Trained on speech: music and noise are outside its data. "
    "It does not remove noise, clipping or reverberation. Listen before you use it on languages or voices unlike its training data."
)


def write_card(folder: Path, *, name: str = "", licence: str = UNSTATED, data: str = "") -> dict[str, Any]:
    """Collect the card of a run's model.

    Args:
        folder: The run folder: `checkpoints/model.safetensors`, `config.yaml`, `provenance.json` and, once evaluated, `records.parquet`.
        name: What to call it; empty: the folder's name.
        licence: Of the weights.
        data: Sources of the training data and their licences; empty: what the config says.

    Returns:
        name, what, data, licence, metrics (a row each: system, steps, low_band_copy, metric, unit, mean, low, high, n), protocol, commit,
        command, config (without paths), codec, date, sizes, identity (of the weights), intended_use, limits, schema.

    Raises:
        LcmError: The folder holds no run, or a file of it is damaged.
    """
    run = Run(folder)
    spec = checkpoint.load_spec(run.model)
    config, made = read_config(run.config), _read_json(run.provenance)
    codec = config.get("codec", {})
    return {
        "schema": SCHEMA,
        "name": name or folder.resolve().name,
        "what": f"Speech super-resolution to 24 kHz: {_WHAT[spec.kind]} over the latents of {codec.get('name', UNSTATED)}.",
        "licence": licence,
        "data": data or _data(config, made),
        "metrics": scores(run),
        "protocol": made.get("protocol"),
        "commit": f"{made.get('commit') or UNSTATED}{' with changes' if made.get('dirty') else ''}",
        "command": _command(made.get("command", [])),
        "config": {group: config[group] for group in _SETTINGS if group in config},
        "codec": {
            "name": codec.get("name"),
            "bandwidth_kbps": kbps_of(spec),
            "identity": spec.codec,
            "weights": codec.get("weights", "pretrained"),
        },
        "date": str(made.get("written", UNSTATED))[:10],
        **weights(run.model),
        "intended_use": _USE,
        "limits": _LIMITS,
    }


def kbps_of(spec: ModelSpec) -> float:
    """Return the bandwidth of the codec that a model was trained with; entries of 1024 are 10 bits."""
    return sum(spec.partition) * FRAME_RATE_HZ * 10 / 1000


def weights(file: Path) -> dict[str, Any]:
    """Return what a card says of a file: its sizes and identity."""
    tensors = checkpoint.load(file)[0]
    sizes = {"parameters": sum(t.numel() for t in tensors.values()), "bytes": file.stat().st_size}
    kinds = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()})
    return {"sizes": {**sizes, "storage": ", ".join(kinds)}, "identity": checkpoint.identity(file)}


def read_config(file: Path) -> dict[str, Any]:
    """Return a run's resolved config.

    Raises:
        LcmError: It is missing or damaged.
    """
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise LcmError(f"{file} cannot be read ({error}): expected the config.yaml of a run folder.") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise LcmError(f"{file} cannot be read ({error}): expected the provenance.json of a run folder.") from error


def _data(config: dict[str, Any], made: dict[str, Any]) -> str:
    source = {"demo": "speech synthesised by espeak-ng", "libritts": "LibriTTS (CC BY 4.0)", "folder": "a folder of recordings"}
    named = source.get(config.get("corpus", {}).get("source", ""), UNSTATED)
    return f"{named}; manifest {made.get('contents', {}).get('manifest', UNSTATED)}"


def _command(words: list[str]) -> str:
    """Return the command without the machine's own paths."""
    if not words:
        return UNSTATED
    module = Path(words[0])
    first = f"python -m {module.parent.name}.{module.stem}" if module.suffix == ".py" else module.name
    return " ".join([first, *(_without_path(word) for word in words[1:])])


def _without_path(word: str) -> str:
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{Path(value).name}" if Path(value).is_absolute() else word
