"""Bootstrap intervals of means and of paired differences (Efron and Tibshirani 1993, chapter 13).

What is drawn again, with replacement, are clusters: captions of one class share pictures and resemble each
other, so drawing captions one by one would call an interval narrower than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
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
    """Percentile interval of any statistic of resampled clusters; None with fewer than two.

    Args:
        statistic: multiplicities (R, clusters), how often each cluster was drawn -> (R,).
    """
    if clusters < 2:
        return None
    found = np.concatenate([statistic(block) for block in _multiplicities(clusters, resamples, seed)])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _multiplicities(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    rows = max(1, _NUMBERS_A_CHUNK // clusters)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        yield random.multinomial(clusters, np.full(clusters, 1 / clusters), size=count).astype(np.float64)
