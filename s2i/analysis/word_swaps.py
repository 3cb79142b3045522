"""Word swaps: one attribute word of a caption is exchanged; the image should change in that alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from s2i.analysis.swaps import (
    MOST_SWAPS,
    Encode,
    MeasuredSwaps,
    Swap,
    encoder_of,
    evenly_chosen,
    generate_sentences,
    number_of,
    unknown_words,
)
from s2i.data.images import to_tensor, to_uint8
from s2i.evaluation.classifier import Predictions
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.mentions import known_attributes
from s2i.metrics.statistics import weighted_mean

PROCEDURE = (
    f"Generated captions, {MOST_SWAPS} at most, in which the value of a mentioned attribute is written out,"
    " once, get another value of it in that word's place (a function of the caption); the images of both"
    " sentences are generated from the caption's noise. From speech both are spoken by espeak-ng with the"
    " caption's voice. swap_accuracy: share of swaps after which the classifier names the new value;"
    " swap_accuracy_before: the same before the swap; consistency: share of the other mentioned attributes"
    " whose predicted value stays; unknown_words: swaps to a word that the text run never learnt. Intervals:"
    " t over classes."
)


def find_swaps(bank: FeatureBank) -> list[Swap]:
    """One swap a generated caption, where it has a word to swap: the same for every path over the same
    captions.

    A word is swapped that is the value of exactly one attribute that the caption mentions, and in it once.
    """
    names = set(known_attributes(bank))
    swaps = []
    for index in bank.captions.generated.tolist():
        image = bank.pack.records[int(bank.pack.caption_image[index])]
        caption = bank.pack.caption(index)
        words = re.findall(r"[\w-]+", (caption.text or "").lower())
        mentioned = {name: image.attributes[name] for name in caption.mentions if name in image.attributes}
        values = list(mentioned.values())
        fit = [
            name
            for name, value in mentioned.items()
            if name in names and words.count(value) == 1 and values.count(value) == 1
        ]
        if not fit:
            continue
        key = number_of(bank, index)
        name = fit[key % len(fit)]
        others = [value for value in bank.pack.attributes[name] if value not in words]
        if not others:
            continue
        new = others[key // 1009 % len(others)]
        swapped = re.sub(rf"\b{re.escape(mentioned[name])}\b", new, caption.text.lower(), count=1)
        swaps.append(Swap(index, name, mentioned[name], new, caption.text.lower(), swapped))
    return evenly_chosen(swaps)


def measure_word_swaps(bank: FeatureBank, swaps: Sequence[Swap], examples: Sequence[int]) -> MeasuredSwaps:
    """Generate images of each swap's sentences and classify them.

    A text run's images before the swap are those of the captions themselves, which the bank has.

    Args:
        examples: places in `swaps` whose images are wanted.
    """
    if not swaps:
        return MeasuredSwaps()
    texts, swapped = [swap.text for swap in swaps], [swap.swapped for swap in swaps]
    encode = encoder_of(bank)
    if bank.path.config.modality == "text":
        before, images_before = _of_captions(bank, swaps, examples)
    else:
        before, images_before = _generate(bank, swaps, texts, encode, examples)
    after, images_after = _generate(bank, swaps, swapped, encode, examples)
    images = {place: (images_before[place], images_after[place]) for place in examples}
    return MeasuredSwaps(_numbers(bank, swaps, before, after), images)


def measure_encoded_swaps(
    bank: FeatureBank, swaps: Sequence[Swap], before: Encode, after: Encode
) -> dict[str, Any]:
    """The numbers of swaps whose two sentences are encoded by two functions."""
    answers, _ = _generate(bank, swaps, [swap.text for swap in swaps], before, ())
    swapped, _ = _generate(bank, swaps, [swap.swapped for swap in swaps], after, ())
    return _numbers(bank, swaps, answers, swapped)


Answers = dict[str, np.ndarray]  # {attribute: predicted value's index a swap}


def _of_captions(
    bank: FeatureBank, swaps: Sequence[Swap], examples: Sequence[int]
) -> tuple[Answers, dict[int, np.ndarray]]:
    """Predictions for the images of the captions themselves, and the images of the examples."""
    captions = np.array([swap.caption for swap in swaps])
    rows = np.searchsorted(bank.captions.generated, captions)
    predictions = bank.predictions_of_generated
    answers = {name: predictions.answers(name)[rows] for name in known_attributes(bank)}
    outputs = bank.outputs(captions[list(examples)])
    images = {place: to_uint8(outputs[swaps[place].caption].images[-1]) for place in examples}
    return answers, images


def _generate(
    bank: FeatureBank, swaps: Sequence[Swap], texts: list[str], encode: Encode, examples: Sequence[int]
) -> tuple[Answers, dict[int, np.ndarray]]:
    """Predictions for the images of sentences, from the noise of the swaps' captions."""
    predictions: list[Predictions] = []
    images: dict[int, np.ndarray] = {}
    for places, generated in generate_sentences(bank, swaps, texts, encode, "word swaps"):
        measured = torch.from_numpy(bank.captions.as_measured(generated))
        predictions.append(bank.classifier.look([to_tensor(measured)]))
        images |= {place: generated[row] for row, place in enumerate(places) if place in examples}
    names = known_attributes(bank)
    answers = {name: np.concatenate([each.answers(name) for each in predictions]) for name in names}
    return answers, images


def _numbers(bank: FeatureBank, swaps: Sequence[Swap], before: Answers, after: Answers) -> dict[str, Any]:
    schema, names = bank.pack.attributes, known_attributes(bank)
    clusters = bank.captions.labels(np.array([swap.caption for swap in swaps]))
    new = np.array([schema[swap.attribute].index(swap.new) for swap in swaps])
    is_new = {
        metric: np.array([answers[swap.attribute][row] for row, swap in enumerate(swaps)]) == new
        for metric, answers in (("swap_accuracy", after), ("swap_accuracy_before", before))
    }
    consistency, others = np.zeros(len(swaps)), np.zeros(len(swaps))
    for row, swap in enumerate(swaps):
        mentioned = bank.pack.caption(swap.caption).mentions
        kept = [
            before[name][row] == after[name][row]
            for name in names
            if name in mentioned and name != swap.attribute
        ]
        consistency[row], others[row] = np.mean(kept) if kept else 0.0, len(kept)
    counts = {"swaps": len(swaps), "other_attributes": int(others.sum())}
    counts |= unknown_words(bank, swaps)
    numbers: dict[str, Any] = {"counts": counts}
    for metric, values, weights in (
        ("swap_accuracy", is_new["swap_accuracy"], None),
        ("swap_accuracy_before", is_new["swap_accuracy_before"], None),
        ("consistency", consistency, others),
    ):
        if weights is None or weights.any():
            mean = weighted_mean(values, clusters, weights)
            numbers[metric] = {"value": mean.value, "interval95": list(mean.interval95 or ())}
    attributes = np.array([swap.attribute for swap in swaps])
    numbers["by_attribute"] = {
        name: {metric: float(values[attributes == name].mean()) for metric, values in is_new.items()}
        | {"swaps": int((attributes == name).sum())}
        for name in sorted(set(attributes.tolist()))
    }
    return numbers
