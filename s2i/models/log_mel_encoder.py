"""A speech encoder of plain strided convolutions over both sides of the log-mel (Chen et al. 2017; CMCGAN).

Theirs reads half a second of an instrument, always as many frames; this one any length of speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_data import AudioConfig
from s2i.config_networks import SpeechEncoderConfig
from s2i.models.caption_encoding import CaptionEncoding, length_mask, masked_mean
from s2i.models.log_mel_generator import laid_out
from s2i.models.masked_batch_norm import MaskedBatchNorm1d
from s2i.models.widths import check_widths

SLOPE = 0.2
SPAN = 8.0  # nats over silence that become 1


class LogMelEncoder(nn.Module):
    """Log-mels that are not normalised (B, M, T) -> CaptionEncoding of `width` numbers.

    Its sequence is the sentence alone.

    Args:
        channels: of the convolutions, each of 4 bins and frames in steps of 2.
        width: numbers in the sentence.
        frames: on which a shorter recording is laid out, with silence behind: a generated one has it too
            (`speech_generator.frames`). The mean over all steps follows, so that longer ones have a place.
    """

    def __init__(
        self,
        config: SpeechEncoderConfig,
        audio: AudioConfig,
        channels: Sequence[int] = (64, 128, 256, 512),
        width: int = 128,
        frames: int = 384,
    ) -> None:
        super().__init__()
        if audio.front_end != "log_mel" or audio.cmvn:
            raise ValueError(
                "audio.front_end=log_mel and audio.cmvn=false: what it generates is not normalised"
            )
        if not channels or min(audio.mel_bins, frames) < 2 ** len(channels):
            raise ValueError(
                f"channels, each of which halves {audio.mel_bins} bins and {frames} frames, not"
                f" {list(channels)}"
            )
        check_widths(channels=channels, width=width, frames=frames)
        self.embedding_dim, self.hop, self.frames = width, audio.hop, frames
        self.silence = log(audio.log_floor)
        widths = (1, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(each) for each in channels)
        self.project = nn.Linear(channels[-1] * (audio.mel_bins // 2 ** len(channels)), width)

    def shortest(self) -> int:
        """Frames that a recording needs: it is laid out on `frames` in any case."""
        return 1

    @property
    def seconds_per_step(self) -> float:
        """How long a step of the last map lasts."""
        return self.hop * 2 ** len(self.convolutions)

    def forward(self, mels: Tensor, lengths: Tensor) -> CaptionEncoding:
        """(B, M, T) float, (B,) int64 valid frames, each at least 1."""
        mels = laid_out(mels, lengths, max(self.frames, mels.shape[2]), self.silence)
        lengths = lengths.clamp(min=self.frames)
        hidden = ((mels - self.silence) / SPAN).unsqueeze(1)  # silence is 0, as what lies beyond the edge is
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden, lengths = convolution(hidden), lengths // 2
            mask = length_mask(lengths, hidden.shape[3])
            rows = mask.unsqueeze(1).expand(-1, hidden.shape[2], -1).flatten(1)
            hidden = F.leaky_relu(norm(hidden.flatten(2), rows), SLOPE).unflatten(2, hidden.shape[2:])
        steps = hidden.flatten(1, 2).transpose(1, 2)  # (B, T', C M')
        sentence = self.project(masked_mean(steps, mask))  # f(speech)
        return CaptionEncoding(sentence, sentence.unsqueeze(2), mask[:, :1])
