"""Protocols: each number against what it says it is, counted again by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2i.config_files import load_config
from s2i.data.crops import image_batches
from s2i.data.images import to_tensor, to_uint8
from s2i.errors import InputError
from s2i.evaluation.captions import caption_key
from s2i.evaluation.classifier import Predictions
from s2i.evaluation.extractors import FEATURES
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import evaluate, measure
from s2i.evaluation.records import record as as_record
from s2i.inference.model import load
from s2i.training.classifier import labels, train_classifier
from tests.fixtures.runs import SCHEMA, write_gan_run, write_world

# Without an R-precision encoder and Inception's weights.
MEASURABLE = {name for name in PROTOCOLS if PROTOCOLS[name].extractor in ("encoders", "classifier")}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("measured"), classifier_steps=30)


def bank_of(world: dict[str, Path], modality: str = "text", **changes) -> FeatureBank:
    path = load(world[modality], "cpu").path(modality)
    return FeatureBank(path, replace(path.config.evaluation, **changes))


@pytest.fixture(scope="module")
def bank(world) -> FeatureBank:
    return bank_of(world)


def values(scores, of: str = "run") -> dict[str, float]:
    return {score.metric: score.value for score in scores if score.of == of}


def perfect(bank: FeatureBank, captions: np.ndarray | None) -> Predictions:
    """A classifier that is always sure and right: of the captions' images, or of all images."""
    images = np.arange(len(bank.pack.records))
    if captions is not None:
        images = bank.pack.caption_image[captions]
    right = labels(bank.pack, SCHEMA)
    probabilities = {name: np.eye(len(SCHEMA[name]))[right[name][images]] for name in SCHEMA}
    random = np.random.default_rng(0)
    classes = np.eye(5)[bank.pack.labels[images]]
    features = (classes + 0.01 * random.normal(size=classes.shape)).astype(np.float32)
    return Predictions(features, probabilities)


def test_evaluate_writes_every_number_with_its_protocol(world):
    records = evaluate(world["speech"])
    assert {record["protocol"] for record in records} == MEASURABLE
    keys = {"metric", "value", "interval95", "of", "protocol", "counts", "split", "seed", "weights"}
    keys |= {"modality", "step", "classifier", "extractor", "extractor_hash", "resize", "reference"}
    for record in records:
        assert keys <= set(record) and record["extractor_hash"] and record["reference"]
        assert record["counts"] and record["split"] == "test" and record["weights"] == "ema"
        assert record["classifier"] and np.isfinite(record["value"])
    lines = (world["speech"] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[-len(records) :]] == json.loads(json.dumps(records))


def test_measuring_is_repeatable_and_leaves_the_random_state(world, tmp_path):
    path = load(world["text"], "cpu").path("text")
    evaluations = []
    for name in ("one", "other"):  # generated anew each time
        settings = replace(path.config.evaluation, cache=str(tmp_path / name))
        torch.manual_seed(9)
        before = torch.get_rng_state()
        evaluations.append(evaluate(world["text"], ["attribute_accuracy", "classifier_distances"], settings))
        assert torch.equal(torch.get_rng_state(), before)
    assert evaluations[0] == evaluations[1]


def test_an_unknown_protocol_is_refused(world):
    with pytest.raises(InputError, match="expected a protocol out of retrieval_by_caption.* 'recal'"):
        evaluate(world["text"], ["recal"])


def test_every_protocol_says_how(world):
    assert all(len(PROTOCOLS[name].procedure) > 60 for name in PROTOCOLS)


def test_a_protocol_that_needs_a_classifier_is_absent_or_refused_without_one(world):
    alone = bank_of(world, classifier="")
    scores_by_protocol = measure(alone, list(PROTOCOLS))
    assert [name for name, scores in scores_by_protocol.items() if scores] == [
        name for name in PROTOCOLS if name.startswith("retrieval")
    ]
    path = world["text"].with_name("no-classifier")
    config = load_config(world["text"] / "config.yaml")
    write_gan_run(path, replace(config, evaluation=replace(config.evaluation, classifier="")))
    with pytest.raises(InputError, match="attribute_accuracy needs .* set evaluation.classifier"):
        evaluate(path, ["attribute_accuracy"])


def test_a_classifier_that_learnt_from_the_split_is_refused(world, tmp_path):
    config = load_config(world["classifier"] / "config.yaml")
    birds = Path(config.data.pack)

    def trained_on(split: str) -> str:
        pack = tmp_path / split
        pack.mkdir()
        (pack / "train").symlink_to(birds / split)
        (pack / "val").symlink_to(birds / "val")
        settings = replace(config.classifier, pack=str(pack), steps=1)
        return str(
            train_classifier(
                replace(config, run=str(tmp_path / f"classifier of {split}"), classifier=settings)
            )
        )

    classifier = trained_on("train")
    for split in ("val", "test"):
        assert bank_of(world, classifier=classifier, split=split).classifier
    with pytest.raises(InputError, match="expected a classifier that never saw .*test"):
        bank_of(world, classifier=trained_on("test"))


def test_a_classifier_of_other_values_is_refused(world):
    bank = bank_of(world)
    bank.classifier.heads["wing"] = ["red", "green", "purple"]
    with pytest.raises(InputError, match="expected a classifier that knows the values of wing"):
        PROTOCOLS["attribute_accuracy"](bank)


def test_retrieval_asks_with_every_caption_and_by_voice_with_each_once(bank):
    whole = PROTOCOLS["retrieval_by_caption"](bank)
    speaker_scores = [
        PROTOCOLS[f"retrieval_by_caption_{which}_speakers"](bank) for which in ("seen", "unseen")
    ]
    counts = [scores[0].counts["captions"] for scores in (whole, *speaker_scores)]
    assert counts == [90, 60, 30]
    assert whole[0].counts["gallery"] == 30 and whole[0].counts["classes"] == 5
    total, seen, unseen = (values(scores)["mAP"] for scores in (whole, *speaker_scores))
    assert total == pytest.approx((60 * seen + 30 * unseen) / 90)


def test_captions_that_name_their_class_retrieve_perfectly(world):
    bank = bank_of(world)
    classes = torch.eye(5)[torch.from_numpy(bank.captions.labels(bank.captions.readable))]
    bank.caption_embeddings, bank.image_embeddings = classes, torch.eye(5)[torch.from_numpy(bank.pack.labels)]
    scores = PROTOCOLS["retrieval_by_caption"](bank)
    assert values(scores) == dict.fromkeys(("recall@1", "recall@5", "recall@10", "mAP", "median_rank"), 1.0)
    assert values(scores, "chance")["recall@1"] == pytest.approx(0.2)


def test_attribute_accuracy_counts_mentions(bank):
    scores = PROTOCOLS["attribute_accuracy"](bank)
    right, mentions, majority = 0, 0, {name: [] for name in SCHEMA}
    for row, index in enumerate(bank.captions.generated):
        image = bank.pack.records[bank.pack.caption_image[index]]
        for name in bank.pack.caption(int(index)).mentions:
            answer = SCHEMA[name][bank.predictions_of_generated.answers(name)[row]]
            right, mentions = right + (answer == image.attributes[name]), mentions + 1
            majority[name].append(image.attributes[name])
    assert scores[0].counts == {"captions": 60, "mentions": mentions} and mentions == 120
    assert values(scores)["attribute_accuracy"] == pytest.approx(right / mentions)
    chance = sum(len(ground_truth) / len(SCHEMA[name]) for name, ground_truth in majority.items()) / mentions
    assert values(scores, "chance")["attribute_accuracy"] == pytest.approx(chance)
    most = sum(max(map(ground_truth.count, ground_truth)) for ground_truth in majority.values()) / mentions
    assert values(scores, "majority")["attribute_accuracy"] == pytest.approx(most)
    assert values(scores, "majority")["attribute_accuracy"] >= chance
    low, high = scores[0].interval95
    assert low <= scores[0].value <= high


def test_attributes_of_one_list_of_colours_are_told_together(bank):
    accuracies = values(PROTOCOLS["attribute_accuracy"](bank))
    assert set(accuracies) == {"attribute_accuracy"} | {
        f"attribute_accuracy/{name}" for name in (*SCHEMA, "colours")
    }
    # 60 captions mention the wing, 30 the belly
    together = (60 * accuracies["attribute_accuracy/wing"] + 30 * accuracies["attribute_accuracy/belly"]) / 90
    assert accuracies["attribute_accuracy/colours"] == pytest.approx(together)


def test_images_that_are_right_score_as_real_ones(world):
    bank = bank_of(world)
    generated, real = perfect(bank, bank.captions.generated), perfect(bank, None)
    bank.predictions_of_generated, bank.predictions_of_real = generated, real
    bank.generated = lambda _: {FEATURES: generated.features}
    bank.real = lambda _: {FEATURES: real.features}
    for name in ("attribute_accuracy", "class_retrieval_by_generated"):
        assert set(values(PROTOCOLS[name](bank)).values()) == {1.0}
        assert set(values(PROTOCOLS[name](bank), "real").values()) == {1.0}
    distances = values(PROTOCOLS["classifier_distances"](bank))
    assert distances["fid"] < 0.01 and abs(distances["kid"]) < 0.05
    bank.predictions_of_generated = replace(
        bank.predictions_of_generated, features=bank.predictions_of_generated.features + 2
    )
    further = values(PROTOCOLS["classifier_distances"](bank))
    assert further["fid"] == pytest.approx(20, abs=0.1) and further["kid"] > 1


def test_fid_of_few_images_says_so(bank):
    scores = {score.metric: score for score in PROTOCOLS["classifier_distances"](bank) if score.of == "run"}
    assert "biased upward" in scores["fid"].note and scores["fid"].interval95 is None
    assert scores["fid"].counts == {"generated": 60, "real": 30}
    assert scores["kid"].interval95 and not scores["kid"].note


def test_the_classifier_sees_what_a_file_would_hold(world, tmp_path):
    bank = bank_of(world, cache=str(tmp_path))
    seen = []
    look = bank.classifier.look

    def spy(batches):
        seen.extend(batches)
        return look(batches)

    bank.classifier.look = spy
    predictions = bank.predictions_of_generated
    images = torch.cat(seen)
    assert len(images) == 60
    assert torch.equal(to_tensor(torch.from_numpy(to_uint8(images))), images)
    index = int(bank.captions.generated[7])
    encoding = bank.path.encode_text([bank.pack.caption(index).text])
    generated = bank.path.generate(encoding, [caption_key(bank.pack, index)], bank.settings.seed)
    alone = look([to_tensor(torch.from_numpy(to_uint8(generated.images[-1])))])
    assert np.allclose(alone.features[0], predictions.features[7], atol=0.05)


def test_no_image_is_dropped_and_the_first_captions_are_generated(world):
    bank = bank_of(world, captions=1, batch_size=7)  # 30 is no multiple of 7
    assert bank.captions.generated.tolist() == list(range(0, 90, 3))
    assert len(bank.predictions_of_generated.features) == 30
    assert len(bank.predictions_of_real.features) == 30
    real = bank.classifier.look(image_batches(bank.pack, 32, batch_size=30))
    assert np.allclose(real.features, bank.predictions_of_real.features, atol=1e-4)


def test_another_seed_generates_other_images(world, bank):
    other = bank_of(world, seed=1)
    assert not np.allclose(
        other.predictions_of_generated.features, bank.predictions_of_generated.features, atol=1e-3
    )


def test_speech_and_text_share_captions_and_keys(world, bank):
    speech = bank_of(world, "speech")
    assert np.array_equal(speech.captions.generated, bank.captions.generated)
    assert np.array_equal(speech.captions.readable, bank.captions.readable)


def test_a_caption_set_restricted_to_some_captions_measures_those_alone(world):
    bank = bank_of(world)
    bank.captions.restrict(np.array([4, 5, 40, 400]))
    assert bank.captions.readable.tolist() == [4, 5, 40]
    assert bank.captions.generated.tolist() == [4, 5, 40]
    with pytest.raises(InputError, match="expected captions that every run can read"):
        bank.captions.restrict(np.array([7]))


def test_captions_of_which_words_are_passed_over_are_counted(world, capsys):
    path = load(world["text"], "cpu").path("text")
    short = replace(path.config, text_encoder=replace(path.config.text_encoder, max_words=2))
    bank = FeatureBank(replace(path, config=short))
    truncated = {"of more than 2 words": sum(len(text.split()) > 2 for text in bank.pack.texts())}
    assert bank.captions.read_in_part == truncated and truncated["of more than 2 words"]
    assert "captions of more than 2 words are read in part" in capsys.readouterr().err
    (score, *_) = measure(bank, ["retrieval_by_caption"])["retrieval_by_caption"]
    assert as_record(bank, "retrieval_by_caption", score)["read_in_part"] == truncated
    assert "read_in_part" not in evaluate(world["text"], ["retrieval_by_caption"])[0]


def test_captions_that_are_left_out_are_counted_with_the_reason(world, capsys):
    path = load(world["speech"], "cpu").path("speech")
    path.encoder.shortest = lambda: 70  # frames; clips have 51 to 90
    lengths = FeatureBank(path).pack.mel_lengths
    bank = FeatureBank(path)
    reason = "shorter than one step of the encoder (70 frames)"
    assert (
        bank.captions.left_out == {reason: int((lengths < 70).sum())}
        and 0 < bank.captions.left_out[reason] < 90
    )
    assert np.array_equal(bank.captions.readable, np.flatnonzero(lengths >= 70))
    assert f"left out of 90 captions: {bank.captions.left_out[reason]} {reason}" in capsys.readouterr().err
    (score, *_) = measure(bank, ["retrieval_by_caption"])["retrieval_by_caption"]
    assert as_record(bank, "retrieval_by_caption", score)["left_out"] == bank.captions.left_out
    path.encoder.shortest = lambda: 1000
    with pytest.raises(InputError, match="found 90 shorter than one step of the encoder"):
        FeatureBank(path)
    assert "left_out" not in evaluate(world["text"], ["retrieval_by_caption"])[0]
