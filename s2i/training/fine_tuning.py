"""Fine-tuning: a training that starts from the networks of an earlier one, the run `start_from`.

Its data may be other: more voices, another way of speaking, further images. Optimisers, schedules and steps
are its own. What an earlier training has seen it has seen for good, so its classes must not be among those
that this data keeps for the test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from s2i.config import Config
from s2i.config_files import config_from_dict
from s2i.data.pack import read_pack_facts
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.progress import say
from s2i.runs.checkpoint import BEST, LAST, read_checkpoint
from s2i.runs.fingerprints import TRAINED_ON
from s2i.runs.provenance import Origins
from s2i.training.finished_runs import read_finished_gan

KEY = "start_from"
OF_CLASSES = ("classifier", "speaker_classifier")  # of an encoder's training: their outputs are the data's
OF_ENCODERS = ("caption_encoder", "image_encoder")  # of a generator's training: those of gan.encoder


def vocabulary_to_start_from(config: Config) -> Vocabulary | None:
    """The vocabulary of the text encoder that this training starts from; None where it starts anew."""
    if not config.start_from:
        return None
    words = _read_encoder(config)["vocabulary"]
    return Vocabulary.from_list(words) if words else None


def start_encoders(config: Config, networks: nn.Module) -> None:
    """Put the best networks of the run `start_from` into those of an encoder's training, where one is named.

    Classifiers that have more or fewer outputs start anew.
    Raises InputError for a run of another kind, modality or shape, or that has seen classes of the test
    split.
    """
    if not config.start_from:
        return
    state = _read_encoder(config)
    refuse_seen_classes(config, state)
    for name, network in networks.named_children():
        weights = state["nets"].get(name)
        if name in OF_CLASSES and not _fits(network, weights):
            say(f"{name}: starts anew, {config.start_from} has one of other classes, or none")
            continue
        _load(network, weights, name, config.start_from)


def start_gan(config: Config, networks: dict[str, nn.Module]) -> Origins:
    """Put the averaged generator of the run `start_from`, its discriminators and what else it trained into
    the networks of a generator's training, by their names in a checkpoint; what trained them. Encoders are
    those of `gan.encoder`.

    Raises InputError for a run that isn't finished, of another kind, modality or shape, or that has seen
    classes of the test split.
    """
    if not config.start_from:
        return {}
    state = read_finished_gan(config.start_from, KEY)
    _refuse_other_modality(config, state)
    refuse_seen_classes(config, state)
    for name, network in networks.items():
        if any(each in name for each in OF_ENCODERS):
            continue
        weights = state["nets"].get("ema" if name == "generator" else name)
        module = network.module if isinstance(network, AveragedModel) else network
        _load(module, weights, name, config.start_from)
    return {digits: f"{name} of {KEY}" for digits, name in state.get("trained_by", {}).items()}


def refuse_seen_classes(config: Config, state: dict[str, Any]) -> None:
    """Raises InputError where the training of a checkpoint, or one that it started from, has seen a class of
    the test split beside this configuration's data, or where that can't be known."""
    try:
        kept = set(read_pack_facts(Path(config.data.pack) / "test")["classes"])
    except InputError:  # nothing is kept for a test
        return
    folder = config.start_from
    while folder:
        earlier = config_from_dict(state["config"], folder)
        for split in TRAINED_ON:
            try:
                seen = read_pack_facts(Path(earlier.data.pack) / split)["classes"]
            except InputError as error:
                raise InputError(
                    f"expected the data of {KEY} {folder} in {earlier.data.pack}, whose classes must not be"
                    f" those of {config.data.pack}/test, found none: pack it again"
                ) from error
            if both := sorted(kept.intersection(seen)):
                raise InputError(
                    f"expected {KEY} to have seen no class of {config.data.pack}/test, found {len(both)} of"
                    f" {len(kept)} in {earlier.data.pack}/{split}, {both[0]!r} the first: start from another"
                    " run"
                )
        folder = earlier.start_from
        if folder:
            name = BEST if state["kind"] == "encoder" else LAST
            state = read_checkpoint(Path(folder) / "checkpoints" / name, mapped=True)


def _read_encoder(config: Config) -> dict[str, Any]:
    state = read_checkpoint(Path(config.start_from) / "checkpoints" / BEST)
    if state.get("kind") != "encoder":
        raise InputError(
            f"expected a run of s2i train-encoder as {KEY}, found another kind in {config.start_from}"
        )
    _refuse_other_modality(config, state)
    return state


def _refuse_other_modality(config: Config, state: dict[str, Any]) -> None:
    modality = state["config"].get("modality")
    if modality != config.modality:
        raise InputError(
            f"expected a run of modality={config.modality} as {KEY}, found one of {modality} in"
            f" {config.start_from}: change either"
        )


def _fits(network: nn.Module, weights: dict[str, torch.Tensor] | None) -> bool:
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    return weights is not None and {name: value.shape for name, value in weights.items()} == shapes


def _load(network: nn.Module, weights: dict[str, torch.Tensor] | None, name: str, folder: str) -> None:
    try:
        if weights is None:
            raise RuntimeError(f"it has no {name}")
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"expected the {name} of {KEY} {folder} to have this configuration's shape, found another"
            f" ({' '.join(str(error).split())[:160]}): give both the same choices of networks"
        ) from error
