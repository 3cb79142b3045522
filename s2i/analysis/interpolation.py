"""Interpolation: images between two captions of a split, on one noise."""

from __future__ import annotations

import numpy as np

from s2i.data.images import to_uint8
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.inference.interpolate import between
from s2i.models.caption_encoding import CaptionEncoding

STEPS = 7  # images from one caption to the other

PROCEDURE = (
    f"{STEPS} images, equal steps apart, from one caption's encoding to another's, on one noise, as s2i"
    " generate --interpolate goes: sentence vectors on a straight line, at the length that lies between"
    " theirs; sequences brought to a common number of steps, which moves from the one's to the other's,"
    " and then mixed. The first and the last image are those of the captions themselves."
)


def generate_interpolation(bank: FeatureBank, first: int, last: int) -> np.ndarray:
    """Images from caption `first` to caption `last`, indices in the pack, on the noise of the first: uint8
    (STEPS, S, S, 3). The first image is the caption's own, which the bank may have."""
    encodings = {}
    for batch, _ in bank.captions.batches(np.unique([first, last]), "interpolation"):
        encoded = bank.path.encode(batch)
        for row, caption in enumerate(batch.captions.tolist()):
            length = int(encoded.mask[row].sum())
            one = encoded[row : row + 1]
            encodings[caption] = CaptionEncoding(
                one.sentence, one.sequence[..., :length], one.mask[:, :length]
            )
    key = caption_key(bank.pack, first)
    images = [to_uint8(bank.outputs(np.array([first]))[first].images[-1])]
    for step in range(1, STEPS):
        encoding = between(encodings[first], encodings[last], step / (STEPS - 1))
        generated = bank.path.generate(encoding, [key], bank.settings.seed).images[-1]
        images.append(to_uint8(generated)[0])
    return np.stack(images)
