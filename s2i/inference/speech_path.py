"""From images to speech: the image encoder and the generator of speech of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.interfaces import SpeechGenerator
from s2i.runs.fingerprints import Fingerprints
from s2i.runs.provenance import Origins, origins_of_image_encoder, origins_of_network


@dataclass(frozen=True, repr=False)
class SpeechPath:
    """Speech from images, as log-mels. The networks are frozen, in float32 and in eval mode; `data`,
    `trained_by` and `folder` are those of `s2i.inference.path.GenerationPath`."""

    config: Config
    step: int
    device: torch.device
    image_encoder: ImageEncoder | PretrainedImageEncoder
    generator: SpeechGenerator
    data: Fingerprints | None = None
    trained_by: Origins = field(default_factory=dict)
    folder: Path | None = None

    def __repr__(self) -> str:
        parameters = sum(value.numel() for net in self.generating for value in net.parameters())
        return (
            f"from an image: speech as log-mels of {self.config.audio.mel_bins} bins,"
            f" {parameters / 1e6:.1f} million parameters, {self.step:,} steps"
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """By the names of an exported model."""
        return {"image_encoder": self.image_encoder, "speech_generator": self.generator}

    @property
    def generating(self) -> list[nn.Module]:
        """The networks without which nothing is generated."""
        return [self.image_encoder, self.generator]

    @torch.no_grad()
    def generate(self, images: Tensor, keys: Sequence[str], seed: int = 0) -> Tensor:
        """Log-mels (B, T, M), not normalised, of images (B, 3, S, S) in [-1, 1], on the CPU.

        Args:
            keys: B names; a log-mel's noise is a function of (seed, its key).
        """
        code = CaptionEncoding.of_vectors(self.image_encoder(images.to(self.device))[0])
        noise = [values.to(self.device) for values in self.generator.sample_noise(keys, seed)]
        return self.generator(code, *noise).transpose(1, 2).cpu()

    def all_trained_by(self) -> Origins:
        """What had a part in the training: as recorded, and the path's own networks."""
        return {
            **origins_of_network(self.generator, "the model's generator of speech"),
            **origins_of_image_encoder(self.image_encoder, "the model"),
            **self.trained_by,
        }
