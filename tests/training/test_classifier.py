"""The classifier: what it learns, what it refuses, and that its scores of an image are that image's alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2i.config import ClassifierConfig, Config, LogConfig
from s2i.config_data import DataConfig
from s2i.data.crops import image_batches
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.classifier import Classifier, load_classifier
from s2i.models.classifier import ClassifierNetwork
from s2i.runs.checkpoint import write_checkpoint
from s2i.training.classifier import CLASS, _loss, labels, train_classifier
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import tiny_model_config
from tests.fixtures.runs import SCHEMA, write_birds

SETTINGS = ClassifierConfig(channels=(8, 16), feature_dim=16, steps=50, batch_size=32)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp("classified")
    root = folder / "birds"
    write_birds(root, {"train": (18, 8), "val": (18, 2)}, seed=1, captions=0)
    data = DataConfig(root=str(root), manifest=str(root / "manifest.jsonl"), pack=str(root / "pack"))
    made = replace(
        tiny_model_config("speech"),
        run=str(folder / "classifier"),
        data=data,
        classifier=replace(SETTINGS, pack=data.pack),
        log=LogConfig(every=10, checkpoint_every=20),
        threads=1,
    )
    build_pack(made, ("train", "val"))
    train_classifier(made)
    return made


@pytest.fixture(scope="module")
def classifier(config) -> Classifier:
    return load_classifier(config.run)


@pytest.fixture
def pack(config) -> Pack:
    return Pack(Path(config.classifier.pack) / "val")


def test_a_classifier_learns_to_predict_attributes(config, classifier, pack):
    assert classifier.heads == SCHEMA
    predictions = classifier.look(image_batches(pack, pack.packed_size))
    right = labels(pack, classifier.heads)
    shares = {name: float((predictions.answers(name) == right[name]).mean()) for name in SCHEMA}
    assert shares["size"] > 0.9 and min(shares.values()) > 0.6  # chance: 1/2, 1/3
    metrics = [json.loads(line) for line in (Path(config.run) / "metrics.jsonl").read_text().splitlines()]
    assert {line["metric"]: line["value"] for line in metrics} == {
        f"classifier_accuracy/{name}": share for name, share in shares.items()
    }


def test_predictions_of_an_image_do_not_depend_on_its_batch(classifier, pack):
    together = classifier.look([next(image_batches(pack, pack.packed_size))])
    alone = classifier.look(image_batches(pack, pack.packed_size, batch_size=1))
    assert np.allclose(together.features, alone.features, atol=1e-4)
    assert np.allclose(together.probabilities["wing"], alone.probabilities["wing"], atol=1e-5)
    assert np.allclose(together.probabilities["wing"].sum(1), 1)


def test_images_of_another_size_are_resized(classifier):
    predictions = classifier.look([torch.zeros(3, 3, 64, 64)])
    assert predictions.features.shape == (3, 16) and predictions.probabilities["size"].shape == (3, 2)


def test_the_same_seed_trains_the_same_classifier_and_another_seed_another(config, classifier, tmp_path):
    again = train_classifier(replace(config, run=str(tmp_path / "again")))
    assert load_classifier(again).identity == classifier.identity
    other = train_classifier(replace(config, run=str(tmp_path / "other"), seed=1))
    assert load_classifier(other).identity != classifier.identity


def test_an_unfinished_classifier_does_not_score(config, tmp_path):
    run = train_classifier(
        replace(config, run=str(tmp_path / "run"), classifier=replace(config.classifier, steps=2))
    )
    path = run / "checkpoints" / "last.pt"
    saved = torch.load(path, weights_only=True)
    write_checkpoint(path, {**saved, "step": 1})
    with pytest.raises(InputError, match="found one after step 1 of 2: run s2i train-classifier again"):
        load_classifier(run)


def test_another_kind_of_run_is_no_classifier(tmp_path):
    write_checkpoint(tmp_path / "checkpoints" / "last.pt", {"kind": "gan"})
    with pytest.raises(InputError, match="expected a classifier"):
        load_classifier(tmp_path)


def test_a_classifier_keeps_the_fingerprints_of_its_training_data(config, classifier):
    folder = Path(config.classifier.pack)
    packs = {split: Pack(folder / split).fingerprint for split in ("train", "val")}
    assert classifier.data == packs


def test_data_without_attributes_makes_a_classifier_of_classes(config, tmp_path):
    write_telling_data(tmp_path)
    data = DataConfig(
        root=str(tmp_path), manifest=str(tmp_path / "manifest.jsonl"), pack=str(tmp_path / "pack"), margin=1.0
    )
    smaller = replace(config.generator, stages=2)
    made = replace(config, data=data, generator=smaller, run=str(tmp_path / "classifier"))
    made = replace(made, classifier=replace(config.classifier, pack=data.pack, steps=20, batch_size=8))
    build_pack(made, ("train", "val"))
    classifier = load_classifier(train_classifier(made))
    assert classifier.heads == {CLASS: ["red bird", "green bird", "blue bird", "white bird"]}
    pack = Pack(tmp_path / "pack" / "val")
    predictions = classifier.look(image_batches(pack, pack.packed_size))
    assert (predictions.answers(CLASS) == labels(pack, classifier.heads)[CLASS]).mean() > 0.6


def test_an_attribute_value_unknown_to_the_classifier_has_no_label_and_no_gradient(pack):
    known = {"wing": ["red", "green"]}  # not blue
    right = labels(pack, known)["wing"]
    blue = np.array([image.attributes["wing"] == "blue" for image in pack.records])
    assert blue.any() and (right[blue] == -1).all() and (right[~blue] >= 0).all()
    logits = torch.zeros(3, 2, requires_grad=True)
    loss = _loss({"wing": logits}, {"wing": torch.tensor([0, -1, 1])})
    assert float(loss.detach()) == pytest.approx(np.log(2))  # the mean over the known two
    loss.backward()
    assert (logits.grad[1] == 0).all() and (logits.grad[0] != 0).all()


def test_where_a_colour_lies_reaches_its_heads():
    torch.manual_seed(0)
    network = ClassifierNetwork(SETTINGS, {"wing": ["red", "green"]}, 32).eval()
    image = torch.zeros(1, 3, 32, 32)
    image[..., :16] = 1
    with torch.no_grad():
        here, there = network(image)[0], network(image.flip(-1))[0]
    assert not torch.allclose(here, there, atol=1e-3)
