"""Boundaries between words: how many are found at the right time, and baselines that hear nothing.

Boundaries lie inside of an utterance. Its beginning and its end are known to everybody and are not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

TOLERANCES = (0.02, 0.05)  # s
PROCEDURE = (
    "A found boundary is right if it lies within the tolerance of a true one; each true boundary takes one"
    " found one and each found one is taken once (the largest such matching). The beginning and the end of"
    " an utterance are not scored. Precision, recall, F1 over all utterances together; R-value: Räsänen,"
    " Laine and Altosaar (2009), which more boundaries than there are lower."
)


@dataclass(frozen=True)
class BoundaryScores:
    """Of many utterances together, at one tolerance."""

    precision: float
    recall: float
    f1: float
    r_value: float


def count_matches(true: Sequence[float], detected: Sequence[float], tolerance: float) -> int:
    """Pairs of the largest one-to-one matching of two rising lists of times, each within the tolerance.

    The earliest pair that fits is always part of one: all windows are equally wide.
    """
    first = second = matches = 0
    while first < len(true) and second < len(detected):
        apart = detected[second] - true[first]
        if abs(apart) <= tolerance + 1e-9:  # times are multiples of a frame: rounding is not to decide
            matches, first, second = matches + 1, first + 1, second + 1
        elif apart > 0:
            first += 1
        else:
            second += 1
    return matches


def score_boundaries(
    true: Sequence[Sequence[float]], detected: Sequence[Sequence[float]], tolerance: float
) -> BoundaryScores:
    """Scores of found boundaries, in s, an utterance a list, both rising. 0 where there are none."""
    matches = sum(count_matches(*pair, tolerance) for pair in zip(true, detected, strict=True))
    count_true, count_detected = sum(map(len, true)), sum(map(len, detected))
    precision, recall = matches / max(1, count_detected), matches / max(1, count_true)
    f1 = 2 * matches / max(1, count_true + count_detected)
    over = count_detected / max(1, count_true) - 1  # recall / precision - 1
    away = sqrt((1 - recall) ** 2 + over**2)
    beside = (-over + recall - 1) / sqrt(2)
    return BoundaryScores(precision, recall, f1, 1 - (abs(away) + abs(beside)) / 2)


def uniform_boundaries(seconds: float, every: float) -> np.ndarray:
    """Boundaries every so many seconds, inside of an utterance of `seconds`."""
    return np.arange(1, np.ceil(seconds / every - 1e-9)) * every


def random_boundaries(seconds: float, count: int, seed: int) -> np.ndarray:
    """`count` boundaries anywhere in an utterance, rising. A function of the seed."""
    return np.sort(np.random.default_rng(seed).uniform(0, seconds, count))
