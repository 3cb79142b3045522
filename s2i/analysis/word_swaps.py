"""Word swaps: one attribute word of a caption is exchanged; the image should change in that alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from s2i.data.audio import load_waveform
from s2i.data.images import to_tensor, to_uint8
from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.evaluation.captions import caption_key
from s2i.evaluation.classifier import Predictions
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.mentions import known_attributes
from s2i.metrics.statistics import weighted_mean
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress

MOST_SWAPS = 200
BATCH = 32
VOICE, RATE, PITCH = "en-us", 175, 50  # of captions whose speaker isn't a voice of the synthesiser

PROCEDURE = (
    f"Generated captions, {MOST_SWAPS} at most, in which the value of a mentioned attribute is written out,"
    " once, get another value of it in that word's place (a function of the caption); the images of both"
    " sentences are generated from the caption's noise. From speech both are spoken by espeak-ng with the"
    " caption's voice. swap_accuracy: share of swaps after which the classifier names the new value;"
    " swap_accuracy_before: the same before the swap; consistency: share of the other mentioned attributes"
    " whose predicted value stays; unknown_words: swaps to a word that the text run never learnt. Intervals:"
    " t over classes."
)


@dataclass(frozen=True)
class Swap:
    """One word of a caption changed."""

    caption: int  # index in the pack
    attribute: str
    old: str
    new: str
    text: str
    swapped: str


@dataclass
class WordSwaps:
    """`numbers`: for results.json; `examples`: {place in the swaps: images before and after, uint8}."""

    numbers: dict[str, Any] = field(default_factory=dict)
    examples: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


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
        key = int.from_bytes(hashlib.sha256(caption_key(bank.pack, index).encode()).digest()[:8], "big")
        name = fit[key % len(fit)]
        others = [value for value in bank.pack.attributes[name] if value not in words]
        if not others:
            continue
        new = others[key // 1009 % len(others)]
        swapped = re.sub(rf"\b{re.escape(mentioned[name])}\b", new, caption.text.lower(), count=1)
        swaps.append(Swap(index, name, mentioned[name], new, caption.text.lower(), swapped))
    every = max(1, -(-len(swaps) // MOST_SWAPS))
    return swaps[::every]


def measure_word_swaps(bank: FeatureBank, swaps: Sequence[Swap], examples: Sequence[int]) -> WordSwaps:
    """Generate images of each swap's sentences and classify them.

    A text run's images before the swap are those of the captions themselves, which the bank has.

    Args:
        examples: places in `swaps` whose images are wanted.
    """
    if not swaps:
        return WordSwaps()
    texts, swapped = [swap.text for swap in swaps], [swap.swapped for swap in swaps]
    encode = _encoder(bank)
    if bank.path.config.modality == "text":
        before, images_before = _of_captions(bank, swaps, examples)
    else:
        before, images_before = _generate(bank, swaps, texts, encode, examples)
    after, images_after = _generate(bank, swaps, swapped, encode, examples)
    images = {place: (images_before[place], images_after[place]) for place in examples}
    return WordSwaps(_numbers(bank, swaps, before, after), images)


Encode = Callable[[list[str], list[int]], CaptionEncoding]  # sentences, captions whose voices speak them


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
    parts = [range(start, min(start + BATCH, len(swaps))) for start in range(0, len(swaps), BATCH)]
    for part in progress(parts, len(parts), f"{bank.path.config.modality}: word swaps"):
        captions = [swaps[place].caption for place in part]
        keys = [caption_key(bank.pack, caption) for caption in captions]
        encoding = encode([texts[place] for place in part], captions)
        generated = to_uint8(bank.path.generate(encoding, keys, bank.settings.seed).images[-1])
        predictions.append(bank.classifier.look([to_tensor(torch.from_numpy(generated))]))
        images |= {place: generated[row] for row, place in enumerate(part) if place in examples}
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
    if bank.path.vocabulary is not None:
        unread = (bank.path.vocabulary.unread(swap.new, len(swap.new)) for swap in swaps)
        counts["unknown_words"] = sum(bool(words.unknown) for words in unread)
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


def _encoder(bank: FeatureBank) -> Encode:
    """How sentences are encoded: as text, or spoken first."""
    if bank.path.config.modality == "text":
        return lambda texts, _: bank.path.encode_text(texts)

    def speak(texts: list[str], captions: list[int]) -> CaptionEncoding:
        with arranged_voices() as folder:
            espeak = Espeak(folder)
            voices = [voice_of(espeak, bank.pack.caption(index).speaker) for index in captions]
            waves = [
                load_waveform(espeak.speak(text, voice, RATE, PITCH), bank.path.config.audio)
                for text, voice in zip(texts, voices, strict=True)
            ]
        return bank.path.encode_speech(waves)

    return speak


def voice_of(espeak: Espeak, speaker: str | None) -> str:
    """The caption's own voice where the synthesiser has it, else VOICE."""
    voice = (speaker or "").removeprefix("espeak-ng/").replace("/", "+")
    accent, _, variant = voice.partition("+")
    known = accent in espeak.accents and (not variant or variant in espeak.variants)
    return voice if known else VOICE
