"""The table: what is in it, what its ratios are of, and what is said of what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from statistics import mean, median

import pytest
import torch
from rich.console import Console

from lcm.errors import LcmError
from lcm.model import Model, ModelSpec
from lcm.speed import SpeedConfig, notes, published
from lcm.speed.arguments import parse
from lcm.speed.clips import clips
from lcm.speed.config import SYSTEMS
from lcm.speed.honest import Timing, measure
from lcm.speed.report import HONEST, Report
from lcm.speed.run import build, run
from lcm.speed.table import published_rows, rows
from lcm.speed.timed import SECTIONS, Timed


def system(key, label="", calls=1, slow=False, run=None):
    return Timed(key, label or key, 8, "", calls, "fast", run or (lambda audio, _: audio), slow=slow)


def timing(key, seconds, batch=1):
    """A timing whose rounds took [(encode, network, decode), ...]."""
    columns = dict(zip(SECTIONS, map(list, zip(*seconds, strict=True)), strict=True))
    return Timing(system(key), batch, 4.0, columns)


STOCK = timing("mbd", [(1.0, 60.0, 2.0), (1.0, 62.0, 2.0), (1.0, 100.0, 2.0)])


def test_ratios_are_of_medians_over_rounds():
    fast = timing("student-1", [(0.1, 0.02, 0.1), (0.1, 0.04, 0.1), (0.5, 0.9, 0.1)])
    row = rows([STOCK, fast], {}, {})[1]
    assert (row.network_s, row.whole_s) == (0.04, pytest.approx(0.24))
    assert row.bare_ratio == pytest.approx(62.0 / 0.04)
    assert row.whole_ratio == pytest.approx(median([63.0, 65.0, 103.0]) / 0.24)
    assert (row.bare_rtf, row.whole_rtf) == (pytest.approx(0.01), pytest.approx(0.06))
    assert (row.fastest_s, row.slowest_s) == (pytest.approx(0.22), pytest.approx(1.5))


def test_a_batchs_time_is_divided_by_its_clips_and_compared_with_one_clip_of_stock():
    row = rows([STOCK, timing("student-1", [(0.8, 0.08, 0.8)], batch=8)], {}, {})[1]
    assert (row.batch, row.network_s, row.whole_s) == (8, pytest.approx(0.01), pytest.approx(0.21))
    assert row.bare_ratio == pytest.approx(6200)


def test_without_stock_there_are_times_and_no_ratios():
    row = rows([timing("student-1", [(0.1, 0.02, 0.1)])], {}, {})[0]
    assert (row.network_s, row.bare_ratio, row.whole_ratio) == (0.02, None, None)


def test_a_system_without_a_network_has_no_bare_time():
    codec = Timing(system("codec", calls=0), 1, 4.0, {"encode": [0.1], "network": [0.0], "decode": [0.1]})
    row = rows([STOCK, codec], {}, {})[1]
    assert (row.network_s, row.bare_ratio, row.bare_rtf) == (None, None, None)
    assert row.whole_ratio == pytest.approx(65 / 0.2)


def test_a_missing_system_has_a_row_with_its_reason(toy):
    found = Report(toy(), rows([STOCK], {"MultiBandDiffusion (mbd-fast)": "no weights"}, {}), [], {"command": "x"})
    assert "| MultiBandDiffusion (mbd-fast) |  | not measured: no weights |" in found.markdown()
    assert "no weights" in json.dumps(found.to_dict())


def test_slow_systems_run_once_and_clip_by_clip_while_the_others_take_turns():
    order = []

    def noted(name):
        return lambda audio, _: order.append((name, len(audio))) or audio

    systems = [system("slow", slow=True, run=noted("slow")), system("a", run=noted("a")), system("b", run=noted("b"))]
    systems[0] = replace(systems[0], warm=lambda audio: order.append(("warm", 1)))
    timings = measure(systems, torch.zeros(3, 1, 320), batch=3, repeats=3, slow_repeats=1)
    assert [(t.system.key, t.batch, t.rounds) for t in timings] == [("slow", 1, 1), ("a", 1, 3), ("a", 3, 3), ("b", 1, 3), ("b", 3, 3)]
    measured = order[1 + 2 * 4 :]  # each cheap one is warmed up twice at each batch size
    turn = [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    assert measured == [*turn, ("slow", 1), *turn, *turn]


def test_the_reference_times_what_it_timed_and_takes_means_over_batches_of_two():
    given = []
    bare = replace(system("student-1"), inputs=lambda audio: audio + 1, bare=given.append)
    without = system("codec")
    slow = replace(bare, key="mbd", slow=True)
    measured = published.measure([slow, bare, without], torch.zeros(4, 1, 320), repeats=3, slow_repeats=1)
    assert [(m.system.key, len(m.seconds)) for m in measured] == [("mbd", 1), ("student-1", 3)]
    assert {tuple(g.shape) for g in given} == {(2, 1, 320)}
    assert all(g.min() == 1 for g in given)
    table = published_rows(measured)
    assert table[1].batch_s == mean(measured[1].seconds)
    assert table[1].ratio == pytest.approx(mean(measured[0].seconds) / mean(measured[1].seconds))


def test_a_run_has_every_system_by_both_protocols(report):
    assert {row.key for row in report.rows} == set(SYSTEMS)
    assert {row.key for row in report.published} == set(SYSTEMS) - {"codec"}
    assert all(row.whole_s > 0 and row.whole_ratio > 0 for row in report.rows)
    stock = next(row for row in report.rows if row.key == "mbd")
    assert (stock.whole_ratio, stock.bare_ratio, stock.calls, stock.batch) == (1.0, 1.0, 4, 1)
    assert {row.batch for row in report.rows if row.key == "student-1"} == {1, 2}


def test_operations_are_those_of_the_network(report):
    one, two, four, teacher = (
        next(row.tflop for row in report.rows if row.key == key) for key in ("student-1", "student-2", "student-4", "teacher")
    )
    assert two == pytest.approx(2 * one)
    assert four == pytest.approx(4 * one)
    assert teacher == pytest.approx(35 * one)
    assert next(row.tflop for row in report.rows if row.key == "mbd") > 0


def test_the_written_tables_say_where_how_and_what_they_differ_in(report, tmp_path):
    report.write(tmp_path)
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert all(line in text for line in notes.DIFFERENCES)
    assert all(f"| {name} |" in text for name in HONEST)
    assert "threads" in text
    assert "NOT its full time" in text
    assert "61.837 / 0.111" in text
    assert len((tmp_path / "speed.csv").read_text().splitlines()) == 1 + len(report.rows) + len(report.published)
    assert json.loads((tmp_path / "speed.json").read_text())["config"]["kbps"] == [6.0]


def test_a_shortened_chain_is_not_measured_against_the_goals(report):
    assert "Goal" not in report.markdown()
    whole = Report(SpeedConfig(), rows([STOCK, timing("student-1", [(0.1, 0.02, 0.1)])], {}, {}), [], {"command": "x"})
    assert "Goal whole, 8 codebooks, at least 200x: 295x, reached." in whole.markdown()
    assert "Goal bare, 32 codebooks, at least 900x: not measured." in whole.markdown()


def test_a_busy_machine_is_said(toy):
    busy, idle = (Report(toy(), rows([STOCK], {}, {}), [], {"command": "x", "load": load}).markdown() for load in (3.2, 0.1))
    assert "NOT idle (load 3.20 before the run)" in busy
    assert "NOT idle" not in idle


def test_what_is_left_out_is_said(toy):
    console = Console(file=StringIO(), width=200)
    found = run(toy(only=("codec",), repeats=1, reference=False), console=console)
    assert [row.missing for row in found.rows if not row.whole_s] == ["left out by --only"] * 2
    assert found.published == []
    assert "not measured" in console.file.getvalue()


def test_weights_that_are_not_there_are_named_in_the_table(toy, tmp_path):
    systems, missing = build(
        toy(weights="pretrained", folder=str(tmp_path), hidden=48, res_blocks=2, codec="encodec_24khz", only=("mbd", "codec"))
    )
    assert {s.key for s in systems} == {"codec"}
    assert "mbd_comp_4" in missing["MultiBandDiffusion (mbd)"]


def test_a_roots_trained_points_are_timed_and_those_of_another_codec_named(toy, codec, tmp_path):
    from lcm.checkpoint import save_model
    from lcm.codec import CodecConfig, load_codec
    from lcm.network import NetworkConfig

    network = NetworkConfig(width=32, depth=1, heads=2)
    other = load_codec(CodecConfig(bandwidth_kbps=3.0))
    for name, made in {"fits-s0": codec, "other-s0": other}.items():
        model = Model(ModelSpec("consistency", (made.n_q,), made.identity, network=network), made)
        save_model(tmp_path / "points" / name / "checkpoints" / "model.safetensors", model)
    config = toy(codec_weights="pretrained", root=str(tmp_path), only=("codec",))
    systems, missing = build(config)
    assert [s.calls for s in systems if "fits-s0" in s.key] == [1, 2, 4]
    assert any("other-s0" in name and "codec" in why for name, why in missing.items())


def test_clips_are_whole_frames_of_band_limited_speech():
    audio = clips(3, 0.5, ())
    assert audio.shape == (3, 1, 38 * 320)
    spectrum = torch.fft.rfft(audio[0, 0]).abs()
    assert spectrum[len(spectrum) * 6 // 10 :].max() < 0.01 * spectrum.max()


def test_clips_come_from_recordings_and_folders_of_them_and_few_are_repeated(speech, tmp_path):
    from lcm.audio import write

    write(tmp_path / "a" / "one.flac", speech[:12_000], 24_000)
    audio = clips(2, 0.8, [str(tmp_path)])
    assert audio.shape == (2, 1, 19_200)
    torch.testing.assert_close(clips(2, 0.8, [str(tmp_path / "a" / "one.flac")]), audio)
    middle = slice(2_000, 6_000)
    torch.testing.assert_close(audio[0, 0, middle], audio[0, 0, 12_000:][middle], atol=1e-3, rtol=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LcmError, match=r"no \.wav, \.flac"):
        clips(2, 0.8, [str(tmp_path / "empty")])


def test_the_command_line_reaches_the_settings():
    config, out = parse(["--kbps", "6", "24", "--only", "mbd,codec", "--no-fast-codec", "--mbd-calls", "2", "-o", "x"])
    assert (config.kbps, config.only, config.fast_codec, config.mbd_calls) == ((6.0, 24.0), ("mbd", "codec"), False, 2)
    assert str(out) == "x"
    assert parse([])[0] == SpeedConfig()


@pytest.mark.parametrize(
    ("changes", "message"), [({"only": ("gan",)}, "Systems are: mbd"), ({"repeats": 0}, "--repeats 0"), ({"seconds": 0.0}, "above 0")]
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(LcmError, match=message):
        SpeedConfig(**changes)
