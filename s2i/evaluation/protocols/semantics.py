"""Whether a drawn picture means what its caption says: retrieval with drawn pictures, and R-precision."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from s2i.evaluation.extractors import FEATURES
from s2i.evaluation.score import DRAWN, REAL, S2IGAN, Score, mean_score, protocol
from s2i.evaluation.subject import Subject, caption_key
from s2i.metrics import retrieval

CANDIDATES = 100  # captions that a picture chooses from
FOLDS = 10


@protocol("judge", DRAWN, REAL)
def class_retrieval_by_drawing(subject: Subject) -> list[Score]:
    """Judge-based. Each drawn picture asks for its class: all real pictures of the split (centre crops,
    brought to the drawn ones' size where the pack holds larger ones) are ranked by the cosine of the judge's
    features (the layer before its heads); mAP: mean average precision, relevant = same class. real: each real
    picture asks the other real ones. Chance: a random order's expectation, in closed form. Intervals: t over
    classes."""
    if subject.extractor("judge") is None or len(np.unique(subject.pack.labels)) < 2:
        return []
    asked, shelved = subject.labels(subject.drawn_captions), subject.pack.labels
    gallery = torch.from_numpy(subject.opinion_of_real.features)
    drawn = torch.from_numpy(subject.opinion_of_drawn.features)
    found = retrieval.retrieve_by_class(drawn, gallery, torch.from_numpy(asked), torch.from_numpy(shelved))
    counts = {"queries": len(asked), "gallery": len(shelved), "classes": len(np.unique(asked))}
    scores = [mean_score("mAP", found["mAP"].numpy(), asked, counts)]
    chance = retrieval.chance_by_class(torch.from_numpy(asked), torch.from_numpy(shelved))["mAP"]
    scores.append(Score("mAP", chance, counts, of="chance"))
    among_real = _precision_among_others(gallery, shelved)
    alone = np.isnan(among_real)  # the only picture of its class has nothing to find
    if not alone.all():
        counts = {"queries": int((~alone).sum()), "gallery": len(shelved) - 1}
        scores.append(mean_score("mAP", among_real[~alone], shelved[~alone], counts, of="real"))
    return scores


@protocol("imagenet", S2IGAN, "drawn pictures of ten captions of each of two real pictures a class")
def s2igan_mean_average_precision(subject: Subject) -> list[Score]:
    """S2IGAN's semantic measure. Queries: the first two real pictures of each class of the split that have a
    caption which the run can read (100 of CUB's 50 test classes), centre crops, brought to the drawn ones'
    size where the pack holds larger ones. Gallery: their first ten such captions each, drawn once (1,000); no
    other picture is drawn or looked at. The noise is shared by a picture's captions as in the published
    script, that of conditioning augmentation not. Features: torchvision's ImageNet Inception-v3, pooled, 2048
    numbers, pictures resized to 299 px by an antialiased bilinear filter; in [-1, 1], as these weights
    expect, where the published script feeds [0, 1]. Ranking by cosine; mAP: mean over queries of the average
    precision, relevant = same class, a share (the paper's per cent / 100). Chance: a random order's
    expectation, in closed form. Intervals: t over classes."""
    return _s2igan(subject, "imagenet")


@protocol("judge", S2IGAN, "drawn pictures of ten captions of each of two real pictures a class")
def s2igan_mean_average_precision_by_judge(subject: Subject) -> list[Score]:
    """s2igan_mean_average_precision with the judge's features (the layer before its heads) instead of
    Inception's, for small pictures and machines without its weights; the values compare only with others of
    the same judge."""
    return _s2igan(subject, "judge")


@protocol("scorer", DRAWN, "captions of the split, other classes' as mismatches")
def r_precision(subject: Subject) -> list[Score]:
    """Each drawn picture chooses its caption out of 100: its own and 99 of other pictures of other classes
    (of other pictures, where the split has one class), none in the same words, drawn at random by
    (evaluation.seed, caption). Cosine between the picture's vector and the captions', by encoders of a
    matching run that no generator was trained with (evaluation.scorer: another run, another seed; its
    captions are spoken or written as that run was trained, whatever the generator reads). r_precision: share
    of pictures whose own caption comes first, a tie counting as a miss; spread: standard deviation, over N,
    of ten folds of the pictures in a random order. AttnGAN draws mismatches from all captions and takes the
    encoders that trained its generator, which praises it. real: the captions' real pictures, centre crops,
    brought to the drawn ones' size where the pack holds larger ones. Chance: 1/100. Intervals: t over
    classes."""
    scorer, extractor = subject.scorer, subject.extractor("scorer")
    if scorer is None or extractor is None:
        return []
    known = scorer.readable(subject.pack)
    drawn = subject.drawn_captions
    kept = np.isin(drawn, known)
    captions = drawn[kept]
    if len(captions) == 0:
        return []
    others = _mismatches(subject, captions, known)
    if others is None:
        return []
    vectors = scorer.read(subject.pack, known, subject.evaluation.batch_size)
    own = torch.from_numpy(np.searchsorted(known, captions))
    labels, pictures = subject.labels(captions), subject.pack.caption_picture[captions]
    folds = min(FOLDS, len(captions))
    counts = {"pictures": len(captions), "candidates": CANDIDATES, "folds": folds}
    seen = {
        "run": subject.drawn("scorer")[FEATURES][kept],
        "real": subject.real("scorer")[FEATURES][pictures],
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
    asking = np.unique(subject.pack.caption_picture[captions])
    asked, shelved = torch.from_numpy(labels[asking]), torch.from_numpy(subject.labels(captions))
    queries = torch.from_numpy(subject.real(name, pictures=asking)[FEATURES])
    gallery = torch.from_numpy(subject.drawn(name, S2IGAN)[FEATURES])
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
    groups = pack.labels[pack.caption_picture[known]]
    if len(np.unique(pack.labels)) < 2:
        groups = pack.caption_picture[known]
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
    """Average precision of each picture's ranking of all others: (N, F), (N,) -> (N,)."""
    of = torch.from_numpy(classes)
    found = []
    for part, order in retrieval.rankings(features, features):
        own = torch.arange(part.start, part.stop).unsqueeze(1)
        others = order[order != own].view(len(order), -1)
        found.append(retrieval.average_precision(of[others] == of[part].unsqueeze(1)))
    return torch.cat(found).numpy()
