"""The matching loss of a caption encoder's training, and of the images generated from its captions."""

from __future__ import annotations

import torch
from torch import Tensor

from s2i import losses
from s2i.config import MatchingConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.plugins import find_outside
from s2i.training.joint_batch import ALONE, JointBatch


def matching_loss(
    vectors: Tensor,
    regions: Tensor | None,
    encoding: CaptionEncoding,
    class_ids: Tensor,
    config: MatchingConfig,
    other: Tensor | None = None,
    joint: JointBatch = ALONE,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of masked batch matching (S2IGAN), the region-segment loss (DAMSM), the three losses of Li
    et al. and a loss of another package.

    Args:
        vectors: (B, D) of images; regions: (B, D, R), read where `region_weight` is above 0.
        encoding: of their captions.
        class_ids: (B,).
        other: (B, D), sentence vectors of the same captions in other recordings.
        joint: in which images are compared with captions; a loss of another package has this process's rows.

    Returns:
        the sum, and its terms without history; a term of weight 0 is absent.
    """
    total, terms = vectors.new_zeros(()), {}
    own_rows = vectors, regions, encoding, class_ids
    vectors, class_ids = joint.gather(vectors), joint.gather(class_ids)
    encoding = joint.gather_captions(encoding)
    if config.batch_weight:
        batch = sum(losses.batch_matching_loss(vectors, encoding.sentence, class_ids, config.scale))
        total = total + config.batch_weight * batch
        terms["loss/batch"] = batch
    if config.region_weight:
        region = _region_loss(regions, encoding, class_ids, config, joint)
        total = total + config.region_weight * region
        terms["loss/region"] = region
    if config.added_loss:
        added_loss = find_outside(config.added_loss, "matching.added_loss")
        added = added_loss(*own_rows)
        total = total + config.added_weight * added
        terms["loss/added"] = added
    if config.joint_weight:
        embedding = losses.joint_embedding_loss(vectors, encoding.sentence, class_ids)
        total = total + config.joint_weight * embedding
        terms["loss/joint"] = embedding
    if config.distance_weight:
        distance = losses.distance_loss(vectors, encoding.sentence)
        total = total + config.distance_weight * distance
        terms["loss/distance"] = distance
    if config.distillation_weight:
        distillation = losses.distillation_loss(vectors, encoding.sentence)
        total = total + config.distillation_weight * distillation
        terms["loss/distillation"] = distillation
    if config.invariance_weight and other is not None:
        invariance = losses.invariance_loss(own_rows[2].sentence, other)
        total = total + config.invariance_weight * invariance
        terms["loss/invariance"] = invariance
    return total, {name: value.detach() for name, value in terms.items()}


def _region_loss(
    regions: Tensor, encoding: CaptionEncoding, class_ids: Tensor, config: MatchingConfig, joint: JointBatch
) -> Tensor:
    """The region-segment loss, both directions, of the joint batch's captions and this process's regions.

    Each process scores its own images, which is where time and memory go, and the scores are gathered. Groups
    of neighbours are dealt, where each process gets as many.
    """
    gammas, group = (config.gamma1, config.gamma2, config.gamma3), config.region_group
    captions = encoding.sequence, encoding.mask
    if joint.world == 1:
        return sum(losses.region_loss(regions, *captions, class_ids, gammas, group))
    if not group:
        scores = joint.gather(losses.compare_regions(regions, *captions, *gammas[:2]))
        return sum(losses.match_both_ways(gammas[2] * scores, class_ids))
    regions = joint.gather(regions)
    groups = len(regions) // group
    if len(regions) % group == 0 and groups % joint.world == 0:
        rows = torch.arange(len(regions), device=regions.device).unflatten(0, (groups, group))
        rows = joint.local(rows).flatten()
        regions, captions, class_ids = regions[rows], [tensor[rows] for tensor in captions], class_ids[rows]
    return sum(losses.region_loss(regions, *captions, class_ids, gammas, group))
