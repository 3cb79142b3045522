"""Wav2Pix (Duarte et al., ICASSP 2019): images from the waveform itself, through a generator without noise.

The encoder is SEGAN's discriminator, which learns through the generator. What differs from image to image of
one caption is the generator's dropout, which stays on: its masks are a function of the seed and of the
caption's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_data import AudioConfig
from s2i.config_networks import GeneratorConfig, SpeechEncoderConfig
from s2i.models.caption_encoding import CaptionEncoding, length_mask, masked_mean
from s2i.models.generator import GeneratorOutput
from s2i.models.initial_weights import initialise_normally
from s2i.models.masked_batch_norm import MaskedBatchNorm1d
from s2i.models.noise import batch_noise, caption_noise
from s2i.models.spectral import SpectralConvTranspose2d
from s2i.models.widths import check_widths

KERNEL, STRIDE = 15, 4  # samples, or steps, of each convolution
SLOPE = 0.3


class WaveformEncoder(nn.Module):
    """A waveform (B, 1, N) -> CaptionEncoding of `width` numbers.

    The published one is flattened into its fully connected layers, which fixes its input at 1 s; here the
    mean over the valid steps of the last convolution goes there, so that a waveform may have any length. Its
    sequence is the sentence alone.

    Args:
        channels: of the convolutions, each of 15 samples in steps of 4 (64 is skipped, as published).
        hidden: of the fully connected layers before the last.
    """

    def __init__(
        self,
        config: SpeechEncoderConfig,
        audio: AudioConfig,
        channels: Sequence[int] = (16, 32, 128, 256, 512, 1024),
        hidden: Sequence[int] = (256, 128),
        width: int = 128,
    ) -> None:
        super().__init__()
        if audio.front_end != "waveform":
            raise ValueError("audio.front_end=waveform")
        if not channels:
            raise ValueError("channels of one convolution or more")
        check_widths(channels=channels, hidden=hidden, width=width)
        self.embedding_dim, self.rate = width, audio.sample_rate
        widths = (1, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL, STRIDE, KERNEL // 2)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(each) for each in channels)
        dense = (channels[-1], *hidden, width)
        self.dense = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(dense, dense[1:], strict=False)
        )

    def shortest(self) -> int:
        """Samples that one step needs."""
        return 1

    @property
    def seconds_per_step(self) -> float:
        """How long a step of the last convolution lasts."""
        return STRIDE ** len(self.convolutions) / self.rate

    def forward(self, waveforms: Tensor, lengths: Tensor) -> CaptionEncoding:
        """(B, 1, N) float, (B,) int64 valid samples."""
        hidden = waveforms * length_mask(lengths, waveforms.shape[2]).unsqueeze(1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden, lengths = convolution(hidden), (lengths + STRIDE - 1) // STRIDE
            mask = length_mask(lengths, hidden.shape[2])
            hidden = F.leaky_relu(norm(hidden, mask), SLOPE)  # strided convolution of the waveform
        sentence = masked_mean(hidden.transpose(1, 2), mask)
        for layer in self.dense:
            sentence = layer(sentence).relu()  # the caption's vector
        return CaptionEncoding(sentence, sentence.unsqueeze(2), mask[:, :1])


class DropoutGenerator(nn.Module):
    """The sentence -> one image through transposed convolutions with spectral norm; dropout, no noise.

    `channels` are those of the last map but one, each map before it has twice as many. `dropout`: part of
    each hidden map's numbers that is left out. (That each hidden map has it, and a batch norm, is recalled.)
    """

    can_be_truncated = False  # noise only says what is left out; see `s2i.models.interfaces.Generator`

    def __init__(self, config: GeneratorConfig, embedding_dim: int, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0 < dropout < 1:
            raise ValueError("a dropout between 0 and 1: nothing else tells the images of a caption apart")
        self.dropout, self.sizes = dropout, [config.base_size]
        self.threshold = NormalDist().inv_cdf(dropout)  # below it a normal number leaves its place out
        doublings = int(log2(config.base_size // 4))
        widths = [config.channels * 2**i for i in reversed(range(doublings))]  # at 4, 8, ... px
        if not widths:
            raise ValueError("a base_size of 8 px or more")
        self.maps = [(width, 4 * 2**i, 4 * 2**i) for i, width in enumerate(widths)]
        layers = [SpectralConvTranspose2d(embedding_dim, widths[0], 4)]
        for before, after in zip(widths, [*widths[1:], 3], strict=True):
            layers.append(SpectralConvTranspose2d(before, after, 4, 2, 1))
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

    @property
    def _noise_widths(self) -> list[int]:
        return [channels * height * width for channels, height, width in self.maps]

    def initialise(self) -> None:
        """Normal weights of deviation .02 (DCGAN)."""
        initialise_normally(self)

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, ...]:
        """One (B, C * H * W) of standard normal numbers for each hidden map, whose least ones are where it is
        left out; see `s2i.models.interfaces.Generator`."""
        return tuple(caption_noise(latent_keys or keys, seed, self._noise_widths))

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The same of a training step, from torch's global random state."""
        return batch_noise(count, self._noise_widths, device)

    def forward(
        self, encoding: CaptionEncoding, *noise: Tensor, stages: int | None = None
    ) -> GeneratorOutput:
        """B encodings and their dropout -> images (B, 3, S, S) in [-1, 1]."""
        hidden = encoding.sentence[..., None, None]
        for layer, norm, shape, numbers in zip(self.layers, self.norms, self.maps, noise, strict=False):
            hidden = norm(layer(hidden)).relu()
            kept = (numbers > self.threshold).unflatten(1, shape)
            hidden = hidden * kept.to(hidden.dtype) / (1 - self.dropout)  # dropout, when generating too
        return GeneratorOutput([self.layers[-1](hidden).float().tanh()], attention=[])


class CaptionClassifier(nn.Module):
    """A caption's vector -> logits of the training classes: two layers, and a batch norm over the logits."""

    def __init__(self, embedding_dim: int, classes: int, hidden: int = 200) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embedding_dim, hidden), nn.ReLU(), nn.Linear(hidden, classes), nn.BatchNorm1d(classes)
        )

    def forward(self, sentence: Tensor) -> Tensor:
        """(B, D) -> (B, K)."""
        return self.layers(sentence)
