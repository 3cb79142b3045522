"""Swaps of a word in a caption, and the images of both sentences from the caption's noise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from s2i.data.audio import load_waveform
from s2i.data.images import to_uint8
from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress

MOST_SWAPS = 200
BATCH = 32
VOICE, RATE, PITCH = "en-us", 175, 50  # of captions whose speaker isn't a voice of the synthesiser


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
class MeasuredSwaps:
    """`numbers`: for results.json; `examples`: {place in the swaps: images before and after, uint8}."""

    numbers: dict[str, Any] = field(default_factory=dict)
    examples: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


Encode = Callable[[list[str], list[int]], CaptionEncoding]  # sentences, captions whose voices speak them


def number_of(bank: FeatureBank, caption: int) -> int:
    """A large number, a function of the caption, that chooses its swap."""
    return int.from_bytes(hashlib.sha256(caption_key(bank.pack, caption).encode()).digest()[:8], "big")


def evenly_chosen(swaps: Sequence[Swap]) -> list[Swap]:
    """MOST_SWAPS of them at most."""
    return list(swaps[:: max(1, -(-len(swaps) // MOST_SWAPS))])


def keeps_noise(bank: FeatureBank) -> bool:
    """Whether images of different sentences have one noise: not where each is the best of several
    candidates, which have noise of their own."""
    return bank.path.candidates == 1


def unknown_words(bank: FeatureBank, swaps: Sequence[Swap]) -> dict[str, int]:
    """Of a path with a vocabulary: the swaps to a word that it never learnt."""
    if bank.path.vocabulary is None:
        return {}
    unread = (bank.path.vocabulary.unread(swap.new, len(swap.new)) for swap in swaps)
    return {"unknown_words": sum(bool(words.unknown) for words in unread)}


def generate_sentences(
    bank: FeatureBank, swaps: Sequence[Swap], texts: Sequence[str], encode: Encode, kind: str
) -> Iterator[tuple[range, np.ndarray]]:
    """Images of a sentence a swap, from the noise of the swap's caption: places in `swaps`, and their images
    (B, H, W, 3) uint8. `kind`: of swaps, for the line of progress."""
    batches = [range(start, min(start + BATCH, len(swaps))) for start in range(0, len(swaps), BATCH)]
    for places in progress(batches, len(batches), f"{bank.path.config.modality}: {kind}"):
        captions = [swaps[place].caption for place in places]
        keys = [caption_key(bank.pack, caption) for caption in captions]
        encoding = encode([texts[place] for place in places], captions)
        yield places, to_uint8(bank.path.generate(encoding, keys, bank.settings.seed).images[-1])


def encoder_of(bank: FeatureBank) -> Encode:
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
