"""Teaching a `WordDetector` by a synthesiser's own times, and choosing thresholds on other captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.metrics.boundaries import score_boundaries
from s2i.models.word_detector import WordDetector

SPREAD = 0.015  # s: standard deviation of the target around a boundary
BATCH, EPOCHS, LEARNING_RATE = 512, 5, 2e-3
TOLERANCE = 0.05  # s, of the F1 that a threshold is chosen by


def train_word_detector(
    mels: Sequence[Tensor], boundaries: Sequence[Sequence[float]], hop: float, seed: int = 0
) -> WordDetector:
    """A detector of boundaries like those of utterances whose boundaries are known.

    Args:
        mels: (T, M) each, normalised; frames are `hop` s apart.
        boundaries: s, of each utterance.
        seed: of the weights and of the order; the caller's random state stays as it is.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        detector = WordDetector(mels[0].shape[1])
        inputs = torch.cat([detector.context(mel) for mel in mels])
        targets = torch.cat(
            [_target(len(mel), times, hop) for mel, times in zip(mels, boundaries, strict=True)]
        )
        optimiser = torch.optim.Adam(detector.parameters(), LEARNING_RATE)
        for epoch in range(EPOCHS):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * (1 - epoch / (EPOCHS + 1))
            for rows in torch.randperm(len(inputs)).split(BATCH):
                if len(rows) < 2:
                    continue
                loss = F.binary_cross_entropy_with_logits(detector.classify(inputs[rows]), targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return detector.eval()


def choose_threshold(
    find: Callable[[float], Sequence[Sequence[float]]],
    candidates: Sequence[float],
    true: Sequence[Sequence[float]],
) -> float:
    """The candidate whose boundaries, as `find` gives them for all utterances, have the best F1 at 50 ms."""
    return max(candidates, key=lambda threshold: score_boundaries(true, find(threshold), TOLERANCE).f1)


def _target(frames: int, boundaries: Sequence[float], hop: float) -> Tensor:
    """1 at a boundary, falling to 0 around it: (T,)."""
    times = torch.arange(frames) * hop
    target = torch.zeros(frames)
    for boundary in boundaries:
        target = torch.maximum(target, torch.exp(-(((times - boundary) / SPREAD) ** 2) / 2))
    return target
