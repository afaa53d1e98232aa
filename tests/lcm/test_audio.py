import threading

import numpy as np
import pytest
import soundfile

from lcm import mp3
from lcm.audio import AudioError, load_mono_24k, read, resample, stream, write


def tone(seconds=0.5, rate=24_000, hz=440.0, level=0.3):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_what_is_written_is_read_back_to_16_bits(tmp_path, suffix):
    samples = np.stack([tone(), -0.5 * tone()])
    write(tmp_path / f"new folder/a.{suffix}", samples, 24_000)
    back, rate = read(tmp_path / f"new folder/a.{suffix}")
    assert rate == 24_000
    assert back.shape == (2, 12_000)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, samples, atol=1 / 32768)


def test_one_channel_is_read_as_one_row(tmp_path):
    write(tmp_path / "a.wav", tone(), 24_000)
    assert read(tmp_path / "a.wav")[0].shape == (1, 12_000)


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_compressed_formats_are_read(tmp_path, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(1.0), 24_000)
    samples, rate = read(tmp_path / f"a.{suffix}")
    assert rate == 24_000
    assert samples.shape == (1, 24_000)
    assert np.corrcoef(samples[0, 4_000:20_000], tone(1.0)[4_000:20_000])[0, 1] > 0.99


def test_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path):
    write(tmp_path / "a.wav", np.array([2.0, -2.0, 0.0]), 24_000)
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0][0], [1.0, -1.0, 0.0], atol=1e-4)


def test_a_failed_write_leaves_the_earlier_file_as_it_was(tmp_path):
    write(tmp_path / "a.flac", tone(), 24_000)
    before = (tmp_path / "a.flac").read_bytes()
    with pytest.raises(AudioError, match="NaN or infinity"):
        write(tmp_path / "a.flac", np.array([0.0, np.nan]), 24_000)
    assert (tmp_path / "a.flac").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.flac"]


def test_a_reader_never_sees_a_half_written_file(tmp_path):
    path = tmp_path / "a.wav"
    write(path, tone(2.0), 24_000)
    writer = threading.Thread(target=lambda: [write(path, tone(2.0), 24_000) for _ in range(20)])
    writer.start()
    while writer.is_alive():
        assert read(path)[0].shape == (1, 48_000)
    writer.join()


def test_an_unknown_suffix_is_refused_by_name(tmp_path):
    with pytest.raises(AudioError, match=r"a\.mp3: cannot be written as '\.mp3'; expected \.flac or \.wav"):
        write(tmp_path / "a.mp3", tone(), 24_000)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64"])
def test_a_truncated_file_is_refused_with_its_name(tmp_path, suffix):
    path = tmp_path / f"half file.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 120_000), 24_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=rf"half file\.{suffix}: truncated"):
        read(path)


def test_an_mp3_whose_header_tells_of_its_first_half_alone_is_refused_not_cut(tmp_path):
    soundfile.write(tmp_path / "a.mp3", np.random.default_rng(0).normal(0, 0.1, 48_000), 24_000)
    (tmp_path / "joined.mp3").write_bytes(2 * (tmp_path / "a.mp3").read_bytes())
    with pytest.raises(AudioError, match=r"joined\.mp3: damaged header: it promises 48000 samples and more follow"):
        read(tmp_path / "joined.mp3")


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3s_frames_are_counted_to_its_padding(tmp_path, rate, mode):
    path = tmp_path / "a.mp3"
    with soundfile.SoundFile(path, "w", rate, 2, format="MP3", compression_level=0.4, bitrate_mode=mode) as file:
        file.write(np.random.default_rng(0).normal(0, 0.1, (5 * rate, 2)))
    path.write_bytes(b"ID3\4\0\0\0\0\1\0" + bytes(128) + path.read_bytes() + b"TAG" + bytes(125))
    assert 5 * rate - 8 * 1_152 < mp3.least_samples(path) <= 5 * rate


def test_a_block_of_many_channels_is_short(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((10_000, 300)), 8_000)
    blocks = list(stream(tmp_path / "a.wav")[0])
    assert max(block.size for block in blocks) <= 1 << 18
    assert sum(map(len, blocks)) == 10_000


def test_a_flac_header_that_promises_terabytes_is_refused_without_reserving_them(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), 24_000)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the upper bits of the 36-bit sample count in STREAMINFO
    path.write_bytes(data)
    with pytest.raises(AudioError, match="truncated"):
        read(path)


def test_a_wav_from_a_pipe_is_read_although_its_header_states_no_length(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 24_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read(path)[0].shape == (1, 12_000)


def test_a_wav_whose_recorder_stopped_before_it_wrote_the_length_is_told_from_an_empty_one(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 24_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(AudioError, match="empty: its header promises no audio, though 24000 bytes follow"):
        read(path)


def test_missing_empty_and_foreign_files_are_told_apart(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.flac").write_text("no audio at all")
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 24_000)
    expected = {"gone.wav": "missing", "empty.wav": "empty", "text.flac": "not audio", "folder.wav": "not audio", "none.wav": "empty"}
    for name, reason in expected.items():
        with pytest.raises(AudioError, match=name) as caught:
            read(tmp_path / name)
        assert caught.value.reason.startswith(reason)


def test_blocks_of_a_stream_join_to_the_whole_file(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (600_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 24_000, subtype="FLOAT")
    blocks = list(stream(tmp_path / "a.wav")[0])
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_compressed_blocks_join_without_a_click(tmp_path, suffix):
    noise = np.random.default_rng(0).normal(0, 0.1, 600_000)
    with soundfile.SoundFile(tmp_path / f"a.{suffix}", "w", 24_000, 1) as file:
        for start in range(0, len(noise), 4_096):  # libsndfile's Vorbis encoder takes no long blocks
            file.write(noise[start : start + 4_096])
    at_once, _ = soundfile.read(tmp_path / f"a.{suffix}", dtype="float32")
    blocks = list(stream(tmp_path / f"a.{suffix}")[0])
    assert len(blocks) > 2
    np.testing.assert_allclose(np.concatenate(blocks)[:, 0], at_once, atol=1e-6)


def test_a_flac_from_a_pipe_is_read_although_its_header_states_no_length_and_refused_where_it_is_cut(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 600_000), 24_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert read(path)[0].shape == (1, 600_000)
    path.write_bytes(data[:-1_000])
    with pytest.raises(AudioError, match="truncated or damaged"):
        read(path)


def test_resampling_keeps_a_tone_where_it_was():
    up = resample(tone(1.0, 16_000), 16_000, 24_000)
    assert up.shape == (24_000,)
    np.testing.assert_allclose(up[2_000:-2_000], tone(1.0, 24_000)[2_000:-2_000], atol=1e-4)


def test_resampling_treats_channels_alike():
    stereo = np.stack([tone(), -tone()])
    both = resample(stereo, 24_000, 16_000)
    assert both.shape == (2, 8_000)
    np.testing.assert_array_equal(both[0], resample(tone(), 24_000, 16_000))


def test_a_stereo_file_at_44_1_khz_is_loaded_as_one_channel_at_24_khz(tmp_path):
    write(tmp_path / "a.flac", np.stack([tone(1.0, 44_100), 0 * tone(1.0, 44_100)]), 44_100)
    samples = load_mono_24k(tmp_path / "a.flac")
    assert samples.shape == (24_000,)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples[2_000:-2_000], 0.5 * tone(1.0)[2_000:-2_000], atol=1e-3)
