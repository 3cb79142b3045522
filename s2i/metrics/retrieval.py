"""Retrieval: images by caption, captions by image. Pure functions of unit vectors and class ids."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

RANKS = (1, 5, 10)


def rankings(queries: Tensor, gallery: Tensor, chunk: int = 1024) -> Iterator[tuple[slice, Tensor]]:
    """Gallery indices by falling cosine, a chunk of queries at a time: (Q, D), (G, D) -> (chunk, G).

    Ties fall in gallery order, so that a ranking is the same on every machine.
    """
    unit = F.normalize(gallery.float(), dim=1).t()
    for start in range(0, len(queries), chunk):
        rows = slice(start, min(start + chunk, len(queries)))
        cosines = F.normalize(queries[rows].float(), dim=1) @ unit
        yield rows, cosines.argsort(dim=1, descending=True, stable=True)


def average_precision(relevant: Tensor) -> Tensor:
    """Average precision of ranked lists: (Q, G) bool, best first -> (Q,); NaN where nothing is relevant."""
    hits = relevant.cumsum(1)
    ranks = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    return (hits / ranks * relevant).sum(1) / relevant.sum(1)


def retrieve_by_class(
    queries: Tensor, gallery: Tensor, query_classes: Tensor, gallery_classes: Tensor, ranks: bool = False
) -> dict[str, Tensor]:
    """One score a query: `recall@k` (an item of the query's class among the first k) and `mAP`.

    Args:
        queries: (Q, D); gallery: (G, D), of any length.
        query_classes: (Q,); gallery_classes: (G,). With numbers of items instead of classes: the own items.
        ranks: give `rank` too, that of the first item of the query's class, from 1; G + 1 where there is
            none.

    Returns:
        each name -> (Q,) float32.
    """
    values: dict[str, list[Tensor]] = {f"recall@{k}": [] for k in RANKS} | {"mAP": []}
    values |= {"rank": []} if ranks else {}
    for rows, order in rankings(queries, gallery):
        relevant = gallery_classes[order] == query_classes[rows].unsqueeze(1)
        for k in RANKS:
            values[f"recall@{k}"].append(relevant[:, :k].any(1).float())
        values["mAP"].append(average_precision(relevant).float())
        if ranks:
            first = relevant.float().argmax(1) + 1  # the first of equals
            values["rank"].append(torch.where(relevant.any(1), first, relevant.shape[1] + 1).float())
    return {name: torch.cat(chunks) for name, chunks in values.items()}


def r_precision(images: Tensor, captions: Tensor, matches: Tensor, others: Tensor) -> Tensor:
    """Whether each image is nearer to its own caption than to every other candidate (AttnGAN, section 4).

    A tie is a miss: an R-precision encoder that gives all captions one vector knows nothing.

    Args:
        images: (N, D); captions: (M, D), of any length.
        matches: (N,) index of each image's caption; others: (N, K) indices of its mismatching candidates.

    Returns:
        (N,) float32 of 0 and 1.
    """
    unit = F.normalize(captions.float(), dim=1)
    hits = []
    for start in range(0, len(images), 256):  # 256 x 100 candidates at a time
        rows = slice(start, start + 256)
        generated = F.normalize(images[rows].float(), dim=1)
        right = (generated * unit[matches[rows]]).sum(1)
        wrong = torch.einsum("nd,nkd->nk", generated, unit[others[rows]])
        hits.append((right > wrong.max(1).values + 1e-6).float())
    return torch.cat(hits)


def chance_by_class(query_classes: Tensor, gallery_classes: Tensor) -> dict[str, float]:
    """What a random order scores on average, in closed form."""
    total = len(gallery_classes)
    counts = (gallery_classes.unsqueeze(0) == query_classes.unsqueeze(1)).sum(1)
    chances = {}
    for k in RANKS:
        miss = torch.ones(len(counts), dtype=torch.float64)
        for i in range(min(k, total)):
            miss *= (total - counts - i).clamp(min=0).double() / (total - i)
        chances[f"recall@{k}"] = float((1 - miss).mean())
    chances["mAP"] = float(random_average_precision(counts, total).mean())
    return chances


def chance_of_median_rank(query_classes: Tensor, gallery_classes: Tensor) -> float:
    """The median rank of the first relevant item in random orders, over all queries together: the least r
    with P(rank <= r) >= 1/2, where P(rank > r) = prod_i<r (N - n - i) / (N - i) with n of N relevant."""
    total = len(gallery_classes)
    counts = (gallery_classes.unsqueeze(0) == query_classes.unsqueeze(1)).sum(1)
    relevant, times = torch.unique(counts, return_counts=True)
    steps = torch.arange(total, dtype=torch.float64)
    left = ((total - relevant.unsqueeze(1) - steps).clamp(min=0) / (total - steps)).cumprod(1)
    beyond = (left * times.unsqueeze(1)).sum(0) / times.sum()
    reached = beyond <= 0.5 + 1e-12
    return float(reached.float().argmax() + 1) if reached.any() else total + 1.0


def random_average_precision(relevant: Tensor, total: int) -> Tensor:
    """Expected average precision of a random order with so many relevant items: (Q,) -> (Q,) float64.

    With R of N relevant: E = (1/N) sum_i [ (R-1)/(N-1) (i-1)/i + 1/i ] = ((R-1)(N-H) / (N-1) + H) / N,
    H the N-th harmonic number.
    """
    harmonic = (1 / torch.arange(1, total + 1, dtype=torch.float64)).sum()
    return ((relevant.double() - 1) * (total - harmonic) / max(total - 1, 1) + harmonic) / total
