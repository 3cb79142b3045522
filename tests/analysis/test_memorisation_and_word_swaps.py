"""What a reader asks: nearest training images, variety within a caption, words swapped, captions mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s2i.analysis import memorisation, word_swaps
from s2i.analysis.memorisation import measure_diversity, nearest_two, search_memory
from s2i.analysis.word_swaps import (
    Swap,
    find_swaps,
    generate_interpolation,
    measure_following,
)
from s2i.data.crops import image_batches
from s2i.data.images import to_uint8
from s2i.data.pack import Pack
from s2i.evaluation.classifier import Predictions
from s2i.evaluation.subject import Subject, caption_key
from s2i.inference.interpolate import between
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from tests.tiny_runs import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"), classifier_steps=5)


@pytest.fixture
def subjects(world) -> dict[str, Subject]:
    found = {}
    for side in ("speech", "text"):
        path = load(world[side], "cpu").path(side)
        found[side] = Subject(path, replace(path.config.evaluation, captions=1))
    return found


# Memory


def test_the_second_nearest_is_another_image_and_no_mirror_image():
    known = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])  # two images, then mirrored
    first, second, row = nearest_two(torch.tensor([[0.0, 0.8], [9.0, 8.0]]), known, 2)
    assert row.tolist() == [2, 3]  # both are nearest to a mirrored image
    assert first * 2**0.5 == pytest.approx([0.2, 1.0])
    # The other image, as it is or mirrored; the nearest one as it is (.8 away) doesn't count.
    assert second * 2**0.5 == pytest.approx([np.hypot(3.0, 3.2), np.hypot(9.0, 7.0)])


def recite(subject: Subject, mirrored: bool):
    """A draw that gives training images back."""
    pack = Pack(Path(subject.path.config.data.pack) / "train")
    known = torch.cat(list(image_batches(pack, subject.path.config.generated_size)))
    known = known.flip(3) if mirrored else known

    def generate(captions):
        places = np.arange(len(captions))
        nothing = torch.zeros(0)
        yield (
            places[::-1].copy(),
            None,
            GeneratorOutput([known[places[::-1] % len(known)]], [], nothing, nothing),
        )

    return generate, known, pack


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_generator_that_recites_is_found_out(subjects, monkeypatch, mirrored):
    subject = subjects["text"]
    generate, known, pack = recite(subject, mirrored)
    monkeypatch.setattr(subject, "generate", generate)
    shown = subject.generated_captions[[0, 5]]
    found = search_memory(subject, shown)
    assert found.numbers["duplicate_rate"] == 1.0 and found.numbers["nearest"] == pytest.approx(0, abs=1e-3)
    assert found.numbers["real"]["nearest"] > 0.01 and found.numbers["real"]["duplicate_rate"] < 1
    assert found.numbers["counts"] == {"generated": 30, "training": 24, "real": 30}
    for neighbour, place in zip(found.neighbours, (0, 5), strict=True):
        assert np.array_equal(neighbour.generated, to_uint8(known[place]))
        assert np.array_equal(neighbour.nearest, neighbour.generated)
        assert neighbour.name == pack.records[place].class_name


def test_a_generator_that_makes_images_up_is_not(subjects):
    found = search_memory(subjects["text"], subjects["text"].generated_captions[:3])
    assert found.numbers["duplicate_rate"] == 0.0 and len(found.neighbours) == 3
    again = search_memory(subjects["text"], subjects["text"].generated_captions[:3])
    assert again.numbers == found.numbers


# Variety


def test_one_image_a_caption_has_no_variety(subjects, monkeypatch):
    subject = subjects["text"]
    generated = measure_diversity(subject)
    assert 0 < generated.numbers["within"] and 0 < generated.numbers["between"]
    assert generated.numbers["ratio"] == pytest.approx(
        generated.numbers["within"] / generated.numbers["between"]
    )
    assert generated.numbers["counts"] == {"captions": 30, "generated images": memorisation.OUTPUTS}
    assert all(images.shape == (memorisation.OUTPUTS, 32, 32, 3) for images in generated.rows.values())

    generate = GenerationPath.generate
    monkeypatch.setattr(
        GenerationPath,
        "generate",
        lambda self, encoding, keys, seed=0: generate(self, encoding, [k.split()[1] for k in keys], seed),
    )
    mute = measure_diversity(subject)
    assert mute.numbers["within"] == pytest.approx(0, abs=1e-6) and mute.numbers["ratio"] < 1e-4
    for index, images in mute.rows.items():  # the image that the report shows of the caption
        own = subject.path.generate(
            subject.path.encode_text([subject.pack.caption(index).text]),
            [f"0 {caption_key(subject.pack, index)}"],
        )
        assert abs(images[3].astype(int) - to_uint8(own.images[-1])[0]).max() <= 1


def test_the_mean_distance_of_pairs_is_the_written_out_one():
    vectors = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]]])
    assert memorisation._pairs(vectors)[0] == pytest.approx((5 + 8 + 5) / 3 / 2**0.5)


# Words swapped


def test_a_swap_changes_one_word_that_tells_one_attribute(subjects):
    subject = subjects["speech"]
    swaps = find_swaps(subject)
    assert swaps == find_swaps(subjects["text"]) and len(swaps) > 20
    for swap in swaps:
        caption = subject.pack.caption(swap.caption)
        image = subject.pack.records[subject.pack.caption_image[swap.caption]]
        assert swap.attribute in caption.mentions and image.attributes[swap.attribute] == swap.old
        before, after = swap.text.split(), swap.swapped.split()
        changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
        assert changed == [(swap.old, swap.new)] and swap.new in subject.pack.attributes[swap.attribute]
        assert swap.new not in before


def test_a_value_of_two_attributes_is_not_swapped(subjects):
    subject = subjects["speech"]
    swapped = {swap.caption for swap in find_swaps(subject)}
    for index in subject.generated_captions.tolist():
        words = (subject.pack.caption(index).text or "").split()
        if any(words.count(colour) == 2 for colour in ("red", "green", "blue")) and "size" not in words:
            assert index not in swapped


class Classifier:
    """Answers by script: the old values before the swap; after it the new one, where `follows` says so."""

    def __init__(self, subject: Subject, swaps: list[Swap], follows) -> None:
        self.subject, self.swaps, self.follows = subject, swaps, follows
        self.heads = subject.pack.attributes
        self.calls = 0

    def look(self, batches) -> Predictions:
        start = self.calls // 2 * word_swaps.BATCH
        is_after = self.calls % 2
        self.calls += 1
        part = self.swaps[start : start + len(next(iter(batches)))]
        told = {name: np.zeros((len(part), len(values))) for name, values in self.heads.items()}
        for row, swap in enumerate(part):
            image = self.subject.pack.records[self.subject.pack.caption_image[swap.caption]]
            for name, values in self.heads.items():
                value = image.attributes[name]
                if is_after and name == swap.attribute and self.follows(start + row):
                    value = swap.new
                if is_after and name != swap.attribute and not self.follows(start + row):
                    value = values[values.index(value) - 1]
                told[name][row, values.index(value)] = 1
        return Predictions(np.zeros((len(part), 1)), told)


@pytest.mark.parametrize("side", ["speech", "text"])
def test_following_counts_what_the_classifier_says(subjects, side):
    subject = subjects[side]
    swaps = find_swaps(subject)[:6]
    subject.classifier = Classifier(subject, swaps, lambda place: place % 3 != 0)
    found = measure_following(subject, swaps, [1, 4])
    assert found.numbers["followed"]["value"] == pytest.approx(4 / 6)
    assert found.numbers["before"]["value"] == 0
    # What a follower generates keeps every other attribute; the others change all of them.
    others = [len(subject.pack.caption(swap.caption).mentions) - 1 for swap in swaps]
    kept = sum(count for place, count in enumerate(others) if place % 3)
    assert found.numbers["stayed"]["value"] == pytest.approx(kept / sum(others))
    unknown = {} if side == "speech" else {"unknown": 0}
    assert found.numbers["counts"] == {"swaps": 6, "others": sum(others)} | unknown
    assert sum(each["swaps"] for each in found.numbers["by_attribute"].values()) == 6
    assert set(found.examples) == {1, 4}
    before, after = found.examples[4]
    assert before.shape == after.shape == (32, 32, 3) and not np.array_equal(before, after)


def test_a_caption_without_words_or_a_classifier_is_not_swapped(subjects):
    subject = subjects["speech"]
    subject.classifier = None
    assert find_swaps(subject) == []
    assert measure_following(subject, [], []).numbers == {}


def test_voices_of_the_synthesiser_are_kept_and_others_replaced():
    espeak = SimpleNamespace(accents={"en-gb": []}, variants=["f1"])
    assert word_swaps.voice_of(espeak, "en-gb+f1") == "en-gb+f1"
    assert word_swaps.voice_of(espeak, "en-gb+x9") == word_swaps.voice_of(espeak, None) == word_swaps.VOICE


# Captions mixed


def encoding(length: int, seed: int) -> CaptionEncoding:
    random = torch.Generator().manual_seed(seed)
    sentence, sequence = torch.randn(1, 4, generator=random), torch.randn(1, 4, length, generator=random)
    return CaptionEncoding(sentence, sequence, torch.ones(1, length, dtype=torch.bool))


def test_a_mixture_ends_at_the_captions_and_moves_evenly():
    first, second = encoding(3, 0), encoding(7, 1)
    for part, end in ((0.0, first), (1.0, second)):
        found = between(first, second, part)
        assert torch.equal(found.sequence, end.sequence) and torch.equal(found.mask, end.mask)
        assert torch.allclose(found.sentence, end.sentence)
    half = between(first, second, 0.5)
    middle = first.sentence + second.sentence
    length = (first.sentence.norm() + second.sentence.norm()) / 2  # as `generate --interpolate` keeps it
    assert torch.allclose(half.sentence, middle / middle.norm() * length)
    assert half.sequence.shape == (1, 4, 5) and half.mask.all()
    # Ends stay ends: the first segment is the mean of both first ones.
    assert torch.allclose(half.sequence[..., 0], (first.sequence[..., 0] + second.sequence[..., 0]) / 2)


@pytest.mark.parametrize("side", ["speech", "text"])
def test_a_strip_begins_and_ends_with_the_captions_own_images(subjects, side):
    subject = subjects[side]
    first, second = subject.generated_captions[[3, 17]].tolist()
    strip = generate_interpolation(subject, first, second)
    assert strip.shape == (word_swaps.STEPS, 32, 32, 3)
    key = caption_key(subject.pack, first)
    for image, caption in ((strip[0], first), (strip[-1], second)):
        for batch, _ in subject.batches(np.array([caption]), "alone"):
            generated = subject.path.generate(subject.path.encode(batch), [key], subject.evaluation.seed)
        assert abs(image.astype(int) - to_uint8(generated.images[-1])[0]).max() <= 1
