"""The networks that metrics need, by name: how each extractor is made, and which setting it needs.

EXTRACTORS is the one place where a name is bound. Another package adds an extractor without touching it: a
protocol names it `module:function`, and the function takes `MetricNetworks` and returns an `Extractor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from s2i.config import EvaluationConfig
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.classifier import Classifier, classifier_extractor, load_classifier
from s2i.evaluation.extractors import Extractor, image_extractor, pixel_extractor
from s2i.evaluation.inception import inception_extractor
from s2i.evaluation.inception_weights import PUBLISHED
from s2i.evaluation.r_precision_encoder import RPrecisionEncoder, load_r_precision_encoder
from s2i.inference.path import GenerationPath
from s2i.plugins import find_outside

CLASSIFIER, R_PRECISION_ENCODER, ENCODERS, PIXELS = "classifier", "r_precision_encoder", "encoders", "pixels"


class MetricNetworks:
    """What scores one path's images: each network loaded once, when a metric first needs it."""

    def __init__(self, path: GenerationPath, settings: EvaluationConfig, pack: Pack) -> None:
        self.path, self.settings, self.pack = path, settings, pack
        self.extractors: dict[str, Extractor | None] = {}

    @cached_property
    def classifier(self) -> Classifier | None:
        """None without `evaluation.classifier`. Raises InputError for one that was trained on the images that
        it is to score."""
        folder = self.settings.classifier
        if not folder:
            return None
        classifier = load_classifier(folder, self.path.device)
        if self.pack.fingerprint == (classifier.data or {}).get("train"):
            raise InputError(
                f"expected a classifier that never saw {self.pack.folder}, found one trained on it in"
                f" {folder}: set classifier.pack to other images and train it again"
            )
        return classifier

    @cached_property
    def r_precision_encoder(self) -> RPrecisionEncoder | None:
        """None without `evaluation.r_precision_encoder`."""
        folder = self.settings.r_precision_encoder
        return load_r_precision_encoder(folder, self.path) if folder else None

    def extractor(self, name: str) -> Extractor | None:
        """The extractor of that name, None where none is configured. Raises InputError for one that is
        configured and can't be had."""
        if name not in self.extractors:
            self.extractors[name] = find_extractor(name).make(self)
        return self.extractors[name]

    def require(self, name: str) -> Extractor:
        """As `extractor`; raises InputError where none is configured."""
        extractor = self.extractor(name)
        if extractor is None:
            setting = find_extractor(name).setting
            remedy = f"set evaluation.{setting}" if setting else "leave its protocols out"
            raise InputError(f"expected a {name} to extract features, found none: {remedy}")
        return extractor


@dataclass(frozen=True)
class Registration:
    """How an extractor is made; `setting`: the key of `evaluation` without which there is none."""

    make: Callable[[MetricNetworks], Extractor | None]
    setting: str = ""


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


def _of_pixels(networks: MetricNetworks) -> Extractor:
    return pixel_extractor()


EXTRACTORS = {
    CLASSIFIER: Registration(_of_classifier, "classifier"),
    R_PRECISION_ENCODER: Registration(_of_r_precision_encoder, "r_precision_encoder"),
    ENCODERS: Registration(_of_encoders),
    PIXELS: Registration(_of_pixels),
    **{name: Registration(partial(_of_inception, name=name), "inception_weights") for name in PUBLISHED},
}


def find_extractor(name: str) -> Registration:
    """The registration of a name in EXTRACTORS, or of `module:function`. Raises InputError for another."""
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    if ":" in name:
        return Registration(find_outside(name, "a protocol's extractor"))
    raise InputError(
        f"expected an extractor out of {', '.join(EXTRACTORS)}, or module:function, found {name!r}"
    )
