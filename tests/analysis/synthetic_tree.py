"""A small results tree with known effects, written through the real formats."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import yaml

from lcm.records import BAND_METRICS, COLUMNS, UNITS, band_hz, write_clips, write_records

RATE_HZ = 24_000


@dataclass
class Tree:
    """Writes run folders below `root`; each value is truth + speaker + utterance + run effects, all keyed by their names."""

    root: Path
    speakers: int = 6
    clips: int = 4
    protocol: int = 1
    truth: dict = field(default_factory=dict)
    cutoffs_hz: tuple = (6000.0,)  # of the clips, in turn

    def utterances(self):
        return [(f"spk{s}", f"spk{s}_utt{u}") for s in range(self.speakers) for u in range(self.clips)]

    def rows(self, signature, seed, system, steps, means, copies=(True, False), noise=0.05, run_noise=0.02):
        own = np.random.default_rng([seed, *f"{signature}{system}{steps}".encode()])
        shared = np.random.default_rng(7)
        common = {utterance: shared.normal() * 0.3 for _, utterance in self.utterances()}
        for metric, mean in means.items():
            shift = own.normal() * run_noise
            for copy in copies:
                gain = 0.0 if copy or len(copies) == 1 else {"si_sdr": -6.0, "lsd_hf": 0.1}.get(metric, 0.0)
                base = [signature, seed, system]
                tail = [steps, copy, metric]
                if metric == "frechet_hf":
                    yield [*base, "*", "*", *tail, mean + shift, UNITS[metric], self.protocol]
                    continue
                for speaker, utterance in self.utterances():
                    scale = {"time_total": 0.02 * mean, "time_network": 0.02 * mean, "rtf": 0.02 * mean, "stoi": 0.02}.get(metric, 1.0)
                    value = mean + gain + scale * (common[utterance] + shift + noise * own.normal())
                    yield [*base, utterance, speaker, *tail, value, UNITS[metric], self.protocol]

    def facts(self):
        cutoffs = itertools.cycle(self.cutoffs_hz)
        return pd.DataFrame([
            {"utterance": u, "speaker": s, "seconds": 3.0, "cutoff_hz": next(cutoffs), "bandwidth_hz": 12_000.0, "family": "fft"}
            for s, u in self.utterances()
        ])  # fmt: skip

    def run(self, name, rows, config=None, state="done", error=None, samples=(), curve=False, train_seconds=None, gpus=()):
        folder = self.root / name
        folder.mkdir(parents=True)
        self.records(folder, list(rows))
        status = {"state": state, "step": 200, "steps": 200, "error": error, "updated": "2025-01-01T00:00:00+00:00"}
        (folder / "status.json").write_text(json.dumps(status | ({"train_seconds": train_seconds} if train_seconds else {})))
        origin = {"commit": "abc1234", "torch": "2.13.0", "device": "cpu", "gpus": list(gpus)}
        (folder / "provenance.json").write_text(json.dumps(origin))
        write_clips(folder / "clips.csv", self.facts())
        (folder / "config.yaml").write_text(yaml.safe_dump(config or {}, allow_unicode=True), encoding="utf-8")
        for system, tilt in samples:
            self.samples(folder, system, tilt)
        if curve:
            lines = [f"{step},loss,{2 * np.exp(-step / 80) + 0.3}" for step in range(0, 200, 5)]
            if curve is not True:  # the value that validation ends near
                lines += [f"{step},valid/lsd_hf,{curve + np.exp(-step / 40)}" for step in range(19, 200, 20)]
            (folder / "scalars.csv").write_text("\n".join(["step,name,value", *lines]))
        return folder

    def records(self, folder, rows):
        write_records(folder / "records.parquet", pd.DataFrame(rows, columns=list(COLUMNS)))

    def samples(self, folder, system, tilt):
        for _, utterance in self.utterances()[:2]:
            path = folder / "samples" / utterance / f"{system}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            time = np.arange(int(1.2 * RATE_HZ)) / RATE_HZ
            tone = sum(0.1 * np.sin(2 * np.pi * 180 * k * time) / k for k in range(1, 32))
            noise = np.diff(np.random.default_rng(3).normal(size=time.size + 1)) * 0.02 * tilt
            soundfile.write(path, np.clip((tone + noise) * np.hanning(time.size), -1, 1), RATE_HZ)


def means(lsd_hf, si_sdr, time_s, stoi=0.95, frechet=20.0, hf_bias=-1.0, fine=0.9):
    return {
        "lsd_hf": lsd_hf, "si_sdr": si_sdr, "stoi": stoi, "time_total": time_s, "rtf": time_s / 3, "frechet_hf": frechet,
        "lsd": lsd_hf * 0.8, "mr_stft": lsd_hf * 0.6, "hf_bias": hf_bias, "fine_structure": fine, "time_network": time_s / 2,
    }  # fmt: skip


def bands(lsd_hf, lsd_lf=0.3):
    """Return the LSD in bands: `lsd_lf` below 6 kHz, `lsd_hf` above."""
    return {name: lsd_hf if band_hz(name)[0] >= 6000 else lsd_lf for name in BAND_METRICS}


def config(objective="ect", partition=(1, 1, 2, 4), mr_stft=1.0, steps=200, **parameters):
    losses = {"mr_stft": mr_stft, "si_sdr": 0.0, "auto_every": 200, "auto": parameters.pop("auto", {})}
    return {
        "objective": {"name": objective, **parameters}, "blocks": {"partition": list(partition)}, "losses": losses,
        "train": {"steps": steps}, "seed": 0,
    }  # fmt: skip


PARTITIONS = {"8": (8,), "4-4": (4, 4), "1-1-2-4": (1, 1, 2, 4)}


def fill(tree, *, student=1.10, token_ce=1.60, regression=1.10, teacher=1.00, seeds=(0, 1, 2)):
    """Write baselines, a 3 x 2 grid of students, and the two reference systems; LSD-HF means are the parameters."""
    fixed = {
        "sinc": means(5.1, 19.5, 0.0004, 0.999, 900), "linear": means(2.0, 17.5, 0.0003, 0.99, 300),
        "zero_order_hold": means(1.9, 13.6, 0.0002, 0.98, 250),
    }  # fmt: skip
    rows = [r for system, values in fixed.items() for r in tree.rows("baseline", 0, system, 0, values, copies=(False,), run_noise=0)]
    rows += tree.rows("baseline", 0, "codec_ceiling", 0, means(0.95, 17.0, 0.02, frechet=5), run_noise=0)
    rows += tree.rows("baseline", 0, "degraded_codes", 0, means(2.6, 15.5, 0.02, frechet=200), run_noise=0)
    rows += tree.rows("baseline", 0, "teacher", 16, means(teacher, 15.5, 0.9, frechet=9))
    rows += tree.rows("baseline", 0, "teacher", 16, bands(teacher), copies=(True,))
    rows += tree.rows("baseline", 0, "sinc", 0, bands(5.1, 0.01), copies=(False,), run_noise=0)
    rows += tree.rows("baseline", 0, "codec_ceiling", 0, bands(0.95), copies=(True,), run_noise=0)
    tree.run("baselines", rows, {"seed": 0}, samples=[("ground_truth", 1), ("sinc", 0), ("teacher", 0.8), ("codec_ceiling", 0.9)])
    for name, partition in PARTITIONS.items():
        for weight in (0.5, 1.0):
            for seed in seeds:
                level = student + 0.25 * (name == "8") + 0.05 * (weight == 0.5)
                scores = {steps: means(level - gain, 15.6, 0.04 * (1 + steps)) for steps, gain in ((1, 0.0), (2, 0.04), (4, 0.06))}
                own = f"ect-{name}-{weight}"
                rows = [r for steps, values in scores.items() for r in tree.rows(own, seed, "student", steps, values)]
                rows += tree.rows(own, seed, "student", 1, bands(level), copies=(True,))
                curve = level + 0.01 * seed
                tree.run(f"points/{own}-s{seed}", rows, config("ect", partition, weight), samples=[("student", 0.7)], curve=curve,
                         train_seconds=360 * len(partition))  # fmt: skip
    for seed in seeds:
        rows = tree.rows("tce", seed, "token_ce", 1, means(token_ce, 14.0, 0.3, frechet=60))
        tree.run(f"points/tce-s{seed}", rows, config("token_ce"), samples=[("token_ce", 0.5)], curve=True)
        rows = tree.rows("reg", seed, "regression", 1, means(regression, 16.4, 0.08, frechet=80))
        tree.run(f"points/reg-s{seed}", rows, config("regression"), samples=[("regression", 0.3)], curve=True)
    return tree


GOOD = {1: means(1.30, 21.5, 0.08, frechet=30), 2: means(1.30, 21.4, 0.12, frechet=20), 4: means(1.30, 21.3, 0.2, frechet=10)}
"""A student that meets every bar of `study`."""


def study(tree, *, student=GOOD, seeds=(0, 1, 2), teacher_steps=18, regressions=None, run_noise=0.005, **settings):
    """Write everything that the bars look at, with known means; `regressions` is name -> (means, config)."""
    fixed = {"sinc": means(5.1, 22.5, 0.0004, frechet=900), "zero_order_hold": means(1.9, 13.6, 0.0002, frechet=250)}
    rows = [r for system, values in fixed.items() for r in tree.rows("b", 0, system, 0, values, copies=(False,), run_noise=0)]
    rows += tree.rows("b", 0, "codec_ceiling", 0, means(1.20, 22.4, 0.02, frechet=5), run_noise=0)
    rows += tree.rows("b", 0, "degraded_codes", 0, means(2.2, 22.3, 0.02, frechet=200), run_noise=0)
    tree.run("baselines", rows, config(mr_stft=0.0))
    rows = tree.rows("t", 0, "teacher", teacher_steps, means(1.40, 21.0, 0.9, frechet=40), run_noise=0)
    tree.run("teachers/t", rows, config(mr_stft=0.0))
    plain = {"reg": (means(1.28, 22.0, 0.08, frechet=80, hf_bias=-5.0, fine=0.8), config("regression", mr_stft=0.0))}
    for seed in seeds:
        rows = [r for steps, values in student.items() for r in tree.rows("s", seed, "student", steps, values, run_noise=run_noise)]
        tree.run(f"points/s-s{seed}", rows, config("ect", **({"mr_stft": 0.0} | settings)))
        rows = tree.rows("tce", seed, "token_ce", 1, means(1.7, 21.0, 0.3, frechet=60), run_noise=run_noise)
        tree.run(f"points/tce-s{seed}", rows, config("token_ce", mr_stft=0.0))
        for name, (values, own) in (plain if regressions is None else regressions).items():
            rows = tree.rows(name, seed, "regression", 1, values, run_noise=run_noise)
            tree.run(f"points/{name}-s{seed}", rows, own)
    return tree
