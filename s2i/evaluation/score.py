"""A measured number, and what a protocol says of itself beside its procedure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from s2i.metrics.statistics import weighted_mean

if TYPE_CHECKING:
    from s2i.evaluation.subject import Subject

FEW_IMAGES = 2048  # below, FID is more bias than distance
# Which images are generated: of `generated_captions`, of `s2igan_captions`.
GENERATED, S2IGAN = ("generated", "s2igan")
REAL = (
    "all real images of the split: centre crops, brought to the generated ones' size by an antialiased"
    " bicubic filter where the pack holds larger ones"
)


@dataclass(frozen=True)
class Score:
    """One measured number.

    `of`: "run", or what it is held against: "real" images, "chance", the "majority" answer. `spread`: the
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
    """What stands beside each of a protocol's numbers: who looks at the images (a name that
    `Subject.extractor` knows), at which generated ones (`which` of `Subject.generated`; "": at none), and
    what they are held against."""

    extractor: str
    generates: str
    reference: str


Protocol = Callable[["Subject"], list[Score]]


def protocol(extractor: str, generates: str, reference: str) -> Callable[[Protocol], Protocol]:
    """Mark a function as a protocol: its docstring is the procedure, its `facts` are these."""

    def mark(function: Protocol) -> Protocol:
        function.facts = Facts(extractor, generates, reference)
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


def few_images(counts: dict[str, int]) -> str:
    """The note that belongs to an FID of so many images; "" for enough."""
    least = min(counts.values())
    if least >= FEW_IMAGES:
        return ""
    return f"FID of {least} images, under {FEW_IMAGES}: biased upward, read KID"
