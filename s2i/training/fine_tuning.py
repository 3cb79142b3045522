"""Fine-tuning: a training that starts from the networks of an earlier one: the run, or the exported model,
`start_from`.

Its data may be other: more voices, another way of speaking, further images. Optimisers, schedules and steps
are its own. What an earlier training has seen it has seen for good, so its classes must not be among those
that this data keeps for the test. All that counts when a training begins; one that continues has its own
checkpoint, and needs the earlier run no more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from s2i.config import Config
from s2i.config_files import config_to_dict
from s2i.data.pack import Pack, read_pack_facts
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.models.discriminator import Discriminators
from s2i.models.generator import StackedGenerator
from s2i.progress import say
from s2i.runs.checkpoint import BEST, LAST, read_checkpoint
from s2i.runs.earlier_runs import Models, earlier_runs, models_before
from s2i.runs.exported import as_checkpoint, is_exported, read_exported_path, refuse_unnamed_network
from s2i.runs.fingerprints import TRAINED_ON, read_fingerprints
from s2i.runs.provenance import Origins, origins_of_image_encoder, origins_of_network
from s2i.training.finished_runs import read_finished_gan
from s2i.training.trained_encoders import refuse_other_encoders

KEY = "start_from"
# Of an encoder's training, networks whose outputs are the data's, and what these are.
OUTPUTS: dict[str, Callable[[Pack], list[str]]] = {
    "classifier": Pack.class_names,
    "speaker_classifier": lambda pack: pack.speakers()[0],
}
GENERATORS = ("generator", "ema")
ENCODERS = ("caption_encoder", "image_encoder")  # of a generator's training: those of gan.encoder


def vocabulary_to_start_from(config: Config) -> Vocabulary | None:
    """The vocabulary of the text encoder that this training starts from, or continues; None for a new one."""
    if not config.start_from:
        return None
    state = _own_checkpoint(config) or _read_encoder(config)
    return Vocabulary.from_list(state["vocabulary"]) if state["vocabulary"] else None


def start_encoders(config: Config, networks: nn.Module) -> Origins:
    """Put the best networks of the run `start_from` into those of an encoder's training, where one is named;
    what trained them, themselves among it.

    A classifier starts anew where the data has other classes, or other speakers, and where an exported model
    is started from, which keeps none.
    Raises InputError for a run of another kind or with other encoders, or that has seen classes of the test
    split.
    """
    if not config.start_from:
        return {}
    if state := _own_checkpoint(config):
        return state.get("trained_by", {})
    state = _read_encoder(config)
    refuse_seen_classes(config, "encoder")
    for name, network in networks.named_children():
        kept = name in state["nets"]  # no exported model keeps a classifier
        if name in OUTPUTS and not (kept and _has_these_outputs(OUTPUTS[name], config, state)):
            say(f"{name}: starts anew, {config.start_from} has none with these outputs")
            continue
        _load(network, state["nets"].get(name), name, config.start_from)
    origins = origins_of_network(networks.caption_encoder, f"the {config.modality} encoder of {KEY}")
    origins |= origins_of_image_encoder(networks.image_encoder, KEY)
    return origins | _origins_before(state)


def start_gan(config: Config, networks: dict[str, nn.Module]) -> Origins:
    """Put the averaged generator of the run `start_from`, its discriminators and what else it trained into
    the networks of a generator's training, by their names in a checkpoint; what trained them. Encoders are
    those of `gan.encoder`. A learnt prior of another size, or where there was none, starts anew: it learns
    from latents alone. So do stages beyond those of the earlier generator, and their discriminators where
    each stage has its own; whatever an exported model doesn't keep, which is all but the generator; and what
    has another shape, such as with another network of features, where the generator waits for it
    (`gan.generator_start`).

    Raises InputError for a run that isn't finished, of another kind, modality or shape, whose encoder was
    tuned or whose generator has a first stage; for classes of the test split that it, or what trained the
    encoders, has seen; and for a wait of the generator in which nothing could be learnt.
    """
    if state := _own_checkpoint(config):
        origins = state.get("trained_by", {})
        return {digits: name for digits, name in origins.items() if name.endswith(f" of {KEY}")}
    refuse_seen_classes(config, "gan")
    _check_wait(config)
    if not config.start_from:
        return {}
    exported = is_exported(config.start_from)
    state = _read_exported(config) if exported else read_finished_gan(config.start_from, KEY)
    _refuse_other_modality(config, state)
    if config.gan.encoder_lr or state["config"]["gan"].get("encoder_lr") or config.gan.first_stage:
        raise InputError(
            f"expected gan.encoder_lr=0 and no gan.first_stage for {KEY}, here and in {config.start_from},"
            " found one of them: such a generator is trained anew"
        )
    stages_anew = False
    for name, network in networks.items():
        if any(each in name for each in ENCODERS):
            continue
        weights = state["nets"].get("ema" if name == "generator" else name)
        if weights is None and exported and name not in GENERATORS:
            say(f"{name}: starts anew, {config.start_from} keeps none")
            continue
        module = network.module if isinstance(network, AveragedModel) else network
        if name in GENERATORS and weights is not None:
            if config.generator.prior == "flow":
                weights = _with_prior_of_this_size(module, weights)
            if on_top := _stages_on_top(module, weights):
                stages_anew, weights = True, weights | on_top
        if isinstance(module, Discriminators) and weights is not None:
            weights = weights | _scales_on_top(module, weights)
        if name not in GENERATORS and config.gan.generator_start and not _fits(module, weights):
            say(f"{name}: starts anew, that of {config.start_from} has another shape")
            continue
        _load(module, weights, name, config.start_from)
    if stages_anew:
        say(f"generator: its last stages start anew, {config.start_from} has fewer")
    if config.generator.prior == "flow" and _has_other_prior(networks["generator"], state["nets"]["ema"]):
        if config.gan.generator_start:
            raise InputError(
                f"expected the prior of {KEY} {config.start_from} for gan.generator_start, found another"
                " size: give it the same choices, or leave gan.generator_start out"
            )
        say(f"prior: starts anew, {config.start_from} has none of this size")
    return _origins_before(state)


def models_of_training(config: Config, kind: str) -> Models:
    """The exported models that a training stands on, as they were when it began.

    `kind`: "encoder" or "gan".
    """
    state = _own_checkpoint(config)
    return models_before(config, kind) if state is None else state.get("models", {})


def refuse_seen_classes(config: Config, kind: str) -> None:
    """Raises InputError where a training before this one has seen a class of the test split beside this
    configuration's data, or where that can't be known.

    `kind`: of this training, "encoder" or "gan".
    """
    packs = Path(config.data.pack)
    if not (packs / "test").is_dir():  # nothing is kept for a test
        return
    ours = read_fingerprints(packs, TRAINED_ON)
    for run in earlier_runs(config, kind):
        if run.data is not None and all(run.data.get(split) == ours.get(split) for split in TRAINED_ON):
            continue
        kept = set(read_pack_facts(packs / "test")["classes"])  # its names alone, and here alone
        for where, seen in run.seen_classes():
            if both := sorted(kept.intersection(seen)):
                raise InputError(
                    f"expected {run.folder}, on which this training stands, to have seen no class of"
                    f" {packs}/test, found {len(both)} of {len(kept)} in {where}, {both[0]!r} the"
                    " first: start from another run"
                )


def _check_wait(config: Config) -> None:
    """Raises InputError for gan.generator_start where nothing could be learnt while the generator waits."""
    gan = config.gan
    if not gan.generator_start:
        return
    for wrong, expected, actual in (
        (not config.start_from, f"{KEY}, since initial weights are not worth waiting with,", "none"),
        (gan.adversarial_start, "gan.adversarial_start=0", f"{gan.adversarial_start:g}"),
        (gan.grow, "gan.grow=[]", f"{list(gan.grow)}"),
    ):
        if wrong:
            raise InputError(
                f"expected {expected} with gan.generator_start={gan.generator_start:g}, found {actual}:"
                " change either"
            )


def _own_checkpoint(config: Config) -> dict[str, Any] | None:
    """The last checkpoint of the run itself; None where it has yet to begin."""
    path = Path(config.run) / "checkpoints" / LAST
    return read_checkpoint(path, mapped=True) if path.exists() else None


def _read_exported(config: Config) -> dict[str, Any]:
    path = read_exported_path(config.start_from, config.modality, KEY)
    if 0 < path.step < path.config.gan.steps:  # 0: published weights
        raise InputError(
            f"expected a finished model as {KEY}, found {path.step} of {path.config.gan.steps} steps in"
            f" {config.start_from}: train it to its end"
        )
    return as_checkpoint(path)


def _read_encoder(config: Config) -> dict[str, Any]:
    if is_exported(config.start_from):
        refuse_unnamed_network(config.start_from, config.image_encoder.weights)
        state = as_checkpoint(read_exported_path(config.start_from, config.modality, KEY))
        refuse_other_encoders(config, state, config.start_from)
        return state
    state = read_checkpoint(Path(config.start_from) / "checkpoints" / BEST)
    if state.get("kind") != "encoder":
        raise InputError(
            f"expected a run of s2i train-encoder as {KEY}, found another kind in {config.start_from}"
        )
    refuse_other_encoders(config, state, config.start_from)
    return state


def _refuse_other_modality(config: Config, state: dict[str, Any]) -> None:
    modality = state["config"].get("modality")
    if modality != config.modality:
        raise InputError(
            f"expected a run of modality={config.modality} as {KEY}, found one of {modality} in"
            f" {config.start_from}: change either"
        )


def _has_these_outputs(of: Callable[[Pack], list[str]], config: Config, state: dict[str, Any]) -> bool:
    """Whether the classes, or the speakers, that an earlier training named are those of this data."""
    packs = [Path(each["data"]["pack"]) / "train" for each in (config_to_dict(config), state["config"])]
    try:
        ours, theirs = (of(Pack(pack)) for pack in packs)
    except InputError:  # the earlier data is gone
        return False
    return ours == theirs


def _origins_before(state: dict[str, Any]) -> Origins:
    """What trained a run that this one starts from."""
    return {
        digits: name if name.endswith(f" of {KEY}") else f"{name} of {KEY}"
        for digits, name in state.get("trained_by", {}).items()
    }


def _prior_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if name.startswith("prior.")}


def _has_other_prior(generator: nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    ours, theirs = (
        {name: value.shape for name, value in _prior_of(each).items()}
        for each in (generator.state_dict(), weights)
    )
    return ours != theirs


def _with_prior_of_this_size(
    generator: nn.Module, weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Weights for a generator, whose prior is its own where theirs has another shape."""
    if not _has_other_prior(generator, weights):
        return weights
    of_prior = _prior_of(weights)
    others = {name: value for name, value in weights.items() if name not in of_prior}
    return others | _prior_of(generator.state_dict())


def _stages_on_top(generator: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a stacked generator's stages beyond those of an earlier one's weights."""
    if not isinstance(generator, StackedGenerator):
        return {}
    heads = sum(name.startswith("heads.") for name in weights)  # one a stage, without biases
    later = tuple(
        f"{module}.{number}."
        for module, before in (("heads", heads), ("later", heads - 1))
        for number in range(before, generator.config.stages)
    )
    return {name: value for name, value in generator.state_dict().items() if name.startswith(later)}


def _scales_on_top(
    discriminators: Discriminators, weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The weights of the discriminators of stages that an earlier run lacks, where each stage has its own."""
    if discriminators.stages != list(range(len(discriminators))):
        return {}
    before = len({name.split(".")[1] for name in weights if name.startswith("scales.")})
    later = tuple(f"scales.{number}." for number in range(before, len(discriminators)))
    return {name: value for name, value in discriminators.state_dict().items() if name.startswith(later)}


def _fits(network: nn.Module, weights: dict[str, torch.Tensor] | None) -> bool:
    """Whether weights have the names and shapes of a network's."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    return shapes == {name: value.shape for name, value in (weights or {}).items()}


def _load(network: nn.Module, weights: dict[str, torch.Tensor] | None, name: str, folder: str) -> None:
    try:
        if weights is None:
            raise RuntimeError(f"it has no {name}")
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"expected the {name} of {KEY} {folder} to have this configuration's shape, found another"
            f" ({' '.join(str(error).split())[:160]}): give both the same choices of networks, and the same"
            " classes where a network names them"
        ) from error
