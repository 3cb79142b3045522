"""R-precision and S2IGAN's mAP: by hand, by scikit-learn, and by nobody who had a part in the training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s2i.config import Config
from s2i.config_files import load_config
from s2i.errors import InputError
from s2i.evaluation.extractors import FEATURES
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.protocols.semantics import _mismatches
from s2i.evaluation.r_precision_encoder import load_r_precision_encoder
from s2i.evaluation.records import measure, settings_of
from s2i.inference.model import load
from s2i.metrics.retrieval import r_precision
from s2i.reports.compare import differences, results
from s2i.runs.checkpoint import read_checkpoint, write_checkpoint
from s2i.training.encoder import train_encoder
from tests.fixtures.runs import write_gan_run, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """GAN runs, that from text over its own encoder ("partner"), and R-precision encoders of other seeds."""
    folder = tmp_path_factory.mktemp("scored")
    runs = write_world(folder, classifier_steps=20)
    for name, modality, seed in (
        ("partner", "text", 0),
        ("text-r-precision-encoder", "text", 1),
        ("speech-r-precision-encoder", "speech", 1),
    ):
        config = replace(load_config(runs[modality] / "config.yaml"), seed=seed)
        settings = replace(config.matching, steps=3, batch_size=8, validate_every=3)
        runs[name] = train_encoder(replace(config, run=str(folder / "exp" / name), matching=settings))
    config = load_config(runs["text"] / "config.yaml")
    write_gan_run(runs["text"], replace(config, gan=replace(config.gan, encoder=str(runs["partner"]))))
    return runs


def bank_of(world: dict[str, Path], cache: Path, modality: str = "text", **changes) -> FeatureBank:
    path = load(world[modality], "cpu").path(modality)
    return FeatureBank(path, replace(path.config.evaluation, cache=str(cache), **changes))


@pytest.mark.parametrize(
    ("modality", "r_precision_encoder"),
    [("text", "text-r-precision-encoder"), ("speech", "speech-r-precision-encoder")],
)
def test_a_r_precision_encoder_of_another_seed_scores_text_and_speech(
    world, tmp_path, modality, r_precision_encoder
):
    bank = bank_of(world, tmp_path, modality, r_precision_encoder=str(world[r_precision_encoder]))
    scores = {score.of: score for score in _with_few_candidates(bank)}
    assert set(scores) == {"run", "real", "chance"}
    run = scores["run"]
    assert 0 <= run.value <= 1 and run.spread is not None and run.interval95
    assert run.counts == {"images": 60, "candidates": 6, "folds": 10}
    assert scores["chance"].value == pytest.approx(1 / 6)
    again = bank_of(
        world,
        tmp_path / "again",
        modality,
        r_precision_encoder=str(world[r_precision_encoder]),
        batch_size=13,
    )
    assert _with_few_candidates(again)[0].value == pytest.approx(run.value, abs=0.04)


def _with_few_candidates(bank: FeatureBank) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2i.evaluation.protocols.semantics.CANDIDATES", 6)
        return PROTOCOLS["r_precision"](bank)


def test_an_r_precision_encoder_of_speech_scores_images_generated_from_text(world, tmp_path):
    bank = bank_of(world, tmp_path, r_precision_encoder=str(world["speech-r-precision-encoder"]))
    assert "speech" in bank.extractor("r_precision_encoder").network
    assert _with_few_candidates(bank)


def test_who_had_a_part_in_the_training_does_not_score(world, tmp_path):
    path = load(world["text"], "cpu").path("text")
    with pytest.raises(InputError, match="no part in the generator's training.*train other ones"):
        load_r_precision_encoder(world["partner"], path)
    twin = tmp_path / "twin"  # the same seed, trained on: other weights, the same beginnings
    shutil.copytree(world["partner"], twin)
    saved = read_checkpoint(twin / "checkpoints" / "best.pt")
    for network in ("caption_encoder", "image_encoder"):
        for value in saved["nets"][network].values():
            value += 1
    write_checkpoint(twin / "checkpoints" / "best.pt", saved)
    with pytest.raises(InputError, match="expected an R-precision encoder of another seed.* found seed 0"):
        load_r_precision_encoder(twin, path)
    write_checkpoint(
        twin / "checkpoints" / "best.pt",
        {**saved, "nets": _nets_of(world["text"]), "vocabulary": _words(world)},
    )
    shutil.rmtree(twin / "checkpoints" / "none", ignore_errors=True)
    with pytest.raises(InputError, match="no part in the generator's training"):
        load_r_precision_encoder(twin, path)  # the very weights, under another name


def _nets_of(run: Path) -> dict:
    return read_checkpoint(run / "checkpoints" / "last.pt")["nets"]


def _words(world: dict[str, Path]) -> list[str]:
    return read_checkpoint(world["text"] / "checkpoints" / "last.pt")["vocabulary"]


def test_another_kind_of_run_does_not_score(world):
    path = load(world["text"], "cpu").path("text")
    with pytest.raises(InputError, match="expected a checkpoint, found none"):
        load_r_precision_encoder(world["classifier"], path)


def test_an_r_precision_encoder_of_other_audio_settings_is_refused(world, tmp_path):
    shutil.copytree(world["speech-r-precision-encoder"], tmp_path / "r_precision_encoder")
    origin = tmp_path / "r_precision_encoder" / "checkpoints" / "best.pt"
    saved = read_checkpoint(origin)
    saved["config"]["audio"]["hop"] = 0.02
    write_checkpoint(origin, saved)
    with pytest.raises(
        InputError, match="expected an R-precision encoder with the audio settings of the pack"
    ):
        load_r_precision_encoder(
            tmp_path / "r_precision_encoder", load(world["speech"], "cpu").path("speech")
        )


def test_many_captions_of_which_too_few_are_of_another_class_give_no_mismatches(monkeypatch):
    labels = np.repeat([0, 1], [700, 50])
    captions = [SimpleNamespace(text=None)] * len(labels)
    pack = SimpleNamespace(labels=labels, caption_image=np.arange(len(labels)), caption=captions.__getitem__)
    monkeypatch.setattr("s2i.evaluation.protocols.semantics.caption_key", lambda pack, index: str(index))
    captions = SimpleNamespace(pack=pack, settings=SimpleNamespace(seed=0))
    known = np.arange(len(labels))
    assert _mismatches(captions, known[-3:], known).shape == (3, 99)  # those of the small class have enough
    assert _mismatches(captions, known[:3], known) is None


def test_mismatches_are_of_other_classes_other_words_and_no_batch(world, tmp_path):
    bank = bank_of(world, tmp_path)
    known = bank.captions.readable
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2i.evaluation.protocols.semantics.CANDIDATES", 20)
        mismatches = _mismatches(bank.captions, bank.captions.generated, known)
        some = _mismatches(bank.captions, bank.captions.generated[5:9], known)
    assert mismatches.shape == (60, 19) and np.array_equal(mismatches[5:9], some)
    for row, index in enumerate(bank.captions.generated):
        others = known[mismatches[row]]
        assert len(set(others)) == 19
        assert not np.isin(bank.captions.labels(others), bank.captions.labels(np.array([index]))).any()
        text = bank.pack.caption(int(index)).text
        assert all(bank.pack.caption(int(other)).text != text for other in others)
    assert _mismatches(bank.captions, bank.captions.generated, known) is None  # 99 are not to be had


def test_r_precision_by_hand():
    captions = torch.eye(4)
    images = torch.tensor([[3.0, 1, 0, 0], [0, 1, 2, 0], [0, 0, 1, 1], [0, 0, 0, 0.1]])
    matches, others = torch.arange(4), torch.tensor([[1, 2], [0, 2], [0, 3], [1, 2]])
    # The second prefers a mismatch, the third can't decide, and that is a miss.
    assert r_precision(images, captions, matches, others).tolist() == [1, 0, 0, 1]


def test_r_precision_of_no_knowledge_is_chance():
    random = torch.Generator().manual_seed(0)
    captions = torch.randn(500, 8, generator=random)
    others = torch.stack([torch.randperm(499, generator=random)[:99] for _ in range(4000)])
    matches = torch.full((4000,), 499)
    precision = r_precision(torch.randn(4000, 8, generator=random), captions, matches, others).mean().item()
    assert precision == pytest.approx(0.01, abs=4 * (0.01 * 0.99 / 4000) ** 0.5)


def test_s2igans_measure_is_scikit_learns_average_precision(world, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    bank = bank_of(world, tmp_path)
    scores = PROTOCOLS["s2igan_mean_average_precision_by_classifier"](bank)
    assert scores[0].counts == {"queries": 10, "gallery": 30, "classes": 5}  # three captions an image here
    captions = bank.captions.s2igan
    asking = np.unique(bank.pack.caption_image[captions])
    generated = np.asarray(bank.generated("classifier", "s2igan")[FEATURES], np.float64)
    real = np.asarray(bank.real("classifier")[FEATURES][asking], np.float64)
    generated, real = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (generated, real))
    labels, shelved = bank.pack.labels[asking], bank.captions.labels(captions)
    average_precisions = [
        metrics.average_precision_score(shelved == label, generated @ query)
        for label, query in zip(labels, real, strict=True)
    ]
    assert scores[0].value == pytest.approx(np.mean(average_precisions), abs=1e-6)
    assert scores[1].of == "chance" and 0.2 < scores[1].value < 0.35  # prevalence is 1/5


def test_s2igans_queries_are_two_images_a_class_with_ten_captions_each(world, tmp_path):
    """As on CUB's 50 test classes: 100 queries, 1,000 generated images."""
    bank = bank_of(world, tmp_path)

    class Test:  # 50 classes of 3 images with 12 captions each, in no order of classes
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(50), 3))
        caption_image = np.repeat(np.arange(150), 12)

    bank.captions.pack, bank.captions.readable = Test(), np.arange(1800)
    captions = bank.captions.s2igan
    assert len(captions) == 1000
    images, counts = np.unique(Test.caption_image[captions], return_counts=True)
    assert len(images) == 100 and set(counts) == {10}
    assert set(np.bincount(Test.labels[images])) == {2}
    for label in range(50):
        assert set(images[Test.labels[images] == label]) == set(np.flatnonzero(Test.labels == label)[:2])


def test_a_configuration_without_a_r_precision_encoder_has_no_r_precision(world, tmp_path):
    assert PROTOCOLS["r_precision"](bank_of(world, tmp_path)) == []
    assert Config().evaluation.r_precision_encoder == ""


def test_a_comparison_scores_both_sides_by_one_r_precision_encoder(world, tmp_path, monkeypatch):
    monkeypatch.setattr("s2i.evaluation.protocols.semantics.CANDIDATES", 6)
    scores = {
        side: measure(
            bank_of(world, tmp_path, side, r_precision_encoder=str(world["text-r-precision-encoder"])),
            list(PROTOCOLS),
        )
        for side in ("speech", "text")
    }
    comparison = results(scores, {}, {}, differences({side: [given] for side, given in scores.items()}, 5))
    values = {side: comparison["generation"][side]["r_precision"] for side in ("speech", "text", "real")}
    assert comparison["generation"]["chance"]["r_precision"] == pytest.approx(1 / 6)
    difference = comparison["difference"]["r_precision"]["speech_minus_text"]
    assert difference == pytest.approx(values["speech"] - values["text"])
    variants = {"by_image", "exact_image", "exact_captions", "seen_speakers", "unseen_speakers"}
    assert variants <= set(comparison["retrieval"]["speech"])
    assert set(comparison["retrieval"]["text"]) & variants == {"by_image", "exact_image", "exact_captions"}
    assert comparison["generation"]["text"]["s2igan_by_classifier"].keys() == {"mAP"}


def test_settings_of_a_run_change_by_words_of_their_own_section_alone(world):
    sections = settings_of(world["text"], ["evaluation.captions=3", "evaluation.r_precision_encoder=there"])
    settings = sections.pop("evaluation")
    assert (settings.captions, settings.r_precision_encoder, settings.batch_size) == (
        3,
        "there",
        8,
    ) and not sections
    with pytest.raises(InputError, match="expected evaluation.key=value, found 'seed=3'"):
        settings_of(world["text"], ["seed=3"])
    with pytest.raises(InputError, match="evaluation.caption"):
        settings_of(world["text"], ["evaluation.caption=3"])
