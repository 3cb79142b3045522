"""Relation supervisor (S2IGAN, section 2.2.3): how do two images of the same class relate?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

IDENTICAL, SAME_CLASS, OTHER_CLASS = 0, 1, 2


class RelationSupervisor(nn.Module):
    """Vectors of a real image and another -> logits of `IDENTICAL`, `SAME_CLASS`, `OTHER_CLASS`.

    The published layer has a fourth output that no pair ever has as its label; `outputs=4` reads its weights.
    """

    def __init__(self, embedding: int, hidden: int = 128, outputs: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * embedding, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, real: Tensor, other: Tensor) -> Tensor:
        """(B, D), (B, D) -> (B, outputs)."""
        return self.layers(torch.cat((real, other), 1))  # W2 relu(bn(W1 [v, v']))
