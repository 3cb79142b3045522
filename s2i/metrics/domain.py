"""How near an embedding is to those that a model was trained on, by two distances.

The Mahalanobis distance is the confidence score of Lee et al. (2018), https://arxiv.org/abs/1807.03888, with
one Gaussian for all captions in place of one a class, since captions of new classes are expected. It is
smooth, and tells which of several readings of a recording is the likelier.

The distance of the nearest neighbours is that of Sun et al. (2022), https://arxiv.org/abs/2204.06507. What a
sentence that is no caption becomes lies within the Gaussian of the captions more often than not, but beside
the thin part of it that captions fill: whether a recording is unlike all of training's is told by neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

QUANTILE = 0.99  # of the distances of left-out groups' embeddings: the thresholds
NEIGHBOURS = 5  # the distance is that of the fifth nearest
FOLDS = 8
SHRINKAGE = 0.05  # of the covariance towards its diagonal
LEAST_VARIANCE = 1e-4  # added, of the mean variance: directions that no caption uses


@dataclass(frozen=True)
class Domain:
    """The embeddings of a training split: as a Gaussian, and themselves.

    Attributes:
        mean: (D,).
        whitening: (D, D); (embedding - mean) @ whitening has the identity as its covariance.
        threshold: () Mahalanobis distance that `QUANTILE` of the embeddings of groups (speakers) that were
            left out stay below.
        directions: (N, D) the embeddings at length 1, as precise as float16 is; None: unknown, of a model
            that was exported before they were kept.
        reach: () the same quantile of distances from them; None with them.
    """

    mean: Tensor
    whitening: Tensor
    threshold: Tensor
    directions: Tensor | None = None
    reach: Tensor | None = None

    def distance(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) Mahalanobis distances, in units of the threshold."""
        centred = embeddings.float().cpu() - self.mean
        return (centred @ self.whitening).norm(dim=1) / self.threshold

    def neighbour_distance(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) distances of the directions' `NEIGHBOURS`th nearest, in units of their reach: above
        1 is out of domain. All are 0 where the directions are unknown."""
        if self.directions is None:
            return torch.zeros(len(embeddings))
        return _neighbour_distance(embeddings.float().cpu(), self.directions.float()) / self.reach

    def tensors(self) -> dict[str, Tensor]:
        """What `Domain(**tensors)` makes it from again."""
        return {name: value for name, value in vars(self).items() if value is not None}


def fit_domain(embeddings: Tensor, groups: Sequence[str]) -> Domain | None:
    """The domain of embeddings (N, D), each of one of `groups`, such as its speaker.

    The thresholds are measured on groups that are not among what they are measured against: in each of
    `FOLDS` rounds every eighth group is left out, in the order of their names; of a single group, single
    embeddings are.

    Returns:
        None for fewer embeddings than twice their dimension, which have no covariance to speak of.
    """
    count, width = embeddings.shape
    if count < 2 * width:
        return None
    values = embeddings.double().cpu()
    directions = F.normalize(values.float(), dim=1).half()
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if numbers.max() == 0:
        numbers = np.arange(count)
    fold = torch.from_numpy(numbers % min(FOLDS, numbers.max() + 1))
    distances, to_neighbours = torch.zeros(2, count, dtype=torch.float64)
    for number in fold.unique():
        left_out, others = fold == number, fold != number
        mean, whitening = _gaussian(values[others])
        distances[left_out] = ((values[left_out] - mean) @ whitening).norm(dim=1)
        to_neighbours[left_out] = _neighbour_distance(
            values[left_out].float(), directions[others].float()
        ).double()
    mean, whitening = _gaussian(values)
    threshold, reach = (each.quantile(QUANTILE).float() for each in (distances, to_neighbours))
    return Domain(mean.float(), whitening.float(), threshold, directions, reach)


def _neighbour_distance(embeddings: Tensor, directions: Tensor) -> Tensor:
    """(B, D) and N unit vectors (N, D) -> (B,) distances of the directions' `NEIGHBOURS`th nearest."""
    distances = torch.cdist(F.normalize(embeddings, dim=1), directions)
    return distances.kthvalue(min(NEIGHBOURS, len(directions)), dim=1).values


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
