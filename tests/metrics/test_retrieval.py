"""Retrieval scores by hand, and chance in closed form against every order there is."""

from __future__ import annotations

from itertools import permutations
from statistics import mean

import numpy as np
import pytest
import torch

from s2i.metrics.retrieval import (
    average_precision,
    chance_by_class,
    chance_of_median_rank,
    random_average_precision,
    rankings,
    retrieve_by_class,
)
from s2i.metrics.statistics import median


def precision_by_definition(relevant: list[bool]) -> float:
    """Mean, over the relevant items, of the share of relevant ones down to there."""
    return mean(sum(relevant[: rank + 1]) / (rank + 1) for rank, hit in enumerate(relevant) if hit)


def scores_of_order(order: tuple[int, ...], wanted: int) -> dict[str, float]:
    """Retrieval scores where the gallery comes in this order of classes."""
    relevant = [item == wanted for item in order]
    hits = {f"recall@{k}": float(any(relevant[:k])) for k in (1, 5, 10)}
    return hits | {"mAP": precision_by_definition(relevant)}


@pytest.mark.parametrize(
    ("relevant", "expected"),
    [
        ([1, 0, 1, 0, 1], (1 + 2 / 3 + 3 / 5) / 3),
        ([1, 1, 0, 0], 1.0),
        ([0, 0, 1], 1 / 3),
        ([0, 1, 1], (1 / 2 + 2 / 3) / 2),
    ],
)
def test_average_precision_by_hand(relevant, expected):
    precisions = average_precision(torch.tensor([relevant], dtype=torch.bool))
    assert precisions.item() == pytest.approx(expected)
    assert precision_by_definition([bool(hit) for hit in relevant]) == pytest.approx(expected)


def test_without_anything_relevant_there_is_no_average_precision():
    precisions = average_precision(torch.tensor([[False, False], [True, False]]))
    assert precisions[0].isnan() and precisions[1] == 1


def test_rankings_fall_by_cosine_whatever_the_lengths_and_the_chunks():
    random = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(7, 4, generator=random), torch.randn(9, 4, generator=random)
    expected = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2)
    expected = expected.argsort(1, descending=True)
    for chunk in (1, 3, 100):
        lengths = torch.rand(9, 1, generator=random) + 0.1
        ranked_chunks = list(rankings(3 * queries, lengths * gallery, chunk))
        assert torch.equal(torch.cat([order for _, order in ranked_chunks]), expected)
        assert [part.start for part, _ in ranked_chunks] == list(range(0, 7, chunk))


def test_equal_cosines_stay_in_gallery_order():
    gallery = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    [(_, order)] = rankings(torch.tensor([[1.0, 0.0]]), gallery)
    assert order.tolist() == [[1, 2, 4, 0, 3]]


def test_retrieval_by_hand():
    """Angles of the gallery: 0, 10, 20 degrees, ...; a query at 0 sees it in order."""
    angles = torch.arange(12) * torch.pi / 18
    gallery = torch.stack((angles.cos(), angles.sin()), 1)
    gallery_classes = torch.tensor([5, 5, 7, 7, 7, 9, 5, 5, 5, 5, 5, 8])
    queries = torch.tensor([[2.0, 0.0]]).expand(4, 2)
    scores = retrieve_by_class(queries, gallery, torch.tensor([5, 7, 9, 8]), gallery_classes)
    assert scores["recall@1"].tolist() == [1, 0, 0, 0]
    assert scores["recall@5"].tolist() == [1, 1, 0, 0]
    assert scores["recall@10"].tolist() == [1, 1, 1, 0]
    assert scores["mAP"][1].item() == pytest.approx((1 / 3 + 2 / 4 + 3 / 5) / 3)
    assert scores["mAP"][2].item() == pytest.approx(1 / 6)
    assert scores["mAP"][3].item() == pytest.approx(1 / 12)


def test_recall_is_a_hit_or_none_and_never_a_share_of_k():
    """Divided by k it would be a precision: five relevant of the first five count one."""
    gallery = torch.eye(6)
    scores = retrieve_by_class(gallery[:1], gallery, torch.tensor([1]), torch.ones(6, dtype=torch.int64))
    assert all(scores[name].item() == 1 for name in ("recall@1", "recall@5", "recall@10", "mAP"))


@pytest.mark.parametrize("classes", [(0, 1, 1, 2), (0, 0, 0, 1, 2, 2), (0, 1, 1, 1, 1, 1, 1)])
def test_chance_equals_the_mean_over_every_order_of_the_gallery(classes):
    orders = set(permutations(classes))
    chances = chance_by_class(torch.tensor(classes), torch.tensor(classes))
    for name, value in chances.items():
        expected = mean(mean(scores_of_order(order, c)[name] for c in classes) for order in orders)
        assert value == pytest.approx(expected, rel=1e-9), name


def test_chance_of_average_precision_equals_the_mean_over_every_place_of_the_relevant():
    for relevant in (1, 2, 4, 5):
        orders = list(set(permutations([True] * relevant + [False] * (5 - relevant))))
        expected = mean(precision_by_definition(list(order)) for order in orders)
        chance = random_average_precision(torch.tensor([relevant]), 5)
        assert chance.item() == pytest.approx(expected, rel=1e-9)


def test_chance_agrees_with_random_vectors_on_a_larger_gallery():
    random = torch.Generator().manual_seed(0)
    classes = torch.arange(40) % 8
    scores = [
        retrieve_by_class(
            torch.randn(40, 6, generator=random), torch.randn(40, 6, generator=random), classes, classes
        )
        for _ in range(50)
    ]
    for name, value in chance_by_class(classes, classes).items():
        pooled = torch.cat([score[name] for score in scores])
        # Queries of one gallery hang together: many times a lone query's standard error.
        assert pooled.mean().item() == pytest.approx(value, abs=6 * pooled.std().item() / 2000**0.5), name


def test_first_ranks_and_their_median_by_hand():
    """The gallery of test_retrieval_by_hand: first of class 5, 7, 9, 8, 4 at ranks 1, 3, 6, 12, never."""
    angles = torch.arange(12) * torch.pi / 18
    gallery = torch.stack((angles.cos(), angles.sin()), 1)
    gallery_classes = torch.tensor([5, 5, 7, 7, 7, 9, 5, 5, 5, 5, 5, 8])
    queries = torch.tensor([[2.0, 0.0]]).expand(5, 2)
    asked = torch.tensor([5, 7, 9, 8, 4])
    ranks = retrieve_by_class(queries, gallery, asked, gallery_classes, ranks=True)["rank"]
    assert ranks.tolist() == [1, 3, 6, 12, 13]
    assert median(ranks.numpy(), np.arange(5)).value == 6


@pytest.mark.parametrize("classes", [(0, 1, 1, 2), (0, 0, 0, 1, 2, 2), (0, 1, 1, 1, 1, 1, 1)])
def test_chance_of_the_median_rank_equals_the_median_over_every_order(classes):
    orders = set(permutations(classes))
    ranks = sorted(order.index(wanted) + 1 for order in orders for wanted in classes)
    expected = ranks[(len(ranks) - 1) // 2]
    assert chance_of_median_rank(torch.tensor(classes), torch.tensor(classes)) == expected


def test_average_precision_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    random = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(30, 5, generator=random), torch.randn(50, 5, generator=random)
    asked, shelved = torch.arange(30) % 4, torch.arange(50) % 4
    precisions = retrieve_by_class(queries, gallery, asked, shelved)["mAP"]
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2).numpy()
    for row, label in enumerate(asked.tolist()):
        expected = metrics.average_precision_score((shelved == label).numpy(), cosines[row])
        assert precisions[row].item() == pytest.approx(expected, abs=1e-6)
