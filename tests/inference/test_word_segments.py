"""Segments of a recording lie side by side and follow its words; attention is given to their time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2i.config_data import AudioConfig
from s2i.data.audio import Heard, hear
from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.inference.word_segments import LEAST, attention_during, word_segments
from s2i.metrics.boundaries import score_boundaries, uniform_boundaries


@pytest.fixture(scope="module")
def spoken() -> list[tuple[np.ndarray, int, np.ndarray]]:
    """Other sentences than taught the detector, by another voice: samples, Hz, when words begin."""
    texts = "the man had a small red bird in his hand", "green wings and a long tail, two black eyes"
    with arranged_voices() as folder:
        return [Espeak(folder).speak_words(text, "en-us+f5", 175, 50) for text in texts]


@pytest.mark.parametrize("rate", [22050, 16000])
def test_segments_cover_what_is_said_and_follow_its_words(spoken, rate):
    true, predicted, uniform = [], [], []
    config = AudioConfig(sample_rate=rate, mel_bins=20, cmvn=False)  # of a model, which it doesn't matter to
    state = torch.get_rng_state()
    for samples, hertz, begins in spoken:
        heard = hear((np.pad(samples, hertz), hertz), config)
        segments = word_segments(heard)
        seconds = len(heard.spoken) / rate
        assert segments[0][0] == 0 and segments[-1][1] == pytest.approx(seconds)
        assert all(one[1] == other[0] for one, other in zip(segments, segments[1:], strict=False))
        assert min(end - start for start, end in segments) >= LEAST
        true.append(begins[1:] + 1 - heard.seconds_before)
        predicted.append([start for start, _ in segments[1:]])
        uniform.append(uniform_boundaries(seconds, 0.32))
    assert torch.equal(torch.get_rng_state(), state)
    assert score_boundaries(true, predicted, 0.05).f1 > 0.65
    assert score_boundaries(true, uniform, 0.05).f1 < 0.5


def test_a_recording_as_short_as_can_be_is_one_segment():
    waveform = torch.from_numpy(0.1 * np.sin(np.arange(1200) / 9)).float()
    heard = Heard(waveform, 0, len(waveform), 0.0, 22050)
    assert word_segments(heard) == [(0.0, pytest.approx(1200 / 22050))]


def test_attention_during_words_by_hand():
    attention = torch.tensor([0.5, 0.3, 0.2]).view(3, 1, 1)
    word_attention = attention_during(attention, 0.4, [(0.0, 0.5), (0.5, 1.0)])  # the last step ends at 1.0
    means = [(0.4 * 0.5 + 0.1 * 0.3) / 0.5, (0.3 * 0.3 + 0.2 * 0.2) / 0.5]
    assert word_attention.flatten().tolist() == pytest.approx([1.5 * mean for mean in means])
    steps = [(0.0, 0.4), (0.4, 0.8), (0.8, 1.0)]
    assert torch.allclose(attention_during(attention, 0.4, steps), attention)


def test_uniform_attention_stays_so_however_long_words_are():
    words = [(0.0, 0.1), (0.1, 0.9), (0.9, 1.0)]
    for steps in (2, 4, 9):  # of nine the last begin after the end
        even = torch.full((steps, 2, 2), 1 / steps)
        assert torch.allclose(attention_during(even, 0.25, words), torch.full((3, 2, 2), 1 / 3))
