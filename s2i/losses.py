"""Losses: pure functions of tensors. The reader of a paper finds each equation here, by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import region_comparison
from s2i.float32 import in_float32


def same_class_mask(class_ids: Tensor) -> Tensor:
    """Pairs that are neither the pair itself nor of different classes: (B,) -> (B, B) bool.

    Two captions of one class (or of one image) are no negatives of each other.
    """
    same = class_ids.unsqueeze(0) == class_ids.unsqueeze(1)
    return same & ~torch.eye(len(class_ids), dtype=torch.bool, device=class_ids.device)


def match_both_ways(scores: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of the right partner in a batch, in both directions, in float32.

    Args:
        scores: (B, B), image i against caption j.
        class_ids: (B,); other pairs of the same class are left out.

    Returns:
        image -> caption and caption -> image, each a mean over the batch.
    """
    scores = scores.float().masked_fill(same_class_mask(class_ids), float("-inf"))
    target = torch.arange(len(scores), device=scores.device)
    # -log P(caption given image), -log P(image given caption)
    return F.cross_entropy(scores, target), F.cross_entropy(scores.t(), target)


def batch_matching_loss(
    image: Tensor, caption: Tensor, class_ids: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Masked batch matching of global vectors (S2IGAN's matching loss; AttnGAN's sentence-level DAMSM).

    Args:
        image, caption: (B, D), of any length: cosines are taken.
        class_ids: (B,).
        scale: gamma (S2IGAN: 10), gamma3 (AttnGAN: 10).
    """
    with in_float32(image):
        # S_ij = cos(v_i, s_j)
        cosines = F.normalize(image.float(), dim=1) @ F.normalize(caption.float(), dim=1).t()
    return match_both_ways(scale * cosines, class_ids)


def invariance_loss(first: Tensor, second: Tensor) -> Tensor:
    """How far apart two recordings of each caption are encoded: 1 - cosine, (B, D) twice -> a mean.

    What differs between them, voice, room or rate, is no part of the caption (SimSiam's distance, Chen and
    He, 2021, without its predictor: the matching losses keep encodings apart).
    """
    return 1 - F.cosine_similarity(first.float(), second.float(), dim=1).mean()


class _ReversedGradient(torch.autograd.Function):
    """Identity; its gradient is that of what follows times -weight."""

    @staticmethod
    def forward(ctx, values: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(values: Tensor, weight: float) -> Tensor:
    """The same values; whatever lowers a loss of them raises it, `weight` times as strongly, by what made
    them (gradient reversal, Ganin et al. 2016, eq. 16 and 17)."""
    return _ReversedGradient.apply(values, weight)


def speaker_loss(logits: Tensor, speakers: Tensor) -> Tensor:
    """Cross entropy of who speaks, in float32: logits (B, K), speakers (B,), below 0 where nobody is named
    -> a mean over those that are; 0 of none."""
    named = speakers >= 0
    total = F.cross_entropy(logits.float(), speakers.clamp(min=0), reduction="none")
    return (total * named).sum() / named.sum().clamp(min=1)


def region_scores(
    regions: Tensor, sequence: Tensor, mask: Tensor, gamma1: float, gamma2: float
) -> tuple[Tensor, Tensor]:
    """How well each caption's segments find their regions in each image (DAMSM; AttnGAN, eq. 7-10).

    The context vectors c = sum_r alpha_r v_r are never made: cos(c, e) needs only <c, e> = alpha . s and
    |c|^2 = alpha' G alpha, with s the region-segment products and G the image's Gram matrix. That is the
    same number at a fraction of the time and memory. As in the published code, and unlike the paper, the
    result isn't divided by gamma2.

    Args:
        regions: (B, D, R); sequence: (C, D, T); mask: (C, T), True = valid.
        gamma1: sharpness of the attention to regions; gamma2: of the pooling over segments.

    Returns:
        scores (B, C) before gamma3, float32; attention (B, C, T, R).
    """
    regions, sequence = regions.float(), sequence.float()
    images, captions, steps = len(regions), len(sequence), sequence.shape[2]
    words = sequence.transpose(1, 2).reshape(captions * steps, -1)  # (C T, D)
    padding = ~mask[None, :, :, None]
    with in_float32(regions):
        products = (words @ regions).unflatten(1, (captions, steps))  # eq. 7; (B, C, T, R)
        over_words = products.masked_fill(padding, float("-inf")).softmax(2)  # eq. 8
        attention = (gamma1 * over_words).softmax(3)  # eq. 9
        gram = regions.transpose(1, 2) @ regions  # (B, R, R)
        flat = attention.reshape(images, captions * steps, -1)
        squared = ((flat @ gram) * flat).sum(2).unflatten(1, (captions, steps))
    lengths = sequence.square().sum(1).clamp(min=1e-8).sqrt()  # (C, T)
    # cos(c_i, e_i)
    cosines = (attention * products).sum(3) / (squared.clamp(min=1e-8).sqrt() * lengths)
    # eq. 10, not divided by gamma2
    pooled = (gamma2 * cosines).masked_fill(padding[..., 0], float("-inf")).logsumexp(2)
    return pooled, attention


def compare_regions(regions: Tensor, sequence: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """The scores (B, C) of `region_scores`; where there is much to compare, image by image.

    Then memory does not grow with images x captions x segments x regions: of the first images that have room
    (`region_comparison.KEPT`) the attention is kept, that of the others is made again in the backward pass.
    """
    if regions.shape[0] * regions.shape[2] * mask.numel() <= region_comparison.AT_ONCE:
        return region_scores(regions, sequence, mask, gamma1, gamma2)[0]
    return region_comparison.RegionScores.apply(regions.float(), sequence.float(), mask, gamma1, gamma2)


def region_loss(
    regions: Tensor,
    sequence: Tensor,
    mask: Tensor,
    class_ids: Tensor,
    gammas: tuple[float, float, float],
    group: int = 0,
) -> tuple[Tensor, Tensor]:
    """Region-segment (word-level DAMSM) loss, in both directions (AttnGAN, eq. 11-12).

    `group` compares only so many neighbouring images with each other, in place of the whole batch: the cost
    falls by batch / group, and the choice gets easier.
    """
    size = group or len(regions)
    ways = []
    for start in range(0, len(regions), size):
        rows = slice(start, start + size)
        scores = compare_regions(regions[rows], sequence[rows], mask[rows], gammas[0], gammas[1])
        ways.append(match_both_ways(gammas[2] * scores, class_ids[rows]))  # eq. 11-12
    first, second = zip(*ways, strict=True)
    return torch.stack(first).mean(), torch.stack(second).mean()


def adversarial_loss(logits: Tensor, real: bool, kind: str, real_target: float = 1.0) -> Tensor:
    """A discriminator's loss on images whose target is `real`; also a generator's, with `real=True`.

    "bce" is on logits (the published sigmoid + BCE has the same optimum and saturates), "hinge" as in
    SAGAN, "least_squares" as in LSGAN, with `real_target` for real images. For hinge a generator wants
    -mean(logits): see `generator_loss`.
    """
    logits = logits.float()
    if kind == "bce":
        return F.softplus(-logits if real else logits).mean()  # -log D(x), -log(1 - D(x))
    if kind == "hinge":
        return F.relu(1 - logits if real else 1 + logits).mean()  # hinge
    return (logits - (real_target if real else 0.0)).square().mean()  # least squares


def generator_loss(logits: Tensor, kind: str) -> Tensor:
    """A generator's adversarial loss."""
    return -logits.float().mean() if kind == "hinge" else adversarial_loss(logits, True, kind)


def augmentation_loss(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of N(mu, exp(logvar)) from N(0, 1), averaged over batch and dimensions (StackGAN's mean form)."""
    mu, logvar = mu.float(), logvar.float()
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).mean()


def perceptual_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Distance of images in a network's features: at each place of a map the squared distance of the two
    vectors of channels, each of length 1; a mean over places, images and maps, 0 to 4.

    LPIPS (Zhang et al. 2018) without its learnt weights of channels, and with a mean over maps for a sum.

    Args:
        first, second: one (B, C, H, W) a scale.
    """
    distances = [
        (F.normalize(one.float(), dim=1) - F.normalize(other.float(), dim=1)).square().sum(1).mean()
        for one, other in zip(first, second, strict=True)
    ]
    return torch.stack(distances).mean()


def image_gradient_norm(gradients: Tensor) -> Tensor:
    """Length of the gradient of each image's own loss, averaged over images.

    `gradients`: (B, ...), of a loss that is a mean over these B images, hence the factor.
    """
    return len(gradients) * gradients.float().flatten(1).norm(dim=1).mean()


def adversarial_balance(of_reconstruction: Tensor, of_adversary: Tensor) -> Tensor:
    """The weight with which an adversary's gradient is as long as that of reconstruction (VQGAN, Esser et al.
    2021): the ratio of the two lengths, at most 1e4 as in the published code.

    They are taken at the images (`image_gradient_norm`), not at the generator's last layer: no further pass
    through a network of features is needed, since the generator is passed once, with the sum of both.
    """
    return (of_reconstruction / (of_adversary + 1e-8)).clamp(max=1e4)


def squared_gradient(outputs: Tensor, inputs: list[Tensor]) -> Tensor:
    """|d outputs / d inputs|^2 of each item: (B,); differentiable, for R1 and DF-GAN's penalty."""
    gradients = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return sum(gradient.float().square().flatten(1).sum(1) for gradient in gradients)


def r1_penalty(squared: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018, eq. 9, without its gamma / 2): mean squared gradient on real images."""
    return squared.mean()  # eq. 9


def matching_aware_penalty(squared: Tensor) -> Tensor:
    """DF-GAN's matching-aware penalty, without its weight: mean of the gradient's norm to the sixth power."""
    return squared.pow(3).mean()  # norm to the sixth power


def wrong_partner(class_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For each item the next one in the batch of another class: index (B,), and whether there is one (B,).

    The published code shifts by one, or redraws once: some of its wrong pairs are right pairs.
    """
    count = len(class_ids)
    places = torch.arange(count, device=class_ids.device)
    order = (places.unsqueeze(1) + places.unsqueeze(0)) % count  # row i: i, i + 1, ...
    other = class_ids[order] != class_ids.unsqueeze(1)
    step = other.float().argmax(1)
    return order[places, step], other.any(1)


def joint_embedding_loss(
    image: Tensor,
    caption: Tensor,
    class_ids: Tensor,
    margin: float = 1.0,
    same_class_weight: float = 0.1,
) -> Tensor:
    """Structured joint embedding (Reed et al. 2016; Li et al. 2020): a hinge on captions' wrong images.

    An image of another class has to score less than the caption's own by `margin`; another image of the
    same class has no margin, and its hinge the weight `same_class_weight`. As in the published code, the sum
    goes over the images of each caption, not over the captions of each image too, and is divided by B^2.

    Args:
        image, caption: (B, D); scores are their products, without a norm.
        class_ids: (B,).
    """
    with in_float32(image):
        scores = image.float() @ caption.float().t()
    excess = scores - scores.diagonal()  # of image i over caption j's own
    others = class_ids.unsqueeze(0) != class_ids.unsqueeze(1)
    hinges = F.relu(excess + margin) * others  # of another class
    hinges = hinges + same_class_weight * F.relu(excess) * same_class_mask(class_ids)  # of the same class
    return hinges.sum() / len(scores) ** 2


def distance_loss(image: Tensor, caption: Tensor) -> Tensor:
    """Mean absolute difference of two batches (B, D), each over its norm (Li et al. 2020).

    As in their code, that is the norm of all its B * D numbers: beside vectors of length 1 each, a difference
    smaller by the root of B, which their weight of 5 reckons with.
    """
    first, second = (F.normalize(values.float().flatten(), dim=0) for values in (caption, image))
    return F.l1_loss(first, second)


def distillation_loss(teacher: Tensor, student: Tensor, temperature: float = 2.0) -> Tensor:
    """Divergence of the student's softmax over its numbers from the teacher's: (B, D), (B, D).

    As Li et al.'s code: a mean over all B * D terms, hence their weight of 1000, and a temperature for the
    teacher alone.
    """
    target = (teacher.float() / temperature).softmax(1)
    return F.kl_div(student.float().log_softmax(1), target, reduction="none").mean()


def unit_distance_loss(target: Tensor, predicted: Tensor) -> Tensor:
    """Squared distance of vectors of length 1: |a / |a| - b / |b||^2, a mean over the batch (Speech2Face).

    Args:
        target, predicted: (B, D), of any length.
    """
    return (F.normalize(target.float(), dim=1) - F.normalize(predicted.float(), dim=1)).square().sum(1).mean()


def class_distillation_loss(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """- sum_i p_i(teacher) log p_i(student), p = softmax(logits / T), a mean over the batch (Speech2Face).

    Args:
        teacher, student: logits (B, K).
    """
    target = (teacher.float() / temperature).softmax(1)
    return -(target * (student.float() / temperature).log_softmax(1)).sum(1).mean()


def class_loss(image_logits: Tensor, caption_logits: Tensor, class_ids: Tensor) -> Tensor:
    """Distinctive loss (S2IGAN, eq. 5): both modalities name the class, by one shared linear layer.

    Args:
        image_logits, caption_logits: (B, K); class_ids: (B,).
    """
    image = F.cross_entropy(image_logits.float(), class_ids)
    return image + F.cross_entropy(caption_logits.float(), class_ids)  # eq. 5
