"""The networks that metrics need, by name: how each extractor is made, and which setting it needs.

EXTRACTORS is the one place where a name is bound. Another package adds an extractor without touching it: a
protocol names it `module:function`, and the function takes `MetricNetworks` and returns an `Extractor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from s2i.config import EvaluationConfig
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.classifier import Classifier, classifier_extractor, load_classifier
from s2i.evaluation.extractors import Extractor, image_extractor, pixel_extractor
from s2i.evaluation.imagenet_networks import imagenet_extractor
from s2i.evaluation.inception import inception_extractor
from s2i.evaluation.inception_weights import DOWNLOAD, PUBLISHED
from s2i.evaluation.r_precision_encoder import RPrecisionEncoder, load_r_precision_encoder
from s2i.inference.path import GenerationPath
from s2i.plugins import find_outside
from s2i.runs.provenance import Origins, refuse_shared

CLASSIFIER, R_PRECISION_ENCODER, ENCODERS, PIXELS = "classifier", "r_precision_encoder", "encoders", "pixels"
EFFICIENTNET_LITE0, MOBILENET_V2 = "efficientnet_lite0", "mobilenet_v2"


class MetricNetworks:
    """What scores one path's images: each network loaded once, when a metric first needs it."""

    def __init__(self, path: GenerationPath, settings: EvaluationConfig, pack: Pack) -> None:
        self.path, self.settings, self.pack = path, settings, pack
        self.extractors: dict[str, Extractor | None] = {}

    @cached_property
    def classifier(self) -> Classifier | None:
        """None without `evaluation.classifier`. Raises InputError for one that was trained on the images that
        it is to score, or shares weights with what trained the generator."""
        folder = self.settings.classifier
        if not folder:
            return None
        classifier = load_classifier(folder, self.path.device)
        if self.pack.fingerprint == (classifier.data or {}).get("train"):
            raise InputError(
                f"expected a classifier that never saw {self.pack.folder}, found one trained on it in"
                f" {folder}: set classifier.pack to other images and train it again"
            )
        self._refuse_shared(CLASSIFIER, classifier.origins)
        return classifier

    @cached_property
    def trained_by(self) -> Origins:
        """What had a part in the generator's training."""
        return self.path.all_trained_by()

    @cached_property
    def r_precision_encoder(self) -> RPrecisionEncoder | None:
        """None without `evaluation.r_precision_encoder`."""
        folder = self.settings.r_precision_encoder
        return load_r_precision_encoder(folder, self.path) if folder else None

    def extractor(self, name: str) -> Extractor | None:
        """The extractor of that name, None where none is configured. Raises InputError for one that is
        configured and can't be had, or that shares weights with what trained the generator."""
        if name not in self.extractors:
            extractor = find_extractor(name).make(self)
            if extractor is not None:
                self._refuse_shared(name, extractor.weights)
            self.extractors[name] = extractor
        return self.extractors[name]

    def require(self, name: str) -> Extractor:
        """As `extractor`; raises InputError where none is configured."""
        extractor = self.extractor(name)
        if extractor is None:
            setting = find_extractor(name).setting
            remedy = f"set evaluation.{setting}" if setting else "leave its protocols out"
            raise InputError(f"expected a {name} to extract features, found none: {remedy}")
        return extractor

    def _refuse_shared(self, name: str, weights: Origins) -> None:
        remedy = find_extractor(name).otherwise
        refuse_shared(self.trained_by, weights, f"a scoring network {name}", remedy)


@dataclass(frozen=True)
class Registration:
    """How an extractor is made.

    `setting`: the key of `evaluation` without which there is none; `asked`: its value where a protocol is
    asked for by name and it has none; `otherwise`: what to do where the extractor had a part in the training.
    """

    make: Callable[[MetricNetworks], Extractor | None]
    setting: str = ""
    asked: Any = None
    otherwise: str = "measure by another network"


def _of_classifier(networks: MetricNetworks) -> Extractor | None:
    return classifier_extractor(networks.classifier) if networks.classifier else None


def _of_r_precision_encoder(networks: MetricNetworks) -> Extractor | None:
    return networks.r_precision_encoder.extractor() if networks.r_precision_encoder else None


def _of_encoders(networks: MetricNetworks) -> Extractor | None:
    """The path's own image encoder; None of a model that was imported without one."""
    encoder, width = networks.path.image_encoder, networks.path.embedding_dim
    return image_extractor(ENCODERS, "the run's own encoders", encoder, width) if encoder else None


def _of_inception(networks: MetricNetworks, name: str) -> Extractor | None:
    weights = networks.settings.inception_weights
    return inception_extractor(name, weights, networks.path.device) if weights else None


def _of_efficientnet_lite0(networks: MetricNetworks) -> Extractor | None:
    if not networks.settings.efficientnet_lite0:
        return None
    return imagenet_extractor(EFFICIENTNET_LITE0, device=networks.path.device)


def _of_mobilenet_v2(networks: MetricNetworks) -> Extractor | None:
    settings, device = networks.settings, networks.path.device
    if not settings.mobilenet_weights:
        return None
    file = "" if settings.mobilenet_weights == DOWNLOAD else settings.mobilenet_weights
    return imagenet_extractor(MOBILENET_V2, file, settings.mobilenet_normalization, device)


def _of_pixels(networks: MetricNetworks) -> Extractor:
    return pixel_extractor()


EXTRACTORS = {
    CLASSIFIER: Registration(
        _of_classifier, "classifier", otherwise="train another with s2i train-classifier"
    ),
    R_PRECISION_ENCODER: Registration(_of_r_precision_encoder, "r_precision_encoder"),
    ENCODERS: Registration(_of_encoders),
    PIXELS: Registration(_of_pixels),
    EFFICIENTNET_LITE0: Registration(
        _of_efficientnet_lite0,
        "efficientnet_lite0",
        True,
        "measure by mobilenet_v2 (evaluation.mobilenet_weights) or by the classifier",
    ),
    MOBILENET_V2: Registration(
        _of_mobilenet_v2,
        "mobilenet_weights",
        DOWNLOAD,
        "measure by efficientnet_lite0 (evaluation.efficientnet_lite0=true) or by the classifier",
    ),
    **{
        name: Registration(
            partial(_of_inception, name=name),
            "inception_weights",
            DOWNLOAD,
            "measure by the classifier, or by efficientnet_lite0 (evaluation.efficientnet_lite0=true)",
        )
        for name in PUBLISHED
    },
}


def asked_for(settings: EvaluationConfig, extractors: Iterable[str]) -> EvaluationConfig:
    """The settings with which these extractors, asked for by name, are there without being configured."""
    for registration in map(find_extractor, extractors):
        if registration.asked is not None and not getattr(settings, registration.setting):
            settings = replace(settings, **{registration.setting: registration.asked})
    return settings


def find_extractor(name: str) -> Registration:
    """The registration of a name in EXTRACTORS, or of `module:function`. Raises InputError for another."""
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    if ":" in name:
        return Registration(find_outside(name, "a protocol's extractor"))
    raise InputError(
        f"expected an extractor out of {', '.join(EXTRACTORS)}, or module:function, found {name!r}"
    )
