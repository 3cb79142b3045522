"""Painted birds: legible parts, true captions, unseen species, the same bytes every time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep import painted_birds
from data_prep.bird_captions import LONGEST
from data_prep.bird_drawing import _PAINT, COLOURED_PARTS, COLOURS
from data_prep.painted_birds import ATTRIBUTES, Settings, describe, draw_bird, make_data_set, make_species
from s2i.data.manifest import check_manifest, read_attributes, read_manifest
from s2i.errors import InputError
from s2i.files.unfinished import PART

TINY = Settings(size=32, train_species=6, val_species=2, test_species=3, train_images=2, val_images=1,
                test_images=2, captions=3)  # fmt: skip
PLAIN_GREY = dict.fromkeys(COLOURED_PARTS, "grey") | {
    "bill_shape": "short",
    "size": "small",
    "pattern": "plain",
}
SIDE, CROP = 76, 64  # px of a stored image and of what training crops from it


def pixels(attributes: dict[str, str], seed: int, size: int) -> np.ndarray:
    return np.asarray(draw_bird(attributes, seed, size)).astype(float)


def random_attributes(rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(values) for name, values in ATTRIBUTES.items()}


def changed(first: dict[str, str], second: dict[str, str], seed: int, size: int = SIDE) -> np.ndarray:
    return np.abs(pixels(first, seed, size) - pixels(second, seed, size)).sum(-1) > 60


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("part", COLOURED_PARTS)
def test_every_coloured_part_is_large_at_64_px(part):
    least = 30 if part == "bill" else 100
    for size in ATTRIBUTES["size"]:
        for shape in ATTRIBUTES["bill_shape"]:
            grey = PLAIN_GREY | {"size": size, "bill_shape": shape}
            areas = [changed(grey, grey | {part: "red"}, seed).sum() for seed in range(4)]
            assert min(areas) >= least, (size, shape, areas)


def test_the_middle_holds_the_whole_bird_and_no_crop_loses_more_than_a_tip():
    edge, slack = (SIDE - CROP) // 2, SIDE - CROP
    for seed in range(12):
        grey = PLAIN_GREY | {"size": "large", "bill_shape": ATTRIBUTES["bill_shape"][seed % 3]}
        for part in COLOURED_PARTS:
            area = changed(grey, grey | {part: "red"}, seed)
            assert area[edge:-edge, edge:-edge].sum() == area.sum(), (seed, part)
            assert area[slack:-slack, slack:-slack].sum() >= 0.6 * area.sum(), (seed, part)


@pytest.mark.parametrize("part", COLOURED_PARTS)
def test_colours_stay_the_nearest_of_the_ten_in_any_light(part):
    paint = np.array([_PAINT[colour] for colour in COLOURS])
    for seed in range(5):
        for index, colour in enumerate(COLOURS):
            attributes = PLAIN_GREY | {"size": "medium", part: colour}
            other = attributes | {part: "grey" if colour != "grey" else "red"}
            first, second = pixels(attributes, seed, SIDE), pixels(other, seed, SIDE)
            change = np.abs(first - second).sum(-1)
            # An eye reads the middle of a part, not its edges, where neighbours mix in.
            seen = first[change > 0.6 * change.max()]
            distance = np.abs(np.median(seen, 0) - paint).sum(1)
            assert distance.argmin() == index, (seed, colour, COLOURS[distance.argmin()])


def test_one_description_gives_the_same_bird_at_every_size():
    rng = random.Random(1)
    for seed in range(6):
        attributes = random_attributes(rng)
        small, large = draw_bird(attributes, seed, 64), draw_bird(attributes, seed, 256)
        difference = np.abs(np.asarray(large.reduce(4)).astype(float) - np.asarray(small).astype(float))
        other = np.abs(pixels(attributes, seed + 100, 64) - np.asarray(small).astype(float))
        assert difference.mean() < 2.5 < 10 < other.mean()
    assert draw_bird(attributes, 0, 32).size == (32, 32) and draw_bird(attributes, 0, 512).size == (512, 512)


def test_every_shape_size_and_pattern_shows():
    for name in ("bill_shape", "size", "pattern"):
        for first in ATTRIBUTES[name]:
            for second in ATTRIBUTES[name]:
                if first < second:
                    area = changed(PLAIN_GREY | {name: first}, PLAIN_GREY | {name: second}, 5)
                    assert area.sum() >= 12, (first, second)


def test_what_captions_do_not_tell_varies_with_the_seed_alone():
    images = [pixels(PLAIN_GREY | {"bill": "red"}, seed, 32) for seed in range(16)]
    assert len({image.tobytes() for image in images}) == 16
    assert np.array_equal(images[3], pixels(PLAIN_GREY | {"bill": "red"}, 3, 32))
    sides = {np.nonzero(changed(PLAIN_GREY, PLAIN_GREY | {"bill": "red"}, seed))[1].mean() < SIDE / 2
             for seed in range(16)}  # fmt: skip
    assert sides == {True, False}


@pytest.mark.parametrize("wrong", [{"crown": "pink"}, {"beard": "red"}])
def test_an_unknown_attribute_or_value_is_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        draw_bird(PLAIN_GREY | wrong, 0, 64)
    with pytest.raises(InputError, match="expected"):
        describe(PLAIN_GREY | wrong, random.Random(0))


@pytest.mark.parametrize("size", [31, 513])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(InputError, match="32 to 512"):
        draw_bird(PLAIN_GREY, 0, size)


# What a listener takes each word for: written apart from the grammar, so that both must agree.
HEARD = {
    "crown": {"head", "headed", "crown", "crowned", "cap", "capped"},
    "wing": {"wing", "wings", "winged"},
    "belly": {"belly", "underside", "bellied"},
    "back": {"back", "backed"},
    "tail": {"tail", "tailed"},
    "bill": {"bill", "beak", "billed", "beaked"},
}
ADJECTIVES = {
    "short": ("bill_shape", "short"), "stubby": ("bill_shape", "short"), "long": ("bill_shape", "long"),
    "hooked": ("bill_shape", "hooked"), "curved": ("bill_shape", "hooked"),
    "small": ("size", "small"), "little": ("size", "small"), "tiny": ("size", "small"),
    "medium": ("size", "medium"), "mid": ("size", "medium"),
    "large": ("size", "large"), "big": ("size", "large"),
    "spotted": ("pattern", "spotted"), "speckled": ("pattern", "spotted"), "eye": ("pattern", "eye-striped"),
    "barred": ("pattern", "wing-barred"), "banded": ("pattern", "wing-barred"),
}  # fmt: skip


def test_captions_tell_the_truth_and_exactly_what_they_mention():
    rng = random.Random(2)
    for _ in range(3000):
        attributes = random_attributes(rng)
        text, mentions = describe(attributes, rng)
        words = text.removesuffix(".").replace("-", " ").replace(",", "").split()
        colours = {{"gray": "grey", "violet": "purple"}.get(word, word) for word in words} & set(COLOURS)
        mentioned = [name for name in mentions if name in COLOURED_PARTS]
        assert colours == {attributes[name] for name in mentioned}, text
        heard = {ADJECTIVES[word] for word in words if word in ADJECTIVES}
        assert heard == {(name, attributes[name]) for name in mentions if name not in COLOURED_PARTS}, text
        body_parts = {name for name, nouns in HEARD.items() if nouns & set(words)}
        implied = {"bill"} if "bill_shape" in mentions else set()
        if "pattern" in mentions:
            implied |= {"spotted": {"belly"}, "wing-barred": {"wing"}}.get(attributes["pattern"], set())
        assert body_parts == set(mentioned) | implied, text
        assert 4 <= len(mentions) <= 6 and len(words) <= LONGEST, text
        assert " a a" not in text and " a e" not in text and " a o" not in text, text


def test_captions_differ_and_leave_out_each_attribute_about_as_often():
    rng = random.Random(3)
    bird = random_attributes(rng) | {"pattern": "spotted"}
    said = [describe(bird, rng) for _ in range(4000)]
    assert len({text for text, _ in said}) > 3500
    for name in ATTRIBUTES:
        share = sum(name in mentions for _, mentions in said) / len(said)
        assert 0.4 < share < 0.65, (name, share)
    assert 9 < np.mean([len(text.replace("-", " ").split()) for text, _ in said]) < 12


def test_held_out_species_are_unseen_combinations():
    species = make_species(Settings())
    tuples = {split: np.array([list(kind.attributes.values()) for kind in species if kind.split == split])
              for split in ("train", "val", "test")}  # fmt: skip
    assert [len(tuples[split]) for split in tuples] == [480, 40, 50]
    held_out = np.concatenate([tuples["val"], tuples["test"]])

    def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (first[:, None] != second[None]).sum(-1)

    assert distances(held_out, tuples["train"]).min() >= 2
    assert distances(held_out, held_out)[~np.eye(len(held_out), dtype=bool)].min() >= 3
    among_train = distances(tuples["train"], tuples["train"]) + 9 * np.eye(480, dtype=int)
    assert among_train.min() >= 1
    # About half of the training species have a sister in one or two attributes.
    assert 0.35 < (among_train.min(1) <= 2).mean() < 0.65
    assert len({kind.name for kind in species}) == len(species)
    assert [kind.class_id for kind in species] == list(range(len(species)))


def test_held_out_species_do_not_depend_on_the_number_of_training_species():
    few = [kind.attributes for kind in make_species(Settings(train_species=10)) if kind.split != "train"]
    many = [kind.attributes for kind in make_species(Settings(train_species=50)) if kind.split != "train"]
    assert few == many != [kind.attributes for kind in make_species(Settings(train_species=0, seed=1))]


def test_further_species_leave_all_others_as_they_are(tmp_path):
    species, more = make_species(Settings()), make_species(Settings(further_species=30))
    assert more[: len(species)] == species and {kind.split for kind in more[len(species) :]} == {"train"}
    assert [kind.class_id for kind in more] == list(range(600))
    together = make_species(Settings(train_species=510))
    training = [[kind.attributes for kind in all_of if kind.split == "train"] for all_of in (more, together)]
    assert training[0] == training[1]

    make_data_set(tmp_path / "few", TINY)
    make_data_set(tmp_path / "more", replace(TINY, further_species=4))
    few, many = (read_manifest(tmp_path / name / "manifest.jsonl") for name in ("few", "more"))
    assert many[: len(few)] == few and len(many) == len(few) + 8
    images = {name: content for name, content in contents(tmp_path / "few").items() if name.endswith(".png")}
    assert images.items() <= contents(tmp_path / "more").items()


def test_more_species_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(painted_birds, "_ATTEMPTS", 20)
    monkeypatch.setattr(painted_birds, "HELD_OUT_DISTANCE", 10)
    with pytest.raises(InputError, match="ask for fewer species"):
        make_species(Settings())


def test_same_seed_same_bytes_however_many_processes(tmp_path):
    make_data_set(tmp_path / "one", TINY, processes=1)
    make_data_set(tmp_path / "two", TINY, processes=2)
    first = contents(tmp_path / "one")
    assert len(first) == 20 + 3 and first == contents(tmp_path / "two")
    make_data_set(tmp_path / "other", Settings(**{**TINY.__dict__, "seed": 1}))
    assert not set(first.values()) & {
        content for name, content in contents(tmp_path / "other").items() if name != "attributes.json"
    }


def test_the_manifest_is_sound_and_complete(tmp_path):
    make_data_set(tmp_path / "birds", TINY)
    manifest = tmp_path / "birds" / "manifest.jsonl"
    assert check_manifest(manifest, tmp_path / "birds") == []
    assert read_attributes(manifest) == {name: list(values) for name, values in ATTRIBUTES.items()}
    images = read_manifest(manifest)
    assert [sum(image.split == split for image in images) for split in ("train", "val", "test")] == [
        12,
        2,
        6,
    ]
    for image in images:
        assert len({caption.text for caption in image.captions}) == 3
        assert all(set(caption.mentions) <= set(image.attributes) for caption in image.captions)
        assert all(caption.audio is None and caption.language == "en" for caption in image.captions)
    classes = {split: {image.class_id for image in images if image.split == split}
               for split in ("train", "val", "test")}  # fmt: skip
    assert not (classes["train"] & classes["val"] or classes["train"] & classes["test"])
    card = json.loads((tmp_path / "birds" / "card.json").read_text())
    assert (
        card["finished"] and card["captions"] == 60 and card["classes"] == {"train": 6, "val": 2, "test": 3}
    )


def test_independent_images_have_no_species_and_no_captions(tmp_path):
    make_data_set(tmp_path / "classifier", Settings(size=32, independent=40))
    make_data_set(tmp_path / "birds", TINY)
    manifest = tmp_path / "classifier" / "manifest.jsonl"
    assert check_manifest(manifest, tmp_path / "classifier") == []
    images = read_manifest(manifest)
    assert [image.split for image in images].count("val") == 4 and len(images) == 40
    assert all(image.captions == () for image in images)
    assert len({image.class_id for image in images}) == 40
    assert len({tuple(image.attributes.values()) for image in images}) == 40
    classifier, birds = contents(tmp_path / "classifier"), contents(tmp_path / "birds")
    generated = [
        {content for name, content in files.items() if name.endswith("png")} for files in (classifier, birds)
    ]
    assert len(generated[0]) == 40 and not generated[0] & generated[1]


def test_an_interrupted_data_set_is_finished_to_the_same_bytes(tmp_path, monkeypatch):
    make_data_set(tmp_path / "whole", TINY)
    generated = []

    def generate_and_stop(*arguments):
        if len(generated) == 7:
            raise KeyboardInterrupt
        generated.append(arguments)
        return draw_bird(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(painted_birds, "draw_bird", generate_and_stop)
        with pytest.raises(KeyboardInterrupt):
            make_data_set(tmp_path / "cut", TINY)
    assert not (tmp_path / "cut" / "manifest.jsonl").exists()
    species = next((tmp_path / "cut" / "images").iterdir())
    (species / f".0000-001.png.abcdefgh{PART}").write_bytes(b"cut short")
    make_data_set(tmp_path / "cut", TINY)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_finished_data_set_is_left_alone(tmp_path, capsys):
    make_data_set(tmp_path / "birds", TINY)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "birds").rglob("*")}
    make_data_set(tmp_path / "birds", TINY)
    assert "finished already" in capsys.readouterr().err
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "birds").rglob("*")}


def test_a_data_set_from_before_there_were_further_species_is_known_again(tmp_path, capsys):
    make_data_set(tmp_path / "birds", TINY)
    card = json.loads((tmp_path / "birds" / "card.json").read_text())
    del card["settings"]["further_species"]
    (tmp_path / "birds" / "card.json").write_text(json.dumps(card))
    make_data_set(tmp_path / "birds", TINY)
    assert "finished already" in capsys.readouterr().err


def test_other_settings_and_strange_folders_are_refused(tmp_path):
    make_data_set(tmp_path / "birds", TINY)
    with pytest.raises(InputError, match="found seed 0 there and 4 now"):
        make_data_set(tmp_path / "birds", Settings(**{**TINY.__dict__, "seed": 4}))
    with pytest.raises(InputError, match="found further_species 0 there and 4 now"):
        make_data_set(tmp_path / "birds", replace(TINY, further_species=4))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear bird")
    with pytest.raises(InputError, match="new or empty folder"):
        make_data_set(tmp_path / "mine", TINY)
    assert contents(tmp_path / "mine") == {"letter.txt": b"dear bird"}
    theirs = {"data": "my birds", "settings": TINY.__dict__, "finished": False}
    for card in ("{", json.dumps(theirs)):
        (tmp_path / "mine" / "card.json").write_text(card)
        with pytest.raises(InputError, match="card of painted birds"):
            make_data_set(tmp_path / "mine", TINY)
        assert contents(tmp_path / "mine") == {"letter.txt": b"dear bird", "card.json": card.encode()}


@pytest.mark.parametrize("wrong", ["--size=16", "--train-species=-1", "--train-images=0", "--processes=0"])
def test_bad_options_are_refused_before_anything_is_written(wrong, tmp_path):
    with pytest.raises(InputError, match="expected"):
        painted_birds.main([f"--output={tmp_path / 'birds'}", wrong])
    assert not (tmp_path / "birds").exists()


def test_the_command_reports_bad_input_in_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    command = [sys.executable, "-m", "data_prep.painted_birds", "--output", str(tmp_path / "file")]
    root = Path(painted_birds.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("s2i: error: expected") and done.stderr.count("\n") == 1


def test_a_killed_command_leaves_no_process_behind(tmp_path):
    words = ["--output", tmp_path / "birds", "--size", "512", "--processes", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "data_prep.painted_birds", *map(str, words)],
        cwd=Path(painted_birds.__file__).parents[1],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=30)  # ends when the last that could write into the pipe has


def _die(*_: object) -> None:
    os._exit(9)


def test_a_generating_process_that_is_killed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(painted_birds, "_make_image", _die)
    with pytest.raises(InputError, match="expected 2 processes to draw, found that one was ended"):
        make_data_set(tmp_path / "birds", TINY, 2)
