"""Colour swaps: which word is exchanged, and what is counted of the images of both sentences."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s2i.analysis import colour_swaps, swaps
from s2i.analysis.colour_swaps import colours_of, find_colour_swaps, measure_colour_swaps
from s2i.analysis.swaps import Swap
from s2i.evaluation.feature_bank import FeatureBank
from s2i.inference.model import load
from s2i.metrics.colours import COLOURS
from s2i.reports.compare import compare
from tests.fixtures.runs import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"), classifier_steps=5)


@pytest.fixture
def banks(world) -> dict[str, FeatureBank]:
    banks = {}
    for side in ("speech", "text"):
        path = load(world[side], "cpu").path(side)
        banks[side] = FeatureBank(path, replace(path.config.evaluation, captions=1))
    return banks


def test_colours_are_read_in_any_spelling_and_within_a_compound():
    assert colours_of("A Gray bird, blue-grey wings and a reddish, RED tail") == [
        "grey",
        "blue",
        "grey",
        "red",
    ]


def test_a_colour_that_is_written_once_gets_one_that_the_caption_lacks(banks):
    swapped = find_colour_swaps(banks["speech"])
    assert swapped and swapped == find_colour_swaps(banks["text"])
    for swap in swapped:
        assert colours_of(swap.text).count(swap.old) == 1
        assert swap.new in COLOURS and swap.new not in colours_of(swap.text)
        before, after = (re.findall(r"[a-z]+", text) for text in (swap.text, swap.swapped))
        assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [
            (swap.old, swap.new)
        ]
    assert len({swap.new for swap in swapped}) > 3  # not always the same


def with_texts(bank: FeatureBank, monkeypatch, texts: list[str | None]) -> list[int]:
    """Give the first captions that are generated from other sentences, and the others none."""
    captions = bank.captions.generated.tolist()
    given = dict(zip(captions, texts, strict=False))
    original = bank.pack.caption
    monkeypatch.setattr(bank.pack, "caption", lambda index: replace(original(index), text=given.get(index)))
    return captions


def test_another_spelling_is_replaced_and_captions_without_a_single_colour_are_left(banks, monkeypatch):
    bank = banks["speech"]
    texts = ["a gray_1 bird", "red bill and red feet", None, "a large bird", " ".join(COLOURS)]
    captions = with_texts(bank, monkeypatch, texts)
    (swap,) = find_colour_swaps(bank)
    assert swap.caption == captions[0] and swap.old == "grey"
    assert swap.swapped == f"a {swap.new}_1 bird"


def test_swaps_are_thinned_evenly(banks, monkeypatch):
    every = find_colour_swaps(banks["speech"])
    monkeypatch.setattr(swaps, "MOST_SWAPS", 4)
    assert find_colour_swaps(banks["speech"]) == every[:: -(-len(every) // 4)]


class Painter:
    """In place of the generator: each sentence's image is painted in the colours that it names, in bands."""

    def __init__(self, deaf: bool = False) -> None:
        self.deaf = deaf

    def __call__(self, bank, chosen, texts, encode, kind):
        for place, text in enumerate(texts):
            names = ["white"] if self.deaf else colours_of(text)
            bands = np.array([COLOURS[name] for name in names], np.uint8)
            yield range(place, place + 1), np.repeat(bands[None, :, None], 4, 2)


SWAPS = [
    ("a red bird, green tail", "red", "blue"),
    ("a black bird", "black", "red"),
    ("white", "white", "blue"),
]


@pytest.fixture
def chosen(banks) -> list[Swap]:
    captions = banks["text"].captions.generated.tolist()
    return [
        Swap(caption, "colour", old, new, text, text.replace(old, new))
        for caption, (text, old, new) in zip(captions, SWAPS, strict=False)
    ]


def test_an_image_that_follows_the_word_gains_the_new_colour_and_loses_the_old(banks, chosen, monkeypatch):
    monkeypatch.setattr(colour_swaps, "generate_sentences", Painter())
    measured = measure_colour_swaps(banks["text"], chosen, [1])
    numbers = measured.numbers
    assert numbers["new_colour_gains"]["value"] == numbers["old_colour_loses"]["value"] == 1
    assert numbers["other_colours_gain"]["value"] == 0.5  # none of them changes
    assert numbers["by_colour"] == {
        "red": {"new_colour_gains": 1.0, "swaps": 1},
        "blue": {"new_colour_gains": 1.0, "swaps": 2},
    }
    assert numbers["counts"]["swaps"] == 3 and "unknown_words" in numbers["counts"]
    before, after = measured.examples[1]
    assert before[0, 0].tolist() == list(COLOURS["black"]) and after[0, 0].tolist() == list(COLOURS["red"])


def test_an_image_that_does_not_hear_the_word_counts_half(banks, chosen, monkeypatch):
    monkeypatch.setattr(colour_swaps, "generate_sentences", Painter(deaf=True))
    numbers = measure_colour_swaps(banks["text"], chosen, []).numbers
    for metric in ("new_colour_gains", "old_colour_loses", "other_colours_gain"):
        assert numbers[metric]["value"] == 0.5


def test_a_colour_of_neither_sentence_that_appears_is_counted(banks, chosen, monkeypatch):
    painter = Painter()

    def also_yellow(bank, swapped, texts, encode, kind):
        is_after = texts[0] == swapped[0].swapped
        said = [f"{text} yellow" if is_after else text for text in texts]
        yield from painter(bank, swapped, said, encode, kind)

    monkeypatch.setattr(colour_swaps, "generate_sentences", also_yellow)
    numbers = measure_colour_swaps(banks["text"], chosen, []).numbers
    # Of 6, 7 and 7 unnamed colours one is gained and the others stay.
    assert numbers["other_colours_gain"]["value"] == pytest.approx((6 * 0.5 + 7 * 0.5 + 7 * 0.5 + 1.5) / 20)


def test_both_sides_are_measured_and_shown_where_images_have_no_attributes(tmp_path, monkeypatch):
    monkeypatch.setattr(swaps, "MOST_SWAPS", 6)
    runs = write_world(tmp_path, classifier_steps=5, attributes=False)
    compare(runs["speech"], runs["text"], tmp_path / "report", overrides=["evaluation.captions=1"])
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert "word_swap" not in results["analyses"] and "colour_swap" in results["protocols"]
    for side in ("speech", "text"):
        assert 0 <= results["analyses"]["colour_swap"][side]["new_colour_gains"]["value"] <= 1
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>Colour swaps</h2>" in page and "<h2>Word swaps</h2>" not in page
    files = re.findall(r'src="(images/swap-[^"]+)"', page)
    assert len(files) == 12 and all((tmp_path / "report" / file).is_file() for file in files)


def test_captions_without_colours_have_no_swaps(banks, monkeypatch):
    bank = banks["text"]
    with_texts(bank, monkeypatch, [])
    assert find_colour_swaps(bank) == [] and measure_colour_swaps(bank, [], []).numbers == {}
