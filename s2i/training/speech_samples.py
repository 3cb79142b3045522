"""Samples of a training that generates speech: fixed training images, fixed noise, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from s2i.config import Config
from s2i.data.batches import evaluation_batches
from s2i.data.images import grid, save_png
from s2i.data.pack import Pack
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.log_mel_generator import laid_out

IMAGES = 6  # rows of the grid


class SpeechSamples:
    """Log-mels, low bins below: a row an image, its caption's recording beside what is generated."""

    def __init__(self, folder: Path, pack: Pack, config: Config) -> None:
        """`pack`: the training split, from which images and recordings are taken, spread evenly."""
        self.folder, self.config = folder, config
        usable = pack.usable("speech")
        chosen = usable[np.linspace(0, len(usable) - 1, min(IMAGES, len(usable))).astype(int)]
        (self.batch,) = evaluation_batches(pack, chosen, IMAGES, "speech", image_size=config.packed_size)
        rows = [torch.from_numpy(pack.unnormalised(index)).T for index in self.batch.captions.tolist()]
        lengths = torch.tensor([row.shape[1] for row in rows])
        longest = int(lengths.max())
        self.recordings = torch.stack([nn.functional.pad(row, (0, longest - row.shape[1])) for row in rows])
        self.lengths = lengths

    def file(self, step: int) -> Path:
        """That of a step: `speech/step-00001000.png`."""
        return self.folder / f"step-{step:08d}.png"

    @torch.no_grad()
    def generate(self, image_encoder: nn.Module, generator: nn.Module, step: int) -> None:
        """Write the file of a step."""
        device = generator.scale.least.device
        code = CaptionEncoding.of_vectors(image_encoder(self.batch.images.to(device))[0])
        keys = [str(caption) for caption in self.batch.captions.tolist()]
        noise = (values.to(device) for values in generator.sample_noise(keys, self.config.seed))
        generated = generator.scale.to_unit(generator(code, *noise)).cpu()
        silence = float(generator.scale.least)
        real = laid_out(self.recordings, self.lengths, generator.frames, silence)
        real = generator.scale.to_unit(real.to(device)).cpu()
        tiles = torch.stack((real, generated), 1).flatten(0, 1).flip(1)  # low bins below
        values = (255 * (tiles + 1) / 2).round().to(torch.uint8).numpy()
        self.folder.mkdir(parents=True, exist_ok=True)
        save_png(grid(np.repeat(values[..., None], 3, 3), columns=2), self.file(step))
