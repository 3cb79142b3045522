"""GAN-INT-CLS's networks, and its text encoder: published sizes, what they may depend on, bad options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2i.config import Config
from s2i.config_files import load_config, override
from s2i.config_networks import DiscriminatorConfig, GeneratorConfig, TextEncoderConfig
from s2i.data.text import Alphabet, Vocabulary, vocabulary_of
from s2i.errors import InputError
from s2i.models.build import build_caption_encoder, build_discriminators, build_generator
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.char_cnn_rnn import CharCnnRnn
from s2i.models.residual_dcgan import Bottleneck, MatchingAwareDiscriminator, ResidualGenerator

PRESET = Path(__file__).parents[2] / "recipes" / "cub" / "conf" / "gan_int_cls.yaml"
CHARACTERS = TextEncoderConfig(units="characters", max_words=201)


def encoding(batch: int, width: int) -> CaptionEncoding:
    return CaptionEncoding(
        torch.randn(batch, width), torch.zeros(batch, width, 1), torch.ones(batch, 1).bool()
    )


def test_the_networks_have_the_published_sizes():
    config = load_config(PRESET)
    with torch.device("meta"):
        generator = ResidualGenerator(config.generator, 1024)
        discriminator = MatchingAwareDiscriminator(config.discriminator, 64, 1024)
    assert [
        layer.weight.shape[:2] for layer in (generator.first, *generator.upsamplings, generator.head)
    ] == [
        (228, 1024),
        (1024, 512),
        (512, 256),
        (256, 128),
        (128, 3),
    ]
    assert [each.convolutions[0].weight.shape for each in generator.residuals] == [
        (256, 1024, 1, 1),
        (128, 512, 1, 1),
    ]
    assert discriminator.joint[0].weight.shape == (512, 512 + 128, 1, 1)
    assert discriminator.conditional.weight.shape == (1, 512, 4, 4)
    assert not hasattr(discriminator, "unconditional_logits")


@pytest.mark.parametrize("size", [16, 32, 64])
def test_images_of_each_size_and_one_logit_an_image(size):
    torch.manual_seed(0)
    generator = ResidualGenerator(
        GeneratorConfig(base_size=size, noise_dim=5, condition_dim=6, channels=4), 7
    )
    noise = generator.sample_noise(["a", "b"], 0)
    images = generator(encoding(2, 7), *noise).images[-1]
    assert images.shape == (2, 3, size, size) and images.abs().max() <= 1
    discriminator = MatchingAwareDiscriminator(DiscriminatorConfig(channels=4), size, 7)
    assert discriminator.conditional_logits(discriminator(images), torch.randn(2, 7)).shape == (2,)


def test_a_bottleneck_adds_to_its_input():
    block = Bottleneck(4, 2, 0.0).eval()
    torch.nn.init.zeros_(block.norms[-1].weight)
    hidden = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(block(hidden), hidden.relu())


def test_weights_begin_normal():
    torch.manual_seed(0)
    config = Config(
        generator=GeneratorConfig(
            network="s2i.models.residual_dcgan:ResidualGenerator", stages=1, base_size=32, channels=64
        ),
    )
    generator = build_generator(config)
    weight = generator.upsamplings[0].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05) and not generator.head.bias.any()
    assert generator.norms[0].weight.mean().item() == pytest.approx(1, abs=0.01)


def test_the_char_cnn_rnn_has_the_published_steps_and_width():
    with torch.device("meta"):
        encoder = CharCnnRnn(CHARACTERS, len(Alphabet()))
    assert (encoder.steps, encoder.embedding_dim, encoder.characters) == (18, 1024, 69)
    assert [each.weight.shape for each in encoder.convolutions] == [
        (384, 69, 4),
        (512, 384, 4),
        (512, 512, 4),
    ]


def test_a_caption_in_characters_depends_on_no_other_one_of_its_batch():
    torch.manual_seed(0)
    alphabet = Alphabet()
    encoder = CharCnnRnn(CHARACTERS, len(alphabet), (8, 8, 8), 8, 12).eval()
    texts = ["a bird", "this bird is red, with wings of a very deep black and a long bill", "o"]
    tokens = [torch.tensor(alphabet.encode(text, 201)) for text in texts]
    lengths = torch.tensor([len(each) for each in tokens])
    padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    together = encoder(padded, lengths)
    assert together.mask.sum(1).tolist() == [1, 8, 1]
    for row, each in enumerate(tokens):
        alone = encoder(each[None], lengths[row : row + 1])
        torch.testing.assert_close(together.sentence[row : row + 1], alone.sentence, atol=1e-6, rtol=0)
    assert not together.sequence[0, :, 1:].any()


def test_characters_are_small_letters_with_single_spaces_and_the_rest_is_left_out():
    alphabet = Alphabet()
    assert (
        len(alphabet) == 70
        and "".join(alphabet.read("A\tRed  bird\u2019s \u96ea wing!")) == "a red bird's  wing!"
    )
    assert Vocabulary.from_list(alphabet.to_list()).units == "characters"
    assert Vocabulary.from_list(Vocabulary.build(["a bird"]).to_list()).units == "words"
    assert vocabulary_of("characters", ["a bird"]).units == "characters"
    assert str(alphabet.unread("abcdef", 4)) == "it reads 4 characters, so not: e f"
    with pytest.raises(InputError, match="written captions"):
        vocabulary_of("characters", ["..."])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["text_encoder.units=words"], "text_encoder.units=characters"),
        (["text_encoder.max_words=40"], "66 characters or more"),
        (["text_encoder.options.channels=[8,8]"], "three convolutions"),
        (["text_encoder.options.depth=2"], "'depth'"),
        (["generator.base_size=4"], "8 px or more"),
        (["discriminator.norm=spectral"], "discriminator.norm=batch"),
    ],
)
def test_what_a_network_refuses_is_one_line(words, expected):
    config = override(replace(load_config(PRESET), run="x", modality="text"), words)
    with torch.device("meta"), pytest.raises(InputError, match=expected) as raised:
        (
            build_caption_encoder(config, 70),
            build_generator(config, 1024),
            build_discriminators(config, 0, 1024),
        )
    assert "\n" not in str(raised.value)
