"""Generated speech is judged by a classifier trained apart, which has heard nothing of what it scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2i.cli import main
from s2i.config import Config
from s2i.config_files import load_config, override
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.generated_speech import GeneratedSpeech
from s2i.evaluation.protocols.speech import SPEECH_PROTOCOLS
from s2i.evaluation.records import evaluate
from s2i.evaluation.speech_classifier import load_speech_classifier, without_silence
from s2i.inference.model import load
from s2i.reports.systems import compare_systems
from s2i.runs.checkpoint import load_last
from s2i.runs.run import Run
from s2i.training.cross_modal import train_cross_modal
from s2i.training.speech_classifier import divide, held_out_images, train_speech_classifier
from tests.fixtures.models import same
from tests.fixtures.trainings import train_and_die
from tests.training.test_cross_modal import BOTH, configured, write_telling_data

CLASSIFIER = [
    "speech_classifier.split=val",
    "speech_classifier.steps=60",
    "speech_classifier.batch_size=8",
    "speech_classifier.optimiser.lr=1e-2",
    "audio.cmvn=false",
]


def tiny(folder: Path, run: Path, words: list[str]) -> Config:
    config = configured(folder, run, [*BOTH, *CLASSIFIER, *words])
    return replace(config, speech_encoder=replace(config.speech_encoder, network="", options={}))


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Path:
    """Data, a pack, a speech `classifier` and a run of all four `paths`."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "data").mkdir()
    write_telling_data(folder / "data", train=16, val=12)
    config = configured(
        folder, folder / "paths", [*BOTH, f"evaluation.speech_classifier={folder / 'classifier'}"]
    )
    build_pack(config, ["train", "val"])
    train_speech_classifier(tiny(folder, folder / "classifier", []))
    train_cross_modal(config)
    return folder


def test_every_second_image_of_each_class_is_held_out(judged):
    packs = [Pack(judged / "pack" / split) for split in ("train", "val")]
    held_out = held_out_images(packs[1])
    for label in range(4):
        assert held_out[packs[1].labels == label].tolist() == [True, False, True]
    taught, left = divide(packs, sorted(set(packs[0].class_ids.tolist())))
    assert len(taught.label) == 16 * 2 + 4 * 2 and len(left.label) == 8 * 2 and set(left.pack) == {1}
    images = packs[1].caption_image[left.caption]
    assert (
        held_out[images].all()
        and not held_out[packs[1].caption_image[taught.caption[taught.pack == 1]]].any()
    )
    assert (left.label == packs[1].labels[images]).all()


def test_a_classifier_of_speech_learns_and_resumes_bit_for_bit(judged, tmp_path, monkeypatch):
    [line] = Run(judged / "classifier").read_metrics()
    assert line["metric"] == "speech_classifier_accuracy" and line["counts"] == {
        "recordings": 16,
        "classes": 4,
    }
    assert line["value"] > 0.5  # tones of four pitches
    logged = Run(judged / "classifier").read_log()
    assert logged and all(each["images_per_second"] > 0 for each in logged)  # its recordings
    words = ["speech_classifier.steps=5"]
    unbroken = load_last(train_speech_classifier(tiny(judged, tmp_path / "run", words)) / "checkpoints")
    broken = tiny(judged, tmp_path / "broken", words)
    train_and_die(monkeypatch, train_speech_classifier, broken, 5)
    torch.rand(3)
    again = load_last(train_speech_classifier(broken) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], again[part]), part


def test_a_classifier_of_text_is_refused_in_one_line(judged, tmp_path):
    with pytest.raises(InputError, match="expected modality=speech to train .* found text") as raised:
        train_speech_classifier(tiny(judged, tmp_path / "run", ["modality=text"]))
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_scores_of_generated_speech_are_those_by_hand(judged):
    speech = GeneratedSpeech(load(judged / "paths", "cpu"))
    assert len(speech.images) == 8
    [run, real, chance] = SPEECH_PROTOCOLS["speech_class_accuracy"](speech)
    answers = [speech.classifier.answers([mel])[0] for mel in speech.from_images()]  # one by one
    assert run.value == pytest.approx(np.mean(np.array(answers) == speech.labels))
    assert chance.value == 0.25 and real.of == "real" and real.counts["recordings"] == 16
    [line] = Run(judged / "classifier").read_metrics()
    assert abs(real.value - line["value"]) < 0.3  # cut, or laid out on so many frames
    [cycle, _, _] = SPEECH_PROTOCOLS["speech_class_accuracy_of_the_cycle"](speech)
    assert 0 <= cycle.value <= 1 and cycle.counts["recordings"] == 8


def test_evaluate_measures_speech_and_images_of_one_run(judged, capsys):
    main(["evaluate", str(judged / "paths"), "--json"])
    records = json.loads(capsys.readouterr().out)
    measured = {(record["protocol"], record["of"]) for record in records}
    assert {("speech_class_accuracy", of) for of in ("run", "real", "chance")} <= measured
    assert ("speech_class_accuracy_of_the_cycle", "run") in measured
    lines = Run(judged / "paths").read_metrics()
    assert {line["classifier"] for line in lines if line["protocol"] == "speech_class_accuracy"} != {None}


def test_the_table_of_systems_has_columns_of_speech(judged, tmp_path, monkeypatch):
    (tmp_path / "table").mkdir()
    compare_systems([judged / "paths"], tmp_path / "table")
    row, real, chance = json.loads((tmp_path / "table" / "results.json").read_text())["systems"]
    for column in ("class accuracy of generated speech", "class accuracy of speech from speech"):
        assert chance["values"][column] == 0.25 and 0 <= row["values"][column] <= 1
        assert real["values"][column] == real["values"]["class accuracy of generated speech"]
    assert (
        row["parameters"] > 0
        and row["steps"] == row["planned_steps"] == 5
        and real["name"] == "real images and recordings"
    )
    page = (tmp_path / "table" / "index.html").read_text()
    for number in (1, 2, 3):
        assert f"speech/paths-{number}.wav" in page
        assert (tmp_path / "table" / "speech" / f"paths-{number}.wav").stat().st_size > 1000
    monkeypatch.setattr(GeneratedSpeech, "from_images", lambda self: pytest.fail("measured again"))
    compare_systems([judged / "paths"], tmp_path / "table")


def test_a_run_that_only_speaks_is_heard_wherever_it_is_listed(judged, tmp_path):
    words = ["cross_modal.generates=speech", "cross_modal.steps=1"]
    words += [f"evaluation.speech_classifier={judged / 'classifier'}"]
    speaking = train_cross_modal(configured(judged, tmp_path / "speaking", [*BOTH, *words]))
    compare_systems([speaking, judged / "paths"], tmp_path / "table")
    files = json.loads((tmp_path / "table" / "results.json").read_text())["speech"]
    assert list(files) == ["speaking", "paths"]
    assert files["speaking"] == [f"speech/speaking-{number}.wav" for number in (1, 2, 3)]
    page = (tmp_path / "table" / "index.html").read_text()
    for file in files["speaking"]:
        assert file in page and (tmp_path / "table" / file).stat().st_size > 1000


def test_silence_around_what_is_said_is_cut():
    mel = torch.full((200, 3), -13.8)
    mel[40:150] = 0.0
    assert without_silence(mel).shape == (110, 3)
    assert without_silence(torch.full((200, 3), -13.8)).shape == (200, 3)
    assert without_silence(mel[:50]).shape == (50, 3)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("another run", "expected a speech classifier in"),
        ("another split", "knows the classes of test, found one of val"),
        ("another front end", "expected a speech classifier of audio.mel_bins=20, found one of 24"),
        ("it trained the generator", "shares the weights"),
        ("nothing held out", "has heard nothing of, found none"),
    ],
)
def test_a_classifier_that_can_not_score_is_refused_in_one_line(case, expected, judged, monkeypatch):
    model = load(judged / "paths", "cpu")
    settings = model.speech_path().config.evaluation
    classifier = load_speech_classifier(judged / "classifier")
    if case == "another run":
        settings = replace(settings, speech_classifier=str(judged / "paths"))
    elif case == "another split":
        settings = replace(settings, split="test")
        packs = judged / "pack"
        if not (packs / "test").exists():
            (packs / "test").symlink_to(packs / "val")
        monkeypatch.setattr("s2i.evaluation.generated_speech.check_measured_data", lambda *_: "")
    else:
        changed = {
            "another front end": {"config": override(classifier.config, ["audio.mel_bins=24"])},
            "nothing held out": {"held_out": frozenset({"unknown"})},
        }.get(case, {})
        other = replace(classifier, **changed)
        monkeypatch.setattr("s2i.evaluation.generated_speech.load_speech_classifier", lambda *_: other)
        if case == "it trained the generator":
            path = replace(model.from_image, trained_by=classifier.origins)
            model = replace(model, from_image=path)
    with pytest.raises(InputError, match=expected) as raised:
        GeneratedSpeech(model, settings)
    assert "\n" not in str(raised.value)


def test_what_is_asked_for_and_can_not_be_measured_is_one_line(judged, tmp_path):
    config = load_config(judged / "paths" / "config.yaml")
    evaluation = replace(config.evaluation, speech_classifier="")
    with pytest.raises(InputError, match="expected what speech_class_accuracy needs"):
        evaluate(judged / "paths", ["speech_class_accuracy"], evaluation)


def test_a_classifier_needs_two_images_of_a_class(tmp_path):
    (tmp_path / "data").mkdir()
    write_telling_data(tmp_path / "data", train=8, val=4)
    config = tiny(tmp_path, tmp_path / "run", [])
    build_pack(config, ["train", "val"])
    with pytest.raises(InputError, match="recordings of two images or more in .* found none"):
        train_speech_classifier(config)
    assert not (tmp_path / "run").exists()
