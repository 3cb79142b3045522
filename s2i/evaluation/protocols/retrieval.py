"""Retrieval by the run's own matching model: images by caption and captions by image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from s2i.evaluation.score import Score, mean_score, protocol
from s2i.evaluation.subject import Subject
from s2i.metrics import retrieval
from s2i.metrics.statistics import median

REAL = "real images of the split, centre crops"


@protocol("encoders", "", REAL)
def retrieval_by_caption(subject: Subject) -> list[Score]:
    """Every caption of the split asks for images: all real images of the split (centre crops) are
    ranked by the cosine of their global vector with the caption's vector, both by the run's own matching
    model. recall@k: an image of the caption's class is among the first k; mAP: mean over captions of the
    average precision, relevant = same class; median_rank: of the first image of the class, the least rank
    that half of the captions reach. Chance: a random order's expectation (median_rank: its median), in closed
    form. Intervals: t over classes."""
    return _by_caption(subject, np.ones(len(subject.captions), dtype=bool))


@protocol("encoders", "", REAL)
def retrieval_by_caption_unseen_speakers(subject: Subject) -> list[Score]:
    """retrieval_by_caption for the captions alone whose speaker is in no caption of the training split."""
    if subject.unseen_speakers is None:
        return []
    return _by_caption(subject, subject.unseen_speakers[subject.captions])


@protocol("encoders", "", REAL)
def retrieval_by_caption_seen_speakers(subject: Subject) -> list[Score]:
    """retrieval_by_caption for the captions alone whose speaker is in the training split too; measured where
    other captions have unseen ones."""
    if subject.unseen_speakers is None:
        return []
    return _by_caption(subject, ~subject.unseen_speakers[subject.captions])


@protocol("encoders", "", "captions of the split")
def retrieval_by_image(subject: Subject) -> list[Score]:
    """The other direction: every real image of the split (centre crop) that has a caption asks for
    captions, all those of the split. recall@k, mAP, median_rank and chance as in retrieval_by_caption,
    relevant = captions of images of the same class. Intervals: t over classes."""
    asked, told = _captioned(subject), subject.pack.caption_image[subject.captions]
    labels = subject.pack.labels
    queries = subject.gallery[torch.from_numpy(asked)]
    return _scores(subject, queries, subject.sentences, labels[asked], labels[told], labels[asked], "images")


@protocol("encoders", "", REAL)
def retrieval_of_exact_image(subject: Subject) -> list[Score]:
    """As retrieval_by_caption, but relevant is the caption's own image alone, the measure of data without
    classes (Flickr8k, Places). mAP is the mean of 1 / its rank. Intervals: t over classes."""
    own, labels = subject.pack.caption_image[subject.captions], subject.labels(subject.captions)
    images = np.arange(len(subject.pack.records))
    return _scores(subject, subject.sentences, subject.gallery, own, images, labels, "captions")


@protocol("encoders", "", "captions of the split")
def retrieval_of_exact_captions(subject: Subject) -> list[Score]:
    """As retrieval_by_image, but relevant are the image's own captions alone; recall@k: one of them is
    among the first k. Intervals: t over classes."""
    asked, told = _captioned(subject), subject.pack.caption_image[subject.captions]
    queries = subject.gallery[torch.from_numpy(asked)]
    return _scores(subject, queries, subject.sentences, asked, told, subject.pack.labels[asked], "images")


def _by_caption(subject: Subject, chosen: np.ndarray) -> list[Score]:
    if not chosen.any():
        return []
    asked = subject.labels(subject.captions[chosen])
    queries = subject.sentences[torch.from_numpy(chosen)]
    return _scores(subject, queries, subject.gallery, asked, subject.pack.labels, asked, "captions")


def _captioned(subject: Subject) -> np.ndarray:
    return np.unique(subject.pack.caption_image[subject.captions])


def _scores(
    subject: Subject,
    queries: Tensor,
    gallery: Tensor,
    asked: np.ndarray,
    shelved: np.ndarray,
    labels: np.ndarray,
    what: str,
) -> list[Score]:
    """`asked`, `shelved`: what must agree for an item to be relevant; `labels`: of the queries, for the
    intervals; `what` the queries are."""
    relevant = torch.from_numpy(asked), torch.from_numpy(shelved)
    counts = {what: len(asked), "gallery": len(shelved), "classes": len(np.unique(labels))}
    found = retrieval.retrieve_by_class(queries, gallery, *relevant, ranks=True)
    middle = median(found.pop("rank").numpy(), labels)
    chance = retrieval.chance_by_class(*relevant)
    chance["median_rank"] = retrieval.chance_of_median_rank(*relevant)
    scores = [mean_score(name, values.numpy(), labels, counts) for name, values in found.items()]
    scores.append(Score("median_rank", middle.value, counts, interval95=middle.interval95))
    return scores + [Score(name, value, counts, of="chance") for name, value in chance.items()]
