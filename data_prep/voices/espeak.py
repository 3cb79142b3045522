"""espeak-ng (s2i/data/tts_espeak.py): accents times variants, of any of its languages.

English has four accents and eleven variants; three of these are kept for the test split, in every accent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Setting, Sound, Voices
from s2i.data.tts_espeak import Espeak, arranged_voices

# English accents and, for every language, the variants of a voice. Clear ones only: no whisper, no croak, no
# robot, no breathy f5. The held-out variants are held out in every accent.
ACCENTS = {"en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")}
VARIANTS = ("m1", "m2", "m3", "m4", "m6", "f1", "f2", "f4")
HELD_OUT_VARIANTS = ("m5", "m7", "f3")


class EspeakFamily(Family):
    """espeak-ng, in this process: quick, in many voices and languages."""

    name = "espeak-ng"
    usual_voice = "en-us"
    longest = math.inf  # it ends by itself where a reader would
    settings = {
        "rate": Setting(175, (165, 225), (80, 450), whole=True),  # words a minute
        "pitch": Setting(50, (35, 65), (0, 100), whole=True),  # 50 is the voice's own
    }

    def __enter__(self) -> EspeakFamily:
        self._stack = ExitStack()
        self.espeak = Espeak(self._stack.enter_context(arranged_voices()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getstate__(self) -> dict:
        return {"espeak": self.espeak}

    def missing(self, voices: Sequence[str]) -> None:
        return None  # comes with s2i

    def choose_voices(
        self, languages: Sequence[str], voices: Sequence[str] | None, test_voices: Sequence[str] | None
    ) -> tuple[Voices, Voices]:
        if voices is None and test_voices is None:
            accents = {language: _usual_accents(self.espeak, language) for language in languages}
            return tuple(
                {name: tuple(f"{a}+{v}" for a in accents[name] for v in variants) for name in languages}
                for variants in (VARIANTS, HELD_OUT_VARIANTS)
            )
        voices, test_voices = voices or (), test_voices or ()
        self.espeak.check_voices([*voices, *test_voices])
        chosen: tuple[Voices, Voices] = ({}, {})
        for language in languages:
            accents = self.espeak.accents_of(language)
            for by_language, given in zip(chosen, (voices, test_voices), strict=True):
                by_language[language] = tuple(voice for voice in given if voice.partition("+")[0] in accents)
        return chosen

    def version(self, voice: str) -> str:
        return self.espeak.version

    def words_a_minute(self, utterance: Utterance) -> float:
        return self.value(utterance, "rate")

    def utter(self, utterances: Sequence[Utterance], attempt: int = 0) -> list[Sound]:
        return [
            self.espeak.speak(utterance.text, utterance.voice, *map(int, utterance.values))
            for utterance in utterances
        ]

    def languages(self) -> list[str]:
        """The codes of what it speaks."""
        return sorted({accent.partition("-")[0] for accent in self.espeak.accents})


def _usual_accents(espeak: Espeak, language: str) -> Sequence[str]:
    """The accents to speak a language with: the one of its name, or else those whose names begin with it."""
    if language in ACCENTS:
        return ACCENTS[language]
    if language in espeak.accents:
        return [language]
    accents = espeak.accents_of(language)
    return [accent for accent in accents if accent.startswith(f"{language}-")] or accents[:1]
