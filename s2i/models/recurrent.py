"""Parts that the speech and the text encoder share: two-way recurrence and pooling over time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from s2i.models.caption_encoding import length_mask, masked_mean
from s2i.models.gated_recurrence import is_faster, read_both_ways


class Bidirectional(nn.Module):
    """Recurrent layers read in both directions, over valid steps alone.

    The same numbers as nn.GRU or nn.LSTM with `bidirectional=True` on packed sequences. On a CPU those spend
    most of a training step on slices of the packed data; here each direction runs over padded steps, which
    its valid ones never see, the backward one on each sequence reversed within its own length.
    """

    def __init__(
        self, kind: type[nn.GRU] | type[nn.LSTM], inputs: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.onward = nn.ModuleList(kind(width, hidden, batch_first=True) for width in widths)
        self.back = nn.ModuleList(kind(width, hidden, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read padded sequences.

        Args:
            inputs: (B, T, C).
            lengths: (B,) int64, each at least 1.

        Returns:
            states (B, T, 2 * hidden), zero over padding; the last layer's final state of each direction
            (B, 2 * hidden); the mask (B, T).
        """
        mask = length_mask(lengths, inputs.shape[1])
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        mirrored = torch.where(mask, lengths.unsqueeze(1) - 1 - steps, steps)
        states = inputs
        for number, directions in enumerate(zip(self.onward, self.back, strict=True)):
            states = self.dropout(states) if number else states
            given = (states, _Mirrored.apply(states, mirrored))
            if is_faster(directions[0], states):
                ahead, behind = read_both_ways(directions, torch.stack(given))
            else:
                ahead, behind = (read(each)[0] for read, each in zip(directions, given, strict=True))
            states = torch.cat((ahead, _Mirrored.apply(behind, mirrored)), 2)
        half = states.shape[2] // 2
        last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, half)
        final = torch.cat((states[:, :, :half].gather(1, last).squeeze(1), states[:, 0, half:]), 1)
        return states * mask.unsqueeze(2), final, mask


class _Mirrored(Function):
    """Steps of each sequence in an order that is its own inverse, and so its gradient's: (B, T, C), (B, T) ->
    (B, T, C)."""

    @staticmethod
    def forward(context: Any, sequence: Tensor, steps: Tensor) -> Tensor:
        context.save_for_backward(steps)
        return _mirror(sequence, steps)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _mirror(gradient, *context.saved_tensors), None


def _mirror(sequence: Tensor, steps: Tensor) -> Tensor:
    first = sequence.shape[1] * torch.arange(len(sequence), device=sequence.device).unsqueeze(1)
    return sequence.flatten(0, 1).index_select(0, (first + steps).flatten()).view_as(sequence)


class AttentionPooling(nn.Module):
    """One vector from a sequence: per channel, a softmax over valid time steps (S2IGAN, section 2.1).

    The published code lets padded steps take part in the softmax; here they are masked, so that a caption's
    vector does not depend on its batch.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) -> (B, D)."""
        scores = self.out(self.hidden(states).tanh()).float()  # W2 tanh(W1 h)
        # softmax over valid time steps
        weights = scores.masked_fill(~mask.unsqueeze(-1), float("-inf")).softmax(1)
        return (weights.to(states.dtype) * states).sum(1)  # sum over time of weight times state


class Pooling(nn.Module):
    """Sentence vector from recurrent states: `attention`, `mean` or `last` (final states), normalised.

    `normalize`: "none" leaves it as pooled; "l2" makes its length 1 (S2IGAN), "l2_sqrt_dim" sqrt(D), so that
    a network that reads it beside noise of variance 1 finds numbers of the same size.
    """

    def __init__(self, kind: str, width: int, hidden: int, normalize: str) -> None:
        super().__init__()
        self.kind, self.normalize = kind, normalize
        self.attention = AttentionPooling(width, hidden) if kind == "attention" else None

    def forward(self, states: Tensor, final: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, D), (B, T) -> (B, D)."""
        if self.attention is not None:
            sentence = self.attention(states, mask)
        else:
            sentence = masked_mean(states, mask) if self.kind == "mean" else final
        if self.normalize == "none":
            return sentence
        unit = F.normalize(sentence, dim=1)
        return unit if self.normalize == "l2" else unit * sentence.shape[1] ** 0.5
