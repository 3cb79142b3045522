"""What is to be spoken, by whom and how, and what the clip of it is called."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_prep.clips import FORMAT


@dataclass(frozen=True)
class Utterance:
    """A text, spoken by a voice of a family of synthesisers in a certain way."""

    text: str
    language: str
    family: str
    voice: str  # of the family; a variant of it comes after '+'
    values: tuple[float, ...] = ()  # of the family's settings (rate, pitch, ...), in their order

    @property
    def speaker(self) -> str:
        """Family, voice and, where it has one, variant: `espeak-ng/en-us/f1`, `flite/slt`."""
        return f"{self.family}/{self.voice.replace('+', '/')}"

    def file_name(self, version: str) -> str:
        """A path that only this utterance by this version of the synthesiser has."""
        made_of = [FORMAT, version, self.text, self.voice, *self.values]
        digest = hashlib.blake2b(json.dumps(made_of).encode(), digest_size=10).hexdigest()
        return f"{digest[:2]}/{digest}.flac"


class Request(NamedTuple):
    """A clip that is to be there."""

    path: Path
    utterance: Utterance
    caption: str  # which one it is for, in words
