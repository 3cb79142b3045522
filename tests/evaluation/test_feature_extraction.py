"""Images are generated once for all who look, not again for what was looked at, alike whoever generates
them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2i.config import EvaluationConfig
from s2i.data.images import resize
from s2i.errors import InputError
from s2i.evaluation.captions import sampling_facts, sampling_note
from s2i.evaluation.extractors import FEATURES, Extractor
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.generation import generate_captions
from s2i.evaluation.metric_networks import MetricNetworks
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import measure, record
from s2i.evaluation.score import Score
from s2i.inference.model import load
from tests.fixtures.runs import write_gan_run, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("looked"), classifier_steps=20)


def bank_of(world: dict[str, Path], cache: Path | str, modality: str = "text", **changes) -> FeatureBank:
    path = load(world[modality], "cpu").path(modality)
    return FeatureBank(path, replace(path.config.evaluation, cache=str(cache), **changes))


def test_truncation_is_noted_beside_a_number_and_scales_the_noise_of_all_who_generate(world, tmp_path):
    banks = {"plain": bank_of(world, tmp_path), "truncated": bank_of(world, tmp_path, truncation=0.0)}
    score = Score("x", 1.0, {})
    for name, noted in (("plain", None), ("truncated", 0.0)):
        assert record(banks[name], "attribute_accuracy", score).get("truncation") == noted
        assert banks[name].identity().get("truncation") == noted
    assert sampling_facts(EvaluationConfig(guidance=2.0, truncation=0.5)) == {
        "truncation": 0.5,
        "guidance": 2.0,
    }
    path = banks["truncated"].path
    assert path is banks["truncated"].captions.path
    assert not any(values.any() for values in path.sample_noise(["a"], 0))


def test_numbers_belong_to_the_guidance_and_truncation_of_a_learnt_prior(world, tmp_path):
    path = load(world["text"], "cpu").path("text")
    identities = []
    for truncation in (1.0, 0.9):
        generator = replace(path.config.generator, prior="flow", truncation=truncation)
        other = replace(path, config=replace(path.config, generator=generator))
        identities.append(FeatureBank(other, replace(path.config.evaluation, cache=str(tmp_path))).identity())
    assert identities[0] != identities[1]
    assert "prior" not in bank_of(world, tmp_path).identity()


class Counter:
    """Counts the images that a path's generator generates."""

    def __init__(self, bank: FeatureBank, limit: int = 10**9) -> None:
        self.images, self.limit = 0, limit
        bank.path.generator.register_forward_hook(self)

    def __call__(self, network, inputs, output) -> None:
        self.images += len(output.images[-1])
        if self.images > self.limit:
            raise KeyboardInterrupt


def all_predictions(bank: FeatureBank) -> np.ndarray:
    return np.asarray(bank.predictions_of_generated.features)


def test_measuring_again_reads_the_stored_features(world, tmp_path):
    first, again = bank_of(world, tmp_path), bank_of(world, tmp_path)
    generated, generated_again = Counter(first), Counter(again)
    assert np.array_equal(all_predictions(first), all_predictions(again))
    assert (generated.images, generated_again.images) == (60, 0)
    assert np.array_equal(first.predictions_of_real.features, again.predictions_of_real.features)


def test_whatever_changes_a_image_generates_it_anew(world, tmp_path):
    all_predictions(bank_of(world, tmp_path))
    other_weights = bank_of(world, tmp_path)
    with torch.no_grad():
        next(other_weights.path.generator.parameters()).add_(0.5)
    other_classifier = bank_of(world, tmp_path)
    other_classifier.classifier.identity = "another"
    fewer = bank_of(world, tmp_path)
    fewer.captions.restrict(fewer.captions.readable[:20])
    truncated = bank_of(world, tmp_path, truncation=0.5)
    for bank in (bank_of(world, tmp_path, seed=1), other_weights, other_classifier, fewer, truncated):
        generated = Counter(bank)
        all_predictions(bank)
        assert generated.images == len(bank.captions.generated)


def test_a_killed_pass_goes_on_where_it_stopped_and_ends_in_the_same_bits(world, tmp_path, monkeypatch):
    monkeypatch.setattr("s2i.evaluation.feature_store.ROWS_A_FLUSH", 16)
    whole = all_predictions(bank_of(world, tmp_path / "whole"))
    killed = bank_of(world, tmp_path / "killed")
    Counter(killed, limit=40)
    with pytest.raises(KeyboardInterrupt):
        all_predictions(killed)
    rest = bank_of(world, tmp_path / "killed")
    generated = Counter(rest)
    assert np.array_equal(all_predictions(rest), whole)
    assert generated.images == 60 - 32  # two flushes of two batches each


def test_captions_are_encoded_once(world, tmp_path):
    first, again, other = (bank_of(world, tmp_path, "speech") for _ in range(3))
    with torch.no_grad():
        next(other.path.encoder.parameters()).add_(0.5)
    encoded = []
    for bank in (first, again, other):
        calls: list[int] = []
        bank.path.encoder.register_forward_hook(lambda network, given, _, kept=calls: kept.append(1))
        encoded.append(bank.caption_embeddings)
        assert bool(calls) == (bank is not again)
    assert torch.equal(encoded[0], encoded[1]) and not torch.equal(encoded[0], encoded[2])
    vector = first.path.encode(next(first.captions.batches(first.captions.readable[:1], ""))[0]).sentence[0]
    assert torch.allclose(vector, encoded[0][0], atol=1e-5)


def test_all_extractors_look_in_one_pass(world, tmp_path):
    bank = bank_of(world, tmp_path)
    bank.request("classifier")
    bank.request("encoders")
    bank.request("r_precision_encoder", "s2igan")
    generated = Counter(bank)
    classified, encoded = bank.generated("classifier")[FEATURES], bank.generated("encoders")[FEATURES]
    assert generated.images == 60 and len(classified) == len(encoded) == 60


def test_measuring_asks_all_protocols_for_one_generating(world, tmp_path):
    bank = bank_of(world, tmp_path)
    generated = Counter(bank)
    measure(bank, ["attribute_accuracy", "class_retrieval_by_generated", "classifier_distances"])
    assert generated.images == 60


def test_who_asks_for_some_images_looks_at_no_others(world, tmp_path):
    """S2IGAN's mAP is of two images a class and their captions; other networks look at every generated
    one."""
    bank, seen = bank_of(world, tmp_path), []

    def extract(images: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(len(images))
        return {FEATURES: images.mean((2, 3))}

    fake = Extractor("imagenet", "fake", "cafe", "none", {FEATURES: 3}, extract)
    bank.networks.extractors["imagenet"] = fake
    scores = measure(bank, ["attribute_accuracy", "s2igan_mean_average_precision"])
    assert len(bank.generated("classifier")[FEATURES]) == 60
    score = scores["s2igan_mean_average_precision"][0]
    assert score.counts == {"queries": 10, "gallery": 30, "classes": 5}
    assert sum(seen) == 40  # 30 generated and 10 real ones
    real_features = bank.real("imagenet")[FEATURES]  # those of all images are others
    asking = np.unique(bank.pack.caption_image[bank.captions.s2igan])
    assert len(real_features) == 30 and sum(seen) == 70
    assert np.array_equal(bank.real("imagenet", images=asking)[FEATURES], real_features[asking])


def test_images_are_reduced_to_be_measured_and_that_is_noted(world, tmp_path):
    def seen_by(bank):
        seen = []

        def extract(images: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(images)
            return {FEATURES: images.mean((2, 3))}

        bank.networks.extractors["imagenet"] = Extractor(
            "imagenet", "fake", "f00d", "none", {FEATURES: 3}, extract
        )
        bank.generated("imagenet"), bank.real("imagenet")
        return torch.cat(seen)

    whole = bank_of(world, tmp_path)
    size = whole.path.config.generated_size // 2
    half = bank_of(world, tmp_path, image_size=size)
    full, small = seen_by(whole), seen_by(half)  # generated again: what is on disk is of another size
    assert small.shape == (len(full), 3, size, size) and full.shape[-1] == 2 * size
    pixels = ((full + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    reduced = [np.asarray(resize(Image.fromarray(image.numpy()), size)) for image in pixels]
    generated = len(whole.captions.generated)
    measured = ((small[:generated].movedim(1, -1) + 1) * 127.5).numpy()
    assert np.abs(measured - np.stack(reduced[:generated])).max() < 1.01  # PIL's filter rounds otherwise
    assert (small[generated:] - small[generated:].mean()).std() > 0.05
    score = Score("x", 1.0, {})
    assert record(half, "attribute_accuracy", score)["image_size"] == half.identity()["image_size"] == size
    assert "image_size" not in record(whole, "attribute_accuracy", score)
    assert f"measured at {size} px" in sampling_note(half.facts()) and not sampling_note(whole.facts())
    with pytest.raises(InputError, match=f"evaluation.image_size of at most {2 * size}"):
        bank_of(world, tmp_path, image_size=2 * size + 1)
    retrieval = record(half, "retrieval_by_caption", score)  # the model's own encoders see their own size
    assert "image_size" not in retrieval


def test_real_images_are_brought_to_the_generated_ones_size(world, tmp_path):
    bank = bank_of(world, tmp_path)
    config = bank.path.config
    config = replace(
        config,
        generator=replace(config.generator, base_size=config.generator.base_size // 2),
        data=replace(config.data, packed_size=bank.pack.packed_size),
    )
    small = FeatureBank(replace(bank.path, config=config), bank.settings)
    sides = []

    def extract(images: torch.Tensor) -> dict[str, torch.Tensor]:
        sides.append(images.shape[-1])
        return {FEATURES: images.mean((2, 3))}

    fake = Extractor("imagenet", "fake", "f00d", "none", {FEATURES: 3}, extract)
    small.networks.extractors["imagenet"] = fake
    small.real("imagenet")
    assert set(sides) == {config.generated_size} and config.generated_size < small.pack.packed_size
    for name, function in PROTOCOLS.items():  # and each that looks at generated ones says so
        said = PROTOCOLS[name].procedure.replace(
            "s2igan_mean", PROTOCOLS["s2igan_mean_average_precision"].procedure
        )
        assert "generated ones' size" in said or not function.generates or name.endswith("unseen_speakers"), (
            name
        )


@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_size_of_a_batch_changes_no_image(world, tmp_path, size):
    expected = all_predictions(bank_of(world, tmp_path / "8"))
    assert np.allclose(all_predictions(bank_of(world, tmp_path, batch_size=size)), expected, atol=0.02)


def test_processes_share_the_generating_and_change_no_number(world, tmp_path):
    alone = bank_of(world, tmp_path / "alone")
    shared = bank_of(world, tmp_path / "shared", processes=2)
    generated = Counter(shared)
    assert np.allclose(all_predictions(shared), all_predictions(alone), atol=0.02)
    assert generated.images == 0  # others did
    for name in ("attribute_accuracy", "class_retrieval_by_generated", "classifier_distances"):
        scores = zip(PROTOCOLS[name](alone), PROTOCOLS[name](shared), strict=True)
        for one, other in scores:
            assert other.value == pytest.approx(one.value, rel=0.02, abs=0.02), (name, one.metric)


def test_runs_share_the_features_of_real_images(world, tmp_path):
    speech, text = (bank_of(world, tmp_path, modality) for modality in ("speech", "text"))
    seen = []
    text.classifier.look = lambda images: seen.append(1)
    assert np.array_equal(speech.predictions_of_real.features, text.predictions_of_real.features) and not seen


def test_features_lie_with_the_run_and_beside_the_pack(world):
    bank = bank_of(world, "")
    all_predictions(bank)
    bank.real("classifier")
    beside = Path(bank.path.config.data.pack) / "features"
    assert len(list((world["text"] / "features").glob("generated-test-text-classifier-*"))) == 1
    assert len(list(beside.glob("real-test-classifier-*"))) == 1
    write_gan_run(world["text"], bank.path.config, seed=5)
    all_predictions(bank_of(world, ""))
    assert (
        len(list((world["text"] / "features").glob("generated-test-text-classifier-*"))) == 1
    )  # the old ones went
    write_gan_run(world["text"], bank.path.config)


def test_other_splits_can_be_looked_at(world, tmp_path):
    bank = bank_of(world, tmp_path)
    assert len(bank.real("classifier", "train")[FEATURES]) == 24
    assert bank.real("classifier", "test")[FEATURES].shape == bank.real("classifier")[FEATURES].shape


def test_captions_of_a_image_share_its_noise_in_s2igans_way_alone(world, tmp_path):
    """The same words on the same noise generate the same image, but for conditioning augmentation."""
    bank = bank_of(world, tmp_path)
    assert bank.captions.s2igan.tolist() == [
        index for species in range(5) for index in range(18 * species, 18 * species + 6)
    ]
    seen: dict[bool, list[torch.Tensor]] = {}
    for share in (False, True):
        inputs = []
        handle = bank.path.generator.register_forward_pre_hook(
            lambda network, given, kept=inputs: kept.append(given[1:3])
        )
        batches = generate_captions(bank.captions, bank.captions.s2igan, share)
        places = np.concatenate([batch.places for batch in batches])
        order = np.argsort(places)
        seen[share] = [torch.cat(noise)[order] for noise in zip(*inputs, strict=True)]
        handle.remove()
    assert torch.equal(seen[True][0][0], seen[True][0][2])  # of one image
    assert not torch.equal(seen[True][0][0], seen[True][0][3])
    assert not torch.equal(seen[False][0][0], seen[False][0][2])
    assert torch.equal(seen[True][1], seen[False][1])  # conditioning augmentation's


def mean_colour(networks: MetricNetworks) -> Extractor:
    """An extractor of another package."""
    return Extractor(f"{__name__}:mean_colour", "colour", "1", "none", {FEATURES: 3}, _mean_colour)


def _mean_colour(images: torch.Tensor) -> dict[str, torch.Tensor]:
    return {FEATURES: images.mean((2, 3))}


def test_an_extractor_is_added_from_outside_by_module_and_name(world, tmp_path):
    bank = bank_of(world, tmp_path)
    name = f"{__name__}:mean_colour"
    assert bank.generated(name)[FEATURES].shape == (60, 3) and bank.real(name)[FEATURES].shape == (30, 3)
    with pytest.raises(InputError, match="expected an extractor out of classifier, .* found 'colours'"):
        bank.extractor("colours")
    with pytest.raises(InputError, match="expected .*:no_such for a protocol's extractor"):
        bank.extractor(f"{__name__}:no_such")
