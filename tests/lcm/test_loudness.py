import math

import numpy as np
import pytest
import torch

from lcm.errors import LcmError
from lcm.loudness import as_stored, loudness


@pytest.fixture(scope="module")
def torchaudio():
    from lcm.compat import import_encodec

    import_encodec()
    import torchaudio

    return torchaudio


@pytest.mark.parametrize("level", [0.02, 0.5, 3.0])
def test_loudness_is_torchaudios(speech, torchaudio, level):
    audio = level * torch.from_numpy(speech)
    theirs = float(torchaudio.functional.loudness(audio[None].double(), 24_000))
    assert loudness(audio) == pytest.approx(theirs, abs=0.01)


def test_pauses_are_gated_as_torchaudio_gates_them(speech, torchaudio):
    audio = torch.cat([torch.from_numpy(speech[:24_000]), 1e-3 * torch.from_numpy(speech[:24_000]), torch.zeros(12_000)])
    theirs = float(torchaudio.functional.loudness(audio[None].double(), 24_000))
    assert loudness(audio) == pytest.approx(theirs, abs=0.01)


def test_stored_audio_is_scaled_to_14_db_below_full_scale_and_compressed(speech):
    audio = torch.from_numpy(speech)
    stored = as_stored(audio)
    gain = 10 ** ((-14 - loudness(audio)) / 20)
    torch.testing.assert_close(stored, torch.tanh(gain * audio))
    assert torch.equal(as_stored(audio).sign(), audio.sign())
    torch.testing.assert_close(as_stored(0.2 * audio), stored, atol=1e-4, rtol=0)  # whatever the level it came at


def test_the_compressor_bends_peaks(speech):
    audio = torch.from_numpy(speech)
    stored = as_stored(audio, headroom_db=0)
    assert stored.abs().max() < 1
    ratio = stored / audio.clamp(min=1e-3)
    assert ratio[audio.argmax()] < 0.8 * ratio[(audio - 0.05).abs().argmin()]


def test_near_silence_keeps_its_level():
    quiet = 1e-3 * torch.from_numpy(np.random.default_rng(0).standard_normal(24_000).astype(np.float32))
    assert torch.equal(as_stored(quiet), quiet)


def test_silence_has_no_loudness_and_a_short_clip_is_refused():
    assert math.isnan(loudness(torch.zeros(24_000)))
    with pytest.raises(LcmError, match=r"at least 9600 samples"):
        loudness(torch.zeros(9_599))
