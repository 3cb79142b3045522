"""Trainings in two processes: one network, one number in the log, and the same bits if they are killed.

Processes take long to start: two go through all trainings, and the tests read what those have left.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2i.config import Config, LogConfig
from s2i.config_networks import DiffAugmentConfig, DiscriminatorConfig
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.runs.checkpoint import load_last
from s2i.runs.run import CLOCK, Run
from s2i.training import precision
from s2i.training.distributed import Engine
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.loop import Training
from s2i.training.precision import Evidence
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.torchrun import in_two_processes
from tests.fixtures.trainings import Killed
from tests.training import test_loop as loop

UNTIMED = dict.fromkeys(CLOCK, 0)
RESUMED_FROM = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Packed data, an encoder of few steps, and what all trainings below have left in two processes."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").mkdir()
    write_telling_data(folder / "data")
    config = tiny_training_config(folder / "data", folder / "encoder")
    build_pack(config, ["train", "val"])
    train_encoder(replace(config, matching=replace(config.matching, steps=2)))
    in_two_processes(__file__, folder)
    return folder


@contextmanager
def watching(watch: Callable[[Training, dict], None]) -> Iterator[None]:
    """Trainings call `watch` after each step that they record."""
    record = Training.record

    def record_and_watch(self: Training, terms: dict) -> None:
        record(self, terms)
        watch(self, terms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "record", record_and_watch)
        yield


def write_digest(training: Training, path: Path, *names: str) -> None:
    """A hash of the weights of the networks of these names."""
    digest = hashlib.sha256()
    for name in names:
        for value in training.nets[name].parameters():
            digest.update(value.detach().numpy().tobytes())
    path.write_text(digest.hexdigest())


# A small network


def test_two_processes_average_gradients_and_resume_to_the_same_bits(world):
    states = [load_last(world / "small" / name / "checkpoints") for name in ("unbroken", "broken")]
    assert same(*(loop.without(state, "config") for state in states))
    assert load_last(world / "small" / "auto" / "checkpoints")["config"]["precision"] == "fp32"
    assert len(states[0]["random"]) == 2 and not same(*states[0]["random"])  # seed + rank
    with pytest.raises(InputError, match="expected the 2 processes"):
        loop.train(loop.make_config(world / "small" / "broken"))


def train_a_small_network(folder: Path) -> None:
    """Killed and resumed, unbroken, and with a second process on a device that only emulates bf16."""
    loop.train(loop.make_config(folder / "small" / "broken"), until=13)
    loop.train(loop.make_config(folder / "small" / "broken"))
    loop.train(loop.make_config(folder / "small" / "unbroken"))
    native = int(os.environ["RANK"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "weigh", lambda *_: Evidence(native, gain=1.7))
        config = loop.train(loop.make_config(folder / "small" / "auto", precision="auto")).engine.config
    assert config.precision == "fp32"  # neither computes in it


# A GAN


def test_a_gan_in_two_processes_is_one_network_and_resumes_to_the_same_bits(world):
    digests = {path.name: path.read_text() for path in world.glob("*broken-?.digest")}
    assert set(digests) == {f"{run}-{rank}.digest" for run in ("broken", "unbroken") for rank in (0, 1)}
    assert len(set(digests.values())) == 1
    states = [load_last(world / name / "checkpoints") for name in ("broken", "unbroken")]
    for part in ("nets", "optimisers", "random"):  # the average's statistics among them
        assert same(states[0][part], states[1][part]), part
    logs = [[{**line, **UNTIMED} for line in Run(world / name).read_log()] for name in ("broken", "unbroken")]
    assert logs[0] == logs[1] and len(logs[0]) == 2


def train_a_gan_killed_and_unbroken(folder: Path) -> None:
    train_a_gan(folder, "broken", killed_at=RESUMED_FROM + 1)
    train_a_gan(folder, "broken")
    train_a_gan(folder, "unbroken")


def train_a_gan(folder: Path, name: str, killed_at: int | None = None) -> None:
    """What each process does: train, and write what its networks have come to."""
    config = tiny_training_config(folder / "data", folder / name)
    gan = replace(config.gan, encoder=str(folder / "encoder"), reconstruction_weight=1.0, steps=6)
    config = replace(config, gan=gan, log=replace(config.log, checkpoint_every=RESUMED_FROM))

    def watch(training: Training, terms: dict) -> None:
        if training.step == killed_at:
            raise Killed
        if training.step == gan.steps:
            path = folder / f"{name}-{training.engine.rank}.digest"
            write_digest(training, path, "generator", "discriminators", "posterior")

    with watching(watch):
        try:
            train_gan(config)
        except Killed:
            assert killed_at is not None


def test_a_gan_on_projected_features_in_two_processes_is_one_network_with_one_balance(world):
    digests = [(world / f"projected-{rank}.digest").read_text() for rank in (0, 1)]
    weights = [(world / f"projected-{rank}.weights").read_text() for rank in (0, 1)]
    assert digests[0] == digests[1] and weights[0] == weights[1] and len(weights[0].split()) == 2


def train_on_projected_features(folder: Path) -> None:
    """Two steps; each process writes its networks' digest and the adversary's weights."""
    config = tiny_training_config(folder / "data", folder / "projected")
    discriminator = DiscriminatorConfig(
        kind="projected",
        condition_on="sentence",
        mixed_channels=(4, 4, 4, 4),
        head_channels=8,
        augmentation=DiffAugmentConfig(colour=True, translation=0.125),
    )
    gan = replace(
        config.gan,
        encoder=str(folder / "encoder"),
        steps=2,
        loss="hinge",
        penalty="none",
        perceptual_weight=10.0,
        feature_input_size=32,
        adversarial_ratio=0.5,
    )
    weights = []

    def watch(training: Training, terms: dict) -> None:
        weights.append(terms["g/adversarial_weight"].item())
        name = f"projected-{training.engine.rank}"
        write_digest(training, folder / f"{name}.digest", "generator", "discriminators", "posterior")
        (folder / f"{name}.weights").write_text(" ".join(map(repr, weights)))

    with watching(watch):
        train_gan(replace(config, discriminator=discriminator, gan=gan))


# The log


def test_terms_that_one_process_alone_has_are_logged_as_means_over_those_that_have_them(world):
    lines = [{**line, **UNTIMED} for line in Run(world / "terms" / "each").read_log()]
    both = {**UNTIMED, "lr/all": 0.005}
    assert lines == [
        {"step": 1, **both, "loss/wrong": 7.0, "loss/all": 6.0},
        {"step": 2, **both, "loss/all": 7.0, "loss/other": 9.0},
        {"step": 3, **both, "loss/all": 8.0},
        {"step": 4, **both, "loss/wrong": 7.0, "loss/all": 9.0},
    ]
    whole = {"step": 4, **both, "loss/all": 7.5, "loss/wrong": 7.0, "loss/other": 9.0}
    # The mean of all, by each process's own numbers after a resumption too.
    for name in ("unbroken", "broken"):
        assert [{**line, **UNTIMED} for line in Run(world / "terms" / name).read_log()] == [whole]


def log_terms_of_one_process(folder: Path) -> None:
    record_terms(folder / "terms" / "each", every=1)
    record_terms(folder / "terms" / "unbroken", every=4)
    record_terms(folder / "terms" / "broken", every=4, until=3)
    record_terms(folder / "terms" / "broken", every=4)


def record_terms(folder: Path, every: int, until: int = 4) -> None:
    """Four steps; process 0 has `loss/wrong` in steps 1 and 4, process 1 has `loss/other` in step 2."""
    config = Config(run=str(folder), device="cpu", threads=1, log=LogConfig(every=every, checkpoint_every=2))
    engine = Engine.start(config)
    with Training(engine, 4, {"net": torch.nn.Linear(1, 1)}) as training:
        while training.step < until:
            step = training.step + 1
            terms = {"lr/all": 0.005, "loss/all": float(step + 10 * engine.rank)}
            if engine.rank == 0 and step in (1, 4):
                terms = {"loss/wrong": 7.0, **terms}
            if engine.rank == 1 and step == 2:
                terms = {**terms, "loss/other": 9.0}
            training.record(terms)
            training.save_if_due()


# An encoder


def test_an_encoder_matched_by_regions_alone_trains_in_two_processes(world):
    """Then nothing trains the global vector's layer, nor what pools a sentence."""
    first, second = ((world / f"regions-{rank}.digest").read_text() for rank in (0, 1))
    assert first == second
    lines = Run(world / "regions").read_log()
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(line["loss/region"] == line["loss/all"] for line in lines)


def match_by_regions(folder: Path) -> None:
    config = tiny_training_config(folder / "data", folder / "regions")
    matching = replace(config.matching, steps=3, batch_weight=0.0, class_weight=0.0)
    matching = replace(matching, optimiser=replace(matching.optimiser, weight_decay=0.1))
    before = {}

    def watch(training: Training, terms: dict) -> None:
        untrained = training.nets["image_encoder"].globe.weight
        before.setdefault("globe", untrained.detach().clone())
        assert untrained.grad is None and torch.equal(untrained, before["globe"])
        path = folder / f"regions-{training.engine.rank}.digest"
        write_digest(training, path, "caption_encoder", "image_encoder")

    with watching(watch):
        train_encoder(replace(config, matching=matching, log=replace(config.log, every=1)))


TRAININGS = (
    train_a_small_network,
    train_a_gan_killed_and_unbroken,
    train_on_projected_features,
    log_terms_of_one_process,
    match_by_regions,
)

if __name__ == "__main__":
    for training in TRAININGS:
        training(Path(sys.argv[1]))
