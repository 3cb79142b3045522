"""What the networks of a GAN minimise: each function computes the terms of one loss and their weighted sum.

The sum is the term `.../all`, or is returned beside the terms. `s2i.training.gan_step` minimises them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import losses
from s2i.config import GanConfig, MatchingConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import View, each_map
from s2i.models.feature_network import FeatureNetwork
from s2i.models.generator import GeneratorOutput
from s2i.models.interfaces import Discriminator
from s2i.models.relation import IDENTICAL, OTHER_CLASS, SAME_CLASS, RelationSupervisor
from s2i.plugins import find_outside
from s2i.training.joint_batch import ALONE, JointBatch
from s2i.training.matching_loss import matching_loss
from s2i.training.terms import Terms

CONTRAST_SCALE = 10.0  # as S2IGAN's batch matching


# Discriminators


def discriminator_losses(
    discriminators: Iterable[Discriminator],
    real_views: list[View],
    generated_views: list[View],
    condition: Tensor,
    class_ids: Tensor,
    config: GanConfig,
    joint: JointBatch = ALONE,
) -> Terms:
    """The discriminators' loss, summed over the stages that train.

    A wrong pair is a real image with the caption of another class in the batch (AttnGAN). S2IGAN generates an
    extra image of another class for the caption: the same pairs in distribution, for one more backbone pass.

    Args:
        real_views, generated_views: what each discriminator is given, (B, 3, S, S) or maps, the generated
            ones without history.
        condition: (B, C), without history.
        class_ids: (B,).
        joint: in which wrong pairs and partners are found.
    """
    weights, kind = config.terms, config.loss
    wrong, all_have_wrong = losses.wrong_partner(joint.gather(class_ids))
    wrong_condition, has_wrong = joint.local(joint.gather(condition)[wrong]), joint.local(all_have_wrong)
    terms, total = {}, condition.new_zeros(())
    for discriminator, real, generated in zip(
        discriminators, real_views, generated_views, strict=False
    ):  # a stage that does not train yet has generated nothing
        real_features, generated_features = discriminator(real), discriminator(generated)
        wrong_logits = discriminator.conditional_logits(real_features, wrong_condition)
        real_c = losses.adversarial_loss(
            discriminator.conditional_logits(real_features, condition), True, kind, config.real_target
        )
        real_u = fake_u = wrong_c = condition.new_zeros(())
        if config.has_unconditional_terms:
            real_u = losses.adversarial_loss(
                discriminator.unconditional_logits(real_features), True, kind, config.real_target
            )
        if has_wrong.any():
            wrong_c = losses.adversarial_loss(wrong_logits[has_wrong], False, kind)
        wrong_c = joint.mean_of_some(wrong_c, wrong_logits, has_wrong, all_have_wrong)
        fake_c = losses.adversarial_loss(
            discriminator.conditional_logits(generated_features, condition), False, kind
        )
        if config.has_unconditional_terms:
            fake_u = losses.adversarial_loss(
                discriminator.unconditional_logits(generated_features), False, kind
            )
        total = (  # L_D, of one stage
            total
            + weights.real_c * real_c
            + weights.real_u * real_u
            + weights.wrong_c * wrong_c
            + weights.fake_c * fake_c
            + weights.fake_u * fake_u
        )
        size = f"d_{_log_name(discriminator, real)}"
        terms |= {
            f"{size}/real_c": real_c,
            f"{size}/real_u": real_u,
            f"{size}/wrong_c": wrong_c,
            f"{size}/fake_c": fake_c,
            f"{size}/fake_u": fake_u,
        }
        if config.contrast_weight:
            contrast = contrastive_loss(discriminator, real_features, condition, class_ids, joint)
            total = total + config.contrast_weight * contrast
            terms[f"{size}/contrast"] = contrast
        if config.class_weight:
            classes = classification_loss(discriminator, real_features, class_ids)
            total = total + config.class_weight * classes
            terms[f"{size}/class"] = classes
    return {**terms, "d/all": total}


def contrastive_loss(
    discriminator: Discriminator,
    features: Tensor,
    condition: Tensor,
    class_ids: Tensor,
    joint: JointBatch = ALONE,
) -> Tensor:
    """Batch matching of images with the conditions, in both directions (XMC-GAN, eq. 6 and 8): real images
    teach the discriminator, generated ones are held to it.

    Whether a pair is right or wrong tells a discriminator one bit; which caption of the batch it is tells
    more.
    """
    images, captions = map(joint.gather, discriminator.embed(features, condition))
    directions = losses.batch_matching_loss(
        images, captions, joint.gather(class_ids), CONTRAST_SCALE
    )  # eq. 6 and 8
    return sum(directions) / 2


def classification_loss(discriminator: Discriminator, features: Tensor, class_ids: Tensor) -> Tensor:
    """Cross entropy of the images' classes (AC-GAN)."""
    return F.cross_entropy(discriminator.classify(features).float(), class_ids)


def gradient_penalty(
    discriminators: Iterable[Discriminator], real_views: list[View], condition: Tensor, config: GanConfig
) -> tuple[Tensor, Terms]:
    """Gradient penalty at real images, in float32; weighted for a step every `penalty_every` steps.

    "r1" (Mescheder et al. 2018) takes the gradient by the image, "matching_aware" (DF-GAN) by image and
    condition. A discriminator that looks through a frozen network has it by that network's maps (GALIP).
    """
    total, terms = condition.new_zeros(()), {}
    for discriminator, view in zip(discriminators, real_views, strict=False):
        view = each_map(view, lambda maps: maps.detach().float().requires_grad_())
        by_condition = condition.detach().float()
        inputs = [view] if isinstance(view, Tensor) else list(view)
        if config.penalty == "matching_aware":
            inputs.append(by_condition.requires_grad_())
        features = discriminator(view)
        logits = discriminator.conditional_logits(features, by_condition)
        if config.has_unconditional_terms:
            logits = logits + discriminator.unconditional_logits(features)
        squared = losses.squared_gradient(logits, inputs)
        if config.penalty == "r1":
            penalty = losses.r1_penalty(squared)
        else:
            penalty = losses.matching_aware_penalty(squared)
        total = total + config.penalty_weight * config.penalty_every * penalty
        terms[f"d_{_log_name(discriminator, view)}/penalty"] = penalty
    return total, terms


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


@dataclass(frozen=True)
class GeneratedBatch:
    """The images of a batch's captions.

    Attributes:
        encoding: of the captions; with history where the encoder is tuned.
        output: of the generator, with history. Where the encoder is tuned, that of `mu` and `logvar` does not
            lead to it.
        views: what each discriminator is given of the images; none while there is no adversary. Taken before
            anything else reads the images, so that the gradients of an image are summed in one order,
            whichever loss is computed first.
        condition: (B, C), what the discriminators see of a caption.
        noise_posterior: mu and log variance (N, Z) of the latents of the batch's first N images, inferred
            from the real ones: of half of them, or of all while there is no adversary and the generator
            learns; None without a posterior.
        latents: (B - N, Z), those of the other images, without history; likewise.
    """

    encoding: CaptionEncoding
    output: GeneratorOutput
    views: list[View]
    condition: Tensor
    noise_posterior: tuple[Tensor, Tensor] | None = None
    latents: Tensor | None = None


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


def generator_adversarial_losses(
    discriminators: Iterable[Discriminator],
    generated: GeneratedBatch,
    class_ids: Tensor,
    config: GanConfig,
    joint: JointBatch = ALONE,
) -> tuple[Tensor, Terms]:
    """The generator's loss by the discriminators, summed over the stages that train, and its terms."""
    condition = generated.condition
    terms, total = {}, condition.new_zeros(())
    for discriminator, view in zip(discriminators, generated.views, strict=False):
        features = discriminator(view)
        conditional = losses.generator_loss(
            discriminator.conditional_logits(features, condition), config.loss
        )
        unconditional = condition.new_zeros(())
        if config.has_unconditional_terms:
            unconditional = losses.generator_loss(discriminator.unconditional_logits(features), config.loss)
        total = (  # L_G, of one stage
            total + config.conditional_weight * conditional + config.unconditional_weight * unconditional
        )
        size = f"g_{_log_name(discriminator, view)}"
        terms |= {f"{size}/conditional": conditional, f"{size}/unconditional": unconditional}
        if config.contrast_weight:
            contrast = contrastive_loss(discriminator, features, condition, class_ids, joint)
            total = total + config.contrast_weight * contrast
            terms[f"{size}/contrast"] = contrast
        if config.class_weight:
            classes = classification_loss(discriminator, features, class_ids)
            total = total + config.class_weight * classes
            terms[f"{size}/class"] = classes
    return total, terms


def generator_losses(
    generated: GeneratedBatch,
    embeddings: ImageEmbeddings | None,
    matching_encoding: CaptionEncoding | None,
    class_ids: Tensor,
    config: GanConfig,
    matching: MatchingConfig,
    joint: JointBatch = ALONE,
) -> tuple[Tensor, Terms]:
    """The generator's loss by the captions, and its terms: conditioning augmentation, the found noise, a
    term of another package, and matching of the largest image generated.

    Args:
        matching_encoding: the captions as encoded by the matching model; None: `generated.encoding`.
        matching: what the matching model was trained with.
    """
    encoding, output = generated.encoding.detach(), generated.output
    terms, total = {}, generated.condition.new_zeros(())
    if output.mu is not None:
        kl = losses.augmentation_loss(output.mu, output.logvar)
        total = total + config.kl_weight * kl  # KL of conditioning augmentation
        terms["g/kl"] = kl
    if generated.noise_posterior is not None and config.posterior == "pixels":
        mu, logvar = generated.noise_posterior
        nats = losses.augmentation_loss(mu, logvar) * mu.shape[1]  # KL of the found noise, in nats an image
        total = total + config.posterior_weight * nats
        terms["g/posterior_nats"] = nats
    if config.added_loss:
        added = find_outside(config.added_loss, "gan.added_loss")(output, encoding, class_ids)
        total = total + config.added_weight * added
        terms["g/added"] = added
    if config.matching_weight:
        match, _ = matching_loss(
            embeddings.generated,
            embeddings.regions,
            matching_encoding or encoding,
            class_ids,
            matching,
            joint=joint,
        )
        total = total + config.matching_weight * match  # lambda L_DAMSM
        terms["g/matching"] = match
    return total, terms


def reconstruction_loss(
    generated_images: list[Tensor],
    real_images: list[Tensor],
    config: GanConfig,
    features: FeatureNetwork | None = None,
) -> tuple[Tensor, Terms]:
    """Real images against those generated from the noise that a posterior inferred from them (CVAE-GAN).

    Of pixels the mean absolute difference, averaged over stages: an undecided colour becomes one of the
    likely ones, and no mixture. Of the largest images' features the perceptual distance: what looks alike may
    differ in each pixel.

    Args:
        generated_images, real_images: one (N, 3, S, S) a stage.
        features: the frozen network; with `perceptual_weight` alone.

    Returns:
        the weighted sum, and its terms.
    """
    terms: Terms = {}
    if config.reconstruction_weight:
        differences = [
            F.l1_loss(generated, real) for generated, real in zip(generated_images, real_images, strict=True)
        ]
        terms["g/reconstruction"] = torch.stack(differences).mean()
    if config.perceptual_weight:
        with torch.no_grad():
            of_real = features(real_images[-1])
        terms["g/perceptual"] = losses.perceptual_distance(features(generated_images[-1]), of_real)
    weights = {"g/reconstruction": config.reconstruction_weight, "g/perceptual": config.perceptual_weight}
    return sum(weights[name] * term for name, term in terms.items()), terms


def gradients_at_images(loss: Tensor, images: list[Tensor]) -> list[Tensor]:
    """d loss / d images, of each stage's images; zeros where the loss doesn't read them."""
    gradients = torch.autograd.grad(loss, images, allow_unused=True)
    return [
        torch.zeros_like(each) if gradient is None else gradient
        for each, gradient in zip(images, gradients, strict=True)
    ]


def _log_name(discriminator: Discriminator, view: View) -> str:
    """A discriminator's place in the log: the side of its images, unless it names itself."""
    return discriminator.log_name if hasattr(discriminator, "log_name") else str(view.shape[-1])
