"""Distances between two sets of images, from any network's features or probabilities, in float64.

Whose features they are is the caller's to name: a distance on a classifier's features is no Inception FID.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_ROWS_A_BLOCK = 1024  # of a kernel matrix


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of two Gaussians fitted to features (FID; Heusel et al. 2017, eq. 6): (N, F), (M, F).

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1^1/2 C2 C1^1/2)^1/2), covariances divided by N - 1. With few
    samples it is too large, so only values of equal counts compare.
    """
    mean1, covariance1 = _gaussian(first)
    mean2, covariance2 = _gaussian(second)
    return gaussian_distance(mean1, covariance1, mean2, covariance2)


def gaussian_distance(
    mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray
) -> float:
    """The same from means (F,) and covariances (F, F)."""
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # Symmetric, so its eigenvalues are real: no matrix square root with an imaginary part to drop.
    inner = np.linalg.eigvalsh(root @ covariance2 @ root).clip(min=0)
    spread = np.trace(covariance1) + np.trace(covariance2) - 2 * np.sqrt(inner).sum()
    return float(max(0.0, np.sum((mean1 - mean2) ** 2) + spread))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (x.y / F + 1)^3 (KID; Binkowski et al. 2018).

    Over all pairs at once, instead of a mean over random subsets: (N, F), (M, F). Negative values are
    possible and mean that no distance was found.
    """
    one, other = np.zeros(len(first), dtype=np.int64), np.zeros(len(second), dtype=np.int64)
    return float(resampled_kernel_distance(first, second, one, other)(np.ones((1, 1)))[0])


def resampled_kernel_distance(
    first: np.ndarray, second: np.ndarray, first_clusters: np.ndarray, second_clusters: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The kernel distance of resamples of clusters.

    Two copies of a cluster in a resample are not paired with each other: they are the same images, and such
    pairs would make every resample look more clustered than the data.

    Args:
        first: (N, F); second: (M, F).
        first_clusters, second_clusters: (N,), (M,) int, 0 to C - 1.

    Returns:
        A function of multiplicities (R, C), how often each cluster was sampled, to (R,).
    """
    sets = {
        0: (np.asarray(first, np.float64), first_clusters),
        1: (np.asarray(second, np.float64), second_clusters),
    }
    total = 1 + int(max(np.max(first_clusters), np.max(second_clusters)))
    sums = {(i, j): _kernel_sums(*sets[i], *sets[j], total, i == j) for i, j in ((0, 0), (1, 1), (0, 1))}

    def distance(multiplicities: np.ndarray) -> np.ndarray:
        means = {
            pair: _over_copies(kernel, multiplicities) / _over_copies(count, multiplicities)
            for pair, (kernel, count) in sums.items()
        }
        return means[0, 0] + means[1, 1] - 2 * means[0, 1]

    return distance


def inception_score(probabilities: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """exp of the mean KL divergence of p(y|x) from p(y) (Salimans et al. 2016), over the whole set at once.

    Args:
        probabilities: (N, K), rows sum to 1.
        counts: (R, N) how often a resample holds each row; None: once.

    Returns:
        (R,), from 1 to K.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    counts = np.ones((1, len(probabilities))) if counts is None else counts
    shares = counts / counts.sum(1, keepdims=True)
    return np.exp(_entropy(shares @ probabilities) - shares @ _entropy(probabilities))


def precision_and_recall(
    generated: np.ndarray, real: np.ndarray, neighbours: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eq. 1 and 2): (N, F), (M, F).

    The manifold of a set is the union of balls, one about each image, that reach to its k-th nearest other
    image of the set.

    Returns:
        For each generated image whether it lies in the manifold of the real ones, (N,) bool; precision is the
        mean. For each real one whether it lies in that of the generated ones, (M,) bool; recall is the mean.
    """
    generated, real = (
        torch.from_numpy(np.array(generated, np.float64)),
        torch.from_numpy(np.array(real, np.float64)),
    )
    return _within(generated, real, neighbours), _within(real, generated, neighbours)


def _within(points: Tensor, others: Tensor, neighbours: int) -> np.ndarray:
    """Which points lie in the manifold of the others."""
    # Itself is the nearest, so one more.
    nearest = [
        _apart(block, others).topk(neighbours + 1, largest=False).values[:, -1]
        for block in others.split(_ROWS_A_BLOCK)
    ]
    radii = torch.cat(nearest)
    return np.concatenate(
        [(_apart(block, others) <= radii).any(1).numpy() for block in points.split(_ROWS_A_BLOCK)]
    )


def _apart(first: Tensor, second: Tensor) -> Tensor:
    return torch.cdist(first, second, compute_mode="use_mm_for_euclid_dist")  # in float64: many times as fast


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, dtype=np.float64)
    if len(features) < 2:
        raise ValueError(f"expected two images or more, found {len(features)}")
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def _kernel_sums(
    first: np.ndarray,
    first_clusters: np.ndarray,
    second: np.ndarray,
    second_clusters: np.ndarray,
    total: int,
    is_same: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the kernel over the pairs of two clusters, and numbers of pairs: both (C, C). Where both sets
    are the same, a row is not paired with itself."""
    columns = np.eye(total)[second_clusters]
    sums = np.zeros((total, total))
    for start in range(0, len(first), _ROWS_A_BLOCK):
        rows = slice(start, start + _ROWS_A_BLOCK)
        others = slice(start if is_same else 0, None)  # of the same set, each pair once
        base = first[rows] @ second[others].T / first.shape[1] + 1
        kernel = base * base * base  # a power of numpy's is many times as slow
        if is_same:
            kernel[:, : len(kernel)] = np.triu(kernel[:, : len(kernel)], 1)
        np.add.at(sums, first_clusters[rows], kernel @ columns[others])
    sizes = np.bincount(first_clusters, minlength=total)
    pairs = np.outer(sizes, columns.sum(0))
    return (sums + sums.T, pairs - np.diag(sizes)) if is_same else (sums, pairs)


def _over_copies(sums: np.ndarray, multiplicities: np.ndarray) -> np.ndarray:
    """Total over pairs of sampled clusters, each copy paired with itself and with copies of others:
    (R,)."""
    diagonal = np.diag(sums)
    between = np.einsum("rc,rc->r", multiplicities @ (sums - np.diag(diagonal)), multiplicities)
    return between + multiplicities @ diagonal


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy in nats over the last axis; 0 ln 0 is 0."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return -(probabilities * logs).sum(-1)
