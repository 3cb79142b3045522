"""Captions -> spoken captions.

    python data_prep/synthesize_speech.py --manifest IN.jsonl --root DIR --output OUT.jsonl
    python data_prep/synthesize_speech.py --text "a small red bird" --output bird.wav

The first speaks every caption that has text and no audio, and writes a manifest in which each has its audio,
its language and its speaker. A speaker is a voice (`en-us+f1`); rate and pitch are drawn for each caption.
Half of the test captions are spoken by voices that no other split has: a voice is unseen if no training
caption has it as its speaker, and whoever evaluates finds that out from the manifest alone.

A clip's name is a digest of what makes it, so that clips which exist are never made again, whichever run or
manifest asked for them first. Killed anywhere, the same command continues.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
import soundfile

from s2i.data.espeak import Espeak, arranged_voices, speak
from s2i.data.manifest import Picture, iterate_manifest, write_manifest
from s2i.errors import InputError, exit_on_input_error
from s2i.files import write_atomically
from s2i.progress import progress, say

# English accents and, for every language, the variants of a voice. Clear ones only: no whisper, no croak, no
# robot, no breathy f5. The held-out variants are held out in every accent.
ACCENTS = {"en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")}
VARIANTS = ("m1", "m2", "m3", "m4", "m6", "f1", "f2", "f4")
HELD_OUT_VARIANTS = ("m5", "m7", "f3")

RATES = (165, 225)  # words a minute
PITCHES = (35, 65)  # of espeak-ng's 0 to 100

# Of a clip's 16 bits the last two are rounded away: 84 dB below full scale, and a fifth of a FLAC's bytes.
# 40,000 captions of 3.3 s take 3.0 GB so, 3.7 GB with all bits, and 5.9 GB as WAV.
_BITS = 14
_FORMAT = 1  # part of a clip's name: to be raised when the same request is to give another file
_SHORTEST = 0.1  # s; a word such as "a" takes .2


class Synthesiser(Protocol):
    """What this script needs of whatever speaks. It is sent to other processes."""

    version: str  # names the program and its version; part of a clip's name

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, int]:
        """The waveform, float32 (N,) in [-1, 1] without silence around it, and its sample rate in Hz."""


@dataclass(frozen=True)
class Cast:
    """Voices by language: those of every split, and those that only the test split has."""

    voices: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]

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
        made_of = [_FORMAT, version, self.text, self.voice, self.rate, self.pitch]
        digest = hashlib.blake2b(json.dumps(made_of).encode(), digest_size=10).hexdigest()
        return f"{digest[:2]}/{digest}.flac"


def choose_cast(
    espeak: Espeak,
    languages: Sequence[str],
    voices: Sequence[str] | None = None,
    held_out: Sequence[str] | None = None,
) -> Cast:
    """The voices of each language: those given, or each of its accents with each variant.

    With `voices` given and `held_out` not, no voice is held out. Raises InputError for a voice that does not
    exist or is in both lists, and for a language without a voice.
    """
    if voices is not None or held_out is not None:
        voices, held_out = voices or (), held_out or ()
        espeak.check_voices([*voices, *held_out])
        both = sorted(set(voices) & set(held_out))
        if both:
            raise InputError(
                f"expected a held-out voice to be no other, found {both[0]} in both lists: remove it"
            )
        cast = Cast({}, {})
        for language in languages:
            accents = espeak.accents_of(language)
            for found, given in ((cast.voices, voices), (cast.held_out, held_out)):
                found[language] = tuple(voice for voice in given if voice.partition("+")[0] in accents)
    else:
        accents = {language: _usual_accents(espeak, language) for language in languages}
        cast = Cast(
            *(
                {name: tuple(f"{a}+{v}" for a in accents[name] for v in variants) for name in languages}
                for variants in (VARIANTS, HELD_OUT_VARIANTS)
            )
        )
    spoken = sorted({accent.partition("-")[0] for accent in espeak.accents})
    for language in languages:
        if not cast.voices[language]:
            raise InputError(
                f"expected a voice that speaks {language!r}, found none: change --languages or --voices"
                f" (espeak-ng speaks {', '.join(spoken)})"
            )
    return cast


def choose_utterances(picture: Picture, cast: Cast, seed: int) -> dict[int, Utterance]:
    """What is to be spoken for a picture, by the number of its caption.

    A function of the seed, the picture's id and the caption's number. Of a test picture's captions every
    second one has a held-out voice, from the first or the second on.
    """
    chosen = {}
    first = Random(f"{seed}/{picture.id}").randrange(2)
    for number, caption in enumerate(picture.captions):
        language = caption.language or cast.default_language
        if caption.text is None or caption.audio is not None or language not in cast.voices:
            continue
        draw = Random(f"{seed}/{picture.id}/{number}")
        is_held_out = picture.split == "test" and number % 2 == first and cast.held_out[language]
        voices = cast.held_out[language] if is_held_out else cast.voices[language]
        chosen[number] = Utterance(
            caption.text, language, draw.choice(voices), draw.randint(*RATES), draw.randint(*PITCHES)
        )
    return chosen


def speak_manifest(
    manifest: str | Path,
    root: str | Path,
    output: str | Path,
    synthesiser: Synthesiser,
    cast: Cast,
    audio: str = "audio",
    seed: int = 0,
    processes: int = 1,
) -> None:
    """Speak a manifest's captions into the folder `audio` under `root`, and write the manifest that has them.

    Raises InputError for what can't be read, spoken or written; the clips made until then are kept.
    """
    root = Path(root)
    folder = root / audio
    if not folder.resolve().is_relative_to(root.resolve()):
        raise InputError(f"expected a folder for clips inside --root {root}, found {audio}: change --audio")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"expected to write clips to {folder}, found: {error.strerror}: change --root"
        ) from error

    missing: dict[Path, tuple[Path, Utterance, str]] = {}
    captions = others = 0
    for picture in iterate_manifest(manifest):
        chosen = choose_utterances(picture, cast, seed)
        captions += len(chosen)
        others += len(picture.captions) - len(chosen)
        for number, utterance in chosen.items():
            path = folder / utterance.file_name(synthesiser.version)
            if path not in missing and not _exists(path):
                missing[path] = (path, utterance, f"caption {number} of picture {picture.id}")
    say(f"{manifest}: {captions} captions to speak, {len(missing)} clips to make; {others} left as they are")

    with _workers(partial(make_clip, synthesiser), missing.values(), processes) as made:
        for _ in progress(made, len(missing), "speaking"):
            pass

    def spoken() -> Iterator[Picture]:
        for picture in iterate_manifest(manifest):
            captions = list(picture.captions)
            for number, utterance in choose_utterances(picture, cast, seed).items():
                captions[number] = replace(
                    captions[number],
                    audio=(Path(audio) / utterance.file_name(synthesiser.version)).as_posix(),
                    speaker=utterance.voice,
                    language=utterance.language,
                )
            yield replace(picture, captions=tuple(captions))

    write_manifest(output, spoken())


def make_clip(synthesiser: Synthesiser, request: tuple[Path, Utterance, str]) -> None:
    """Speak one utterance into its file, which is whole or absent. Raises InputError for a bad clip.

    The synthesiser has no chance in it, so a bad clip is not tried twice.
    """
    path, utterance, where = request
    waveform, sample_rate = synthesiser.speak(
        utterance.text, utterance.voice, utterance.rate, utterance.pitch
    )
    seconds = len(waveform) / sample_rate
    # A word takes 60 / rate s; where words are not written apart, a letter takes up to .1 s.
    expected = max(len(utterance.text.split()) * 60 / utterance.rate, 0.1 * len(utterance.text))
    if seconds < _SHORTEST or seconds > 1 + 4 * expected:
        found = f"{seconds:.2f} s" if seconds else "silence"
        raise InputError(
            f"expected about {expected:.1f} s of speech, found {found} for {where}, spoken by"
            f" {utterance.voice}: {utterance.text!r}: change the text"
        )
    step = 2 ** (16 - _BITS)
    samples = np.clip(np.round(waveform * 32768 / step) * step, -32768, 32768 - step).astype(np.int16)
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate, format="FLAC", subtype="PCM_16", compression_level=0)
    # Renamed without fsync, which would take longer than speaking: a killed process leaves no torn file, and
    # an empty one that a power cut leaves is made again.
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_bytes(encoded.getbuffer())
        part.replace(path)
    except OSError as error:
        raise InputError(f"expected to write {path}, found: {error.strerror}: free or change it") from error


def write_sentence(text: str, output: str | Path, voice: str = "en-us") -> None:
    """Speak one sentence into a sound file of the kind that its name ends with."""
    output = Path(output)
    kind = output.suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise InputError(
            f"expected the name of a sound file such as speech.wav, found {output}: change --output"
        )
    waveform, sample_rate = speak(text, voice)
    if not len(waveform):
        raise InputError(f"expected words to speak, found silence for {text!r}: change --text")
    with write_atomically(output, "wb") as stream:
        soundfile.write(stream, waveform, sample_rate, format=kind)


@contextmanager
def _workers(work, requests: Iterable, processes: int) -> Iterator[Iterable]:
    """The results of `work` on each request, made by several processes."""
    requests = list(requests)
    processes = min(processes, len(requests) // 100 + 1)  # a process takes as long to start as 100 clips
    if processes == 1:
        yield map(work, requests)
        return
    # Spawned, not forked: the caller may have threads.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
            # The workers start here, and inherit that interrupts are the parent's to answer.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                made = pool.map(work, requests, chunksize=16)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            try:
                yield made
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        raise InputError(
            "expected every process to live, found one dead (was memory short?): the same command continues"
        ) from error


def _end_with_parent() -> None:
    """Let this process end when its parent does, even if that is killed."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _exists(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _usual_accents(espeak: Espeak, language: str) -> Sequence[str]:
    """The accents to speak a language with: the one of its name, or else those whose names begin with it."""
    if language in ACCENTS:
        return ACCENTS[language]
    if language in espeak.accents:
        return [language]
    accents = espeak.accents_of(language)
    return [accent for accent in accents if accent.startswith(f"{language}-")] or accents[:1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Speak a manifest, or one sentence."""
    parser = argparse.ArgumentParser(
        description="Speak the captions of a manifest by espeak-ng, or one sentence."
    )
    parser.add_argument("--manifest", metavar="FILE", help="manifest whose captions are to be spoken")
    parser.add_argument("--root", metavar="DIR", help="folder that paths in the manifest start from")
    parser.add_argument("--output", metavar="FILE", required=True, help="manifest, or sound file of --text")
    parser.add_argument("--text", metavar="WORDS", help="one sentence, instead of a manifest")
    parser.add_argument(
        "--audio", metavar="DIR", default="audio", help="folder of clips in --root; default: audio"
    )
    parser.add_argument("--seed", type=int, default=0, help="of voices, rates and pitches; default: 0")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    parser.add_argument(
        "--languages",
        nargs="+",
        default=["en"],
        metavar="CODE",
        help="captions in others are left as they are, those that name none are in the first; default: en",
    )
    parser.add_argument(
        "--voices", nargs="+", metavar="VOICE", help="such as en-us+f1; default: 32 for English, 8 for others"
    )
    parser.add_argument(
        "--held-out-voices",
        nargs="+",
        metavar="VOICE",
        help="of half of the test captions; default: 12, or 3",
    )
    given = parser.parse_args(arguments)
    if given.text is not None:
        if given.manifest is not None:
            raise InputError("expected --manifest or --text, found both: remove one")
        write_sentence(given.text, given.output, *(given.voices or [])[:1])
        return
    if given.manifest is None or given.root is None:
        raise InputError("expected --manifest and --root, or --text, found neither: see --help")
    with arranged_voices() as folder:
        espeak = Espeak(folder)
        cast = choose_cast(espeak, given.languages, given.voices, given.held_out_voices)
        speak_manifest(
            given.manifest, given.root, given.output, espeak, cast, given.audio, given.seed, given.processes
        )


if __name__ == "__main__":
    exit_on_input_error(main)
