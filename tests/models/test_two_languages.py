"""Captions in two languages: each spoken in its own; encoders train on both without a change of code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep import synthesize_speech
from s2i.data.manifest import Caption, read_manifest, write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.runs.checkpoint import read_checkpoint
from s2i.training.encoder import train_encoder
from tests.fixtures.data import COLOURS, write_telling_data
from tests.fixtures.models import tiny_training_config

GERMAN = {"red": "roter", "green": "grüner", "blue": "blauer", "white": "weißer"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Packed images, each with an English and a German caption."""
    data = tmp_path_factory.mktemp("data")
    images = []
    for image in write_telling_data(data, train=8, val=4):
        colour = list(COLOURS)[image.class_id]
        english = Caption(f"a {colour} bird", None, None, "en")
        german = Caption(f"ein {GERMAN[colour]} Vogel", None, None, "de")
        images.append(replace(image, captions=(english, german)))
    write_manifest(data / "written.jsonl", images)
    words = ["--manifest", data / "written.jsonl", "--root", data, "--output", data / "manifest.jsonl"]
    synthesize_speech.main([*map(str, words), "--languages", "en", "de", "--processes", "1"])
    config = tiny_training_config(data, data / "run")
    build_pack(config, ["train", "val"])
    return config


def test_each_caption_is_spoken_in_its_own_language(config):
    for image in read_manifest(config.data.manifest):
        english, german = image.captions
        assert (english.language, german.language) == ("en", "de")
        assert english.speaker.startswith("espeak-ng/en-") and german.speaker.startswith("espeak-ng/de/")


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_encoder_trains_on_both(config, modality):
    pack = Pack(config.data.pack + "/train")
    assert np.array_equal(pack.usable(modality), np.arange(16))
    run = replace(config, modality=modality, run=f"{config.run}-{modality}")
    best = read_checkpoint(train_encoder(run) / "checkpoints" / "best.pt")
    assert 0 < best["metrics"]["mAP"] <= 1
    if modality == "text":
        assert {"bird", "vogel", "white", "weißer", "grüner"} <= set(best["vocabulary"])
