"""How far a vector is from its nearest neighbours among those that a model was trained on.

What lies beside a thin set is told from what lies in it by its neighbours, where a Gaussian around the set
holds both (Sun et al., ICML 2022, https://arxiv.org/abs/2204.06507). Departures: the fifth neighbour, of a
few hundred or thousand vectors in place of the fiftieth of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 5  # the distance is that of the fifth nearest
QUANTILE = 0.99  # of the distances of left-out groups' vectors: their reach
FOLDS = 8


@dataclass(frozen=True)
class Neighbours:
    """Vectors of a training split, by their directions.

    Attributes:
        directions: (N, D) the vectors at length 1, as precise as float16 is.
        reach: () distance that `QUANTILE` of the vectors of groups (speakers, say) that were left out stay
            below.
    """

    directions: Tensor
    reach: Tensor

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of all that distances depend on, in float16."""
        values = (each.half().numpy().tobytes() for each in (self.directions, self.reach))
        return hashlib.sha256(b"".join((*values, bytes([NEIGHBOURS])))).hexdigest()

    def distance(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B,) on the CPU: Euclidean distances of directions, each to the `NEIGHBOURS`th nearest,
        in units of the reach."""
        return _distance(vectors, self.directions) / self.reach


def fit_neighbours(vectors: Tensor, groups: Sequence[str]) -> Neighbours:
    """The neighbours that vectors (N, D) are to others, each of one of `groups`."""
    directions = F.normalize(vectors.float().cpu(), dim=1).half()
    fold = folds(groups)
    distances = torch.zeros(len(directions))
    for number in fold.unique():
        left_out = fold == number
        distances[left_out] = _distance(directions[left_out], directions[~left_out])
    return Neighbours(directions, distances.quantile(QUANTILE))


def folds(groups: Sequence[str]) -> Tensor:
    """(N,) the round, of `FOLDS`, in which each is left out: every eighth group, in the order of their names;
    of a single group, every eighth of its members."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if numbers.max() == 0:
        numbers = np.arange(len(numbers))
    return torch.from_numpy(numbers % min(FOLDS, numbers.max() + 1))


def _distance(vectors: Tensor, directions: Tensor) -> Tensor:
    """(B, D) and unit vectors (N, D) -> (B,)."""
    distances = torch.cdist(F.normalize(vectors.float().cpu(), dim=1), directions.float())
    return distances.kthvalue(min(NEIGHBOURS, len(directions)), dim=1).values
