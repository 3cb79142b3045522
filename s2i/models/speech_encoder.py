"""Speech encoder: log-mel -> CNN -> BiGRU -> attention pooling (S2IGAN's speech embedding network)."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_data import AudioConfig
from s2i.config_networks import SpeechEncoderConfig
from s2i.errors import InputError
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from s2i.models.masked_batch_norm import MaskedBatchNorm1d
from s2i.models.recurrent import Bidirectional, Pooling


class SpeechEncoder(nn.Module):
    """Log-mel (B, M, T) -> CaptionEncoding with D = 2 * hidden.

    Convolutions have no padding, so that a valid output has seen valid input only; or (`padded`) zeros, which
    padding is in a batch too. The published network has no non-linearity between them (`activation="none"`).
    Li et al.'s encoder is another choice of the same parts: eight convolutions, two poolings, a BiLSTM, a
    mean.
    """

    def __init__(self, config: SpeechEncoderConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.config, self.hop = config, audio.hop
        self.embedding_dim = 2 * config.hidden_dim
        widths = (audio.mel_bins, *config.channels)
        kernels = config.kernels or (config.kernel,) * len(config.channels)
        strides = config.strides or (config.stride,) * len(config.channels)
        if not len(kernels) == len(strides) == len(config.channels):
            raise InputError(
                f"expected speech_encoder.kernels and strides for {len(config.channels)} convolutions, found"
                f" {len(kernels)} and {len(strides)}: mend the configuration"
            )
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride, kernel // 2 if config.padded else 0)
            for before, after, kernel, stride in zip(widths, widths[1:], kernels, strides, strict=False)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(width) for width in config.channels)
        cell = nn.GRU if config.cell == "gru" else nn.LSTM
        self.recurrent = Bidirectional(cell, widths[-1], config.hidden_dim, config.layers, config.dropout)
        self.pooling = Pooling(config.pooling, 2 * config.hidden_dim, config.attention_dim, config.normalize)

    def steps(self, lengths: Tensor) -> Tensor:
        """Recurrent steps that so many frames give: (B,) -> (B,); 0 where a clip is too short."""
        for number in range(len(self.convolutions)):
            lengths = self._pooled(number, self._convolved(number, lengths))
        return (lengths.clamp(min=0) + self.config.pool - 1) // self.config.pool

    def shortest(self) -> int:
        """Frames that one step needs."""
        frames = 1
        for number in reversed(range(len(self.convolutions))):
            if number + 1 in self.config.max_pools:
                frames = 2 * frames - 1
            kernel, stride, padding = self._window(number)
            frames = max(1, (frames - 1) * stride + kernel - 2 * padding)
        return frames

    @property
    def seconds_per_step(self) -> float:
        """How long a segment of the sequence lasts: hop * strides * strides of the maxima * pool * segment.

        Segment i begins at i times as much, counted from the first sound. What it has heard is a little more,
        through the kernels, and all of the sentence through the GRU.
        """
        strides = prod(convolution.stride[0] for convolution in self.convolutions)
        maxima = 2 ** len(self.config.max_pools)
        return self.hop * (strides * maxima) * self.config.pool * self.config.segment

    def _window(self, number: int) -> tuple[int, int, int]:
        convolution = self.convolutions[number]
        return convolution.kernel_size[0], convolution.stride[0], convolution.padding[0]

    def _convolved(self, number: int, lengths: Tensor) -> Tensor:
        """Steps after convolution `number` of so many before it."""
        kernel, stride, padding = self._window(number)
        return torch.div(lengths + 2 * padding - kernel, stride, rounding_mode="floor") + 1

    def _pooled(self, number: int, lengths: Tensor) -> Tensor:
        """Steps after the pooling behind convolution `number`, if there is one."""
        return (lengths + 1) // 2 if number + 1 in self.config.max_pools else lengths

    def forward(self, mels: Tensor, lengths: Tensor) -> CaptionEncoding:
        """Encode padded log-mels.

        Args:
            mels: (B, M, T) float.
            lengths: (B,) int64 valid frames, each at least `shortest()`.

        Raises:
            ValueError: a clip is shorter than one step.
        """
        # An exporter traces without numbers to look at.
        if not torch.compiler.is_exporting() and int(lengths.min()) < self.shortest():
            raise ValueError(f"expected at least {self.shortest()} frames, found {int(lengths.min())}")
        hidden = mels
        if self.config.padded:  # else no valid step sees what lies behind a caption's end
            hidden = mels * length_mask(lengths, mels.shape[2]).unsqueeze(1)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            hidden = convolution(hidden)
            lengths = self._convolved(number, lengths)
            hidden = norm(hidden, length_mask(lengths, hidden.shape[2]))  # convolution and batch norm
            if self.config.activation == "relu":
                hidden = hidden.relu()
            if number + 1 in self.config.max_pools:
                # Zeros around: what padding is after the norm, so that a caption is the same in any batch.
                hidden, lengths = F.max_pool1d(F.pad(hidden, (1, 1)), 3, 2), self._pooled(number, lengths)
                hidden = hidden * length_mask(lengths, hidden.shape[2]).unsqueeze(1)
        hidden, lengths = average_steps(hidden.transpose(1, 2), lengths, self.config.pool)
        states, final, mask = self.recurrent(hidden, lengths)  # bidirectional GRU
        sentence = self.pooling(states, final, mask)
        segments, lengths = average_steps(states, lengths, self.config.segment)
        return CaptionEncoding(sentence, segments.transpose(1, 2), length_mask(lengths, segments.shape[1]))


def average_steps(sequence: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Average each `count` neighbouring valid steps, a last shorter group too: (B, T, C) -> (B, T', C)."""
    if count == 1:
        return sequence, lengths
    mask = length_mask(lengths, sequence.shape[1]).unsqueeze(2).to(sequence.dtype)

    def grouped(steps: Tensor) -> Tensor:
        # As many zeros behind as any length needs, and the rest of them cut off: an exporter takes a number
        # of zeros that depends on the length for a constant.
        return F.pad(steps, (0, 0, 0, count - 1)).narrow(1, 0, whole * count).unflatten(1, (-1, count))

    whole = (sequence.shape[1] + count - 1) // count
    total, number = grouped(sequence * mask).sum(2), grouped(mask).sum(2)
    return total / number.clamp(min=1), (lengths + count - 1) // count
