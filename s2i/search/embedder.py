"""What indexing and searching need of a model. `s2i.inference` provides it and may import `s2i.search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor, nn

from s2i.config import Config
from s2i.models.caption_encoding import CaptionEncoding


class EmbeddingPath(Protocol):
    """The encoders of one modality, as `s2i.inference.path.GenerationPath` has them."""

    @property
    def config(self) -> Config: ...

    @property
    def encoder(self) -> nn.Module | None: ...

    @property
    def image_encoder(self) -> nn.Module | None: ...

    @property
    def normalise_voices(self) -> bool:
        """Whether recordings are read under the warps that suit their voices."""

    def fingerprint(self, network: str) -> str:
        """SHA-256 of the weights of "encoder" or "image_encoder". Raises InputError without that network."""

    def encode_speech(self, waveforms: Sequence[Tensor]) -> CaptionEncoding:
        """Encode recordings, each (N,)."""

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, S, S) in [-1, 1] as unit vectors (B, D)."""

    def frame_image(
        self, image: Image.Image, box: tuple[float, float, float, float] | None = None
    ) -> np.ndarray:
        """Crop and resize a photograph as in training: uint8 (S, S, 3)."""


class EmbeddingModel(Protocol):
    """A model with a path for each of its modalities."""

    @property
    def paths(self) -> Mapping[str, EmbeddingPath]: ...
