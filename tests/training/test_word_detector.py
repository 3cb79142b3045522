"""Boundaries by change and by a taught detector: hand-made spectra, no text anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2i.metrics.boundaries import score_boundaries
from s2i.models.word_detector import WordDetector, change, change_points, pick_peaks, smooth
from s2i.training.word_detector import choose_threshold, train_word_detector

HOP = 0.01


def utterances(count: int, seed: int) -> tuple[list[torch.Tensor], list[list[float]]]:
    """Noise in 8 bins, with a rise of the second bin where a word begins."""
    random = np.random.default_rng(seed)
    mels, boundaries = [], []
    for _ in range(count):
        frames = int(random.integers(120, 200))
        begins = np.cumsum(random.integers(20, 40, size=8))
        begins = begins[begins < frames - 10]
        mel = random.normal(0, 0.3, (frames, 8)).astype(np.float32)
        for begin in begins:
            mel[begin : begin + 4, 1] += 3
        mels.append(torch.from_numpy(mel))
        boundaries.append([HOP * begin for begin in begins])
    return mels, boundaries


def test_change_is_the_distance_of_means_before_and_after():
    mel = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    distances = change(mel, 3)
    for place in range(1, 11):
        expected = (mel[place : place + 3].mean(0) - mel[max(0, place - 3) : place].mean(0)).norm()
        assert distances[place].item() == pytest.approx(expected.item(), abs=1e-5)
    assert distances[0] == distances[-1] == 0


def test_a_change_point_lies_where_the_spectrum_steps():
    mel = torch.zeros(60, 4)
    mel[20:40, 0], mel[40:, 1] = 1.0, 1.0
    assert change_points(mel, HOP, 0.5) == pytest.approx([0.2, 0.4])
    assert change_points(mel, HOP, 5.0) == []


def test_peaks_are_apart_and_the_greatest_stays():
    values = torch.tensor([0.0, 2, 0, 3, 0, 0, 0, 1, 0, 0.4, 0])
    assert pick_peaks(values, 0.5, 3, 1.0) == [3.0, 7.0]
    assert pick_peaks(values, 0.5, 1, 0.5) == [0.5, 1.5, 3.5]
    assert smooth(torch.tensor([0.0, 4, 0, 0])).tolist() == [1, 2, 1, 0]


def test_a_detector_finds_in_other_utterances_what_it_was_taught():
    state = torch.get_rng_state()
    detector = train_word_detector(*utterances(40, 0), HOP)
    assert torch.equal(torch.get_rng_state(), state)
    mels, true = utterances(10, 1)
    detector.threshold.fill_(
        choose_threshold(
            lambda threshold: [
                pick_peaks(smooth(detector(mel).sigmoid()), threshold, 9, HOP) for mel in mels
            ],
            [0.1, 0.2, 0.3, 0.4],
            true,
        )
    )
    boundaries = [detector.boundaries(mel, HOP) for mel in mels]
    assert score_boundaries(true, boundaries, 0.02).f1 > 0.9
    again = train_word_detector(*utterances(40, 0), HOP)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in detector.state_dict().items()
               if name != "threshold")  # fmt: skip


def test_a_detector_sees_no_further_than_its_reach():
    detector = WordDetector(8).eval()
    mel = torch.randn(80, 8, generator=torch.Generator().manual_seed(1))
    changed = mel.clone()
    changed[60:] += 1
    with torch.no_grad():
        same = (detector(mel) - detector(changed)).abs() < 1e-6
    assert same[:48].all() and not same[60:].all()
