"""The classifier: a network that only scores images. No training loss ever sees it.

It reads the attributes of images where the data has them (one softmax an attribute), else their class; the
layer before gives the features of classifier-based distances. It is trained on a pack of its own
(`classifier.pack`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config import (
    ClassifierConfig,
    Config,
    OptimiserConfig,
    ScheduleConfig,
)
from s2i.config_files import config_from_dict, require
from s2i.data.crops import image_batches, random_crops, read_images
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.extractors import weights_identity
from s2i.progress import progress, say
from s2i.runs.checkpoint import LAST, read_checkpoint
from s2i.runs.fingerprints import Fingerprints, data_of_run, refuse_other_data
from s2i.runs.run import alone_in_its_run
from s2i.training.loop import Engine, Training, adam, set_learning_rate

CLASS = "class"  # the only head where data has no attributes
_BRIGHTNESS = 0.1  # training images are lighter or darker by up to this part
_RISE = 0.3  # part of the steps in which the learning rate rises; then it falls to nothing (one cycle)


@dataclass(frozen=True)
class Predictions:
    """What a classifier sees in N images: features (N, F) and {head: probabilities (N, values)}, float32, on
    the CPU."""

    features: np.ndarray
    probabilities: dict[str, np.ndarray]

    def answers(self, head: str) -> np.ndarray:
        """The most likely value's index: (N,)."""
        return self.probabilities[head].argmax(1)


class ClassifierNetwork(nn.Module):
    """A CNN with one linear head an attribute.

    Each block halves the side. The last map is kept as 4 x 4 places instead of averaged: where a colour lies
    tells whose it is.
    """

    def __init__(self, config: ClassifierConfig, heads: dict[str, list[str]], image_size: int) -> None:
        super().__init__()
        self.image_size, self.names = image_size, list(heads)
        layers: list[nn.Module] = []
        before = 3
        for width in config.channels:
            layers += [nn.Conv2d(before, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
            before = width
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.project = nn.Sequential(
            nn.Linear(before * 16, config.features, bias=False),
            nn.BatchNorm1d(config.features),
            nn.ReLU(True),
        )
        self.heads = nn.ModuleList(nn.Linear(config.features, len(values)) for values in heads.values())

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, 3, H, W) in [-1, 1] of any size -> features (B, F), logits {head: (B, values)}."""
        size = self.image_size
        if images.shape[-2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        features = self.project(self.backbone(images))
        return features, {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}


class Classifier:
    """A trained classifier. `heads`: {attribute or "class": its values in order}; `data`: fingerprints of the
    packs that it was trained on, None where it doesn't know them; `identity`: a short hash of its weights,
    for records."""

    def __init__(
        self,
        network: ClassifierNetwork,
        heads: dict[str, list[str]],
        data: Fingerprints | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.heads, self.data, self.device = heads, data, torch.device(device)
        self.identity = weights_identity(network)
        self.network = network.to(self.device).eval().requires_grad_(False)

    @property
    def width(self) -> int:
        """Numbers in an image's features (F)."""
        return self.network.project[0].out_features

    def look(self, batches: Iterable[Tensor]) -> Predictions:
        """Classifier images (B, 3, H, W) in [-1, 1], batch by batch; no image's scores depend on the
        others."""
        features, logits = [], []
        with torch.inference_mode():
            for images in batches:
                found = self.network(images.to(self.device))
                features.append(found[0].float().cpu())
                logits.append({name: value.float().softmax(1).cpu() for name, value in found[1].items()})
        probabilities = {name: torch.cat([part[name] for part in logits]).numpy() for name in self.heads}
        return Predictions(torch.cat(features).numpy(), probabilities)


def load_classifier(folder: str | Path, device: torch.device | str = "cpu") -> Classifier:
    """The classifier of a finished run of `train_classifier`.

    Raises InputError where there is none, and where its pack has become another since, so that nobody knows
    which of the images it has seen.
    """
    saved = read_checkpoint(Path(folder) / "checkpoints" / LAST)
    if saved.get("kind") != "classifier":
        raise InputError(
            f"expected a classifier in {folder}, found another kind of run: set evaluation.classifier"
        )
    config = config_from_dict(saved["config"], f"{folder}/checkpoints/{LAST}")
    if saved["step"] < config.classifier.steps:
        raise InputError(
            f"expected a finished classifier in {folder}, found one after step {saved['step']} of"
            f" {config.classifier.steps}: run s2i train-classifier again"
        )
    data = saved.get("data")
    refuse_other_data(
        data, config.classifier.pack, f"the classifier {folder}", "train one anew, into another folder"
    )
    network = ClassifierNetwork(config.classifier, saved["heads"], saved["image_size"])
    network.load_state_dict(saved["nets"]["classifier"])
    return Classifier(network, saved["heads"], data, device)


@alone_in_its_run
def train_classifier(config: Config) -> Path:
    """Train on `<classifier.pack>/train`, continue or find finished; returns the run's folder.

    Its accuracy on `<classifier.pack>/val` goes into metrics.jsonl. Raises InputError as the packs and the
    run do.
    """
    require(config, "run", "classifier.pack")
    settings = config.classifier
    data = data_of_run(config.run, settings.pack)
    training_pack, validation_pack = (Pack(Path(settings.pack) / split) for split in ("train", "val"))
    heads = training_pack.attributes or {CLASS: _class_names(training_pack)}
    engine = Engine.start(config, reads_captions=False)
    network = ClassifierNetwork(settings, heads, config.image_size).to(engine.device)
    rise = ScheduleConfig(kind="linear", start=_RISE, warmup=int(_RISE * settings.steps))
    optimiser_settings = OptimiserConfig(lr=settings.lr, betas=(0.9, 0.999), schedule=rise)
    prepared, optimiser = engine.prepare(network, adam(network.parameters(), optimiser_settings))
    answers = {name: torch.from_numpy(right) for name, right in labels(training_pack, heads).items()}
    facts = {"kind": "classifier", "data": data, "heads": heads, "image_size": config.image_size}
    with Training(
        engine, settings.steps, {"classifier": prepared, "optimiser": optimiser}, facts
    ) as training:
        prepared.train()
        steps = range(training.step, settings.steps)
        for step in progress(steps, settings.steps, training.run.label, training.step):
            rate = set_learning_rate(optimiser, optimiser_settings, step, settings.steps)
            images, chosen = _batch(training_pack, network.image_size, settings.batch_size, config.seed, step)
            _, logits = prepared(images.to(engine.device))
            right = {name: answers[name][chosen].to(engine.device) for name in heads}
            loss = _loss(logits, right)
            optimiser.zero_grad(set_to_none=True)
            engine.backward(loss)
            optimiser.step()
            training.record({"loss/classifier": loss, "lr/classifier": rate})
            if training.finished and engine.is_main:
                _measure(training, Classifier(network, heads, data, engine.device), validation_pack)
            training.save_if_due()
    return training.run.folder


def labels(pack: Pack, heads: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Right answers {head: (images,) int64}; -1 where an image's value is unknown to the classifier."""
    found = {}
    for name, values in heads.items():
        index = {value: number for number, value in enumerate(values)}
        told = (p.class_name if name == CLASS else p.attributes.get(name) for p in pack.records)
        found[name] = np.array([index.get(value, -1) for value in told], dtype=np.int64)
    return found


def _loss(logits: dict[str, Tensor], right: dict[str, Tensor]) -> Tensor:
    """Mean cross entropy of the heads; an unknown value (-1) does not count."""
    total = torch.stack(
        [F.cross_entropy(logits[name], right[name], ignore_index=-1, reduction="sum") for name in right]
    )
    known = torch.stack([(answer >= 0).sum() for answer in right.values()])
    return (total / known.clamp(min=1)).mean()


def _batch(pack: Pack, image_size: int, batch_size: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Random images in random crops, flips and brightness, as a function of (seed, step): (B, 3, S, S) in
    [-1, 1] and their indices (B,)."""
    batch_size = min(batch_size, len(pack.records))
    epoch, place = divmod(step, len(pack.records) // batch_size)
    order = np.random.default_rng((seed, epoch, 2)).permutation(len(pack.records))
    chosen = order[place * batch_size : (place + 1) * batch_size]
    random = np.random.default_rng((seed, step, 3))
    images = read_images(pack, chosen, random_crops(pack, random, batch_size), image_size)
    light = random.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS, size=(batch_size, 1, 1, 1)).astype(np.float32)
    return ((images + 1) * torch.from_numpy(light) - 1).clamp(max=1), torch.from_numpy(chosen)


def _measure(training: Training, classifier: Classifier, pack: Pack) -> None:
    predictions = classifier.look(image_batches(pack, classifier.network.image_size))
    for name, right in labels(pack, classifier.heads).items():
        known = right >= 0
        if not known.any():  # classes of validation that training lacks
            continue
        accuracy = float((predictions.answers(name) == right)[known].mean())
        training.run.metric(
            {
                "step": training.step,
                "metric": f"classifier_accuracy/{name}",
                "value": accuracy,
                "split": "val",
            }
            | {"protocol": "classifier_accuracy", "counts": {"images": int(known.sum())}}
            | {"weights": "live", "seed": training.engine.config.seed, "fingerprint": pack.fingerprint}
        )
        say(f"{training.run.label}: {name} right in {accuracy:.4f} of {known.sum()} images of validation")


def _class_names(pack: Pack) -> list[str]:
    names = {image.class_id: image.class_name for image in pack.records}
    return [names[class_id] for class_id in pack.class_labels]
