"""Retrieval by the run's own matching model: images by caption and captions by image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.protocols.protocol import protocol
from s2i.evaluation.score import Score, mean_score
from s2i.metrics import retrieval
from s2i.metrics.statistics import median

REAL = "real images of the split, centre crops"


@protocol("encoders", "", REAL)
def retrieval_by_caption(bank: FeatureBank) -> list[Score]:
    """Every caption of the split is a query: all real images of the split (centre crops) are ranked by the
    cosine of their global vector with the caption's vector, both by the run's own matching model. recall@k:
    an image of the caption's class is among the first k; mAP: mean over captions of the average precision,
    relevant = same class; median_rank: of the first image of the class, the least rank that half of the
    captions reach. Chance: a random order's expectation (median_rank: its median), in closed form. Intervals:
    t over classes."""
    return _by_caption(bank, np.ones(len(bank.captions.readable), dtype=bool))


@protocol("encoders", "", REAL)
def retrieval_by_caption_unseen_speakers(bank: FeatureBank) -> list[Score]:
    """retrieval_by_caption for the captions alone whose speaker is in no caption of the training split."""
    if bank.captions.unseen_speakers is None:
        return []
    return _by_caption(bank, bank.captions.unseen_speakers[bank.captions.readable])


@protocol("encoders", "", REAL)
def retrieval_by_caption_seen_speakers(bank: FeatureBank) -> list[Score]:
    """retrieval_by_caption for the captions alone whose speaker is in the training split too; measured where
    other captions have unseen ones."""
    if bank.captions.unseen_speakers is None:
        return []
    return _by_caption(bank, ~bank.captions.unseen_speakers[bank.captions.readable])


@protocol("encoders", "", "captions of the split")
def retrieval_by_image(bank: FeatureBank) -> list[Score]:
    """The other direction: every real image of the split (centre crop) that has a caption is a query among
    all captions of the split. recall@k, mAP, median_rank and chance as in retrieval_by_caption, relevant =
    captions of images of the same class. Intervals: t over classes."""
    images, labels = _captioned_images(bank), bank.pack.labels
    gallery_labels = bank.captions.labels(bank.captions.readable)
    queries = bank.image_embeddings[torch.from_numpy(images)]
    return _scores(queries, bank.caption_embeddings, labels[images], gallery_labels, labels[images], "images")


@protocol("encoders", "", REAL)
def retrieval_of_exact_image(bank: FeatureBank) -> list[Score]:
    """As retrieval_by_caption, but relevant is the caption's own image alone, the measure of data without
    classes (Flickr8k, Places). mAP is the mean of 1 / its rank. Intervals: t over classes."""
    captions = bank.captions
    targets, labels = bank.pack.caption_image[captions.readable], captions.labels(captions.readable)
    images = np.arange(len(bank.pack.records))
    return _scores(bank.caption_embeddings, bank.image_embeddings, targets, images, labels, "captions")


@protocol("encoders", "", "captions of the split")
def retrieval_of_exact_captions(bank: FeatureBank) -> list[Score]:
    """As retrieval_by_image, but relevant are the image's own captions alone; recall@k: one of them is
    among the first k. Intervals: t over classes."""
    images, gallery_images = _captioned_images(bank), bank.pack.caption_image[bank.captions.readable]
    queries = bank.image_embeddings[torch.from_numpy(images)]
    labels = bank.pack.labels[images]
    return _scores(queries, bank.caption_embeddings, images, gallery_images, labels, "images")


def _by_caption(bank: FeatureBank, chosen: np.ndarray) -> list[Score]:
    if not chosen.any():
        return []
    labels = bank.captions.labels(bank.captions.readable[chosen])
    queries = bank.caption_embeddings[torch.from_numpy(chosen)]
    return _scores(queries, bank.image_embeddings, labels, bank.pack.labels, labels, "captions")


def _captioned_images(bank: FeatureBank) -> np.ndarray:
    return np.unique(bank.pack.caption_image[bank.captions.readable])


def _scores(
    queries: Tensor,
    gallery: Tensor,
    query_targets: np.ndarray,
    gallery_targets: np.ndarray,
    labels: np.ndarray,
    kind: str,
) -> list[Score]:
    """Recall@k, mAP and median rank with chance.

    Args:
        queries: (Q, D); gallery: (G, D).
        query_targets: (Q,); gallery_targets: (G,): an item is relevant where they agree.
        labels: (Q,) classes of the queries, for the intervals.
        kind: what the queries are, for the counts.
    """
    targets = torch.from_numpy(query_targets), torch.from_numpy(gallery_targets)
    counts = {kind: len(query_targets), "gallery": len(gallery_targets), "classes": len(np.unique(labels))}
    values = retrieval.retrieve_by_class(queries, gallery, *targets, ranks=True)
    median_rank = median(values.pop("rank").numpy(), labels)
    chance = retrieval.chance_by_class(*targets)
    chance["median_rank"] = retrieval.chance_of_median_rank(*targets)
    scores = [mean_score(name, each.numpy(), labels, counts) for name, each in values.items()]
    scores.append(Score("median_rank", median_rank.value, counts, interval95=median_rank.interval95))
    return scores + [Score(name, value, counts, of="chance") for name, value in chance.items()]
