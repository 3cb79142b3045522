"""How far the generated images, as a set, are from the real ones: FID, KID, IS, precision, recall."""

from __future__ import annotations

import numpy as np
import torch

from s2i.evaluation.captions import GENERATED
from s2i.evaluation.extractors import FEATURES, LOGITS
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.inception_weights import library
from s2i.evaluation.protocols.protocol import REAL, protocol
from s2i.evaluation.score import Score, few_images, mean_score
from s2i.metrics import distances
from s2i.metrics.statistics import cluster_interval
from s2i.runs.checkpoint import random_state_kept

NEIGHBOURS = 3  # of precision and recall
SPLITS = 10  # of the inception score
SUBSETS, SUBSET_SIZE = 100, 1000  # of KID
SHUFFLE = 2020  # torch-fidelity's seed


@protocol("classifier", GENERATED, REAL)
def classifier_distances(bank: FeatureBank) -> list[Score]:
    """Classifier-based: features (the layer before the heads) and answers of the classifier, not of
    Inception, so the values compare only with others of the same classifier. Generated images (last stage,
    8-bit) against all real images of the split (centre crops, brought to the generated ones' size by an
    antialiased bicubic filter where the pack holds larger ones; a classifier of another size resizes both
    alike). fid: Frechet distance, covariances over N - 1; no interval, as it is biased upward by few images:
    below 2,048 KID leads. kid: unbiased squared MMD over all pairs, kernel (x.y / F + 1)^3. inception_score:
    exp of the mean KL of the classifier's answer from its mean answer, over the whole set at once; with
    several heads their geometric mean; no interval, as few classes bias it downward. precision, recall: share
    of generated images within the balls that reach from each real image to its third nearest other one, and
    the reverse. real: two random halves of the real images (fid, kid, precision, recall), all of them
    (inception_score). Intervals: t over classes, of precision and recall with the balls left as they are."""
    if bank.extractor("classifier") is None or len(bank.captions.generated) < 2 or len(bank.pack.records) < 4:
        return []
    generated, real = bank.predictions_of_generated, bank.predictions_of_real
    labels, generated_labels = bank.pack.labels, bank.captions.labels(bank.captions.generated)
    classes = len(np.unique(labels))
    leading, coverage, of_real = _between(bank, generated.features, real.features)
    return [
        *leading,
        _inception_score(generated.probabilities, generated_labels, classes, "run"),
        *coverage,
        _inception_score(real.probabilities, labels, classes, "real"),
        *of_real,
    ]


@protocol("efficientnet_lite0", GENERATED, REAL)
def efficientnet_lite0_distances(bank: FeatureBank) -> list[Score]:
    """On features of EfficientNet-lite0 (ImageNet, pooled, 1280 numbers), which needs no download; the values
    compare only with others of the same network, not with those of Inception. A model that it trained is
    refused. Generated images (last stage, 8-bit) against all real images of the split (centre crops, brought
    to the generated ones' size by an antialiased bicubic filter where the pack holds larger ones); both are
    brought to 224 px by an antialiased bicubic filter. fid: Frechet distance, covariances over N - 1; no
    interval, as it is biased upward by few images: below 2,048 KID leads. kid: unbiased squared MMD over all
    pairs, kernel (x.y / 1280 + 1)^3. precision, recall: share of generated images within the balls that reach
    from each real image to its third nearest other one, and the reverse. real: two random halves of the real
    images. Intervals: t over classes, of precision and recall with the balls left as they are."""
    return _imagenet_distances(bank, "efficientnet_lite0")


@protocol("mobilenet_v2", GENERATED, REAL)
def mobilenet_v2_distances(bank: FeatureBank) -> list[Score]:
    """efficientnet_lite0_distances (real images: centre crops of the generated ones' size), on MobileNet-v2's
    pooled features (1280 numbers) in place of EfficientNet-lite0's: for models that the latter trained."""
    return _imagenet_distances(bank, "mobilenet_v2")


@protocol("inception", GENERATED, REAL)
def inception_distances(bank: FeatureBank) -> list[Score]:
    """Through torch-fidelity, on features of its inception-v3-compat, which gives TensorFlow's numbers.
    Generated images (last stage, 8-bit, never through a lossy file) against all real images of the split
    (centre crops, brought to the generated ones' size by an antialiased bicubic filter where the pack holds
    larger ones); both are resized inside the network, as TensorFlow 1 did (bilinear, not antialiased, 299
    px). fid: 2048 features, covariances over N - 1; below 2,048 images it is biased upward and KID leads.
    kid: mean over 100 subsets of 1,000 (of all, where there are fewer) of the unbiased squared MMD, kernel
    (x.y / 2048 + 1)^3. inception_score: logits without bias, mean over 10 splits after a shuffle, no image
    dropped.
    precision, recall: k = 3 on the same 2048 features (Kynkaanniemi et al. use VGG-16's, so theirs are other
    numbers). Seed of shuffle and subsets: 2020. real: two random halves of the real images; inception_score
    of all of them. spread: standard deviation over splits or subsets, over N."""
    if bank.extractor("inception") is None:
        return []
    library("inception")
    generated, real = bank.generated("inception"), bank.real("inception")
    counts = {"generated": len(generated[FEATURES]), "real": len(real[FEATURES])}
    order = np.random.default_rng(0).permutation(counts["real"])
    halves = real[FEATURES][order[::2]], real[FEATURES][order[1::2]]
    sizes = {"real": len(halves[0]), "other_real": len(halves[1])}
    return [
        *_by_torch_fidelity(generated[FEATURES], real[FEATURES], counts, "run"),
        *_score_by_torch_fidelity(generated[LOGITS], "run"),
        *_by_torch_fidelity(*halves, sizes, "real"),
        *_score_by_torch_fidelity(real[LOGITS], "real"),
    ]


@protocol("clean", GENERATED, REAL)
def clean_distances(bank: FeatureBank) -> list[Score]:
    """Resize, features and KID through clean-fid, mode "clean" (Parmar et al. 2022): generated images (last
    stage, 8-bit) against all real images of the split (centre crops, brought to the generated ones' size by
    an antialiased bicubic filter where the pack holds larger ones); both are resized by PIL's antialiased
    bicubic filter to 299 px without rounding. fid: of these 2048 features, covariances over N - 1; below
    2,048 images it is biased upward and KID leads. kid: mean over 100 subsets of up to 1,000 of the
    unbiased squared MMD, kernel (x.y / 2048 + 1)^3, numpy's generator seeded with 2020. real: two random
    halves of the real images."""
    if bank.extractor("clean") is None:
        return []
    library("clean")
    generated, real = bank.generated("clean")[FEATURES], bank.real("clean")[FEATURES]
    order = np.random.default_rng(0).permutation(len(real))
    halves = real[order[::2]], real[order[1::2]]
    sizes = {"real": len(halves[0]), "other_real": len(halves[1])}
    return [
        *_by_clean_fid(generated, real, {"generated": len(generated), "real": len(real)}, "run"),
        *_by_clean_fid(*halves, sizes, "real"),
    ]


def _imagenet_distances(bank: FeatureBank, name: str) -> list[Score]:
    if bank.extractor(name) is None or len(bank.captions.generated) < 2 or len(bank.pack.records) < 4:
        return []
    groups = _between(bank, bank.generated(name)[FEATURES], bank.real(name)[FEATURES])
    return [score for group in groups for score in group]


def _between(
    bank: FeatureBank, generated: np.ndarray, real: np.ndarray
) -> tuple[list[Score], list[Score], list[Score]]:
    """From features of the generated and all real images: FID and KID; precision and recall; all four of two
    random halves of the real ones."""
    labels, generated_labels = bank.pack.labels, bank.captions.labels(bank.captions.generated)
    counts, classes = {"generated": len(generated), "real": len(real)}, len(np.unique(labels))
    kid = distances.resampled_kernel_distance(generated, real, generated_labels, labels)
    value, interval = float(kid(np.ones((1, classes)))[0]), cluster_interval(kid, classes)
    order = np.random.default_rng(0).permutation(len(real))
    first, second = order[::2], order[1::2]
    one, other = real[first], real[second]
    halves = {"real": len(one), "other_real": len(other)}
    frechet = _frechet(generated, real, counts, "run")
    return (
        _leading(frechet, Score("kid", value, counts, "run", interval, statistic=kid)),
        _coverage(generated, real, generated_labels, labels, counts, "run"),
        [
            _frechet(one, other, halves, "real"),
            Score("kid", distances.kernel_distance(one, other), halves, of="real"),
            *_coverage(one, other, labels[first], labels[second], halves, "real"),
        ],
    )


def _by_torch_fidelity(first: np.ndarray, second: np.ndarray, counts: dict[str, int], of: str) -> list[Score]:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    if min(counts.values()) <= NEIGHBOURS:
        return []
    one, other = torch.from_numpy(first), torch.from_numpy(second)
    statistics = [fid_features_to_statistics(features.double()) for features in (one, other)]
    frechet = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    size = min(SUBSET_SIZE, *counts.values())
    subsets = {"kid_subsets": SUBSETS, "kid_subset_size": size, "rng_seed": SHUFFLE}
    kernel = kid_features_to_metric(one.double(), other.double(), **subsets, verbose=False)
    manifolds = prc_features_to_metric(
        one, other, prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False
    )
    mean, spread = (kernel[f"kernel_inception_distance_{moment}"] for moment in ("mean", "std"))
    return [
        *_leading(
            Score("fid", frechet, counts, of, note=few_images(counts)),
            Score("kid", mean, counts | {"subset": size}, of, spread=spread),
        ),
        Score("precision", manifolds["precision"], counts, of),
        Score("recall", manifolds["recall"], counts, of),
    ]


def _score_by_torch_fidelity(logits: np.ndarray, of: str) -> list[Score]:
    from torch_fidelity.metric_isc import isc_features_to_metric

    if len(logits) < SPLITS:
        return []
    moments = isc_features_to_metric(torch.from_numpy(logits), SPLITS, True, SHUFFLE)
    counts = {"images": len(logits), "splits": SPLITS}
    mean, spread = (moments[f"inception_score_{moment}"] for moment in ("mean", "std"))
    return [Score("inception_score", mean, counts, of, spread=spread)]


def _by_clean_fid(first: np.ndarray, second: np.ndarray, counts: dict[str, int], of: str) -> list[Score]:
    from cleanfid.fid import kernel_distance

    if min(counts.values()) < 2:
        return []
    first, second = first.astype(np.float64), second.astype(np.float64)
    with random_state_kept():
        np.random.seed(SHUFFLE)  # it draws its subsets from the global generator
        kid = kernel_distance(first, second, SUBSETS, SUBSET_SIZE)
    size = min(SUBSET_SIZE, *counts.values())
    # clean-fid's own FID is the same formula, with an argument to SciPy's square root that 1.18 drops.
    return _leading(_frechet(first, second, counts, of), Score("kid", kid, counts | {"subset": size}, of))


def _leading(frechet: Score, kernel: Score) -> list[Score]:
    """FID first; but KID where there are too few images for it."""
    return [kernel, frechet] if frechet.note else [frechet, kernel]


def _frechet(first: np.ndarray, second: np.ndarray, counts: dict[str, int], of: str) -> Score:
    return Score("fid", distances.frechet_distance(first, second), counts, of, note=few_images(counts))


def _coverage(
    generated: np.ndarray,
    real: np.ndarray,
    generated_labels: np.ndarray,
    labels: np.ndarray,
    counts: dict[str, int],
    of: str,
) -> list[Score]:
    if min(counts.values()) <= NEIGHBOURS:
        return []
    precise, recalled = distances.precision_and_recall(generated, real, NEIGHBOURS)
    return [
        mean_score("precision", precise, generated_labels, counts, of=of),
        mean_score("recall", recalled, labels, counts, of=of),
    ]


def _inception_score(
    probabilities: dict[str, np.ndarray], clusters: np.ndarray, classes: int, of: str
) -> Score:
    def statistic(multiplicities: np.ndarray) -> np.ndarray:
        rows = multiplicities[:, clusters]
        logs = [np.log(distances.inception_score(head, rows)) for head in probabilities.values()]
        return np.exp(np.mean(logs, axis=0))

    value = float(statistic(np.ones((1, classes)))[0])
    # No interval: that of the score of so few classes would not be one of many classes' higher score.
    return Score("inception_score", value, {"images": len(clusters)}, of, statistic=statistic)
