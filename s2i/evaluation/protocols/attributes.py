"""Whether a generated image has the attributes that its caption mentions."""

from __future__ import annotations

import numpy as np

from s2i.errors import InputError
from s2i.evaluation.score import GENERATED, Score, mean_score, protocol
from s2i.evaluation.subject import Subject
from s2i.training.classifier import CLASS, labels

REFERENCE = "attributes that the captions mention"


@protocol("classifier", GENERATED, REFERENCE)
def attribute_accuracy(subject: Subject) -> list[Score]:
    """The first `evaluation.captions` captions of each image are generated once; a classifier that was
    trained on
    other images, and that no training loss sees, names the attributes of the last stage's image (8-bit,
    as saved). The share of attributes that the caption mentions which are right, over all mentions; one
    attribute after the other; `colours`: attributes whose values are one list of colours. real: the
    classifier on
    the captions' real images, centre crops of the generated ones' size, under the same mentions. chance: 1 /
    number of values, over the same mentions; majority: always answering each attribute's most frequent value
    among these mentions, which is chance with hindsight and never below it. Intervals: t over classes."""
    return _attribute_accuracy(subject, np.ones(len(subject.generated_captions), dtype=bool))


@protocol("classifier", GENERATED, REFERENCE)
def attribute_accuracy_unseen_speakers(subject: Subject) -> list[Score]:
    """attribute_accuracy for the generated captions alone whose speaker is in no caption of the training
    split."""
    if subject.unseen_speakers is None:
        return []
    return _attribute_accuracy(subject, subject.unseen_speakers[subject.generated_captions])


def _attribute_accuracy(subject: Subject, chosen: np.ndarray) -> list[Score]:
    names = known_attributes(subject)
    if not names or not chosen.any():
        return []
    captions = subject.generated_captions[chosen]
    right, mentioned = answers(subject, captions, names)
    if not mentioned.any():
        return []
    images, clusters = subject.pack.caption_image[captions], subject.labels(captions)
    said = {"run": subject.predictions_of_generated, "real": subject.predictions_of_real}
    rows = {"run": np.flatnonzero(chosen), "real": images}
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
            scores.append(mean_score(metric, means, clusters, counts, weights, of))
        chance = float((told / values[places]).sum() / weights.sum())
        scores.append(Score(metric, chance, counts, of="chance"))
        commonest = [np.bincount(right[mentioned[:, place], place], minlength=1).max() for place in places]
        scores.append(Score(metric, float(sum(commonest) / weights.sum()), counts, of="majority"))
    return scores


def known_attributes(subject: Subject) -> list[str]:
    """Attributes that both the data and the classifier know.

    Raises InputError where they don't name the same values.
    """
    if subject.classifier is None:
        return []
    names = [name for name in subject.pack.attributes if name in subject.classifier.heads and name != CLASS]
    for name in names:
        if subject.classifier.heads[name] != subject.pack.attributes[name]:
            raise InputError(
                f"expected a classifier that knows the values of {name} in {subject.pack.folder}, found"
                f" one of"
                f" other values in {subject.evaluation.classifier}: train it on images of the same attributes"
            )
    return names


def answers(subject: Subject, captions: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The right value's index and whether the caption mentions it: (N, attributes) int64 and bool."""
    schema = {name: subject.pack.attributes[name] for name in names}
    known = labels(subject.pack, schema)
    right = np.stack([known[name] for name in names], 1)[subject.pack.caption_image[captions]]
    told = [[name in subject.pack.caption(index).mentions for name in names] for index in captions]
    return right, np.array(told, dtype=bool) & (right >= 0)
