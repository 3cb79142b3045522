"""Intervals over clusters: exact where they must be, as wide as the clusters make them, and they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from s2i.metrics.statistics import (
    Estimate,
    cluster_interval,
    jackknife,
    median,
    paired_difference,
    t_interval,
    weighted_mean,
)

MEANS = {  # of clusters, (R, C), and the true mean: what accuracies and average precisions look like
    "accuracies near 1": (lambda r, size: r.binomial(20, r.beta(19, 1, size)) / 20, 0.95),
    "precisions near 0": (lambda r, size: r.beta(0.5, 9.5, size), 0.05),
    "normal": (lambda r, size: r.normal(0.5, 0.1, size), 0.5),
    "nine of ten all right": (lambda r, size: np.where(r.random(size) < 0.9, 1, r.random(size)), 0.95),
}


def test_a_weighted_mean_by_hand():
    estimate = weighted_mean(np.array([1.0, 0.0, 0.5]), np.array([0, 1, 1]), np.array([1, 3, 0]))
    assert estimate.value == pytest.approx(0.25)
    assert (estimate.n, estimate.clusters) == (2, 2)  # what has no weight does not count
    assert estimate.interval95 == pytest.approx((0, 1), abs=0.01)  # two clusters say hardly anything


def test_without_weights_each_observation_counts_once():
    estimate = weighted_mean(np.array([1.0, 0.0, 1.0, 1.0]), np.arange(4))
    assert estimate.value == 0.75 and estimate.n == estimate.clusters == 4


def test_values_that_never_differ_have_no_width():
    assert weighted_mean(np.full(30, 0.4), np.arange(30) % 5).interval95 == pytest.approx((0.4, 0.4))


def test_where_every_cluster_is_at_a_bound_the_next_may_not_be():
    clusters = np.arange(60) % 12
    alike = 0.025 ** (1 / 12)  # Clopper and Pearson's, 12 of 12
    assert weighted_mean(np.ones(60), clusters).interval95 == pytest.approx((alike, 1))
    assert weighted_mean(np.zeros(60), clusters).interval95 == pytest.approx((0, 1 - alike))
    low, high = weighted_mean(np.r_[np.ones(59), 0.9], clusters).interval95
    assert 0.98 < low < 0.998 < high < 1  # a single one that misses by little


def test_bounds_are_kept_and_must_be_true():
    values = np.array([1.0, 1, 1, 1, 0.2])
    low, high = weighted_mean(values, np.arange(5)).interval95
    assert 0 < low < 0.84 < high < 1
    assert weighted_mean(values, np.arange(5), bounds=None).interval95[1] > 1
    low, high = paired_difference(np.array([1.0, 0]), np.array([0.0, 0.1]), np.arange(2)).interval95
    assert -1 <= low < 0.45 < high <= 1
    with pytest.raises(ValueError, match="between 0.0 and 1.0, found 1.5"):
        weighted_mean(np.full(4, 1.5), np.arange(4))


def test_one_cluster_has_no_interval():
    assert weighted_mean(np.array([1.0, 0.0]), np.array([3, 3])).interval95 is None


def test_what_has_no_value_without_one_cluster_has_no_interval():
    def statistic(counts: np.ndarray, needed: int) -> np.ndarray:
        return np.where(counts[:, :needed].sum(1) > 0, counts[:, 1], np.nan)

    assert cluster_interval(lambda counts: statistic(counts, 1), 10) is None
    assert cluster_interval(lambda counts: statistic(counts, 2), 10) is not None
    assert cluster_interval(lambda counts: counts[:, 0], 1) is None


def test_a_mean_of_no_observations_is_refused():
    with pytest.raises(ValueError, match="expected observations"):
        weighted_mean(np.array([1.0]), np.array([0]), np.array([0.0]))


def test_independent_observations_get_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    low, high = weighted_mean(values, np.arange(400), bounds=None).interval95
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)


def test_observations_that_resemble_their_cluster_widen_the_interval():
    per_cluster = np.random.default_rng(0).normal(size=20)
    values, clusters = per_cluster.repeat(20), np.arange(20).repeat(20)
    low, high = weighted_mean(values, clusters, bounds=None).interval95
    naive_low, naive_high = weighted_mean(values, np.arange(400), bounds=None).interval95
    assert high - low > 3 * (naive_high - naive_low)


def test_a_paired_difference_has_no_variance_where_pairs_differ_by_a_constant():
    random = np.random.default_rng(0)
    shared = random.normal(size=100)
    difference = paired_difference(shared + 0.1, shared, np.arange(100))
    assert difference.value == pytest.approx(0.1)
    assert difference.interval95 == pytest.approx((0.1, 0.1))
    with pytest.raises(ValueError, match="expected pairs"):
        paired_difference(shared, shared[:5], np.arange(100))


def test_an_interval_is_the_same_each_time_and_leaves_the_global_generator():
    values = np.random.default_rng(1).normal(size=50)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = weighted_mean(values, np.arange(50) % 7, bounds=None)
    assert first == weighted_mean(values, np.arange(50) % 7, bounds=None)
    assert np.array_equal(np.random.get_state()[1], before)


def test_a_mean_of_equal_clusters_has_students_interval():
    values = np.random.default_rng(2).normal(size=9)
    estimate = weighted_mean(values, np.arange(9), bounds=None)
    expected = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert estimate.interval95 == pytest.approx(expected)
    value, variance = jackknife(lambda counts: (counts @ values) / counts.sum(1), 9)
    assert (value, variance) == pytest.approx((values.mean(), stats.sem(values) ** 2))


def test_parts_of_a_variance_share_their_degrees_of_freedom():
    low, high = t_interval(1.0, [(0.04, 8), (0.01, 2)], 9)
    freedom = 0.05**2 / (0.04**2 / 8 + 0.01**2 / 2)  # Satterthwaite's
    assert (low, high) == pytest.approx(stats.t.interval(0.95, freedom, 1.0, np.sqrt(0.05)))


def test_the_median_is_the_least_value_that_half_reach():
    ranks, clusters = np.array([1.0, 1, 4, 9, 9, 2]), np.array([0, 0, 0, 1, 1, 2])
    assert median(ranks, clusters).value == 2 and median(ranks[:1], clusters[:1]) == Estimate(1, None, 1, 1)
    assert median(np.ones(50), np.arange(50) % 5).interval95 == (1, 1)
    low, high = median(np.tile([1.0, 1, 1, 30], 6), np.repeat(np.arange(6), 4)).interval95
    assert (low, high) == (1, 1)  # three quarters of every cluster
    low, high = median(np.repeat([1.0, 2, 3, 40, 50, 60], 4), np.repeat(np.arange(6), 4)).interval95
    assert low == 1 and high == 60


def coverage(generate, true: float, clusters: int, interval, times: int = 3000) -> float:
    """How often an interval of the means of so many clusters holds the true mean."""
    means = generate(np.random.default_rng(clusters), (times, clusters))
    return float(np.mean([low <= true <= high for low, high in map(interval, means)]))


@pytest.mark.parametrize("clusters", [12, 50])
@pytest.mark.parametrize("kind", MEANS)
def test_intervals_of_shares_cover(kind, clusters):
    generate, true = MEANS[kind]
    coverage_rate = coverage(
        generate, true, clusters, lambda each: weighted_mean(each, np.arange(clusters)).interval95
    )
    assert coverage_rate > 0.915


def test_the_percentile_bootstrap_would_not():
    def percentile(means: np.ndarray) -> tuple[float, float]:
        bootstrap = stats.bootstrap((means,), np.mean, n_resamples=500, method="percentile", rng=0)
        return tuple(bootstrap.confidence_interval)

    for kind in ("accuracies near 1", "precisions near 0"):
        assert coverage(*MEANS[kind], 12, percentile, times=400) < 0.905


@pytest.mark.parametrize("clusters", [5, 12, 50])
def test_intervals_of_differences_cover(clusters):
    def generate(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        likely = random.beta(9, 1, size)
        counted = random.binomial(8, likely), random.binomial(8, likely * random.beta(20, 1, size))
        return np.stack(counted, -1) / 8

    coverage_rate = coverage(
        generate, 0.9 / 21, clusters, lambda pair: paired_difference(*pair.T, np.arange(clusters)).interval95
    )
    assert coverage_rate > 0.925


@pytest.mark.parametrize("clusters", [5, 12])
def test_intervals_of_medians_cover(clusters):
    def generate(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        return np.ceil(np.exp(random.normal(1.5, 1, (*size, 1)) + random.normal(size=(*size, 20))))

    true = np.median(generate(np.random.default_rng(0), (200, 200)))
    labels = np.arange(clusters).repeat(20)
    coverage_rate = coverage(
        generate, true, clusters, lambda ranks: median(ranks.ravel(), labels).interval95, times=300
    )
    assert coverage_rate > 0.93
