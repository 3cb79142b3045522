"""Generators and discriminators that StackGAN-v2, AttnGAN and S2IGAN name alike.

Where we put a map and what joins it in another order than the published code, the channels of the
convolution that reads them change places.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from s2i.config_networks import DiscriminatorConfig, GeneratorConfig
from s2i.models.discriminator import Discriminator
from s2i.models.generator import StackedGenerator
from s2i.published.weights import Weights


def read_generator(weights: Weights) -> StackedGenerator:
    """A generator with every size taken off its weights, and `config` to say them.

    The embedding that it generates from has `augmentation.linear.in_features` numbers. Raises InputError for
    weights of something else.
    """
    config, embedding = _generator_config(weights)
    weights.move("ca_net.fc", "augmentation.linear")
    weights.move("h_net1.fc.0", "first.linear")
    weights.move("h_net1.fc.1", "first.norm")
    for i in range(weights.count("h_net1.upsample{}.1.weight", 1)):
        _move_upsample(weights, f"h_net1.upsample{i + 1}", f"first.blocks.{i}")
    for i in range(config.stages - 1):
        _move_stage(weights, config, f"h_net{i + 2}", f"later.{i}")
    for i in range(config.stages):
        weights.move(f"img_net{i + 1}.img.0", f"heads.{i}")
    return weights.build(lambda: StackedGenerator(config, embedding))


def _generator_config(weights: Weights) -> tuple[GeneratorConfig, int]:
    augmented, embedding = weights.shape("ca_net.fc.weight", 2)
    condition = augmented // 4
    stages = weights.count("img_net{}.img.0.weight", 1)
    widths = [weights.shape(f"img_net{i + 1}.img.0.weight", 4)[1] for i in range(stages)]
    later = range(2, stages + 1)
    tile, dense = "h_net2.jointConv.0.weight" in weights, False
    if tile:
        dense = weights.shape("h_net2.upsample.1.weight", 4)[1] == 2 * widths[0]
    config = GeneratorConfig(
        stages=stages,
        base_size=4 * 2 ** weights.count("h_net1.upsample{}.1.weight", 1),
        noise_dim=weights.shape("h_net1.fc.0.weight", 2)[1] - condition,
        condition_dim=condition,
        channels=widths[0],
        min_channels=widths[-1],
        keep_channels=len(set(widths)) == 1,
        residual_blocks=max((_residual_blocks(weights, f"h_net{i}") for i in later), default=0),
        attention="h_net2.att.conv_context.weight" in weights,
        tile=tile,
        dense=dense,
        activation="glu",
        upsample="nearest",
    )
    return config, embedding


def _residual_blocks(weights: Weights, stage: str) -> int:
    return weights.count(stage + ".residual.{}.block.0.weight")


def _move_stage(weights: Weights, config: GeneratorConfig, published: str, ours: str) -> None:
    if config.attention:
        context = f"{published}.att.conv_context"
        weights.move(context, f"{ours}.attention.project", lambda weight: weight[..., 0])
    if config.tile:
        weights.move(f"{published}.jointConv.0", f"{ours}.join", _to_the_end(config.condition_dim))
        weights.move(f"{published}.jointConv.1", f"{ours}.join_norm.norm")
    blocks = _residual_blocks(weights, published)
    channels = weights.shape(f"{published}.upsample.1.weight", 4)[1] // (2 if config.dense else 1)
    for i in range(config.residual_blocks):
        block = f"{ours}.residuals.{i}"
        if i < blocks:
            theirs = f"{published}.residual.{i}.block"
            weights.move(f"{theirs}.0", f"{block}.convolution1")
            weights.move(f"{theirs}.1", f"{block}.norm1.norm")
            weights.move(f"{theirs}.3", f"{block}.convolution2")
            weights.move(f"{theirs}.4", f"{block}.norm2.norm")
        else:
            weights.add(_identity_block(block, channels))
    _move_upsample(weights, f"{published}.upsample", f"{ours}.upsample")


def _identity_block(name: str, channels: int) -> dict[str, Tensor]:
    """A residual block that adds nothing: StackGAN-v2's fourth stage has one block less than the others."""
    values = {f"{name}.convolution{i}.weight": _zeros(2 * channels // i, channels, 3, 3) for i in (1, 2)}
    for i in (1, 2):
        norm = f"{name}.norm{i}.norm"
        values |= {f"{norm}.{key}": _zeros(2 * channels // i) for key in ("weight", "bias", "running_mean")}
        values[f"{norm}.running_var"] = _zeros(2 * channels // i) + 1
    return values


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape)


def _move_upsample(weights: Weights, published: str, ours: str) -> None:
    weights.move(f"{published}.1", f"{ours}.convolution")
    weights.move(f"{published}.2", f"{ours}.norm.norm")


def _to_the_end(count: int) -> Callable[[Tensor], Tensor]:
    """The first `count` input channels of a convolution put after the others."""
    return lambda weight: torch.cat((weight[:, count:], weight[:, :count]), 1)


def read_discriminator(weights: Weights) -> Discriminator:
    """A discriminator with every size taken off its weights. It gives logits, not probabilities.

    Raises InputError for weights of something else.
    """
    attngan = "COND_DNET.jointConv.0.weight" in weights  # whose heads are modules of their own
    joint, conditional, unconditional = (
        ("COND_DNET.jointConv", "COND_DNET.outlogits.0", "UNCOND_DNET.outlogits.0")
        if attngan
        else ("jointConv", "logits.0", "uncond_logits.0")
    )
    # (convolution, norm): four halvings, further ones, then as many 3x3 convolutions less one.
    layers = [("img_code_s16.0", ""), *((f"img_code_s16.{i}", f"img_code_s16.{i + 1}") for i in (2, 5, 8))]
    further = 0
    while f"img_code_s{32 * 2**further}.0.weight" in weights:
        layers.append((f"img_code_s{32 * 2**further}.0", f"img_code_s{32 * 2**further}.1"))
        further += 1
    last = f"img_code_s{16 * 2**further}"
    for i in range(weights.count(last + "_{}.0.weight", 1)):
        layers.append((f"{last}_{i + 1}.0", f"{last}_{i + 1}.1"))

    widths = [weights.shape(f"{convolution}.weight", 4)[0] for convolution, _ in layers]
    condition = weights.shape(f"{joint}.0.weight", 4)[1] - widths[-1]
    config = DiscriminatorConfig(
        channels=widths[0],
        max_channels=max(widths),
        condition_on="sentence" if attngan else "mu",
    )
    place = 0
    for convolution, norm in layers:
        weights.move(convolution, f"backbone.{place}")
        if norm:
            weights.move(norm, f"backbone.{place + 1}")
        else:
            weights.add({f"backbone.{place}.bias": _zeros(widths[0])})
        place += 3 if norm else 2  # each ends in its non-linearity
    weights.move(f"{joint}.0", "joint.0", None if attngan else _to_the_end(condition))
    weights.move(f"{joint}.1", "joint.1")
    weights.move(conditional, "conditional")
    weights.move(unconditional, "unconditional")
    return weights.build(lambda: Discriminator(config, 4 * 2 ** (4 + further), condition))
