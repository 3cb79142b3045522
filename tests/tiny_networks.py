"""Image networks of torchvision with random weights."""

from __future__ import annotations

import torch
from torchvision import models

from s2i.models.pretrained import KINDS


def make_network(kind: str) -> torch.nn.Module:
    """torchvision's, of random weights that keep numbers at their size; its own start takes seconds."""
    with torch.device("meta"):
        network = models.get_model(kind, weights=None, **KINDS[kind].options).eval()
    network.to_empty(device="cpu")
    random = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        if value.dim() > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=random)
        else:
            value.fill_(1)
    return network
