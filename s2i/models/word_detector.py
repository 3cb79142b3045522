"""Where words begin in a recording: spectral change points, and a small network over a few frames around.

Neither reads text. The network is taught by a synthesiser, which knows when it begins each word
(`s2i.training.word_detector`).
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn

CEPSTRA = 16  # numbers a frame
REACH = 12  # frames that are looked at before and after
EVERY = 2  # of them, one in so many
APART = 0.09  # s, at least, between two boundaries
CHANGE_FRAMES = 3  # compared on either side of a change point
CHANGE_APART = 0.12  # s


class WordDetector(nn.Module):
    """Log-mel (T, M), normalised over its utterance -> (T,) logits: whether a word begins at a frame."""

    def __init__(self, mel_bins: int, width: int = 48) -> None:
        super().__init__()
        bins = (torch.arange(mel_bins) + 0.5).unsqueeze(1)
        self.register_buffer("basis", torch.cos(pi / mel_bins * bins * torch.arange(CEPSTRA)), False)
        inputs = CEPSTRA * len(range(0, 2 * REACH + 1, EVERY))
        self.norm = nn.BatchNorm1d(inputs, affine=False)
        self.hidden, self.output = nn.Linear(inputs, width), nn.Linear(width, 1)
        self.register_buffer("threshold", torch.tensor(0.5))  # of the probability at a boundary

    def context(self, mel: Tensor) -> Tensor:
        """Cepstra of each frame and of those around it, zeros beyond the ends: (T, M) -> (T, inputs)."""
        cepstra = mel @ self.basis
        padded = nn.functional.pad(cepstra, (0, 0, REACH, REACH))
        return padded.unfold(0, 2 * REACH + 1, 1)[:, :, ::EVERY].flatten(1)

    def classify(self, context: Tensor) -> Tensor:
        """(N, inputs) -> (N,) logits."""
        return self.output(self.hidden(self.norm(context)).relu()).squeeze(1)

    def forward(self, mel: Tensor) -> Tensor:
        return self.classify(self.context(mel))

    @torch.no_grad()
    def boundaries(self, mel: Tensor, hop: float) -> list[float]:
        """Seconds from the first frame at which words begin, but the first; frames are `hop` s apart."""
        strength = smooth(self(mel).sigmoid())
        return pick_peaks(strength, float(self.threshold), round(APART / hop), hop)


def change(mel: Tensor, frames: int = CHANGE_FRAMES) -> Tensor:
    """Distance of the mean of the `frames` before each frame from that of those from it on: (T, M) -> (T,).

    0 at the first and the last frame.
    """
    count = len(mel)
    sums = nn.functional.pad(mel.cumsum(0), (0, 0, 1, 0))
    places = torch.arange(1, count - 1)
    before, after = (places - frames).clamp(min=0), (places + frames).clamp(max=count)
    earlier = (sums[places] - sums[before]) / (places - before).unsqueeze(1)
    later = (sums[after] - sums[places]) / (after - places).unsqueeze(1)
    return nn.functional.pad((later - earlier).norm(dim=1), (1, 1))


def change_points(mel: Tensor, hop: float, threshold: float) -> list[float]:
    """Seconds at which the spectrum changes most; `threshold`: least `change`."""
    return pick_peaks(change(mel), threshold, round(CHANGE_APART / hop), hop)


def smooth(values: Tensor) -> Tensor:
    """Mean of each frame and its neighbours, the frame itself weighing twice: (T,) -> (T,)."""
    padded = nn.functional.pad(values[None, None], (1, 1), mode="replicate")
    kernel = values.new_tensor([[[0.25, 0.5, 0.25]]])
    return nn.functional.conv1d(padded, kernel)[0, 0]


def pick_peaks(values: Tensor, threshold: float, apart: int, hop: float) -> list[float]:
    """Seconds of the local maxima above a threshold, the greatest first, none nearer than `apart` frames to
    one that was picked before; in order of time."""
    inner = values[1:-1]
    is_peak = (inner >= values[:-2]) & (inner > values[2:]) & (inner > threshold)
    places = (is_peak.nonzero().squeeze(1) + 1).tolist()
    picked: list[int] = []
    for place in sorted(places, key=lambda place: -float(values[place])):
        if all(abs(place - other) >= apart for other in picked):
            picked.append(place)
    return [place * hop for place in sorted(picked)]
