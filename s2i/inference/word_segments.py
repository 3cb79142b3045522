"""Segments of a recording that follow its words, without text, and the attention during each of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.audio import Heard, features
from s2i.data.resampling import resample
from s2i.models.word_detector import WordDetector

DETECTOR = Path(__file__).with_name("word_detector.safetensors")  # data_prep/word_detector.py makes it
HEARD = AudioConfig()  # what the detector hears of any recording, whatever the model's encoder reads
LEAST = 0.06  # s of the first and of the last segment

Interval = tuple[float, float]  # s


def word_segments(heard: Heard) -> list[Interval]:
    """Where words seem to lie in what is said: neighbouring intervals of all of it, from its beginning on.

    By a detector that synthesisers have taught (`data_prep.word_detector`), which belongs to no model.
    """
    waveform, seconds = resample(heard.spoken, heard.rate, HEARD.sample_rate), len(heard.spoken) / heard.rate
    begins = _detector().boundaries(features(waveform, HEARD), HEARD.hop)
    edges = [0.0, *(time for time in begins if LEAST <= time <= seconds - LEAST), seconds]
    return list(zip(edges, edges[1:], strict=False))


def time_labels(words: Sequence[Interval], before: float = 0.0) -> list[str]:
    """Each word's seconds in a recording in which `before` s come before what is said."""
    return [f"{before + start:.2f} - {before + end:.2f} s" for start, end in words]


@cache
def _detector() -> WordDetector:
    with torch.random.fork_rng(devices=[]):  # the weights made here are random, and replaced
        detector = WordDetector(HEARD.mel_bins)
    detector.load_state_dict(load_file(DETECTOR))
    return detector.requires_grad_(False).eval()


def attention_during(attention: Tensor, step: float, words: Sequence[Interval]) -> Tensor:
    """Attention during each word, from that to the steps of an encoder.

    It is the mean over the word's time, so that a long word has no more of it than a short one, times
    steps / words: attention that is uniform over the steps is so over the words, whatever their lengths.

    Args:
        attention: (T, H, W) to the valid steps; the last one reaches to the end of what is said.
        step: s from one step to the next.
        words: neighbouring intervals from 0 to the end of what is said.

    Returns:
        (words, H, W).
    """
    first = torch.arange(len(attention)) * step
    last = torch.cat([first[1:], first.new_tensor([words[-1][1]])])
    starts, ends = torch.tensor(words).unsqueeze(-1).unbind(1)
    shared = (torch.minimum(ends, last) - torch.maximum(starts, first)).clamp(min=0)
    means = shared / shared.sum(1, keepdim=True).clamp(min=1e-9)
    scale = len(attention) / len(words)
    return scale * torch.einsum("wt,thv->whv", means.to(attention), attention)
