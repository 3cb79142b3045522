"""Arrays of waveforms that others left, read without calling anything that their files name.

S2IGAN's authors keep the spoken captions of an image in one file: `audio_npy/<class>/<image>.npy`, what
numpy.save makes of a list of waveforms at 22,050 Hz. Where these differ in length, it is a pickle inside.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from s2i.errors import InputError

SAMPLE_RATE = 22050  # Hz; librosa's default, by which their script read the recordings
_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")


class _Kind:
    """Stands for numpy.dtype: keeps what a pickle says of it."""

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """Stands for numpy.ndarray, whose own way of reading a pickle trusts it."""

    def __init__(self, *_: Any) -> None:
        self.values: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, content = state
        if isinstance(content, str):  # of Python 2, read as Latin-1: a byte a letter
            content = content.encode("latin-1")
        if isinstance(content, list):
            self.values = content
        else:
            order = "" if kind.order in "|=" else kind.order
            values = np.frombuffer(content, np.dtype(order + kind.name))
            self.values = values.reshape(shape, order="F" if is_fortran else "C")


def _latin1(letters: str, _: str) -> bytes:
    """Stands for _codecs.encode, by which Python 3 writes bytes into the pickles of Python 2."""
    return letters.encode("latin-1")


class _Unpickler(pickle.Unpickler):
    """Knows arrays and plain containers; what it makes of arrays are the classes above."""

    def find_class(self, module: str, name: str) -> Callable:
        if module in _ARRAYS and name in ("_reconstruct", "ndarray"):
            return _Array
        if (module, name) == ("numpy", "dtype"):
            return _Kind
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise InputError(f"a pickle that would call {module}.{name}")


def read_waveforms(path: str | Path) -> list[np.ndarray]:
    """The waveforms in a `.npy` or a pickle: each float32 (N,) in [-1, 1].

    Raises InputError for a missing or broken file, one that would call something, and what are no waveforms.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                stream.seek(0)
                version = np.lib.format.read_magic(stream)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                _, _, kind = read_header(stream)
                if not kind.hasobject:
                    stream.seek(0)
                    return _waveforms(np.load(stream, allow_pickle=False))
            else:
                stream.seek(0)
            return _waveforms(_Unpickler(stream, encoding="latin-1").load())
    except Exception as error:  # whatever a broken file makes of an unpickler
        reason = error.strerror if isinstance(error, OSError) else str(error) or type(error).__name__
        raise InputError(
            f"expected waveforms of spoken captions in {path}, found: {reason}: get it again from its authors"
        ) from error


def _waveforms(content: Any) -> list[np.ndarray]:
    if isinstance(content, _Array):
        content = content.values
    waveforms = []
    for item in content:
        values = np.asarray(item.values if isinstance(item, _Array) else item)
        if values.ndim != 1 or not len(values) or values.dtype.kind not in "fi":
            raise InputError(f"an array of shape {values.shape} and kind {values.dtype}")
        scale = np.iinfo(values.dtype).max + 1 if values.dtype.kind == "i" else 1
        waveform = values.astype(np.float32) / np.float32(scale)
        if not np.isfinite(waveform).all() or np.abs(waveform).max() > 1.5:
            raise InputError("samples outside [-1, 1]")
        waveforms.append(waveform)
    return waveforms
