"""A model over a pretrained network knows some of its training's images, and chooses candidates by them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from s2i.config import Config
from s2i.config_networks import ImageEncoderConfig
from s2i.data.crops import image_batches
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.feature_extraction import _chooser
from s2i.inference import training_images as module
from s2i.inference.candidates import UNLIKENESS, suitability
from s2i.inference.model import load
from s2i.inference.save import write_model
from s2i.inference.training_images import training_images
from s2i.metrics.neighbours import Neighbours, fit_neighbours
from s2i.models.build import build_image_encoder
from s2i.reports.export import export
from s2i.runs.pretrained_weights import connect
from s2i.runs.stored import read_model
from tests.fixtures.models import SENTENCES, path_over_pack, write_tiny_run


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A path from text over a pack of 32 images, whose image encoder looks through EfficientNet-lite0."""
    loaded = path_over_pack(tmp_path_factory.mktemp("images"), "text")
    settings = ImageEncoderConfig(kind="efficientnet_lite0", input_size=32)
    config = replace(loaded.config, image_encoder=settings)
    torch.manual_seed(0)
    encoder = connect(build_image_encoder(config, loaded.embedding_dim), settings)
    return replace(loaded, config=config, image_encoder=encoder.requires_grad_(False).eval())


def test_they_are_features_of_the_split_in_the_size_of_generated_images(path, monkeypatch):
    monkeypatch.setattr(module, "COUNT", 20)
    known = training_images(path)
    pack = Pack(f"{path.config.data.pack}/train")
    images = torch.cat(list(image_batches(pack, path.config.generated_size)))
    images = images[[round(number * 31 / 19) for number in range(20)]]
    features, _ = path.image_encoder.look(images)
    assert known.directions.shape == (20, 1280)
    torch.testing.assert_close(
        known.directions.float(), torch.nn.functional.normalize(features, dim=1), rtol=1e-2, atol=1e-3
    )


def test_of_an_encoder_from_nothing_or_without_the_pack_none_are_known(path, tmp_path, capsys):
    assert training_images(replace(path, image_encoder=build_image_encoder(Config(), 16))) is None
    assert not capsys.readouterr().err
    moved = replace(path.config, data=replace(path.config.data, pack=str(tmp_path / "gone")))
    assert training_images(replace(path, config=moved)) is None
    assert "the model will not know what images of its training are like: " in capsys.readouterr().err


def test_where_nothing_can_be_chosen_or_images_are_alike_none_are_known(path, monkeypatch, capsys):
    def fetch(encoder):
        raise InputError("expected weights, found none")

    offline = build_image_encoder(path.config, path.embedding_dim)
    offline.fetch = fetch
    assert training_images(replace(path, image_encoder=offline)) is None
    monkeypatch.setattr(module, "COUNT", 9)
    assert training_images(path) is None
    monkeypatch.setattr(module, "COUNT", 12)
    monkeypatch.setattr(module, "read_images", lambda *_: torch.zeros(12, 3, 32, 32))
    assert training_images(path) is None
    said = [line for line in capsys.readouterr().err.splitlines() if "will not know" in line]
    assert [line.rsplit(": ", 1)[1] for line in said] == [
        "expected weights, found none",
        "9 are too few, or all alike",
        "12 are too few, or all alike",
    ]


def test_what_is_kept_of_candidates_depends_on_what_chose_them(path):
    known = fit_neighbours(torch.randn(30, 1280, generator=torch.Generator().manual_seed(0)), [""] * 30)
    wider = replace(known, reach=2 * known.reach)
    paths = [replace(path, training_images=each) for each in (None, known, wider)]
    assert len({str(_chooser(each)) for each in paths}) == len({str(each.chooser) for each in paths}) == 3


def test_export_keeps_them(path, tmp_path, monkeypatch):
    known = fit_neighbours(torch.randn(30, 1280, generator=torch.Generator().manual_seed(0)), [""] * 30)
    monkeypatch.setattr("s2i.reports.export.training_images", lambda loaded: known)
    export([write_tiny_run(tmp_path / "run", "text")], tmp_path / "model")
    assert load(tmp_path / "model", "cpu").path("text").training_images.fingerprint == known.fingerprint


def test_an_exported_model_has_them_beside_its_weights(path, tmp_path):
    known = fit_neighbours(torch.randn(30, 1280, generator=torch.Generator().manual_seed(0)), [""] * 30)
    some = torch.randn(5, 1280, generator=torch.Generator().manual_seed(1))
    for bits in (32, 16, 8):
        write_model(
            tmp_path / "model", {"text": replace(path, training_images=known)}, "a test", [], [], bits=bits
        )
        (stored,) = read_model(tmp_path / "model")
        assert stored.weights["training_images"].keys() == {"directions", "reach"}
        read = load(tmp_path / "model", "cpu").path("text").training_images
        torch.testing.assert_close(read.distance(some), known.distance(some), rtol=1e-3, atol=1e-3)
        assert read.fingerprint == known.fingerprint
    write_model(tmp_path / "old", {"text": path}, "a test", [], [])
    assert load(tmp_path / "old", "cpu").path("text").training_images is None


def test_a_candidate_counts_for_less_the_farther_it_is_from_them(path):
    sentence = torch.nn.functional.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(2)))
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    known = SimpleNamespace(distance=lambda features: torch.arange(len(features)) / 10)
    alone, beside = (suitability(path.image_encoder, sentence, each)(images) for each in (None, known))
    torch.testing.assert_close(beside, alone - UNLIKENESS * torch.arange(6) / 10)
    cosine = torch.nn.functional.cosine_similarity(path.image_encoder(images)[0], sentence)
    torch.testing.assert_close(alone, cosine)


def test_what_looks_like_training_s_images_is_chosen(path):
    encoding = path.encode_text(SENTENCES[:1])
    for candidate in (1, 3):
        wanted = path.generate(encoding, [f"key candidate {candidate}"]).images[-1]
        features, _ = path.image_encoder.look(wanted)
        directions = torch.nn.functional.normalize(features, dim=1)
        knowing = replace(path, training_images=Neighbours(directions, reach=torch.tensor(1e-4)))
        assert torch.equal(knowing.choosing_among(5).generate(encoding, ["key"]).images[-1], wanted)
        assert knowing.chooser.keys() == {"image_encoder", "training_images"}
