"""A run knows its data: what a pack's fingerprint is of, where it goes, and who refuses another one."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from PIL import Image

from s2i.config import Config
from s2i.config_files import load_config
from s2i.data import pack_builder
from s2i.data.audio import load_waveform
from s2i.data.manifest import ImageRecord, read_manifest, write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.classifier import load_classifier
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.records import evaluate, settings_of
from s2i.inference.model import load
from s2i.reports.compare import compare
from s2i.reports.export import export
from s2i.reports.robustness import report_robustness
from s2i.reports.single import report
from s2i.reports.tabulate import tabulate
from s2i.runs.checkpoint import read_checkpoint, write_checkpoint
from s2i.runs.fingerprints import OTHER, UNKNOWN, read_fingerprints
from s2i.training.classifier import train_classifier
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.data import tiny_config, write_tiny_data
from tests.fixtures.models import tiny_training_config
from tests.fixtures.runs import write_gan_run, write_world
from tests.fixtures.trainings import write_trained_encoders

OTHER_DATA = "expected the data that .* was trained on .*found other data"


def fingerprint(folder: Path, name: str = "pack", processes: int = 1, **data: object) -> str:
    """Of the training split of the data in a folder, packed there now."""
    config = tiny_config(folder)
    config = replace(config, data=replace(config.data, pack=str(folder / name), **data))
    build_pack(config, ["train"], processes)
    return Pack(folder / name / "train").fingerprint


def change_first(folder: Path, change: Callable[[ImageRecord], ImageRecord]) -> None:
    first, *others = read_manifest(folder / "manifest.jsonl")
    write_manifest(folder / "manifest.jsonl", [change(first), *others])


# What a pack's fingerprint is of


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_tiny_data(folder, train=4, val=0, classes=2)
    return folder


@pytest.fixture
def data(source, tmp_path) -> Path:
    return shutil.copytree(source, tmp_path / "data")


def test_the_same_data_have_the_same_fingerprint_wherever_and_however_they_are_packed(
    data, tmp_path, monkeypatch
):
    known = fingerprint(data)
    assert known == Pack(data / "pack" / "train").fingerprint and len(known) == 64
    moved = shutil.copytree(data, tmp_path / "moved")  # with the pack
    assert Pack(moved / "pack" / "train").fingerprint == known
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    for file in (*data.glob("*.png"), *data.glob("*.wav")):
        shutil.copyfile(file, elsewhere / "deep" / f"copy-{file.name}")  # another name and another time

    def from_there(image: ImageRecord) -> ImageRecord:
        captions = tuple(replace(caption, audio=f"deep/copy-{caption.audio}") for caption in image.captions)
        return replace(image, image=f"deep/copy-{image.image}", captions=captions)

    write_manifest(elsewhere / "manifest.jsonl", map(from_there, read_manifest(data / "manifest.jsonl")))
    assert fingerprint(elsewhere) == known
    monkeypatch.setattr(pack_builder, "CHUNK", 1)
    assert fingerprint(data, "chunks", processes=2) == known


def test_what_differs_between_machines_is_not_in_a_fingerprint(data, monkeypatch):
    known, features = fingerprint(data), pack_builder.unnormalised_features
    monkeypatch.setattr(pack_builder, "unnormalised_features", lambda *given: features(*given) * (1 + 1e-3))
    assert fingerprint(data, "other_machine") == known
    assert not torch.equal(Pack(data / "pack/train").mel(0), Pack(data / "other_machine/train").mel(0))
    for image in data.glob("*.png"):  # whoever wrote the files
        Image.open(image).save(image, compress_level=0)
    for recording in data.glob("*.wav"):
        samples, rate = soundfile.read(recording, dtype="int16")
        soundfile.write(recording, samples, rate, format="FLAC", subtype="PCM_16")  # named .wav as before
    assert fingerprint(data, "other_encoders") == known


def other_pixel(folder: Path) -> None:
    image = Image.open(folder / "0.png")
    image.putpixel((12, 12), tuple(255 - value for value in image.getpixel((12, 12))))
    image.save(folder / "0.png")


def other_sample(folder: Path) -> None:
    samples, rate = soundfile.read(folder / "0-0.wav", dtype="int16")
    samples[1000] += 1  # far less than what a log-mel in 16 bits can tell
    soundfile.write(folder / "0-0.wav", samples, rate, subtype="PCM_16")


def other_caption(**changed: object) -> Callable[[Path], None]:
    return lambda folder: change_first(
        folder, lambda image: replace(image, captions=(replace(image.captions[0], **changed),))
    )


OTHERS = {
    "a pixel": other_pixel,
    "a sample": other_sample,
    "a text": other_caption(text="another bird"),
    "a caption fewer": other_caption(),
    "a speaker": other_caption(speaker="another voice"),
    "a language": other_caption(language="de"),
    "no sound": other_caption(audio=None),
    "another's recording": other_caption(audio="1-0.wav"),
    "an id": lambda folder: change_first(folder, lambda image: replace(image, id="another")),
    "a class": lambda folder: change_first(folder, lambda p: replace(p, class_id=20, class_name="bird 20")),
    "a class's name": lambda folder: change_first(folder, lambda p: replace(p, class_name="wren")),
    "a box": lambda folder: change_first(folder, lambda p: replace(p, box=(3.0, 3.0, 12.0, 12.0))),
    "a split": lambda folder: change_first(folder, lambda image: replace(image, split="val")),
    "attributes": lambda folder: (folder / "attributes.json").write_text('{"wing": ["red"]}'),
    "the order": lambda folder: write_manifest(
        folder / "manifest.jsonl", reversed(read_manifest(folder / "manifest.jsonl"))
    ),
}


@pytest.mark.parametrize("change", OTHERS)
def test_whatever_a_training_could_learn_from_changes_the_fingerprint(data, change):
    known = fingerprint(data)
    OTHERS[change](data)
    assert fingerprint(data) != known


def test_settings_of_the_pack_change_its_fingerprint(data):
    known = {
        fingerprint(data),
        fingerprint(data, "margin", margin=1.5),
        fingerprint(data, "box", box_scale=1.2),
    }
    assert len(known) == 3


@pytest.mark.parametrize("ending", [".ogg", ".mp3"])
def test_a_recording_that_decoders_read_differently_is_known_by_its_bytes(data, ending):
    samples, rate = soundfile.read(data / "0-0.wav")
    soundfile.write(data / f"0-0{ending}", samples, rate)
    other_caption(audio=f"0-0{ending}")(data)
    known, digest = fingerprint(data), hashlib.sha256()
    soundfile.write(data / f"0-0{ending}", 0.9 * samples, rate)
    assert fingerprint(data) != known
    load_waveform(data / f"0-0{ending}", tiny_config(data).audio, digest)
    assert digest.digest() == hashlib.sha256((data / f"0-0{ending}").read_bytes()).digest()


def test_a_pack_without_a_fingerprint_is_to_be_packed_again(data):
    known = fingerprint(data)
    facts = json.loads((data / "pack/train/pack.json").read_text())
    del facts["split"], facts["sources"], facts["classes"]
    (data / "pack/train/pack.json").write_text(json.dumps({**facts, "version": 1, "fingerprint": "old"}))
    with pytest.raises(InputError, match="expected a pack of version 4.*run data_prep/pack.py"):
        Pack(data / "pack" / "train")
    assert fingerprint(data) == known


def test_a_process_that_opens_a_pack_again_takes_no_other_data(data):
    fingerprint(data)
    sent = pickle.dumps(Pack(data / "pack" / "train"))
    assert len(pickle.loads(sent).records) == 4
    other_pixel(data)
    fingerprint(data)
    with pytest.raises(InputError, match="expected the data of .*found other data, packed there since"):
        pickle.loads(sent)


# Trainings


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Encoders of both modalities and of another seed, and a GAN, over `data`."""
    folder = write_trained_encoders(tmp_path_factory.mktemp("trained"))
    train_encoder(replace(config_of(folder, "other-encoder"), seed=1))
    train_gan(config_of(folder, "gan"))
    train_classifier(config_of(folder, "classifier"))
    return folder


@pytest.fixture
def world(trained, tmp_path) -> Path:
    """The same as `trained`, to be changed."""
    folder = shutil.copytree(trained, tmp_path / "world")
    for run in ("speech-encoder", "text-encoder", "other-encoder", "gan", "classifier"):
        for file in folder.glob(f"{run}/checkpoints/*.pt"):  # as if it had been begun here
            saved = read_checkpoint(file)
            write_checkpoint(file, saved | {"config": moved(saved["config"], trained, folder)})
        (folder / run / "config.yaml").write_text(
            (folder / run / "config.yaml").read_text().replace(str(trained), str(folder))
        )
    return folder


def moved(value: object, old: Path, new: Path) -> object:
    return json.loads(json.dumps(value).replace(str(old), str(new)))


def config_of(folder: Path, run: str, modality: str = "speech") -> Config:
    config = tiny_training_config(folder / "data", folder / run, modality)
    classifier = replace(
        config.classifier, pack=config.data.pack, channels=(8, 8), feature_dim=8, steps=4, batch_size=4
    )
    gan = replace(config.gan, encoder=str(folder / f"{modality}-encoder"))
    return replace(config, gan=gan, classifier=classifier)


def pack_other_data(folder: Path, splits: tuple[str, ...] = ("train", "val"), changed: str = "train") -> None:
    """One caption of a split is another; the settings are the same."""
    images = read_manifest(folder / "data" / "manifest.jsonl")
    place = next(place for place, image in enumerate(images) if image.split == changed)
    first = replace(images[place].captions[0], text="another bird that is red")
    images[place] = replace(images[place], captions=(first, *images[place].captions[1:]))
    write_manifest(folder / "data" / "manifest.jsonl", images)
    build_pack(config_of(folder, "unused"), splits)


TRAININGS = {"speech-encoder": train_encoder, "gan": train_gan, "classifier": train_classifier}


@pytest.mark.parametrize("run", TRAININGS)
@pytest.mark.parametrize("changed", ["train", "val"])
def test_a_finished_run_called_again_on_other_data_is_refused(run, changed, world):
    config, train = config_of(world, run), TRAININGS[run]
    train(config)  # finished
    pack_other_data(world, changed=changed)
    before = (world / run / "checkpoints" / "last.pt").read_bytes()
    with pytest.raises(InputError, match=rf"{OTHER_DATA} \({changed} .*give another run=FOLDER"):
        train(config)
    assert (world / run / "checkpoints" / "last.pt").read_bytes() == before


@pytest.mark.parametrize("run", TRAININGS)
def test_a_killed_run_does_not_continue_on_other_data(run, world):
    config = config_of(world, run)
    config = replace(
        config,
        matching=replace(config.matching, steps=12),
        gan=replace(config.gan, steps=12),
        classifier=replace(config.classifier, steps=12),
        run=str(world / "broken"),
    )
    saved = read_checkpoint(world / run / "checkpoints" / "last.pt")  # of steps that are before its end
    write_checkpoint(world / "broken" / "checkpoints" / "last.pt", saved)
    pack_other_data(world)
    with pytest.raises(InputError, match=OTHER_DATA):
        TRAININGS[run](config)
    assert not (world / "broken" / "config.yaml").exists()


def test_the_same_data_packed_again_elsewhere_let_a_run_go_on(world, capsys):
    shutil.rmtree(world / "data" / "pack")
    for file in (world / "data").glob("*.png"):
        file.touch()
    build_pack(config_of(world, "unused"), ["train", "val"])
    train_encoder(config_of(world, "speech-encoder"))
    train_gan(config_of(world, "gan"))
    assert capsys.readouterr().err.count("finished") == 2


@pytest.mark.parametrize("key", ["encoder", "other_encoder", "matching_model"])
def test_a_gan_is_not_trained_over_what_learnt_from_other_data(key, world):
    place = {"other_encoder": "text-encoder", "matching_model": "other-encoder"}
    config = config_of(world, "new-gan")
    runs = {key: str(world / place[key])} if key in place else {}
    pack_other_data(world)
    if key != "encoder":  # which knows the new data
        train_encoder(replace(config_of(world, "new-encoder"), modality="speech"))
        runs["encoder"] = str(world / "new-encoder")
    config = replace(config, gan=replace(config.gan, **runs))
    who = world / place.get(key, "speech-encoder")
    with pytest.raises(InputError, match=rf"that gan\.{key} {who}|that gan\.encoder {who}"):
        train_gan(config)
    assert not (world / "new-gan").exists()


def test_a_run_from_before_fingerprints_goes_on_with_a_word_and_knows_its_data_then(world, capsys):
    for run in ("speech-encoder", "gan"):
        for file in (world / run / "checkpoints").glob("*.pt"):
            saved = read_checkpoint(file)
            del saved["data"]
            write_checkpoint(file, saved)
    train_gan(config_of(world, "gan"))
    said = capsys.readouterr().err
    assert said.count(UNKNOWN) == 2 and "gan.encoder" in said
    train_gan(config_of(world, "second-gan"))
    saved = read_checkpoint(world / "second-gan" / "checkpoints" / "last.pt")
    assert saved["data"] == read_fingerprints(world / "data" / "pack")


def test_checkpoints_and_records_of_a_training_tell_its_data(world):
    known = read_fingerprints(world / "data" / "pack")
    assert set(known) == {"train", "val"}
    for run in ("speech-encoder", "gan", "classifier"):
        for file in (world / run / "checkpoints").glob("*.pt"):
            assert read_checkpoint(file)["data"] == known
    for run in ("speech-encoder", "classifier"):
        lines = (world / run / "metrics.jsonl").read_text().splitlines()
        assert lines and all(json.loads(line)["fingerprint"] == known["val"] for line in lines)


# Measuring


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("measured"), classifier_steps=8)


def packed_again(
    measured: dict[str, Path], folder: Path, change: Callable[[list[ImageRecord]], list[ImageRecord]]
):
    """{modality: the path to measure}, its data in another folder, where they are packed from other lines."""
    root = Path(load_config(measured["speech"] / "config.yaml").data.root)
    copied = shutil.copytree(root, folder / "birds", ignore=shutil.ignore_patterns("pack"))
    write_manifest(copied / "manifest.jsonl", change(read_manifest(root / "manifest.jsonl")))
    paths = {}
    for modality in ("speech", "text"):
        path = load(measured[modality], "cpu").path(modality)
        data = replace(
            path.config.data,
            root=str(copied),
            manifest=str(copied / "manifest.jsonl"),
            pack=str(copied / "pack"),
        )
        paths[modality] = replace(path, config=replace(path.config, data=data))
    build_pack(paths["speech"].config, ("train", "val", "test"))
    return paths


def another_split(images: list[ImageRecord]) -> list[ImageRecord]:
    """A class of test and one of training have changed places."""
    classes = {split: next(p.class_id for p in images if p.split == split) for split in ("train", "test")}
    sides = {classes["train"]: "test", classes["test"]: "train"}
    return [replace(image, split=sides.get(image.class_id, image.split)) for image in images]


def test_a_run_is_not_measured_on_classes_that_it_was_trained_on(measured, tmp_path):
    path = packed_again(measured, tmp_path, another_split)["speech"]
    for acknowledged in (False, True):  # a run has its own data: nobody can mean others
        settings = replace(path.config.evaluation, other_data=acknowledged)
        with pytest.raises(InputError, match=f"{OTHER_DATA}.*pack again what it was trained on"):
            FeatureBank(path, settings)


MEASURING = {
    "evaluate": lambda runs, folder: evaluate(runs["speech"], ["retrieval_by_caption"]),
    "compare": lambda runs, folder: compare(runs["speech"], runs["text"], folder / "page"),
    "report": lambda runs, folder: report(runs["text"], folder / "page"),
    "robustness": lambda runs, folder: report_robustness(runs["speech"], folder / "page"),
    "tabulate": lambda runs, folder: tabulate([runs["speech"], runs["text"]], folder / "page"),
}


@pytest.mark.parametrize("command", MEASURING)
def test_every_command_that_measures_refuses_other_data_and_writes_nothing(command, measured, tmp_path):
    runs = {}
    for modality, path in packed_again(measured, tmp_path, another_split).items():
        runs[modality] = tmp_path / modality
        config = replace(path.config, run=str(runs[modality]))
        write_gan_run(runs[modality], config)
        saved = read_checkpoint(runs[modality] / "checkpoints" / "last.pt")
        write_checkpoint(runs[modality] / "checkpoints" / "last.pt", saved | {"data": path.data})
    with pytest.raises(InputError, match=OTHER_DATA):
        MEASURING[command](runs, tmp_path)
    assert not (tmp_path / "page").exists() and not (runs["speech"] / "metrics.jsonl").exists()


def test_a_test_split_may_come_or_change_later(measured, tmp_path):
    def fewer(images: list[ImageRecord]) -> list[ImageRecord]:
        return [p for p in images if p.split != "test" or not p.id.endswith("-0")]

    path = packed_again(measured, tmp_path, fewer)["speech"]
    bank = FeatureBank(path)
    assert len(bank.pack.records) == 25 and bank.captions.note == ""
    untested = {split: known for split, known in path.data.items() if split != "test"}
    assert FeatureBank(replace(path, data=untested)).captions.note == ""


def test_a_test_split_with_a_class_of_training_is_refused(measured, tmp_path):
    def mixed(images: list[ImageRecord]) -> list[ImageRecord]:
        seen = next(image for image in images if image.split == "train")
        return [*images, replace(seen, id="again", split="test")]

    path = packed_again(measured, tmp_path, mixed)["speech"]
    with pytest.raises(InputError, match="expected classes of test to be unseen, found 1 of 6 in train too"):
        FeatureBank(path)


def test_where_only_the_test_split_is_packed_another_one_is_refused(measured, tmp_path):
    path = packed_again(measured, tmp_path, list)["speech"]
    for split in ("train", "val"):
        shutil.rmtree(Path(path.config.data.pack) / split)
    assert FeatureBank(path).captions.note == ""
    with pytest.raises(InputError, match=rf"{OTHER_DATA} \(test"):
        FeatureBank(replace(path, data={**path.data, "test": "another"}))
    with pytest.raises(InputError, match=r"\(test unknown\).*other data"):
        FeatureBank(replace(path, data={"train": path.data["train"]}))


def test_an_exported_model_knows_its_data_and_is_measured_on_others_only_on_purpose(
    measured, tmp_path, capsys
):
    export([measured["speech"]], tmp_path / "model")
    described = json.loads((tmp_path / "model" / "config.json").read_text())["paths"]["speech"]
    run = load(measured["speech"], "cpu").path("speech")
    known = read_fingerprints(run.config.data.pack)
    assert described["data"] == known == load(tmp_path / "model").path("speech").data
    assert f"`train` (fingerprint {known['train'][:12]}) of" in (tmp_path / "model" / "README.md").read_text()
    name = ["retrieval_by_caption"]

    def measure(pack: Path, *words: str) -> list[dict]:
        given = settings_of(tmp_path / "model", [f"data.pack={pack}", *words])
        return evaluate(tmp_path / "model", name, **given)

    moved_scores = measure(shutil.copytree(run.config.data.pack, tmp_path / "moved"))
    assert all("note" not in line and line["fingerprint"] == known["test"] for line in moved_scores)
    others = packed_again(measured, tmp_path, another_split)["speech"].config.data.pack
    with pytest.raises(InputError, match=f"{OTHER_DATA}.*evaluation.other_data=true"):
        measure(others)
    scores = measure(others, "evaluation.other_data=true")
    assert all(line["note"].startswith(OTHER) for line in scores)
    del described["data"]
    (tmp_path / "model" / "config.json").write_text(json.dumps({"format": 1, "paths": {"speech": described}}))
    capsys.readouterr()
    scores = measure(others)
    assert capsys.readouterr().err.count(UNKNOWN) == 1
    assert all(UNKNOWN in line["note"] for line in scores)


def test_a_classifier_of_a_pack_that_is_another_now_does_not_score(measured, tmp_path):
    classifier = shutil.copytree(measured["classifier"], tmp_path / "classifier")
    saved = read_checkpoint(classifier / "checkpoints" / "last.pt")
    pack = shutil.copytree(saved["config"]["classifier"]["pack"], tmp_path / "classifier_pack")
    saved["config"]["classifier"]["pack"] = str(pack)
    write_checkpoint(classifier / "checkpoints" / "last.pt", saved)
    assert load_classifier(classifier).data == saved["data"] == read_fingerprints(pack)
    facts = json.loads((pack / "train" / "pack.json").read_text())
    (pack / "train" / "pack.json").write_text(json.dumps(facts | {"fingerprint": "another"}))
    with pytest.raises(InputError, match=f"{OTHER_DATA}.*train one anew"):
        load_classifier(classifier)
    shutil.rmtree(pack)  # gone, as on another machine: it is what it was
    assert load_classifier(classifier).data == saved["data"]


def test_a_r_precision_encoder_of_other_data_does_not_score(measured, tmp_path):
    path = load(measured["speech"], "cpu").path("speech")
    others = packed_again(measured, tmp_path, another_split)["speech"].config
    settings = replace(others.matching, steps=1, batch_size=8, validate_every=1)
    r_precision_encoder = train_encoder(
        replace(others, run=str(tmp_path / "r_precision_encoder"), seed=7, matching=settings)
    )
    bank = FeatureBank(path, replace(path.config.evaluation, r_precision_encoder=str(r_precision_encoder)))
    with pytest.raises(InputError, match=f"{OTHER_DATA}.*train one on this pack"):
        bank.extractor("r_precision_encoder")


def test_runs_over_different_test_data_are_not_tabulated(measured, tmp_path):
    def fewer(images: list[ImageRecord]) -> list[ImageRecord]:
        return [image for image in images if not image.id.endswith("-0")]

    config = packed_again(measured, tmp_path, fewer)["speech"].config
    write_gan_run(tmp_path / "other", replace(config, run=str(tmp_path / "other")))
    with pytest.raises(InputError, match="expected runs over the data of .*found other data in"):
        tabulate([measured["speech"], tmp_path / "other"], tmp_path / "out")
