"""StackGAN's networks: published sizes, what Stage II may change and depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from s2i.config_files import load_config
from s2i.config_networks import DiscriminatorConfig, GeneratorConfig
from s2i.models.build import make_generator
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.stackgan import (
    ConditionalDiscriminator,
    RectifiedAugmentation,
    StageOneGenerator,
    StageTwoGenerator,
)

CONF = Path(__file__).parents[2] / "recipes" / "cub" / "conf"
SMALL = GeneratorConfig(base_size=32, noise_dim=5, condition_dim=4, channels=4, residual_blocks=1)


def encoding(batch: int = 3, width: int = 6) -> CaptionEncoding:
    return CaptionEncoding(
        torch.randn(batch, width), torch.zeros(batch, width, 1), torch.ones(batch, 1).bool()
    )


def test_the_generators_have_the_published_sizes():
    with torch.device("meta"):
        second = make_generator(load_config(CONF / "stackgan.yaml"), 1024)
        first = make_generator(load_config(CONF / "stackgan_stage1.yaml"), 1024)
    for stage in (first, second.first_stage):
        assert stage.linear.weight.shape == (1024 * 16, 228)
        assert [block.convolution.out_channels for block in stage.blocks] == [512, 256, 128, 64]
        assert stage.augmentation.linear.out_features == 256 and stage.sizes == [64]
    assert [layer.weight.shape[:3] for layer in second.encoder if hasattr(layer, "kernel_size")] == [
        (128, 3, 3),
        (256, 128, 4),
        (512, 256, 4),
    ]
    assert second.join[0].weight.shape == (512, 512 + 128, 3, 3) and len(second.residuals) == 4
    assert [block.convolution.out_channels for block in second.blocks] == [256, 128, 64, 32]
    assert second.sizes == [256]
    assert first.state_dict().keys() == second.first_stage.state_dict().keys()


def test_the_augmentation_is_rectified():
    torch.manual_seed(0)
    augmentation = RectifiedAugmentation(6, 4)
    sentence = torch.randn(3, 6)
    mu, logvar = augmentation(sentence)
    unrectified = sentence @ augmentation.linear.weight.T + augmentation.linear.bias
    torch.testing.assert_close(mu, unrectified[:, :4].clamp(min=0))
    torch.testing.assert_close(logvar, unrectified[:, 4:].clamp(min=0))


def test_stage_one_is_frozen_in_evaluation_mode_and_gets_no_gradient():
    torch.manual_seed(0)
    generator = StageTwoGenerator(SMALL, 6, first_size=16, first_channels=4)
    generator.initialise()
    generator.train()
    assert not generator.first_stage.training and generator.encoder.training
    before = {key: value.clone() for key, value in generator.first_stage.state_dict().items()}
    spoken = encoding()
    noise = generator.sample_batch_noise(3, torch.device("cpu"))
    output = generator(spoken, *noise)
    assert [image.shape[-1] for image in output.images] == [32]
    output.images[-1].sum().backward()
    assert all(weight.grad is None for weight in generator.first_stage.parameters())
    assert all(
        weight.grad is not None for name, weight in generator.named_parameters() if "first_stage." not in name
    )
    assert all(torch.equal(before[key], value) for key, value in generator.first_stage.state_dict().items())


def test_stage_two_reads_the_image_the_caption_and_both_noises_of_the_condition():
    torch.manual_seed(0)
    generator = StageTwoGenerator(SMALL, 6, first_size=16, first_channels=4).eval()
    spoken = encoding(1)
    noise = list(generator.sample_noise(["a"], 0))
    assert [each.shape[1] for each in noise] == [5, 4, 4]
    image = generator(spoken, *noise).images[-1]
    for place in range(3):
        other = [each + (number == place) for number, each in enumerate(noise)]
        assert not torch.allclose(generator(spoken, *other).images[-1], image)
    latent, *conditions = generator.sample_noise(["a"], 0, ["b"])
    assert not torch.equal(latent, noise[0])
    assert all(map(torch.equal, conditions, noise[1:]))


def test_stage_one_generates_by_caption_and_seed():
    torch.manual_seed(0)
    generator = StageOneGenerator(SMALL, 6).eval()
    first, second = (generator.sample_noise(["a", "b"], seed) for seed in (0, 1))
    assert not torch.equal(first[0], second[0]) and not torch.equal(first[0][0], first[0][1])
    assert generator(encoding(2), *first).images[-1].shape == (2, 3, 32, 32)


def test_the_discriminator_is_conditional_alone():
    discriminator = ConditionalDiscriminator(DiscriminatorConfig(channels=4), 32, 4)
    discriminator.initialise()
    assert discriminator.unconditional_logits is None
    assert not any(name.startswith("unconditional") for name, _ in discriminator.named_parameters())
    logits = discriminator.conditional_logits(discriminator(torch.randn(2, 3, 32, 32)), torch.randn(2, 4))
    assert logits.shape == (2,)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"first_size": 32}, "less than 32"),
        ({"first_size": 4}, "8 px or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, expected):
    given = {"first_size": 16, "first_channels": 4} | options
    with pytest.raises(ValueError, match=expected):
        StageTwoGenerator(GeneratorConfig(base_size=32, channels=4), 6, **given)
    with pytest.raises(ValueError, match="channels that 3 doublings can halve"):
        StageTwoGenerator(GeneratorConfig(base_size=32, channels=1), 6, first_size=16, first_channels=4)
