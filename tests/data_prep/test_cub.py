"""The CUB-200-2011 preparation on a tree of a few photographs of noise."""

from __future__ import annotations

import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data_prep import cub, cub_grammar
from data_prep.cub_grammar import Seen, captions
from data_prep.cub_split import TEST_CLASSES
from s2i.data.manifest import SPLITS, check_manifest, read_manifest
from s2i.data.plain_pickle import read_plain_pickle
from s2i.errors import InputError
from tests.fixtures.cub import ATTRIBUTES, CLASSES, photograph_name, write_cub


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_cub(tmp_path / "birds")


def make(tree: Path, *options: str) -> list:
    output = tree / "manifest.jsonl"
    cub.main(["--root", str(tree), "--output", str(output), *options])
    return read_manifest(output)


def replace_in(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def test_the_manifest_is_sound_and_classes_are_apart(tree, capsys):
    images = make(tree)
    assert check_manifest(tree / "manifest.jsonl", tree) == []
    assert len(images) == 18 and all(len(image.captions) == 10 for image in images)
    classes = {split: {p.class_id for p in images if p.split == split} for split in SPLITS}
    assert classes["test"] == {1, 4} and len(classes["val"]) == 1
    assert classes["train"] | classes["val"] == {2, 3, 5, 7} and not classes["train"] & classes["val"]
    said = capsys.readouterr().out
    assert "leaks (classes in two splits): none" in said and "captions from: " in said
    assert "reed 2" in said and "attributes 16" in said and "left out: none" in said
    assert "vocabulary of the training captions" in said


def test_tables_are_joined_by_id_and_rows_may_be_missing(tree, capsys):
    boxes = tree / "CUB_200_2011" / "bounding_boxes.txt"
    lines = boxes.read_text().splitlines()
    boxes.write_text("\n".join(line for line in lines if not line.startswith("106 ")) + "\n")
    images = make(tree)
    assert len(images) == 17 and "no row in bounding_boxes.txt 1" in capsys.readouterr().out
    for image in images:
        number = int(image.id.split("_")[-2])
        assert image.box == ((image.class_id * 50 + 3 * number) % 20, 2, 30, 20)
        assert image.image == f"CUB_200_2011/images/{photograph_name(image.class_id, number)}.jpg"
        assert image.class_name == CLASSES[image.class_id][4:].replace("_", " ")


def test_a_trial_takes_the_first_photographs_of_each_class(tree, capsys):
    every = make(tree)
    images = make(tree, "--photographs", "2")
    assert "beyond --photographs 6" in capsys.readouterr().out
    assert images == [p for p in every if sum(q.class_id == p.class_id for q in every[: every.index(p)]) < 2]
    assert len(images) == 12
    with pytest.raises(InputError, match="--photographs of 1 or more, found 0"):
        make(tree, "--photographs", "0")


def test_without_pickles_the_published_class_ids_divide(tree, capsys):
    for split in ("train", "test"):
        (tree / split / "filenames.pickle").unlink()
    assert {image.class_id for image in make(tree) if image.split == "test"} == {1, 4}
    said = capsys.readouterr().out
    assert "50 published test classes by id" in said and "no train/filenames.pickle" in said
    assert len(TEST_CLASSES) == 50 and min(TEST_CLASSES) >= 1 and max(TEST_CLASSES) <= 200


def test_published_lists_decide_the_split_and_unlisted_photographs_are_left_out(tree, capsys):
    listed = [photograph_name(class_id, 0).replace("/", "\\") for class_id in (5, 7)]
    (tree / "test" / "filenames.pickle").write_bytes(pickle.dumps(listed, protocol=2))
    (tree / "test" / "class_info.pickle").write_bytes(pickle.dumps([5, 7], protocol=2))
    listed = [photograph_name(class_id, number) for class_id in (1, 2, 3, 4) for number in range(3)]
    (tree / "train" / "filenames.pickle").write_bytes(pickle.dumps(listed, protocol=2))
    images = make(tree)
    assert [p.id for p in images if p.split == "test"] and len(images) == 14
    assert {p.class_id for p in images if p.split == "test"} == {5, 7}
    assert "not in the list of its split 4" in capsys.readouterr().out


def test_held_out_classes_are_a_function_of_the_seed(tree):
    def held_out(*options):
        return {p.class_id: p.split for p in make(tree, "--val-classes=2", "--test-classes=2", *options)}

    first = held_out("--seed=0")
    assert first == held_out("--seed=0")
    assert sorted(first.values()) == ["test", "test", "train", "train", "val", "val"]
    assert any(held_out(f"--seed={seed}") != first for seed in (1, 2, 3))


def test_human_captions_come_first_and_alone_with_captions_reed(tree, capsys):
    people = {p.id: p for p in make(tree) if "person" in p.captions[0].text}
    assert {p.class_id for p in people.values()} == {3, 5}
    assert [c.text for c in people["Sooty_Albatross_0000_300"].captions] == [
        f"a person saw bird {number}" for number in range(10)
    ]
    capsys.readouterr()
    images = make(tree, "--captions=reed")
    assert {image.id for image in images} == set(people)
    said = capsys.readouterr().out
    assert "no captions 16" in said and "no photographs in test" in said
    assert not any("person" in p.captions[0].text for p in make(tree, "--captions=attributes"))


def test_reed_alone_needs_no_attributes_and_attributes_may_lie_beside_the_folder(tree):
    names = tree / "CUB_200_2011" / "attributes" / "attributes.txt"
    names.rename(tree / "attributes.txt")
    assert len(make(tree)) == 18
    (tree / "attributes.txt").unlink()
    assert len(make(tree, "--captions=reed")) == 2
    with pytest.raises(InputError, match=r"attributes\.txt"):
        make(tree)


def test_lost_spaces_in_captions_are_put_back(tree):
    text = next((tree / "text" / CLASSES[5]).glob("*.txt"))
    text.write_text("a\ufffd\ufffdgrey\ufffd\ufffdbelly\n\n \n.\nsecond\n", encoding="utf-8")
    (bird,) = (p for p in make(tree, "--captions=reed") if p.class_id == 5)
    assert [caption.text for caption in bird.captions] == ["a grey belly", "second"]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0c", "\x1d"])
def test_a_separator_inside_a_caption_is_a_space(tree, separator):
    text = next((tree / "text" / CLASSES[5]).glob("*.txt"))
    text.write_text(f"first\na bird with{separator} a red wing\r\nthird\n", encoding="utf-8", newline="")
    (bird,) = (p for p in make(tree, "--captions=reed") if p.class_id == 5)
    assert [caption.text for caption in bird.captions] == ["first", "a bird with a red wing", "third"]


def test_the_same_seed_gives_the_same_bytes_and_another_other_sentences(tree):
    make(tree)
    first = (tree / "manifest.jsonl").read_bytes()
    make(tree)
    assert (tree / "manifest.jsonl").read_bytes() == first
    make(tree, "--seed=1")
    assert (tree / "manifest.jsonl").read_bytes() != first


def test_attribute_captions_differ_and_tell_only_what_enough_people_saw(tree):
    images = make(tree, "--captions=attributes")
    for image in images:
        texts = [caption.text for caption in image.captions]
        assert len(set(texts)) == 10
        words = set(re.findall(r"[a-z]+", " ".join(texts)))
        assert not words & {"red", "purple"} and words & {"white", "black"}
        is_blue_seen = image.class_id * 10 >= cub_grammar.LEAST
        assert is_blue_seen or "blue" not in words
    assert any("blue" in caption.text for p in images if p.class_id == 7 for caption in p.captions)
    assert len({tuple(p.captions) for p in images}) == len(images)


def test_sentences_are_english():
    rng = random.Random(0)
    percentages: dict[str, dict[str, float]] = {}
    for name, value in ATTRIBUTES.items():
        attribute, _, word = name.partition("::")
        percentages.setdefault(attribute, {})[word] = 60.0 if value is None else value
    texts = [text for _ in range(200) for text in captions(Seen(percentages), 10, rng)]
    assert len(set(texts)) > 300
    for text in texts:
        assert text.endswith(".") and not re.search(r"  | ,|,,|\ba [aeiou]|\ban [^aeiou]|None", text), text
        assert not re.search(r"\b(wings|feathers|legs|eyes) is\b|\b(this|a) (wings|feathers)\b", text), text
        assert 4 <= len(text.split()) <= 40, text


def test_a_bird_of_which_nothing_is_known_is_an_error(tree):
    table = tree / "CUB_200_2011" / "attributes" / "class_attribute_labels_continuous.txt"
    rows = table.read_text().splitlines()
    rows[6] = " ".join(["0.0"] * len(ATTRIBUTES))
    table.write_text("\n".join(rows))
    with pytest.raises(InputError, match="row 7 of .*continuous.txt to describe Parakeet Auklet"):
        make(tree)
    table.write_text("\n".join(rows[:3]))
    with pytest.raises(InputError, match="3 rows"):
        make(tree)


class _Call:
    def __reduce__(self):
        return os.mkdir, ("called",)


def break_jpeg(tree: Path, folder: Path, photograph: Path) -> str:
    photograph.write_bytes(photograph.read_bytes()[:-300])
    return photograph.name


def empty_jpeg(tree: Path, folder: Path, photograph: Path) -> str:
    photograph.write_bytes(b"")
    return photograph.name


def lose_jpeg(tree: Path, folder: Path, photograph: Path) -> str:
    photograph.unlink()
    return photograph.name


def move_box(tree: Path, folder: Path, photograph: Path) -> str:
    replace_in(folder / "bounding_boxes.txt", "106 6.0 2.0", "106 70.0 2.0")
    return photograph.name


def blow_up_box(tree: Path, folder: Path, photograph: Path) -> str:
    replace_in(folder / "bounding_boxes.txt", "106 6.0 2.0 30.0", "106 6.0 2.0 3000.0")
    return photograph.name


def flatten_box(tree: Path, folder: Path, photograph: Path) -> str:
    replace_in(folder / "bounding_boxes.txt", "106 6.0 2.0 30.0", "106 6.0 2.0 0.0")
    return "bounding_boxes.txt"


def garble_row(tree: Path, folder: Path, photograph: Path) -> str:
    replace_in(folder / "image_class_labels.txt", "106 2", "106 two")
    return "image_class_labels.txt"


def repeat_id(tree: Path, folder: Path, photograph: Path) -> str:
    replace_in(folder / "images.txt", "103 ", "106 ")
    return "images.txt"


def climb_out(tree: Path, folder: Path, photograph: Path) -> str:
    replace_in(folder / "images.txt", f"106 {photograph.parent.name}", "106 ..")
    return "images.txt"


def lose_table(tree: Path, folder: Path, photograph: Path) -> str:
    (folder / "classes.txt").unlink()
    return "classes.txt"


def empty_captions(tree: Path, folder: Path, photograph: Path) -> str:
    text = tree / "text" / f"{photograph_name(5, 0)}.txt"
    text.write_text("\n \n")
    return text.name


def latin_captions(tree: Path, folder: Path, photograph: Path) -> str:
    text = tree / "text" / f"{photograph_name(5, 0)}.txt"
    text.write_bytes("a bird like a caf\xe9\n".encode("latin1"))
    return text.name


def share_class(tree: Path, folder: Path, photograph: Path) -> str:
    listed = [photograph_name(class_id, 0) for class_id in (1, 2)]
    (tree / "test" / "filenames.pickle").write_bytes(pickle.dumps(listed))
    (tree / "test" / "class_info.pickle").write_bytes(pickle.dumps([1, 2]))
    return "test/filenames.pickle"


def call_from_pickle(tree: Path, folder: Path, photograph: Path) -> str:
    (tree / "train" / "filenames.pickle").write_bytes(pickle.dumps([_Call()]))
    return "train/filenames.pickle"


def call_from_class_info(tree: Path, folder: Path, photograph: Path) -> str:
    (tree / "test" / "class_info.pickle").write_bytes(pickle.dumps(_Call()))
    return "test/class_info.pickle"


def cut_pickle(tree: Path, folder: Path, photograph: Path) -> str:
    path = tree / "train" / "filenames.pickle"
    path.write_bytes(path.read_bytes()[:40])
    return "train/filenames.pickle"


def list_numbers(tree: Path, folder: Path, photograph: Path) -> str:
    (tree / "train" / "filenames.pickle").write_bytes(pickle.dumps([1, 2]))
    return "train/filenames.pickle"


def shorten_class_info(tree: Path, folder: Path, photograph: Path) -> str:
    (tree / "train" / "class_info.pickle").write_bytes(pickle.dumps([1]))
    return "train/class_info.pickle"


def cut_percentages(tree: Path, folder: Path, photograph: Path) -> str:
    path = folder / "attributes" / "class_attribute_labels_continuous.txt"
    path.write_text(path.read_text()[:-20])
    return path.name


FAULTS = [
    break_jpeg, empty_jpeg, lose_jpeg, move_box, blow_up_box, flatten_box, garble_row, repeat_id, climb_out,
    lose_table, empty_captions, latin_captions, share_class, call_from_pickle, call_from_class_info,
    cut_pickle, list_numbers, shorten_class_info, cut_percentages,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_faulty_file_of_cub_is_named_and_no_manifest_is_written(fault, tree, monkeypatch):
    monkeypatch.chdir(tree)
    photograph = tree / "CUB_200_2011" / "images" / f"{photograph_name(2, 2)}.jpg"
    file = fault(tree, tree / "CUB_200_2011", photograph)
    before = sorted(tree.rglob("*"))
    with pytest.raises(InputError, match=re.escape(file)) as caught:
        make(tree)
    assert "\n" not in str(caught.value)
    assert sorted(tree.rglob("*")) == before


def test_the_command_reports_a_fault_in_one_line(tree):
    empty_captions(tree, tree, tree)
    root = Path(cub.__file__).parents[1]
    command = [sys.executable, "-m", "data_prep.cub", "--root", str(tree), "--output", str(tree / "m.jsonl")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("s2i: error: expected a caption a line, found none in ")


@pytest.mark.parametrize(
    "options",
    [["--captions=people"], ["--captions=reed,reed"], ["--captions="], ["--val-classes=4"],
     ["--val-classes=-1"], ["--test-classes=6"]],
)  # fmt: skip
def test_bad_options_are_refused(options, tree):
    with pytest.raises(InputError, match="expected"):
        make(tree, *options)
    assert not (tree / "manifest.jsonl").exists()


@pytest.mark.parametrize(("mode", "word"), [("L", "greyscale"), ("CMYK", "CMYK")])
def test_a_greyscale_or_cmyk_photograph_gets_one_line_and_is_used(mode, word, tree, capsys):
    path = tree / "CUB_200_2011" / "images" / f"{photograph_name(2, 0)}.jpg"
    Image.new(mode, (60, 40)).save(path)
    assert len(make(tree)) == 18
    (line,) = (line for line in capsys.readouterr().err.splitlines() if path.name in line)
    assert word in line
    assert check_manifest(tree / "manifest.jsonl", tree) == []


def test_a_box_that_sticks_out_a_little_is_cut_with_a_note(tree, capsys):
    boxes = tree / "CUB_200_2011" / "bounding_boxes.txt"
    replace_in(boxes, "106 6.0 2.0 30.0 20.0", "106 -2.0 2.0 30.0 41.5")
    images = {image.id: image for image in make(tree)}
    name = Path(photograph_name(2, 2)).name
    assert images[name].box == (0, 2, 28, 38)
    assert len([line for line in capsys.readouterr().err.splitlines() if name in line]) == 1


def test_a_box_is_held_against_the_photograph_as_it_stands_upright(tree, capsys):
    path = tree / "CUB_200_2011" / "images" / f"{photograph_name(2, 2)}.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # 60 x 40 px in the file, shown as 40 x 60
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    replace_in(
        tree / "CUB_200_2011" / "bounding_boxes.txt", "106 6.0 2.0 30.0 20.0", "106 6.0 20.0 30.0 38.0"
    )
    images = {image.id: image for image in make(tree)}
    assert images[path.stem].box == (6, 20, 30, 38) and path.name not in capsys.readouterr().err


def test_a_byte_order_mark_is_no_part_of_a_table(tree):
    before = make(tree)
    for name in ("images.txt", "classes.txt", "bounding_boxes.txt"):
        table = tree / "CUB_200_2011" / name
        lines = table.read_text().splitlines()
        table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert make(tree) == before


def test_plain_containers_are_read_and_python_2_strings_too(tmp_path):
    plain = {"a": [1, 2.5, None, ("b", True)], "c": b"d"}
    path = tmp_path / "plain.pickle"
    for protocol in (2, 4):
        content = {key: value for key, value in plain.items() if protocol > 2 or key != "c"}
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        assert read_plain_pickle(path) == content
    path.write_bytes(b"(lp0\nS'001.Bird/caf\\xc3\\xa9'\np1\na.")
    assert read_plain_pickle(path) == ["001.Bird/caf\xe9"]


def test_the_folder_itself_as_root_is_explained(tree):
    with pytest.raises(InputError, match="folder around CUB_200_2011"):
        cub.main(["--root", str(tree / "CUB_200_2011"), "--output", str(tree / "m.jsonl")])
