"""Sentences with the times of their words, by synthesisers that tell them: espeak-ng, flite, festival."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from data_prep.utterances import Utterance
from data_prep.voices.espeak import EspeakFamily
from data_prep.voices.family import Family
from data_prep.voices.festival import PITCHES, FestivalFamily
from data_prep.voices.flite import REPLAYED, FliteFamily
from data_prep.voices.programs import replayed, run_program

PAUSE = "pau"  # among flite's phones
# Festival writes a file beside each sound.
SAVE_WORDS = """
(define (s2i_also utterance file)
  (let ((out (fopen (string-append file ".words") "w")))
    (mapcar
      (lambda (word) (format out "%f\\n" (item.feat word "word_start")))
      (utt.relation.items utterance 'Word))
    (fclose out)))
"""


class TimedSound(NamedTuple):
    """A spoken sentence: float (N,) in [-1, 1], Hz, and when its words begin, rising, in s of the sound."""

    waveform: np.ndarray
    sample_rate: int
    begins: list[float]


def timed_sounds(family: Family, utterances: Sequence[Utterance]) -> list[TimedSound]:
    """What a family of `TELLERS` says, with the silence around it, and when its words begin.

    Words that a hyphen joins are two. What can't be spoken, and sentences whose phones flite doesn't tell
    word by word, are left out.
    """
    plain = [replace(each, text=" ".join(re.findall(r"[\w']+|[,.]", each.text))) for each in utterances]
    return TELLERS[family.name](family, [each for each in plain if re.search(r"\w", each.text)])


def _espeak(family: EspeakFamily, utterances: Sequence[Utterance]) -> list[TimedSound]:
    sounds = [family.espeak.speak_words(each.text, each.voice, *map(int, each.values)) for each in utterances]
    return [TimedSound(waveform, rate, begins.tolist()) for waveform, rate, begins in sounds if len(waveform)]


def _festival(family: FestivalFamily, utterances: Sequence[Utterance]) -> list[TimedSound]:
    with tempfile.TemporaryDirectory(prefix="s2i-festival-") as folder:
        files = family.save(utterances, Path(folder), SAVE_WORDS)
        return [
            _replayed(
                file, _numbers(Path(f"{file}.words")), family, utterance, utterance.voice not in PITCHES
            )
            for utterance, file in zip(utterances, files, strict=True)
            if file.exists()
        ]


def _flite(family: FliteFamily, utterances: Sequence[Utterance]) -> list[TimedSound]:
    sounds = []
    count = _PhoneCounts()
    with tempfile.TemporaryDirectory(prefix="s2i-flite-") as folder:
        for utterance in utterances:
            file, printed = family.save(utterance, Path(folder), "-psdur")
            phones = [entry.rpartition(":") for entry in printed.split()]
            ends = [float(end) for _, _, end in phones]
            begins = [
                begin for (phone, _, _), begin in zip(phones, [0.0, *ends], strict=False) if phone != PAUSE
            ]
            counts = [count(word) for word in re.findall(r"[\w']+", utterance.text)]
            if sum(counts) != len(begins):
                continue
            first = np.cumsum([0, *counts[:-1]])
            of_words = [begins[place] for place in first]
            sounds.append(_replayed(file, of_words, family, utterance, utterance.voice == REPLAYED))
    return sounds


class _PhoneCounts(dict):
    """How many phones flite gives a word; its voices share one lexicon."""

    def __call__(self, word: str) -> int:
        if word not in self:
            answer = run_program(["flite", "-voice", "kal16", "-ps", "-t", f" {word} ", "none"], 1)
            self[word] = sum(phone != PAUSE for phone in answer.stdout.decode(errors="replace").split())
        return self[word]


def _replayed(
    file: Path, begins: list[float], family: Family, utterance: Utterance, is_replayed: bool
) -> TimedSound:
    """A saved sound and its times; played at another rate where the voice takes no pitch."""
    sound = soundfile.read(file, dtype="float32")
    waveform, rate = replayed(sound, family.value(utterance, "pitch")) if is_replayed else sound
    return TimedSound(waveform, rate, sorted(begin * sound[1] / rate for begin in begins))


def _numbers(file: Path) -> list[float]:
    return [float(line) for line in file.read_text().split()]


TELLERS: dict[str, Callable[[Any, Sequence[Utterance]], list[TimedSound]]] = {
    EspeakFamily.name: _espeak,
    FliteFamily.name: _flite,
    FestivalFamily.name: _festival,
}
