"""The weights that DCGAN's descendants begin with."""

from __future__ import annotations

from torch import nn

DEVIATION = 0.02


def initialise_normally(network: nn.Module) -> None:
    """Weights of N(0, .02), scales of batch norms of N(1, .02), zero biases (DCGAN)."""
    for part in network.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(part.weight, 0.0, DEVIATION)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.weight, 1.0, DEVIATION)
            nn.init.zeros_(part.bias)
