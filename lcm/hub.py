"""Where the Hugging Face hub's tools, and audiocraft through them, keep what they have fetched. Nothing is fetched here."""

from __future__ import annotations

from pathlib import Path

from lcm.offline import job_environment


def caches() -> list[Path]:
    """Return the folders that hold fetched repositories: audiocraft's and the hub's own, as jobs see them."""
    names = job_environment()
    return list(dict.fromkeys([Path(names["AUDIOCRAFT_CACHE_DIR"]), Path(names["HF_HUB_CACHE"])]))


def snapshots(cache: Path, repository: str) -> list[Path]:
    """Return the folders of a repository's fetched revisions in a cache, newest first."""
    found = (cache / f"models--{repository.replace('/', '--')}" / "snapshots").glob("*")
    return sorted((f for f in found if f.is_dir()), key=lambda folder: folder.stat().st_mtime, reverse=True)
