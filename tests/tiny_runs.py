"""A tiny world to measure: packs of coloured images with attributes, a GAN run a modality, a classifier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from s2i.config import (
    ClassifierConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    LogConfig,
)
from s2i.config_files import config_to_dict, save_config
from s2i.data.manifest import Caption, ImageRecord, write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.text import Vocabulary
from s2i.models.build import build_caption_encoder, build_generator, build_image_encoder
from s2i.runs.checkpoint import write_checkpoint
from s2i.runs.fingerprints import read_fingerprints
from s2i.training.classifier import train_classifier
from tests.tiny import tiny_model_config

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
SCHEMA = {"wing": list(COLOURS), "belly": list(COLOURS), "size": ["small", "large"]}


def write_world(folder: Path, classifier_steps: int = 60, attributes: bool = True) -> dict[str, Path]:
    """Folders of the runs: {"speech", "text", "classifier"}. Test captions have seen and unseen voices.
    Without `attributes`, images have classes alone, as photographs have."""
    root = folder / "birds"
    write_birds(root, {"train": (4, 6), "val": (2, 4), "test": (5, 6)}, 0, attributes=attributes)
    other = folder / "classifier_birds"
    write_birds(other, {"train": (18, 10), "val": (18, 2)}, 1, captions=0, attributes=attributes)
    runs = {name: folder / "exp" / f"tiny-{name}" for name in ("speech", "text", "classifier")}
    config = replace(
        tiny_model_config("speech"),
        data=DataConfig(root=str(root), manifest=str(root / "manifest.jsonl"), pack=str(root / "pack")),
        evaluation=EvaluationConfig(captions=2, batch_size=8, classifier=str(runs["classifier"])),
        classifier=ClassifierConfig(
            pack=str(folder / "classifier_birds" / "pack"),
            channels=(8, 16),
            feature_dim=16,
            steps=classifier_steps,
        ),
        log=LogConfig(every=20),
        threads=1,
    )
    build_pack(config, ("train", "val", "test"))
    data = DataConfig(root=str(other), manifest=str(other / "manifest.jsonl"), pack=str(other / "pack"))
    build_pack(replace(config, data=data), ("train", "val"))
    with torch.random.fork_rng():
        train_classifier(replace(config, run=str(runs["classifier"])))
        for modality in ("speech", "text"):
            write_gan_run(runs[modality], replace(config, modality=modality, run=str(runs[modality])))
    return runs


def write_gan_run(folder: Path, config: Config, seed: int = 0) -> None:
    """A run as a GAN training leaves it, of random weights."""
    vocabulary = None
    if config.modality == "text":
        vocabulary = Vocabulary.build(Pack(Path(config.data.pack) / "train").texts())
    with torch.random.fork_rng():
        width = build_caption_encoder(config, len(vocabulary or ())).embedding_dim
        torch.manual_seed(seed)
        nets = {
            "ema": build_generator(config, width).state_dict(),
            "caption_encoder": build_caption_encoder(config, len(vocabulary or ())).state_dict(),
            "image_encoder": build_image_encoder(config, width).state_dict(),
        }
    state = {
        "kind": "gan",
        "config": config_to_dict(config),
        "vocabulary": vocabulary.to_list() if vocabulary else None,
        "step": 40,
        "data": read_fingerprints(config.data.pack),
        "nets": nets | {"generator": nets["ema"]},
    }
    write_checkpoint(folder / "checkpoints" / "last.pt", state)
    save_config(config, folder / "config.yaml")
    lines = [
        {"step": step, "seconds": step / 2, "d_8/real_c": 2 / step, "g_8/conditional": 1 + 1 / step}
        for step in (10, 20, 30, 40)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_birds(
    root: Path, splits: dict[str, tuple[int, int]], seed: int, captions: int = 3, attributes: bool = True
) -> None:
    """Images and attributes of {split: (classes, images of each)}, and tones for captions."""
    random = np.random.default_rng(seed)
    root.mkdir(parents=True)
    tuples = [(wing, belly, size) for wing in COLOURS for belly in COLOURS for size in SCHEMA["size"]]
    tuples = [tuples[place] for place in random.permutation(len(tuples))]
    images, species = [], 0
    for split, (classes, each) in splits.items():
        for _ in range(classes):
            known = dict(zip(SCHEMA, tuples[species % len(tuples)], strict=True))
            for number in range(each):
                name = f"{split}-{species}-{number}"
                _generate(known, random).save(root / f"{name}.png")
                spoken = [_speak(root, name, place, split, known, random) for place in range(captions)]
                fields = (name, f"{name}.png", None, species, f"bird {species}", split)
                images.append(ImageRecord(*fields, tuple(spoken), known))
            species += 1
    if attributes:
        (root / "attributes.json").write_text(json.dumps(SCHEMA))
    else:
        images = [_bare(image) for image in images]
    write_manifest(root / "manifest.jsonl", images)


def _bare(image: ImageRecord) -> ImageRecord:
    captions = tuple(replace(caption, mentions=()) for caption in image.captions)
    return replace(image, attributes={}, captions=captions)


def _generate(attributes: dict[str, str], random: np.random.Generator) -> Image.Image:
    """Left half wing, right half belly, as high as the bird is large; grey around."""
    pixels = random.integers(110, 146, size=(38, 38, 3)).astype(np.uint8)
    half = 16 if attributes["size"] == "large" else 8
    pixels[19 - half : 19 + half, 3:19] = COLOURS[attributes["wing"]]
    pixels[19 - half : 19 + half, 19:35] = COLOURS[attributes["belly"]]
    return Image.fromarray(pixels)


def _speak(
    root: Path, name: str, place: int, split: str, attributes: dict[str, str], random: np.random.Generator
) -> Caption:
    mentions = ("wing", "belly") if place % 2 else ("wing", "size")
    text = "a bird with " + " and ".join(f"{attributes[part]} {part}" for part in mentions)
    seconds = random.uniform(0.5, 0.9)
    tone = 0.3 * np.sin(np.arange(int(22050 * seconds)) * random.uniform(0.05, 0.3))
    path = f"{name}-{place}.wav"
    soundfile.write(root / path, tone, 22050)
    speaker = "unseen" if split == "test" and place == 1 else f"voice {place % 2}"
    return Caption(text, path, speaker, "en", mentions)
