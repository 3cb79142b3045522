"""Sound in the containers of phones and browsers (.m4a, .webm), which libsndfile lacks: decoded by PyAV,
where it is installed (`pip install -e '.[formats]'`)."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np

from s2i.errors import InputError

ENDINGS = (".3gp", ".aac", ".amr", ".m4a", ".mka", ".mp4", ".webm", ".wma")


@cache  # asked for every file
def can_decode() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def is_container(head: bytes) -> bool:
    """By a file's first 12 bytes: MP4 and its kin, Matroska, AMR, ASF (WMA), or AAC in ADTS."""
    begins = head.startswith((b"\x1aE\xdf\xa3", b"#!AMR", b"\x30\x26\xb2\x75"))
    is_adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return begins or head[4:8] == b"ftyp" or is_adts


def decode(path: Path, longest: float) -> tuple[np.ndarray, int]:
    """The first track of sound: float32 (N, channels), full scale is 1; and its rate in Hz.

    Args:
        longest: in seconds; no more is decoded.

    Raises:
        InputError: there is no sound in it, it is broken, or longer.
    """
    import av

    blocks, count = [], 0
    try:
        with av.open(str(path)) as container:
            track = next(iter(container.streams.audio), None)
            if track is None:
                raise InputError(f"expected a recording, found no sound in {path}: record it again")
            rate, channels = track.rate, track.codec_context.channels
            packed = av.AudioResampler(format="flt", layout=track.layout, rate=rate)
            for frame in chain(container.decode(track), [None]):  # None: what is left
                for resampled_frame in packed.resample(frame):
                    blocks.append(resampled_frame.to_ndarray().reshape(-1, channels))
                    count += len(blocks[-1])
                if count > longest * rate:
                    raise InputError(
                        f"expected at most {longest:g} s of speech, found more in {path}: cut it"
                    )
    except av.error.FFmpegError as error:
        raise InputError(f"expected a recording, found a broken one in {path}: make it again") from error
    return np.concatenate([np.zeros((0, channels), np.float32), *blocks]), rate
