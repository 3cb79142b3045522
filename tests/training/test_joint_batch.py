"""Two processes have the gradients that one has of the joint batch, by every objective that is trained by."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.config_files import override
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.models.caption_encoding import CaptionEncoding
from s2i.training.cross_modal import train_cross_modal
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.joint_batch import JointBatch, join_batch_norms
from s2i.training.regression import train_regression
from tests.fixtures.gradients import check_gradients, gradients_of
from tests.fixtures.models import tiny_training_config
from tests.fixtures.torchrun import in_two_processes

# One step, in which nothing moves: a loss is then of the same weights, whoever was updated before.
STILL = [f"gan.{who}.lr=0" for who in ("generator", "discriminator", "relation")]
ONE_STEP = [
    "matching.steps=1",
    "matching.batch_size=8",
    "gan.steps=1",
    "gan.batch_size=8",
    "gan.sample_every=0",
    "memory_format=channels_last",
]
FEATURES = ["gan.perceptual_weight=10", "gan.feature_input_size=32"]
NO_ATTENTION = ["generator.attention=false", "gan.matching_weight=0"]
BOTH = [
    "audio.cmvn=false",
    "audio.mel_bins=20",
    "cross_modal.generates=both",
    "cross_modal.batch_size=8",
    "cross_modal.steps=1",
    "cross_modal.cycle_weight=1",
    "cross_modal.sample_every=0",
    "cross_modal.discriminator.lr=0",
    "speech_generator.frames=33",
    "speech_generator.code_dim=6",
    "speech_generator.noise_dim=5",
    "speech_generator.channels=4",
    "discriminator.norm=batch",
    "discriminator.options.project_dim=4",
    "generator.stages=1",
    "generator.base_size=16",
    "generator.attention=false",
]
CASES: dict[str, tuple[Callable[[Config], Path], list[str]]] = {
    "matching": (
        train_encoder,
        [
            "matching.joint_weight=1",
            "matching.distance_weight=5",
            "matching.distillation_weight=100",
            "matching.invariance_weight=1",
            "speech_encoder.channels=[8, 4]",
        ],
    ),
    "matching in groups": (train_encoder, ["matching.region_group=4"]),
    "adversary with batch norms": (
        train_gan,
        ["gan.contrast_weight=1", "gan.class_weight=1", "gan.reconstruction_weight=1"],
    ),
    "tuned encoder": (
        train_gan,
        [
            "gan.encoder_lr=1e-9",
            "gan.loss=least_squares",
            "gan.feature_matching_weight=100",
            "gan.pixel_weight=50",
            "gan.caption_class_weight=20",
        ],
    ),
    "projected": (
        train_gan,
        [
            *FEATURES,
            "gan.loss=hinge",
            "gan.penalty=matching_aware",
            "gan.adversarial_ratio=0.5",
            "gan.posterior=features",
            "generator.prior=flow",
            "generator.prior_dim=16",
            "gan.relation_weight=0",
            "discriminator.kind=projected",
            "discriminator.mixed_channels=[4,4,4,4]",
            "discriminator.head_channels=8",
            "discriminator.condition_on=sentence",
            "discriminator.augmentation.translation=0.125",
        ],
    ),
    "interpolation": (train_gan, [*NO_ATTENTION, "gan.interpolation_weight=1", "gan.relation_weight=0"]),
    "cross modal": (train_cross_modal, BOTH),
    "regression": (
        train_regression,
        [
            "generator.network=s2i.models.feature_decoder:FeatureDecoder",
            "generator.options.width=12",
            "generator.attention=false",
            "generator.stages=1",
            "generator.base_size=16",
            "regression.batch_size=8",
            "regression.decoder_steps=1",
            "regression.steps=1",
            "regression.feature_weight=1",
            "regression.sample_every=0",
            "regression.decoder.lr=0",
        ],
    ),
}


def train_all(world: Path, spoken: Path, runs: Path) -> None:
    """One step of each case; the gradients of each update, as the optimisers are given them, in files."""
    runs.mkdir(exist_ok=True)
    for name, (train, words) in CASES.items():
        config = override(tiny_training_config(world / "data", runs / name), [*ONE_STEP, *STILL, *words])
        config = replace(config, gan=replace(config.gan, encoder=str(world / "speech-encoder")))
        if train is train_regression:
            config = override(config, [f"regression.image_network={world / 'speech-encoder'}"])
        if train is train_cross_modal:
            config = override(config, [f"data.pack={spoken}"])
        updates = gradients_of(train, config)
        if os.environ.get("RANK", "0") == "0":
            torch.save(updates, runs / f"{name}.pt")


@pytest.fixture(scope="module")
def runs(trained_encoders, tmp_path_factory) -> tuple[Path, Path]:
    """The gradients of one process and of two; the two leave the values of `check_parts` too."""
    folder = tmp_path_factory.mktemp("joint")
    spoken = override(tiny_training_config(trained_encoders / "data", folder), BOTH)
    build_pack(override(spoken, [f"data.pack={folder / 'pack'}"]), ["train", "val"])
    train_all(trained_encoders, folder / "pack", folder / "one")
    in_two_processes(__file__, trained_encoders, folder / "pack", folder / "two")
    return folder / "one", folder / "two"


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradients_of_the_joint_batch(case, runs):
    one, two = (torch.load(folder / f"{case}.pt") for folder in runs)
    check_gradients(one, two)


# The parts


def test_rows_norms_and_second_derivatives_are_of_the_joint_batch(runs):
    values = torch.load(runs[1] / "values.pt")
    rows = torch.arange(12.0).view(6, 2)
    assert torch.equal(values["gathered"], rows)
    assert values["mask"].tolist() == [[True] * 3, [True, True, False]] * 2
    penalty = penalty_of(norm := torch.nn.BatchNorm1d(2), rows.clone().requires_grad_())
    penalty.backward()
    torch.testing.assert_close(values["penalty"], penalty.detach())
    torch.testing.assert_close(values["gradient"], norm.weight.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values["running"], norm.running_var)


def penalty_of(norm: nn.Module, inputs: Tensor) -> Tensor:
    """A gradient penalty through a batch norm, which has to be differentiated twice."""
    outputs = (norm(inputs) ** 2 * torch.tensor([1.0, 3.0])).sin().sum()
    (gradient,) = torch.autograd.grad(outputs, inputs, create_graph=True)
    return gradient.square().sum(1).mean()


def check_parts(folder: Path) -> None:
    rank = torch.distributed.get_rank()
    joint, rows = JointBatch(rank, 2), torch.arange(12.0).view(6, 2)[rank::2]
    mask = torch.ones(2, 3 - rank, dtype=torch.bool)
    captions = CaptionEncoding(torch.zeros(2, 1), torch.zeros(2, 1, 3 - rank), mask)
    norm = nn.Sequential(nn.BatchNorm1d(2))
    join_batch_norms(norm)
    penalty = penalty_of(norm, rows.clone().requires_grad_())
    penalty.backward()
    gradient = joint.mean(norm[0].weight.grad[None])
    values = {
        "gathered": joint.gather(rows),
        "mask": joint.gather_captions(captions).mask,
        "penalty": joint.mean(penalty.detach()[None]),
        "gradient": gradient,
        "running": norm[0].running_var,
    }
    if rank == 0:
        torch.save(values, folder / "values.pt")


def test_a_batch_that_processes_cannot_share_equally_is_refused(trained_encoders, tmp_path, monkeypatch):
    config = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    monkeypatch.setattr("s2i.training.distributed.Engine.world", property(lambda _: 3))
    monkeypatch.setattr("s2i.training.distributed.Engine.join_batch_norms", lambda *_: None)
    with pytest.raises(InputError, match=r"matching\.batch_size that 3 processes can share equally, found 4"):
        train_encoder(config)


THREADS = Path("/proc/self/task")  # Linux's


def note_threads(file: Path) -> None:
    if not THREADS.is_dir():
        return
    names = [(thread / "comm").read_text().strip() for thread in THREADS.iterdir()]
    file.with_suffix(f".{os.environ['RANK']}").write_text("\n".join(names))


@pytest.mark.skipif(not THREADS.is_dir(), reason="needs Linux's names of threads")
@pytest.mark.parametrize("rank", range(2))
def test_no_thread_of_the_group_outlives_a_process_that_trained(rank, runs):
    during, after = ((runs[1] / f"{when}.{rank}").read_text() for when in ("during", "after"))
    assert "gloo" in during
    assert "gloo" not in after


if __name__ == "__main__":
    atexit.register(note_threads, Path(sys.argv[3]) / "after")  # runs last, since it is registered first
    train_all(*map(Path, sys.argv[1:]))
    check_parts(Path(sys.argv[3]))
    note_threads(Path(sys.argv[3]) / "during")
