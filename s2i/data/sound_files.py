"""Files of recorded sound: checked by their headers, or decoded."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO, FileIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import soundfile

from s2i.data.file_kinds import RECORDINGS, foreign
from s2i.data.sound_containers import ENDINGS, can_decode, decode, is_container
from s2i.data.sound_headers import Sound, find_sound
from s2i.errors import InputError

RATES = (1_000, 2_000_000)  # Hz; outside them a header is mistaken
MOST_CHANNELS = 32
_BLOCK = 1 << 16  # samples of each channel that are decoded together


def check_recording(path: str | Path, longest: float) -> None:
    """Refuse, from its header alone, a file that is missing, empty, cut short, no recording, or too long.

    Args:
        longest: in seconds.

    Raises:
        InputError: with the file's name.
    """
    with _opened(Path(path), longest) as (sound, knows_length):
        _check_header(sound, knows_length, path, longest)


def readable_endings() -> tuple[str, ...]:
    """Endings of the files that can be decoded here."""
    return RECORDINGS + (ENDINGS if can_decode() else ())


def check_rate(rate: int, where: str) -> None:
    """Refuse a sample rate, in Hz, that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(
            f"expected a recording at {RATES[0]:,} to {RATES[1]:,} Hz, found {rate:,} Hz in {where}:"
            " convert it"
        )


def read_recording(path: str | Path, longest: float) -> tuple[np.ndarray, int]:
    """The samples of a file, to its end: float32 (N, channels), full scale is 1; and their rate in Hz.

    Raises InputError as `check_recording`, and for sound that can't be decoded.
    """
    with _opened(Path(path), longest) as (sound, knows_length):
        _check_header(sound, knows_length, path, longest)
        rate, count, blocks = sound.samplerate, 0, [np.zeros((0, sound.channels), np.float32)]
        try:
            while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
                count += len(block)
                if count > longest * rate:  # of a file that doesn't know its length
                    raise InputError(
                        f"expected at most {longest:g} s of speech, found more in {path}: cut it"
                    )
        except soundfile.SoundFileError as error:
            raise InputError(f"expected a recording, found a broken one in {path}: make it again") from error
    return np.concatenate(blocks), rate


def wav_bytes(samples: np.ndarray, rate: int, exact: bool = False) -> bytes:
    """A WAV file of 16 bits or, `exact`, of float32: of the same samples always the same bytes.

    Args:
        samples: (N,) in [-1, 1].
        rate: Hz.
    """
    stream = BytesIO()
    if exact:
        from scipy.io import wavfile  # takes .5 s to import

        # libsndfile would note the time of day.
        wavfile.write(stream, rate, samples.astype(np.float32, copy=False))
    else:
        soundfile.write(stream, samples, rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _check_header(sound: soundfile.SoundFile, knows_length: bool, path: str | Path, longest: float) -> None:
    check_rate(sound.samplerate, str(path))
    if sound.channels > MOST_CHANNELS:
        raise InputError(
            f"expected at most {MOST_CHANNELS} channels, found {sound.channels} in {path}: mix them"
        )
    seconds = sound.frames / sound.samplerate
    if knows_length and seconds > longest:
        raise InputError(f"expected at most {longest:g} s of speech, found {seconds:.0f} s in {path}: cut it")


@contextmanager
def _opened(path: Path, longest: float) -> Iterator[tuple[soundfile.SoundFile, bool]]:
    """A whole recording, ready to be decoded, and whether it knows its length; `longest`, in s, is checked
    here for what libsndfile can't decode alone."""
    if not path.is_file():
        raise InputError(f"expected a recording, found no file at {path}: check the path or make the speech")
    if path.stat().st_size == 0:
        raise InputError(f"expected a recording, found an empty file at {path}: record or make it again")
    try:
        stream = path.open("rb", buffering=0)  # libsndfile reads from where the file descriptor stands
    except OSError as error:
        raise InputError(
            f"expected a recording at {path}, found: {error.strerror}: check path and disk"
        ) from error
    with stream:
        if can_decode() and is_container(stream.read(12)):
            with soundfile.SoundFile(_as_wav(*decode(path, longest))) as sound:
                yield sound, True
            return
        header = find_sound(stream)
        if header is not None and header.is_cut:
            raise InputError(
                f"expected a whole recording, found {header.present:,} of its {header.promised:,} bytes in"
                f" {path}: it was cut short, get or make it again"
            )
        with _source(stream, header) as source, _decoder(source, path) as sound:
            if sound.format != "MP3" or header is not None:
                yield sound, True
                return
        # Of an MP3 that doesn't count its frames libsndfile guesses the length, and stops there: at half of
        # what is in some. From a pipe, whose length nobody can guess, it reads all.
        with _piped(stream) as pipe, _decoder(pipe, path) as sound:
            yield sound, False


def _as_wav(samples: np.ndarray, rate: int) -> BytesIO:
    stream = BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype="FLOAT")
    stream.seek(0)
    return stream


def _decoder(source: Any, path: Path) -> soundfile.SoundFile:
    """libsndfile on an open file. It is given no name: it would go by the ending."""
    try:
        return soundfile.SoundFile(source, closefd=False)
    except soundfile.SoundFileError as error:
        explanation = foreign(path.suffix) or "something else: convert it to FLAC or WAV"
        description, _, advice = explanation.partition(": ")
        description += "," if "," in description else ""  # ends a clause
        raise InputError(
            f"expected a recording (WAV, FLAC, OGG, MP3 or AIFF), found {description} in {path}: {advice}"
        ) from error


@contextmanager
def _source(stream: FileIO, header: Sound | None) -> Iterator[Any]:
    """A file as libsndfile is to see it."""
    stream.seek(0)
    if header is None or header.repair is None:
        yield stream.fileno()
        return
    with closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)) as changed:
        at, length = header.repair
        changed[at : at + 4] = length
        yield changed


@contextmanager
def _piped(stream: FileIO) -> Iterator[int]:
    """A pipe that gives the bytes of a file."""
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as pipe:
            shutil.copyfileobj(stream, pipe)

    stream.seek(0)
    feeding = Thread(target=feed, daemon=True)
    feeding.start()
    try:
        yield reading
    finally:
        while os.read(reading, _BLOCK):  # what nobody wanted: else the other end waits
            pass
        feeding.join()
        os.close(reading)
