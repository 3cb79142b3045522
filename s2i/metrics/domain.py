"""How near an embedding is to those that a model was trained on.

By the Mahalanobis distance, the confidence score of Lee et al. (2018), https://arxiv.org/abs/1807.03888, with
one Gaussian for all captions in place of one a class, since captions of new classes are expected: it is
smooth, and tells which of several readings of a recording is the likeliest. And by the nearest neighbours:
what a sentence that is no caption becomes lies within the Gaussian of the captions more often than not, the
better the encoder, but beside all of them. A recording that is far by either is unlike training's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2i.metrics.neighbours import QUANTILE, Neighbours, fit_neighbours, folds

SHRINKAGE = 0.05  # of the covariance towards its diagonal
LEAST_VARIANCE = 1e-4  # added, of the mean variance: directions that no caption uses


@dataclass(frozen=True)
class Domain:
    """The embeddings of a training split: as a Gaussian, and themselves.

    Attributes:
        mean: (D,).
        whitening: (D, D); (embedding - mean) @ whitening has the identity as its covariance.
        threshold: () distance that `QUANTILE` of the embeddings of groups (speakers) that were left out stay
            below.
        neighbours: the embeddings; None: unknown, of a model that was exported before they were kept.
    """

    mean: Tensor
    whitening: Tensor
    threshold: Tensor
    neighbours: Neighbours | None = None

    def distance(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) Mahalanobis distances, in units of the threshold."""
        centred = embeddings.float().cpu() - self.mean
        return (centred @ self.whitening).norm(dim=1) / self.threshold

    def is_outside(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) whether each is beyond the threshold, or beyond the reach of its neighbours where
        they are known: each distance tells of some that the other doesn't."""
        is_outside = self.distance(embeddings) > 1
        return (
            is_outside if self.neighbours is None else is_outside | (self.neighbours.distance(embeddings) > 1)
        )

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` makes it from again."""
        of_neighbours = {} if self.neighbours is None else vars(self.neighbours)
        return {name: value for name, value in vars(self).items() if name != "neighbours"} | of_neighbours

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Domain:
        """Raises TypeError for tensors of other names."""
        of_neighbours = {name: value for name, value in tensors.items() if name in ("directions", "reach")}
        gaussian = {name: value for name, value in tensors.items() if name not in of_neighbours}
        return cls(**gaussian, neighbours=Neighbours(**of_neighbours) if of_neighbours else None)


def fit_domain(embeddings: Tensor, groups: Sequence[str]) -> Domain | None:
    """The domain of embeddings (N, D), each of one of `groups`, such as its speaker.

    The threshold is measured on groups that the Gaussian was not fitted to, as the reach of neighbours is
    (`s2i.metrics.neighbours.folds`).

    Returns:
        None for fewer embeddings than twice their dimension, which have no covariance to speak of.
    """
    count, width = embeddings.shape
    if count < 2 * width:
        return None
    values, fold = embeddings.double().cpu(), folds(groups)
    distances = torch.zeros(count, dtype=torch.float64)
    for number in fold.unique():
        left_out = fold == number
        mean, whitening = _gaussian(values[~left_out])
        distances[left_out] = ((values[left_out] - mean) @ whitening).norm(dim=1)
    mean, whitening = _gaussian(values)
    threshold = distances.quantile(QUANTILE).float()
    return Domain(mean.float(), whitening.float(), threshold, fit_neighbours(embeddings, groups))


def _gaussian(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and a whitening (D, D) of values (N, D)."""
    mean = values.mean(dim=0)
    covariance = (values - mean).T @ (values - mean) / max(1, len(values) - 1)
    variances = covariance.diagonal()
    least = LEAST_VARIANCE * variances.mean().clamp(min=1e-12)
    covariance = (1 - SHRINKAGE) * covariance + torch.diag(SHRINKAGE * variances + least)
    identity = torch.eye(len(mean), dtype=values.dtype)
    # Covariance = L L': whitening is the inverse of L', so that |x whitening|^2 = x' covariance^-1 x.
    lower = torch.linalg.cholesky(covariance)
    return mean, torch.linalg.solve_triangular(lower, identity, upper=False).T
