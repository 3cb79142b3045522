"""One step of the training of generators of speech and images from each other: discriminator, generators.

Paths are named as by CMCGAN: what is generated, from what. Those within one modality pass the other: speech
from speech is the speech of an image that was generated from speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import losses
from s2i.config import CrossModalConfig
from s2i.data.batches import Batch
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import image_pyramid
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.interfaces import CaptionEncoder, Generator, SpeechGenerator
from s2i.models.log_mel_generator import laid_out
from s2i.models.pair_discriminator import PairDiscriminator
from s2i.training.distributed import Engine
from s2i.training.joint_batch import ALONE, JointBatch
from s2i.training.learner import Learner
from s2i.training.profiling import part
from s2i.training.terms import Terms, without_history


@dataclass(frozen=True)
class CrossModalNetworks:
    """The networks of such a training.

    Attributes:
        speech_encoder, generator: None where speech alone is generated.
        generator_learner: of all but the discriminator.
    """

    engine: Engine
    image_encoder: ImageEncoder | PretrainedImageEncoder
    speech_generator: SpeechGenerator
    speech_encoder: CaptionEncoder | None
    generator: Generator | None
    discriminator: PairDiscriminator
    generator_learner: Learner
    discriminator_learner: Learner


@dataclass(frozen=True)
class Pair:
    """B images with B recordings.

    Attributes:
        images: (B, 3, S, S) in [-1, 1].
        speech: log-mels in [-1, 1], (B, M, T).
    """

    images: Tensor
    speech: Tensor

    def detach(self) -> Pair:
        """The same, without history; a side that has none stays the tensor that other pairs share."""
        return Pair(*(side.detach() if side.requires_grad else side for side in self.sides))

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """Images and speech, as a discriminator takes them."""
        return self.images, self.speech


def real_pair(networks: CrossModalNetworks, batch: Batch, image_size: int) -> Pair:
    """A batch's images, as large as they are generated, with their captions' recordings, laid out."""
    [images] = image_pyramid(batch.images, [image_size])
    generator = networks.speech_generator
    mels = laid_out(batch.mels, batch.mel_lengths, generator.frames, generator.scale.least)
    return Pair(images, generator.scale.to_unit(mels))


@part("generate")
def generate_pairs(networks: CrossModalNetworks, batch: Batch, real: Pair) -> dict[str, Pair]:
    """{path: what it generates, beside what is given of the other modality}."""
    with networks.engine.autocast():
        speech = speech_of(networks, batch.images)
        pairs = {"image_to_speech": Pair(real.images, networks.speech_generator.scale.to_unit(speech))}
        if networks.generator is None:
            return pairs
        images = images_of(networks, batch.mels, batch.mel_lengths)
        pairs["speech_to_image"] = Pair(images, real.speech)
        again = networks.speech_generator.scale.to_unit(speech_of(networks, images))
        pairs["speech_to_speech"] = Pair(real.images, again)  # through the generated image
        lengths = torch.full_like(batch.mel_lengths, speech.shape[2])
        pairs["image_to_image"] = Pair(
            images_of(networks, speech, lengths), real.speech
        )  # through the speech
    return pairs


def speech_of(networks: CrossModalNetworks, images: Tensor) -> Tensor:
    """Log-mels (B, M, T) generated from images (B, 3, S, S) and new noise."""
    code = CaptionEncoding.of_vectors(networks.image_encoder(images)[0])
    noise = networks.speech_generator.sample_batch_noise(len(images), images.device)
    return networks.speech_generator(code, *noise)


def images_of(networks: CrossModalNetworks, mels: Tensor, lengths: Tensor) -> Tensor:
    """Images (B, 3, S, S) generated from log-mels (B, M, T') of `lengths` (B,) frames, and new noise."""
    noise = networks.generator.sample_batch_noise(len(mels), mels.device)
    return networks.generator(networks.speech_encoder(mels, lengths), *noise).images[-1]


def discriminator_losses(
    discriminator: PairDiscriminator,
    real: Pair,
    generated: dict[str, Pair],
    class_ids: Tensor,
    config: CrossModalConfig,
    joint: JointBatch = ALONE,
) -> Terms:
    """The joint corresponding loss of the discriminator: pairs that belong together are told from mismatched
    ones and from those of which either side is generated.

    A mismatched pair is an image with the speech of another class, for certain; where the batch has none, it
    has no part. The generated pairs count as the mean over the paths.
    """
    partner, all_have_partner = losses.wrong_partner(joint.gather(class_ids))
    pairs = {"real": real, **generated}
    if all_have_partner.any():
        pairs["wrong"] = Pair(real.images, joint.local(joint.gather(real.speech)[partner]))
    logits = dict(zip(pairs, discriminator([pair.sides for pair in pairs.values()]), strict=True))
    matched = losses.adversarial_loss(logits["real"], True, config.loss)
    total = matched  # -log D(x, s)
    terms: Terms = {"d/real": matched}
    if "wrong" in logits:
        has_partner = joint.local(all_have_partner)
        wrong = logits["wrong"].new_zeros(())
        if has_partner.any():
            wrong = losses.adversarial_loss(logits["wrong"][has_partner], False, config.loss)
        terms["d/wrong"] = joint.mean_of_some(wrong, logits["wrong"], has_partner, all_have_partner)
        total = total + config.wrong_share * terms["d/wrong"]  # -w log(1 - D(x, s of another))
    for path in generated:
        terms[f"d/{path}"] = losses.adversarial_loss(logits[path], False, config.loss)
    fake = torch.stack([terms[f"d/{path}"] for path in generated]).mean()
    return {**terms, "d/all": total + (1 - config.wrong_share) * fake}  # the joint corresponding loss


def generator_losses(
    discriminator: PairDiscriminator, real: Pair, generated: dict[str, Pair], config: CrossModalConfig
) -> Terms:
    """What is generated shall pass for real beside what it was generated for; and what has gone through the
    other modality shall be what it was."""
    logits = discriminator([pair.sides for pair in generated.values()])
    terms: Terms = {
        f"g/{path}": losses.generator_loss(path_logits, config.loss)
        for path, path_logits in zip(generated, logits, strict=True)
    }
    total = torch.stack(list(terms.values())).sum()  # over the paths
    if config.cycle_weight and config.generates == "both":
        speech = F.l1_loss(generated["speech_to_speech"].speech, real.speech)  # of what went around
        images = F.l1_loss(generated["image_to_image"].images, real.images)
        total = total + config.cycle_weight * (speech + images)
        terms |= {"g/speech_cycle": speech, "g/image_cycle": images}
    return {**terms, "g/all": total}


@part("discriminator")
def discriminator_step(
    networks: CrossModalNetworks,
    real: Pair,
    generated: dict[str, Pair],
    class_ids: Tensor,
    config: CrossModalConfig,
    step: int,
) -> Terms:
    """Update the discriminator, on generated pairs without history."""
    learner = networks.discriminator_learner
    learner.requires_grad_(True)
    detached = {path: pair.detach() for path, pair in generated.items()}
    with networks.engine.autocast():
        terms = discriminator_losses(
            networks.discriminator, real, detached, class_ids, config, networks.engine.joint
        )
    learner.zero_grad()
    networks.engine.backward(terms["d/all"])
    terms["lr/discriminator"], terms["grad_norm/d"] = learner.update(step)
    learner.requires_grad_(False)
    return without_history(terms)


@part("generators")
def generator_step(
    networks: CrossModalNetworks, real: Pair, generated: dict[str, Pair], config: CrossModalConfig, step: int
) -> Terms:
    """Update encoders and generators, against the discriminator as it now is."""
    with networks.engine.autocast():
        terms = generator_losses(networks.discriminator, real, generated, config)
    networks.generator_learner.zero_grad()
    networks.engine.backward(terms["g/all"])
    terms["lr/generator"], terms["grad_norm/g"] = networks.generator_learner.update(step)
    return without_history(terms)
