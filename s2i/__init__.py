"""s2i: images from speech, with no text in between.

    import s2i
    bird = s2i.load("checkpoints/painted_birds")
    bird.generate(speech="x.wav", seed=1)  # a list of PIL images; also generate(text=...), embed, search

Layouts and units, everywhere in the package:

    images   (B, 3, H, W) float32 in [-1, 1] inside models; uint8 (H, W, 3) at the edges
    waveform   (N,) float32 in [-1, 1], mono, at `audio.sample_rate` Hz
    log-mel    (T, M) in files, (B, M, T) in models; natural logarithm; T in frames of `audio.hop` seconds
    tokens     (B, L) int64; 0 = padding, 1 = a word outside the vocabulary
    lengths    (B,) int64: frames of speech, words of text
    masks      bool, True = valid
    embedding  a caption's `sentence` (B, D) and its `sequence` (B, D, T) of segments or words
    noise      (B, Z) standard normal
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from s2i.version import VERSION

# Threads that wait leave their core to others. By default OpenMP's spin: two trainings of two threads each on
# two cores, of which one spins where the other has work, take many times as long as one after the other.
# OpenMP reads this once, as torch is loaded: hence here, before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from s2i.inference.model import load

__all__ = ["load"]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """`load` on first use: importing s2i must not import torch."""
    if name == "load":
        from s2i.inference.model import load

        return load
    raise AttributeError(f"module 's2i' has no attribute {name!r}")
