"""Memorisation, diversity, word swaps and interpolation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s2i.analysis import diversity, interpolation, swaps
from s2i.analysis.diversity import mean_pair_distance, measure_diversity
from s2i.analysis.interpolation import generate_interpolation
from s2i.analysis.memorisation import measure_memorisation, nearest_two
from s2i.analysis.swaps import Swap
from s2i.analysis.word_swaps import find_swaps, measure_word_swaps
from s2i.data.crops import image_batches
from s2i.data.images import to_uint8
from s2i.data.pack import Pack
from s2i.evaluation.captions import caption_key
from s2i.evaluation.classifier import Predictions
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.generation import GeneratedBatch
from s2i.inference.interpolate import between
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from tests.fixtures.runs import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"), classifier_steps=5)


@pytest.fixture
def banks(world) -> dict[str, FeatureBank]:
    feature_banks = {}
    for side in ("speech", "text"):
        path = load(world[side], "cpu").path(side)
        feature_banks[side] = FeatureBank(path, replace(path.config.evaluation, captions=1))
    return feature_banks


# Memorisation


def test_the_second_nearest_is_another_image_and_no_mirror_image():
    known = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])  # two images, then mirrored
    first, second, row = nearest_two(torch.tensor([[0.0, 0.8], [9.0, 8.0]]), known, 2)
    assert row.tolist() == [2, 3]  # both are nearest to a mirrored image
    assert first * 2**0.5 == pytest.approx([0.2, 1.0])
    # The other image, as it is or mirrored; the nearest one as it is (.8 away) doesn't count.
    assert second * 2**0.5 == pytest.approx([np.hypot(3.0, 3.2), np.hypot(9.0, 7.0)])


def recite(bank: FeatureBank, mirrored: bool):
    """A generation that gives training images back."""
    pack = Pack(Path(bank.path.config.data.pack) / "train")
    known = torch.cat(list(image_batches(pack, bank.path.config.generated_size)))
    known = known.flip(3) if mirrored else known

    def generate(captions, indices, share_noise=False):
        places = np.arange(len(indices))[::-1].copy()
        nothing = torch.zeros(len(places), 0)
        encoding = CaptionEncoding(nothing, nothing[..., None], torch.ones(len(places), 1, dtype=torch.bool))
        output = GeneratorOutput([known[places % len(known)]], [], nothing, nothing)
        yield GeneratedBatch(places, encoding, output)

    return generate, known, pack


@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_of_training_images_are_counted_as_duplicates(world, tmp_path, monkeypatch, mirrored):
    path = load(world["text"], "cpu").path("text")
    bank = FeatureBank(path, replace(path.config.evaluation, captions=1, cache=str(tmp_path)))
    generate, known, pack = recite(bank, mirrored)
    monkeypatch.setattr("s2i.evaluation.feature_extraction.generate_captions", generate)
    examples = bank.captions.generated[[0, 5]]
    bank.keep(examples)
    measured = measure_memorisation(bank, examples)
    numbers = measured.numbers
    assert numbers["duplicate_rate"] == 1.0 and numbers["nearest_distance"] == pytest.approx(0, abs=1e-3)
    assert numbers["real"]["nearest_distance"] > 0.01 and numbers["real"]["duplicate_rate"] < 1
    assert numbers["counts"] == {"generated": 30, "training": 24, "real": 30}
    for neighbour, place in zip(measured.neighbours, (0, 5), strict=True):
        assert np.array_equal(neighbour.generated, to_uint8(known[place]))
        assert np.array_equal(neighbour.nearest, neighbour.generated)
        assert neighbour.class_name == pack.records[place].class_name


def test_images_unlike_any_training_image_are_no_duplicates(banks):
    examples = banks["text"].captions.generated[:3]
    measured = measure_memorisation(banks["text"], examples)
    assert measured.numbers["duplicate_rate"] == 0.0 and len(measured.neighbours) == 3
    assert measure_memorisation(banks["text"], examples).numbers == measured.numbers


# Diversity


def test_one_image_a_caption_has_no_diversity(banks, monkeypatch):
    bank = banks["text"]
    generated = measure_diversity(bank)
    assert 0 < generated.numbers["within"] and 0 < generated.numbers["between"]
    assert generated.numbers["ratio"] == pytest.approx(
        generated.numbers["within"] / generated.numbers["between"]
    )
    assert generated.numbers["counts"] == {"captions": 30, "images_per_caption": diversity.IMAGES_A_CAPTION}
    assert all(
        images.shape == (diversity.IMAGES_A_CAPTION, 32, 32, 3) for images in generated.images.values()
    )

    generate = GenerationPath.generate
    monkeypatch.setattr(
        GenerationPath,
        "generate",
        lambda self, encoding, keys, seed=0: generate(self, encoding, [k.split()[1] for k in keys], seed),
    )
    mute = measure_diversity(bank)
    assert mute.numbers["within"] == pytest.approx(0, abs=1e-6) and mute.numbers["ratio"] < 1e-4
    for index, images in mute.images.items():  # the image that the report shows of the caption
        expected = bank.path.generate(
            bank.path.encode_text([bank.pack.caption(index).text]),
            [f"0 {caption_key(bank.pack, index)}"],
        )
        assert abs(images[3].astype(int) - to_uint8(expected.images[-1])[0]).max() <= 1


def test_the_mean_distance_of_pairs_is_the_written_out_one():
    vectors = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]]])
    assert mean_pair_distance(vectors)[0] == pytest.approx((5 + 8 + 5) / 3 / 2**0.5)


# Word swaps


def test_a_swap_changes_one_word_that_tells_one_attribute(banks):
    bank = banks["speech"]
    swaps = find_swaps(bank)
    assert swaps == find_swaps(banks["text"]) and len(swaps) > 20
    for swap in swaps:
        caption = bank.pack.caption(swap.caption)
        image = bank.pack.records[bank.pack.caption_image[swap.caption]]
        assert swap.attribute in caption.mentions and image.attributes[swap.attribute] == swap.old
        before, after = swap.text.split(), swap.swapped.split()
        changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
        assert changed == [(swap.old, swap.new)] and swap.new in bank.pack.attributes[swap.attribute]
        assert swap.new not in before


def test_a_value_of_two_attributes_is_not_swapped(banks):
    bank = banks["speech"]
    swapped = {swap.caption for swap in find_swaps(bank)}
    for index in bank.captions.generated.tolist():
        words = (bank.pack.caption(index).text or "").split()
        if any(words.count(colour) == 2 for colour in ("red", "green", "blue")) and "size" not in words:
            assert index not in swapped


class Classifier:
    """Predicts the old values before the swap; after it the new one, where `follows` says so."""

    def __init__(self, bank: FeatureBank, swaps: list[Swap], follows, is_text: bool) -> None:
        self.bank, self.swaps, self.follows = bank, swaps, follows
        self.heads, self.is_after = bank.pack.attributes, is_text  # text: the bank has those from before

    def look(self, batches) -> Predictions:
        predictions = self.predict(len(next(iter(batches))), self.is_after)
        self.is_after = True
        return predictions

    def predict(self, count: int, is_after: bool) -> Predictions:
        scores = {name: np.zeros((count, len(values))) for name, values in self.heads.items()}
        for row, swap in enumerate(self.swaps[:count]):
            image = self.bank.pack.records[self.bank.pack.caption_image[swap.caption]]
            for name, values in self.heads.items():
                value = image.attributes[name]
                if is_after and name == swap.attribute and self.follows(row):
                    value = swap.new
                if is_after and name != swap.attribute and not self.follows(row):
                    value = values[values.index(value) - 1]
                scores[name][row, values.index(value)] = 1
        return Predictions(np.zeros((count, 1)), scores)


@pytest.mark.parametrize("side", ["speech", "text"])
def test_word_swaps_count_what_the_classifier_predicts(banks, side):
    bank = banks[side]
    swaps = find_swaps(bank)[:6]
    classifier = Classifier(bank, swaps, lambda place: place % 3 != 0, side == "text")
    bank.networks.classifier = classifier
    if side == "text":  # what it predicts for the captions' own images
        rows = np.searchsorted(bank.captions.generated, [swap.caption for swap in swaps])
        probabilities = {name: np.zeros((30, len(values))) for name, values in classifier.heads.items()}
        for name, scores in classifier.predict(6, False).probabilities.items():
            probabilities[name][rows] = scores
        bank.predictions_of_generated = Predictions(np.zeros((30, 1)), probabilities)
    measured = measure_word_swaps(bank, swaps, [1, 4])
    numbers = measured.numbers
    assert numbers["swap_accuracy"]["value"] == pytest.approx(4 / 6)
    assert numbers["swap_accuracy_before"]["value"] == 0
    # Where the classifier follows, every other attribute stays; elsewhere all of them change.
    others = [len(bank.pack.caption(swap.caption).mentions) - 1 for swap in swaps]
    kept = sum(count for place, count in enumerate(others) if place % 3)
    assert numbers["consistency"]["value"] == pytest.approx(kept / sum(others))
    unknown = {} if side == "speech" else {"unknown_words": 0}
    assert numbers["counts"] == {"swaps": 6, "other_attributes": sum(others)} | unknown
    assert sum(each["swaps"] for each in numbers["by_attribute"].values()) == 6
    assert set(measured.examples) == {1, 4}
    before, after = measured.examples[4]
    assert before.shape == after.shape == (32, 32, 3) and not np.array_equal(before, after)


def test_the_image_before_a_swap_of_text_is_the_captions_own(banks):
    bank = banks["text"]
    swaps = find_swaps(bank)[:3]
    measured = measure_word_swaps(bank, swaps, [0, 2])
    for place in (0, 2):
        key = caption_key(bank.pack, swaps[place].caption)
        expected = bank.path.generate(bank.path.encode_text([swaps[place].text]), [key], bank.settings.seed)
        assert abs(measured.examples[place][0].astype(int) - to_uint8(expected.images[-1])[0]).max() <= 1


def test_swaps_and_diversity_look_at_images_of_the_measured_size(banks, monkeypatch):
    bank = FeatureBank(banks["text"].path, replace(banks["text"].settings, image_size=16))
    sides = []
    look = bank.classifier.look
    monkeypatch.setattr(
        type(bank.classifier), "look", lambda _, images: sides.append(images[0].shape[-1]) or look(images)
    )
    measured = measure_word_swaps(bank, find_swaps(bank)[:3], [0])
    assert set(sides) == {16} and measured.examples[0][1].shape == (32, 32, 3)
    numbers = {
        size: measure_diversity(FeatureBank(bank.path, replace(bank.settings, image_size=size))).numbers
        for size in (0, 8)
    }
    assert numbers[8]["within"] < numbers[0]["within"]  # a little: images are averaged down to 16 px


def test_a_caption_without_words_or_a_classifier_is_not_swapped(banks):
    bank = banks["speech"]
    bank.networks.classifier = None
    assert find_swaps(bank) == []
    assert measure_word_swaps(bank, [], []).numbers == {}


def test_voices_of_the_synthesiser_are_kept_and_others_replaced():
    espeak = SimpleNamespace(accents={"en-gb": []}, variants=["f1"])
    assert swaps.voice_of(espeak, "espeak-ng/en-gb/f1") == "en-gb+f1"
    assert swaps.voice_of(espeak, "en-gb+f1") == "en-gb+f1"  # as manifests had it before families
    assert swaps.voice_of(espeak, "flite/slt") == swaps.VOICE
    assert swaps.voice_of(espeak, "en-gb+x9") == swaps.voice_of(espeak, None) == swaps.VOICE


# Interpolation


def encoding(length: int, seed: int) -> CaptionEncoding:
    random = torch.Generator().manual_seed(seed)
    sentence, sequence = torch.randn(1, 4, generator=random), torch.randn(1, 4, length, generator=random)
    return CaptionEncoding(sentence, sequence, torch.ones(1, length, dtype=torch.bool))


def test_a_mixture_ends_at_the_captions_and_moves_evenly():
    first, second = encoding(3, 0), encoding(7, 1)
    for part, end in ((0.0, first), (1.0, second)):
        mixture = between(first, second, part)
        assert torch.equal(mixture.sequence, end.sequence) and torch.equal(mixture.mask, end.mask)
        assert torch.allclose(mixture.sentence, end.sentence)
    half = between(first, second, 0.5)
    middle = first.sentence + second.sentence
    length = (first.sentence.norm() + second.sentence.norm()) / 2  # as `generate --interpolate` keeps it
    assert torch.allclose(half.sentence, middle / middle.norm() * length)
    assert half.sequence.shape == (1, 4, 5) and half.mask.all()
    # Ends stay ends: the first segment is the mean of both first ones.
    assert torch.allclose(half.sequence[..., 0], (first.sequence[..., 0] + second.sequence[..., 0]) / 2)


@pytest.mark.parametrize("side", ["speech", "text"])
def test_a_strip_begins_and_ends_with_the_captions_own_images(banks, side):
    bank = banks[side]
    first, second = bank.captions.generated[[3, 17]].tolist()
    strip = generate_interpolation(bank, first, second)
    assert strip.shape == (interpolation.STEPS, 32, 32, 3)
    key = caption_key(bank.pack, first)
    for image, caption in ((strip[0], first), (strip[-1], second)):
        for batch, _ in bank.captions.batches(np.array([caption]), "alone"):
            generated = bank.path.generate(bank.path.encode(batch), [key], bank.settings.seed)
        assert abs(image.astype(int) - to_uint8(generated.images[-1])[0]).max() <= 1
