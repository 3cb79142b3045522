"""An image as a model's image encoder reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from s2i.config import Config
from s2i.data.image_values import to_rgb
from s2i.data.images import frame, load_image, resize, to_tensor

ImageInput = str | Path | Image.Image


def frame_image(
    image: Image.Image, config: Config, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Crop and resize a photograph as those that the image encoder was trained on: uint8 (S, S, 3)."""
    data = config.data
    return np.asarray(frame(image, box, data.box_scale, data.margin, config.packed_size))


def read_image(image: ImageInput, config: Config) -> Tensor:
    """One image: (1, 3, S, S) in [-1, 1].

    Args:
        image: a photograph's file, cropped as in training, or a square image, such as `generate` returns.
    """
    if isinstance(image, Image.Image):
        pixels = np.asarray(resize(to_rgb(image), config.packed_size))
    else:
        pixels = frame_image(load_image(image), config)
    return to_tensor(torch.from_numpy(pixels.copy())[None])
