"""Distances between two sets of pictures, from any network's features or probabilities, in float64.

Whose features they are is the caller's to name: a distance on a judge's features is no Inception FID.
"""

from __future__ import annotations

import numpy as np

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


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    first_counts: np.ndarray | None = None,
    second_counts: np.ndarray | None = None,
) -> np.ndarray:
    """Unbiased squared maximum mean discrepancy, kernel (x.y / F + 1)^3 (KID; Binkowski et al. 2018).

    Over all pairs at once, instead of a mean over random subsets.

    Args:
        first: (N, F); second: (M, F).
        first_counts, second_counts: (R, N), (R, M) how often a resample holds each row; None: once. Pairs of
            a row with itself never count.

    Returns:
        (R,), one value a resample; negative values are possible and mean "no distance found".
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    ones = np.ones((1, 1))
    first_counts = np.broadcast_to(
        ones if first_counts is None else first_counts, _shape(first_counts, first)
    )
    second_counts = np.broadcast_to(
        ones if second_counts is None else second_counts, _shape(second_counts, second)
    )
    within_first = _mean_kernel(first, first, first_counts, first_counts, apart=True)
    within_second = _mean_kernel(second, second, second_counts, second_counts, apart=True)
    between = _mean_kernel(first, second, first_counts, second_counts, apart=False)
    return within_first + within_second - 2 * between


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


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, dtype=np.float64)
    if len(features) < 2:
        raise ValueError(f"expected two pictures or more, found {len(features)}")
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def _shape(counts: np.ndarray | None, rows: np.ndarray) -> tuple[int, int]:
    return (1 if counts is None else len(counts), len(rows))


def _mean_kernel(
    first: np.ndarray, second: np.ndarray, first_counts: np.ndarray, second_counts: np.ndarray, apart: bool
) -> np.ndarray:
    """Mean of the kernel over pairs of a resample, without a row's pairs with itself where `apart`: (R,)."""
    total = 0.0
    for start in range(0, len(first), _ROWS_A_BLOCK):
        rows = slice(start, start + _ROWS_A_BLOCK)
        kernel = (first[rows] @ second.T / first.shape[1] + 1) ** 3
        if apart:
            kernel[np.arange(len(kernel)), np.arange(start, start + len(kernel))] = 0
        total = total + np.einsum("rn,rn->r", first_counts[:, rows] @ kernel, second_counts)
    pairs = first_counts.sum(1) * second_counts.sum(1)
    if apart:
        pairs = pairs - (first_counts * second_counts).sum(1)
    return total / pairs


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy in nats over the last axis; 0 ln 0 is 0."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return -(probabilities * logs).sum(-1)
