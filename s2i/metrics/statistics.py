"""Intervals over classes, and permutation tests.

Captions of one class share images and resemble each other, so what is independent, and what an interval
counts, are classes ("clusters"). An interval is Student's t with the variance that leaving out one class at a
time gives (the jackknife; Efron and Tibshirani 1993, chapter 11). Shares and their differences are moved to
the logit scale for it and back, which keeps the ends within their bounds and makes them as lopsided as a
share near 0 or 1 is. Percentile and BCa bootstraps of so few classes are too narrow: see `weighted_mean`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit, logit, stdtrit

LEVEL = 0.95
FORM = "t over classes"  # of intervals, as records name it
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # bounds of a share, and of a difference of two
PERMUTATIONS = 9999
_EXACT_CLUSTERS = 12  # up to here every sign pattern is tried
_NUMBERS_A_CHUNK = 4_000_000  # of a block of multiplicities: 32 MB
_TAIL = (1 - LEVEL) / 2
_ROUNDING = 1e-12  # nearer to a bound, or to each other, are the same

# Multiplicities (R, clusters), how often each cluster counts -> (R,), or (R, K) of K values at once.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; None with fewer than two clusters."""

    value: float
    interval95: tuple[float, float] | None
    n: int  # observations
    clusters: int


def weighted_mean(
    values: np.ndarray,
    clusters: np.ndarray,
    weights: np.ndarray | None = None,
    bounds: tuple[float, float] | None = SHARE,
) -> Estimate:
    """Weighted mean of observations, and its t interval over clusters.

    Measured coverage of a nominal .95 with 5, 12 and 50 clusters, 2,000 samples each: clusters' means normal
    .95, .96, .95; accuracies about .95 of 20 captions each .99, .95, .94; average precisions about .05 (beta)
    .92, .93, .94, (log-normal) .92, .91, .93; of two kinds, low and high .87, .96, .95; nine of ten all right
    .99, .95, .94. The percentile bootstrap of the first five with 12 clusters: .91, .87, .87, .86, .91; BCa's
    .91, .91, .89, .88, .97; with 5 clusters .75 to .84, both. The t interval with 2 to 4 clusters: .92 to
    1.00, but of two kinds, .2 and .8 with deviations of .03 to .1, only .66 to .91.

    Args:
        values: (N,); clusters: (N,) any labels; weights: (N,), 1 if None. An observation without weight
            does not count.
        bounds: least and largest value that an observation can have; None: there are none.

    Raises:
        ValueError: no observation has weight, or the mean is out of bounds.
    """
    values, weights, cluster = _observed(values, clusters, weights)
    sums, totals = np.bincount(cluster, values * weights), np.bincount(cluster, weights)
    value = float(sums.sum() / totals.sum())
    interval = cluster_interval(lambda counts: (counts @ sums) / (counts @ totals), len(sums), bounds)
    return Estimate(value, interval, len(values), len(sums))


def paired_difference(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None
) -> Estimate:
    """Mean of first - second, shares, observation by observation, and its t interval over clusters.

    Args:
        first, second, clusters, weights: (N,) each, as in `weighted_mean`.

    Measured coverage with 5, 12 and 50 clusters: differences of counted shares about .9 .96, .96, .95; of
    average precisions about .05 .92, .93, .95; of accuracies about .95 of which one is the other's part .89,
    .91, .95; the percentile bootstrap's .84, .90, .94; .77, .88, .92; .81, .89, .93.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"expected pairs, found {first.shape} and {second.shape}")
    return weighted_mean(first - second, clusters, weights, DIFFERENCE)


def median(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The least value that half of the observations reach, and the interval of those that half of all may
    reach: where .5 lies in the t interval, over clusters, of the share that does (Woodruff 1952). Values and
    clusters: (N,) each.

    Measured coverage with 5, 12 and 50 clusters: medians of 1 .99, .99, .98; of 5 .97, .99, .99; of 20 .97,
    .96, .97.
    """
    values, _, cluster = _observed(values, clusters, None)
    levels, place = np.unique(values, return_inverse=True)
    count = int(cluster.max()) + 1
    reached = np.zeros((count, len(levels)))
    np.add.at(reached, (cluster, place), 1)
    totals = reached.sum(1)
    reached = reached.cumsum(1)
    shares, interval = reached.sum(0) / totals.sum(), None
    if count > 1:
        _, variances = jackknife(lambda m: (m @ reached) / (m @ totals)[:, None], count)
        ends = [
            t_interval(share, [(variance, count - 1)], count, SHARE)
            for share, variance in zip(shares[:-1], variances[:-1], strict=True)
        ]
        low, high = (np.array([end[side] for end in ends] + [1.0]) for side in (1, 0))
        interval = tuple(float(levels[(bound >= 0.5).argmax()]) for bound in (low, high))
    half = int((shares >= 0.5 - _ROUNDING).argmax())
    return Estimate(float(levels[half]), interval, len(values), count)


def cluster_interval(
    statistic: Statistic, clusters: int, bounds: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """The t interval of a smooth statistic of clusters (a ratio of sums, a mean over pairs; no median); None
    with fewer than two, or where it has no value without one of them."""
    if clusters < 2:
        return None
    value, variance = jackknife(statistic, clusters)
    if not np.isfinite(value) or not np.isfinite(variance):
        return None
    return t_interval(float(value), [(float(variance), clusters - 1)], clusters, bounds)


def jackknife(statistic: Statistic, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """A statistic's value over all clusters, and its variance from leaving out each in turn: () or (K,)."""
    value = statistic(np.ones((1, clusters)))[0]
    without = np.concatenate([statistic(block) for block in _left_out(clusters)])
    return value, (clusters - 1) * without.var(0)


def t_interval(
    value: float,
    components: Sequence[tuple[float, int]],
    clusters: int,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Student's t interval of a value whose variance is a sum of independent components.

    Its degrees of freedom are Satterthwaite's (1946). With bounds, the value's logit between them has the t
    interval, by the delta method. A value at a bound, from which no cluster differs, has the interval of as
    many trials that all ended alike (Clopper and Pearson 1934), for the next cluster may.

    Args:
        components: each component's variance and degrees of freedom.
    """
    variance = sum(component for component, _ in components)
    if bounds is None:
        reach = _reach(components, variance)
        return value - reach, value + reach
    low, high = bounds
    share = (value - low) / (high - low)
    if not -_ROUNDING <= share <= 1 + _ROUNDING:
        raise ValueError(f"expected a value between {low} and {high}, found {value}")
    if min(share, 1 - share) <= _ROUNDING:
        alike = _TAIL ** (1 / clusters)
        ends = (alike, 1.0) if share > 0.5 else (0.0, 1 - alike)
    else:
        reach = _reach(components, variance) / (high - low) / (share * (1 - share))
        ends = tuple(expit(logit(share) + side * reach) for side in (-1, 1)) if reach else (share, share)
    return tuple(float(low + (high - low) * end) for end in ends)


def _reach(components: Sequence[tuple[float, int]], variance: float) -> float:
    """Half the width of a t interval."""
    if variance <= _ROUNDING**2:
        return 0.0
    freedom = variance**2 / sum(component**2 / free for component, free in components)
    return float(stdtrit(freedom, 1 - _TAIL) * np.sqrt(variance))


def _observed(
    values: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What has weight: values, weights, clusters numbered from 0. Raises ValueError where nothing has."""
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = weights > 0
    if not kept.any():
        raise ValueError("expected observations, found none")
    _, cluster = np.unique(np.asarray(clusters)[kept], return_inverse=True)
    return values[kept], weights[kept], cluster


def _left_out(clusters: int) -> Iterator[np.ndarray]:
    """Multiplicities without each cluster in turn, block by block."""
    rows = max(1, _NUMBERS_A_CHUNK // clusters)
    for start in range(0, clusters, rows):
        each = np.arange(start, min(start + rows, clusters))
        block = np.ones((len(each), clusters))
        block[np.arange(len(each)), each] = 0
        yield block


def exchange_test(
    differences: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None, seed: int = 0
) -> float:
    """Two-sided p of a paired permutation test: each cluster's differences (N,) change sign together.

    The share of sign patterns whose weighted mean is at least as far from 0 as the one found: of all patterns
    up to 2^12, else of 9,999 random ones and the one found (Phipson and Smyth 2010).
    """
    weights = np.ones(len(differences)) if weights is None else np.asarray(weights, dtype=np.float64)
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, np.asarray(differences, dtype=np.float64) * weights)
    count = len(sums)
    if count <= _EXACT_CLUSTERS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(_at_least(np.abs((1 - 2 * patterns) @ sums), abs(sums.sum())).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(PERMUTATIONS, count))
    return float((1 + _at_least(np.abs(signs @ sums), abs(sums.sum())).sum()) / (1 + PERMUTATIONS))


def label_test(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of dealing the values to two groups of these sizes in every way: the exact permutation test
    of a difference of means. With few values it can't be small: 3 and 3 give .1 at least."""
    values, size = np.array([*first, *second], dtype=np.float64), len(first)
    chosen = np.array(list(combinations(range(len(values)), size)))
    means = values[chosen].mean(1)
    others = (values.sum() - values[chosen].sum(1)) / (len(values) - size)
    observed = abs(np.mean(first) - np.mean(second))
    return float(_at_least(np.abs(means - others), observed).mean())


def _at_least(values: np.ndarray, observed: float) -> np.ndarray:
    """Whether values reach what was found; sums in another order may differ in the last digit."""
    return values >= observed - 1e-12 * max(1.0, observed)
