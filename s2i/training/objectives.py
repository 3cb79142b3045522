"""What a GAN step minimises: the losses of the discriminators, the generator and the relation supervisor.

Each function returns its total and a flat dict of detached terms for the log.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import losses
from s2i.config import GanConfig, MatchingConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminator, Discriminators
from s2i.models.generator import GeneratorOutput
from s2i.models.image_encoder import ImageEncoder
from s2i.models.relation import IDENTICAL, OTHER_CLASS, SAME_CLASS, RelationSupervisor
from s2i.plugins import find_outside

Terms = dict[str, Tensor]

CONTRAST_SCALE = 10.0  # as S2IGAN's batch matching


def discriminator_objective(
    networks: Discriminators,
    reals: list[Tensor],
    fakes: list[Tensor],
    condition: Tensor,
    class_ids: Tensor,
    config: GanConfig,
) -> tuple[Tensor, Terms]:
    """Sum over scales of the weighted terms of `config.terms`.

    A wrong pair is a real image with the caption of another class in the batch (AttnGAN). S2IGAN generates an
    extra image of another class for the caption: the same pairs in distribution, for one more backbone pass.

    Args:
        reals, fakes: one (B, 3, S, S) a scale; fakes without history.
        condition: (B, C), without history.
        class_ids: (B,).
    """
    weights, kind = config.terms, config.loss
    partner, has_partner = losses.wrong_partner(class_ids)
    total, terms = condition.new_zeros(()), {}
    for network, real, fake in zip(networks, reals, fakes, strict=False):  # stages yet to grow have no fake
        hidden_real, hidden_fake = network(real), network(fake)
        wrong = network.conditional_logits(hidden_real, condition[partner])[has_partner]
        found = {
            "real_c": losses.adversarial_loss(network.conditional_logits(hidden_real, condition), True, kind),
            "real_u": losses.adversarial_loss(network.unconditional_logits(hidden_real), True, kind),
            "wrong_c": losses.adversarial_loss(wrong, False, kind) if len(wrong) else condition.new_zeros(()),
            "fake_c": losses.adversarial_loss(
                network.conditional_logits(hidden_fake, condition), False, kind
            ),
            "fake_u": losses.adversarial_loss(network.unconditional_logits(hidden_fake), False, kind),
        }
        for name, value in found.items():
            total = total + getattr(weights, name) * value
            terms[f"d_{real.shape[-1]}/{name}"] = value.detach()
        for name, value in semantic_terms(network, hidden_real, condition, class_ids, config).items():
            total = total + getattr(config, f"{name}_weight") * value
            terms[f"d_{real.shape[-1]}/{name}"] = value.detach()
    return total, terms


def semantic_terms(
    network: Discriminator, hidden: Tensor, condition: Tensor, class_ids: Tensor, config: GanConfig
) -> Terms:
    """What a discriminator reads in images beside real or not: real ones teach it, generated ones show it.

    A pair that is right or wrong tells a discriminator one bit; its caption among the batch's, or its class,
    tells more. "contrast": batch matching with the conditions (XMC-GAN, eq. 6 and 8); "class": AC-GAN's term.
    """
    terms = {}
    if config.contrast_weight:
        images, captions = network.embed(hidden, condition)
        ways = losses.batch_matching_loss(images, captions, class_ids, CONTRAST_SCALE)
        terms["contrast"] = sum(ways) / 2
    if config.class_weight:
        terms["class"] = F.cross_entropy(network.classify(hidden).float(), class_ids)
    return terms


def penalty_objective(
    networks: Discriminators, reals: list[Tensor], condition: Tensor, config: GanConfig
) -> tuple[Tensor, Terms]:
    """Gradient penalty at real images, in float32; weighted for a step every `penalty_every` steps.

    "r1" (Mescheder et al. 2018) takes the gradient by the image, "matching_aware" (DF-GAN) by image and
    condition.
    """
    total, terms = condition.new_zeros(()), {}
    for network, real in zip(networks, reals, strict=False):
        real = real.detach().float().requires_grad_()
        inputs, given = [real], condition.detach().float()
        if config.penalty == "matching_aware":
            given = given.requires_grad_()
            inputs.append(given)
        hidden = network(real)
        logits = network.conditional_logits(hidden, given) + network.unconditional_logits(hidden)
        squared = losses.squared_gradient(logits, inputs)
        if config.penalty == "r1":
            value = losses.r1_penalty(squared)
        else:
            value = losses.matching_aware_penalty(squared)
        total = total + config.penalty_weight * config.penalty_every * value
        terms[f"d_{real.shape[-1]}/penalty"] = value.detach()
    return total, terms


def generator_objective(
    networks: Discriminators,
    output: GeneratorOutput,
    encoding: CaptionEncoding,
    condition: Tensor,
    class_ids: Tensor,
    image_encoder: ImageEncoder,
    config: GanConfig,
    matching: MatchingConfig,
    matched: CaptionEncoding | None = None,
) -> tuple[Tensor, Terms, Tensor]:
    """Adversarial terms of every scale, conditioning augmentation, and matching of the largest image
    generated.

    That is the last stage's, as published, or while stages grow the last of those that train: colours are
    learnt from a small image, enlarged, at a small part of the cost.

    Args:
        encoding: what the images were generated from.
        condition: (B, C), what the discriminators see of it.
        image_encoder, matching: the matching model's, and what it was trained with.
        matched: the captions as the matching model reads them; by default that is `encoding`.

    Returns also that image's global vectors (B, D), which the relation supervisor looks at; or none (0,).
    """
    total, terms = condition.new_zeros(()), {}
    for network, fake in zip(networks, output.images, strict=False):
        hidden = network(fake)
        found = {
            "conditional": losses.generator_loss(network.conditional_logits(hidden, condition), config.loss),
            "unconditional": losses.generator_loss(network.unconditional_logits(hidden), config.loss),
        }
        found |= semantic_terms(network, hidden, condition, class_ids, config)
        for name, value in found.items():
            total = total + getattr(config, f"{name}_weight") * value
            terms[f"g_{fake.shape[-1]}/{name}"] = value.detach()
    kl = losses.augmentation_loss(output.mu, output.logvar)
    total = total + config.kl_weight * kl
    terms["g/kl"] = kl.detach()
    if config.added_loss:
        value = find_outside(config.added_loss, "gan.added_loss")(output, encoding, class_ids)
        total = total + config.added_weight * value
        terms["g/added"] = value.detach()
    vectors = encoding.sentence.new_zeros(0)
    if config.matching_weight or config.relation_weight:
        vectors, regions = image_encoder(output.images[-1])
    if config.matching_weight:
        value, _ = matching_objective(vectors, regions, matched or encoding, class_ids, matching)
        total = total + config.matching_weight * value
        terms["g/matching"] = value.detach()
    return total, terms, vectors


def reconstruction_objective(
    output: GeneratorOutput, reals: list[Tensor], found: tuple[Tensor, Tensor], config: GanConfig
) -> tuple[Tensor, Terms]:
    """Real images resampled from noise that a posterior found in them (CVAE-GAN).

    Mean absolute difference, averaged over stages: an undecided colour becomes one of the likely ones, and no
    mixture; plus the divergence from the prior, in nats an image.

    Args:
        generation: its first images are those generated from that noise.
        reals: one (B, 3, S, S) a stage.
        found: mu and log variance (N, noise) of the first N images.
    """
    count = len(found[0])
    difference = torch.stack(
        [
            F.l1_loss(generated[:count], real[:count])
            for generated, real in zip(output.images, reals, strict=True)
        ]
    ).mean()
    nats = losses.augmentation_loss(*found) * found[0].shape[1]
    total = config.reconstruction_weight * difference + config.posterior_weight * nats
    return total, {"g/reconstruction": difference.detach(), "g/posterior_nats": nats.detach()}


def matching_objective(
    vectors: Tensor, regions: Tensor, encoding: CaptionEncoding, class_ids: Tensor, config: MatchingConfig
) -> tuple[Tensor, Terms]:
    """What an encoder was matched with: masked batch matching and region-segment loss, both ways; Li et al.'s
    three losses; what another package adds."""
    total, terms = vectors.new_zeros(()), {}
    if config.batch_weight:
        value = sum(losses.batch_matching_loss(vectors, encoding.sentence, class_ids, config.scale))
        total = total + config.batch_weight * value
        terms["loss/batch"] = value.detach()
    if config.region_weight:
        gammas = (config.gamma1, config.gamma2, config.gamma3)
        value = sum(
            losses.region_loss(
                regions, encoding.sequence, encoding.mask, class_ids, gammas, config.region_group
            )
        )
        total = total + config.region_weight * value
        terms["loss/region"] = value.detach()
    if config.added_loss:
        added_loss = find_outside(config.added_loss, "matching.added_loss")
        value = added_loss(vectors, regions, encoding, class_ids)
        total = total + config.added_weight * value
        terms["loss/added"] = value.detach()
    found = {}
    if config.joint_weight:
        found["joint"] = losses.joint_embedding_loss(vectors, encoding.sentence, class_ids)
    if config.distance_weight:
        found["distance"] = losses.distance_loss(vectors, encoding.sentence)
    if config.distillation_weight:
        found["distillation"] = losses.distillation_loss(vectors, encoding.sentence)
    for name, value in found.items():
        total = total + getattr(config, f"{name}_weight") * value
        terms[f"loss/{name}"] = value.detach()
    return total, terms


def relation_objective(
    network: RelationSupervisor,
    real: Tensor,
    same: Tensor,
    fake: Tensor,
    class_ids: Tensor,
    has_same_class: Tensor,
) -> tuple[Tensor, Terms]:
    """The relation supervisor's own step (S2IGAN, eq. 7-8): four kinds of pairs.

    A generated image counts as another image of the class here too, as in the published code: the supervisor
    helps, it doesn't oppose. An image that is alone in its class stands for another one of it, so it isn't
    shown as identical to itself too (as published for Flickr8k and Places, where every image is a class).

    Args:
        real, same, fake: (B, D) vectors of a real image, another one of its class (itself where it is
            alone), and the generated one.
        class_ids: (B,).
        has_same_class: (B,) bool, whether there is another image of its class.
    """
    partner, has_partner = losses.wrong_partner(class_ids)
    pairs = {
        "identical": (real[has_same_class], real[has_same_class], IDENTICAL),
        "same_class": (real, same, SAME_CLASS),
        "generated": (real, fake, SAME_CLASS),
        "other_class": (real[has_partner], real[partner][has_partner], OTHER_CLASS),
    }
    total, terms = real.new_zeros(()), {}
    for name, (first, second, label) in pairs.items():
        if len(first) < 2:  # a batch norm needs two
            continue
        value = relation_loss(network, first, second, label)
        total = total + value
        terms[f"relation/{name}"] = value.detach()
    return total, terms


def relation_loss(network: RelationSupervisor, first: Tensor, second: Tensor, label: int) -> Tensor:
    """Cross entropy of the pairs' relation; the generator's term has `label=SAME_CLASS`."""
    logits = network(first, second).float()
    return F.cross_entropy(logits, torch.full((len(logits),), label, device=logits.device))
