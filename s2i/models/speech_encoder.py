"""Speech encoder: log-mel -> CNN -> BiGRU -> attention pooling (S2IGAN's speech embedding network)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config import AudioConfig, SpeechEncoderConfig
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from s2i.models.recurrent import Bidirectional, Pooling


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over (B, C, T) whose statistics leave padding out; state keys as nn.BatchNorm1d.

    Statistics are float32 whatever the inputs are: bfloat16 can't even count the frames of a batch.
    """

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T), (B, T) -> (B, C, T), zero over padding."""
        if not self.training:
            return super().forward(inputs) * mask.unsqueeze(1)
        values, weights = inputs.float(), mask.unsqueeze(1).float()
        count = weights.sum()
        mean = (values * weights).sum((0, 2)) / count
        centred = (values - mean[:, None]) * weights
        variance = centred.square().sum((0, 2)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None] + self.bias[:, None] * weights).to(inputs.dtype)


class SpeechEncoder(nn.Module):
    """Log-mel (B, M, T) -> CaptionEncoding with D = 2 * hidden.

    Convolutions have no padding, so that a valid output has seen valid input only. The published network has
    no non-linearity between them (`activation="none"`).
    """

    def __init__(self, config: SpeechEncoderConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.config = config
        widths = (audio.mels, *config.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, config.kernel, config.stride)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(width) for width in config.channels)
        self.recurrent = Bidirectional(nn.GRU, widths[-1], config.hidden, config.layers, config.dropout)
        self.pooling = Pooling(config.pooling, 2 * config.hidden, config.attention, config.length)

    def steps(self, lengths: Tensor) -> Tensor:
        """Recurrent steps that so many frames give: (B,) -> (B,); 0 where a clip is too short."""
        for _ in self.convolutions:
            lengths = torch.div(lengths - self.config.kernel, self.config.stride, rounding_mode="floor") + 1
        return (lengths.clamp(min=0) + self.config.pool - 1) // self.config.pool

    def shortest(self) -> int:
        """Frames that one step needs."""
        frames = 1
        for _ in self.convolutions:
            frames = (frames - 1) * self.config.stride + self.config.kernel
        return frames

    def forward(self, mels: Tensor, lengths: Tensor) -> CaptionEncoding:
        """Encode padded log-mels.

        Args:
            mels: (B, M, T) float.
            lengths: (B,) int64 valid frames, each at least `shortest()`.

        Raises:
            ValueError: a clip is shorter than one step.
        """
        if int(lengths.min()) < self.shortest():
            raise ValueError(f"expected at least {self.shortest()} frames, found {int(lengths.min())}")
        hidden = mels
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = convolution(hidden)
            lengths = torch.div(lengths - self.config.kernel, self.config.stride, rounding_mode="floor") + 1
            hidden = norm(hidden, length_mask(lengths, hidden.shape[2]))
            if self.config.activation == "relu":
                hidden = hidden.relu()
        hidden, lengths = average_steps(hidden, lengths, self.config.pool)
        states, final, mask = self.recurrent(hidden.transpose(1, 2), lengths)
        sentence = self.pooling(states, final, mask)
        sequence, lengths = average_steps(states.transpose(1, 2), lengths, self.config.segment)
        return CaptionEncoding(sentence, sequence, length_mask(lengths, sequence.shape[2]))


def average_steps(sequence: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Average each `count` neighbouring valid steps, a last shorter group too: (B, C, T) -> (B, C, T')."""
    if count == 1:
        return sequence, lengths
    mask = length_mask(lengths, sequence.shape[2]).unsqueeze(1).to(sequence.dtype)
    rest = -sequence.shape[2] % count
    total = F.pad(sequence * mask, (0, rest)).unflatten(2, (-1, count)).sum(3)
    number = F.pad(mask, (0, rest)).unflatten(2, (-1, count)).sum(3)
    return total / number.clamp(min=1), (lengths + count - 1) // count
