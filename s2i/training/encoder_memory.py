"""Bytes of a step of an encoder's training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from s2i.config import Config
from s2i.data.batches import Batch
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import KINDS
from s2i.training.memory import PlacedNetwork, make_moments, placed, without_data
from s2i.training.micro_batches import use_micro_batches
from s2i.training.optim import adam
from s2i.training.step_engine import StepEngine

CLASSES, WORDS = 150, 5000  # of CUB's training split
SECONDS = 6.0  # of the longest caption in a batch
REGION_SIDES = {"inception_v3": 17}  # of a frozen network's map, where it is not averaged; else 14


Build = Callable[[Config, int, int], nn.Module]  # (configuration, words, classes) -> networks with a loss


def count_encoder_peak(
    build: Build, config: Config, batch_size: int, device: torch.device | str = "cpu"
) -> int:
    """The most bytes that a step has at one time. `build`: `s2i.training.encoder.EncoderNetworks`."""
    with without_data() as live:
        step = EncoderStep(build, config, batch_size, torch.device(device))
        live.peak = live.now
        step()
    return live.peak


class EncoderStep:
    """A step of an encoder's training on random captions and images, with networks of initial weights."""

    def __init__(self, build: Build, config: Config, batch_size: int, device: torch.device) -> None:
        self.engine = StepEngine(config, device)
        self._networks = placed(lambda: build(config, WORDS, CLASSES), device)
        settings, image_encoder = config.image_encoder, self._networks.image_encoder
        is_pretrained = isinstance(image_encoder, PretrainedImageEncoder)
        if is_pretrained and not settings.cached_crops:
            shape = settings.kind, settings.input_size, settings.input_normalization
            image_encoder.use_backbone(placed(lambda: PlacedNetwork(*shape), device))
        self._optimiser = adam(self._networks.parameters(), config.matching.optimiser)
        make_moments(self._optimiser)
        self._batch = _batch(config, batch_size, device)
        use_micro_batches(config.micro_batch, self._networks.caption_encoder, image_encoder)

    def __call__(self) -> None:
        """Take it."""
        with self.engine.autocast():
            total, _ = self._networks(self._batch)
        self._optimiser.zero_grad(set_to_none=True)
        self.engine.backward(total)
        self._optimiser.step()


def _batch(config: Config, rows: int, device: torch.device) -> Batch:
    settings, numbers = config.image_encoder, torch.arange(rows, device=device)
    images = pooled = regions = mels = other = tokens = None
    if settings.cached_crops:
        kind, side = KINDS[settings.kind], settings.region_side or REGION_SIDES.get(settings.kind, 14)
        pooled = torch.rand(rows, kind.channels, device=device)
        if config.matching.region_weight:
            regions = torch.rand(rows, kind.region_channels, side**2, device=device)
    else:
        images = torch.rand(rows, 3, config.packed_size, config.packed_size, device=device) * 2 - 1
    if config.modality == "speech":
        frames = round(SECONDS / config.audio.hop)
        mels = torch.rand(rows, config.audio.mel_bins, frames, device=device)
        lengths = torch.full((rows,), frames, device=device)
        other = mels.clone() if config.matching.invariance_weight else None
    else:
        words = min(24, config.text_encoder.max_words)
        tokens = torch.randint(1, WORDS, (rows, words), device=device)
        lengths = torch.full((rows,), words, device=device)
    return Batch(
        images,
        numbers % CLASSES,
        numbers,
        numbers,
        pooled=pooled,
        regions=regions,
        mels=mels,
        mel_lengths=lengths,
        other_mels=other,
        other_mel_lengths=lengths if other is not None else None,
        tokens=tokens,
        token_lengths=lengths,
    )
