"""A discriminator on a frozen network's features: what is frozen, what learns, what its logits are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from s2i.config import Config, GanConfig
from s2i.config_networks import DiffAugmentConfig, DiscriminatorConfig, GeneratorConfig
from s2i.models.build import build_discriminators
from s2i.models.differentiable_augmentation import NUMBERS, augment
from s2i.models.discriminator import Discriminators
from s2i.models.projected_discriminator import PROJECTION, Mixing, ProjectedDiscriminator
from tests.fixtures.networks import TinyFeatures, tiny_feature_network

SETTINGS = DiscriminatorConfig(kind="projected", mixed_channels=(4, 5, 6, 7), head_channels=8)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def projected(settings: DiscriminatorConfig = SETTINGS, **heads) -> ProjectedDiscriminator:
    return ProjectedDiscriminator(settings, 64, 5, **heads, network=tiny_feature_network(64))


def images(count: int = 3, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size) * 2 - 1


# The networks


def test_each_head_gives_a_logit_and_a_condition_is_an_inner_product():
    network, condition = projected(), torch.randn(3, 5)
    features = network(network.look(images()))
    assert features.shape == (3, 4, 1 + PROJECTION) and features.dtype == torch.float32
    assert torch.equal(network.unconditional_logits(features), features[:, :, 0])
    weight, bias = network.condition.weight, network.condition.bias
    of_condition = (condition @ weight.t() + bias).reshape(3, 4, PROJECTION)
    expected = torch.einsum("bhk,bhk->bh", features[:, :, 1:], of_condition) / 8
    torch.testing.assert_close(network.conditional_logits(features, condition), expected)
    network.joint = True
    both = expected + features[:, :, 0]
    torch.testing.assert_close(network.conditional_logits(features, condition), both)


def test_an_image_has_the_same_logits_whatever_its_batch():
    network, shown = projected().eval(), images()
    together, alone = (network(network.look(part)) for part in (shown, shown[:1]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_a_gradient_reaches_the_images_and_no_frozen_weight():
    network, shown = projected(), images().requires_grad_()
    network(network.look(shown)).sum().backward()
    assert shown.grad.abs().amax((1, 2, 3)).min() > 0
    frozen = [*network.mixing.parameters(), *network._network[0].parameters()]
    assert frozen and not any(weight.requires_grad or weight.grad is not None for weight in frozen)
    learning = list(network.trainable_parameters())
    learnt = {id(weight) for weight in learning if weight.grad is not None}
    assert learnt == {id(weight) for weight in learning} - {id(w) for w in network.condition.parameters()}
    everything = {id(weight) for weight in network.parameters()}
    assert everything - {id(weight) for weight in learning} == set(map(id, network.mixing.parameters()))


def test_the_pretrained_network_is_not_among_the_weights_and_the_mixing_is():
    network, names = projected(), projected().state_dict().keys()
    assert not any("stage" in name for name in names)  # the tiny network's own names
    assert {name.split(".")[0] for name in names} == {"mixing", "heads", "condition"}
    other = projected()
    assert not torch.equal(
        network.mixing.across_scales[0].weight, other.mixing.across_scales[0].weight
    )  # so it has to be saved
    shown = images()
    other.load_state_dict(network.state_dict())
    for first, second in zip(network.look(shown), other.look(shown), strict=True):
        assert torch.equal(first, second)
    assert not network.train()._network[0].training


def test_mixing_goes_from_the_deepest_scale_up():
    mixing = Mixing((2, 3), (4, 5))
    maps = [torch.randn(1, 2, 4, 4), torch.randn(1, 3, 2, 2)]
    fine, deep = mixing(maps)
    across, scales = mixing.across_channels, mixing.across_scales[0]
    torch.testing.assert_close(deep, across[1](maps[1]))
    larger = nn.Upsample(scale_factor=2, mode="bilinear")(deep)
    torch.testing.assert_close(fine, (across[0](maps[0]) + scales(larger)) / 2**0.5)


def test_a_smaller_image_is_enlarged_before_the_network_sees_it():
    network = projected()
    sides = [maps.shape[-1] for maps in network.look(images(size=16))]
    assert sides == [16, 8, 4, 2]


def test_semantic_heads_read_all_vectors():
    network = projected(classes=3, contrastive=True)
    features = network(network.look(images()))
    shown, captions = network.embed(features, torch.randn(3, 5))
    assert shown.shape == captions.shape == (3, 4 * PROJECTION)
    assert network.classify(features).shape == (3, 3)
    assert {id(weight) for weight in network.classifier.parameters()} <= set(
        map(id, network.trainable_parameters())
    )


# Which there are


def built(**settings) -> Discriminators:
    config = Config(
        generator=GeneratorConfig(stages=3, base_size=16),
        discriminator=DiscriminatorConfig(
            kind="projected", channels=4, mixed_channels=(4, 4, 4, 4), head_channels=8, **settings
        ),
        gan=GanConfig(perceptual_weight=1),
    )
    return build_discriminators(config, features=tiny_feature_network(64))


def test_there_is_one_for_the_largest_image_or_one_a_stage_and_plain_ones_beside():
    pyramid = [images(2, size) for size in (16, 32, 64)]
    kinds = {
        (): ["64_features"],
        (("every_stage", True),): ["16_features", "32_features", "64_features"],
        (("plain_stages", 2),): ["16", "32", "64_features"],
        (("plain_stages", 3),): ["16", "32", "64", "64_features"],
    }
    for settings, expected in kinds.items():
        networks = built(**dict(settings))
        views = networks.look(pyramid)
        seen = [
            getattr(network, "log_name", None) or str(view.shape[-1])
            for network, view in zip(networks, views, strict=True)
        ]
        assert seen == expected
        for network, view in zip(networks, views, strict=True):
            assert len(network.unconditional_logits(network(view))) == 2
    assert len(built(plain_stages=2).look(pyramid[:2])) == 2  # while stages grow
    assert built().look(pyramid[:2]) == []


# Differentiable augmentation


def one(**named) -> tuple[Tensor, DiffAugmentConfig]:
    """Numbers that change nothing but what is named, and settings in which everything is on."""
    order = ("saturation", "contrast", "brightness", "down", "right", "top", "left")
    values = {"saturation": 0.5, "contrast": 0.5, "brightness": 0.5, "down": 0.5, "right": 0.5}
    numbers = torch.tensor([[{**values, "top": 0.0, "left": 0.0, **named}[name] for name in order]])
    return numbers, DiffAugmentConfig(colour=True, brightness=0.5, translation=0.125, cutout=0.0)


def test_augmentation_by_hand():
    shown = images(1, 16)
    assert len(one()[0][0]) == NUMBERS
    torch.testing.assert_close(augment(shown, *one()), shown)
    grey = augment(shown, *one(saturation=0.0))
    torch.testing.assert_close(grey, shown.mean(1, keepdim=True).expand_as(shown))
    torch.testing.assert_close(augment(shown, *one(contrast=0.0)), (shown + shown.mean()) / 2)
    torch.testing.assert_close(augment(shown, *one(brightness=0.75)), shown + 0.25)
    moved = augment(shown, *one(down=0.999, right=0.0))  # two px: rows from below come up, columns go right
    torch.testing.assert_close(moved[:, :, :-2, 2:], shown[:, :, 2:, :-2])
    assert not moved[:, :, -2:].any() and not moved[:, :, :, :2].any()
    numbers, _ = one(top=0.999, left=0.0)
    cut = augment(shown, numbers, DiffAugmentConfig(cutout=0.25))
    assert not cut[:, :, 12:, :4].any()
    cut[:, :, 12:, :4] = shown[:, :, 12:, :4]
    assert torch.equal(cut, shown)


def test_each_change_is_switched_on_alone_and_passes_gradients():
    numbers = torch.rand(2, NUMBERS)
    for settings in (
        {"colour": True},
        {"brightness": 0.2},
        {"translation": 0.125},
        {"cutout": 0.2},
    ):
        shown = images(2, 16).requires_grad_()
        changed = augment(shown, numbers, DiffAugmentConfig(**settings))
        assert DiffAugmentConfig(**settings).is_on and not torch.equal(changed, shown)
        changed.sum().backward()
        assert shown.grad.any()
    assert not DiffAugmentConfig().is_on
    assert torch.equal(augment(shown, numbers, DiffAugmentConfig()), shown)


def test_the_tiny_network_is_a_network_of_features():
    maps = TinyFeatures().features(images(2))
    assert [each.shape[-1] for each in maps] == [16, 8, 4, 2]
