"""A run that is measured while it trains ends in the bits of one that nobody looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2i.config import ClassifierConfig, Config, EvaluationConfig
from s2i.data.pack_builder import build_pack
from s2i.evaluation.records import evaluate
from s2i.runs.checkpoint import read_checkpoint
from s2i.training.classifier import train_classifier
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.samples import SampleGrid
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import same, tiny_training_config


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """Of a GAN training that saves at steps 4, 8 and 9, generates samples at 4 and 8, and has a
    classifier."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "birds").mkdir()
    (folder / "others").mkdir()
    write_telling_data(folder / "birds")
    write_telling_data(folder / "others", train=20, val=4)
    config = tiny_training_config(folder / "birds", folder / "gan", "speech")
    other = tiny_training_config(folder / "others", folder / "classifier", "speech")
    settings = ClassifierConfig(pack=other.data.pack, channels=(8, 8), feature_dim=8, steps=4, batch_size=8)
    build_pack(config, ["train", "val"])
    build_pack(other, ["train", "val"])
    classifier = train_classifier(replace(other, classifier=settings))
    train_encoder(replace(config, run=config.gan.encoder))
    return replace(config, evaluation=EvaluationConfig(split="val", classifier=str(classifier)))


def test_measuring_in_mid_training_leaves_its_bits(config, monkeypatch):
    quiet, watched = (replace(config, run=f"{config.run}-{name}") for name in ("quiet", "watched"))
    train_gan(quiet)
    generate, measured = SampleGrid.generate, []

    def generate_and_measure(self: SampleGrid, *rest) -> None:
        generate(self, *rest)
        if (Path(watched.run) / "checkpoints" / "last.pt").exists():
            measured.extend(evaluate(watched.run))  # in the very process that trains

    monkeypatch.setattr(SampleGrid, "generate", generate_and_measure)
    train_gan(watched)
    assert {line["protocol"] for line in measured} >= {"retrieval_by_caption", "classifier_distances"}
    assert {line["step"] for line in measured} == {4, 8}
    one, other = (read_checkpoint(Path(each.run) / "checkpoints" / "last.pt") for each in (quiet, watched))
    for name in one.keys() - {"config"}:
        assert same(one[name], other[name]), name
