"""Whether a bird is to be seen in a generated image, by a network that trained nothing here."""

from __future__ import annotations

import numpy as np

from s2i.evaluation.captions import GENERATED
from s2i.evaluation.extractors import LOGITS
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.imagenet_networks import BIRD_CLASSES, CLASSES
from s2i.evaluation.protocols.protocol import REAL, protocol
from s2i.evaluation.score import Score, mean_score


@protocol("efficientnet_lite0", GENERATED, REAL)
def bird_share_by_efficientnet_lite0(bank: FeatureBank) -> list[Score]:
    """For data of birds. bird_share: share of the generated images (last stage, 8-bit) whose likeliest of
    ImageNet's 1,000 classes is one of its 59 birds (from 0: 7-24, 80-100, 127-146), by EfficientNet-lite0; a
    model that it trained is refused. All images are brought to 224 px by an antialiased bicubic filter, which
    was chosen on real photographs of training classes that had been reduced to 64 px, never on generated
    images. real: all real images of the split, centre crops of the generated ones' size, enlarged alike.
    chance: the share of ImageNet's classes that are birds, 59 / 1,000. Intervals: t over classes."""
    return _bird_share(bank, "efficientnet_lite0")


@protocol("mobilenet_v2", GENERATED, REAL)
def bird_share_by_mobilenet_v2(bank: FeatureBank) -> list[Score]:
    """bird_share_by_efficientnet_lite0 (real images: centre crops of the generated ones' size), by
    MobileNet-v2 in place of EfficientNet-lite0: for models that the latter trained."""
    return _bird_share(bank, "mobilenet_v2")


def _bird_share(bank: FeatureBank, name: str) -> list[Score]:
    if bank.extractor(name) is None or len(bank.captions.generated) == 0:
        return []
    scores = []
    for of, features, labels in (
        ("run", bank.generated(name), bank.captions.labels(bank.captions.generated)),
        ("real", bank.real(name), bank.pack.labels),
    ):
        hits = np.isin(features[LOGITS].argmax(1), BIRD_CLASSES).astype(np.float64)
        scores.append(mean_score("bird_share", hits, labels, {"images": len(hits)}, of=of))
    return [*scores, Score("bird_share", len(BIRD_CLASSES) / CLASSES, scores[0].counts, of="chance")]
