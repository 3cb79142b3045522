"""Word boundaries: the truth scores 1, matching is one to one, values against hand-computed ones."""

from __future__ import annotations

from itertools import combinations, permutations
from math import sqrt

import numpy as np
import pytest

from s2i.metrics.boundaries import (
    TOLERANCES,
    BoundaryScores,
    count_matches,
    random_boundaries,
    score_boundaries,
    uniform_boundaries,
)


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_the_truth_scores_1(tolerance):
    true = [[0.2, 0.23, 0.9], [], [0.4]]
    assert score_boundaries(true, true, tolerance) == BoundaryScores(1, 1, 1, 1)


def test_a_boundary_is_matched_once():
    assert count_matches([0.5], [0.48, 0.5, 0.52], 0.05) == 1
    assert count_matches([0.48, 0.52], [0.5], 0.05) == 1
    assert count_matches([0.5], [0.55], 0.05) == 1 and count_matches([0.5], [0.5501], 0.05) == 0
    # The nearest first would take .5 for .5 and leave .46 and .54 alone.
    assert count_matches([0.46, 0.5], [0.5, 0.54], 0.05) == 2


def test_the_matching_is_the_largest_of_all():
    random = np.random.default_rng(0)
    for _ in range(60):
        true, predicted = (np.sort(random.uniform(0, 0.4, random.integers(1, 5))) for _ in range(2))
        fewer, more = sorted((true, predicted), key=len)
        best = max(
            sum(abs(a - b) <= 0.05 for a, b in zip(fewer, order, strict=True))
            for chosen in combinations(more, len(fewer))
            for order in permutations(chosen)
        )
        assert count_matches(true, predicted, 0.05) == best


def test_scores_are_those_by_hand():
    # 3 true, 4 found, 2 of them right.
    scores = score_boundaries([[0.2, 0.5], [0.3]], [[0.21, 0.9, 1.2], [0.33]], 0.05)
    over, recall = 4 / 3 - 1, 2 / 3
    r_value = 1 - (sqrt((1 - recall) ** 2 + over**2) + abs(-over + recall - 1) / sqrt(2)) / 2
    assert (scores.precision, scores.recall) == pytest.approx((0.5, 2 / 3))
    assert scores.f1 == pytest.approx(4 / 7) and scores.r_value == pytest.approx(r_value)
    assert score_boundaries([[0.5]], [[]], 0.05).f1 == score_boundaries([[]], [[0.5]], 0.05).f1 == 0


def test_more_boundaries_than_there_are_lower_the_r_value_though_not_the_recall():
    true = [[0.5, 1.0, 1.5]]
    dense = score_boundaries(true, [uniform_boundaries(2.0, 0.04)], 0.05)
    assert dense.recall == 1 and dense.r_value < 0


def test_baselines_lie_inside_of_the_utterance():
    assert uniform_boundaries(1.0, 0.25).tolist() == pytest.approx([0.25, 0.5, 0.75])
    assert uniform_boundaries(0.2, 0.25).tolist() == []
    times = random_boundaries(2.0, 7, 1)
    assert len(times) == 7 and (np.diff(times) >= 0).all() and 0 <= times[0] and times[-1] <= 2
    assert np.array_equal(times, random_boundaries(2.0, 7, 1))
