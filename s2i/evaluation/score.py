"""A measured number, and what a protocol says of itself beside its procedure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from s2i.metrics.statistics import weighted_mean

if TYPE_CHECKING:
    from s2i.evaluation.subject import Subject

FEW_PICTURES = 2048  # below, FID is more bias than distance
DRAWN, S2IGAN = "drawn", "s2igan"  # which pictures are drawn: of `drawn_captions`, of `s2igan_captions`
REAL = (
    "all real pictures of the split: centre crops, brought to the drawn ones' size by an antialiased bicubic"
    " filter where the pack holds larger ones"
)


@dataclass(frozen=True)
class Score:
    """One measured number.

    `of`: "run", or what it is held against: "real" pictures, "chance", the "majority" answer. `spread`: the
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


@dataclass(frozen=True)
class Facts:
    """What stands beside each of a protocol's numbers: who looks at the pictures (a name that
    `Subject.extractor` knows), at which drawn ones (`which` of `Subject.drawn`; "": at none), and what they
    are held against."""

    extractor: str
    draws: str
    reference: str


Protocol = Callable[["Subject"], list[Score]]


def protocol(extractor: str, draws: str, reference: str) -> Callable[[Protocol], Protocol]:
    """Mark a function as a protocol: its docstring is the procedure, its `facts` are these."""

    def mark(function: Protocol) -> Protocol:
        function.facts = Facts(extractor, draws, reference)
        return function

    return mark


def mean_score(
    metric: str,
    values: np.ndarray,
    clusters: np.ndarray,
    counts: dict[str, int],
    weights: np.ndarray | None = None,
    of: str = "run",
) -> Score:
    """The weighted mean of one share a caption, (N,) each, with its interval over clusters."""
    found = weighted_mean(values, clusters, weights)
    return Score(metric, found.value, counts, of, found.interval95, "", values, clusters, weights)


def few_pictures(counts: dict[str, int]) -> str:
    """The note that belongs to an FID of so many pictures; "" for enough."""
    least = min(counts.values())
    if least >= FEW_PICTURES:
        return ""
    return f"FID of {least} pictures, under {FEW_PICTURES}: biased upward, read KID"
