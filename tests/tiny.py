"""Configurations small enough to train in every test, a GAN run of random weights, and what tests share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from s2i.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GanConfig,
    GeneratorConfig,
    ImageEncoderConfig,
    LogConfig,
    MatchingConfig,
    OptimiserConfig,
    SpeechEncoderConfig,
    TextEncoderConfig,
)
from s2i.config_files import config_to_dict
from s2i.data.text import Vocabulary
from s2i.models.build import build_caption_encoder, build_generator, build_image_encoder
from s2i.runs.checkpoint import write_checkpoint

SENTENCES = ["a small red bird with a black wing", "this bird is blue"]


def tiny_model_config(modality: str, attention: bool = True) -> Config:
    return Config(
        run="somewhere",
        modality=modality,
        precision="fp32",
        data=DataConfig(root="somewhere", manifest="data/manifest.jsonl", pack="data/pack"),
        gan=GanConfig(encoder="no/such/run"),
        speech_encoder=SpeechEncoderConfig(
            channels=(8, 8), hidden_dim=8, layers=1, attention_dim=4, segment=4, normalize="l2"
        ),
        text_encoder=TextEncoderConfig(embedding_dim=8, dropout=0.5, hidden_dim=8),
        image_encoder=ImageEncoderConfig(input_size=16, channels=(8, 8), normalize="l2"),
        generator=GeneratorConfig(
            stages=3,
            base_size=8,
            noise_dim=6,
            condition_dim=4,
            channels=8,
            min_channels=8,
            residual_blocks=1,
            attention=attention,
            dense=True,
            conditional_batch_norm=True,
        ),
    )


def tiny_training_config(data: Path, run: Path, modality: str = "speech") -> Config:
    """To train for a few steps on the data in a folder, with every term of the losses: 8 and 16 px."""
    config = tiny_model_config(modality)
    optimiser = OptimiserConfig(lr=5e-3, betas=(0.5, 0.99), clip=1.0)
    return replace(
        config,
        run=str(run),
        device="cpu",
        threads=1,
        data=DataConfig(
            root=str(data), manifest=str(data / "manifest.jsonl"), pack=str(data / "pack"), margin=1.25
        ),
        generator=replace(config.generator, stages=2),
        matching=MatchingConfig(
            steps=9,
            batch_size=4,
            optimiser=optimiser,
            class_weight=1.0,
            region_weight=1.0,
            validate_every=3,
        ),
        discriminator=DiscriminatorConfig(channels=4),
        gan=GanConfig(
            encoder=str(run.with_name(f"{modality}-encoder")),
            steps=9,
            batch_size=4,
            generator=optimiser,
            discriminator=optimiser,
            relation=optimiser,
            matching_weight=1.0,
            relation_weight=1.0,
            penalty="r1",
            penalty_every=2,
            ema=0.9,
            sample_every=4,
        ),
        log=LogConfig(every=3, checkpoint_every=4),
    )


def write_tiny_run(folder: Path, modality: str = "speech", attention: bool = True, seed: int = 0) -> Path:
    """A run folder whose last.pt a GAN training might have written; the weights that must not be used for
    generation are not numbers."""
    config = tiny_model_config(modality, attention)
    vocabulary = Vocabulary.build(SENTENCES) if modality == "text" else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        average = build_generator(config)
        # Running statistics that no batch has: whoever normalises by the batch generates something else.
        for part in average.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(std=0.3)
                part.running_var.uniform_(0.5, 2.0)
        nets = {
            "generator": {key: torch.full_like(value, -1) for key, value in average.state_dict().items()},
            "ema": average.state_dict(),
            "caption_encoder": build_caption_encoder(config, len(vocabulary or ())).state_dict(),
            "image_encoder": build_image_encoder(config).state_dict(),
        }
    state = {
        "kind": "gan",
        "config": config_to_dict(config),
        "vocabulary": vocabulary.to_list() if vocabulary else None,
        "step": 7,
        "nets": nets,
    }
    write_checkpoint(folder / "checkpoints" / "last.pt", state)
    (folder / "env.json").write_text(
        json.dumps({"commit": "c0ffee", "command": "s2i train-gan --config x.yaml"})
    )
    common = {
        "metric": "kid",
        "protocol": "classifier_distances",
        "counts": {"generated": 1200},
        "modality": modality,
    }
    lines = [{**common, "step": step, "value": step / 8, "interval95": [0.25, 1 / 3]} for step in (3, 6)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_recording(path: Path, seconds: float = 1.5, seed: int = 0, rate: int = 22050) -> Path:
    """A tone that wanders, in a little noise."""
    random = np.random.default_rng(seed)
    steps = random.uniform(0.02, 0.2, size=int(seconds * rate) // 1000 + 1).repeat(1000)[
        : int(seconds * rate)
    ]
    tone = 0.3 * np.sin(np.cumsum(steps)) + 0.02 * random.normal(size=len(steps))
    soundfile.write(path, tone.astype(np.float32), rate, subtype="FLOAT")
    return path


def same(first, second) -> bool:
    """Whether two checkpoints, or parts of them, are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second
