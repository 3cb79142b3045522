"""What the header of a sound file promises, held against what is there: libsndfile takes what it finds.

WAV (RIFF, RF64, Wave64), AIFF, CAF, AU, Ogg, and MP3 where Xing's header counts its bytes. A FLAC that is cut
short, libsndfile refuses itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from typing import Literal

# A program that writes into a pipe can't go back to fill in the length: it leaves 0, or about the most that
# fits (sox 0x7ffff000, ffmpeg 0xffffffff), and the sound goes on to the end of the file.
_UNKNOWN = 0x7FFF0000
_OGG_PAGE = 65_307  # bytes of the longest
_WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_WAVE64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

_Order = Literal["little", "big"]


@dataclass(frozen=True)
class Sound:
    """The encoded sound of a file, in bytes."""

    promised: int | None  # by the header; None: it doesn't know
    present: int
    repair: tuple[int, bytes] | None = None  # of a length of 0 that libsndfile would believe: where, and what

    @property
    def is_cut(self) -> bool:
        """Whether some of it is missing."""
        return self.promised is not None and self.present < self.promised


def find_sound(stream: FileIO) -> Sound | None:
    """What a file's header says of its sound; None for a kind of file that isn't known here."""
    size = os.fstat(stream.fileno()).st_size
    head = _read(stream, 0, 16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return _wav(stream, size, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"caff":
        return _caf(stream, size)
    if head == _WAVE64:
        return _wave64(stream, size)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        sounds = (chunk for chunk in _chunks(stream, size, "big") if chunk[0] == b"SSND")
        return next((_sound(length, size - start) for _, start, length in sounds), None)
    if head[:4] in (b".snd", b"dns."):
        if size < 24:  # its header alone has as many
            return Sound(24, size)
        order: _Order = "big" if head[:4] == b".snd" else "little"
        start, length = int.from_bytes(head[4:8], order), int.from_bytes(head[8:12], order)
        return _sound(length, max(0, size - start), (8, order) if length == 0 else None)
    return _ogg(stream, size) if head[:4] == b"OggS" else _mp3(stream, size)


def _read(stream: FileIO, start: int, count: int) -> bytes:
    stream.seek(start)
    return stream.read(count)


def _sound(length: int, present: int, zero: tuple[int, _Order] | None = None) -> Sound:
    """`zero`: where the header has a length of 0 that isn't meant, and in which order of bytes."""
    present = max(
        0, present
    )  # a header that is itself cut short may say that the sound begins behind the end
    if zero is None:
        return Sound(length if length < _UNKNOWN else None, present)
    return Sound(None, present, (zero[0], min(present, 0xFFFFFFFF).to_bytes(4, zero[1])))


def _chunks(stream: FileIO, size: int, order: _Order) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and promised length of each chunk of a RIFF or an AIFF file."""
    at = 12
    while at + 8 <= size:
        head = _read(stream, at, 8)
        length = int.from_bytes(head[4:], order)
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def _wav(stream: FileIO, size: int, order: _Order) -> Sound | None:
    is_whole = int.from_bytes(_read(stream, 4, 4), order) + 8 == size
    long = None  # RF64: the length, which doesn't fit where RIFF has it
    for name, start, length in _chunks(stream, size, order):
        if name == b"ds64":
            long = int.from_bytes(_read(stream, start + 8, 8), order)
        elif name == b"data" and length == 0xFFFFFFFF and long is not None:
            return Sound(long, size - start)
        elif name == b"data":
            return _sound(length, size - start, (start - 4, order) if length == 0 and not is_whole else None)
    return None


def _caf(stream: FileIO, size: int) -> Sound | None:
    at = 8
    while at + 12 <= size:
        head = _read(stream, at, 12)
        length = int.from_bytes(head[4:], "big", signed=True)  # -1: not known
        if head[:4] == b"data":
            return Sound(length if length >= 0 else None, size - at - 12)
        at += 12 + max(0, length)
    return None


def _wave64(stream: FileIO, size: int) -> Sound | None:
    at = 40
    while at + 24 <= size:
        head = _read(stream, at, 24)
        length = int.from_bytes(head[16:], "little")  # these 24 bytes included
        if head[:16] == _WAVE64_DATA:
            return Sound(length - 24, size - at - 24)
        at += max(24, length + -length % 8)
    return None


def _ogg(stream: FileIO, size: int) -> Sound:
    """Ogg tells no length: its last page says that it is the last. Bytes behind that page are no sound."""
    tail = _read(stream, max(0, size - 2 * _OGG_PAGE), 2 * _OGG_PAGE)
    page = tail[tail.rfind(b"OggS\x00") :]
    segments = page[26] if len(page) > 26 else 0
    missing = 27 + segments + sum(page[27 : 27 + segments]) - len(page)
    is_last = len(page) > 26 + segments and page[5] & 4
    return Sound(size + (missing if is_last else max(missing, 1)), size)


def _mp3(stream: FileIO, size: int) -> Sound | None:
    """The first frame of an MP3 may be silent and count the bytes of all (Xing's header, also named Info)."""
    head, start = _read(stream, 0, 10), 0
    if head[:3] == b"ID3":  # its length has seven bits a byte
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
    frame = _read(stream, start, 64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or at < 0:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")  # 1: a count of frames follows, 2: of bytes
    at += 12 if flags & 1 else 8
    return Sound(int.from_bytes(frame[at : at + 4], "big") if flags & 2 else None, size - start)
