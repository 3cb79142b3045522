"""Which caption is spoken by whom, and what the clip of it is called."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from data_prep.clips import FORMAT
from s2i.data.manifest import ImageRecord


@dataclass(frozen=True)
class Cast:
    """Voices by language: those of every split, and those that only the test split has."""

    voices: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    rates: tuple[int, int]  # words a minute, least and most
    pitches: tuple[int, int]  # 0 to 100, least and most

    @property
    def default_language(self) -> str:
        """The language of captions that name none: the first."""
        return next(iter(self.voices))


@dataclass(frozen=True)
class Utterance:
    """What is to be spoken, and how."""

    text: str
    language: str
    voice: str
    rate: int  # words a minute
    pitch: int  # 0 to 100; 50 is the voice's own

    def file_name(self, version: str) -> str:
        """A path that only this utterance by this version of the synthesiser has."""
        made_of = [FORMAT, version, self.text, self.voice, self.rate, self.pitch]
        digest = hashlib.blake2b(json.dumps(made_of).encode(), digest_size=10).hexdigest()
        return f"{digest[:2]}/{digest}.flac"


Request = tuple[Path, Utterance, str]  # the clip's file, what is to be spoken, and for which caption


def choose_utterances(image: ImageRecord, cast: Cast, seed: int) -> dict[int, Utterance]:
    """What is to be spoken for an image, by the number of its caption.

    A function of the seed, the image's id and the caption's number. Of a test image's captions every
    second one has a held-out voice, from the first or the second on.
    """
    chosen = {}
    first = Random(f"{seed}/{image.id}").randrange(2)
    for number, caption in enumerate(image.captions):
        language = caption.language or cast.default_language
        if caption.text is None or caption.audio is not None or language not in cast.voices:
            continue
        rng = Random(f"{seed}/{image.id}/{number}")
        is_held_out = image.split == "test" and number % 2 == first and cast.held_out[language]
        voices = cast.held_out[language] if is_held_out else cast.voices[language]
        chosen[number] = Utterance(
            caption.text,
            language,
            rng.choice(voices),
            rng.randint(*cast.rates),
            rng.randint(*cast.pitches),
        )
    return chosen
