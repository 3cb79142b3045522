"""Every preset of the project's own networks: built at full size, and a step of each training, made small."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from s2i.config import Config, LogConfig
from s2i.config_data import DataConfig
from s2i.data.pack import pack_settings
from s2i.data.pack_builder import build_pack
from s2i.models.build import (
    build_caption_encoder,
    build_discriminators,
    build_generator,
    build_image_encoder,
    image_sizes,
)
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.efficientnet_lite0 import FEATURE_CHANNELS, FEATURE_STRIDES, EfficientNetLite0
from s2i.models.feature_network import FeatureNetwork
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import PretrainedNetwork
from s2i.runs.checkpoint import load_last
from s2i.training.classifier import train_classifier
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.data import write_telling_data
from tests.fixtures.networks import make_network
from tests.recipes.presets import PRESETS, ROOT, load_preset, names

WEIGHTS = "mobilenet.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_telling_data(folder)
    save_file(make_network("mobilenet_v2").state_dict(), folder / WEIGHTS)
    return folder


def made_small(preset: Path, data: Path) -> Config:
    """The same choices with a few channels, 8 px in the first stage, and one step of four images."""
    config = load_preset(preset)
    generator, encoder, classifier = config.generator, config.image_encoder, config.classifier
    if encoder.kind == "small":
        halvings = len(encoder.channels)
        encoder = replace(encoder, channels=(8,) * halvings, input_size=2**halvings)
    else:  # the frozen network that is quickest, at 32 px, instead of any; its features are too many to learn
        encoder = replace(encoder, kind="mobilenet_v2", input_size=32, weights=str(data / WEIGHTS))
        encoder = replace(encoder, region_side=1, project=True)
    small = replace(
        config,
        device="cpu",
        threads=1,
        data=DataConfig(str(data), str(data / "manifest.jsonl"), augment=config.data.augment),
        speech_encoder=replace(
            config.speech_encoder,
            channels=(8,) * len(config.speech_encoder.channels),
            hidden_dim=8,
            attention_dim=4,
        ),
        text_encoder=replace(config.text_encoder, embedding_dim=8, hidden_dim=8, attention_dim=4),
        image_encoder=encoder,
        generator=replace(generator, base_size=8, noise_dim=4, condition_dim=4, channels=8, min_channels=4),
        discriminator=replace(config.discriminator, channels=4, max_channels=32),
        matching=replace(config.matching, steps=1, batch_size=4, region_group=0),
        gan=replace(config.gan, steps=1, batch_size=4),
        classifier=replace(
            classifier, channels=(4,) * min(4, len(classifier.channels)), feature_dim=4, steps=1, batch_size=4
        ),
        log=LogConfig(every=1),
    )
    facts = json.dumps(pack_settings(small), sort_keys=True)  # presets with the same share a pack
    pack = str(data / f"pack-{hashlib.sha256(facts.encode()).hexdigest()[:16]}")
    small = replace(small, data=replace(small.data, pack=pack))
    build_pack(small, ["train", "val"])
    return replace(small, classifier=replace(small.classifier, pack=pack))


def test_there_are_presets():
    assert ROOT / "recipes" / "painted_birds" / "conf" / "default.yaml" in PRESETS


@pytest.mark.parametrize("preset", PRESETS, ids=names)
def test_a_presets_networks_fit_each_other_at_full_size(preset):
    """On the meta device: shapes alone, no memory and no time."""
    config = load_preset(preset)
    sizes = image_sizes(config)
    for modality in ("speech", "text"):
        config = replace(config, modality=modality)
        with torch.device("meta"):
            encoder, image_encoder = build_caption_encoder(config, 1000), build_image_encoder(config)
            network = EfficientNetLite0()
            features = FeatureNetwork(network, FEATURE_CHANNELS, FEATURE_STRIDES, config.feature_input_size)
            generator = build_generator(config)
            networks = build_discriminators(config, features=features)
            sentence, mask = torch.empty(2, config.embedding_dim), torch.empty(2, 7, dtype=torch.bool)
            encoding = CaptionEncoding(sentence, torch.empty(2, config.embedding_dim, 7), mask)
            output = generator(
                encoding,
                torch.empty(2, config.generator.noise_dim),
                torch.empty(2, config.generator.condition_dim),
            )
            condition = output.mu if config.discriminator.condition_on == "mu" else sentence
            assert [image.shape for image in output.images] == [(2, 3, size, size) for size in sizes]
            views = networks.look(output.images)
            assert len(views) == len(sizes) or config.discriminator.kind == "projected"
            heads = (4,) if config.discriminator.kind == "projected" else ()
            for network, view in zip(networks, views, strict=True):
                hidden = network(view)
                assert (
                    network.conditional_logits(hidden, condition).shape
                    == network.unconditional_logits(hidden).shape
                    == (2, *heads)
                )
            if isinstance(image_encoder, PretrainedImageEncoder):
                settings = config.image_encoder
                image_encoder.use_backbone(PretrainedNetwork(settings.kind, settings.input_size))
            vectors, regions = image_encoder(output.images[-1])
        assert vectors.shape[1] == regions.shape[1] == config.embedding_dim
        assert sum(weight.numel() for weight in encoder.parameters()) > 0


@pytest.mark.parametrize("modality", ["speech", "text"])
@pytest.mark.parametrize("preset", PRESETS, ids=names)
def test_a_preset_made_small_trains_an_encoder_and_a_generator_for_a_step(preset, modality, data, tmp_path):
    config = replace(made_small(preset, data), modality=modality)
    encoder = train_encoder(replace(config, run=str(tmp_path / "encoder")))
    folder = train_gan(
        replace(config, run=str(tmp_path / "gan"), gan=replace(config.gan, encoder=str(encoder)))
    )
    state = load_last(folder / "checkpoints")
    assert state["step"] == 1 and list((folder / "samples").glob("*.png"))
    assert all(torch.isfinite(value).all() for net in state["nets"].values() for value in net.values())


@pytest.mark.parametrize("preset", PRESETS, ids=names)
def test_a_preset_made_small_trains_a_classifier_for_a_step(preset, data, tmp_path):
    config = made_small(preset, data)
    folder = train_classifier(replace(config, run=str(tmp_path / "classifier")))
    assert load_last(folder / "checkpoints")["step"] == 1
