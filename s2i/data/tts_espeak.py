"""espeak-ng, called through the library and the voices in the `espeakng-loader` wheel.

A voice is an accent, with or without a variant: `en-us`, `en-gb-scotland+f2`. The same words, voice, rate and
pitch give the same samples, whatever was spoken before and in whichever process.
"""

from __future__ import annotations

import ctypes
import difflib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import espeakng_loader
import numpy as np

from s2i.config_data import AudioConfig
from s2i.errors import InputError

# Names and values of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # samples go to the callback before espeak_Synth returns: 3.7 times faster than mode 1
_BUFFER = 500  # ms of samples a callback
_DONT_EXIT = 0x8000  # report a broken installation, don't end the process
_UTF8 = 1
_RATE, _PITCH = 1, 3
_WORD = 1  # the kind of an event
_RATES = (80, 450)  # words a minute that espeak-ng can speak
_KEPT_SILENCE = 0.05  # s before the first sound and after the last
_SILENCE = 0.002  # of full scale: below it nothing is heard
_LONGEST = AudioConfig().max_seconds  # s: what is longer would be refused by whoever reads it


class _Event(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        ("type", ctypes.c_int),  # 0 ends a list
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
# The library keeps its state in globals: one sentence at a time in a process.
_LOCK = threading.Lock()


def speak(text: str, voice: str = "en-us", rate: int = 175, pitch: int = 50) -> tuple[np.ndarray, int]:
    """One sentence as (waveform, Hz); see `Espeak.speak`. For many sentences keep an `Espeak`."""
    with arranged_voices() as folder:
        espeak = Espeak(folder)
        espeak.check_voices([voice])
        return espeak.speak(text, voice, rate, pitch)


@contextmanager
def arranged_voices() -> Iterator[Path]:
    """A temporary folder of links to espeak-ng's data in which each accent lies under its own name.

    In the original, `en-us` is `lang/gmw/en-US`, and finding it costs espeak-ng a look into 240 files: 1.7 of
    the 6 ms that a sentence takes.
    """
    original = Path(espeakng_loader.get_data_path())
    with tempfile.TemporaryDirectory(prefix="s2i-voices-") as name:
        folder = Path(name)
        for path in original.iterdir():
            if path.name != "lang":
                (folder / path.name).symlink_to(path)
        (folder / "lang").mkdir()
        for path in sorted(original.glob("lang/*/*")):
            link = folder / "lang" / _codes(path)[0]
            if link.exists():
                link = link.with_name(path.name.lower())
            link.symlink_to(path)
        yield folder


class Espeak:
    """The synthesiser over a folder of `arranged_voices`. Small, and may be sent to other processes."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @cached_property
    def version(self) -> str:
        """What to name beside anything that was made with it, such as `espeak-ng 1.52.0`."""
        with _fresh_library() as library:
            library.espeak_Info.restype = ctypes.c_char_p
            return f"espeak-ng {library.espeak_Info(None).decode().split()[0]}"

    @cached_property
    def accents(self) -> dict[str, list[str]]:
        """Every accent with the codes of its language, its own first: {"en-us": ["en-us", "en"], ...}."""
        return {path.name: _codes(path) for path in sorted((self.folder / "lang").iterdir())}

    @cached_property
    def variants(self) -> list[str]:
        """Every variant: m1, f1, ..."""
        return sorted(path.name for path in (self.folder / "voices" / "!v").iterdir())

    def accents_of(self, language: str) -> list[str]:
        """The accents of a language: `en` has en-us and en-gb among others, `de` has one."""
        code = language.lower()
        return [
            accent
            for accent, codes in self.accents.items()
            if any(known == code or known.startswith(f"{code}-") for known in codes)
        ]

    def check_voices(self, voices: Iterable[str]) -> None:
        """Raise InputError for the first voice that does not exist, naming some that do."""
        for voice in voices:
            accent, plus, variant = voice.partition("+")
            if accent not in self.accents:
                raise InputError(
                    f"expected a voice of espeak-ng, found {voice!r}: try {_some(accent, self.accents)}"
                )
            if plus and variant not in self.variants:
                raise InputError(
                    f"expected a variant of espeak-ng after '+', found {voice!r}:"
                    f" try {_some(variant, self.variants, f'{accent}+')}"
                )

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, int]:
        """Speak a sentence: `rate` in words a minute (80 to 450), `pitch` 0 to 100, 50 being the voice's own.

        Returns the waveform, float32 (N,) in [-1, 1], with at most 50 ms of silence at either end, and its
        sample rate in Hz. It is empty where the text has nothing to pronounce, such as "...". Raises
        InputError for an empty text, one that takes more than 60 s, as soon as these are spoken, a rate or
        pitch out of range, or a voice that espeak-ng can't load.
        """
        return self.speak_words(text, voice, rate, pitch)[:2]

    def speak_words(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, int, np.ndarray]:
        """As `speak`, and when each word begins: float64 (words,), rising, in seconds of the waveform.

        By espeak-ng's own events; words joined by a hyphen are one.
        """
        if not text.strip():
            raise InputError("expected words to speak, found an empty text: give some")
        if not _RATES[0] <= rate <= _RATES[1] or not 0 <= pitch <= 100:
            raise InputError(
                f"expected a rate of {_RATES[0]} to {_RATES[1]} words a minute and a pitch of 0 to 100,"
                f" found {rate} and {pitch}"
            )
        samples, sample_rate, words = self._samples(text.replace("\0", " "), voice, rate, pitch)
        start, stop = _heard(samples, sample_rate)
        waveform = samples[start:stop]
        if not len(waveform):
            return waveform, sample_rate, np.zeros(0)
        return waveform, sample_rate, np.unique(np.clip(words, start, stop - 1) - start) / sample_rate

    def _samples(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, int, list[int]]:
        """The samples as espeak-ng makes them, float32, their rate in Hz, and at which each word begins."""
        chunks: list[bytes] = []
        words_at: list[int] = []
        room = 0

        @_CALLBACK
        def collect(samples, count, events):
            nonlocal room
            if count > 0:
                chunks.append(ctypes.string_at(samples, 2 * count))
                room -= count
            number = 0
            while events and events[number].type:
                if events[number].type == _WORD:
                    words_at.append(events[number].sample)
                number += 1
            return int(room < 0)  # 1 ends it

        with _fresh_library() as library:
            folder = str(self.folder).encode()
            sample_rate = library.espeak_Initialize(_SYNCHRONOUS, _BUFFER, folder, _DONT_EXIT)
            if sample_rate <= 0:
                raise InputError(
                    f"expected espeak-ng's data in {self.folder}, found none that it can read:"
                    " install espeakng-loader again"
                )
            room = int(_LONGEST * sample_rate)
            # The noise of breathy voices is seeded with the time of day otherwise.
            library.espeak_ng_SetRandSeed(ctypes.c_long(0))
            library.espeak_SetSynthCallback(collect)
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise InputError(f"expected a voice that espeak-ng can load, found {voice!r}: choose another")
            library.espeak_SetParameter(_RATE, rate, 0)
            library.espeak_SetParameter(_PITCH, pitch, 0)
            words = text.encode() + b"\0"
            size = ctypes.c_size_t(len(words))
            if library.espeak_Synth(words, size, 0, 0, 0, _UTF8, None, None) != 0:
                raise InputError(f"expected words that espeak-ng can speak, found {text!r}: change them")
        if room < 0:
            raise InputError(
                f"expected a sentence of up to {_LONGEST:g} s, found {len(text)} letters that take longer to"
                f" speak, {text[:40]!r}...: shorten it"
            )
        return np.frombuffer(b"".join(chunks), np.int16).astype(np.float32) / 32768, sample_rate, words_at


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """espeak-ng as if nothing had been spoken, for .5 ms.

    The flutter of a voice, its gain and its count of cycles run on from sentence to sentence in variables
    that no call sets back. Loading the library again does, if nobody else in the process holds it.
    """
    with _LOCK:
        path, system = espeakng_loader.get_library_path(), ctypes.CDLL(None)
        system.dlopen.argtypes, system.dlopen.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        system.dlclose.argtypes = [ctypes.c_void_p]
        handle = system.dlopen(os.fsencode(path), os.RTLD_NOW)
        library = ctypes.CDLL(path, handle=handle)
        try:
            yield library
        finally:
            library.espeak_Terminate()
            system.dlclose(handle)


def _codes(voice: Path) -> list[str]:
    """The language codes in an accent's file, in lower case as espeak-ng looks for it, its own first."""
    lines = voice.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line.split()[1].lower() for line in lines if line.startswith("language ")]


def _some(wanted: str, existing: Iterable[str], prefix: str = "") -> str:
    names = list(existing)
    near = difflib.get_close_matches(wanted, names, 4, 0.5) or [
        name for name in ("en-us", "en-gb", "m1", "f1") if name in names
    ]
    return ", ".join(prefix + name for name in near)


def _heard(waveform: np.ndarray, sample_rate: int) -> tuple[int, int]:
    """First sample of the sound and the one after its last, with `_KEPT_SILENCE`; (0, 0) of silence alone."""
    heard = np.abs(waveform) > _SILENCE
    if not heard.any():
        return 0, 0
    kept = round(_KEPT_SILENCE * sample_rate)
    first, last = heard.argmax(), len(heard) - 1 - heard[::-1].argmax()
    return max(0, first - kept), min(len(waveform), last + 1 + kept)
