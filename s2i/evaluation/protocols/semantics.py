"""Whether a generated image means what its caption says: retrieval with generated images, and R-precision."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from s2i.evaluation.extractors import FEATURES
from s2i.evaluation.score import GENERATED, REAL, S2IGAN, Score, mean_score, protocol
from s2i.evaluation.subject import Subject, caption_key
from s2i.metrics import retrieval

CANDIDATES = 100  # captions that an image chooses from
FOLDS = 10


@protocol("classifier", GENERATED, REAL)
def class_retrieval_by_generated(subject: Subject) -> list[Score]:
    """Classifier-based. Each generated image asks for its class: all real images of the split (centre crops,
    brought to the generated ones' size where the pack holds larger ones) are ranked by the cosine of the
    classifier's
    features (the layer before its heads); mAP: mean average precision, relevant = same class. real: each real
    image asks the other real ones. Chance: a random order's expectation, in closed form. Intervals: t over
    classes."""
    if subject.extractor("classifier") is None or len(np.unique(subject.pack.labels)) < 2:
        return []
    asked, shelved = subject.labels(subject.generated_captions), subject.pack.labels
    gallery = torch.from_numpy(subject.predictions_of_real.features)
    generated = torch.from_numpy(subject.predictions_of_generated.features)
    found = retrieval.retrieve_by_class(
        generated, gallery, torch.from_numpy(asked), torch.from_numpy(shelved)
    )
    counts = {"queries": len(asked), "gallery": len(shelved), "classes": len(np.unique(asked))}
    scores = [mean_score("mAP", found["mAP"].numpy(), asked, counts)]
    chance = retrieval.chance_by_class(torch.from_numpy(asked), torch.from_numpy(shelved))["mAP"]
    scores.append(Score("mAP", chance, counts, of="chance"))
    among_real = _precision_among_others(gallery, shelved)
    alone = np.isnan(among_real)  # the only image of its class has nothing to find
    if not alone.all():
        counts = {"queries": int((~alone).sum()), "gallery": len(shelved) - 1}
        scores.append(mean_score("mAP", among_real[~alone], shelved[~alone], counts, of="real"))
    return scores


@protocol("imagenet", S2IGAN, "generated images of ten captions of each of two real images a class")
def s2igan_mean_average_precision(subject: Subject) -> list[Score]:
    """S2IGAN's semantic measure. Queries: the first two real images of each class of the split that have a
    caption which the run can read (100 of CUB's 50 test classes), centre crops, brought to the generated
    ones' size where the pack holds larger ones. Gallery: their first ten such captions each, generated once
    (1,000); no
    other image is generated or looked at. The noise is shared by an image's captions as in the published
    script, that of conditioning augmentation not. Features: torchvision's ImageNet Inception-v3, pooled, 2048
    numbers, images resized to 299 px by an antialiased bilinear filter; in [-1, 1], as these weights
    expect, where the published script feeds [0, 1]. Ranking by cosine; mAP: mean over queries of the average
    precision, relevant = same class, a share (the paper's per cent / 100). Chance: a random order's
    expectation, in closed form. Intervals: t over classes."""
    return _s2igan(subject, "imagenet")


@protocol("classifier", S2IGAN, "generated images of ten captions of each of two real images a class")
def s2igan_mean_average_precision_by_classifier(subject: Subject) -> list[Score]:
    """s2igan_mean_average_precision with the classifier's features (the layer before its heads) instead of
    Inception's, for small images and machines without its weights; the values compare only with others of
    the same classifier."""
    return _s2igan(subject, "classifier")


@protocol("r_precision_encoder", GENERATED, "captions of the split, other classes' as mismatches")
def r_precision(subject: Subject) -> list[Score]:
    """Each generated image chooses its caption out of 100: its own and 99 of other images of other classes
    (of other images, where the split has one class), none in the same words, drawn at random by
    (evaluation.seed, caption). Cosine between the image's vector and the captions', by encoders of a
    matching run that no generator was trained with (evaluation.r_precision_encoder: another run, another
    seed; its
    captions are spoken or written as that run was trained, whatever the generator reads). r_precision: share
    of images whose own caption comes first, a tie counting as a miss; spread: standard deviation, over N,
    of ten folds of the images in a random order. AttnGAN generates mismatches from all captions and takes the
    encoders that trained its generator, which praises it. real: the captions' real images, centre crops,
    brought to the generated ones' size where the pack holds larger ones. Chance: 1/100. Intervals: t over
    classes."""
    r_precision_encoder, extractor = subject.r_precision_encoder, subject.extractor("r_precision_encoder")
    if r_precision_encoder is None or extractor is None:
        return []
    known = r_precision_encoder.readable(subject.pack)
    generated = subject.generated_captions
    kept = np.isin(generated, known)
    captions = generated[kept]
    if len(captions) == 0:
        return []
    others = _mismatches(subject, captions, known)
    if others is None:
        return []
    vectors = r_precision_encoder.read(subject.pack, known, subject.evaluation.batch_size)
    own = torch.from_numpy(np.searchsorted(known, captions))
    labels, images = subject.labels(captions), subject.pack.caption_image[captions]
    folds = min(FOLDS, len(captions))
    counts = {"images": len(captions), "candidates": CANDIDATES, "folds": folds}
    seen = {
        "run": subject.generated("r_precision_encoder")[FEATURES][kept],
        "real": subject.real("r_precision_encoder")[FEATURES][images],
    }
    scores = []
    for of, features in seen.items():
        hits = retrieval.r_precision(torch.from_numpy(features), vectors, own, torch.from_numpy(others))
        score = mean_score("r_precision", hits.numpy(), labels, counts, of=of)
        scores.append(_with_spread(score, folds, subject.evaluation.seed))
    return [*scores, Score("r_precision", 1 / CANDIDATES, counts, of="chance")]


def _s2igan(subject: Subject, name: str) -> list[Score]:
    labels = subject.pack.labels
    if subject.extractor(name) is None or len(np.unique(labels)) < 2:
        return []
    captions = subject.s2igan_captions
    asking = np.unique(subject.pack.caption_image[captions])
    asked, shelved = torch.from_numpy(labels[asking]), torch.from_numpy(subject.labels(captions))
    queries = torch.from_numpy(subject.real(name, images=asking)[FEATURES])
    gallery = torch.from_numpy(subject.generated(name, S2IGAN)[FEATURES])
    found = retrieval.retrieve_by_class(queries, gallery, asked, shelved)["mAP"].numpy()
    counts = {"queries": len(asking), "gallery": len(captions), "classes": len(np.unique(labels[asking]))}
    return [
        mean_score("mAP", found, labels[asking], counts),
        Score("mAP", retrieval.chance_by_class(asked, shelved)["mAP"], counts, of="chance"),
    ]


def _mismatches(subject: Subject, captions: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    """For each of `captions`, places in `known` of 99 captions that aren't its own: (N, 99); None where the
    split has too few."""
    pack = subject.pack
    groups = pack.labels[pack.caption_image[known]]
    if len(np.unique(pack.labels)) < 2:
        groups = pack.caption_image[known]
    words = np.array([" ".join((pack.caption(index).text or "").lower().split()) for index in known])
    found = np.empty((len(captions), CANDIDATES - 1), dtype=np.int64)
    for row, place in enumerate(np.searchsorted(known, captions)):
        key = f"{subject.evaluation.seed}:mismatches:{caption_key(pack, int(captions[row]))}"
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))
        fit = np.flatnonzero((groups != groups[place]) & ((words != words[place]) | (words == "")))
        if len(fit) < CANDIDATES - 1:
            return None
        found[row] = random.choice(fit, CANDIDATES - 1, replace=False)
    return found


def _with_spread(score: Score, folds: int, seed: int) -> Score:
    order = np.random.default_rng(seed).permutation(len(score.values))
    means = [score.values[part].mean() for part in np.array_split(order, folds)]
    return replace(score, spread=float(np.std(means)))


def _precision_among_others(features: Tensor, classes: np.ndarray) -> np.ndarray:
    """Average precision of each image's ranking of all others: (N, F), (N,) -> (N,)."""
    of = torch.from_numpy(classes)
    found = []
    for part, order in retrieval.rankings(features, features):
        own = torch.arange(part.start, part.stop).unsqueeze(1)
        others = order[order != own].view(len(order), -1)
        found.append(retrieval.average_precision(of[others] == of[part].unsqueeze(1)))
    return torch.cat(found).numpy()
