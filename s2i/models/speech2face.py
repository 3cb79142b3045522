"""Speech2Face's speech encoder (Oh et al., CVPR 2019): 2-D convolutions, pooled over time alone.

Layers are recalled from the paper. Departures: it reads log-mels (theirs: the spectrogram's real and
imaginary parts, to the power .3), of any length (theirs: 6 s, shorter ones repeated), with padding masked;
one too short for a step of the last convolution is followed by zeros, which are the mean after CMVN.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_data import AudioConfig
from s2i.config_networks import SpeechEncoderConfig
from s2i.models.caption_encoding import CaptionEncoding, length_mask, masked_mean
from s2i.models.masked_batch_norm import MaskedBatchNorm1d
from s2i.models.widths import check_widths

KERNEL = 4
POOLED = (2, 3, 4, 5, 6)  # convolutions, from 0, with a maximum over two steps behind
STRIDED = (8, 9)  # convolutions of stride 2


class SpeechToFeature(nn.Module):
    """Log-mels (B, M, T) -> CaptionEncoding whose sentence is as wide as an image network's feature.

    Its sequence is the sentence alone: no step of it stands for a part of the caption.
    """

    def __init__(
        self,
        config: SpeechEncoderConfig,
        audio: AudioConfig,
        width: int = 4096,
        hidden: int = 4096,
        channels: tuple[int, ...] = (64, 64, 128, 128, 128, 128, 256, 512, 512, 512),
    ) -> None:
        """`width`: of the feature; `hidden`: of the layer before it; `channels`: of the ten convolutions."""
        super().__init__()
        if len(channels) != 10:
            raise ValueError(f"channels of ten convolutions, not {list(channels)}")
        check_widths(channels=channels, hidden=hidden, width=width)
        bins = audio.mel_bins
        for number in range(len(channels)):
            bins = (bins - KERNEL) // (2 if number in STRIDED else 1) + 1
            if bins < 1:
                raise ValueError("audio.mel_bins of 37 or more")
        self.embedding_dim, self.hop = width, audio.hop
        widths = (1, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, 2 if number in STRIDED else 1)
            for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(each) for each in channels)
        self.project = nn.Sequential(
            nn.Linear(channels[-1] * bins, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )

    def shortest(self) -> int:
        """Frames that a recording needs: it is laid out on `frames` in any case."""
        return 1

    @property
    def frames(self) -> int:
        """Frames that one step of the last convolution sees: 515, 5.2 s."""
        frames = 1
        for number in reversed(range(len(self.convolutions))):
            frames = 2 * frames if number in POOLED else frames
            frames = (frames - 1) * (2 if number in STRIDED else 1) + KERNEL
        return frames

    @property
    def seconds_per_step(self) -> float:
        """How long a step of the last map lasts."""
        return self.hop * 2 ** len(POOLED) * 2 ** len(STRIDED)

    def forward(self, mels: Tensor, lengths: Tensor) -> CaptionEncoding:
        """Encode padded log-mels: (B, M, T) float, (B,) int64 valid frames, each at least 1."""
        mels = mels * length_mask(lengths, mels.shape[2]).unsqueeze(1)
        mels, lengths = F.pad(mels, (0, max(0, self.frames - mels.shape[2]))), lengths.clamp(min=self.frames)
        hidden = mels.unsqueeze(1)  # (B, 1, M, T)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            hidden = convolution(hidden).relu()
            lengths = (lengths - KERNEL) // convolution.stride[1] + 1
            mask = length_mask(lengths, hidden.shape[3]).unsqueeze(1).expand(-1, hidden.shape[2], -1)
            hidden = norm(hidden.flatten(2), mask.flatten(1)).unflatten(
                2, hidden.shape[2:]
            )  # ReLU, then norm
            if number in POOLED:  # over time alone: frequencies stay
                hidden, lengths = F.max_pool2d(hidden, (1, 2)), lengths // 2
        steps = hidden.flatten(1, 2).transpose(1, 2)  # (B, T', C F)
        sentence = self.project(masked_mean(steps, length_mask(lengths, steps.shape[1])))  # v_s
        return CaptionEncoding(sentence, sentence.unsqueeze(2), lengths.new_ones(len(lengths), 1).bool())
