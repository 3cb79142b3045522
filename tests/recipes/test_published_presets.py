"""Presets with networks of their own: built at their published size, and stepped at a smaller one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2i.config import Config
from s2i.config_data import DataConfig
from s2i.config_files import load_config
from s2i.data.pack_builder import build_pack
from s2i.models.build import (
    build_caption_encoder,
    build_discriminators,
    build_image_encoder,
    build_pair_discriminator,
    make_generator,
    make_speech_generator,
)
from s2i.runs.checkpoint import load_last
from s2i.runs.run import Run
from s2i.training.cross_modal import train_cross_modal
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.regression import train_regression
from tests.fixtures.data import write_telling_data
from tests.recipes.presets import ROOT, WITH_OWN_NETWORKS, load_preset, names

CUB = ROOT / "recipes" / "cub" / "conf"
# Millions of parameters at the published size: speech encoder, generator, discriminators if any.
SIZES = {
    "gan_int_cls": (7.03, 18.91, 4.03),
    "stackgan_stage1": (7.03, 10.3, 5.72),
    "stackgan": (7.03, 36.59, 71.26),
    "wav2pix": (10.71, 13.25, 18.82),
    "deep_cross_modal": (0.66, 5.67, 3.93),
    "deep_cross_modal_random": (0.66, 5.67, 3.93),
    "deep_cross_modal_autoencoded": (0.66, 5.67, 3.93),
    "speech2face": (137.84, 11.82, None),
}
# The same, of those that generate speech: speech encoder and generator of images if any, image encoder,
# generator of speech, discriminator of pairs.
SPEAKING = {
    "deep_cross_modal_speech": (None, None, 3.84, 32.77, 22.63),
    "cmcgan": (3.28, 5.65, 3.84, 32.77, 22.63),
}
SMALLER = ["generator.channels=8", "discriminator.channels=4", "speech_encoder.hidden_dim=8"]
NARROW = {  # of each preset for CUB; those for painted birds are small
    "gan_int_cls": SMALLER,
    "stackgan_stage1": SMALLER,
    "stackgan": [*SMALLER, "generator.options.first_channels=8"],
    "wav2pix": [
        *SMALLER,
        "speech_encoder.options.channels=[4,4,4,4,4,8]",
        "speech_encoder.options.hidden=[8]",
        "speech_encoder.options.width=8",
    ],
    "deep_cross_modal": SMALLER,
    "deep_cross_modal_random": SMALLER,
    "deep_cross_modal_autoencoded": [*SMALLER, "speech_generator.channels=2", "speech_generator.frames=48"],
    "deep_cross_modal_speech": [*SMALLER, "speech_generator.channels=2", "speech_generator.frames=48"],
    "cmcgan": [
        *SMALLER,
        "speech_generator.channels=2",
        "speech_generator.frames=48",
        "speech_encoder.options={channels: [2, 2, 2, 4], width: 8, frames: 48}",
    ],
    "speech2face": [
        "generator.channels=2",
        "audio.mel_bins=40",
        "speech_encoder.options.channels=[2,2,2,2,2,2,2,2,2,2]",
        "speech_encoder.options.hidden=8",
        "speech_encoder.options.width=8",
        "image_encoder.kind=small",
    ],
}


@pytest.mark.parametrize("preset", SIZES)
def test_a_preset_is_built_at_its_published_size(preset):
    config = load_preset(CUB / f"{preset}.yaml")
    with torch.device("meta"):
        encoder = build_caption_encoder(config, 0)
        networks = [encoder, make_generator(config, encoder.embedding_dim)]
        if SIZES[preset][2] is not None:
            networks.append(build_discriminators(config, 0, encoder.embedding_dim))
    sizes = [sum(weight.numel() for weight in network.parameters()) / 1e6 for network in networks]
    assert sizes == pytest.approx([size for size in SIZES[preset] if size], rel=0.01), sizes


@pytest.mark.parametrize("preset", SPEAKING)
def test_a_preset_that_generates_speech_is_built_at_its_published_size(preset):
    config = load_preset(CUB / f"{preset}.yaml")
    with torch.device("meta"):
        networks = []
        if config.cross_modal.generates == "both":
            encoder = build_caption_encoder(config, 0)
            networks = [encoder, make_generator(config, encoder.embedding_dim)]
        networks.append(build_image_encoder(config, config.speech_generator.code_dim))
        networks += [make_speech_generator(config), build_pair_discriminator(config)]
    sizes = [sum(weight.numel() for weight in network.parameters()) / 1e6 for network in networks]
    assert sizes == pytest.approx([size for size in SPEAKING[preset] if size], rel=0.01), sizes


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("birds")
    write_telling_data(folder, train=6, val=4)
    return folder


def configured(birds: Path, path: Path, run: Path) -> Config:
    """A preset to be stepped once on a few images, its encoder unmatched."""
    words = NARROW[path.stem] if path.parts[-3] == "cub" else []
    words = [*words, "gan.steps=1", "gan.batch_size=3", "gan.sample_every=0", "gan.encoder_start=random"]
    words += ["matching.steps=1", "matching.batch_size=3", "matching.region_weight=0", "precision=fp32"]
    words += ["cross_modal.steps=1", "cross_modal.batch_size=3", "cross_modal.sample_every=0"]
    words += ["regression.decoder_steps=1", "regression.steps=1", "regression.batch_size=3"]
    config = load_config(path, [*words, f"run={run}", "device=cpu", "threads=1"])
    audio = f"{config.audio.front_end}-{config.audio.mel_bins}-{config.audio.cmvn}"
    pack = str(birds / f"pack-{config.packed_size}-{audio}")
    data = DataConfig(root=str(birds), manifest=str(birds / "manifest.jsonl"), pack=pack)
    config = replace(config, data=replace(data, packed_size=config.data.packed_size))
    build_pack(config, ("train", "val"))
    return config


@pytest.mark.parametrize("path", WITH_OWN_NETWORKS, ids=names)
def test_a_preset_trains_a_step(path, birds, tmp_path):
    config = configured(birds, path, tmp_path / "run")
    if path.stem == "speech2face":
        encoder = train_encoder(replace(config, run=str(tmp_path / "encoder")))
        regression = replace(config.regression, image_network=str(encoder))
        run = train_regression(replace(config, regression=regression))
        [line] = Run(run).read_log()
        assert load_last(run / "checkpoints")["step"] == 2 and line["encoder/all"] > 0 < line["decoder/all"]
        return
    if path.stem in SPEAKING:
        run = train_cross_modal(config)
        [line] = Run(run).read_log()
        assert load_last(run / "checkpoints")["step"] == 1 and line["g/all"] > 0 < line["d/all"]
        return
    if path.stem == "deep_cross_modal_autoencoded":
        encoder = train_encoder(replace(config, run=str(tmp_path / "encoder")))
        [line] = Run(encoder).read_log()
        assert line["loss/all"] == line["loss/autoencoding"] > 0
        config = replace(config, gan=replace(config.gan, encoder=str(encoder), encoder_start="matched"))
    if path.stem == "stackgan":
        first = configured(birds, path.with_stem("stackgan_stage1"), tmp_path / "stage1")
        config = replace(config, gan=replace(config.gan, first_stage=str(train_gan(first))))
    run = train_gan(config)
    [line] = Run(run).read_log()
    assert load_last(run / "checkpoints")["step"] == 1
    assert line["g/all"] > 0 < line["d/all"]


def test_every_preset_for_cub_is_narrowed_here():
    presets = {path.stem for path in WITH_OWN_NETWORKS if path.parts[-3] == "cub"}
    assert set(NARROW) == presets == set(SIZES) | set(SPEAKING)
