"""What cannot be used is told by name with the reason; the others go on, and nothing half made is left."""

import ctypes
import errno
import os
import resource
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from recordings import encoded, voice, write


def half(content):
    return content[: len(content) // 2]


def with_sample(value):
    samples = voice()
    samples[1_000, 0] = value
    return encoded("WAV", "FLOAT", samples)


BAD = {
    "empty.wav": (lambda: b"", "empty: 0 bytes"),
    "no samples.wav": (lambda: encoded("WAV", samples=np.zeros((0, 1))), "empty: no samples"),
    "text.flac": (lambda: b"no audio at all\n" * 99, "not audio"),
    "header alone.wav": (lambda: encoded("WAV")[:20], "not audio"),
    "half.wav": (lambda: half(encoded("WAV")), "truncated: its header promises 14400 bytes of audio and it holds"),
    "half.flac": (lambda: half(encoded("FLAC")), "truncated or damaged"),
    "half.ogg": (lambda: half(encoded("OGG", samples=voice(5.0))), "truncated: its last Ogg page"),
    "half.mp3": (lambda: half(encoded("MP3", samples=voice(5.0))), "truncated"),
    "half.aiff": (lambda: half(encoded("AIFF")), "truncated"),
    "two in one.mp3": (lambda: 2 * encoded("MP3", samples=voice(5.0)), "more follow"),
    "nan.wav": (lambda: with_sample(np.nan), "not finite: NaN at 0.0833 s (sample 1000, channel 1)"),
    "inf.wav": (lambda: with_sample(-np.inf), "not finite: infinity at 0.0833 s"),
    "huge.wav": (lambda: encoded("WAV", "DOUBLE", 1e300 * voice()), "not finite: infinity"),
    "garbled floats.wav": (lambda: encoded("WAV", "FLOAT", 1e30 * voice()), "times full scale at 0.0000 s"),
    "slow.wav": (lambda: encoded("WAV", rate=1_000), "sample rate 1,000 Hz"),
    "fast.wav": (lambda: encoded("WAV", rate=384_000), "sample rate 384,000 Hz"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_the_reason_and_the_others_go_on(tmp_path, command, name):
    make, reason = BAD[name]
    write(tmp_path / "in/good.wav", voice())
    (tmp_path / "in" / name).write_bytes(make())
    code, out, err = command(tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert err.startswith(f"failed: {tmp_path}/in/{name}: ")
    assert reason in err
    assert len(err.splitlines()) == 1
    assert out.splitlines()[-1] == "1 made, 1 failed"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lcm-upscale.jsonl", "good.wav"]


def _usable():
    clipped = np.clip(20 * voice(), -1, 1 - 2**-15)
    return {
        "constant.wav": (encoded("WAV", "FLOAT", np.full((6_000, 1), 0.5)), 12_000),
        "clipped.wav": (encoded("WAV", samples=clipped), 14_400),
        "one sample.wav": (encoded("WAV", samples=np.array([0.5])), 2),
        "8 bits.wav": (encoded("WAV", "PCM_U8"), 14_400),
        "64 bits.wav": (encoded("WAV", "DOUBLE"), 14_400),
        "adpcm.wav": (encoded("WAV", "MS_ADPCM"), None),
        "flac called.wav": (encoded("FLAC"), 14_400),
        "40 channels.wav": (encoded("WAV", samples=np.tile(voice(0.02), (1, 40))), 480),
        "beyond full scale.wav": (encoded("WAV", "FLOAT", 100 * voice()), 14_400),
        "denormal.wav": (encoded("WAV", "FLOAT", 1e-40 * voice()), 14_400),
    }


USABLE = _usable()


@pytest.mark.parametrize("name", [*USABLE, pytest.param("300 channels.wav", marks=pytest.mark.slow)])
def test_an_odd_file_is_restored_to_its_length(tmp_path, command, name):
    content, expected = USABLE.get(name) or (encoded("WAV", samples=np.tile(voice(0.02), (1, 300))), 480)
    (tmp_path / name).write_bytes(content)
    code, _, err = command(tmp_path / name, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    made = next(p for p in (tmp_path / "out").iterdir() if not p.name.startswith("."))
    samples, rate = soundfile.read(made, always_2d=True)
    before = soundfile.info(tmp_path / name)
    assert (rate, samples.shape) == (24_000, (expected or 2 * before.frames, before.channels))
    assert np.isfinite(samples).all()


def test_a_constant_stays_that_constant(tmp_path, command):
    write(tmp_path / "a.wav", np.full(12_000, 0.5), subtype="FLOAT")
    command(tmp_path / "a.wav", "-o", tmp_path / "out")
    made, _ = soundfile.read(tmp_path / "out/a.wav")
    assert abs(made[4_000:-4_000].mean() - 0.5) < 1e-3


def test_a_wrong_suffix_is_put_right_and_that_is_said(tmp_path, command):
    (tmp_path / "a.wav").write_bytes(encoded("FLAC"))
    _, out, _ = command(tmp_path / "a.wav", "-o", tmp_path / "out")
    assert soundfile.info(tmp_path / "out/a.flac").format == "FLAC"
    assert f"-> {tmp_path}/out/a.flac" in out


@pytest.mark.parametrize("wanted", ["flac", "ogg"])
def test_a_format_for_fewer_channels_is_refused_before_anything_is_written(tmp_path, command, wanted):
    write(tmp_path / "a.wav", np.tile(voice(0.02), (1, 300)))
    code, _, err = command(tmp_path / "a.wav", "-o", tmp_path / "out", "--format", wanted)
    assert code == 1
    assert f"300 channels: {wanted.upper()} holds at most 8; give --format wav" in err


NAMES = ['a "quoted" it\'s.wav', "ünïcode – 音.wav", "new\nline.wav", "[bold]red[bold].wav", os.fsdecode(b"\xff\xfe.wav")]


@pytest.mark.parametrize("name", NAMES)
def test_any_path_is_an_input_and_an_output_and_is_told_on_one_line(tmp_path, command, name):
    write(tmp_path / "in" / name / name, voice())
    (tmp_path / "in" / name / f"bad {name}").write_bytes(b"")
    code, out, err = command(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, len(out.splitlines()), len(err.splitlines())) == (1, 2, 1)
    assert soundfile.info(os.fsencode(tmp_path / "out" / name / name)).frames == 14_400
    again = command(tmp_path / "in", "-o", tmp_path / "out")
    assert again[1].splitlines()[-1] == "0 made, 1 finished earlier, 1 failed"
    if name.isprintable():
        assert name in out


def test_missing_files_and_things_that_are_no_files_are_named(tmp_path, command):
    write(tmp_path / "good.wav", voice())
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "itself.wav").symlink_to("itself.wav")
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    names = ["gone.wav", "pipe.wav", "itself.wav", "dangling.wav"]
    code, out, err = command(*(tmp_path / name for name in [*names, "good.wav"]), "-o", tmp_path / "out")
    assert code == 1
    assert [line.split(": ")[1] for line in err.splitlines()] == [str(tmp_path / name) for name in names]
    assert out.splitlines()[-1] == "1 made, 4 failed"


def test_a_folder_that_links_back_to_itself_is_read_once(tmp_path, command):
    write(tmp_path / "in/sub/a.wav", voice())
    (tmp_path / "in/sub/loop").symlink_to("..")
    (tmp_path / "in/itself.wav").symlink_to("itself.wav")
    code, out, err = command(tmp_path / "in", "-o", tmp_path / "out")
    assert f"{tmp_path}/in/sub/loop: a link to a folder above it, not followed again" in out
    assert out.splitlines()[-1] == "1 made, 1 failed"
    assert "itself.wav" in err
    assert command(tmp_path / "in/**/a.wav", "-o", tmp_path / "two")[1].splitlines()[-1] == "1 made"
    assert code == 1


def test_an_output_that_is_an_input_is_refused_and_the_input_stays(tmp_path, command):
    write(tmp_path / "a.wav", voice())
    write(tmp_path / "b.wav", voice())
    write(tmp_path / "other/c.wav", voice())
    before = (tmp_path / "a.wav").read_bytes()
    for out in (tmp_path / "a.wav", tmp_path, f"{tmp_path}/other/.."):
        code, _, err = command(tmp_path / "a.wav", "-o", out, "--overwrite")
        assert (code, (tmp_path / "a.wav").read_bytes()) == (1, before)
        assert "is an input: give another -o" in err
    (tmp_path / "b.wav").unlink()
    (tmp_path / "b.wav").symlink_to("a.wav")
    assert command(tmp_path / "a.wav", "-o", tmp_path / "b.wav", "--overwrite")[0] == 1
    code, out, _ = command(tmp_path / "a.wav", tmp_path / "other/c.wav", "-o", tmp_path)
    assert (code, out.splitlines()[-1]) == (1, "1 made, 1 failed")


@contextmanager
def limited_to(size):
    """Let no file of this process grow beyond a size: writing then fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [12_000, 24_000])
def test_a_file_that_cannot_be_written_whole_is_not_left_and_smaller_ones_go_on(tmp_path, command, suffix, rate):
    write(tmp_path / f"in/a.{suffix}", voice(8.0, rate), rate)
    write(tmp_path / f"in/b.{suffix}", voice(0.2, rate), rate)
    with limited_to(20_000):
        code, out, err = command(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out.splitlines()[-1]) == (1, "1 made, 1 failed")
    assert f"a.{suffix}: not written ({os.strerror(errno.EFBIG)}): raise the limit" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lcm-upscale.jsonl", f"b.{suffix}"]


def test_a_full_disk_is_named_and_what_was_there_stays(tmp_path, command):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk; the limit on file sizes is tested")
    try:
        write(tmp_path / "a.wav", voice(0.1))
        assert command(tmp_path / "a.wav", "-o", disk)[0] == 0
        before = (disk / "a.wav").read_bytes()
        write(tmp_path / "a.wav", voice(8.0))
        code, _, err = command(tmp_path / "a.wav", "-o", disk)
        assert (code, (disk / "a.wav").read_bytes()) == (1, before)
        assert f"a.wav: not written ({os.strerror(errno.ENOSPC)}): free some space" in err
        assert not list(disk.glob("*.part"))
    finally:
        subprocess.run(["umount", disk], check=True)


def capabilities(allowed=None):
    """Return what this thread may do, as capget(2) says it, or set it."""
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = allowed or (ctypes.c_uint32 * 6)()
    if (libc.capset if allowed else libc.capget)(header, data):
        raise OSError(ctypes.get_errno(), "capabilities")
    return data


@pytest.fixture
def unprivileged(command, tmp_path):
    """A folder in which permissions hold for root too: it may do what an owner may and no more, here and in the project's folder."""
    before, fewer = capabilities(), capabilities()
    fewer[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of the effective ones
    capabilities(fewer)
    yield tmp_path
    capabilities(before)


def test_what_may_not_be_read_is_named_and_the_others_go_on(unprivileged, command):
    write(unprivileged / "in/a.wav", voice())
    write(unprivileged / "in/b.wav", voice())
    write(unprivileged / "in/closed/c.wav", voice())
    (unprivileged / "in/a.wav").chmod(0)
    (unprivileged / "in/closed").chmod(0)
    code, out, err = command(unprivileged / "in", "-o", unprivileged / "out")
    (unprivileged / "in/closed").chmod(0o700)
    assert (code, out.splitlines()[-1]) == (1, "1 made, 2 failed")
    assert f"a.wav: not readable ({os.strerror(errno.EACCES)}); check its permissions" in err
    assert f"closed: not readable ({os.strerror(errno.EACCES)}); check its permissions" in err


def test_an_output_folder_that_may_not_be_written_is_named(unprivileged, command):
    write(unprivileged / "a.wav", voice())
    (unprivileged / "out").mkdir(mode=0o500)
    for out in (unprivileged / "out", unprivileged / "out/new"):
        code, _, err = command(unprivileged / "a.wav", "-o", f"{out}/")
        assert code == 1
        assert f"not written ({os.strerror(errno.EACCES)}): choose another place with -o" in err
    assert not list((unprivileged / "out").iterdir())


def test_paths_that_cannot_even_be_asked_about_are_named(unprivileged, command):
    write(unprivileged / "a.wav", voice())
    write(unprivileged / "closed/b.wav", voice())
    (unprivileged / "closed").chmod(0)
    names = [unprivileged / "closed/b.wav", unprivileged / f"{'x' * 300}.wav"]
    code, out, err = command(*names, unprivileged / "a.wav", "-o", unprivileged / "out")
    assert (code, out.splitlines()[-1]) == (1, "1 made, 2 failed")
    assert [line.split(": ")[1] for line in err.splitlines()] == list(map(str, names))
    code, _, err = command(unprivileged / "a.wav", "-o", unprivileged / "closed/out")
    (unprivileged / "closed").chmod(0o700)
    assert (code, err) == (1, f"{unprivileged}/closed/out: {os.strerror(errno.EACCES)}; give another -o\n")


def test_an_output_folder_below_a_file_is_named(tmp_path, command):
    write(tmp_path / "a.wav", voice())
    (tmp_path / "file").write_text("")
    code, _, err = command(tmp_path / "a.wav", "-o", tmp_path / "file/below")
    assert code == 1
    assert f"not written ({os.strerror(errno.ENOTDIR)})" in err


def test_a_name_too_long_for_a_part_is_named(tmp_path, command):
    write(tmp_path / f"{'a' * 249}.wav", voice())
    code, _, err = command(tmp_path / f"{'a' * 249}.wav", "-o", tmp_path / "out")
    assert code == 1
    assert "shorten the name" in err
