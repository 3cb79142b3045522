"""Cluster bootstraps: exact where they must be, and as wide as the clusters make them."""

from __future__ import annotations

import numpy as np
import pytest

from s2i.evaluation.statistics import bootstrap_interval, paired_difference, weighted_mean


def test_a_weighted_mean_by_hand():
    found = weighted_mean(np.array([1.0, 0.0, 0.5]), np.array([0, 1, 1]), np.array([1, 3, 0]))
    assert found.value == pytest.approx(0.25)
    assert (found.n, found.clusters) == (2, 2)  # what has no weight does not count
    assert found.interval95 == (0.0, 1.0)  # only one cluster or the other may come


def test_without_weights_each_observation_counts_once():
    found = weighted_mean(np.array([1.0, 0.0, 1.0, 1.0]), np.arange(4))
    assert found.value == 0.75 and found.n == found.clusters == 4


def test_values_that_never_differ_have_no_width():
    assert weighted_mean(np.full(30, 0.4), np.arange(30) % 5).interval95 == pytest.approx((0.4, 0.4))


def test_one_cluster_has_no_interval():
    assert weighted_mean(np.array([1.0, 0.0]), np.array([3, 3])).interval95 is None


def test_resamples_without_a_value_are_left_out_and_too_many_of_them_give_no_interval():
    def first_share(multiplicities: np.ndarray, missing: int) -> np.ndarray:
        found = multiplicities[:, 0] / multiplicities.sum(1)
        return np.where(multiplicities.max(1) >= missing, np.nan, found)

    low, high = bootstrap_interval(lambda counts: first_share(counts, 7), 10)  # hardly ever so often
    assert np.isfinite([low, high]).all() and low < 0.1 < high
    assert bootstrap_interval(lambda counts: first_share(counts, 2), 10) is None


def test_nothing_observed_is_refused():
    with pytest.raises(ValueError, match="expected observations"):
        weighted_mean(np.array([1.0]), np.array([0]), np.array([0.0]))


def test_independent_observations_get_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    low, high = weighted_mean(values, np.arange(400)).interval95
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)


def test_observations_that_resemble_their_cluster_widen_the_interval():
    per_cluster = np.random.default_rng(0).normal(size=20)
    values, clusters = per_cluster.repeat(20), np.arange(20).repeat(20)
    low, high = weighted_mean(values, clusters).interval95
    naive_low, naive_high = weighted_mean(values, np.arange(400)).interval95
    assert high - low > 3 * (naive_high - naive_low)


def test_pairs_cancel_what_both_share():
    random = np.random.default_rng(0)
    shared = random.normal(size=100)
    found = paired_difference(shared + 0.1, shared, np.arange(100))
    assert found.value == pytest.approx(0.1)
    assert found.interval95 == pytest.approx((0.1, 0.1))
    with pytest.raises(ValueError, match="expected pairs"):
        paired_difference(shared, shared[:5], np.arange(100))


def test_an_interval_is_the_same_each_time_and_leaves_the_global_generator():
    values = np.random.default_rng(1).normal(size=50)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = weighted_mean(values, np.arange(50) % 7)
    assert first == weighted_mean(values, np.arange(50) % 7)
    assert np.array_equal(np.random.get_state()[1], before)


def test_resamples_hold_as_many_clusters_as_there_are():
    totals = []

    def statistic(multiplicities: np.ndarray) -> np.ndarray:
        totals.extend(multiplicities.sum(1))
        return multiplicities[:, 0]

    bootstrap_interval(statistic, 6, resamples=100)
    assert totals == [6.0] * 100
