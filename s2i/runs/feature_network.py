"""The frozen network in whose features a generator's training compares images, with its weights."""

from __future__ import annotations

from s2i.config import Config
from s2i.models.efficientnet_lite0 import FEATURE_CHANNELS, FEATURE_STRIDES
from s2i.models.feature_network import FeatureNetwork
from s2i.runs.pretrained_weights import efficientnet_lite0


def load_feature_network(config: Config) -> FeatureNetwork:
    """EfficientNet-lite0 as Projected GAN looks through it, on the CPU.

    Raises InputError where its package is missing or holds another file.
    """
    return FeatureNetwork(efficientnet_lite0(), FEATURE_CHANNELS, FEATURE_STRIDES, config.feature_input_size)
