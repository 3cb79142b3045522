"""One step of a GAN, in S2IGAN's order: discriminators, relation supervisor, generator.

Each `..._losses` function computes the terms of one loss and their weighted sum, which is its term `.../all`.
Each `..._step` function updates the networks of that loss once, and returns the terms without history, for
the log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import losses
from s2i.config import GanConfig, MatchingConfig
from s2i.data.batches import Batch
from s2i.errors import InputError
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminators
from s2i.models.generator import GeneratorOutput
from s2i.models.interfaces import Discriminator, Generator
from s2i.models.posterior import Posterior
from s2i.models.relation import IDENTICAL, OTHER_CLASS, SAME_CLASS, RelationSupervisor
from s2i.plugins import find_outside
from s2i.training.conditioner import Conditioner
from s2i.training.distributed import Engine
from s2i.training.learner import Learner
from s2i.training.matching_loss import matching_loss

Terms = dict[str, Tensor | float]  # scalars by their names in the log

CONTRAST_SCALE = 10.0  # as S2IGAN's batch matching


@dataclass(frozen=True)
class GanNetworks:
    """The networks of a GAN training, without those of its conditioners.

    Attributes:
        generator_learner: of the generator and, where there is one, the posterior.
    """

    engine: Engine
    generator: Generator
    posterior: Posterior | None
    discriminators: Discriminators
    generator_learner: Learner
    discriminator_learner: Learner


@dataclass(frozen=True)
class GeneratedBatch:
    """The images of a batch's captions.

    Attributes:
        encoding: of the captions; with history where the encoder is tuned.
        output: of the generator, with history. Where the encoder is tuned, that of `mu` and `logvar` does not
            lead to it.
        views: the images for the discriminators. Taken before anything else reads the images, so that the
            gradients of an image are summed in one order, whichever loss is computed first.
        condition: (B, C), what the discriminators see of a caption.
        noise_posterior: mu and log variance (B // 2, Z) of the noise of the first half of the batch, inferred
            from the real images; None without a posterior.
    """

    encoding: CaptionEncoding
    output: GeneratorOutput
    views: list[Tensor]
    condition: Tensor
    noise_posterior: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class ImageEmbeddings:
    """Embeddings of a batch's images, by the image encoder of the matching model.

    Attributes:
        generated: (B, D) of the largest generated images, with history; regions: (B, D, R).
        real, same_class: (B, D) of the real images and of other images of their classes; None without
            relation supervisor.
    """

    generated: Tensor
    regions: Tensor | None
    real: Tensor | None = None
    same_class: Tensor | None = None


def generate(
    networks: GanNetworks, conditioner: Conditioner, batch: Batch, stages: int, condition_on: str
) -> GeneratedBatch:
    """Encode a batch's captions, and generate `stages` images of each from new noise.

    With a posterior, the first half of the batch is generated from noise that it infers from the real images.

    Args:
        condition_on: "mu" or "sentence", what the discriminators see. `mu` keeps its history, as published:
            conditioning augmentation learns through it as well. A sentence has none: the encoder is tuned
            through the images alone, lest it make captions easier to tell apart.
    """
    device = networks.engine.device
    encoding = conditioner.encode(batch)
    noise = networks.generator.sample_batch_noise(len(batch), device)
    noise_posterior = None
    with networks.engine.autocast():
        if networks.posterior is not None:
            half = len(batch) // 2
            mixtures = torch.randn(half, 3, device=device)
            sentences = encoding.sentence[:half].detach()
            mu, logvar = networks.posterior(batch.images[:half], sentences, mixtures)
            inferred = mu + (0.5 * logvar).exp() * noise[0][:half]
            noise = (torch.cat((inferred, noise[0][half:])), *noise[1:])
            noise_posterior = mu, logvar
        output = networks.generator(encoding, *noise, stages=stages)
        views = [images.view_as(images) for images in output.images]
        if conditioner.is_tuned and output.mu is not None:
            mu, logvar = networks.generator.augmentation(encoding.sentence.detach())
            output = replace(output, mu=mu, logvar=logvar)
    if condition_on == "mu" and output.mu is None:
        raise InputError(
            "expected discriminator.condition_on=sentence for a generator without conditioning augmentation,"
            " found mu: change it"
        )
    condition = output.mu if condition_on == "mu" else encoding.sentence.detach()
    return GeneratedBatch(encoding, output, views, condition, noise_posterior)


def embed_images(
    conditioner: Conditioner, generated: GeneratedBatch, batch: Batch, config: GanConfig
) -> ImageEmbeddings | None:
    """Embeddings of the largest generated images and, for the relation supervisor, of the real ones; None
    where no term reads them.

    The largest is the last stage's, as published, or while stages grow the last of those that train: colours
    are learnt from a small image, enlarged, at a small part of the cost.
    """
    if not (config.matching_weight or config.relation_weight):
        return None
    with conditioner.engine.autocast():
        vectors, regions = conditioner.matching_image_encoder(generated.output.images[-1])
    if not config.relation_weight:
        return ImageEmbeddings(vectors, regions)
    with torch.no_grad():
        real, same_class = (
            conditioner.matching_image_encoder(images)[0] for images in (batch.images, batch.same_class)
        )
    return ImageEmbeddings(vectors, regions, real, same_class)


# Discriminators


def discriminator_step(
    networks: GanNetworks,
    generated: GeneratedBatch,
    real_images: list[Tensor],
    class_ids: Tensor,
    config: GanConfig,
    step: int,
) -> Terms:
    """Update the discriminators, on generated images and conditions without history."""
    learner, condition = networks.discriminator_learner, generated.condition.detach()
    generated_images = [images.detach() for images in generated.output.images]
    learner.requires_grad_(True)
    with networks.engine.autocast():
        terms = discriminator_losses(
            networks.discriminators, real_images, generated_images, condition, class_ids, config
        )
    learner.zero_grad()
    networks.engine.backward(terms["d/all"])
    if config.penalty != "none" and step % config.penalty_every == 0:
        penalty, penalties = gradient_penalty(networks.discriminators, real_images, condition, config)
        networks.engine.backward(penalty)
        terms |= penalties
    terms["lr/discriminator"], terms["grad_norm/d"] = learner.update(step)
    learner.requires_grad_(False)
    return _without_history(terms)


def discriminator_losses(
    discriminators: Discriminators,
    real_images: list[Tensor],
    generated_images: list[Tensor],
    condition: Tensor,
    class_ids: Tensor,
    config: GanConfig,
) -> Terms:
    """The discriminators' loss, summed over the stages that train.

    A wrong pair is a real image with the caption of another class in the batch (AttnGAN). S2IGAN generates an
    extra image of another class for the caption: the same pairs in distribution, for one more backbone pass.

    Args:
        real_images, generated_images: one (B, 3, S, S) a stage, the generated ones without history.
        condition: (B, C), without history.
        class_ids: (B,).
    """
    weights, kind = config.terms, config.loss
    wrong, has_wrong = losses.wrong_partner(class_ids)
    terms, total = {}, condition.new_zeros(())
    for discriminator, real, generated in zip(
        discriminators, real_images, generated_images, strict=False
    ):  # a stage that does not train yet has generated nothing
        real_features, generated_features = discriminator(real), discriminator(generated)
        wrong_logits = discriminator.conditional_logits(real_features, condition[wrong])[has_wrong]
        real_c = losses.adversarial_loss(
            discriminator.conditional_logits(real_features, condition), True, kind
        )
        real_u = losses.adversarial_loss(discriminator.unconditional_logits(real_features), True, kind)
        wrong_c = condition.new_zeros(())
        if len(wrong_logits):
            wrong_c = losses.adversarial_loss(wrong_logits, False, kind)
        fake_c = losses.adversarial_loss(
            discriminator.conditional_logits(generated_features, condition), False, kind
        )
        fake_u = losses.adversarial_loss(discriminator.unconditional_logits(generated_features), False, kind)
        total = (  # L_D, of one stage
            total
            + weights.real_c * real_c
            + weights.real_u * real_u
            + weights.wrong_c * wrong_c
            + weights.fake_c * fake_c
            + weights.fake_u * fake_u
        )
        size = f"d_{real.shape[-1]}"
        terms |= {
            f"{size}/real_c": real_c,
            f"{size}/real_u": real_u,
            f"{size}/wrong_c": wrong_c,
            f"{size}/fake_c": fake_c,
            f"{size}/fake_u": fake_u,
        }
        if config.contrast_weight:
            contrast = contrastive_loss(discriminator, real_features, condition, class_ids)
            total = total + config.contrast_weight * contrast
            terms[f"{size}/contrast"] = contrast
        if config.class_weight:
            classes = classification_loss(discriminator, real_features, class_ids)
            total = total + config.class_weight * classes
            terms[f"{size}/class"] = classes
    return {**terms, "d/all": total}


def contrastive_loss(
    discriminator: Discriminator, features: Tensor, condition: Tensor, class_ids: Tensor
) -> Tensor:
    """Batch matching of images with the conditions, in both directions (XMC-GAN, eq. 6 and 8): real images
    teach the discriminator, generated ones are held to it.

    Whether a pair is right or wrong tells a discriminator one bit; which caption of the batch it is tells
    more.
    """
    images, captions = discriminator.embed(features, condition)
    directions = losses.batch_matching_loss(images, captions, class_ids, CONTRAST_SCALE)  # eq. 6 and 8
    return sum(directions) / 2


def classification_loss(discriminator: Discriminator, features: Tensor, class_ids: Tensor) -> Tensor:
    """Cross entropy of the images' classes (AC-GAN)."""
    return F.cross_entropy(discriminator.classify(features).float(), class_ids)


def gradient_penalty(
    discriminators: Discriminators, real_images: list[Tensor], condition: Tensor, config: GanConfig
) -> tuple[Tensor, Terms]:
    """Gradient penalty at real images, in float32; weighted for a step every `penalty_every` steps.

    "r1" (Mescheder et al. 2018) takes the gradient by the image, "matching_aware" (DF-GAN) by image and
    condition.
    """
    total, terms = condition.new_zeros(()), {}
    for discriminator, images in zip(discriminators, real_images, strict=False):
        images, by_condition = images.detach().float().requires_grad_(), condition.detach().float()
        inputs = [images]
        if config.penalty == "matching_aware":
            inputs.append(by_condition.requires_grad_())
        features = discriminator(images)
        logits = discriminator.conditional_logits(
            features, by_condition
        ) + discriminator.unconditional_logits(features)
        squared = losses.squared_gradient(logits, inputs)
        if config.penalty == "r1":
            penalty = losses.r1_penalty(squared)
        else:
            penalty = losses.matching_aware_penalty(squared)
        total = total + config.penalty_weight * config.penalty_every * penalty
        terms[f"d_{images.shape[-1]}/penalty"] = penalty
    return total, terms


# Relation supervisor


def relation_step(conditioner: Conditioner, embeddings: ImageEmbeddings, batch: Batch, step: int) -> Terms:
    """Update the relation supervisor, on embeddings without history."""
    terms = relation_losses(
        conditioner.relation,
        embeddings.real,
        embeddings.same_class,
        embeddings.generated.detach(),
        batch.class_ids,
        batch.has_same_class,
    )
    conditioner.relation_learner.zero_grad()
    conditioner.engine.backward(terms["relation/all"])
    conditioner.relation_learner.update(step)
    return _without_history(terms)


def relation_losses(
    supervisor: RelationSupervisor,
    real: Tensor,
    same_class: Tensor,
    generated: Tensor,
    class_ids: Tensor,
    has_same_class: Tensor,
) -> Terms:
    """The relation supervisor's loss (S2IGAN, eq. 7-8): four kinds of pairs.

    A generated image counts as another image of the class here too, as in the published code: the supervisor
    helps, it does not oppose. An image that is alone in its class stands for another one of it, so it is not
    paired with itself as identical too (as published for Flickr8k and Places, where every image is a class).

    Args:
        real, same_class, generated: (B, D) embeddings of a real image, another one of its class (itself where
            it is alone), and the generated one.
        class_ids: (B,).
        has_same_class: (B,) bool, whether there is another image of its class.
    """
    wrong, has_wrong = losses.wrong_partner(class_ids)
    pairs = {  # eq. 7
        "identical": (real[has_same_class], real[has_same_class], IDENTICAL),
        "same_class": (real, same_class, SAME_CLASS),
        "generated": (real, generated, SAME_CLASS),
        "other_class": (real[has_wrong], real[wrong][has_wrong], OTHER_CLASS),
    }
    terms, total = {}, real.new_zeros(())
    for name, (first, second, label) in pairs.items():
        if len(first) < 2:  # a batch norm needs two
            continue
        loss = relation_loss(supervisor, first, second, label)
        total = total + loss  # eq. 8
        terms[f"relation/{name}"] = loss
    return {**terms, "relation/all": total}


def relation_loss(supervisor: RelationSupervisor, first: Tensor, second: Tensor, label: int) -> Tensor:
    """Cross entropy of the pairs' relation; the generator's term has `label=SAME_CLASS`."""
    logits = supervisor(first, second).float()
    return F.cross_entropy(logits, torch.full((len(logits),), label, device=logits.device))


# Generator


def generator_step(
    networks: GanNetworks,
    conditioner: Conditioner,
    generated: GeneratedBatch,
    embeddings: ImageEmbeddings | None,
    real_images: list[Tensor],
    batch: Batch,
    config: GanConfig,
    step: int,
) -> Terms:
    """Update the generator, its posterior and a tuned caption encoder, against the discriminators and the
    relation supervisor as they now are."""
    with networks.engine.autocast():
        terms = generator_losses(
            networks.discriminators,
            generated,
            embeddings,
            conditioner.encode_for_matching(batch),
            batch.class_ids,
            config,
            conditioner.matching,
        )
    total = terms["g/all"]
    if generated.noise_posterior is not None:
        reconstruction, resampled = reconstruction_loss(
            generated.output.images, real_images, generated.noise_posterior, config
        )
        total = total + reconstruction
        terms |= resampled
    if config.relation_weight:
        relation = relation_loss(conditioner.relation, embeddings.real, embeddings.generated, SAME_CLASS)
        total = total + config.relation_weight * relation  # the generator's term of eq. 8
        terms["g/relation"] = relation
    terms["g/all"] = total
    learners = [networks.generator_learner, *conditioner.encoder_learners]
    for learner in learners:
        learner.zero_grad()
    networks.engine.backward(total)
    terms["lr/generator"], terms["grad_norm/g"] = networks.generator_learner.update(step)
    for learner in conditioner.encoder_learners:
        learner.update(step)
    return _without_history(terms)


def generator_losses(
    discriminators: Discriminators,
    generated: GeneratedBatch,
    embeddings: ImageEmbeddings | None,
    matching_encoding: CaptionEncoding | None,
    class_ids: Tensor,
    config: GanConfig,
    matching: MatchingConfig,
) -> Terms:
    """The generator's loss but for reconstruction and relation: adversarial terms, summed over the stages
    that train, conditioning augmentation, and matching of the largest image generated.

    Args:
        matching_encoding: the captions as encoded by the matching model; None: `generated.encoding`.
        matching: what the matching model was trained with.
    """
    encoding, output, condition = generated.encoding.detach(), generated.output, generated.condition
    terms, total = {}, condition.new_zeros(())
    for discriminator, images in zip(discriminators, generated.views, strict=False):
        features = discriminator(images)
        conditional = losses.generator_loss(
            discriminator.conditional_logits(features, condition), config.loss
        )
        unconditional = losses.generator_loss(discriminator.unconditional_logits(features), config.loss)
        total = (  # L_G, of one stage
            total + config.conditional_weight * conditional + config.unconditional_weight * unconditional
        )
        size = f"g_{images.shape[-1]}"
        terms |= {f"{size}/conditional": conditional, f"{size}/unconditional": unconditional}
        if config.contrast_weight:
            contrast = contrastive_loss(discriminator, features, condition, class_ids)
            total = total + config.contrast_weight * contrast
            terms[f"{size}/contrast"] = contrast
        if config.class_weight:
            classes = classification_loss(discriminator, features, class_ids)
            total = total + config.class_weight * classes
            terms[f"{size}/class"] = classes
    if output.mu is not None:
        kl = losses.augmentation_loss(output.mu, output.logvar)
        total = total + config.kl_weight * kl  # KL of conditioning augmentation
        terms["g/kl"] = kl
    if config.added_loss:
        added = find_outside(config.added_loss, "gan.added_loss")(output, encoding, class_ids)
        total = total + config.added_weight * added
        terms["g/added"] = added
    if config.matching_weight:
        match, _ = matching_loss(
            embeddings.generated, embeddings.regions, matching_encoding or encoding, class_ids, matching
        )
        total = total + config.matching_weight * match  # lambda L_DAMSM
        terms["g/matching"] = match
    return {**terms, "g/all": total}


def reconstruction_loss(
    generated_images: list[Tensor],
    real_images: list[Tensor],
    noise_posterior: tuple[Tensor, Tensor],
    config: GanConfig,
) -> tuple[Tensor, Terms]:
    """Real images against those generated from the noise that a posterior inferred from them (CVAE-GAN).

    Mean absolute difference, averaged over stages: an undecided colour becomes one of the likely ones, and no
    mixture. And the divergence of that noise from the prior, in nats an image.

    Args:
        generated_images, real_images: one (B, 3, S, S) a stage.
        noise_posterior: mu and log variance (N, Z) of the first N images.

    Returns:
        the weighted sum, and its terms.
    """
    mu, logvar = noise_posterior
    difference = torch.stack(
        [
            F.l1_loss(generated[: len(mu)], real[: len(mu)])
            for generated, real in zip(generated_images, real_images, strict=True)
        ]
    ).mean()
    nats = losses.augmentation_loss(mu, logvar) * mu.shape[1]
    total = config.reconstruction_weight * difference + config.posterior_weight * nats
    return total, {"g/reconstruction": difference, "g/posterior_nats": nats}


def _without_history(terms: Terms) -> Terms:
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in terms.items()}
