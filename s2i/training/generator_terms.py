"""Terms of a generator's loss that single published systems have, each where its weight is above 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from s2i import losses
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminators, View
from s2i.models.interfaces import Generator

INTERPOLATION = 0.5  # beta of GAN-INT: fixed, as its authors found to do well


def interpolation_loss(
    generator: Generator,
    discriminators: Discriminators,
    encoding: CaptionEncoding,
    stages: int,
    kind: str,
    look: Callable[[list[Tensor]], list[View]],
) -> Tensor:
    """Images of captions half way between neighbours of the batch shall pass for real (GAN-INT, eq. 5).

    No real image belongs to such a caption: the discriminators judge by what they have learnt of others. The
    published objective is log(1 - D), minimised; here it is the loss that the other images have. Sentences
    alone are interpolated: the published system has nothing else.

    Args:
        encoding: of B captions, without history.
        stages: of the generator that train.
        kind: of adversarial loss.
        look: what each discriminator is given of images, one (B, 3, S, S) a stage.
    """
    sentence = torch.lerp(encoding.sentence, encoding.sentence.roll(1, 0), INTERPOLATION)  # b t1 + (1 - b) t2
    between = replace(encoding, sentence=sentence)
    noise = generator.sample_batch_noise(len(sentence), sentence.device)
    output = generator(between, *noise, stages=stages)
    condition = sentence if output.mu is None else output.mu
    total = sentence.new_zeros(())
    for discriminator, view in zip(discriminators, look(output.images), strict=False):
        logits = discriminator.conditional_logits(discriminator(view), condition)
        total = total + losses.generator_loss(logits, kind)  # eq. 5
    return total
