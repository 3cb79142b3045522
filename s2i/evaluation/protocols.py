"""Protocols: how each number is made. A protocol's docstring is its procedure, printed beside its values.

All of them use the averaged weights (EMA), captions of `evaluation.split`, and noise of (`evaluation.seed`,
caption). Intervals are 95 % bootstraps over classes: captions and pictures of one class are no independent
trials. A metric that the data can't give is absent.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2i.config import EvaluationConfig
from s2i.errors import InputError
from s2i.evaluation import distances, retrieval
from s2i.evaluation.judges import CLASS, labels
from s2i.evaluation.statistics import bootstrap_interval, weighted_mean
from s2i.evaluation.subject import Subject
from s2i.pipeline import load
from s2i.training.checkpoint import random_state_kept
from s2i.training.runlog import Run

FEW_PICTURES = 2048  # below, FID is more bias than distance


@dataclass(frozen=True)
class Score:
    """One measured number.

    `of`: "run", or what it is held against: "real" pictures, "chance", the "majority" answer. `values`,
    `clusters`, `weights`: one a caption where the value is their weighted mean; `statistic`: the value from
    multiplicities of clusters, where it isn't.
    """

    metric: str
    value: float
    counts: dict[str, int]
    of: str = "run"
    interval95: tuple[float, float] | None = None
    note: str = ""
    values: np.ndarray | None = field(default=None, repr=False)
    clusters: np.ndarray | None = field(default=None, repr=False)
    weights: np.ndarray | None = field(default=None, repr=False)
    statistic: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)


def retrieval_by_caption(subject: Subject) -> list[Score]:
    """Every caption of the split asks for pictures: all real pictures of the split (centre crops) are
    ranked by the cosine of their global vector with the caption's vector, both by the run's own matching
    model. recall@k: a picture of the caption's class is among the first k; mAP: mean over captions of the
    average precision, relevant = same class. Chance: a random order's expectation, in closed form.
    Intervals: bootstrap over classes."""
    return _retrieval(subject, np.ones(len(subject.captions), dtype=bool))


def retrieval_by_caption_unseen_voices(subject: Subject) -> list[Score]:
    """retrieval_by_caption for the captions alone whose speaker is in no caption of the training split."""
    if subject.unseen_voices is None:
        return []
    return _retrieval(subject, subject.unseen_voices[subject.captions])


def retrieval_by_caption_seen_voices(subject: Subject) -> list[Score]:
    """retrieval_by_caption for the captions alone whose speaker is in the training split too; measured where
    other captions have unseen ones."""
    if subject.unseen_voices is None:
        return []
    return _retrieval(subject, ~subject.unseen_voices[subject.captions])


def attribute_accuracy(subject: Subject) -> list[Score]:
    """The first `evaluation.captions` captions of each picture are drawn once; a judge that was trained on
    other pictures, and that no training loss sees, names the attributes of the last stage's picture (8-bit,
    as saved). The share of attributes that the caption mentions which are right, over all mentions; one
    attribute after the other; `colours`: attributes whose values are one list of colours. real: the judge
    on the captions' real pictures under the same mentions. chance: 1 / number of values, over the same
    mentions; majority: always answering each attribute's most frequent value among these mentions, which is
    chance with hindsight and never below it. Intervals: bootstrap over classes."""
    return _attribute_accuracy(subject, np.ones(len(subject.drawn_captions), dtype=bool))


def attribute_accuracy_unseen_voices(subject: Subject) -> list[Score]:
    """attribute_accuracy for the drawn captions alone whose speaker is in no caption of the training
    split."""
    if subject.unseen_voices is None:
        return []
    return _attribute_accuracy(subject, subject.unseen_voices[subject.drawn_captions])


def class_retrieval_by_drawing(subject: Subject) -> list[Score]:
    """Judge-based. Each drawn picture asks for its class: all real pictures of the split are ranked by the
    cosine of the judge's features (the layer before its heads); mAP: mean average precision, relevant =
    same class. real: each real picture asks the other real ones. Chance: a random order's expectation, in
    closed form. Intervals: bootstrap over classes."""
    if subject.judge is None or len(np.unique(subject.pack.labels)) < 2:
        return []
    asked, shelved = subject.labels(subject.drawn_captions), subject.pack.labels
    gallery = torch.from_numpy(subject.opinion_of_real.features)
    drawn = torch.from_numpy(subject.opinion_of_drawn.features)
    found = retrieval.retrieve_by_class(drawn, gallery, torch.from_numpy(asked), torch.from_numpy(shelved))
    counts = {"queries": len(asked), "gallery": len(shelved), "classes": len(np.unique(asked))}
    scores = [_mean("mAP", found["mAP"].numpy(), asked, counts)]
    chance = retrieval.chance_by_class(torch.from_numpy(asked), torch.from_numpy(shelved))["mAP"]
    scores.append(Score("mAP", chance, counts, of="chance"))
    among_real = _precision_among_others(gallery, shelved)
    alone = np.isnan(among_real)  # the only picture of its class has nothing to find
    if not alone.all():
        counts = {"queries": int((~alone).sum()), "gallery": len(shelved) - 1}
        scores.append(_mean("mAP", among_real[~alone], shelved[~alone], counts, of="real"))
    return scores


def judge_distances(subject: Subject) -> list[Score]:
    """Judge-based: features (the layer before the heads) and answers of the judge, not of Inception, so the
    values compare only with others of the same judge. Drawn pictures (last stage, 8-bit) against all real
    pictures of the split (centre crops, same size; no further resize). fid: Frechet distance, covariances
    over N - 1; no interval, as it is biased upward by few pictures: below 2,048 KID leads. kid: unbiased
    squared MMD over all pairs, kernel (x.y / F + 1)^3. inception_score: exp of the mean KL of the judge's
    answer from its mean answer, over the whole set at once; with several heads their geometric mean; no
    interval, as few classes bias it downward. real: two random halves of the real pictures (fid, kid), all
    of them (inception_score). Intervals: bootstrap over classes."""
    if subject.judge is None or len(subject.drawn_captions) < 2 or len(subject.pack.pictures) < 4:
        return []
    drawn, real = subject.opinion_of_drawn, subject.opinion_of_real
    counts = {"drawn": len(drawn.features), "real": len(real.features)}
    scores = _distances(drawn.features, real.features, counts, "run")
    classes = len(np.unique(subject.pack.labels))
    drawn_labels = subject.labels(subject.drawn_captions)

    kid = distances.resampled_kernel_distance(
        drawn.features, real.features, drawn_labels, subject.pack.labels
    )
    value = float(kid(np.ones((1, classes)))[0])
    scores.append(Score("kid", value, counts, "run", bootstrap_interval(kid, classes), statistic=kid))
    scores.append(_inception_score(drawn.probabilities, drawn_labels, classes, "run"))
    scores.append(_inception_score(real.probabilities, subject.pack.labels, classes, "real"))

    order = np.random.default_rng(0).permutation(len(real.features))
    first, second = real.features[order[::2]], real.features[order[1::2]]
    halves = {"real": len(first), "other_real": len(second)}
    scores += _distances(first, second, halves, "real")
    scores.append(Score("kid", distances.kernel_distance(first, second), halves, of="real"))
    return scores


PROTOCOLS: dict[str, Callable[[Subject], list[Score]]] = {
    protocol.__name__: protocol
    for protocol in (
        retrieval_by_caption,
        retrieval_by_caption_seen_voices,
        retrieval_by_caption_unseen_voices,
        attribute_accuracy,
        attribute_accuracy_unseen_voices,
        class_retrieval_by_drawing,
        judge_distances,
    )
}


def evaluate(
    run: str | Path, protocols: Sequence[str] = (), evaluation: EvaluationConfig | None = None
) -> list[dict[str, Any]]:
    """Measure a run and append the records to its metrics.jsonl.

    Args:
        run: folder of a GAN training.
        protocols: names out of PROTOCOLS; none: all that its data and judge allow.
        evaluation: instead of the run's own settings.

    Returns:
        Records {metric, value, interval95, of, protocol, counts, split, seed, weights, modality, step,
        judge}.

    Raises:
        InputError: an unknown protocol, one that was asked for and can't be measured, an exported model.
    """
    for name in protocols:
        if name not in PROTOCOLS:
            raise InputError(f"expected a protocol out of {', '.join(PROTOCOLS)}, found {name!r}")
    records = []
    with random_state_kept():
        for path in load(run).paths.values():
            subject = Subject(path, evaluation)
            for name, scores in measure(subject, protocols or list(PROTOCOLS)).items():
                if protocols and not scores:
                    raise InputError(
                        f"expected what {name} needs (a judge that knows the attributes, mentions, voices"
                        f" that training lacks), found it missing for {run}: set evaluation.judge, or leave"
                        " the protocol out"
                    )
                records += [record(subject, name, score) for score in scores]
    for line in records:
        Run(Path(run)).metric(line)
    return records


def measure(subject: Subject, protocols: Sequence[str]) -> dict[str, list[Score]]:
    """Scores by protocol; an empty list where the data can't give one."""
    return {name: PROTOCOLS[name](subject) for name in protocols}


def record(subject: Subject, protocol: str, score: Score) -> dict[str, Any]:
    """A score as a line of metrics.jsonl: plain values."""
    found = {
        "step": subject.path.step,
        "metric": score.metric,
        "value": score.value,
        "interval95": list(score.interval95) if score.interval95 else None,
        "of": score.of,
        "protocol": protocol,
        "counts": score.counts,
        "split": subject.evaluation.split,
        "seed": subject.evaluation.seed,
        "weights": "ema",
        "modality": subject.path.config.modality,
        "judge": subject.judge.identity if subject.judge else None,
    }
    return found | ({"note": score.note} if score.note else {})


def procedure(protocol: str) -> str:
    """A protocol's text, as one paragraph."""
    return " ".join((inspect.getdoc(PROTOCOLS[protocol]) or "").split())


def _mean(
    metric: str,
    values: np.ndarray,
    clusters: np.ndarray,
    counts: dict[str, int],
    weights: np.ndarray | None = None,
    of: str = "run",
) -> Score:
    found = weighted_mean(values, clusters, weights)
    return Score(metric, found.value, counts, of, found.interval95, "", values, clusters, weights)


def _retrieval(subject: Subject, chosen: np.ndarray) -> list[Score]:
    if not chosen.any():
        return []
    asked, shelved = subject.labels(subject.captions[chosen]), subject.pack.labels
    asked_tensor, shelved_tensor = torch.from_numpy(asked), torch.from_numpy(shelved)
    queries = subject.sentences[torch.from_numpy(chosen)]
    counts = {"captions": len(asked), "gallery": len(shelved), "classes": len(np.unique(asked))}
    found = retrieval.retrieve_by_class(queries, subject.gallery, asked_tensor, shelved_tensor)
    chance = retrieval.chance_by_class(asked_tensor, shelved_tensor)
    scores = [_mean(name, values.numpy(), asked, counts) for name, values in found.items()]
    return scores + [Score(name, value, counts, of="chance") for name, value in chance.items()]


def _attribute_accuracy(subject: Subject, chosen: np.ndarray) -> list[Score]:
    names = judged_attributes(subject)
    if not names or not chosen.any():
        return []
    captions = subject.drawn_captions[chosen]
    right, mentioned = answers(subject, captions, names)
    if not mentioned.any():
        return []
    pictures, clusters = subject.pack.caption_picture[captions], subject.labels(captions)
    said = {"run": subject.opinion_of_drawn, "real": subject.opinion_of_real}
    rows = {"run": np.flatnonzero(chosen), "real": pictures}
    correct = {of: np.stack([said[of].answers(name)[rows[of]] for name in names], 1) == right for of in said}
    schema = subject.pack.attributes
    groups = {"attribute_accuracy": list(range(len(names)))}
    groups |= {f"attribute_accuracy/{name}": [place] for place, name in enumerate(names)}
    colours = [place for place, name in enumerate(names) if {"red", "green", "blue"} <= set(schema[name])]
    if len(colours) > 1 and len({tuple(schema[names[place]]) for place in colours}) == 1:
        groups["attribute_accuracy/colours"] = colours
    values = np.array([len(schema[name]) for name in names])
    scores = []
    for metric, places in groups.items():
        told = mentioned[:, places]
        weights = told.sum(1)
        if not weights.any():
            continue
        counts = {"captions": int((weights > 0).sum()), "mentions": int(weights.sum())}
        for of, hits in correct.items():
            means = (hits[:, places] & told).sum(1) / weights.clip(min=1)
            scores.append(_mean(metric, means, clusters, counts, weights, of))
        chance = float((told / values[places]).sum() / weights.sum())
        scores.append(Score(metric, chance, counts, of="chance"))
        commonest = [np.bincount(right[mentioned[:, place], place], minlength=1).max() for place in places]
        scores.append(Score(metric, float(sum(commonest) / weights.sum()), counts, of="majority"))
    return scores


def judged_attributes(subject: Subject) -> list[str]:
    """Attributes that both the data and the judge know.

    Raises InputError where they don't name the same values.
    """
    if subject.judge is None:
        return []
    names = [name for name in subject.pack.attributes if name in subject.judge.heads and name != CLASS]
    for name in names:
        if subject.judge.heads[name] != subject.pack.attributes[name]:
            raise InputError(
                f"expected a judge that knows the values of {name} in {subject.pack.folder}, found one of"
                f" other values in {subject.evaluation.judge}: train it on pictures of the same attributes"
            )
    return names


def answers(subject: Subject, captions: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The right value's index and whether the caption mentions it: (N, attributes) int64 and bool."""
    schema = {name: subject.pack.attributes[name] for name in names}
    known = labels(subject.pack, schema)
    right = np.stack([known[name] for name in names], 1)[subject.pack.caption_picture[captions]]
    told = [[name in subject.pack.caption(index).mentions for name in names] for index in captions]
    return right, np.array(told, dtype=bool) & (right >= 0)


def _precision_among_others(features: torch.Tensor, classes: np.ndarray) -> np.ndarray:
    """Average precision of each picture's ranking of all others: (N, F), (N,) -> (N,)."""
    of = torch.from_numpy(classes)
    found = []
    for part, order in retrieval.rankings(features, features):
        own = torch.arange(part.start, part.stop).unsqueeze(1)
        others = order[order != own].view(len(order), -1)
        found.append(retrieval.average_precision(of[others] == of[part].unsqueeze(1)))
    return torch.cat(found).numpy()


def _distances(first: np.ndarray, second: np.ndarray, counts: dict[str, int], of: str) -> list[Score]:
    note = ""
    if min(counts.values()) < FEW_PICTURES:
        note = f"FID of {min(counts.values())} pictures, under {FEW_PICTURES}: biased upward, read KID"
    return [Score("fid", distances.frechet_distance(first, second), counts, of, note=note)]


def _inception_score(
    probabilities: dict[str, np.ndarray], clusters: np.ndarray, classes: int, of: str
) -> Score:
    def statistic(multiplicities: np.ndarray) -> np.ndarray:
        rows = multiplicities[:, clusters]
        logs = [np.log(distances.inception_score(head, rows)) for head in probabilities.values()]
        return np.exp(np.mean(logs, axis=0))

    value = float(statistic(np.ones((1, classes)))[0])
    # No interval: a resample has fewer classes, so its score is lower, and the interval would miss the value.
    return Score("inception_score", value, {"pictures": len(clusters)}, of, statistic=statistic)
