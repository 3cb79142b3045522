"""Segments of a recording lie side by side and change where words do; attention is given to their time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2i.config_data import AudioConfig
from s2i.data.audio import Heard, hear
from s2i.inference.word_segments import attention_during, word_segments


def tones(*pitches: float, rate: int = 22050, seconds: float = 0.3) -> np.ndarray:
    """A tone after the other."""
    time = np.arange(int(seconds * rate)) / rate
    return np.concatenate([0.3 * np.sin(2 * np.pi * pitch * time) for pitch in pitches])


def test_segments_change_where_the_spectrum_does():
    heard = hear((tones(300, 1200, 500, 3000), 22050), AudioConfig())
    segments = word_segments(heard)
    assert segments[0][0] == 0 and segments[-1][1] == pytest.approx(len(heard.spoken) / heard.rate)
    assert all(one[1] == other[0] for one, other in zip(segments, segments[1:], strict=False))
    assert [start for start, _ in segments[1:]] == pytest.approx([0.3, 0.6, 0.9], abs=0.03)


def test_a_recording_as_short_as_can_be_is_one_segment():
    waveform = torch.from_numpy(tones(400)[:1200]).float()
    heard = Heard(waveform, 0, len(waveform), 0.0, 22050)
    assert word_segments(heard) == [(0.0, pytest.approx(1200 / 22050))]


def test_attention_during_words_by_hand():
    attention = torch.tensor([0.5, 0.3, 0.2]).view(3, 1, 1)
    found = attention_during(attention, 0.4, [(0.0, 0.5), (0.5, 1.0)])  # the last step ends at 1.0
    means = [(0.4 * 0.5 + 0.1 * 0.3) / 0.5, (0.3 * 0.3 + 0.2 * 0.2) / 0.5]
    assert found.flatten().tolist() == pytest.approx([1.5 * mean for mean in means])
    steps = [(0.0, 0.4), (0.4, 0.8), (0.8, 1.0)]
    assert torch.allclose(attention_during(attention, 0.4, steps), attention)


def test_uniform_attention_stays_so_however_long_words_are():
    words = [(0.0, 0.1), (0.1, 0.9), (0.9, 1.0)]
    for steps in (2, 4, 9):  # of nine the last begin after the end
        even = torch.full((steps, 2, 2), 1 / steps)
        assert torch.allclose(attention_during(even, 0.25, words), torch.full((3, 2, 2), 1 / 3))
