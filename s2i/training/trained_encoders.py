"""The trained encoders that a GAN training begins with: its own, and those of `gan.matching_model`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from s2i.config import MISSING, Config
from s2i.config_files import config_from_dict, config_to_dict
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary, vocabulary_of
from s2i.errors import InputError
from s2i.models.build import build_caption_encoder, build_image_encoder
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.interfaces import CaptionEncoder
from s2i.runs.checkpoint import BEST, read_checkpoint
from s2i.runs.exported import as_checkpoint, is_exported, read_exported_path, refuse_unnamed_network
from s2i.runs.fingerprints import refuse_other_data
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.runs.provenance import Origins
from s2i.training.matching_model import MatchingModel, freeze, load_matching_model

ENCODER_SECTIONS = ("audio", "speech_encoder", "text_encoder", "image_encoder", "modality")
RETRAIN = "train it anew on this pack, into another folder"
Encoders = tuple[CaptionEncoder, ImageEncoder | PretrainedImageEncoder, Vocabulary | None]


def load_encoders(config: Config) -> Encoders:
    """Frozen caption and image encoder of `config.gan.encoder`, and its vocabulary.

    With `gan.encoder_start` "random" the caption encoder keeps its initial weights, and without `gan.encoder`
    the image encoder too.
    Raises InputError where that run's encoders are others than this configuration describes, or were trained
    on other data, which an exported model's may be; and for a model that lacks one.
    """
    if config.gan.encoder == MISSING:
        return _unmatched_encoders(config)
    state = _read(config.gan.encoder, config.modality)
    refuse_other_encoders(config, state, config.gan.encoder)
    if is_exported(config.gan.encoder):  # whose classes alone count: see `refuse_seen_classes`
        refuse_unnamed_network(config.gan.encoder, config.image_encoder.weights)
    else:
        refuse_other_data(state.get("data"), config.data.pack, f"gan.encoder {config.gan.encoder}", RETRAIN)
    vocabulary = Vocabulary.from_list(state["vocabulary"]) if state["vocabulary"] else None
    encoder = build_caption_encoder(config, len(vocabulary or ()))
    image_encoder = build_image_encoder(config, encoder.embedding_dim)
    if config.gan.encoder_start == "matched":
        _load(encoder, state, "caption_encoder", config.gan.encoder)
    _load(image_encoder, state, "image_encoder", config.gan.encoder)
    connect(image_encoder, config.image_encoder)
    if (config.gan.matching_weight or config.gan.relation_weight) and not config.gan.matching_model:
        require_backbone(image_encoder)
    return freeze(encoder), freeze(image_encoder), vocabulary


def refuse_other_encoders(config: Config, state: dict[str, Any], folder: str) -> None:
    """Raises InputError where the encoders of an encoder's checkpoint, in the run `folder`, are others than
    this configuration describes."""
    theirs, ours = config_to_dict(config_from_dict(state["config"], folder)), config_to_dict(config)
    for section in ENCODER_SECTIONS:
        if _decisive(theirs.get(section)) != _decisive(ours.get(section)):
            raise InputError(
                f"expected the {section} of {folder} ({theirs.get(section)}), found"
                f" {ours.get(section)} in this configuration: give both trainings the same"
            )


def encoder_origins(folder: str | Path, modality: str) -> Origins:
    """The networks that had a part in the training of a run's encoders, of the run that they started from; of
    an exported model all that trained it."""
    return _read(folder, modality, mapped=True).get("trained_by", {})


def _read(folder: str | Path, modality: str, mapped: bool = False) -> dict[str, Any]:
    if is_exported(folder):
        path = read_exported_path(folder, modality, "gan.encoder")
        if path.config.gan.encoder_lr:
            raise InputError(
                f"expected encoders that stayed as they were matched in {folder}, as gan.encoder, found a"
                " caption encoder that was tuned with its generator: name another"
            )
        return as_checkpoint(path)
    return read_checkpoint(Path(folder) / "checkpoints" / BEST, mapped)


def _load(network: nn.Module, state: dict[str, Any], name: str, folder: str) -> None:
    try:
        network.load_state_dict(state["nets"][name])
    except (KeyError, RuntimeError) as error:
        reason = "none" if name not in state["nets"] else " ".join(str(error).split())[:160]
        raise InputError(
            f"expected the {name} of gan.encoder in {folder}, found {reason}: name a run of"
            " s2i train-encoder, or a model that was exported with its encoders"
        ) from error


def _unmatched_encoders(config: Config) -> Encoders:
    vocabulary = None
    if config.modality == "text":
        pack = Pack(Path(config.data.pack) / "train", config)
        vocabulary = vocabulary_of(config.text_encoder.units, pack.texts())
    encoder = build_caption_encoder(config, len(vocabulary or ()))
    return freeze(encoder), freeze(build_image_encoder(config, encoder.embedding_dim)), vocabulary


def load_gan_matching_model(
    config: Config, vocabulary: Vocabulary | None, device: torch.device
) -> MatchingModel:
    """The encoders of `gan.matching_model`, frozen.

    Raises InputError where that run was trained on other data, or reads another form of it.
    """
    model = load_matching_model(config.gan.matching_model, "gan.matching_model", device)
    refuse_other_data(model.data, config.data.pack, f"gan.matching_model {model.folder}", RETRAIN)
    ours, theirs = _inputs(config, vocabulary), _inputs(model.config, model.vocabulary)
    for name in ours:
        if ours[name] != theirs[name]:
            raise InputError(
                f"expected gan.matching_model to read the {name} that gan.encoder reads, found another in"
                f" {model.folder}: train both on the same pack, from the same modality"
            )
    require_backbone(model.image_encoder)
    return model


def _inputs(config: Config, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """The settings that decide what a caption encoder reads."""
    if config.modality == "speech":
        return {"modality": "speech", "audio": replace(config.audio, weights="")}
    return {
        "modality": "text",
        "vocabulary": vocabulary.to_list(),
        "text_encoder.max_words": config.text_encoder.max_words,
    }


def _decisive(section: Any) -> Any:
    """A section without the path of a file, whose contents are known by their fingerprint."""
    if not isinstance(section, dict):
        return section
    return {key: value for key, value in section.items() if key != "weights"}
