"""A measured number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from s2i.metrics.statistics import weighted_mean

FEW_IMAGES = 2048  # below, FID is more bias than distance


@dataclass(frozen=True)
class Score:
    """One measured number.

    `of`: "run", or what it is compared with: "real" images, "chance", the "majority" answer. `spread`: the
    standard deviation over the parts of which `value` is the mean (splits, subsets, folds). `values`,
    `clusters`, `weights`: one a caption where the value is their weighted mean; `statistic`: the value from
    multiplicities of clusters, where it is another smooth function of them.
    """

    metric: str
    value: float
    counts: dict[str, int]
    of: str = "run"
    interval95: tuple[float, float] | None = None
    note: str = ""
    values: np.ndarray | None = field(default=None, repr=False)
    clusters: np.ndarray | None = field(default=None, repr=False)
    weights: np.ndarray | None = field(default=None, repr=False)
    statistic: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    spread: float | None = None


def mean_score(
    metric: str,
    values: np.ndarray,
    clusters: np.ndarray,
    counts: dict[str, int],
    weights: np.ndarray | None = None,
    of: str = "run",
) -> Score:
    """The weighted mean of one share a caption, (N,) each, with its interval over clusters."""
    mean = weighted_mean(values, clusters, weights)
    return Score(metric, mean.value, counts, of, mean.interval95, "", values, clusters, weights)


def few_images(counts: dict[str, int]) -> str:
    """The note that belongs to an FID of so many images; "" for enough."""
    least = min(counts.values())
    if least >= FEW_IMAGES:
        return ""
    return f"FID of {least} images, under {FEW_IMAGES}: biased upward, read KID"
