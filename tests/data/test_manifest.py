"""Manifests: what is written is read, and every fault is named with its line."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

from data_prep import check
from s2i.data.manifest import (
    Caption,
    ImageRecord,
    check_manifest,
    iterate_manifest,
    read_attributes,
    read_manifest,
    write_manifest,
)
from s2i.errors import InputError, exit_on_input_error

SCHEMA = {"wing": ["red", "blue"]}


def image(number: int, split: str = "train", class_id: int = 1, **changes) -> ImageRecord:
    values = {
        "id": str(number),
        "image": "image.png",
        "box": (1.0, 2.0, 10.0, 8.0),
        "class_id": class_id,
        "class_name": f"class {class_id}",
        "split": split,
        "captions": (
            Caption("a red wing", "speech.wav", "anna", "en", ("wing",)),
            Caption(None, "speech.wav", None, "xx"),
        ),
        "attributes": {"wing": "red"},
    }
    return ImageRecord(**{**values, **changes})


def line(**changes) -> str:
    values = {
        "id": "a",
        "image": "image.png",
        "box": None,
        "class_id": 1,
        "class_name": "class 1",
        "split": "train",
        "captions": [],
    }
    values.update(changes)
    return json.dumps({key: value for key, value in values.items() if value != "left out"})


@pytest.fixture
def data(tmp_path):
    """A folder with one image of 20 x 16 px, one recording and a sound manifest."""
    Image.new("RGB", (20, 16)).save(tmp_path / "image.png")
    soundfile.write(tmp_path / "speech.wav", 0.1 * np.sin(np.arange(4410) * 0.1), 22050)
    (tmp_path / "attributes.json").write_text(json.dumps(SCHEMA))
    write_manifest(tmp_path / "manifest.jsonl", [image(1), image(2, "val"), image(3, "test", 2)])
    return tmp_path


def problems_of(folder, *images) -> list[str]:
    write_manifest(folder / "manifest.jsonl", images)
    return check_manifest(folder / "manifest.jsonl", folder)


def test_what_is_written_is_read_in_order(tmp_path):
    images = [
        image(2),
        image(1, box=None, captions=(), attributes={}),
        image(3, class_name="Grünfink"),
    ]
    write_manifest(tmp_path / "m.jsonl", images)
    assert read_manifest(tmp_path / "m.jsonl") == images
    assert next(iterate_manifest(tmp_path / "m.jsonl")) == images[0]


def test_a_manifest_that_cannot_be_made_leaves_the_old_one(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [image(1)])

    def broken():
        yield image(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(tmp_path / "m.jsonl", broken())
    assert [record.id for record in read_manifest(tmp_path / "m.jsonl")] == ["1"]
    assert [file.name for file in tmp_path.iterdir()] == ["m.jsonl"]


CAPTION = {"text": "a bird", "audio": None, "speaker": None, "language": "en"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{not json", "one JSON object"),
        ("[1]", "a JSON object for the image"),
        (line(image="left out"), "no image"),
        (line(colour="red"), "an unknown 'colour'"),
        (line(id=3), "id"),
        (line(id=""), "id"),
        (line(class_id="1"), "class_id"),
        (line(class_id=True), "class_id"),
        (line(split="dev"), "train or val or test"),
        (line(split=["train"]), "train or val or test"),
        (line(box=[1, 2, 3]), "box"),
        (line(box=[1, 2, 0, 3]), "box"),
        (line(box=[1, 2, float("nan"), 3]), "box"),
        (line(captions={}), "captions"),
        (line(captions=["a bird"]), "caption 0"),
        (line(captions=[CAPTION, {**CAPTION, "text": None}]), "text or audio in caption 1"),
        (line(captions=[{**CAPTION, "text": " "}]), "text of caption 0"),
        (line(captions=[{"text": "a bird"}]), "no audio"),
        (line(captions=[{**CAPTION, "mentions": "wing"}]), "mentions of caption 0"),
        (line(attributes={"wing": 3}), "attributes"),
        (line(id="first"), "'first' of line 1 again"),
        (line(id="a\ud83d"), "whole letters, without NUL, found 'a\\ud83d'"),
        (line(captions=[{**CAPTION, "text": "a bird \ud83d"}]), "found 'a bird \\ud83d'"),
        (line(captions=[{**CAPTION, "mentions": ["\udc26"]}]), "whole letters"),
        (line(attributes={"wing\ud83d": "red"}), "whole letters"),
        (line(image="a\0.png"), "without NUL, found 'a\\x00.png'"),
        (line(class_id=2**63), "64 bits for class_id"),
        (line(class_id=1e400), "class_id"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param('{"id": ' + "1" * 5000 + "}", "one JSON object", id="long number"),
    ],
)
def test_a_bad_line_is_refused_with_file_line_and_reason(tmp_path, bad, message):
    path = tmp_path / "m.jsonl"
    path.write_text(line(id="first") + "\n\n" + bad + "\n")
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert f"{path}, line 3: " in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_letters_beyond_the_basic_plane_and_escapes_are_text(tmp_path):
    caption = {**CAPTION, "text": "a \U0001f426, \\ud83d and \u00e9"}
    path = tmp_path / "m.jsonl"
    path.write_text(line(captions=[caption]))
    assert "\\ud83d\\udc26" in path.read_text()  # a pair is one letter
    assert read_manifest(path)[0].captions[0].text == caption["text"]


def test_a_huge_class_id_is_read_exactly(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [image(1, class_id=2**62)])
    assert read_manifest(tmp_path / "m.jsonl")[0].class_id == 2**62


def test_names_that_are_not_utf8_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="UTF-8 for .*, found others at image '1'"):
        write_manifest(tmp_path / "m.jsonl", [image(1, image=os.fsdecode(b"caf\xe9.png"))])
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(line().encode() + b"\n" + "é".encode("latin-1") + b"\n")
    with pytest.raises(InputError, match="line 2: expected UTF-8"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_manifest_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="nowhere.jsonl"):
        read_manifest(tmp_path / "nowhere.jsonl")


def test_attributes_are_read_from_beside_the_manifest(data, tmp_path_factory):
    assert read_attributes(data / "manifest.jsonl") == SCHEMA
    assert read_attributes(tmp_path_factory.mktemp("bare") / "manifest.jsonl") == {}
    (data / "attributes.json").write_text('{"wing": "red"}')
    with pytest.raises(InputError, match="attributes.json"):
        read_attributes(data / "manifest.jsonl")


def test_a_sound_manifest_has_no_problems(data):
    assert check_manifest(data / "manifest.jsonl", data) == []


def test_a_class_of_test_that_training_has_seen_is_named(data):
    (problem,) = problems_of(data, image(1), image(2, "test"))
    assert "line 2" in problem and "unseen" in problem and "class 1" in problem
    (problem,) = problems_of(data, image(1, "test"), image(2, "val"))
    assert "line 2" in problem and "unseen" in problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "none.png"}, "none.png"),
        ({"image": "speech.wav"}, "speech.wav"),
        ({"box": (15.0, 2.0, 10.0, 8.0)}, "box inside the image of 20 x 16 px"),
        ({"box": (-2.0, 2.0, 10.0, 8.0)}, "box inside the image of 20 x 16 px"),
        ({"captions": (Caption(None, "none.wav", None, None),)}, "none.wav"),
        ({"captions": (Caption(None, "image.png", None, None),)}, "image.png"),
        ({"captions": (Caption("a tail", None, None, None, ("tail",)),)}, "mentions"),
        ({"attributes": {"wing": "green"}}, "red, blue"),
        ({"attributes": {"wing": "red", "tail": "red"}}, "tail"),
        ({"class_name": "another"}, "class 1"),
        ({"class_id": 9, "class_name": "class 1"}, "class 1"),
        ({"id": "1"}, "'1' of line 1 again"),
    ],
)
def test_a_bad_image_is_named_with_its_line(data, changes, message):
    problems = problems_of(data, image(1), image(2, **changes), image(3))
    assert len(problems) == 1
    assert problems[0].startswith(f"{data / 'manifest.jsonl'}, line 2: ") and message in problems[0]


def test_every_bad_line_is_named_at_once(data):
    path = data / "manifest.jsonl"
    path.write_text("\n".join([line(id="1"), "{", line(id="1"), line(id="2", image="none.png")]))
    problems = check_manifest(path, data)
    assert [problem.split(": ")[0] for problem in problems] == [
        f"{path}, line {number}" for number in (2, 3, 4)
    ]


def test_a_manifest_without_images_is_a_problem(data):
    assert problems_of(data) != []


def test_the_card_counts_what_each_split_holds(data, capsys):
    check.main([str(data / "manifest.jsonl")])
    rows = {row.split()[0]: row.split() for row in capsys.readouterr().out.splitlines() if row.split()}
    #                              images classes captions written spoken words speakers languages
    assert rows["train"] == ["train", "1", "1", "2", "1", "2", "3", "1", "2"]
    assert rows["test"] == ["test", "1", "1", "2", "1", "2", "3", "1", "2"]
    assert rows["classes"][-1] == "1" and rows["speakers"][-1] == "0"


def test_the_card_counts_captions_without_a_word(data, capsys):
    wordless = Caption("\U0001f426 !", "speech.wav", "anna", "en")
    write_manifest(data / "manifest.jsonl", [image(1, captions=(wordless, wordless)), image(2)])
    check.main([str(data / "manifest.jsonl")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "written captions without a word, which training from text leaves out: 2"


def test_the_check_ends_with_status_2_and_names_the_lines(data, capsys, monkeypatch):
    write_manifest(data / "manifest.jsonl", [image(1), image(2, image="none.png")])
    monkeypatch.setattr(sys, "argv", ["check.py", str(data / "manifest.jsonl")])
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(check.main)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert "line 2" in captured.err and "s2i: error: expected no faults" in captured.err
    assert captured.out == ""


def test_a_key_that_a_line_has_twice_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(line().replace('"class_id": ', '"class_id": 7, "class_id": ', 1))
    with pytest.raises(InputError, match="line 1: .*'class_id' twice"):
        read_manifest(tmp_path / "a.jsonl")


@pytest.mark.parametrize("options", [(), ("--listen",)])
def test_a_recording_that_was_cut_short_is_named_by_its_header_alone(data, capsys, options):
    content = (data / "speech.wav").read_bytes()
    (data / "cut.wav").write_bytes(content[: len(content) // 2])
    cut = (Caption("a red wing", "cut.wav", "anna", "en"),)
    write_manifest(data / "manifest.jsonl", [image(1), image(2, captions=cut)])
    with pytest.raises(InputError, match="no faults in .*, found 1"):
        check.main([str(data / "manifest.jsonl"), *options])
    said = capsys.readouterr().err
    assert "line 2: expected a whole recording" in said and "cut.wav: it was cut short" in said
