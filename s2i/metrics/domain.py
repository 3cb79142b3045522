"""Whether an embedding is like those that a model was trained on: its Mahalanobis distance from them.

The confidence score of Lee et al. (2018), https://arxiv.org/abs/1807.03888, with one Gaussian for all
captions in place of one a class, since captions of new classes are expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

QUANTILE = 0.99  # of the distances of left-out groups' embeddings: the threshold
FOLDS = 8
SHRINKAGE = 0.05  # of the covariance towards its diagonal
LEAST_VARIANCE = 1e-4  # added, of the mean variance: directions that no caption uses


@dataclass(frozen=True)
class Domain:
    """The embeddings of a training split as a Gaussian.

    Attributes:
        mean: (D,).
        whitening: (D, D); (embedding - mean) @ whitening has the identity as its covariance.
        threshold: () distance that `QUANTILE` of the embeddings of groups (speakers) that were left out stay
            below.
    """

    mean: Tensor
    whitening: Tensor
    threshold: Tensor

    def distance(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) Mahalanobis distances, in units of the threshold: above 1 is out of domain."""
        centred = embeddings.float().cpu() - self.mean
        return (centred @ self.whitening).norm(dim=1) / self.threshold

    def tensors(self) -> dict[str, Tensor]:
        """What `Domain(**tensors)` makes it from again."""
        return {"mean": self.mean, "whitening": self.whitening, "threshold": self.threshold}


def fit_domain(embeddings: Tensor, groups: Sequence[str]) -> Domain | None:
    """The domain of embeddings (N, D), each of one of `groups`, such as its speaker.

    The threshold is measured on groups that the Gaussian was not fitted to: in each of `FOLDS` rounds every
    eighth group is left out, in the order of their names; of a single group, single embeddings are.

    Returns:
        None for fewer embeddings than twice their dimension, which have no covariance to speak of.
    """
    count, width = embeddings.shape
    if count < 2 * width:
        return None
    values = embeddings.double().cpu()
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if numbers.max() == 0:
        numbers = np.arange(count)
    fold = torch.from_numpy(numbers % min(FOLDS, numbers.max() + 1))
    distances = torch.zeros(count, dtype=torch.float64)
    for number in fold.unique():
        mean, whitening = _gaussian(values[fold != number])
        distances[fold == number] = ((values[fold == number] - mean) @ whitening).norm(dim=1)
    mean, whitening = _gaussian(values)
    return Domain(mean.float(), whitening.float(), distances.quantile(QUANTILE).float())


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
