"""The weights that DCGAN's descendants begin with."""

from __future__ import annotations

from torch import nn

DEVIATION = 0.02


def initialise_normally(network: nn.Module) -> None:
    """Weights of N(0, .02), scales of batch norms of N(1, .02), zero biases (DCGAN)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, DEVIATION)
            nn.init.zeros_(module.bias)
