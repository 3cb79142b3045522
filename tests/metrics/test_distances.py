"""Distances against closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from s2i.metrics.distances import (
    frechet_distance,
    gaussian_distance,
    inception_score,
    kernel_distance,
    precision_and_recall,
    resampled_kernel_distance,
)


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(40, 5)), random.normal(0.3, 1.5, size=(30, 5))


def kernel_by_loop(first: np.ndarray, second: np.ndarray) -> float:
    def kernel(x, y) -> float:
        return (x @ y / len(x) + 1) ** 3

    n, m = len(first), len(second)
    within = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within + other - 2 * sum(kernel(x, y) for x in first for y in second) / (n * m)


def test_gaussians_of_diagonal_covariance_by_hand():
    distance = gaussian_distance(np.zeros(2), np.diag([1.0, 4.0]), np.array([3.0, 0.0]), np.diag([4.0, 9.0]))
    assert distance == pytest.approx(9 + (1 - 2) ** 2 + (2 - 3) ** 2)


def test_frechet_distance_is_the_one_with_scipys_square_root(sets):
    first, second = sets
    covariances = [np.cov(part, rowvar=False) for part in sets]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-6)


def test_a_set_is_no_distance_from_itself_even_with_fewer_images_than_features():
    few = np.random.default_rng(0).normal(size=(6, 20))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)


def test_few_images_bias_frechet_upward_and_the_kernel_distance_not():
    random = np.random.default_rng(0)
    few = [(random.normal(size=(20, 8)), random.normal(size=(20, 8))) for _ in range(40)]
    many = frechet_distance(random.normal(size=(4000, 8)), random.normal(size=(4000, 8)))
    assert np.mean([frechet_distance(*pair) for pair in few]) > 20 * many
    kernel = [kernel_distance(*pair) for pair in few]
    assert abs(np.mean(kernel)) < 2 * np.std(kernel) / np.sqrt(len(kernel)) + 0.01


def test_kernel_distance_is_the_mean_over_pairs(sets):
    assert kernel_distance(*sets) == pytest.approx(kernel_by_loop(*sets))


def test_resampled_clusters_are_not_paired_with_their_own_copies(sets):
    first, second = sets[0][:5], sets[1][:4]
    distance = resampled_kernel_distance(first, second, np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 1]))
    assert distance(np.array([[1.0, 1.0]]))[0] == pytest.approx(kernel_by_loop(first, second))
    expected = kernel_by_loop(first[2:], second[2:])
    # Two copies of cluster 1 hold what one copy holds: no pair of twins, no pair across the copies.
    assert distance(np.array([[0.0, 1.0], [0.0, 2.0]])) == pytest.approx([expected, expected])


def test_the_interval_of_tight_classes_lies_about_the_kernel_distance():
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 8)
    real = (3 * random.normal(size=(20, 6)))[clusters] + 0.1 * random.normal(size=(160, 6))
    generated = 1 + random.normal(size=(160, 6))  # of every class alike
    distance = resampled_kernel_distance(generated, real, clusters, clusters)
    resamples = distance(random.multinomial(20, np.full(20, 1 / 20), size=1000).astype(float))
    off = np.median(resamples) - kernel_distance(generated, real)
    assert abs(off) < 0.3 * np.std(resamples)


def test_one_image_has_no_covariance():
    with pytest.raises(ValueError, match="two images or more"):
        frechet_distance(np.ones((1, 3)), np.ones((4, 3)))


def test_inception_score_spans_one_to_the_number_of_values():
    assert inception_score(np.eye(4))[0] == pytest.approx(4)
    assert inception_score(np.full((5, 4), 0.25))[0] == pytest.approx(1)
    assert inception_score(np.tile([1.0, 0, 0], (6, 1)))[0] == pytest.approx(1)  # sure, and always the same


def test_inception_score_by_hand_and_in_any_order():
    answers = np.array([[0.8, 0.2], [0.4, 0.6]])
    mean = answers.mean(0)
    divergences = (answers * np.log(answers / mean)).sum(1)
    assert inception_score(answers)[0] == pytest.approx(np.exp(divergences.mean()))
    assert inception_score(answers[::-1])[0] == pytest.approx(inception_score(answers)[0])
    twice = inception_score(answers, np.array([[2.0, 2.0]]))[0]
    assert twice == pytest.approx(inception_score(answers)[0])


def test_precision_and_recall_by_hand():
    """Real ones at 0, 1, 2 and 10 on a line: with one neighbour their balls reach 1, 1, 1 and 8."""
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    generated = np.array(
        [[-0.5], [2.9], [17.0], [19.0]]
    )  # balls of the generated ones reach 3.4, 3.4, 2 and 2
    precise, recalled = precision_and_recall(generated, real, neighbours=1)
    assert precise.tolist() == [True, True, True, False]
    assert recalled.tolist() == [True, True, True, False]


def test_precision_and_recall_are_the_mean_over_pairs(sets):
    generated, real = sets

    def within(points: np.ndarray, others: np.ndarray) -> list[bool]:
        radii = [sorted(np.linalg.norm(others - other, axis=1))[3] for other in others]
        return [
            any(np.linalg.norm(point - other) <= radius for other, radius in zip(others, radii, strict=True))
            for point in points
        ]

    precise, recalled = precision_and_recall(generated, real)
    assert precise.tolist() == within(generated, real) and recalled.tolist() == within(real, generated)
    assert 0 < precise.mean() and recalled.mean() < 1


def test_each_metric_is_torch_fidelitys():
    fidelity = pytest.importorskip("torch_fidelity")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    random = torch.Generator().manual_seed(0)
    generated = torch.randn(150, 12, generator=random, dtype=torch.float64)
    real = 0.8 * torch.randn(120, 12, generator=random, dtype=torch.float64) + 0.2
    statistics = [fid_features_to_statistics(part) for part in (generated, real)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)[fidelity.KEY_METRIC_FID]
    assert frechet_distance(generated.numpy(), real.numpy()) == pytest.approx(expected, rel=1e-8)
    # One subset of all images is the whole unbiased estimate.
    options = {"kid_subsets": 1, "kid_subset_size": 120, "verbose": False}
    expected = kid_features_to_metric(generated[:120], real, **options)[fidelity.KEY_METRIC_KID_MEAN]
    assert kernel_distance(generated[:120].numpy(), real.numpy()) == pytest.approx(expected, rel=1e-8)
    expected = prc_features_to_metric(generated, real, verbose=False)
    precise, recalled = precision_and_recall(generated.numpy(), real.numpy())
    assert precise.mean() == pytest.approx(expected[fidelity.KEY_METRIC_PRECISION])
    assert recalled.mean() == pytest.approx(expected[fidelity.KEY_METRIC_RECALL])
    expected = isc_features_to_metric(generated, splits=1)[fidelity.KEY_METRIC_ISC_MEAN]
    assert inception_score(generated.softmax(1).numpy())[0] == pytest.approx(expected, rel=1e-8)
