"""A finished matching run, frozen: a caption encoder and the image encoder that it was matched with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from s2i.config import Config
from s2i.config_files import config_from_dict
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.models.build import build_caption_encoder, build_image_encoder
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.interfaces import CaptionEncoder
from s2i.runs.checkpoint import BEST, read_checkpoint
from s2i.runs.fingerprints import Fingerprints
from s2i.runs.pretrained_weights import connect
from s2i.runs.provenance import Origins


@dataclass(frozen=True)
class MatchingModel:
    """The best networks of a run of `s2i train-encoder`, with its folder and configuration; `data`:
    fingerprints of the packs that it was trained on, None where they are unknown; `trained_by`: networks that
    had a part in its training."""

    folder: Path
    config: Config
    vocabulary: Vocabulary | None
    encoder: CaptionEncoder
    image_encoder: ImageEncoder | PretrainedImageEncoder
    data: Fingerprints | None
    trained_by: Origins = field(default_factory=dict)


def load_matching_model(folder: str | Path, key: str, device: torch.device) -> MatchingModel:
    """The matching model in a run's folder, frozen and in evaluation mode. No random number is generated.

    Args:
        key: the setting that names the folder, for messages.

    Raises InputError for another kind of run.
    """
    folder = Path(folder)
    origin = folder / "checkpoints" / BEST
    saved = read_checkpoint(origin)
    if saved.get("kind") != "encoder":
        raise InputError(f"expected a run of s2i train-encoder as {key}, found another kind in {folder}")
    config = config_from_dict(saved["config"], str(origin))
    vocabulary = Vocabulary.from_list(saved["vocabulary"]) if saved["vocabulary"] else None
    with torch.random.fork_rng(devices=[]):
        encoder = build_caption_encoder(config, len(vocabulary or ()))
        image_encoder = build_image_encoder(config, encoder.embedding_dim)
        connect(image_encoder, config.image_encoder)
    encoder.load_state_dict(saved["nets"]["caption_encoder"])
    image_encoder.load_state_dict(saved["nets"]["image_encoder"])
    networks = (freeze(network).to(device) for network in (encoder, image_encoder))
    return MatchingModel(
        folder, config, vocabulary, *networks, saved.get("data"), saved.get("trained_by", {})
    )


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients to the weights; gradients still pass through to the input."""
    return network.requires_grad_(False).eval()
