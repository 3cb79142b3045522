"""Terms of a generator's loss that single published systems have, each where its weight is above 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i import losses
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminators, View
from s2i.models.interfaces import Generator
from s2i.training.joint_batch import ALONE, JointBatch
from s2i.training.latents import decoder, sample_latents

INTERPOLATION = 0.5  # beta of GAN-INT: fixed, as its authors found to do well


def interpolation_loss(
    generator: Generator,
    discriminators: Discriminators,
    encoding: CaptionEncoding,
    stages: int,
    kind: str,
    guided: bool,
    look: Callable[[list[Tensor]], list[View]],
    joint: JointBatch = ALONE,
) -> Tensor:
    """Images of captions half way between neighbours of the batch shall pass for real (GAN-INT, eq. 5).

    No real image belongs to such a caption: the discriminators go by what they have learnt of others. The
    published objective is log(1 - D), minimised; here it is the loss that the other images have. Sentences
    alone are interpolated: the published system has nothing else.

    Args:
        encoding: of B captions, without history.
        stages: of the generator that train.
        kind: of adversarial loss.
        guided: as of `s2i.training.latents.sample_latents`.
        look: what each discriminator is given of images, one (B, 3, S, S) a stage.
        joint: in which captions have neighbours.
    """
    neighbour = joint.local(joint.gather(encoding.sentence).roll(1, 0))
    sentence = torch.lerp(encoding.sentence, neighbour, INTERPOLATION)  # b t1 + (1 - b) t2
    between = replace(encoding, sentence=sentence)
    noise = generator.sample_batch_noise(len(sentence), sentence.device)
    if noise:  # none of a generator of one image a caption
        noise = (sample_latents(generator, noise[0], sentence, guided), *noise[1:])
    output = decoder(generator)(between, *noise, stages=stages)
    condition = sentence if output.mu is None else output.mu
    total = sentence.new_zeros(())
    for discriminator, view in zip(discriminators, look(output.images), strict=False):
        logits = discriminator.conditional_logits(discriminator(view), condition)
        total = total + losses.generator_loss(logits, kind)  # eq. 5
    return total


def feature_matching_loss(
    discriminators: Discriminators,
    generated_views: list[View],
    real_views: list[View],
    joint: JointBatch = ALONE,
) -> Tensor:
    """Squared difference of the batch's mean features, generated and real, as the discriminators have them
    before they join the caption (Wav2Pix); summed over the stages that train.

    Args:
        generated_views, real_views: what each discriminator is given, the generated ones with history.
    """
    total: Tensor | float = 0.0
    for discriminator, generated, real in zip(discriminators, generated_views, real_views, strict=False):
        with torch.no_grad():
            of_real = joint.mean(discriminator(real).float())
        of_generated = joint.mean(discriminator(generated).float())
        total = total + F.mse_loss(of_generated, of_real)  # mean f(G), mean f(x)
    return total


def pixel_loss(generated_images: Tensor, real_images: Tensor) -> Tensor:
    """Mean absolute difference of generated images and their captions' real ones: (B, 3, S, S) each."""
    return F.l1_loss(generated_images, real_images)


def caption_class_loss(classifier: nn.Module, sentence: Tensor, class_ids: Tensor) -> Tensor:
    """Cross entropy of the class that an auxiliary classifier reads from captions (B, D), with history."""
    return F.cross_entropy(classifier(sentence).float(), class_ids)
