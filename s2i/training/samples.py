"""Sample grids of a training: fixed training captions, fixed noise, the same grid each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from s2i.config import Config
from s2i.data.batches import evaluation_batches
from s2i.data.images import grid, save_png, to_uint8
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary

CAPTIONS = 8  # columns of the grid
OUTPUTS = 4  # rows of it below the real images


class SampleGrid:
    """A row of real training images; below it, generated images from one caption of each, a noise a row."""

    def __init__(self, folder: Path, pack: Pack, config: Config, vocabulary: Vocabulary | None) -> None:
        """`pack`: the training split, from which images and captions are taken, spread evenly."""
        self.folder, self.config = folder, config
        usable = pack.usable(config.modality)
        spread = np.linspace(0, len(usable) - 1, min(CAPTIONS, len(usable))).astype(int)
        words = config.text_encoder.max_words
        (self.batch,) = evaluation_batches(
            pack, usable[spread], CAPTIONS, config.modality, vocabulary, words, config.generated_size
        )

    def file(self, step: int) -> Path:
        """That of a step: `samples/step-00001000.png`."""
        return self.folder / f"step-{step:08d}.png"

    @torch.no_grad()
    def generate(self, generator: nn.Module, encoder: nn.Module, step: int) -> None:
        """Write the file of a step."""
        device = next(generator.parameters()).device
        batch = self.batch.to(device)
        encoding = encoder(batch.inputs, batch.lengths)
        rows = [batch.images]
        for row in range(OUTPUTS):
            keys = [f"{row} {caption}" for caption in batch.captions.tolist()]
            noise = (values.to(device) for values in generator.sample_noise(keys, self.config.seed))
            rows.append(generator(encoding, *noise).images[-1])
        images = to_uint8(torch.cat(rows).cpu())
        save_png(grid(images, columns=len(batch)), self.file(step))
