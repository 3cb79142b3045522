"""A generator that computes in bfloat16, in about half of the time where it is large and a processor or a GPU
has instructions for it. Pixels of the trained models differ by half a level of 255 on average."""

from __future__ import annotations

from copy import copy, deepcopy

import torch
from torch import Tensor, nn

from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from s2i.models.inference_form import ConstantConvolution, DoubledConvolution
from s2i.models.interfaces import Generator

# Their weights are rounded once, not at each call as autocast does. A learnt prior stays in float32.
ROUNDED = (nn.Conv2d, nn.Linear, DoubledConvolution, ConstantConvolution)


class Bfloat16Form(nn.Module):
    """A copy of a generator in eval mode, for `forward` alone; images and attention are float32."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = _rounded(generator)

    @torch.no_grad()
    def forward(self, encoding: CaptionEncoding, *noise: Tensor) -> GeneratorOutput:
        """As `Generator.__call__`."""
        with torch.autocast(encoding.sentence.device.type, torch.bfloat16):
            output = self.generator(encoding, *noise)
        images, attention = ([each.float() for each in maps] for maps in (output.images, output.attention))
        return GeneratorOutput(images, attention, output.mu, output.logvar)


def _rounded(generator: Generator) -> Generator:
    prior = getattr(generator, "prior", None)
    without = copy(generator)
    without._modules = {name: part for name, part in generator._modules.items() if name != "prior"}
    rounded = deepcopy(without).requires_grad_(False)
    for part in rounded.modules():
        if isinstance(part, ROUNDED):
            part.to(torch.bfloat16)
    if prior is not None:
        rounded.prior = prior
    return rounded
