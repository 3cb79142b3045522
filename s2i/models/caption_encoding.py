"""What a caption becomes, whether it was spoken or written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CaptionEncoding:
    """An encoded caption; nothing after it depends on whether it came from speech or text.

    Attributes:
        sentence: (B, D) one vector a caption.
        sequence: (B, D, T) segments of speech, or words; zero where `mask` is False.
        mask: (B, T) bool, True = valid.
    """

    sentence: Tensor
    sequence: Tensor
    mask: Tensor

    @classmethod
    def of_vectors(cls, vectors: Tensor) -> CaptionEncoding:
        """Vectors (B, D) in place of sentences, such as those of images; each is its own sequence."""
        mask = torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)
        return cls(vectors, vectors.unsqueeze(2), mask)

    def detach(self) -> CaptionEncoding:
        """The same numbers, without their history."""
        return CaptionEncoding(self.sentence.detach(), self.sequence.detach(), self.mask)

    def __getitem__(self, index: Tensor | slice) -> CaptionEncoding:
        """Some of the captions."""
        return CaptionEncoding(self.sentence[index], self.sequence[index], self.mask[index])

    def repeat(self, count: int) -> CaptionEncoding:
        """Each caption `count` times in a row: (B * count, ...)."""
        return CaptionEncoding(
            *(tensor.repeat_interleave(count, dim=0) for tensor in (self.sentence, self.sequence, self.mask))
        )


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """(B,) lengths -> (B, longest) bool, True = valid."""
    return torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)


def masked_mean(sequence: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid steps: (B, T, D), (B, T) -> (B, D)."""
    weights = mask.unsqueeze(-1).to(sequence.dtype)
    return (sequence * weights).sum(1) / weights.sum(1).clamp(min=1)
