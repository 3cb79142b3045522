"""Attributes that captions mention: which the classifier knows, and their true values."""

from __future__ import annotations

import numpy as np

from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.training.classifier import CLASS, labels


def known_attributes(bank: FeatureBank) -> list[str]:
    """Attributes that both the data and the classifier know.

    Raises InputError where they don't name the same values.
    """
    if bank.classifier is None:
        return []
    names = [name for name in bank.pack.attributes if name in bank.classifier.heads and name != CLASS]
    for name in names:
        if bank.classifier.heads[name] != bank.pack.attributes[name]:
            raise InputError(
                f"expected a classifier that knows the values of {name} in {bank.pack.folder}, found"
                f" one of"
                f" other values in {bank.settings.classifier}: train it on images of the same attributes"
            )
    return names


def mentioned_values(
    bank: FeatureBank, captions: np.ndarray, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The true value's index and whether the caption mentions it: (N, attributes) int64 and bool."""
    schema = {name: bank.pack.attributes[name] for name in names}
    known = labels(bank.pack, schema)
    values = np.stack([known[name] for name in names], 1)[bank.pack.caption_image[captions]]
    mentioned = [[name in bank.pack.caption(index).mentions for name in names] for index in captions]
    return values, np.array(mentioned, dtype=bool) & (values >= 0)
