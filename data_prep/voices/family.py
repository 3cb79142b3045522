"""What a family of synthesisers is to whoever has captions spoken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np

from data_prep.utterances import Utterance
from s2i.config_data import AudioConfig
from s2i.errors import InputError

Sound = tuple[np.ndarray, int]  # waveform, float (N,) in [-1, 1], and its sample rate in Hz
Voices = dict[str, tuple[str, ...]]  # by language
Own = TypeVar("Own", bound="Family")

_SILENCE = 0.002  # of full scale: below it nothing is heard
_KEPT_SILENCE = 0.05  # s before the first sound and after the last


class Setting(NamedTuple):
    """How a voice may be varied from caption to caption."""

    usual: float
    range: tuple[float, float]  # least and most, where a plan says nothing
    limits: tuple[float, float]  # possible least and most
    whole: bool = False  # whole numbers alone, else hundredths


class Family(ABC):
    """Voices of one synthesiser. A context manager; inside the block it may be sent to other processes."""

    name: ClassVar[str]  # in plans, and first in the names of its speakers
    usual_voice: ClassVar[str]  # of a single sentence
    settings: ClassVar[dict[str, Setting]] = {}
    block: ClassVar[int] = 16  # clips that are made together
    is_seeded_by_block: ClassVar[bool] = False  # a clip depends on the others of its block
    in_own_processes: ClassVar[bool] = True  # several at once
    effort: ClassVar[float] = 1.0  # about the time of a clip, in clips of espeak-ng
    tries: ClassVar[int] = 1  # of a clip that isn't plausible speech; more where chance is in it
    longest: ClassVar[float] = AudioConfig().max_seconds  # s that it can speak, or that a reader takes

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def missing(self, voices: Sequence[str]) -> str | None:
        """The command that installs what isn't there of the synthesiser or of these voices; None where they
        can speak."""

    @abstractmethod
    def choose_voices(
        self, languages: Sequence[str], voices: Sequence[str] | None, test_voices: Sequence[str] | None
    ) -> tuple[Voices, Voices]:
        """Voices of every split and those of the test split alone, by language.

        None stands for the family's usual ones (for `test_voices` only where `voices` is None too). A
        language that it doesn't speak has none. Raises InputError for a voice that doesn't exist.
        """

    @abstractmethod
    def version(self, voice: str) -> str:
        """The program's name and version, and what else of the voice isn't in its name; in clips' names."""

    @abstractmethod
    def words_a_minute(self, utterance: Utterance) -> float:
        """About how fast it is spoken; lengths are checked by it."""

    @abstractmethod
    def utter(self, utterances: Sequence[Utterance], attempt: int = 0) -> list[Sound]:
        """Speak; silence (0,) for what has nothing to pronounce or ended the synthesiser.

        A function of the utterances, and of `attempt` where chance is in it. Raises InputError.
        """

    def block_order(self, utterance: Utterance) -> tuple:
        """Utterances are put together in blocks in this order."""
        return ()

    def usual_values(self) -> tuple[float, ...]:
        """Of its settings, for a single sentence."""
        return tuple(setting.usual for setting in self.settings.values())

    def value(self, utterance: Utterance, setting: str) -> float:
        return utterance.values[list(self.settings).index(setting)]


def check_voices(family: Family, voices: Sequence[str], known: Sequence[str]) -> None:
    """Raise InputError for the first voice that the family doesn't have."""
    for voice in voices:
        if voice not in known:
            raise InputError(
                f"expected a voice of {family.name} ({', '.join(known)}), found {voice!r}: choose another"
            )


def english_voices(
    languages: Sequence[str], voices: Sequence[str], test_voices: Sequence[str]
) -> tuple[Voices, Voices]:
    """Voices that speak English alone, by language."""
    spoken = {language: language.lower().split("-")[0] == "en" for language in languages}
    return (
        {language: tuple(voices) if spoken[language] else () for language in languages},
        {language: tuple(test_voices) if spoken[language] else () for language in languages},
    )


def without_edges(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cut the silence around a synthesiser's sound to 50 ms; nothing is left of silence alone."""
    heard = np.abs(waveform) > _SILENCE
    if not heard.any():
        return waveform[:0]
    kept = round(_KEPT_SILENCE * sample_rate)
    first, last = heard.argmax(), len(heard) - 1 - heard[::-1].argmax()
    return waveform[max(0, first - kept) : last + 1 + kept]
