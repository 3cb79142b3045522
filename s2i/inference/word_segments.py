"""Segments of a recording that follow its words, without text, and the attention during each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.audio import Heard, features
from s2i.models.word_detector import change_points

# Between words, by spectral change alone: F1 at 50 ms is .54 on espeak-ng's voices and .33 on seven of flite
# and festival; with 6.9 it is .57 and .30.
LEAST_CHANGE = 5.5
LEAST = 0.06  # s of the first and of the last segment

Interval = tuple[float, float]  # s


def word_segments(heard: Heard) -> list[Interval]:
    """Where words seem to lie in what is said: neighbouring intervals of all of it, from its beginning on.

    By spectral change, whatever the model's encoder reads.
    """
    config = AudioConfig(sample_rate=heard.rate)
    mel, seconds = features(heard.spoken, config), len(heard.spoken) / heard.rate
    begins = change_points(mel, config.hop, LEAST_CHANGE)
    edges = [0.0, *(time for time in begins if LEAST <= time <= seconds - LEAST), seconds]
    return list(zip(edges, edges[1:], strict=False))


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
