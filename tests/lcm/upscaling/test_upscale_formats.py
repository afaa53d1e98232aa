"""What of a recording stays: length, start, level, channels, sample format, tags."""

import numpy as np
import pytest
import soundfile
from recordings import voice, write

KEPT = [
    ("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "PCM_32"), ("a.wav", "FLOAT"), ("a.wav", "DOUBLE"),
    ("a.flac", "PCM_16"), ("a.flac", "PCM_24"), ("a.ogg", "VORBIS"), ("a.opus", "OPUS"),
]  # fmt: skip
REPLACED = [
    ("a.wav", "PCM_U8", "a.wav", "PCM_16"), ("a.wav", "ULAW", "a.wav", "PCM_16"), ("a.wav", "IMA_ADPCM", "a.wav", "PCM_16"),
    ("a.wav", "MS_ADPCM", "a.wav", "PCM_16"), ("a.mp3", "MPEG_LAYER_III", "a.flac", "PCM_16"), ("a.aiff", "PCM_24", "a.wav", "PCM_24"),
    ("a.au", "FLOAT", "a.wav", "FLOAT"), ("a.flac", "PCM_S8", "a.flac", "PCM_16"), ("a.caf", "ALAC_24", "a.wav", "PCM_24"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "subtype"), KEPT)
def test_the_sample_format_stays(tmp_path, command, name, subtype):
    write(tmp_path / name, voice(), subtype=subtype)
    code, out, _ = command(tmp_path / name, "-o", tmp_path / "out")
    made = soundfile.info(tmp_path / "out" / name)
    assert (code, made.subtype, made.samplerate, made.frames) == (0, subtype, 24_000, 14_400)
    assert "is written as" not in out


@pytest.mark.parametrize(("name", "subtype", "made_name", "made_subtype"), REPLACED)
def test_a_sample_format_that_is_not_written_is_replaced_and_that_is_said(tmp_path, command, name, subtype, made_name, made_subtype):
    write(tmp_path / name, voice(), subtype=subtype)
    code, out, _ = command(tmp_path / name, "-o", tmp_path / "out")
    made = soundfile.info(tmp_path / "out" / made_name)
    before = soundfile.info(tmp_path / name).frames
    assert (code, made.subtype, made.frames) == (0, made_subtype, 2 * before)
    assert f"{subtype} is written as" in out


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("count", [1, 997, 9_001])
def test_length_and_start_stay_at_every_rate(tmp_path, command, rate, count):
    from lcm.audio import resample

    samples = resample(np.pad(voice(count / rate, 8_000)[:, 0], (0, 400)), 8_000, rate)[:count]
    samples = np.pad(samples, (0, count - len(samples)))
    write(tmp_path / "a.wav", samples, rate, "FLOAT")
    code, _, err = command(tmp_path / "a.wav", "-o", tmp_path / "out", "--cutoff", 4_000)
    made, made_rate = soundfile.read(tmp_path / "out/a.wav")
    assert (code, err, made_rate) == (0, "", max(24_000, rate))
    assert len(made) == round(count * made_rate / rate)
    expected = resample(samples, rate, made_rate)
    low_made, low_expected = (resample(resample(x, made_rate, 7_000), 7_000, made_rate) for x in (made, expected))
    inner = slice(200, min(len(low_made), len(low_expected)) - 200)
    if count > 5_000:
        difference = low_made[inner] - low_expected[inner]
        assert np.sqrt(np.mean(difference**2)) < 0.05 * np.sqrt(np.mean(low_expected[inner] ** 2))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_title_artist_and_other_tags_stay(tmp_path, command, suffix):
    tags = {"title": 'A "title" – ü', "artist": "Somebody", "album": "B", "date": "1999", "comment": "c", "genre": "speech"}
    write(tmp_path / f"a.{suffix}", voice(), tags=tags)
    command(tmp_path / f"a.{suffix}", "-o", tmp_path / "out")
    with soundfile.SoundFile(tmp_path / f"out/a.{suffix}") as made:
        assert {name: getattr(made, name) for name in tags} == tags


def test_a_quiet_recording_stays_quiet_and_is_never_normalised(tmp_path, command):
    samples = 0.01 * voice()
    write(tmp_path / "a.wav", samples, subtype="FLOAT")
    command(tmp_path / "a.wav", "-o", tmp_path / "out")
    made, _ = soundfile.read(tmp_path / "out/a.wav")
    assert np.std(made) < 1.5 * np.std(samples)


def test_channels_keep_their_places(tmp_path, command):
    write(tmp_path / "a.wav", np.hstack([voice(), np.zeros((7_200, 1)), 0.5 * voice(seed=1)]), subtype="FLOAT")
    command(tmp_path / "a.wav", "-o", tmp_path / "out")
    made, _ = soundfile.read(tmp_path / "out/a.wav")
    assert made.shape == (14_400, 3)
    assert not made[:, 1].any()
    assert np.corrcoef(made[::2, 2], 0.5 * voice(seed=1)[:, 0])[0, 1] > 0.8


def test_samples_that_do_not_fit_an_integer_format_are_limited_and_counted(tmp_path, command):
    square = np.sign(voice()) * 0.999
    write(tmp_path / "a.wav", square)
    _, out, _ = command(tmp_path / "a.wav", "-o", tmp_path / "out")
    made, _ = soundfile.read(tmp_path / "out/a.wav", dtype="int16")
    limited = int(out.split(" samples beyond full scale were limited")[0].split()[-1])
    assert 0 < limited <= np.count_nonzero((made == 32_767) | (made == -32_768))


def test_the_same_samples_in_a_float_format_are_not_limited(tmp_path, command):
    write(tmp_path / "a.wav", np.sign(voice()) * 0.999, subtype="FLOAT")
    _, out, _ = command(tmp_path / "a.wav", "-o", tmp_path / "out")
    assert "limited" not in out
    assert np.abs(soundfile.read(tmp_path / "out/a.wav")[0]).max() > 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_full_band_file_is_passed_through_byte_for_byte_and_that_is_said(tmp_path, command, name):
    write(tmp_path / name, voice(1.0, 24_000), 24_000)
    code, out, _ = command(tmp_path / name, "-o", tmp_path / "out")
    assert (code, (tmp_path / "out" / name).read_bytes()) == (0, (tmp_path / name).read_bytes())
    assert "full band" in out
    assert "passed through" in out


def test_a_full_band_file_in_another_format_keeps_its_samples_and_rate(tmp_path, command):
    write(tmp_path / "a.wav", voice(1.0, 44_100), 44_100)
    command(tmp_path / "a.wav", "-o", tmp_path / "b.flac")
    before, after = soundfile.read(tmp_path / "a.wav", dtype="int16"), soundfile.read(tmp_path / "b.flac", dtype="int16")
    assert after[1] == 44_100
    np.testing.assert_array_equal(after[0], before[0])


def test_silence_stays_silence(tmp_path, command):
    write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    code, out, _ = command(tmp_path / "a.wav", "-o", tmp_path / "out")
    made, rate = soundfile.read(tmp_path / "out/a.wav")
    assert (code, rate, len(made), made.any()) == (0, 24_000, 24_000, False)
    assert "silent" in out


def test_more_than_a_wav_can_count_is_written_as_rf64():
    from lcm.upscaling.files import Format, large_container

    form = Format("WAV", "PCM_16", "")
    assert large_container(form, 2_000_000_000, 1) == "WAV"
    assert large_container(form, 2_000_000_000, 2) == "RF64"


def test_the_result_is_that_of_the_python_function(tmp_path, command, upscaler):
    write(tmp_path / "a.wav", voice(1.3, channels=2), subtype="FLOAT")
    command(tmp_path / "a.wav", "-o", tmp_path / "out")
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    made, _ = soundfile.read(tmp_path / "out/a.wav", dtype="float32")
    np.testing.assert_allclose(made.T, upscaler(samples.T, rate).waveform, atol=1e-4)
