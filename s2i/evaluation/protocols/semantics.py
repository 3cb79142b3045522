"""Whether a generated image means what its caption says: retrieval with generated images, and R-precision."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from s2i.evaluation.captions import GENERATED, S2IGAN, CaptionSet, caption_key
from s2i.evaluation.extractors import FEATURES
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.protocols.protocol import REAL, protocol
from s2i.evaluation.score import Score, mean_score
from s2i.metrics import retrieval

CANDIDATES = 100  # captions that an image chooses from
FOLDS = 10


@protocol("classifier", GENERATED, REAL)
def class_retrieval_by_generated(bank: FeatureBank) -> list[Score]:
    """Classifier-based. Each generated image is a query: all real images of the split (centre crops, brought
    to the generated ones' size where the pack holds larger ones) are ranked by the cosine of the classifier's
    features (the layer before its heads); mAP: mean average precision, relevant = same class. real: each real
    image is a query among the other real ones. Chance: a random order's expectation, in closed form.
    Intervals: t over classes."""
    return _class_retrieval(bank, "classifier")


@protocol("efficientnet_lite0", GENERATED, REAL)
def class_retrieval_by_efficientnet_lite0(bank: FeatureBank) -> list[Score]:
    """class_retrieval_by_generated (real images: centre crops of the generated ones' size), with the pooled
    features of EfficientNet-lite0 (ImageNet, 1280 numbers) in place of the classifier's; all images are
    brought to 224 px by an antialiased bicubic filter. A model that it trained is refused."""
    return _class_retrieval(bank, "efficientnet_lite0")


@protocol("mobilenet_v2", GENERATED, REAL)
def class_retrieval_by_mobilenet_v2(bank: FeatureBank) -> list[Score]:
    """class_retrieval_by_efficientnet_lite0 (real images: centre crops of the generated ones' size), with
    MobileNet-v2's pooled features (1280 numbers): for models that EfficientNet-lite0 trained."""
    return _class_retrieval(bank, "mobilenet_v2")


@protocol("imagenet", S2IGAN, "generated images of ten captions of each of two real images a class")
def s2igan_mean_average_precision(bank: FeatureBank) -> list[Score]:
    """S2IGAN's semantic measure. Queries: the first two real images of each class of the split that have a
    caption which the run can read (100 of CUB's 50 test classes), centre crops, brought to the generated
    ones' size where the pack holds larger ones. Gallery: their first ten such captions each, generated once
    (1,000); no other image is generated. The noise is shared by an image's captions as in the published
    script, that of conditioning augmentation not. Features: torchvision's ImageNet Inception-v3, pooled, 2048
    numbers, images resized to 299 px by an antialiased bilinear filter; in [-1, 1], as these weights expect,
    where the published script feeds [0, 1]. Ranking by cosine; mAP: mean over queries of the average
    precision, relevant = same class, a share (the paper's per cent / 100). Chance: a random order's
    expectation, in closed form. Intervals: t over classes."""
    return _s2igan(bank, "imagenet")


@protocol("classifier", S2IGAN, "generated images of ten captions of each of two real images a class")
def s2igan_mean_average_precision_by_classifier(bank: FeatureBank) -> list[Score]:
    """s2igan_mean_average_precision with the classifier's features (the layer before its heads) instead of
    Inception's, for small images and machines without its weights; the values compare only with others of
    the same classifier."""
    return _s2igan(bank, "classifier")


@protocol("r_precision_encoder", GENERATED, "captions of the split, other classes' as mismatches")
def r_precision(bank: FeatureBank) -> list[Score]:
    """Each generated image chooses its caption out of 100: its own and 99 of other images of other classes
    (of other images, where the split has one class), none in the same words, drawn at random by
    (evaluation.seed, caption). Cosine between the image's vector and the captions', by encoders of a matching
    run that no generator was trained with (evaluation.r_precision_encoder: another run, another seed; its
    captions are spoken or written as that run was trained, whatever the generator reads). r_precision: share
    of images whose own caption comes first, a tie counting as a miss; spread: standard deviation, over N, of
    ten folds of the images in a random order. AttnGAN draws mismatches from all captions and takes the
    encoders that trained its generator, which praises it. real: the captions' real images, centre crops,
    brought to the generated ones' size where the pack holds larger ones. Chance: 1/100. Intervals: t over
    classes."""
    encoder = bank.networks.r_precision_encoder
    if encoder is None or bank.extractor("r_precision_encoder") is None:
        return []
    readable = encoder.readable(bank.pack)
    kept = np.isin(bank.captions.generated, readable)
    captions = bank.captions.generated[kept]
    if len(captions) == 0:
        return []
    mismatches = _mismatches(bank.captions, captions, readable)
    if mismatches is None:
        return []
    embeddings = encoder.encode(bank.pack, readable, bank.settings.batch_size)
    matches = torch.from_numpy(np.searchsorted(readable, captions))
    labels, images = bank.captions.labels(captions), bank.pack.caption_image[captions]
    folds = min(FOLDS, len(captions))
    counts = {"images": len(captions), "candidates": CANDIDATES, "folds": folds}
    features = {
        "run": bank.generated("r_precision_encoder")[FEATURES][kept],
        "real": bank.real("r_precision_encoder")[FEATURES][images],
    }
    scores = []
    for of, rows in features.items():
        hits = retrieval.r_precision(
            torch.from_numpy(rows), embeddings, matches, torch.from_numpy(mismatches)
        )
        score = mean_score("r_precision", hits.numpy(), labels, counts, of=of)
        scores.append(_with_spread(score, folds, bank.settings.seed))
    return [*scores, Score("r_precision", 1 / CANDIDATES, counts, of="chance")]


def _class_retrieval(bank: FeatureBank, name: str) -> list[Score]:
    if bank.extractor(name) is None or len(np.unique(bank.pack.labels)) < 2:
        return []
    labels, gallery_labels = bank.captions.labels(bank.captions.generated), bank.pack.labels
    gallery = torch.from_numpy(np.array(bank.real(name)[FEATURES]))
    queries = torch.from_numpy(np.array(bank.generated(name)[FEATURES]))
    classes = torch.from_numpy(labels), torch.from_numpy(gallery_labels)
    precision = retrieval.retrieve_by_class(queries, gallery, *classes)["mAP"].numpy()
    counts = {"queries": len(labels), "gallery": len(gallery_labels), "classes": len(np.unique(labels))}
    scores = [mean_score("mAP", precision, labels, counts)]
    scores.append(Score("mAP", retrieval.chance_by_class(*classes)["mAP"], counts, of="chance"))
    among_real = _precision_among_others(gallery, gallery_labels)
    alone = np.isnan(among_real)  # the only image of its class has nothing to find
    if not alone.all():
        counts = {"queries": int((~alone).sum()), "gallery": len(gallery_labels) - 1}
        scores.append(mean_score("mAP", among_real[~alone], gallery_labels[~alone], counts, of="real"))
    return scores


def _s2igan(bank: FeatureBank, name: str) -> list[Score]:
    labels = bank.pack.labels
    if bank.extractor(name) is None or len(np.unique(labels)) < 2:
        return []
    captions = bank.captions.s2igan
    images = np.unique(bank.pack.caption_image[captions])
    classes = torch.from_numpy(labels[images]), torch.from_numpy(bank.captions.labels(captions))
    queries = torch.from_numpy(bank.real(name, images=images)[FEATURES])
    gallery = torch.from_numpy(bank.generated(name, S2IGAN)[FEATURES])
    precision = retrieval.retrieve_by_class(queries, gallery, *classes)["mAP"].numpy()
    counts = {"queries": len(images), "gallery": len(captions), "classes": len(np.unique(labels[images]))}
    return [
        mean_score("mAP", precision, labels[images], counts),
        Score("mAP", retrieval.chance_by_class(*classes)["mAP"], counts, of="chance"),
    ]


def _mismatches(captions: CaptionSet, generated: np.ndarray, readable: np.ndarray) -> np.ndarray | None:
    """For each of the `generated` captions, places in `readable` of 99 captions that aren't its own: (N, 99);
    None where the split has too few."""
    pack, seed = captions.pack, captions.settings.seed
    groups = pack.labels[pack.caption_image[readable]]
    if len(np.unique(pack.labels)) < 2:
        groups = pack.caption_image[readable]
    words = np.array([" ".join((pack.caption(index).text or "").lower().split()) for index in readable])
    mismatches = np.empty((len(generated), CANDIDATES - 1), dtype=np.int64)
    for row, place in enumerate(np.searchsorted(readable, generated)):
        key = f"{seed}:mismatches:{caption_key(pack, int(generated[row]))}"
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))
        fit = np.flatnonzero((groups != groups[place]) & ((words != words[place]) | (words == "")))
        if len(fit) < CANDIDATES - 1:
            return None
        mismatches[row] = random.choice(fit, CANDIDATES - 1, replace=False)
    return mismatches


def _with_spread(score: Score, folds: int, seed: int) -> Score:
    order = np.random.default_rng(seed).permutation(len(score.values))
    means = [score.values[fold].mean() for fold in np.array_split(order, folds)]
    return replace(score, spread=float(np.std(means)))


def _precision_among_others(features: Tensor, classes: np.ndarray) -> np.ndarray:
    """Average precision of each image's ranking of all others: (N, F), (N,) -> (N,)."""
    labels = torch.from_numpy(classes)
    precision = []
    for rows, order in retrieval.rankings(features, features):
        queries = torch.arange(rows.start, rows.stop).unsqueeze(1)
        others = order[order != queries].view(len(order), -1)
        precision.append(retrieval.average_precision(labels[others] == labels[rows].unsqueeze(1)))
    return torch.cat(precision).numpy()
