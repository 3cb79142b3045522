"""Trainings that start from an earlier run: its networks, other data, never classes of the test."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2i.config import Config
from s2i.data.manifest import read_manifest, write_manifest
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.r_precision_encoder import load_r_precision_encoder
from s2i.evaluation.trained_captions import trained_captions
from s2i.inference.model import load
from s2i.reports.export import export
from s2i.runs.checkpoint import BEST, LAST, load_last, read_checkpoint, write_checkpoint
from s2i.runs.earlier_runs import earlier_runs
from s2i.runs.exported import classes_of_model
from s2i.runs.fingerprints import TRAINED_ON, read_fingerprints
from s2i.training import encoder
from s2i.training.ema import update_average
from s2i.training.encoder import train_encoder
from s2i.training.fine_tuning import refuse_seen_classes
from s2i.training.gan import train_gan
from tests.fixtures.data import write_tiny_data
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.trainings import train_and_die


def without_learning(config: Config) -> Config:
    """One step at a rate of nothing: what it started from is what it saves."""
    still = replace(config.matching.optimiser, lr=0.0)
    gan = replace(config.gan, steps=1, generator=still, discriminator=still, relation=still)
    return replace(config, matching=replace(config.matching, steps=1, optimiser=still), gan=gan)


def learnt(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the statistics of batch norms, which move at any rate."""
    return {name: value for name, value in weights.items() if "running_" not in name and "num_" not in name}


@pytest.fixture
def other_data(tmp_path) -> Path:
    """Packed images of other classes than those that the trained encoders have seen: three, not four."""
    (tmp_path / "data").mkdir()
    write_tiny_data(tmp_path / "data", classes=3)
    build_pack(tiny_training_config(tmp_path / "data", tmp_path), ["train", "val"])
    return tmp_path / "data"


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_an_encoder_starts_with_the_best_networks_of_the_earlier_run(
    modality, trained_encoders, other_data, tmp_path, capsys
):
    earlier = trained_encoders / f"{modality}-encoder"
    config = tiny_training_config(other_data, tmp_path / "run", modality)
    run = train_encoder(replace(without_learning(config), start_from=str(earlier)))
    began = read_checkpoint(earlier / "checkpoints" / BEST)
    ended = load_last(run / "checkpoints")
    for name in ("caption_encoder", "image_encoder"):
        assert same(learnt(began["nets"][name]), learnt(ended["nets"][name]))
    assert began["nets"]["classifier"]["weight"].shape != ended["nets"]["classifier"]["weight"].shape
    assert "classifier: starts anew" in capsys.readouterr().err
    assert ended["vocabulary"] == began["vocabulary"]  # the other data has other words
    anew = train_encoder(replace(without_learning(config), run=str(tmp_path / "anew")))
    other = load_last(anew / "checkpoints")["nets"]["caption_encoder"]
    assert not same(learnt(other), learnt(ended["nets"]["caption_encoder"]))


def test_a_classifier_of_the_same_classes_goes_on(trained_encoders, tmp_path, capsys):
    earlier = trained_encoders / "speech-encoder"
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    run = train_encoder(replace(without_learning(config), start_from=str(earlier)))
    files = earlier / "checkpoints" / BEST, run / "checkpoints" / LAST
    assert same(*(read_checkpoint(path)["nets"]["classifier"] for path in files))
    assert "starts anew" not in capsys.readouterr().err


def test_one_of_as_many_others_starts_anew(trained_encoders, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    write_tiny_data(tmp_path / "data", classes=4)
    config = tiny_training_config(tmp_path / "data", tmp_path / "run")
    build_pack(config, ["train", "val"])
    train_encoder(replace(without_learning(config), start_from=str(trained_encoders / "speech-encoder")))
    assert "classifier: starts anew" in capsys.readouterr().err


def test_an_image_encoder_is_held_while_captions_are_heard_further(trained_encoders, tmp_path):
    earlier = trained_encoders / "speech-encoder"
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    config = replace(config, matching=replace(config.matching, steps=3, hold_images=True))
    with pytest.raises(InputError, match="expected start_from for matching.hold_images"):
        train_encoder(config)
    run = train_encoder(replace(config, start_from=str(earlier)))
    began, ended = read_checkpoint(earlier / "checkpoints" / BEST), load_last(run / "checkpoints")
    assert same(began["nets"]["image_encoder"], ended["nets"]["image_encoder"])  # statistics of norms too
    assert not same(learnt(began["nets"]["caption_encoder"]), learnt(ended["nets"]["caption_encoder"]))


def test_the_average_of_a_caption_encoder_is_what_is_kept(trained_encoders, tmp_path, monkeypatch):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    settings = replace(config.matching, steps=4, validate_every=4, ema=0.9)
    config, weights = replace(config, matching=settings), []

    def record(average, net, step, decay):
        update_average(average, net, step, decay)
        weights.append({name: value.clone() for name, value in net.state_dict().items()})

    monkeypatch.setattr(encoder, "update_average", record)
    train_encoder(config)
    kept = read_checkpoint(tmp_path / "run" / "checkpoints" / BEST)["nets"]
    last = load_last(tmp_path / "run" / "checkpoints")["nets"]
    assert same(last["caption_encoder"], weights[-1]) and same(last[encoder.AVERAGE], kept["caption_encoder"])
    assert encoder.AVERAGE not in kept and not same(learnt(kept["caption_encoder"]), learnt(weights[-1]))
    name = next(name for name, value in weights[0].items() if value.is_floating_point())
    expected = weights[0][name]  # the first of all is forgotten
    for step, each in enumerate(weights[1:], 1):
        expected = expected.lerp(each[name], 1 - min(0.9, (1 + step) / (10 + step)))
    torch.testing.assert_close(kept["caption_encoder"][name], expected)


def test_a_generator_starts_with_the_average_and_the_discriminators(trained_encoders, tmp_path):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "earlier")
    encoder = str(trained_encoders / "speech-encoder")
    config = replace(config, gan=replace(config.gan, encoder=encoder, reconstruction_weight=1.0))
    earlier = train_gan(config)
    run = train_gan(replace(without_learning(config), run=str(tmp_path / "run"), start_from=str(earlier)))
    began, ended = (load_last(folder / "checkpoints")["nets"] for folder in (earlier, run))
    assert same(learnt(began["ema"]), learnt(ended["generator"]))
    assert same(learnt(began["ema"]), learnt(ended["ema"]))
    assert not same(learnt(began["generator"]), learnt(began["ema"]))
    for name in ("discriminators", "posterior", "relation"):
        assert same(learnt(began[name]), learnt(ended[name]))


def test_a_stage_more_starts_anew_with_a_discriminator_of_its_own(trained_encoders, tmp_path, capsys):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    data = replace(config.data, packed_size=16)
    config = replace(
        config, data=data, gan=replace(config.gan, encoder=str(trained_encoders / "speech-encoder"))
    )
    fewer = replace(config.generator, stages=config.generator.stages - 1)
    earlier = train_gan(replace(config, run=str(tmp_path / "earlier"), generator=fewer))
    run = train_gan(replace(without_learning(config), start_from=str(earlier)))
    began, ended = (load_last(folder / "checkpoints")["nets"] for folder in (earlier, run))
    for name in ("ema", "discriminators"):
        kept = {key: value for key, value in ended[name].items() if key in began[name]}
        assert same(learnt(began[name]), learnt(kept))
    anew = {
        tuple(key.split(".")[:2]) for key in ended["discriminators"].keys() - began["discriminators"].keys()
    }
    assert anew == {("scales", f"{config.generator.stages - 1}")}
    assert "generator: its last stages start anew" in capsys.readouterr().err


@pytest.mark.parametrize("train", [train_encoder, train_gan])
def test_fine_tuning_killed_and_resumed_equals_an_unbroken_one(
    train, trained_encoders, tmp_path, monkeypatch
):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "earlier")
    config = replace(config, gan=replace(config.gan, encoder=str(trained_encoders / "speech-encoder")))
    earlier = train(config)
    tuned = replace(config, seed=1, start_from=str(earlier), run=str(tmp_path / "broken"))
    unbroken = train(replace(tuned, run=str(tmp_path / "unbroken")))
    train_and_die(monkeypatch, train, tuned, 5)
    shutil.rmtree(earlier)  # which it needs no more
    states = [load_last(folder / "checkpoints")["nets"] for folder in (unbroken, train(tuned))]
    assert same(*states)


def test_what_trained_the_earlier_generator_has_a_part_in_this_one(trained_encoders, tmp_path):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "earlier")
    config = replace(config, gan=replace(config.gan, encoder=str(trained_encoders / "speech-encoder")))
    earlier = train_gan(config)
    last = earlier / "checkpoints" / LAST
    write_checkpoint(last, read_checkpoint(last) | {"trained_by": {"ab" * 32: "a network"}})
    run = train_gan(replace(without_learning(config), run=str(tmp_path / "run"), start_from=str(earlier)))
    assert load_last(run / "checkpoints")["trained_by"]["ab" * 32] == "a network of start_from"


def test_an_encoder_does_not_score_what_one_tuned_from_it_has_trained(trained_encoders, tmp_path):
    first = trained_encoders / "speech-encoder"
    config = tiny_training_config(trained_encoders / "data", tmp_path / "tuned")
    tuned = train_encoder(replace(config, start_from=str(first)))
    run = train_gan(replace(config, run=str(tmp_path / "gan"), gan=replace(config.gan, encoder=str(tuned))))
    path = load(run, "cpu").path("speech")
    with pytest.raises(InputError, match="shares the weights .* encoder of start_from"):
        load_r_precision_encoder(first, path)
    run_of_first = train_gan(
        replace(config, run=str(tmp_path / "own"), gan=replace(config.gan, encoder=str(first)))
    )
    other = train_encoder(replace(config, seed=5, run=str(tmp_path / "other"), start_from=str(first)))
    with pytest.raises(InputError, match="shares the weights .* encoder of start_from"):
        load_r_precision_encoder(other, load(run_of_first, "cpu").path("speech"))


def test_what_an_earlier_training_heard_is_not_unseen(trained_encoders, tmp_path):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    first = trained_captions(config)
    (tmp_path / "new").mkdir()
    images = write_tiny_data(tmp_path / "new")
    spoken = [
        replace(image, captions=tuple(replace(each, speaker="new") for each in image.captions))
        for image in images
    ]
    write_manifest(tmp_path / "new" / "manifest.jsonl", spoken)
    other = tiny_training_config(tmp_path / "new", tmp_path / "tuned")
    build_pack(other, ["train", "val"])
    assert {each.speaker for each in trained_captions(other)} == {"new"}
    other = replace(other, start_from=str(trained_encoders / "speech-encoder"))
    assert {each.speaker for each in trained_captions(other)} == {"new", *(each.speaker for each in first)}
    assert trained_captions(replace(other, start_from=str(tmp_path / "gone"))) is not None
    assert trained_captions(replace(other, data=replace(other.data, pack=str(tmp_path)))) is None


def test_captions_of_new_words_alone_do_not_train_an_earlier_text_encoder(
    trained_encoders, other_data, tmp_path
):
    images = read_manifest(other_data / "manifest.jsonl")
    odd = replace(
        images[0], captions=(replace(images[0].captions[0], text="quagga"), *images[0].captions[1:])
    )
    write_manifest(other_data / "manifest.jsonl", [odd, *images[1:]])
    config = tiny_training_config(other_data, tmp_path / "run", "text")
    build_pack(config, ["train", "val"])
    with pytest.raises(InputError, match="found 1 of 24 without one in .* 'quagga' the first"):
        train_encoder(replace(config, start_from=str(trained_encoders / "text-encoder")))


@pytest.fixture
def exported(trained_encoders, tmp_path) -> Path:
    """A model of one generator from speech, in a folder without its runs."""
    config = tiny_training_config(trained_encoders / "data", tmp_path / "exported-run")
    config = replace(config, gan=replace(config.gan, encoder=str(trained_encoders / "speech-encoder")))
    export([train_gan(config)], tmp_path / "model", bits=16)
    shutil.rmtree(tmp_path / "exported-run")
    return tmp_path / "model"


def test_a_generator_starts_from_an_exported_model_and_its_encoder(
    exported, trained_encoders, tmp_path, capsys
):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    gan = replace(config.gan, encoder=str(exported))
    run = train_gan(replace(without_learning(replace(config, gan=gan)), start_from=str(exported)))
    generator = load(exported, "cpu").path("speech").generator.state_dict()
    nets = load_last(run / "checkpoints")["nets"]
    assert same(learnt(generator), learnt(nets["generator"]))
    assert same(learnt(generator), learnt(nets["ema"]))
    began = read_checkpoint(trained_encoders / "speech-encoder" / "checkpoints" / BEST)["nets"]
    for name in ("caption_encoder", "image_encoder"):
        halves = {key: value.half().float() for key, value in learnt(began[name]).items()}
        assert all(torch.equal(halves[key], value.float()) for key, value in learnt(nets[name]).items())
    said = capsys.readouterr().err
    for name in ("discriminators", "relation"):
        assert f"{name}: starts anew, {exported} keeps none" in said
    assert "the speech encoder gan.encoder" in load_last(run / "checkpoints")["trained_by"].values()
    export([run], tmp_path / "card")
    card = (tmp_path / "card" / "README.md").read_text()
    assert "The encoders are those of the exported model `model`." in card
    assert "The first generator started from the exported model `model`." in card
    assert "fine-tuned" not in card


def test_an_encoder_starts_from_an_exported_model(exported, other_data, tmp_path, capsys):
    config = tiny_training_config(other_data, tmp_path / "run")
    run = train_encoder(replace(without_learning(config), start_from=str(exported)))
    path, nets = load(exported, "cpu").path("speech"), load_last(run / "checkpoints")["nets"]
    assert same(learnt(path.encoder.state_dict()), learnt(nets["caption_encoder"]))
    assert same(learnt(path.image_encoder.state_dict()), learnt(nets["image_encoder"]))
    assert "classifier: starts anew" in capsys.readouterr().err


def test_what_an_exported_model_lacks_is_one_line(exported, other_data, tmp_path):
    config = tiny_training_config(other_data, tmp_path / "run", "text")
    config = replace(config, start_from=str(exported))
    expected = "expected a model with a path from text as start_from, found one from speech"
    with pytest.raises(InputError, match=expected):
        train_encoder(config)
    gan = replace(config.gan, encoder=str(exported))
    with pytest.raises(InputError, match="a path from text as gan.encoder, found one from speech"):
        train_gan(replace(config, gan=gan, start_from=""))


def test_an_exported_model_says_which_classes_it_has_seen(exported, trained_encoders, other_data, tmp_path):
    images = read_manifest(other_data / "manifest.jsonl")
    seen = read_manifest(trained_encoders / "data" / "manifest.jsonl")[0].class_name
    assert seen in json.loads((exported / "config.json").read_text())["paths"]["speech"]["classes"]

    def with_test_class(name: str) -> Config:
        kept = [replace(image, split="test", class_id=99, class_name=name) for image in images[:2]]
        write_manifest(other_data / "manifest.jsonl", [*images[2:], *kept])
        config = tiny_training_config(other_data, tmp_path / "run")
        build_pack(config, ["train", "val", "test"])
        return replace(without_learning(config), start_from=str(exported))

    with pytest.raises(InputError, match=f"model, on which .* in .*config.json, {seen!r} the first"):
        train_encoder(with_test_class(seen))
    train_encoder(with_test_class("another class"))
    description = json.loads((exported / "config.json").read_text())
    del description["paths"]["speech"]["classes"]  # as models were exported before
    (exported / "config.json").write_text(json.dumps(description))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match="expected the classes that .*model has seen .* found none"):
        train_encoder(with_test_class("another class"))


def test_the_card_names_the_trainings_before_this_one(trained_encoders, tmp_path):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "first")
    config = replace(config, gan=replace(config.gan, encoder=str(trained_encoders / "speech-encoder")))
    run = train_gan(config)
    for name in ("second", "third"):
        run = train_gan(replace(without_learning(config), run=str(tmp_path / name), start_from=str(run)))
    export([run], tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.count("The generator from which the generator below was fine-tuned") == 2
    assert card.count("\nThe generator, at commit") == 1


def test_what_can_not_be_started_from_is_one_line(trained_encoders, tmp_path):
    encoder = trained_encoders / "speech-encoder"
    config = tiny_training_config(trained_encoders / "data", tmp_path / "gan")
    config = replace(config, gan=replace(config.gan, encoder=str(encoder)))
    gan = train_gan(config)
    half = tmp_path / "half" / "checkpoints"
    half.mkdir(parents=True)
    write_checkpoint(half / LAST, read_checkpoint(gan / "checkpoints" / LAST) | {"step": 4})
    text = trained_encoders / "text-encoder"
    wide = replace(config, generator=replace(config.generator, channels=2 * config.generator.channels))
    cases = [
        (train_encoder, config, tmp_path / "nothing", "expected a checkpoint, found none"),
        (train_encoder, config, text, "expected the modality of .*text-encoder"),
        (train_gan, config, encoder, "expected a run of s2i train-gan as start_from"),
        (train_gan, config, half.parent, "expected a finished run as start_from, found 4 of 9"),
        (train_gan, wide, gan, "expected the generator of start_from"),
    ]
    for train, given, start, expected in cases:
        given = replace(given, run=str(tmp_path / "refused"), start_from=str(start))
        with pytest.raises(InputError, match=expected):
            train(given)
        assert not (tmp_path / "refused" / "checkpoints" / LAST).exists()
    last = gan / "checkpoints" / LAST
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    shutil.copy(last, tmp_path / "other" / "checkpoints" / BEST)
    with pytest.raises(InputError, match="expected a run of s2i train-encoder as start_from"):
        train_encoder(replace(config, run=str(tmp_path / "refused"), start_from=str(tmp_path / "other")))


def test_classes_of_the_test_that_an_earlier_training_has_seen_are_refused(
    trained_encoders, other_data, tmp_path
):
    images = read_manifest(other_data / "manifest.jsonl")
    seen = read_manifest(trained_encoders / "data" / "manifest.jsonl")[0].class_name
    kept = [replace(image, split="test", class_id=99, class_name=seen) for image in images[:2]]
    write_manifest(other_data / "manifest.jsonl", [*images[2:], *kept])
    config = tiny_training_config(other_data, tmp_path / "run")
    build_pack(config, ["train", "val", "test"])
    config = replace(config, start_from=str(trained_encoders / "speech-encoder"))
    with pytest.raises(InputError, match=f"speech-encoder, on which .* no class of .*{seen!r} the first"):
        train_encoder(config)

    # One that was tuned since, on data without them, has seen them all the same.
    (tmp_path / "third").mkdir()
    write_tiny_data(tmp_path / "third", classes=3)
    third = tiny_training_config(tmp_path / "third", tmp_path / "tuned")
    build_pack(third, ["train", "val"])
    tuned = train_encoder(replace(without_learning(third), start_from=config.start_from))
    with pytest.raises(InputError, match=f"found 1 of 1 in {trained_encoders}/data/pack/train"):
        train_encoder(replace(config, start_from=str(tuned)))

    # Where the data of the earlier training is gone, nobody knows.
    shutil.rmtree(tmp_path / "third" / "pack")
    with pytest.raises(InputError, match="expected the data of .*tuned in .* found none: pack it again"):
        refuse_seen_classes(replace(config, start_from=str(tuned)), "encoder")


# Exported models among the earlier trainings


@pytest.fixture
def waiting_run(trained_encoders, exported, tmp_path) -> Path:
    """A run over an exported model, whose generator waited at first."""
    config = tiny_training_config(trained_encoders / "data", tmp_path / "waiting")
    settings = replace(config.gan, encoder=str(exported), generator_start=0.5, grow=())
    return train_gan(replace(config, gan=settings, start_from=str(exported)))


def test_what_waited_is_exported_and_knows_the_classes_of_a_model_that_has_moved(
    waiting_run, exported, trained_encoders, tmp_path
):
    export([waiting_run], tmp_path / "next")
    entry = json.loads((tmp_path / "next" / "config.json").read_text())["paths"]["speech"]
    assert entry["classes"] == classes_of_model(exported)
    last = waiting_run / "checkpoints" / LAST
    state = read_checkpoint(last)
    assert state["models"] == {str(exported): entry["classes"]}
    write_checkpoint(last, state | {"models": {str(exported): ["a class of before", *entry["classes"]]}})
    shutil.move(exported, tmp_path / "moved")
    export([waiting_run], tmp_path / "later")
    later = json.loads((tmp_path / "later" / "config.json").read_text())["paths"]["speech"]
    assert later["classes"] == sorted(["a class of before", *entry["classes"]])
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    [run, model] = earlier_runs(replace(config, start_from=str(waiting_run)), "gan")
    assert (run.folder, model.folder) == (waiting_run, exported) and "a class of before" in model.classes
    export([tmp_path / "later"], tmp_path / "smaller", bits=8)  # a model exported again says the same
    smaller = json.loads((tmp_path / "smaller" / "config.json").read_text())["paths"]["speech"]
    assert smaller["classes"] == later["classes"]


def test_the_classes_of_a_model_count_though_its_data_is_this_one(exported, trained_encoders, tmp_path):
    """It may have begun with another one, on other data."""
    description = json.loads((exported / "config.json").read_text())
    description["paths"]["speech"]["classes"].append("an earlier class")
    (exported / "config.json").write_text(json.dumps(description))
    data = tmp_path / "data"
    shutil.copytree(trained_encoders / "data", data)
    images = read_manifest(data / "manifest.jsonl")
    kept = replace(images[0], id="kept", split="test", class_id=99, class_name="an earlier class")
    write_manifest(data / "manifest.jsonl", [*images, kept])
    config = tiny_training_config(data, tmp_path / "run")
    build_pack(config, ["train", "val", "test"])
    before = read_checkpoint(trained_encoders / "speech-encoder" / "checkpoints" / BEST)["data"]
    assert read_fingerprints(config.data.pack, TRAINED_ON) == before
    own = replace(config, gan=replace(config.gan, encoder=str(trained_encoders / "speech-encoder")))
    over_model = replace(config, gan=replace(config.gan, encoder=str(exported)))
    for given in (replace(own, start_from=str(exported)), over_model):
        with pytest.raises(InputError, match="found 1 of 1 in .*model/config.json, 'an earlier class'"):
            train_gan(given)


def test_a_model_counts_with_all_of_its_paths(exported, tmp_path):
    description = json.loads((exported / "config.json").read_text())
    text = json.loads(json.dumps(description["paths"]["speech"]))
    text["config"]["modality"], text["vocabulary"], text["classes"] = "text", ["bird"], ["of text alone"]
    description["paths"]["text"] = text
    (exported / "config.json").write_text(json.dumps(description))
    shutil.copy(exported / "speech.safetensors", exported / "text.safetensors")
    assert "of text alone" in classes_of_model(exported)
    text.pop("classes")
    (exported / "config.json").write_text(json.dumps(description))
    assert classes_of_model(exported) is None


def test_a_model_without_an_encoder_or_with_a_network_of_its_own_is_one_line(
    exported, trained_encoders, tmp_path
):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    config = replace(config, gan=replace(config.gan, encoder=str(exported)))
    (exported / "image_network.safetensors").write_bytes(b"")
    for train, given in ((train_gan, config), (train_encoder, replace(config, start_from=str(exported)))):
        with pytest.raises(InputError, match="expected image_encoder.weights=.*model/image_network.safetens"):
            train(given)
    (exported / "image_network.safetensors").unlink()
    tensors = load_file(exported / "speech.safetensors")
    for name in ("image_encoder", "caption_encoder"):
        tensors = {key: value for key, value in tensors.items() if not key.startswith(name)}
        save_file(tensors, exported / "speech.safetensors")
        with pytest.raises(InputError, match=f"expected the {name} of gan.encoder in .*model, found none"):
            train_gan(config)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "expected start_from, since initial weights"),
        (
            {"adversarial_start": 0.2},
            "expected gan.adversarial_start=0 with gan.generator_start=0.5, found 0.2",
        ),
        ({"grow": (0.5,)}, "expected gan.grow=.. with gan.generator_start=0.5, found .0.5."),
    ],
)
def test_a_wait_without_sense_is_refused(exported, trained_encoders, tmp_path, settings, expected):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    settings = {"grow": (), **settings, "generator_start": 0.5, "reconstruction_weight": 1.0}
    gan = replace(config.gan, encoder=str(trained_encoders / "speech-encoder"), **settings)
    start = str(exported) if "start_from" not in expected else ""
    with pytest.raises(InputError, match=expected):
        train_gan(replace(config, gan=gan, start_from=start))


@pytest.mark.parametrize("name", ["painted_birds", "cub_small"])
def test_the_models_of_this_repository_say_which_classes_they_have_seen(name):
    assert classes_of_model(Path(__file__).parents[2] / "checkpoints" / name)
