"""Bootstrap intervals of means and of paired differences (Efron and Tibshirani 1993, chapter 13).

What is drawn again, with replacement, are clusters: captions of one class share pictures and resemble each
other, so drawing captions one by one would call an interval narrower than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
PERMUTATIONS = 9999
_EXACT_CLUSTERS = 12  # up to here every sign pattern is tried
_NUMBERS_A_CHUNK = 4_000_000  # of a block of multiplicities: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; None with fewer than two clusters."""

    value: float
    interval95: tuple[float, float] | None
    n: int  # observations
    clusters: int


def weighted_mean(values: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """Weighted mean of observations with a cluster bootstrap.

    Args:
        values: (N,); clusters: (N,) any labels; weights: (N,), 1 if None. An observation without weight
            does not count.

    Raises:
        ValueError: no observation has weight.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = weights > 0
    if not kept.any():
        raise ValueError("expected observations, found none")
    values, weights = values[kept], weights[kept]
    _, cluster = np.unique(np.asarray(clusters)[kept], return_inverse=True)
    sums = np.bincount(cluster, values * weights)
    totals = np.bincount(cluster, weights)

    def means(multiplicities: np.ndarray) -> np.ndarray:
        return (multiplicities @ sums) / (multiplicities @ totals)

    interval = bootstrap_interval(means, len(sums))
    return Estimate(float(sums.sum() / totals.sum()), interval, int(kept.sum()), len(sums))


def paired_difference(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None
) -> Estimate:
    """Mean of first - second, observation by observation, with a cluster bootstrap: (N,), (N,), (N,)."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"expected pairs, found {first.shape} and {second.shape}")
    return weighted_mean(first - second, clusters, weights)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    clusters: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile interval of any statistic of resampled clusters; None with fewer than two, or where more
    than a hundredth of the resamples have no value (all drawn from one picture, say).

    Args:
        statistic: multiplicities (R, clusters), how often each cluster was drawn -> (R,).
    """
    if clusters < 2:
        return None
    found = np.concatenate([statistic(block) for block in _multiplicities(clusters, resamples, seed)])
    valued = found[np.isfinite(found)]
    if len(valued) < 0.99 * len(found):
        return None
    found, tail = valued, (1 - LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


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
    found = abs(np.mean(first) - np.mean(second))
    return float(_at_least(np.abs(means - others), found).mean())


def _at_least(values: np.ndarray, found: float) -> np.ndarray:
    """Whether values reach what was found; sums in another order may differ in the last digit."""
    return values >= found - 1e-12 * max(1.0, found)


def _multiplicities(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    rows = max(1, _NUMBERS_A_CHUNK // clusters)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        yield random.multinomial(clusters, np.full(clusters, 1 / clusters), size=count).astype(np.float64)
