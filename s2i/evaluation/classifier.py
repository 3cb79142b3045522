"""Scoring with a trained classifier: the features and the predictions of images.

No training loss ever sees it. It reads the attributes of images where the data has them, else their class;
the layer before its heads gives the features of classifier-based distances. `s2i.training.classifier` trains
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.config_files import config_from_dict
from s2i.errors import InputError
from s2i.evaluation.extractors import FEATURES, Extractor, weights_identity
from s2i.models.classifier import ClassifierNetwork
from s2i.runs.checkpoint import LAST, read_checkpoint
from s2i.runs.fingerprints import Fingerprints, refuse_other_data
from s2i.runs.provenance import Origins, origins_of_network


@dataclass(frozen=True)
class Predictions:
    """What a classifier sees in N images: features (N, F) and {head: probabilities (N, values)}, float32, on
    the CPU."""

    features: np.ndarray
    probabilities: dict[str, np.ndarray]

    def answers(self, head: str) -> np.ndarray:
        """The most likely value's index: (N,)."""
        return self.probabilities[head].argmax(1)


class Classifier:
    """A trained classifier. `heads`: {attribute or "class": its values in order}; `data`: fingerprints of the
    packs that it was trained on, None where it doesn't know them; `identity`: a short hash of its weights,
    for records; `origins`: of its weights, and of networks that it was trained by, where it records any."""

    def __init__(
        self,
        network: ClassifierNetwork,
        heads: dict[str, list[str]],
        data: Fingerprints | None,
        device: torch.device | str = "cpu",
        trained_by: Origins | None = None,
    ) -> None:
        self.heads, self.data, self.device = heads, data, torch.device(device)
        self.identity = weights_identity(network)
        self.origins = {**(trained_by or {}), **origins_of_network(network, "the classifier")}
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
                outputs = self.network(images.to(self.device))
                features.append(outputs[0].float().cpu())
                logits.append({name: value.float().softmax(1).cpu() for name, value in outputs[1].items()})
        probabilities = {name: torch.cat([batch[name] for batch in logits]).numpy() for name in self.heads}
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
    network = ClassifierNetwork(config.classifier, saved["heads"], saved["input_size"])
    network.load_state_dict(saved["nets"]["classifier"])
    return Classifier(network, saved["heads"], data, device, saved.get("trained_by"))


def classifier_extractor(classifier: Classifier) -> Extractor:
    """The classifier's features and, for each head, its probabilities as "probabilities of <head>"."""
    size = classifier.network.input_size

    def extract(images: Tensor) -> dict[str, Tensor]:
        predictions = classifier.look([images])
        features = {FEATURES: torch.from_numpy(predictions.features)}
        return features | {
            probabilities_of(head): torch.from_numpy(values)
            for head, values in predictions.probabilities.items()
        }

    outputs = {FEATURES: classifier.width} | {
        probabilities_of(head): len(values) for head, values in classifier.heads.items()
    }
    resize = f"antialiased bilinear to {size} px where the image has another size"
    return Extractor(
        "classifier", "classifier", classifier.identity, resize, outputs, extract, classifier.origins
    )


def probabilities_of(head: str) -> str:
    """The output of a classifier's extractor that holds a head's probabilities."""
    return f"probabilities of {head}"
