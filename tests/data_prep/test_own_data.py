"""One's own images and recordings: classes and splits, and from two folders to a report without a word of
text."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data_prep import own_data
from data_prep.own_data import name_classes, split_classes
from s2i.cli import main
from s2i.config_files import load_config
from s2i.data.manifest import check_manifest, read_manifest
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.records import evaluate
from s2i.reports.single import report
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.models import tiny_training_config


def write(root: Path, *names: str, recordings: tuple[str, ...] | None = None) -> None:
    """Images of noise, and a tone for each, or what is named."""
    random = np.random.default_rng(0)
    for name in names:
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=(24, 24, 3), dtype=np.uint8)).save(path)
    for name in names if recordings is None else recordings:
        path = root / "spoken" / f"{Path(name).name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(np.arange(8000) * random.uniform(0.05, 0.3))
        soundfile.write(path, tone + 0.01 * random.normal(size=8000), 22050)


def run(root: Path, *more: str):
    words = ["--images", root / "images", "--recordings", root / "spoken", "--output", root / "made", *more]
    own_data.main(list(map(str, words)))
    return read_manifest(root / "made" / "manifest.jsonl")


def twelve() -> list[str]:
    return [f"class {number // 2}/image {number}" for number in range(12)]


def test_sub_folders_are_classes_and_test_has_whole_ones(tmp_path, capsys):
    write(tmp_path, *twelve())
    made = run(tmp_path)
    assert {image.class_name for image in made} == {f"class {number}" for number in range(6)}
    splits = {split: [p for p in made if p.split == split] for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in splits.items()} == {"train": 7, "val": 1, "test": 4}
    tested, trained = ({p.class_name for p in splits[split]} for split in ("test", "train"))
    assert len(tested) == 2 and not tested & trained and splits["val"][0].class_name in trained
    assert check_manifest(tmp_path / "made/manifest.jsonl", tmp_path) == []
    for image in made:
        (caption,) = image.captions
        assert caption.text is None and caption.audio == f"spoken/{Path(image.id).name}.wav"
    printed = capsys.readouterr().out
    assert "s2i report" in printed and "modality=text" not in printed and "class_weight" not in printed
    assert "matching.batch_size=7 gan.batch_size=7" in printed
    assert run(tmp_path) == made


def test_printed_commands_are_whole_even_in_folders_with_spaces(tmp_path, capsys):
    write(tmp_path / "my birds", *twelve())
    run(tmp_path / "my birds")
    printed = capsys.readouterr().out
    lines = printed[printed.index("settings=(") :].strip().splitlines()
    script = "\n".join(["s2i() { printf '<%s>' \"$@\"; echo; }", 'python() { s2i "$@"; }', *lines])
    called = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    pack, encoder, gan, evaluate_, report_, export_ = called.stdout.splitlines()
    assert f"<data.root={tmp_path}/my birds>" in pack and pack.startswith("<-m><data_prep.pack><--config>")
    made = f"{tmp_path}/my birds/made"
    assert encoder.startswith("<train-encoder><--config>") and f"<run={made}/speech-encoder>" in encoder
    assert f"<gan.encoder={made}/speech-encoder><run={made}/speech-gan>" in gan
    assert evaluate_ == f"<evaluate><{made}/speech-gan>"
    assert report_ == f"<report><{made}/speech-gan><--output><{made}/report>"
    assert export_ == f"<export><{made}/speech-gan><{made}/model>"
    words = re.findall("<(.*?)>", pack)
    load_config(words[words.index("--config") + 1], words[words.index("--config") + 2 :])


def test_images_without_folders_are_classes_of_their_own(tmp_path, capsys):
    write(tmp_path, *(f"bird {number}" for number in range(10)))
    made = run(tmp_path)
    assert sorted(image.class_id for image in made) == list(range(10))
    counts = {split: sum(p.split == split for p in made) for split in ("train", "val", "test")}
    assert counts == {"train": 7, "val": 1, "test": 2}
    assert "matching.class_weight=0" in capsys.readouterr().out


def test_table_gives_classes_text_and_a_comparison(tmp_path, capsys):
    names = [f"bird {number}" for number in range(10)]
    write(tmp_path, *names)
    rows = [f"{name}.png,{name}.wav,kind {place // 2},a bird,me,en" for place, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["image,recording,class,text,speaker,language", *rows]))
    made = run(tmp_path, "--table", str(tmp_path / "table.csv"))
    assert len({image.class_name for image in made}) == 5
    assert made[0].captions[0].text == "a bird" and made[0].captions[0].speaker == "me"
    assert "s2i compare" in capsys.readouterr().out


def test_an_image_of_two_classes_is_refused_by_its_rows(tmp_path):
    names = [f"bird {number}" for number in range(10)]
    write(tmp_path, *names, recordings=(*names, "again"))
    rows = [f"{name}.png,{name}.wav,kind {place // 2}" for place, name in enumerate(names)]
    rows += ["bird 0.png,again.wav,kind 4"]
    (tmp_path / "table.csv").write_text("\n".join(["image,recording,class", *rows]))
    with pytest.raises(InputError, match="image bird 0, found 'kind 0' in line 2 and 'kind 4' in .*line 12"):
        run(tmp_path, "--table", str(tmp_path / "table.csv"))
    assert not (tmp_path / "made").exists()


def test_recordings_that_cannot_be_decoded_are_named(tmp_path, capsys):
    write(tmp_path, *twelve())
    recording = tmp_path / "spoken" / "image 3.wav"
    recording.with_suffix(".m4a").write_bytes(b"of a phone")
    recording.unlink()
    with pytest.raises(InputError, match="no faults in .*, found 1"):
        run(tmp_path)
    assert "image 3.m4a: convert it" in capsys.readouterr().err


def test_few_or_partial_folders_are_no_classes():
    few = ["a/1", "a/2", "b/1", "c/1", "d/1"]
    assert len(set(name_classes(few, {})[0].values())) == 5
    with pytest.raises(InputError, match="5 classes or more .*found 4"):
        name_classes(few, {}, "folders")
    partial = [*few, "e/1", "alone"]
    assert name_classes(partial, {})[0]["a/2"] == "a/2"
    with pytest.raises(InputError, match="1 images in none .alone"):
        name_classes(partial, {}, "folders")


def test_split_leaves_a_trained_image_of_each_class_and_no_split_empty():
    classes = {f"{letter}{number}": letter for letter in "abcdefgh" for number in range(1 + ord(letter) % 3)}
    for seed in range(20):
        splits = split_classes(classes, seed, 0.2, 0.6)
        assert set(splits) == set(classes) and set(splits.values()) == {"train", "val", "test"}
        by_split = {split: {classes[n] for n in splits if splits[n] == split} for split in splits.values()}
        assert not by_split["test"] & (by_split["train"] | by_split["val"])
        assert by_split["val"] <= by_split["train"]
    with pytest.raises(InputError, match="images for train, val and test, found 3"):
        split_classes({"a": "a", "b": "b", "c": "c"}, 0, 0.2, 0.1)


@pytest.mark.parametrize(
    "recordings, more, message",
    [
        (("a", "b", "c"), (), r"recording in .*for each image, found none for 1 \(d\)"),
        (("a", "b", "c", "d", "x"), (), "belong to none .*x.wav"),
        (("a", "b", "c", "d"), ("--images", "nowhere"), "a folder, found none at nowhere"),
        (("a", "b", "c", "d"), ("--table", "nowhere.csv"), "a table at nowhere.csv"),
        ((), (), "a folder, found none at .*spoken"),
    ],
)
def test_wrong_folders_are_refused_by_name(tmp_path, recordings, more, message):
    write(tmp_path, *"abcd", recordings=recordings)
    with pytest.raises(InputError, match=message):
        run(tmp_path, *more)
    assert not (tmp_path / "made").exists()


def test_images_without_recordings_are_left_out_on_demand(tmp_path, capsys):
    write(tmp_path, *"abcdef", recordings=tuple("abcde"))
    assert {image.id for image in run(tmp_path, "--allow-missing")} == set("abcde")
    assert "left out, for they have no recording: f" in capsys.readouterr().err


def test_a_folder_that_holds_anything_else_is_refused_and_ones_own_may_be_written_again(tmp_path):
    write(tmp_path, *"abcdef")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "manifest.jsonl").write_text("mine")
    with pytest.raises(InputError, match="found manifest.jsonl there"):
        run(tmp_path)
    assert (tmp_path / "made" / "manifest.jsonl").read_text() == "mine"
    (tmp_path / "made" / "manifest.jsonl").unlink()
    first = run(tmp_path)
    (tmp_path / "made" / "pack").mkdir()
    (tmp_path / "made" / "pack" / "pack.json").write_text("of another command")
    assert run(tmp_path) == first
    assert (tmp_path / "made" / "pack" / "pack.json").read_text() == "of another command"


@pytest.mark.parametrize("inside", ["images", "images/made", "spoken/made", "link/made"])
def test_an_output_inside_of_what_is_read_is_refused(tmp_path, inside):
    write(tmp_path, *"abcdef")
    (tmp_path / "link").symlink_to("images")
    with pytest.raises(InputError, match="expected (--output outside of|a new or empty folder)"):
        run(tmp_path, "--output", str(tmp_path / inside))
    assert not list(tmp_path.rglob("*made*"))


def test_broken_recording_is_named(tmp_path, capsys):
    write(tmp_path, *"abcdef")
    (tmp_path / "spoken" / "c.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "spoken" / "d.wav", np.zeros(8000), 22050)  # whole by its header
    with pytest.raises(InputError, match="no faults in .*, found 2"):
        run(tmp_path)
    said = capsys.readouterr().err
    assert "c.wav" in said and "d.wav" in said and not (tmp_path / "made").exists()


def test_recordings_without_text_go_all_the_way_to_a_report(tmp_path):
    write(tmp_path, *twelve())
    run(tmp_path)
    made = tmp_path / "made"
    config = tiny_training_config(tmp_path, made / "encoder")
    config = replace(config, data=replace(config.data, manifest=str(made / "manifest.jsonl")))
    build_pack(config, ["train", "val", "test"])
    train_encoder(config)
    train_gan(replace(config, run=str(made / "gan"), gan=replace(config.gan, encoder=str(made / "encoder"))))
    lines = evaluate(made / "gan")
    assert {line["modality"] for line in lines} == {"speech"}
    main(["report", str(made / "gan"), "--output", str(made / "report")])
    report_content = json.loads((made / "report" / "results.json").read_text())
    values = {(line["protocol"], line["metric"], line["of"]): line["value"] for line in lines}
    assert {(x["protocol"], x["metric"], x["of"]): x["value"] for x in report_content["records"]} == values
    assert set(report_content["protocols"]) == {"interpolation"} | {line["protocol"] for line in lines}
    assert report_content["data"]["generated_captions"] == 4 and report_content["data"]["left_out"] == {}
    page = (made / "report" / "index.html").read_text()
    assert page.count("<article") == 4 and page.count("<audio") == 2 * 4  # at the top, and a card each
    titles = r"<h3[^>]*>(?:\d\. )?Unwritten caption of \w+"
    assert "(unwritten)" not in page and len(re.findall(titles, page)) == 2 * 4
    assert len(re.findall(r"unwritten caption of \w[^<]* → unwritten caption of \w", page)) == 2
    for name in ("audio/00.wav", "images/00-real.png", "images/03-speech-1.png"):
        assert f'"{name}"' in page and (made / "report" / name).stat().st_size > 0
    with pytest.raises(InputError, match="found a file of that name"):
        report(made / "gan", made / "manifest.jsonl")
