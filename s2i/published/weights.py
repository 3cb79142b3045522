"""Published state dicts: read without running anything that is in them, taken apart key by key."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from s2i.errors import InputError

Network = TypeVar("Network", bound=nn.Module)

# What a file holds, by a key that nothing else has; generators need more than one look.
KINDS = {
    "encoder.weight": "AttnGAN's text encoder",
    "Conv1.weight": "S2IGAN's speech encoder",
    "emb_features.weight": "AttnGAN's image encoder",
    "img_code_s16.0.weight": "a discriminator",
    "L2.weight": "S2IGAN's relation supervisor",  # which has an L1 too: it comes first
    "L1.weight": "S2IGAN's image encoder",
}
# What has no part in generation.
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


class Weights:
    """A published state dict on its way into a network of ours.

    Whoever reads it moves its tensors, by their published names, to ours; `build` then refuses a rest that
    nobody asked for, so that weights of another system never pass for these.
    """

    def __init__(self, values: Mapping[str, Tensor], origin: str) -> None:
        """`origin` is what an error names."""
        prefix = "module."  # that DataParallel leaves
        wrapped = bool(values) and all(key.startswith(prefix) for key in values)
        self.origin = origin
        self._published = {key.removeprefix(prefix) if wrapped else key: values[key] for key in values}
        self._moved: dict[str, Tensor] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._published

    def __iter__(self) -> Iterator[str]:
        return iter(self._published)

    def shape(self, key: str, dimensions: int) -> torch.Size:
        """Sizes of a tensor. Raises InputError where it is missing or has other dimensions."""
        if key not in self._published:
            raise self._foreign(f"none of that name: {key}")
        shape = self._published[key].shape
        if len(shape) != dimensions or 0 in shape:
            raise self._foreign(f"{tuple(shape)} for {key}")
        return shape

    def count(self, template: str, start: int = 0) -> int:
        """How many keys there are of `template`, numbered from `start` on."""
        number = start
        while template.format(number) in self:
            number += 1
        return number - start

    def move(self, published: str, ours: str, change: Callable[[Tensor], Tensor] | None = None) -> None:
        """Move the tensor `published`, or all those under that name, to `ours`, through `change`."""
        under = [key for key in self._published if key == published or key.startswith(f"{published}.")]
        if not under:
            raise self._foreign(f"none of that name: {published}")
        for key in under:
            value = self._published.pop(key)
            name = ours + key.removeprefix(published)
            self._moved[name] = change(value).contiguous() if change else value

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Tensors of ours that the published network does without."""
        self._moved.update(values)

    def build(self, make: Callable[[], Network]) -> Network:
        """The network, frozen, in eval mode and float32, of what was moved.

        Raises InputError where something is missing, left over, or of another shape.
        """
        if self._published:
            raise self._foreign(f"also {min(self._published)}")
        try:
            with torch.device("meta"):  # no random weights to be thrown away
                network = make()
            # Counted by torch from 0.4.1 on, and read by nobody here.
            counters = {
                key: torch.tensor(0) for key in network.state_dict() if key.endswith("num_batches_tracked")
            }
            network.load_state_dict({**counters, **self._moved}, assign=True)
        except (RuntimeError, ValueError, ZeroDivisionError) as error:
            raise self._foreign(" ".join(str(error).split())[:200]) from error
        return network.float().requires_grad_(False).eval()

    def kind(self) -> str:
        """What these weights are of, in words; empty for something else."""
        if "ca_net.fc.weight" not in self or "img_net1.img.0.weight" not in self:
            return next((kind for key, kind in KINDS.items() if key in self), "")
        if "h_net2.att.conv_context.weight" in self:
            return GENERATORS["attngan"]
        if "h_net2.jointConv.0.weight" not in self:
            return ONE_STAGE
        before = self.shape("h_net2.jointConv.0.weight", 4)[0] // 2
        dense = self.shape("h_net2.upsample.1.weight", 4)[1] == 2 * before
        return GENERATORS["s2igan" if dense else "stackgan-v2"]

    def _foreign(self, found: str) -> InputError:
        return InputError(
            f"expected published weights in {self.origin}, found {found}:"
            " they are of another system or another version of it, or cut short"
        )


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
        found = f"a pickle that would call {called[1]}" if called else "something else, or a file cut short"
        raise InputError(
            f"expected weights alone in {path}, found {found}:"
            " get it again, or save its network's state_dict() where it was made"
        ) from error
    if not isinstance(values, dict) or not values:
        found = "no tensor at all" if isinstance(values, dict) else f"a {type(values).__name__} alone"
        raise InputError(f"expected tensors by name in {path}, found {found}: give a state dict")
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(
                f"expected tensors by name in {path}, found {type(value).__name__} for {key!r}:"
                " save the state_dict() of one network alone"
            )
    return Weights(values, str(path))


def read_parts(system: str, files: Sequence[Path], others: Sequence[str]) -> dict[str, Weights]:
    """Open the files of a system, in any order.

    Args:
        system: a key of `GENERATORS`, whose generator has to be among them.
        files: state dicts.
        others: what else may be there, in the words of `KINDS`.

    Returns:
        weights by "generator" and the words of `others`.
    """
    generator = GENERATORS[system]
    parts: dict[str, Weights] = {}
    for path in files:
        weights = read_weights(path)
        kind = weights.kind()
        name = "generator" if kind in (generator, ONE_STAGE) else kind
        if name != "generator" and name not in others:
            found = kind or f"weights such as {next(iter(weights))}"
            raise InputError(
                f"expected {' or '.join([generator, *others])} in {path}, found {found}: {_advice(kind)}"
            )
        if name in parts:
            raise InputError(
                f"expected one file with {kind}, found two: {parts[name].origin} and {path}: leave one out"
            )
        parts[name] = weights
    if "generator" not in parts:
        given = ", ".join(str(path) for path in files) or "no file"
        raise InputError(f"expected {generator}, found none in {given}: add its file")
    return parts


def _advice(kind: str) -> str:
    for system, generator in GENERATORS.items():
        if kind == generator:
            return f"use s2i import {system}"
    return "leave it out, generation needs none" if kind in TRAINING else "give the files of this system"
