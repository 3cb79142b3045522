"""Does the image follow the caption: one word changed, and one caption turned into another step by step."""

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
from s2i.evaluation.records import known_attributes
from s2i.evaluation.subject import Subject, caption_key
from s2i.inference.interpolate import between
from s2i.metrics.statistics import weighted_mean
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress

MOST_SWAPS = 200
STEPS = 7  # images from one caption to the other
BATCH = 32
VOICE, RATE, PITCH = "en-us", 175, 50  # of captions whose speaker isn't a voice of the synthesiser

PROCEDURES = {
    "following": (
        f"Generated captions, {MOST_SWAPS} at most, in which the value of a mentioned attribute is"
        f" written out,"
        " once, get another value of it in that word's place (a function of the caption); both sentences are"
        " generated from the caption's noise. From speech both are spoken by espeak-ng with the caption's"
        " voice."
        " followed: share in which the classifier now answers the new value; before: the same share"
        " before the"
        " swap; stayed: share of the other mentioned attributes whose answer is what it was; unknown: swaps"
        " to a word that the text run never learnt. Intervals: t over classes."
    ),
    "interpolation": (
        f"{STEPS} images, equal steps apart, from one caption's encoding to another's, on one noise, as s2i"
        " generate --interpolate goes: sentence vectors on a straight line, at the length that lies between"
        " theirs; sequences brought to a common number of steps, which moves from the one's to the other's,"
        " and then mixed. The first and the last image are those of the captions themselves."
    ),
}


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
class Followed:
    """`numbers`: for results.json; `examples`: {place in the swaps: images before and after, uint8}."""

    numbers: dict[str, Any] = field(default_factory=dict)
    examples: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def find_swaps(subject: Subject) -> list[Swap]:
    """One swap a generated caption, where it has a word to swap: the same for every path over the same
    captions.

    A word is swapped that is the value of exactly one attribute that the caption mentions, and in it once.
    """
    names = set(known_attributes(subject))
    found = []
    for index in subject.generated_captions.tolist():
        image = subject.pack.records[int(subject.pack.caption_image[index])]
        caption = subject.pack.caption(index)
        words = re.findall(r"[\w-]+", (caption.text or "").lower())
        told = {name: image.attributes[name] for name in caption.mentions if name in image.attributes}
        values = list(told.values())
        fit = [
            name
            for name, value in told.items()
            if name in names and words.count(value) == 1 and values.count(value) == 1
        ]
        if not fit:
            continue
        key = int.from_bytes(hashlib.sha256(caption_key(subject.pack, index).encode()).digest()[:8], "big")
        name = fit[key % len(fit)]
        others = [value for value in subject.pack.attributes[name] if value not in words]
        if not others:
            continue
        new = others[key // 1009 % len(others)]
        swapped = re.sub(rf"\b{re.escape(told[name])}\b", new, caption.text.lower(), count=1)
        found.append(Swap(index, name, told[name], new, caption.text.lower(), swapped))
    every = max(1, -(-len(found) // MOST_SWAPS))
    return found[::every]


def measure_following(subject: Subject, swaps: Sequence[Swap], shown: Sequence[int]) -> Followed:
    """Generate each swap's two sentences and ask the classifier; keep the images of the swaps at places
    `shown`."""
    if not swaps:
        return Followed()
    encode = _encoder(subject, swaps)
    before, after, examples = [], [], {}
    parts = [range(start, min(start + BATCH, len(swaps))) for start in range(0, len(swaps), BATCH)]
    modality = subject.path.config.modality
    for part in progress(parts, len(parts), f"{modality}: swapping words"):
        keys = [caption_key(subject.pack, swaps[place].caption) for place in part]
        generated = []
        for texts, kept in (
            ([swaps[place].text for place in part], before),
            ([swaps[place].swapped for place in part], after),
        ):
            encoding = encode(texts, [swaps[place].caption for place in part])
            images = to_uint8(subject.path.generate(encoding, keys, subject.evaluation.seed).images[-1])
            kept.append(subject.classifier.look([to_tensor(torch.from_numpy(images))]).probabilities)
            generated.append(images)
        examples |= {
            place: (generated[0][place - part.start], generated[1][place - part.start])
            for place in part
            if place in shown
        }
    said = [
        {name: np.concatenate([p[name] for p in kept]).argmax(1) for name in kept[0]}
        for kept in (before, after)
    ]
    return Followed(_following(subject, swaps, *said), examples)


def _following(
    subject: Subject, swaps: Sequence[Swap], before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> dict[str, Any]:
    schema, names = subject.pack.attributes, known_attributes(subject)
    clusters = subject.labels(np.array([swap.caption for swap in swaps]))
    new = np.array([schema[swap.attribute].index(swap.new) for swap in swaps])
    answer = {
        told: np.array([said[swap.attribute][row] for row, swap in enumerate(swaps)])
        for told, said in (("before", before), ("followed", after))
    }
    stayed, others = np.zeros(len(swaps)), np.zeros(len(swaps))
    for row, swap in enumerate(swaps):
        mentioned = subject.pack.caption(swap.caption).mentions
        kept = [
            before[name][row] == after[name][row]
            for name in names
            if name in mentioned and name != swap.attribute
        ]
        stayed[row], others[row] = np.mean(kept) if kept else 0.0, len(kept)
    counts = {"swaps": len(swaps), "others": int(others.sum())}
    if subject.path.vocabulary is not None:
        unread = (subject.path.vocabulary.unread(swap.new, len(swap.new)) for swap in swaps)
        counts["unknown"] = sum(bool(words.unknown) for words in unread)
    numbers: dict[str, Any] = {"counts": counts}
    for told, values, weights in (
        ("followed", answer["followed"] == new, None),
        ("before", answer["before"] == new, None),
        ("stayed", stayed, others),
    ):
        if weights is None or weights.any():
            found = weighted_mean(values, clusters, weights)
            numbers[told] = {"value": found.value, "interval95": list(found.interval95 or ())}
    attributes = np.array([swap.attribute for swap in swaps])
    numbers["by_attribute"] = {
        name: {
            "followed": float((answer["followed"] == new)[attributes == name].mean()),
            "before": float((answer["before"] == new)[attributes == name].mean()),
            "swaps": int((attributes == name).sum()),
        }
        for name in sorted(set(attributes.tolist()))
    }
    return numbers


def generate_interpolation(subject: Subject, first: int, second: int) -> np.ndarray:
    """Images from caption `first` to caption `second` of the pack: uint8 (STEPS, S, S, 3)."""
    encodings = {}
    for batch, _ in subject.batches(np.unique([first, second]), "interpolating"):
        encoded = subject.path.encode(batch)
        for row, caption in enumerate(batch.captions.tolist()):
            length = int(encoded.mask[row].sum())
            own = encoded[row : row + 1]
            encodings[caption] = CaptionEncoding(
                own.sentence, own.sequence[..., :length], own.mask[:, :length]
            )
    key = caption_key(subject.pack, first)
    images = []
    for step in range(STEPS):
        encoding = between(encodings[first], encodings[second], step / (STEPS - 1))
        generated = subject.path.generate(encoding, [key], subject.evaluation.seed).images[-1]
        images.append(to_uint8(generated)[0])
    return np.stack(images)


def _encoder(subject: Subject, swaps: Sequence[Swap]) -> Callable[[list[str], list[int]], CaptionEncoding]:
    """Sentences and the captions whose voices speak them -> encodings."""
    if subject.path.config.modality == "text":
        return lambda texts, _: subject.path.encode_text(texts)

    def speak(texts: list[str], captions: list[int]) -> CaptionEncoding:
        with arranged_voices() as folder:
            espeak = Espeak(folder)
            voices = [voice_of(espeak, subject.pack.caption(index).speaker) for index in captions]
            waves = [
                load_waveform(espeak.speak(text, voice, RATE, PITCH), subject.path.config.audio)
                for text, voice in zip(texts, voices, strict=True)
            ]
        return subject.path.encode_speech(waves)

    return speak


def voice_of(espeak: Espeak, speaker: str | None) -> str:
    """The caption's own voice where the synthesiser has it, else VOICE."""
    accent, _, variant = (speaker or "").partition("+")
    known = accent in espeak.accents and (not variant or variant in espeak.variants)
    return speaker if speaker and known else VOICE
