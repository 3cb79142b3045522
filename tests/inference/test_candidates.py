"""The best of several images of a caption."""

from __future__ import annotations

import copy
import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from s2i import cli
from s2i.data.images import to_uint8
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.records import record
from s2i.evaluation.score import Score
from s2i.inference.candidates import best_of
from s2i.inference.image_facts import read_image_facts
from s2i.inference.model import load
from s2i.inference.sentence_page import PageSettings
from s2i.models.generator import GeneratorOutput
from s2i.reports.compare import compare
from s2i.reports.rows import lines, rows
from tests.fixtures.models import SENTENCES, write_recording
from tests.fixtures.runs import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), classifier_steps=5)


@pytest.mark.parametrize("augmented", (False, True))
def test_of_each_caption_the_most_similar_candidate_is_kept_whole(augmented):
    scores = torch.tensor([[0.1, 0.7, 0.5], [0.2, 0.9, 0.5], [0.0, 0.8, 0.4]])  # of a candidate a row

    def output(candidate: int) -> GeneratorOutput:
        def marked(*shape: int) -> torch.Tensor:
            return torch.full((3, *shape), float(candidate))

        moments = (marked(5), marked(5)) if augmented else (None, None)
        return GeneratorOutput([marked(3, 4, 4), marked(3, 8, 8)], [marked(6, 4, 4)], *moments)

    best = best_of(3, output, lambda images: scores[int(images[0, 0, 0, 0])])
    kept = torch.tensor([1.0, 1.0, 0.0])  # of equals the first
    values = [*best.images, *best.attention, *([best.mu, best.logvar] if augmented else [])]
    assert (best.mu is None) is not augmented
    for value in values:
        assert torch.equal(value.flatten(1), kept[:, None].expand(3, value[0].numel()))


def test_candidates_are_images_of_other_noise_and_the_nearest_is_the_model_s_own_choice(model):
    path = load(model, "cpu").path("text")
    encoding = path.encode_text(SENTENCES[:2] * 4)
    keys = list("abcdefgh")
    alone = path.generate(encoding, keys)
    assert torch.equal(path.choosing_among(1).generate(encoding, keys).images[-1], alone.images[-1])
    names = [[key if not n else f"{key} candidate {n}" for key in keys] for n in range(6)]
    images = [path.generate(encoding, each).images[-1] for each in names]
    sentence = torch.nn.functional.normalize(encoding.sentence, dim=1)
    similarity = torch.stack([(path.encode_images(each) * sentence).sum(1) for each in images])
    chosen = path.choosing_among(6).generate(encoding, keys)
    assert len(set(similarity.argmax(0).tolist())) > 1
    for row, number in enumerate(similarity.argmax(0).tolist()):
        assert torch.equal(chosen.images[-1][row], images[number][row])
    few = path.choosing_among(2).generate(encoding, keys).images[-1]
    assert torch.equal(
        few, torch.where((similarity[1] > similarity[0]).view(-1, 1, 1, 1), images[1], images[0])
    )
    assert path.choosing_among(1) is path


def test_candidates_are_refused_where_no_choice_can_be_made(model):
    path = load(model, "cpu").path("text")
    with pytest.raises(InputError, match="expected candidates of 1 or more, found 0"):
        path.choosing_among(0)
    config = path.config
    unmatched = replace(config, gan=replace(config.gan, encoder_start="random"))
    weights = {name: 0.0 for name in ("batch_weight", "region_weight", "class_weight", "joint_weight")}
    autoencoding = replace(config, matching=replace(config.matching, autoencoding_weight=1.0, **weights))
    assert autoencoding.matching.autoencodes_alone
    without_noise = copy.copy(path.generator)
    without_noise.sample_noise = lambda *_: ()
    for changed, missing in (
        ({"image_encoder": None}, "a model with encoders of captions and images"),
        ({"encoder": None}, "a model with encoders of captions and images"),
        ({"config": unmatched}, "encoders of captions and images that were matched"),
        ({"config": autoencoding}, "encoders of captions and images that were matched"),
        ({"generator": without_noise}, "a generator with noise"),
    ):
        message = f"expected {missing} for candidates, found none in .*model: leave candidates out"
        with pytest.raises(InputError, match=message):
            replace(path, **changed).choosing_among(2)
        assert replace(path, **changed).choosing_among(1).candidates == 1


def test_the_command_generates_candidates_and_the_image_tells(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recording = write_recording(tmp_path / "x.wav")
    words = ["generate", "--model", str(model), "--seed", "3", "--candidates", "5"]
    cli.main([*words, "--speech", str(recording), "--output", "a.png"])
    path, encoding = load(model).encode(speech=recording)
    chosen = path.choosing_among(5).generate(encoding, ["3"]).images[-1]
    (by_hand,) = load(model).generate(speech=recording, seed=3, candidates=5)
    assert np.array_equal(to_uint8(chosen)[0], np.asarray(by_hand))
    assert np.array_equal(np.asarray(Image.open("a.png")), np.asarray(by_hand))
    assert PageSettings(seed=3, candidates=5).about("birds") == "birds, seed 3, the best of 5"
    facts = read_image_facts("a.png")
    assert facts["candidates"] == 5 and facts["image_encoder"] == path.fingerprint("image_encoder")[:16]
    capsys.readouterr()
    cli.main(["about", "--json", "a.png"])
    assert json.loads(capsys.readouterr().out)["candidates"] == 5
    cli.main(["about", "a.png"])
    printed_facts = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    again = shlex.split(printed_facts["again"])
    again[again.index("--model") + 1] = str(model)
    cli.main(again[1:])
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "a.png").read_bytes()

    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES[:2]) + "\n")
    cli.main([*words, "--texts", "sentences.txt", "--output", "many"])
    cli.main([*words, "--text", SENTENCES[1], "--output", "one.png"])
    second = sorted((tmp_path / "many").glob("*.png"))[1]
    assert np.array_equal(np.asarray(Image.open(second)), np.asarray(Image.open("one.png")))
    between = [*words, "--interpolate", str(recording), str(recording), "--output", "between.png"]
    with pytest.raises(SystemExit):
        cli.main(between)
    assert "expected --interpolate without --candidates, found both" in capsys.readouterr().err


def test_what_was_chosen_among_candidates_is_measured_as_that(world, tmp_path):
    path = load(world["text"], "cpu").path("text")
    settings = replace(path.config.evaluation, cache=str(tmp_path), captions=1)
    plain, chosen = FeatureBank(path, settings), FeatureBank(path, replace(settings, candidates=4))
    assert chosen.identity()["candidates"] == 4 and "candidates" not in plain.identity()
    records = [
        record(bank, "attribute_accuracy", Score("accuracy", 0.5, {"captions": 1}))
        for bank in (plain, chosen)
    ]
    assert len(rows(records)) == 2  # of which a model's card prints both
    notes = [line for line in lines(records, {"attribute_accuracy": "counted"}) if "Sampled" in line]
    assert notes == ["# Sampled otherwise: of 4 candidates each the best."]
    captions = chosen.captions.generated
    images = {
        bank: torch.stack([each.images[-1] for each in bank.outputs(captions).values()])
        for bank in (plain, chosen)
    }
    place = {index: number for number, index in enumerate(chosen.captions.readable.tolist())}
    sentence = torch.nn.functional.normalize(
        chosen.caption_embeddings[[place[index] for index in captions.tolist()]].float(), dim=1
    )
    before, after = ((path.encode_images(each) * sentence).sum(1) for each in images.values())
    assert (after >= before - 1e-5).all() and (after > before + 1e-5).float().mean() > 0.5
    classified = {bank: np.asarray(bank.predictions_of_generated.features) for bank in (plain, chosen)}
    assert not np.array_equal(classified[plain], classified[chosen])  # each kept in a store of its own


def test_a_comparison_of_candidates_has_no_swaps_of_one_noise(world, tmp_path, capsys):
    words = ["evaluation.candidates=2", "evaluation.captions=1", f"evaluation.cache={tmp_path / 'features'}"]
    compare(world["speech"], world["text"], tmp_path / "report", overrides=words)
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert "diversity" in results["analyses"] and "word_swap" not in results["analyses"]
    messages = capsys.readouterr().err
    assert "swaps and interpolations are left out" in messages
    assert "s2igan_mean_average_precision_by_classifier is left out" in messages
    assert not any("s2igan" in metric for metric in results["generation"]["speech"])
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Sampled otherwise: of 2 candidates each the best." in page
    assert not list((tmp_path / "report" / "images").glob("interpolation*"))
