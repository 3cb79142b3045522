"""Data sets of a few images with tones for speech, small enough to pack in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from s2i.config import Config, DataConfig, GeneratorConfig
from s2i.data.manifest import Caption, ImageRecord, write_manifest


def tiny_config(folder: Path, image_size: int = 16) -> Config:
    data = DataConfig(root=str(folder), manifest=str(folder / "manifest.jsonl"), pack=str(folder / "pack"))
    return Config(data=data, generator=GeneratorConfig(stages=1, base_size=image_size))


def write_tiny_data(
    folder: Path, train: int = 12, val: int = 4, classes: int = 4, captions: int = 2, text: bool = True
) -> list[ImageRecord]:
    """Noise images of several sizes; captions are tones of .2 to .6 s; class ids 10, 20, ..."""
    random = np.random.default_rng(0)
    images = []
    for number in range(train + val):
        split = "train" if number < train else "val"
        width, height = random.integers(24, 48, size=2)
        pixels = random.integers(256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        spoken = []
        for index in range(captions):
            name = f"{number}-{index}.wav"
            samples = int(22050 * random.uniform(0.2, 0.6))
            tone = 0.3 * np.sin(np.arange(samples) * random.uniform(0.02, 0.5))
            tone += 0.01 * random.normal(size=samples)
            soundfile.write(folder / name, tone, 22050)
            words = " ".join(["a", "small", "bird", "with", "wings"][: 1 + (number + index) % 5])
            spoken.append(Caption(words if text else None, name, "voice", "en"))
        class_id = 10 * (1 + number % classes)
        box = (2.0, 2.0, 16.0, 12.0) if number % 2 else None
        images.append(
            ImageRecord(str(number), f"{number}.png", box, class_id, f"bird {class_id}", split, tuple(spoken))
        )
    write_manifest(folder / "manifest.jsonl", images)
    return images


COLOURS = {"red": (210, 40, 40), "green": (40, 190, 40), "blue": (40, 40, 210), "white": (240, 240, 240)}


def write_telling_data(folder: Path, train: int = 16, val: int = 8) -> list[ImageRecord]:
    """Images of one colour each; the captions tell it, in words and by the pitch of a tone. Validation
    captions have a word, "zebra", that no training caption has."""
    random = np.random.default_rng(0)
    images = []
    for number in range(train + val):
        split = "train" if number < train else "val"
        class_id = number % len(COLOURS)
        name, colour = list(COLOURS.items())[class_id]
        pixels = np.clip(colour + random.normal(scale=12, size=(24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        captions = []
        for index in range(2):
            time = np.arange(int(22050 * random.uniform(0.25, 0.6))) / 22050
            tone = 0.3 * np.sin(2 * np.pi * 250 * 2**class_id * time) + 0.01 * random.normal(size=len(time))
            soundfile.write(folder / f"{number}-{index}.wav", tone, 22050)
            words = ["a", "bird", "that", "is", name, *(["zebra"] if split == "val" else [])]
            text = " ".join(words[index * 3 :])
            captions.append(Caption(text, f"{number}-{index}.wav", "voice", "en"))
        images.append(
            ImageRecord(str(number), f"{number}.png", None, class_id, f"{name} bird", split, tuple(captions))
        )
    write_manifest(folder / "manifest.jsonl", images)
    return images
