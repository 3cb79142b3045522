"""The matching loss of a caption encoder's training, and of the images generated from its captions."""

from __future__ import annotations

from torch import Tensor

from s2i import losses
from s2i.config import MatchingConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.plugins import find_outside


def matching_loss(
    vectors: Tensor,
    regions: Tensor | None,
    encoding: CaptionEncoding,
    class_ids: Tensor,
    config: MatchingConfig,
    other: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of masked batch matching (S2IGAN), the region-segment loss (DAMSM), the three losses of Li
    et al. and a loss of another package.

    Args:
        vectors: (B, D) of images; regions: (B, D, R), read where `region_weight` is above 0.
        encoding: of their captions.
        class_ids: (B,).
        other: (B, D), sentence vectors of the same captions in other recordings.

    Returns:
        the sum, and its terms without history; a term of weight 0 is absent.
    """
    total, terms = vectors.new_zeros(()), {}
    if config.batch_weight:
        batch = sum(losses.batch_matching_loss(vectors, encoding.sentence, class_ids, config.scale))
        total = total + config.batch_weight * batch
        terms["loss/batch"] = batch
    if config.region_weight:
        region = sum(
            losses.region_loss(
                regions,
                encoding.sequence,
                encoding.mask,
                class_ids,
                (config.gamma1, config.gamma2, config.gamma3),
                config.region_group,
            )
        )
        total = total + config.region_weight * region
        terms["loss/region"] = region
    if config.added_loss:
        added_loss = find_outside(config.added_loss, "matching.added_loss")
        added = added_loss(vectors, regions, encoding, class_ids)
        total = total + config.added_weight * added
        terms["loss/added"] = added
    if config.joint_weight:
        joint = losses.joint_embedding_loss(vectors, encoding.sentence, class_ids)
        total = total + config.joint_weight * joint
        terms["loss/joint"] = joint
    if config.distance_weight:
        distance = losses.distance_loss(vectors, encoding.sentence)
        total = total + config.distance_weight * distance
        terms["loss/distance"] = distance
    if config.distillation_weight:
        distillation = losses.distillation_loss(vectors, encoding.sentence)
        total = total + config.distillation_weight * distillation
        terms["loss/distillation"] = distillation
    if config.invariance_weight and other is not None:
        invariance = losses.invariance_loss(encoding.sentence, other)
        total = total + config.invariance_weight * invariance
        terms["loss/invariance"] = invariance
    return total, {name: value.detach() for name, value in terms.items()}
