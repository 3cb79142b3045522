"""An exported model knows the recordings that its encoder was trained on, and says which are unlike them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from s2i.errors import InputWarning
from s2i.inference.model import load
from s2i.inference.save import write_model
from s2i.inference.training_domain import training_domain
from s2i.metrics.domain import Domain
from s2i.metrics.neighbours import Neighbours
from s2i.models.caption_encoding import CaptionEncoding
from tests.fixtures.models import path_over_pack, write_recording, write_tiny_run


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return path_over_pack(tmp_path_factory.mktemp("domain"), "speech")


def test_a_domain_of_the_training_pack_is_exported_and_read_again(path, tmp_path):
    known = training_domain(path)
    assert known.mean.shape == (16,) and known.whitening.shape == (16, 16) and known.threshold > 0
    for bits in (32, 16, 8):
        write_model(tmp_path / "model", {"speech": replace(path, domain=known)}, "a test", [], [], bits=bits)
        read = load(tmp_path / "model", "cpu").path("speech").domain
        some = known.mean + torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(read.distance(some), known.distance(some), rtol=2e-2, atol=1e-2)
        assert torch.equal(read.is_outside(some), known.is_outside(some))
        assert read.whitening.dtype == torch.float32
    write_model(tmp_path / "old", {"speech": path}, "a test", [], [])
    assert load(tmp_path / "old", "cpu").path("speech").domain is None


def test_without_its_pack_or_with_another_none_is_known_and_that_is_said(path, tmp_path, capsys):
    moved = replace(path.config, data=replace(path.config.data, pack=str(tmp_path / "gone")))
    assert training_domain(replace(path, config=moved)) is None
    assert training_domain(replace(path, data={"train": "0" * 64})) is None
    said = capsys.readouterr().err.splitlines()
    assert sum("will not know when a recording is unlike those" in line for line in said) == 2


def test_a_recording_outside_is_named_and_one_inside_is_not(path, tmp_path, monkeypatch):
    recording = write_recording(tmp_path / "x.wav")
    model = load(write_tiny_run(tmp_path / "run"), "cpu")
    spoken = model.path("speech")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        _, encoding = model.encode(speech=recording)
        near = encoding.sentence
        model.paths["speech"] = replace(spoken, domain=around(near))
        model.encode(speech=recording)
    model.paths["speech"] = replace(spoken, domain=around(-near))
    with pytest.warns(InputWarning, match=r"x\.wav: it is unlike the recordings .* \(farther from"):
        model.encode(speech=recording)


def test_a_recording_is_judged_as_it_is_heard(path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("expected no warp")

    monkeypatch.setattr("s2i.inference.path.encode_normalised", refuse)
    nowhere_near = around(torch.eye(16), reach=1e-3)
    known = replace(path, domain=nowhere_near, normalise_voices=True)
    assert "unlike the recordings" in known.doubt_of(torch.randn(8000))
    assert replace(path, domain=None).doubt_of(torch.randn(8000)) == ""


@pytest.mark.parametrize("degrees, is_unlike", [(0, False), (29, False), (31, True), (180, True)])
def test_a_recording_beyond_the_reach_of_its_neighbours_is_unlike_them(path, degrees, is_unlike):
    angle = torch.tensor(degrees).deg2rad()
    sentence = torch.zeros(1, 16)
    sentence[0, :2] = 7 * torch.stack((angle.cos(), angle.sin()))  # of any length
    chord = 2 * torch.tensor(15.0).deg2rad().sin()  # of 30 degrees
    known = replace(path, domain=around(torch.eye(16)[:1], reach=float(chord)))
    doubt = known.doubt(CaptionEncoding(sentence, torch.zeros(1, 16, 1), torch.ones(1, 1, dtype=torch.bool)))
    assert ("unlike the recordings" in doubt) == is_unlike and bool(doubt) == is_unlike


def test_a_model_that_was_exported_without_neighbours_goes_by_the_gaussian(path):
    recording = torch.randn(8000)
    for threshold, is_unlike in ((1e-3, True), (1e3, False)):
        domain = Domain(torch.zeros(16), torch.eye(16), torch.tensor(threshold))
        assert bool(replace(path, domain=domain).doubt_of(recording)) == is_unlike


def around(directions: torch.Tensor, reach: float = 0.5) -> Domain:
    """A domain whose neighbours are `directions` (N, 16)."""
    unit = torch.nn.functional.normalize(directions, dim=1)
    neighbours = Neighbours(unit, torch.tensor(reach))
    return Domain(torch.zeros(16), torch.eye(16), torch.tensor(1e3), neighbours)
