from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic_tree import Tree, bands, config, fill

from analysis import load
from analysis.clip_facts import load_clip_facts, with_clip_facts
from analysis.figures import NotDrawn, draw, lsd_over_frequency, metric_by_cutoff, metric_by_speaker
from analysis.figures.speakers import LABELLED
from analysis.figures.spec import SPECS

CUTOFFS = (4000.0, 6000.0, 8000.0)
PLAIN = {"run_noise": 0, "noise": 0}


def shifted(rows, shift):
    """Add to each clip's value what `shift` says of its metric, utterance and speaker."""
    return [[*row[:8], row[8] + shift(row[7], row[3], row[4]), *row[9:]] for row in rows]


def write(tree, systems, seeds=(0, 1, 2)):
    """Write a point and its rivals; `systems` is system -> (LSD-HF, shift)."""
    for system, (lsd_hf, shift) in systems.items():
        for seed in seeds if system in ("student", "regression") else (0,):
            steps = {"student": 1, "regression": 1, "teacher": 18}.get(system, 0)
            scores = {"lsd_hf": lsd_hf, "si_sdr": 20.0}
            copies = (False,) if system == "sinc" else (True,)
            rows = shifted(tree.rows(system, seed, system, steps, scores, copies=copies, **PLAIN), shift)
            tree.run(f"points/{system}-s{seed}", rows, config("regression" if system == "regression" else "ect"))
    return load(tree.root)


def nothing(*_):
    return 0.0


def by_cutoff(tree, slope):
    cutoff = tree.facts().set_index("utterance")["cutoff_hz"]
    return lambda metric, utterance, _: slope * (cutoff[utterance] - 6000) / 1000 if metric == "lsd_hf" else 0.0


def test_the_effect_of_the_cutoff_is_found_for_each_system(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=6, clips=6, cutoffs_hz=CUTOFFS)
    results = write(tree, {"student": (1.5, by_cutoff(tree, -0.1)), "sinc": (4.5, by_cutoff(tree, 0.2)), "teacher": (1.6, nothing)})
    drawn = draw(results, "metric_by_cutoff")
    data = drawn.data[drawn.data["metric"] == "lsd_hf"].pivot_table(index="cutoff_hz", columns="system", values="mean", observed=True)
    effect = (data.sub(data["teacher"], axis=0) - data.loc[6000].sub(data.loc[6000, "teacher"])).round(6)  # clips differ too: all alike
    assert effect["student"].to_dict() == pytest.approx({4000: 0.2, 6000: 0, 8000: -0.2})
    assert effect["sinc"].to_dict() == pytest.approx({4000: -0.4, 6000: 0, 8000: 0.4})
    assert (drawn.data["speakers"] == 6).all()
    assert any("off scale: sinc" in axis.get_title(loc="right") for axis in drawn.figure.axes)


def test_cutoffs_of_each_clips_own_are_binned_by_as_many_clips_each(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=4, cutoffs_hz=tuple(4000 + 10.0 * i**2 for i in range(16)), clips=12)
    drawn = draw(write(tree, {"student": (1.5, nothing)}), "metric_by_cutoff")
    assert set(drawn.data["utterances"]) == {6}
    assert drawn.data.loc[drawn.data["metric"] == "lsd_hf", "cutoff_hz"].is_monotonic_increasing
    assert drawn.data["cutoff_hz"].nunique() == 8


def test_bars_of_few_speakers_are_not_drawn_and_that_is_said(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=3, clips=8, cutoffs_hz=CUTOFFS)
    figure = draw(write(tree, {"student": (1.5, nothing)}), "metric_by_cutoff").figure
    heights = [np.ptp(segment[:, 1]) for bars in figure.axes[0].collections for segment in bars.get_segments()]
    assert heights == [0, 0, 0]
    assert "of 5 speakers or more" in figure.get_supxlabel()


def test_one_cutoff_alone_is_a_reason_that_says_what_to_do(tmp_path):
    results = write(Tree(tmp_path / "runs"), {"student": (1.5, nothing)})
    assert "6000 Hz): evaluate with evaluate.variant=1" in draw(results, "metric_by_cutoff").reason
    with pytest.raises(NotDrawn, match=r"clips\.csv"):
        metric_by_cutoff(results.table)


def test_a_run_without_a_readable_clip_list_leaves_the_rest_as_it_is(tmp_path):
    tree = Tree(tmp_path / "größe $1", cutoffs_hz=CUTOFFS)
    results = write(tree, {"student": (1.5, nothing), "sinc": (4.5, nothing), "teacher": (1.6, nothing)})
    (tree.root / "points/sinc-s0/clips.csv").unlink()
    (tree.root / "points/teacher-s0/clips.csv").write_bytes(b"\xff\x00 half a")
    facts = load_clip_facts(results)
    assert set(facts["run"]) == {f"points/student-s{seed}" for seed in range(3)}
    assert set(load_clip_facts(results, ["points/student-s1"])["run"]) == {"points/student-s1"}
    joined = with_clip_facts(results)
    assert joined.groupby("system", observed=True)["cutoff_hz"].count().to_dict() == {"sinc": 0, "student": 144, "teacher": 0}
    assert set(draw(results, "metric_by_cutoff").data["system"]) == {"student"}


def frequency(tree, students=(1.0,), **others):
    for seed, level in enumerate(students):
        tree.run(f"points/a-s{seed}", tree.rows("a", seed, "student", 1, bands(level), copies=(True,), **PLAIN), config())
    for system, level in others.items():
        tree.run(f"points/{system}", tree.rows(system, 0, system, 0, bands(level, 0.01), copies=(system != "sinc",), **PLAIN), config())
    return load(tree.root)


def test_the_curve_over_frequency_steps_at_the_cutoff(tree):
    drawn = draw(frequency(tree, (1.0, 1.2, 1.4), codec_ceiling=0.9), "lsd_over_frequency")
    level = drawn.data[drawn.data["system"] == "student"].set_index("low_hz")["mean"]
    assert len(level) == 24
    assert level[6000] - level[5500] == pytest.approx(1.2 - 0.3)
    assert {"cutoff 6 kHz", "student, 1 step", "codec ceiling"} <= {t.get_text() for t in drawn.figure.axes[0].texts}


def test_a_system_that_adds_nothing_does_not_flatten_the_others(tree):
    axis = lsd_over_frequency(frequency(tree, codec_ceiling=0.9, sinc=5.0).table).axes[0]
    assert axis.get_ylim()[1] < 2
    assert any(t.get_text().startswith("sinc") and t.get_text().endswith("↑") for t in axis.texts)


def test_bands_above_a_recordings_end_are_left_out_of_the_mean_and_that_is_said(tree):
    short = {utterance for _, utterance in tree.utterances()[:6]}
    rows = [[*r[:8], math.nan if r[3] in short and r[7] >= "lsd_11000hz" else r[8], *r[9:]]
            for r in tree.rows("a", 0, "student", 1, bands(1.0), copies=(True,))]  # fmt: skip
    tree.run("points/a-s0", rows, config())
    drawn = draw(load(tree.root), "lsd_over_frequency")
    assert drawn.data.set_index("low_hz")["utterances"].loc[[10500, 11000]].to_list() == [24, 18]
    assert "24 clips up to 11 kHz; above it only recordings that reach there, at least 18" in drawn.figure._supxlabel.get_text()


def test_the_gain_over_the_rival_is_found_for_each_speaker(tree):
    student = (1.5, lambda m, u, s: 0.4 if s == "spk2" and m == "lsd_hf" else 0.0)
    drawn = draw(write(tree, {"student": student, "regression": (1.6, nothing), "sinc": (4.5, nothing)}), "metric_by_speaker")
    gain = drawn.data[drawn.data["metric"] == "lsd_hf"].set_index("speaker")["gain"]
    assert gain.round(6).to_dict() == {f"spk{s}": -0.3 if s == 2 else 0.1 for s in range(6)}
    assert set(drawn.data["rival"]) == {"regression"}
    assert drawn.figure.axes[2].get_title(loc="left") == "student better for 5 of 6 speakers; mean gain 0.03"


def test_without_a_trained_rival_the_student_is_compared_with_sinc(tree):
    data = draw(write(tree, {"student": (1.5, nothing), "sinc": (4.5, nothing)}), "metric_by_speaker").data
    assert set(data["rival"]) == {"sinc"}
    assert data.loc[data["metric"] == "lsd_hf", "gain"].to_numpy() == pytest.approx(3.0)
    assert data.loc[data["metric"] == "si_sdr", "gain"].to_numpy() == pytest.approx(0.0)


def test_speakers_are_sorted_from_the_best_in_either_direction_of_a_metric(full):
    data = draw(load(full.root), "metric_by_speaker").data
    assert data.loc[data["metric"] == "lsd_hf", "student"].is_monotonic_increasing
    assert data.loc[data["metric"] == "si_sdr", "student"].is_monotonic_decreasing


def test_of_very_many_speakers_those_furthest_behind_are_named(tmp_path):
    tree = Tree(tmp_path / "runs", speakers=LABELLED + 8, clips=2)
    bad = {"spk5", "spk17", "spk30"}
    shift = {"student": (1.5, lambda m, u, s: 0.5 if s in bad else 0.0), "regression": (1.6, nothing)}
    axis = metric_by_speaker(write(tree, shift).table).axes[2]
    assert axis.get_xticklabels() == []
    assert {t.get_text() for t in axis.texts} >= bad


def test_the_worst_clips_are_named_worst_first(tree):
    bad = {"spk1_utt2": 9.0, "spk3_utt0": 8.0}
    results = write(tree, {"student": (1.5, lambda m, u, s: bad.get(u, 0.0)), "codec_ceiling": (1.0, nothing), "sinc": (4.5, nothing)})
    figure, data = SPECS["worst_clips"].pair(results.table)
    assert data["utterance"].head(2).to_list() == list(bad)
    assert data["rank"].to_list() == list(range(1, 25))
    assert (data["student"] - data["codec_ceiling"]).head(3).round(6).to_list() == [9.5, 8.5, 0.5]
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()][:2] == list(bad)
    assert len(figure.axes[1].get_yticks()) == 10


def test_a_clip_whose_metric_is_nan_is_left_out(tree):
    results = write(tree, {"student": (1.5, lambda m, u, s: math.nan if u == "spk0_utt0" else 0.0), "sinc": (4.5, nothing)})
    assert len(draw(results, "worst_clips").data) == 23
    clips = draw(results, "metric_by_speaker").data.query("metric == 'lsd_hf'").set_index("speaker")["clips"]
    assert clips.to_dict() == {f"spk{s}": 3 if s == 0 else 4 for s in range(6)}


def test_clip_by_clip_the_student_stands_at_one_step_and_others_at_their_most(full):
    data = draw(load(full.root), "per_sample").data
    steps = data.groupby("system")["steps"].agg(set).to_dict()
    assert steps == {"student": {1}, "teacher": {16}, "token_ce": {1}, "regression": {1}, "sinc": {0}, "codec_ceiling": {0}}


def test_a_sample_that_is_no_audio_is_left_out_of_the_spectrograms(tmp_path):
    tree = fill(Tree(tmp_path / "runs"), seeds=(0,))
    for path in tree.root.glob("points/*/samples/*/student.flac"):
        path.write_text("no audio")
    drawn = draw(load(tree.root), "spectrogram_grid")
    assert "student" not in set(drawn.data["system"])
    assert len(drawn.data) == 3
