"""Per-caption scores: one value a caption of each metric, for captions or for what replaces them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from s2i.data.images import to_tensor, to_uint8
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.mentions import known_attributes, mentioned_values
from s2i.metrics import retrieval
from s2i.models.caption_encoding import CaptionEncoding

METRICS = {
    "recall@1": "a real image of the caption's class is the first of all images of the split, by the"
    " run's own matching model",
    "mAP": "average precision of the caption's class among all real images of the split, ranked by the"
    " cosine of the classifier's features with those of the generated image",
    "attribute_accuracy": "share of mentioned attributes that the classifier finds in the generated image",
}
PROCEDURE = "; ".join(f"{metric.replace('_', ' ')}: {text}" for metric, text in METRICS.items())


@dataclass(frozen=True)
class CaptionScores:
    """`values`: {metric: (N,)} of those METRICS that the data allow; `mentions`: (N,), how many attributes
    each caption mentions, None where none does."""

    values: dict[str, np.ndarray]
    mentions: np.ndarray | None

    def weights(self, metric: str) -> np.ndarray | None:
        """The weight of each caption in a mean; None: all alike."""
        return self.mentions if metric == "attribute_accuracy" else None


def score_generated(bank: FeatureBank) -> CaptionScores:
    """Scores of the generated captions, from features that are there already."""
    captions = bank.captions.generated
    places = np.searchsorted(bank.captions.readable, captions)
    embeddings = bank.caption_embeddings[torch.from_numpy(places)]
    if not bank.classifier:
        return _score(bank, captions, embeddings, None, np.zeros((len(captions), 0), np.int64))
    predictions = bank.predictions_of_generated
    answers = [predictions.answers(name) for name in known_attributes(bank)]
    answers = np.stack(answers, 1) if answers else np.zeros((len(captions), 0), np.int64)
    return _score(bank, captions, embeddings, torch.from_numpy(predictions.features), answers)


def score_encodings(
    bank: FeatureBank, captions: np.ndarray, encodings: Iterable[tuple[np.ndarray, CaptionEncoding]]
) -> CaptionScores:
    """Generate images of other encodings from the captions' own noise, and score them.

    Args:
        captions: (N,) indices in the pack.
        encodings: batches of places in `captions`, and an encoding of what replaces each of these captions.
    """
    names, classifier = known_attributes(bank), bank.classifier
    embeddings = torch.empty(len(captions), bank.path.embedding_dim)
    features = torch.empty(len(captions), classifier.width) if classifier else None
    answers = np.zeros((len(captions), len(names)), dtype=np.int64)
    for places, encoding in encodings:
        embeddings[places] = encoding.sentence.float().cpu()
        if classifier:
            keys = [caption_key(bank.pack, int(captions[place])) for place in places]
            images = to_uint8(bank.path.generate(encoding, keys, bank.settings.seed).images[-1])
            predictions = classifier.look([to_tensor(torch.from_numpy(bank.captions.as_measured(images)))])
            features[places] = torch.from_numpy(predictions.features)
            if names:
                answers[places] = np.stack([predictions.answers(name) for name in names], 1)
    return _score(bank, captions, embeddings, features, answers)


def _score(
    bank: FeatureBank,
    captions: np.ndarray,
    embeddings: Tensor,
    features: Tensor | None,
    answers: np.ndarray,
) -> CaptionScores:
    """Scores from embeddings (N, D), the classifier's features (N, F) and its answers (N, attributes)."""
    classes = [torch.from_numpy(labels) for labels in (bank.captions.labels(captions), bank.pack.labels)]
    ranked = {}
    if bank.path.image_encoder is not None:
        by_caption = retrieval.retrieve_by_class(embeddings, bank.image_embeddings, *classes)
        ranked["recall@1"] = by_caption["recall@1"]
    if features is not None and len(classes[1].unique()) > 1:
        real = torch.from_numpy(bank.predictions_of_real.features)
        ranked["mAP"] = retrieval.retrieve_by_class(features, real, *classes)["mAP"]
    values = {metric: each.numpy() for metric, each in ranked.items()}
    names = known_attributes(bank)
    if not names:
        return CaptionScores(values, None)
    true, mentioned = mentioned_values(bank, captions, names)
    if not mentioned.any():
        return CaptionScores(values, None)
    mentions = mentioned.sum(1)
    values["attribute_accuracy"] = ((answers == true) & mentioned).sum(1) / mentions.clip(min=1)
    return CaptionScores(values, mentions)
