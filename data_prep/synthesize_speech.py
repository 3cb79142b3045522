"""Captions -> spoken captions.

    python -m data_prep.synthesize_speech --manifest IN.jsonl --root DIR --output OUT.jsonl
    python -m data_prep.synthesize_speech --text "a small red bird" --output bird.wav

Who speaks is `--voice`: espeak-ng, from here on; Tacotron2, a folder of recordings, or the spoken captions
that S2IGAN's authors released, in files of their own.

The first speaks every caption that has text and no audio, and writes a manifest in which each has its audio,
its language and its speaker. A speaker is a voice (`en-us+f1`); rate and pitch are sampled for each caption.
Half of the test captions are spoken by voices that no other split has: a voice is unseen if no training
caption has it as its speaker, and whoever evaluates finds that out from the manifest alone.

A clip's name is a digest of what makes it, so that clips which exist are never made again, whichever run or
manifest asked for them first. Killed anywhere, the same command continues.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from data_prep.clips import clip_exists, clip_folder, implausible_length, write_clip
from data_prep.utterances import Cast, Request, choose_utterances
from s2i.data.manifest import ImageRecord, check_manifest_file, iterate_manifest, write_manifest
from s2i.data.tts_espeak import Espeak, arranged_voices, speak
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file
from s2i.files.paths import given_path
from s2i.processes import begin_process, cores, interrupts_held
from s2i.progress import progress, say

# English accents and, for every language, the variants of a voice. Clear ones only: no whisper, no croak, no
# robot, no breathy f5. The held-out variants are held out in every accent.
ACCENTS = {"en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")}
VARIANTS = ("m1", "m2", "m3", "m4", "m6", "f1", "f2", "f4")
HELD_OUT_VARIANTS = ("m5", "m7", "f3")

RATES = (165, 225)  # words a minute
PITCHES = (35, 65)  # of espeak-ng's 0 to 100


class Synthesiser(Protocol):
    """What this script needs of whatever speaks. It is sent to other processes."""

    version: str  # names the program and its version; part of a clip's name

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, int]:
        """The waveform, float32 (N,) in [-1, 1] without silence around it, and its sample rate in Hz."""


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
        cast = Cast({}, {}, RATES, PITCHES)
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
            ),
            RATES,
            PITCHES,
        )
    spoken = sorted({accent.partition("-")[0] for accent in espeak.accents})
    for language in languages:
        if not cast.voices[language]:
            raise InputError(
                f"expected a voice that speaks {language!r}, found none: change --languages or --voices"
                f" (espeak-ng speaks {', '.join(spoken)})"
            )
    return cast


def speak_manifest(
    manifest: str | Path,
    root: str | Path,
    output: str | Path,
    version: str,
    cast: Cast,
    make: Callable[[Sequence[Request]], None],
    audio: str = "audio",
    seed: int = 0,
) -> None:
    """Speak a manifest's captions into the folder `audio` under `root`, and write the manifest that has them.

    Args:
        version: of what speaks; part of a clip's name.
        make: makes the clips of all requests that are not there yet.

    Raises:
        InputError: what can't be read, spoken or written; the clips made until then are kept.
    """
    check_manifest_file(output, [manifest])
    folder = clip_folder(root, audio)
    requests: dict[Path, Request] = {}
    captions = others = 0
    for image in iterate_manifest(manifest):
        chosen = choose_utterances(image, cast, seed)
        captions += len(chosen)
        others += len(image.captions) - len(chosen)
        for number, utterance in chosen.items():
            path = folder / utterance.file_name(version)
            requests.setdefault(path, (path, utterance, f"caption {number} of image {image.id}"))
    missing = sum(not clip_exists(path) for path in requests)
    say(f"{manifest}: {captions} captions to speak, {missing} clips to make; {others} left as they are")
    make(list(requests.values()))

    def spoken() -> Iterator[ImageRecord]:
        for image in iterate_manifest(manifest):
            captions = list(image.captions)
            for number, utterance in choose_utterances(image, cast, seed).items():
                captions[number] = replace(
                    captions[number],
                    audio=(Path(audio) / utterance.file_name(version)).as_posix(),
                    speaker=utterance.voice,
                    language=utterance.language,
                )
            yield replace(image, captions=tuple(captions))

    write_manifest(output, spoken())


def make_clips(synthesiser: Synthesiser, processes: int, requests: Sequence[Request]) -> None:
    """Speak what is not there yet, in several processes. Raises InputError for a bad clip."""
    missing = [request for request in requests if not clip_exists(request[0])]
    with _workers(partial(make_clip, synthesiser), missing, processes) as made:
        for _ in progress(made, len(missing), "speaking"):
            pass


def make_clip(synthesiser: Synthesiser, request: Request) -> None:
    """Speak one utterance into its file, which is whole or absent. Raises InputError for a bad clip.

    The synthesiser has no chance in it, so a bad clip is not tried twice.
    """
    path, utterance, where = request
    try:
        waveform, sample_rate = synthesiser.speak(
            utterance.text, utterance.voice, utterance.rate, utterance.pitch
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    problem = implausible_length(utterance.text, utterance.rate, len(waveform) / sample_rate)
    if problem:
        raise InputError(
            f"{problem} for {where}, spoken by {utterance.voice}: {utterance.text!r}: change the text"
        )
    write_clip(path, waveform, sample_rate)


def write_sentence(output: str | Path, text: str, waveform: np.ndarray, sample_rate: int) -> None:
    """Write one sentence, spoken, into a sound file of the kind that its name ends with."""
    output = Path(output)
    kind = output.suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise InputError(
            f"expected the name of a sound file such as speech.wav, found {output}: change --output"
        )
    if not len(waveform):
        raise InputError(f"expected words to speak, found silence for {text!r}: change --text")
    check_output_file(output)
    encoded = io.BytesIO()  # libsndfile prints a traceback where a stream refuses
    soundfile.write(encoded, waveform, sample_rate, format=kind)
    with write_atomically(output, "wb") as stream:
        stream.write(encoded.getbuffer())


@contextmanager
def _workers(work, requests: Iterable, processes: int) -> Iterator[Iterable]:
    """The results of `work` on each request, made by several processes."""
    if processes < 1:
        raise InputError(f"expected --processes of 1 or more, found {processes}")
    requests = list(requests)
    processes = min(processes, len(requests) // 100 + 1)  # a process takes as long to start as 100 clips
    if processes == 1:
        yield map(work, requests)
        return
    # Spawned, not forked: the caller may have threads.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, initializer=begin_process) as pool:
            # The workers start here, and inherit that interrupts are the parent's to answer.
            with interrupts_held():
                made = pool.map(work, requests, chunksize=16)
            try:
                yield made
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        raise InputError(
            "expected every process to live, found one dead (was memory short?): the same command continues"
        ) from error


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
    parser = Parser(
        description="Speak the captions of a manifest, or one sentence, or match recordings with captions."
    )
    parser.add_argument(
        "--voice",
        default="espeak-ng",
        metavar="NAME",
        help="espeak-ng (default); a pipeline of torchaudio, such as TACOTRON2_WAVERNN_CHAR_LJSPEECH;"
        " recordings: your own in --source; s2igan: what S2IGAN's authors released, in --source",
    )
    parser.add_argument(
        "--manifest", type=given_path, metavar="FILE", help="manifest whose captions are to be spoken"
    )
    parser.add_argument(
        "--root", type=given_path, metavar="DIR", help="folder that paths in the manifest start from"
    )
    parser.add_argument(
        "--output", type=given_path, metavar="FILE", required=True, help="manifest, or sound file of --text"
    )
    parser.add_argument("--text", metavar="WORDS", help="one sentence, instead of a manifest")
    parser.add_argument(
        "--audio",
        type=given_path,
        metavar="DIR",
        default="audio",
        help="folder of clips in --root; default: audio",
    )
    parser.add_argument("--seed", type=int, default=0, help="of voices, rates and pitches; default: 0")
    parser.add_argument("--processes", type=int, default=cores(), help="default: one a core")
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
    parser.add_argument(
        "--weights",
        type=given_path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="of Tacotron2, then of WaveRNN; default: downloaded by torchaudio",
    )
    parser.add_argument(
        "--block", type=int, default=16, metavar="N", help="clips that Tacotron2 speaks at once; default: 16"
    )
    parser.add_argument(
        "--source", type=given_path, metavar="DIR", help="folder of recordings, or of S2IGAN's arrays"
    )
    parser.add_argument(
        "--table",
        type=given_path,
        metavar="CSV",
        help="which recording says which caption; default: their names",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave captions without a recording as they are"
    )
    given = parser.parse_args(arguments)
    if given.text is not None and given.manifest is not None:
        raise InputError("expected --manifest or --text, found both: remove one")
    if given.text is None and (given.manifest is None or given.root is None):
        raise InputError("expected --manifest and --root, or --text, found neither: see --help")
    files = (given.manifest, given.root, given.output)
    if given.voice == "espeak-ng":
        if given.text is not None:
            write_sentence(given.output, given.text, *speak(given.text, *(given.voices or [])[:1]))
            return
        with arranged_voices() as folder:
            espeak = Espeak(folder)
            cast = choose_cast(espeak, given.languages, given.voices, given.held_out_voices)
            make = partial(make_clips, espeak, given.processes)
            speak_manifest(*files, espeak.version, cast, make, given.audio, given.seed)
    elif given.voice in ("recordings", "s2igan"):
        from data_prep.recorded_captions import take_recordings, take_released

        if given.source is None or given.text is not None:
            raise InputError(f"expected --manifest and --source for --voice {given.voice}: see --help")
        if given.voice == "recordings":
            take_recordings(*files, given.source, given.table, given.allow_missing)
        else:
            take_released(*files, given.source, given.audio, given.allow_missing)
    else:
        from data_prep.tacotron2_voice import Tacotron2Voice  # torchaudio takes a second to import

        if given.block < 1:
            raise InputError(f"expected --block of 1 or more, found {given.block}: change it")
        voice = Tacotron2Voice(given.voice, given.weights, given.block)
        if given.text is not None:
            (waveform,) = voice.speak([given.text])
            write_sentence(given.output, given.text, waveform, voice.sample_rate)
        else:
            speak_manifest(*files, voice.version, voice.cast, voice.make, given.audio, given.seed)


if __name__ == "__main__":
    exit_on_input_error(main)
