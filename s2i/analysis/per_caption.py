"""What each caption comes to when it is heard or read otherwise than the pack has it: one value a caption."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from s2i.data.images import to_tensor, to_uint8
from s2i.evaluation.records import answers, known_attributes
from s2i.evaluation.subject import Subject, caption_key
from s2i.metrics import retrieval
from s2i.models.caption_encoding import CaptionEncoding

METRICS = {
    "recall@1": "a real image of the caption's class is the first of all images of the split, by the"
    " run's own matching model",
    "mAP": "average precision of the caption's class among all real images of the split, ranked by the"
    " cosine of the classifier's features with those of the generated image",
    "attribute_accuracy": "share of mentioned attributes that the classifier finds in the generated image",
}
TOLD = "; ".join(f"{metric.replace('_', ' ')}: {text}" for metric, text in METRICS.items())


@dataclass(frozen=True)
class Hits:
    """`values`: {metric: (N,)} of those METRICS that can be had; `mentions`: (N,), how many attributes each
    caption mentions, where any does."""

    values: dict[str, np.ndarray]
    mentions: np.ndarray | None

    def weights(self, metric: str) -> np.ndarray | None:
        """What each caption counts in a mean; None: all alike."""
        return self.mentions if metric == "attribute_accuracy" else None


def measure_hits(
    subject: Subject, captions: np.ndarray, encoded: Iterable[tuple[np.ndarray, CaptionEncoding]]
) -> Hits:
    """Generate captions from their own noise and look.

    Args:
        captions: (N,) indices in the pack.
        encoded: batches of them: places in `captions`, and an encoding of whatever stands for the caption.
    """
    names, classifier = known_attributes(subject), subject.classifier
    sentences = torch.empty(len(captions), subject.path.config.embedding_dim)
    features = torch.empty(len(captions), classifier.width) if classifier else None
    said = np.zeros((len(captions), len(names)), dtype=np.int64)
    for places, encoding in encoded:
        sentences[places] = encoding.sentence.float().cpu()
        if classifier:
            keys = [caption_key(subject.pack, int(captions[place])) for place in places]
            generated = to_uint8(subject.path.generate(encoding, keys, subject.evaluation.seed).images[-1])
            predictions = classifier.look([to_tensor(torch.from_numpy(generated))])
            features[places] = torch.from_numpy(predictions.features)
            if names:
                said[places] = np.stack([predictions.answers(name) for name in names], 1)
    classes = [torch.from_numpy(own) for own in (subject.labels(captions), subject.pack.labels)]
    values = {}
    if subject.path.image_encoder is not None:
        values["recall@1"] = retrieval.retrieve_by_class(sentences, subject.gallery, *classes)["recall@1"]
    if classifier and len(classes[1].unique()) > 1:
        real = torch.from_numpy(subject.predictions_of_real.features)
        values["mAP"] = retrieval.retrieve_by_class(features, real, *classes)["mAP"]
    found = {metric: each.numpy() for metric, each in values.items()}
    right, told = answers(subject, captions, names) if names else (said, said.astype(bool))
    if not told.any():
        return Hits(found, None)
    mentions = told.sum(1)
    return Hits(
        found | {"attribute_accuracy": ((said == right) & told).sum(1) / mentions.clip(min=1)}, mentions
    )
