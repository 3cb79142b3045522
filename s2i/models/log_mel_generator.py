"""A generator of speech: a code and noise -> a log-mel of one length (Chen et al. 2017; CMCGAN).

A log-mel is generated as an image of one channel, by a DCGAN. Recordings differ in length and what it
generates doesn't: a recording is laid out on so many frames, with silence behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_networks import SpeechGeneratorConfig
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from s2i.models.initial_weights import initialise_normally
from s2i.models.noise import batch_noise, caption_noise

HALVINGS = 4  # of both sides of the log-mel, down to the first map


class LogMelScale(nn.Module):
    """Log-mels to [-1, 1] and back, linearly: the least and the largest number that training speech has."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("least", torch.tensor(-1.0))
        self.register_buffer("largest", torch.tensor(1.0))

    def set_range(self, least: float, largest: float) -> None:
        """Of the log-mels: those of silence, and of the loudest."""
        self.least.fill_(least)
        self.largest.fill_(largest)

    def to_unit(self, mels: Tensor) -> Tensor:
        """Log-mels -> [-1, 1]; what is louder than the range is cut off."""
        return (2 * (mels - self.least) / (self.largest - self.least) - 1).clamp(-1, 1)

    def to_log_mels(self, unit: Tensor) -> Tensor:
        """[-1, 1] -> log-mels."""
        return self.least + (unit + 1) / 2 * (self.largest - self.least)


class LogMelGenerator(nn.Module):
    """A code and noise -> log-mels (B, M, T), through transposed convolutions over both sides.

    `channels` are those of the last map but one; each map before it has twice as many, up to eight times. The
    first map has a sixteenth of each side, rounded up; what is too much in the end is cut.
    """

    def __init__(self, config: SpeechGeneratorConfig, embedding_dim: int, mel_bins: int) -> None:
        super().__init__()
        self.config, self.frames, self.mel_bins = config, config.frames, mel_bins
        self.scale = LogMelScale()
        self.first_map = [-(-side // 2**HALVINGS) for side in (mel_bins, config.frames)]
        widths = [config.channels * 2**i for i in reversed(range(HALVINGS))]
        places = self.first_map[0] * self.first_map[1]
        self.first = nn.Linear(config.noise_dim + embedding_dim, widths[0] * places)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, 2, 1)
            for before, after in zip(widths, [*widths[1:], 1], strict=True)
        )

    def initialise(self) -> None:
        """Normal weights of deviation .02 (DCGAN)."""
        initialise_normally(self)

    def sample_noise(self, keys: Sequence[str], seed: int) -> tuple[Tensor, ...]:
        """(B, noise_dim) standard normal; see `s2i.models.interfaces.SpeechGenerator`."""
        return tuple(caption_noise(keys, seed, (self.config.noise_dim,)))

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The same of a training step, from torch's global random state."""
        return batch_noise(count, (self.config.noise_dim,), device)

    def forward(self, encoding: CaptionEncoding, noise: Tensor) -> Tensor:
        """B codes, (B, noise_dim) -> log-mels (B, M, T), not normalised."""
        hidden = self.first(torch.cat((noise, encoding.sentence), 1))  # G(z, f(image))
        hidden = hidden.unflatten(1, (-1, *self.first_map))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            hidden = layer(norm(hidden).relu())
        return self.scale.to_log_mels(hidden[:, 0, : self.mel_bins, : self.frames].float().tanh())


def laid_out(mels: Tensor, lengths: Tensor, frames: int, silence: float | Tensor) -> Tensor:
    """Log-mels (B, M, T'), of which `lengths` (B,) frames are valid -> (B, M, frames): silence after the end
    of each, and what is longer is cut."""
    mels = torch.where(length_mask(lengths, mels.shape[2]).unsqueeze(1), mels, silence)[..., :frames]
    missing = frames - mels.shape[2]
    return mels if missing <= 0 else F.pad(mels, (0, missing), value=float(silence))
