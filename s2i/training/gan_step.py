"""One step of a GAN, in S2IGAN's order: discriminators, relation supervisor, generator.

Each `..._losses` function computes the terms of one loss and their weighted sum, which is its term `.../all`.
Each `..._step` function updates the networks of that loss once, and returns the terms without history, for
the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from s2i import losses
from s2i.config import GanConfig
from s2i.config_networks import DiffAugmentConfig
from s2i.data.batches import Batch
from s2i.errors import InputError
from s2i.models.differentiable_augmentation import NUMBERS, augment
from s2i.models.discriminator import Discriminators, View, each_map
from s2i.models.feature_network import FeatureNetwork
from s2i.models.feature_posterior import FeaturePosterior
from s2i.models.interfaces import Generator
from s2i.models.noise import uniform_numbers
from s2i.models.posterior import Posterior
from s2i.models.relation import SAME_CLASS
from s2i.training.conditioner import Conditioner
from s2i.training.distributed import Engine
from s2i.training.gan_losses import (
    GeneratedBatch,
    ImageEmbeddings,
    discriminator_losses,
    generator_adversarial_losses,
    generator_losses,
    gradient_penalty,
    gradients_at_images,
    reconstruction_loss,
    relation_loss,
    relation_losses,
)
from s2i.training.generator_terms import (
    caption_class_loss,
    feature_matching_loss,
    interpolation_loss,
    pixel_loss,
)
from s2i.training.inversion import WEIGHT as INVERSION
from s2i.training.inversion import generator_waits, hold, inversion_loss
from s2i.training.latents import decoder, sample_latents
from s2i.training.learner import Learner
from s2i.training.profiling import part
from s2i.training.terms import Terms, without_history


@dataclass(frozen=True)
class GanNetworks:
    """The networks of a GAN training, without those of its conditioners.

    Attributes:
        features: the frozen network through which images are compared; None where nothing looks through it.
        augmentation: what discriminators see of images.
        generator_learner: of the generator, but for its prior, and, where there is one, the posterior.
        prior_learner: of the generator's prior; None where the noise is the latent.
    """

    engine: Engine
    generator: Generator
    posterior: Posterior | FeaturePosterior | None
    discriminators: Discriminators
    features: FeatureNetwork | None
    augmentation: DiffAugmentConfig
    generator_learner: Learner
    discriminator_learner: Learner
    prior_learner: Learner | None = None


def learning_weights(
    generator: Generator, posterior: nn.Module | None
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What the generator's losses update, its posterior with it, and what its prior's updates."""
    prior = getattr(generator, "prior", None)
    of_prior = [] if prior is None else list(prior.parameters())
    learnt_apart = {id(weight) for weight in of_prior}
    others = [weight for weight in generator.parameters() if id(weight) not in learnt_apart]
    return [*others, *([] if posterior is None else posterior.parameters())], of_prior


def train_step(
    networks: GanNetworks,
    conditioner: Conditioner,
    batch: Batch,
    real_images: list[Tensor],
    config: GanConfig,
    step: int,
) -> Terms:
    """Generate, then update discriminators, relation supervisor and generator; the latter several times where
    `generator_steps` says so. `real_images`: one (B, 3, S, S) a stage that trains."""
    stages = len(real_images)
    generated = generate(networks, conditioner, batch, stages, step)
    terms = discriminator_step(networks, generated, real_images, batch.class_ids, config, step)
    for repeat in range(config.generator_steps):
        if repeat:
            generated = generate(networks, conditioner, batch, stages, step)
        embeddings = embed_images(conditioner, generated, batch, config)
        if config.relation_weight and not repeat:
            terms |= relation_step(conditioner, embeddings, batch, step)
        terms |= generator_step(
            networks, conditioner, generated, embeddings, real_images, batch, config, step
        )
    if networks.prior_learner is not None and not generator_waits(config, step):
        terms |= prior_step(networks, generated, step)
    return terms


@part("generate")
def generate(
    networks: GanNetworks, conditioner: Conditioner, batch: Batch, stages: int, step: int
) -> GeneratedBatch:
    """Encode a batch's captions, and generate `stages` images of each from new noise.

    With a posterior, the first half of the batch is generated from what it infers of the real images, and all
    of it while there is no adversary and the generator learns: of what noise gives, reconstruction says
    nothing.

    Of what the discriminators see of a caption (`discriminator.condition_on`), `mu` keeps its history, as
    published: conditioning augmentation learns through it as well. A sentence has none: the encoder is tuned
    through the images alone, lest it make captions easier to tell apart.
    """
    condition_on = conditioner.config.discriminator.condition_on
    device = networks.engine.device
    encoding = conditioner.encode(batch)
    noise = networks.generator.sample_batch_noise(len(batch), device)
    has_adversary = adversary_share(conditioner.config.gan, step) > 0
    noise_posterior, others, generator = None, None, networks.generator
    with networks.engine.autocast():
        if networks.posterior is not None:
            by_halves = has_adversary or generator_waits(conditioner.config.gan, step)
            count = len(batch) // 2 if by_halves else len(batch)
            mixtures = torch.randn(count, 3, device=device)
            sentences = encoding.sentence.detach()
            mu, logvar = networks.posterior(batch.images[:count], sentences[:count], mixtures)
            latent, noise_posterior = noise[0], (mu, logvar)
            inferred = mu + (0.5 * logvar).exp() * latent[:count]
            guided = conditioner.config.gan.guided
            others = sample_latents(generator, latent[count:], sentences[count:], guided)
            noise = (torch.cat((inferred, others)), *noise[1:])
        output = decoder(generator)(encoding, *noise, stages=stages)
        views = []
        if has_adversary:
            views = look(networks, [images.view_as(images) for images in output.images], step, "generated")
        if conditioner.is_tuned and output.mu is not None:
            mu, logvar = networks.generator.augmentation(encoding.sentence.detach())
            output = replace(output, mu=mu, logvar=logvar)
    if condition_on == "mu" and output.mu is None:
        raise InputError(
            "expected discriminator.condition_on=sentence for a generator without conditioning augmentation,"
            " found mu: change it"
        )
    condition = output.mu if condition_on == "mu" else encoding.sentence.detach()
    return GeneratedBatch(encoding, output, views, condition, noise_posterior, others)


def adversary_share(config: GanConfig, step: int) -> float:
    """The part of their weights that the adversarial terms have at `step` (from 0): 0 before
    `adversarial_start`, from there rising to 1 over `adversarial_ramp`, both parts of the steps."""
    past = step - config.adversarial_start * config.steps
    if past < 0:
        return 0.0
    return min(1.0, (past + 1) / max(1.0, config.adversarial_ramp * config.steps))


def look(networks: GanNetworks, images: Sequence[Tensor], step: int, whose: str) -> list[View]:
    """What each discriminator is given of a step's images, one (B, 3, S, S) a stage that trains: changed at
    random where `discriminator.augmentation` says so, all stages of an image alike.

    `whose`: "real" or "generated". The changes are a function of seed, step and this: a training that is
    resumed draws them again, and processes draw those of their own images of the joint batch.
    """
    settings, engine = networks.augmentation, networks.engine
    if settings.is_on:
        count = len(images[0]) * engine.world
        numbers = uniform_numbers(f"{whose} {step}", engine.config.seed, count, NUMBERS)
        numbers = numbers[engine.rank :: engine.world].to(engine.device)  # as a batch is dealt
        given = networks.discriminators.stages
        images = [
            augment(each, numbers, settings) if stage in given else each for stage, each in enumerate(images)
        ]
    with engine.autocast():
        return networks.discriminators.look(images)


@part("image embeddings")
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


@part("discriminators")
def discriminator_step(
    networks: GanNetworks,
    generated: GeneratedBatch,
    real_images: list[Tensor],
    class_ids: Tensor,
    config: GanConfig,
    step: int,
) -> Terms:
    """Update the discriminators, on generated images and conditions without history.

    No update where the adversary is off.
    """
    if not generated.views:
        return {}
    learner, condition = networks.discriminator_learner, generated.condition.detach()
    real_views = look(networks, real_images, step, "real")
    generated_views = [each_map(view, Tensor.detach) for view in generated.views]
    learner.requires_grad_(True)
    with networks.engine.autocast():
        terms = discriminator_losses(
            networks.discriminators,
            real_views,
            generated_views,
            condition,
            class_ids,
            config,
            networks.engine.joint,
        )
    learner.zero_grad()
    networks.engine.backward(terms["d/all"])
    if config.penalty != "none" and step % config.penalty_every == 0:
        penalty, penalties = gradient_penalty(networks.discriminators, real_views, condition, config)
        networks.engine.backward(penalty)
        terms |= penalties
    terms["lr/discriminator"], terms["grad_norm/d"] = learner.update(step)
    learner.requires_grad_(False)
    return without_history(terms)


# Relation supervisor


@part("relation supervisor")
def relation_step(conditioner: Conditioner, embeddings: ImageEmbeddings, batch: Batch, step: int) -> Terms:
    """Update the relation supervisor, on embeddings of the joint batch without history."""
    gather = conditioner.engine.joint.gather
    terms = relation_losses(
        conditioner.relation,
        gather(embeddings.real),
        gather(embeddings.same_class),
        gather(embeddings.generated.detach()),
        gather(batch.class_ids),
        gather(batch.has_same_class),
    )
    conditioner.relation_learner.zero_grad()
    conditioner.engine.backward(terms["relation/all"])
    conditioner.relation_learner.update(step)
    return without_history(terms)


# Prior


@part("prior")
def prior_step(networks: GanNetworks, generated: GeneratedBatch, step: int) -> Terms:
    """Update the generator's prior, on latents that the posterior infers of the batch's real images."""
    learner, (mu, logvar) = networks.prior_learner, map(Tensor.detach, generated.noise_posterior)
    latent = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    loss = networks.generator.prior.loss(latent, generated.encoding.sentence[: len(mu)].detach())
    learner.zero_grad()
    networks.engine.backward(loss)
    rate, norm = learner.update(step)
    return without_history({"g/prior": loss, "lr/prior": rate, "grad_norm/prior": norm})


# Generator


@part("generator")
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
    engine, images = networks.engine, generated.output.images
    with engine.autocast():
        adversarial, terms = generator_adversarial_losses(
            networks.discriminators, generated, batch.class_ids, config, engine.joint
        )
        matching_encoding = conditioner.encode_for_matching(batch)
        total, of_captions = generator_losses(
            generated,
            embeddings,
            matching_encoding,
            batch.class_ids,
            config,
            conditioner.matching,
            engine.joint,
        )
        reconstruction, resampled = adversarial.new_zeros(()), {}
        if generated.noise_posterior is not None:
            count = len(generated.noise_posterior[0])
            reconstructed, real = ([each[:count] for each in stages] for stages in (images, real_images))
            reconstruction, resampled = reconstruction_loss(reconstructed, real, config, networks.features)
    share, balance = adversary_share(config, step), {}
    if config.adversarial_ratio and share:
        ratio = config.adversarial_ratio * share
        on_images, balance = balanced(engine, adversarial, reconstruction, images, count, ratio)
    else:
        on_images = share * adversarial + reconstruction
    total = on_images + total
    if config.interpolation_weight and share:
        with engine.autocast():
            interpolated = interpolation_loss(
                networks.generator,
                networks.discriminators,
                generated.encoding.detach(),
                len(images),
                config.loss,
                config.guided,
                lambda each: look(networks, each, step, "interpolated"),
                engine.joint,
            )
        total = total + share * config.interpolation_weight * interpolated  # GAN-INT
        terms["g/interpolated"] = interpolated
    if config.feature_matching_weight and share:
        with engine.autocast():
            matched = feature_matching_loss(
                networks.discriminators,
                generated.views,
                look(networks, real_images, step, "real"),
                engine.joint,
            )
        total = total + share * config.feature_matching_weight * matched  # L_G of Wav2Pix
        terms["g/feature_matching"] = matched
    if config.pixel_weight:
        pixels = pixel_loss(images[-1], real_images[len(images) - 1])
        total = total + config.pixel_weight * pixels  # L_G of Wav2Pix
        terms["g/pixel"] = pixels
    if config.caption_class_weight:
        with engine.autocast():
            classes = caption_class_loss(
                conditioner.caption_classifier, generated.encoding.sentence, batch.class_ids
            )
        total = total + config.caption_class_weight * classes  # L_G of Wav2Pix
        terms["g/caption_class"] = classes
    if config.relation_weight:
        pair = map(engine.joint.gather, (embeddings.real, embeddings.generated))
        relation = relation_loss(conditioner.relation, *pair, SAME_CLASS)
        total = total + config.relation_weight * relation  # the generator's term of eq. 8
        terms["g/relation"] = relation
    waits = generator_waits(config, step)
    if waits and networks.posterior is not None:
        count = len(generated.latents)
        with engine.autocast():
            inversion = inversion_loss(
                networks.posterior,
                images[-1][-count:],
                generated.encoding.sentence[-count:],
                generated.latents,
            )
        total = total + INVERSION * inversion
        terms["g/inversion"] = inversion
    terms |= {**of_captions, **resampled, **balance, "g/all": total}
    learners = [networks.generator_learner, *conditioner.encoder_learners]
    for learner in learners:
        learner.zero_grad()
    networks.engine.backward(total)
    if waits:
        hold(networks.generator)
    terms["lr/generator"], terms["grad_norm/g"] = networks.generator_learner.update(step)
    for learner in conditioner.encoder_learners:
        learner.update(step)
    return without_history(terms)


def balanced(
    engine: Engine,
    adversarial: Tensor,
    reconstruction: Tensor,
    images: list[Tensor],
    count: int,
    ratio: float,
) -> tuple[Tensor, Terms]:
    """Adversarial terms and reconstruction, the former weighted by the ratio of their gradients (VQGAN).

    The gradients are taken at the images, and each image's own, so that their lengths do not depend on how
    many are resampled. Both losses have then been passed back to the images once: what is returned is linear
    in the images and has the weighted sum for its gradient, so no network of features is passed again.

    Args:
        images: of each stage, with history; the largest ones' gradients are compared.
        count: the first so many are resampled.
        ratio: of the adversary's gradient to that of reconstruction.

    Returns:
        a value to be passed back through the generator, and the terms of the balance.
    """
    of_adversary, of_reconstruction = (
        gradients_at_images(loss, images) for loss in (adversarial, reconstruction)
    )
    norms = torch.stack(
        [losses.image_gradient_norm(each) for each in (of_reconstruction[-1][:count], of_adversary[-1])]
    )
    balance = losses.adversarial_balance(*engine.average(norms))  # one weight for all processes
    weight = ratio * balance
    gradients = [one + weight * other for one, other in zip(of_reconstruction, of_adversary, strict=True)]
    value = reconstruction.detach() + weight * adversarial.detach()
    linear = sum((each * gradient).sum() for each, gradient in zip(images, gradients, strict=True))
    return linear + (value - linear.detach()), {"g/adversarial_weight": weight, "g/gradient_ratio": balance}
