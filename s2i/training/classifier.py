"""Training a classifier, a network that only scores images: `s2i train-classifier`.

It learns the attributes of images where the data has them, else their class, from a pack of its own
(`classifier.pack`). `s2i.evaluation.classifier` scores with it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.config import Config, OptimiserConfig, ScheduleConfig
from s2i.config_files import require
from s2i.data.crops import image_batches, random_crops, read_images
from s2i.data.pack import Pack
from s2i.models.classifier import ClassifierNetwork
from s2i.progress import say
from s2i.runs.fingerprints import data_of_run
from s2i.runs.run import alone_in_its_run
from s2i.training.distributed import Engine
from s2i.training.loop import Training
from s2i.training.optim import adam, set_learning_rate

CLASS = "class"  # the only head where data has no attributes
_BRIGHTNESS = 0.1  # training images are lighter or darker by up to this part
_RISE = 0.3  # part of the steps in which the learning rate rises; then it falls to nothing (one cycle)


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
    heads = training_pack.attributes or {CLASS: training_pack.class_names()}
    engine = Engine.start(config, reads_captions=False)
    network = ClassifierNetwork(settings, heads, config.generated_size).to(engine.device)
    rise = ScheduleConfig(kind="linear", start=_RISE, warmup=int(_RISE * settings.steps))
    optimiser_settings = OptimiserConfig(lr=settings.lr, betas=(0.9, 0.999), schedule=rise)
    prepared, optimiser = engine.prepare(network, adam(network.parameters(), optimiser_settings))
    targets = {name: torch.from_numpy(values) for name, values in labels(training_pack, heads).items()}
    facts = {"kind": "classifier", "data": data, "heads": heads, "input_size": config.generated_size}
    with Training(
        engine, settings.steps, {"classifier": prepared, "optimiser": optimiser}, facts
    ) as training:
        prepared.train()
        for step in training.steps_left():
            rate = set_learning_rate(optimiser, optimiser_settings, step, settings.steps)
            begun = time.perf_counter()
            images, chosen = _batch(training_pack, network.input_size, settings.batch_size, config.seed, step)
            training.pace.waited(begun, len(images))
            _, logits = prepared(images.to(engine.device))
            loss = _loss(logits, {name: targets[name][chosen].to(engine.device) for name in heads})
            optimiser.zero_grad(set_to_none=True)
            engine.backward(loss)
            optimiser.step()
            training.record({"loss/classifier": loss, "lr/classifier": rate})
            if training.finished and engine.is_main:
                _validate(training, network, heads, validation_pack)
            training.save_if_due()
    return training.run.folder


def labels(pack: Pack, heads: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """The ground truth {head: (images,) int64}; -1 where an image's value is unknown to the classifier."""
    truth = {}
    for name, values in heads.items():
        index = {value: number for number, value in enumerate(values)}
        given = (image.class_name if name == CLASS else image.attributes.get(name) for image in pack.records)
        truth[name] = np.array([index.get(value, -1) for value in given], dtype=np.int64)
    return truth


def _loss(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Mean cross entropy of the heads; an unknown value (-1) does not count."""
    total = torch.stack(
        [F.cross_entropy(logits[name], targets[name], ignore_index=-1, reduction="sum") for name in targets]
    )
    known = torch.stack([(target >= 0).sum() for target in targets.values()])
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


def _validate(
    training: Training, network: ClassifierNetwork, heads: dict[str, list[str]], pack: Pack
) -> None:
    """Accuracy of each head on the validation split, into metrics.jsonl."""
    network.eval()
    predictions: dict[str, list[Tensor]] = {name: [] for name in heads}
    with torch.inference_mode():
        for images in image_batches(pack, network.input_size):
            _, logits = network(images.to(training.engine.device))
            for name, values in logits.items():
                predictions[name].append(values.argmax(1).cpu())
    for name, truth in labels(pack, heads).items():
        known = truth >= 0
        if not known.any():  # classes of validation that training lacks
            continue
        accuracy = float((torch.cat(predictions[name]).numpy() == truth)[known].mean())
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
        say(f"{training.run.label}: accuracy of {name} {accuracy:.4f} on {known.sum()} images of validation")
