"""From a run folder to a folder that `from_pretrained` takes and the hub shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lcm import checkpoint
from lcm.paths import Run, write_text
from lcm.pretrained.card import UNSTATED, weights, write_card
from lcm.pretrained.find import CARD, MODEL

_HEADLINES = ("lsd", "lsd_hf", "si_sdr", "hf_bias", "frechet_hf", "rtf")


def pack(run: Path, out: Path, *, half: bool = False, name: str = "", licence: str = UNSTATED, data: str = "") -> dict[str, Any]:
    """Write `model.safetensors`, `card.json` and `README.md`; the card last but one, so that a folder with both is whole.

    Args:
        run: A run folder.
        out: Where to; made, and what is there is replaced.
        half: Whether to store float16; it is loaded as float32.
        name: As for `write_card`.
        licence: As for `write_card`.
        data: As for `write_card`.

    Returns:
        The card.

    Raises:
        LcmError: The folder holds no run, or a file of it is damaged.
    """
    card = write_card(run, name=name, licence=licence, data=data)
    out.mkdir(parents=True, exist_ok=True)
    if half:
        checkpoint.save_half(Run(run).model, out / MODEL)
    else:
        part = out / f"{MODEL}.part"
        shutil.copyfile(Run(run).model, part)
        part.replace(out / MODEL)
    card.update(weights(out / MODEL))
    write_text(out / CARD, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "README.md", readme(card))
    return card


def readme(card: dict[str, Any]) -> str:
    """Return a card as the README of a repository on the hub."""
    codec, sizes = card["codec"], card["sizes"]
    head = {"license": _hub_licence(card["licence"]), "library_name": "lcm-superres", "pipeline_tag": "audio-to-audio"}
    sections = {
        "Use": f"```python\nimport soundfile\nfrom lcm.upscaling.core import Upscaler\n\nupscaler = Upscaler.load({card['name']!r})  # "
        "this folder, or owner/name on the hub\nwaveform, rate = soundfile.read('in.wav')\nrestored = upscaler(waveform.T, rate)\n```",
        "Intended use": card["intended_use"],
        "Limits": card["limits"],
        "Data": card["data"],
        "Results": _table(card),
        "How it was made": f"```\n{card['command']}\n```\n\nCommit {card['commit']}, {card['date']}. Settings: `{CARD}`.",
        "Files": f"{sizes['parameters']:,} numbers ({sizes['storage']}), {sizes['bytes']:,} bytes, identity {card['identity']}. Codec: "
        f"{codec['name']} at {codec['bandwidth_kbps']:g} kbps, {codec['identity']}. Licence: {card['licence']}.",
    }
    front = "".join(f"{key}: {value}\n" for key, value in head.items())
    return f"---\n{front}---\n# {card['name']}\n\n{card['what']}\n" + "".join(f"\n## {k}\n\n{v}\n" for k, v in sections.items())


def _hub_licence(licence: str) -> str:
    """Return the hub's word for a licence."""
    word = licence.strip().lower().replace(" ", "-")
    return word if word in ("mit", "apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0") else "other"


def _table(card: dict[str, Any]) -> str:
    """Return a row for each system, with intervals."""
    systems: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in card["metrics"]:
        interval = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
        key = (row["system"], row["steps"], "on" if row["low_band_copy"] else "off")
        systems.setdefault(key, {})[row["metric"]] = f"{row['mean']:.3g}{interval}"
    if not systems:
        return "Not evaluated."
    n = max(row.get("n", 0) for row in card["metrics"])
    names = [m for m in _HEADLINES if any(m in values for values in systems.values())]
    lines = [["system", "steps", "low-band copy", *names], ["---"] * (3 + len(names))]
    lines += [[*map(str, key), *(values.get(m, "") for m in names)] for key, values in systems.items()]
    told = f"{n} test utterances, protocol {card['protocol']}; 95 % intervals over speakers. Read SI-SDR beside sinc's, which adds nothing."
    return f"{told}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
