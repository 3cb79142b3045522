"""Which networks had a part in a training, by fingerprints of their weights, and that none of them scores it.

A generator is optimised for the networks that trained it, pretrained ones among them, and they overrate its
images. Trainings record what they were trained by (`trained_by` in checkpoints and exported models); whatever
scores says which weights it computes with; a fingerprint in both is refused.
"""

from __future__ import annotations

from torch import nn

from s2i.errors import InputError
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.pretrained import KINDS
from s2i.runs.weight_fingerprint import weight_fingerprint

Origins = dict[str, str]  # {fingerprint of a network's weights: what it is, for people}
_HEADS = {name for kind in KINDS.values() for name in kind.unused}  # layers that a backbone is without


def backbone_fingerprint(network: nn.Module) -> str:
    """Of a pretrained image network without its classifier, so that the whole network and what is cut from it
    have the same; of the weights as float16, as an exported model may keep them."""
    return weight_fingerprint(network, half=True, floating_alone=True, without=_HEADS)


def origins_of_network(network: nn.Module | None, name: str) -> Origins:
    """Of a network that was trained here; none of None."""
    return {weight_fingerprint(network, half=True): name} if network is not None else {}


def origins_of_image_encoder(encoder: ImageEncoder | PretrainedImageEncoder | None, owner: str) -> Origins:
    """Of an image encoder: its own layers', and those of the frozen network that it looks through."""
    origins = origins_of_network(encoder, f"the image encoder of {owner}")
    if isinstance(encoder, PretrainedImageEncoder) and encoder.fingerprint.any():
        digits = bytes(encoder.fingerprint.tolist()).hex()
        origins[digits] = f"{encoder.config.kind} in the image encoder of {owner}"
    return origins


def refuse_shared(trained_by: Origins, scoring: Origins, scorer: str, remedy: str) -> None:
    """Refuse a scorer that had a part in the training of what it is to score.

    Args:
        trained_by: of the generator.
        scoring: of the scorer.
        scorer, remedy: for the message.

    Raises:
        InputError: they share weights.
    """
    for digits in scoring.keys() & trained_by.keys():
        raise InputError(
            f"expected {scorer} that had no part in the generator's training, found that it shares the"
            f" weights {digits[:12]} ({scoring[digits]}) with what trained it, {trained_by[digits]}: {remedy}"
        )
