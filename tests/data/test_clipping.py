"""Peaks that are cut off flat are found, at whatever volume; round ones are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2i.config_data import AudioConfig
from s2i.data.audio import hear
from s2i.data.clipping import MOST, clipped_share
from s2i.data.tts_espeak import speak


def test_flat_peaks_are_counted_sample_by_sample():
    samples = torch.tensor([0.0, 0.5, 0.5, 0.5, 0.1, -0.2, 0.5, 0.5, 0.0, -0.3, -0.3, -0.3, -0.3, 0.0])
    assert clipped_share(samples) == pytest.approx(7 / 14)  # three above and four below; two are no run
    assert clipped_share(torch.stack([samples, samples.roll(1) * 0.1], 1)) == pytest.approx(7 / 14)
    assert clipped_share(torch.zeros(9)) == clipped_share(torch.full((9,), 0.3)) == 0
    assert clipped_share(torch.tensor([0.5, 0.5])) == 0


@pytest.mark.parametrize("frequency", [100, 440])
def test_a_tone_and_speech_are_not_clipped_until_they_are(frequency):
    time = np.arange(22050) / 22050
    voice, _ = speak("a small red bird with a black wing")
    for round_wave in (0.9 * np.sin(2 * np.pi * frequency * time), voice / np.abs(voice).max()):
        stored = np.round(round_wave * 32767) / 32768
        assert clipped_share(torch.from_numpy(stored)) < MOST
        overdriven = 0.3 * np.clip(2 * round_wave, -1, 1)  # and made quieter since
        assert clipped_share(torch.from_numpy(overdriven)) > MOST


def test_a_clipped_recording_has_a_note_and_a_clean_one_none():
    voice, rate = speak("a small red bird with a black wing")
    assert hear((voice, rate), AudioConfig()).notes() == []
    [note] = hear((np.clip(8 * voice, -1, 1), rate), AudioConfig()).notes()
    assert "too loud for its microphone" in note and "% of the samples" in note
