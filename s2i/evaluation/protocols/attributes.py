"""Whether a generated image has the attributes that its caption mentions."""

from __future__ import annotations

import numpy as np

from s2i.evaluation.captions import GENERATED
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.mentions import known_attributes, mentioned_values
from s2i.evaluation.protocols.protocol import protocol
from s2i.evaluation.score import Score, mean_score

REFERENCE = "attributes that the captions mention"


@protocol("classifier", GENERATED, REFERENCE)
def attribute_accuracy(bank: FeatureBank) -> list[Score]:
    """The first `evaluation.captions` captions of each image are generated once; a classifier that was
    trained on other images, and that no training loss sees, names the attributes of the last stage's image
    (8-bit, as saved). The share of attributes that the caption mentions which are right, over all mentions;
    one attribute after the other; `colours`: attributes whose values are one list of colours. real: the
    classifier on the captions' real images, centre crops of the generated ones' size, under the same
    mentions. chance: 1 / number of values, over the same mentions; majority: always answering each
    attribute's most frequent value among these mentions, which is chance with hindsight and never below it.
    Intervals: t over classes."""
    return _attribute_accuracy(bank, np.ones(len(bank.captions.generated), dtype=bool))


@protocol("classifier", GENERATED, REFERENCE)
def attribute_accuracy_unseen_speakers(bank: FeatureBank) -> list[Score]:
    """attribute_accuracy for the generated captions alone whose speaker is in no caption of the training
    split."""
    if bank.captions.unseen_speakers is None:
        return []
    return _attribute_accuracy(bank, bank.captions.unseen_speakers[bank.captions.generated])


def _attribute_accuracy(bank: FeatureBank, chosen: np.ndarray) -> list[Score]:
    names = known_attributes(bank)
    if not names or not chosen.any():
        return []
    captions = bank.captions.generated[chosen]
    true, mentioned = mentioned_values(bank, captions, names)
    if not mentioned.any():
        return []
    images, clusters = bank.pack.caption_image[captions], bank.captions.labels(captions)
    predictions = {"run": bank.predictions_of_generated, "real": bank.predictions_of_real}
    rows = {"run": np.flatnonzero(chosen), "real": images}
    correct = {
        of: np.stack([predictions[of].answers(name)[rows[of]] for name in names], 1) == true
        for of in predictions
    }
    schema = bank.pack.attributes
    groups = {"attribute_accuracy": list(range(len(names)))}
    groups |= {f"attribute_accuracy/{name}": [place] for place, name in enumerate(names)}
    colours = [place for place, name in enumerate(names) if {"red", "green", "blue"} <= set(schema[name])]
    if len(colours) > 1 and len({tuple(schema[names[place]]) for place in colours}) == 1:
        groups["attribute_accuracy/colours"] = colours
    values = np.array([len(schema[name]) for name in names])
    scores = []
    for metric, places in groups.items():
        mentions = mentioned[:, places]
        weights = mentions.sum(1)
        if not weights.any():
            continue
        counts = {"captions": int((weights > 0).sum()), "mentions": int(weights.sum())}
        for of, hits in correct.items():
            means = (hits[:, places] & mentions).sum(1) / weights.clip(min=1)
            scores.append(mean_score(metric, means, clusters, counts, weights, of))
        chance = float((mentions / values[places]).sum() / weights.sum())
        scores.append(Score(metric, chance, counts, of="chance"))
        commonest = [np.bincount(true[mentioned[:, place], place], minlength=1).max() for place in places]
        scores.append(Score(metric, float(sum(commonest) / weights.sum()), counts, of="majority"))
    return scores
