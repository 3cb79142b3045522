"""Files of published systems: which network each holds. Nothing in a pickle is run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from s2i.errors import InputError
from s2i.published.weights import Weights

# The networks, by a key that is in no other; generators need more than one key.
KINDS = {
    "encoder.weight": "AttnGAN's text encoder",
    "Conv1.weight": "S2IGAN's speech encoder",
    "emb_features.weight": "AttnGAN's image encoder",
    "img_code_s16.0.weight": "a discriminator",
    "L2.weight": "S2IGAN's relation supervisor",  # which has an L1 too: it comes first
    "L1.weight": "S2IGAN's image encoder",
}
# Not used in generation.
TRAINING = (
    "AttnGAN's image encoder",
    "S2IGAN's image encoder",
    "a discriminator",
    "S2IGAN's relation supervisor",
)
ONE_STAGE = "a generator of one stage"  # in which the three systems are alike
GENERATORS = {
    "attngan": "AttnGAN's generator",
    "s2igan": "S2IGAN's generator",
    "stackgan-v2": "StackGAN-v2's generator",
}


def read_weights(path: str | Path) -> Weights:
    """Open a .pth file that holds a state dict.

    Raises InputError for a missing file, for anything but tensors by name, and for a pickle that would call
    something: nothing in it is run.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected published weights, found no file at {path}: check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused below, in one line
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file makes of an unpickler
        called = re.search(r"GLOBAL (\S+)", str(error))
        content = f"a pickle that would call {called[1]}" if called else "something else, or a file cut short"
        raise InputError(
            f"expected weights alone in {path}, found {content}:"
            " get it again, or save its network's state_dict() where it was made"
        ) from error
    if not isinstance(values, dict) or not values:
        content = "no tensor at all" if isinstance(values, dict) else f"a {type(values).__name__} alone"
        raise InputError(f"expected tensors by name in {path}, found {content}: give a state dict")
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(
                f"expected tensors by name in {path}, found {type(value).__name__} for {key!r}:"
                " save the state_dict() of one network alone"
            )
    return Weights(values, str(path))


def read_networks(system: str, files: Sequence[Path], others: Sequence[str]) -> dict[str, Weights]:
    """Open the files of a system, in any order.

    Args:
        system: a key of `GENERATORS`, whose generator has to be among them.
        files: state dicts.
        others: the other networks that may be among them, in the words of `KINDS`.

    Returns:
        Weights by "generator" and the words of `others`.
    """
    generator = GENERATORS[system]
    networks: dict[str, Weights] = {}
    for path in files:
        weights = read_weights(path)
        kind = kind_of(weights)
        name = "generator" if kind in (generator, ONE_STAGE) else kind
        if name != "generator" and name not in others:
            content = kind or f"weights such as {next(iter(weights))}"
            raise InputError(
                f"expected {' or '.join([generator, *others])} in {path}, found {content}: {_advice(kind)}"
            )
        if name in networks:
            raise InputError(
                f"expected one file with {kind}, found two: {networks[name].origin} and {path}: leave one out"
            )
        networks[name] = weights
    if "generator" not in networks:
        given = ", ".join(str(path) for path in files) or "the files that were given, none of weights"
        raise InputError(f"expected {generator}, found none in {given}: add its file")
    return networks


def _advice(kind: str) -> str:
    for system, generator in GENERATORS.items():
        if kind == generator:
            return f"use s2i import {system}"
    return "leave it out, generation needs none" if kind in TRAINING else "give the files of this system"


def kind_of(weights: Weights) -> str:
    """The network that weights belong to, in words; empty if it is unknown."""
    if "ca_net.fc.weight" not in weights or "img_net1.img.0.weight" not in weights:
        return next((kind for key, kind in KINDS.items() if key in weights), "")
    if "h_net2.att.conv_context.weight" in weights:
        return GENERATORS["attngan"]
    if "h_net2.jointConv.0.weight" not in weights:
        return ONE_STAGE
    before = weights.shape("h_net2.jointConv.0.weight", 4)[0] // 2
    dense = weights.shape("h_net2.upsample.1.weight", 4)[1] == 2 * before
    return GENERATORS["s2igan" if dense else "stackgan-v2"]
