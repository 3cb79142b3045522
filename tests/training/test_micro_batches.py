"""A batch in parts has the gradients of the whole batch, and a step's memory is counted and fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from s2i import losses, region_comparison
from s2i.config import Config
from s2i.config_files import override
from s2i.errors import InputError
from s2i.models.masked_batch_norm import MaskedBatchNorm1d
from s2i.runs.checkpoint import load_last
from s2i.training.encoder import EncoderNetworks, train_encoder
from s2i.training.encoder_memory import EncoderStep, count_encoder_peak
from s2i.training.gan import train_gan
from s2i.training.gan_memory import GanStep, count_gan_peak
from s2i.training.memory import GIB, LiveBytes, candidates, fit_to_memory, without_data
from s2i.training.micro_batches import micro_batches
from tests.fixtures.gradients import check_gradients, gradients_of
from tests.fixtures.models import same, tiny_training_config

ONE_STEP = ["matching.steps=1", "gan.steps=1", "gan.sample_every=0", "memory_format=channels_last"]
# One step, in which nothing moves: a loss is then of the same weights, whoever was updated before.
STILL = [f"gan.{who}.lr=0" for who in ("generator", "discriminator", "relation")]
CASES = {
    "matching": (train_encoder, ["matching.joint_weight=1", "matching.distance_weight=5"]),
    "adversary": (
        train_gan,
        ["gan.contrast_weight=1", "gan.class_weight=1", "gan.reconstruction_weight=1"],
    ),
    "tuned encoder": (
        train_gan,
        ["gan.encoder_lr=1e-9", "gan.loss=least_squares", "gan.feature_matching_weight=100"],
    ),
    "spectral norms": (train_gan, ["discriminator.norm=spectral", "gan.loss=hinge"]),
    "learnt prior": (
        train_gan,
        ["gan.reconstruction_weight=1", "generator.prior=flow", "generator.prior_dim=8", "gan.prior.lr=0"],
    ),
}


def one_step(world: Path, run: Path, case: str, *words: str) -> tuple[list, dict]:
    """The gradients of a step of a case, and what the run's networks are after it."""
    train, own_words = CASES[case]
    config = override(tiny_training_config(world / "data", run), [*ONE_STEP, *STILL, *own_words, *words])
    config = replace(config, gan=replace(config.gan, encoder=str(world / "speech-encoder")))
    updates = gradients_of(train, config)
    return updates, load_last(run / "checkpoints")["nets"]


@pytest.mark.parametrize("case", CASES)
def test_parts_as_large_as_the_batch_change_nothing(case, trained_encoders, tmp_path):
    whole, networks = one_step(trained_encoders, tmp_path / "whole", case)
    again, same_networks = one_step(trained_encoders, tmp_path / "again", case, "micro_batch=4")
    check_gradients(whole, again)
    assert same(networks, same_networks)  # running statistics among them, which move once


@pytest.mark.parametrize("case", CASES)
def test_parts_have_the_gradients_of_the_batch_without_batch_norms(
    case, trained_encoders, tmp_path, monkeypatch
):
    monkeypatch.setattr(nn.modules.batchnorm._BatchNorm, "forward", lambda _, inputs: inputs)
    monkeypatch.setattr(MaskedBatchNorm1d, "forward", lambda _, inputs, mask: inputs * mask.unsqueeze(1))
    whole, networks = one_step(trained_encoders, tmp_path / "whole", case)
    in_parts, same_networks = one_step(trained_encoders, tmp_path / "parts", case, "micro_batch=2")
    check_gradients(whole, in_parts)
    vectors = [name for name in networks.get("discriminators", {}) if name.endswith("._u")]
    assert bool(vectors) == (case == "spectral norms")
    for name in vectors:  # one power iteration for all parts
        assert torch.equal(networks["discriminators"][name], same_networks["discriminators"][name])


def test_parts_are_even_and_have_two_rows_or_more():
    def sizes(count: int, rows: int) -> list[int]:
        return [part.stop - part.start for part in micro_batches(count, rows)]

    assert sizes(8, 3) == [2, 3, 3] and sizes(24, 8) == [8] * 3
    assert sizes(3, 2) == [3] and sizes(5, 2) == [2, 3] and sizes(8, 1) == [2] * 4
    assert sizes(4, 9) == [4] and sizes(1, 1) == [1]


# Counting


def sized(*words: str) -> Config:
    config = tiny_training_config(Path("data"), Path("run"))
    return override(config, ["discriminator.channels=16", "generator.channels=32", *words])


def test_bytes_are_counted_as_they_come_and_go():
    with LiveBytes() as live:
        first = torch.zeros(1000)
        second = first.view(10, 100) + 1
        del first
        third = torch.zeros(250)
    assert (live.now, live.peak) == (5000, 8000) and second.sum() + third.sum() == 1000


@pytest.mark.parametrize("rows", [0, 2])
def test_what_is_counted_without_data_is_what_a_step_takes(rows):
    config = sized(f"micro_batch={rows}", "gan.reconstruction_weight=1", "gan.contrast_weight=1")
    expected = count_gan_peak(config, 6)
    with LiveBytes() as live:
        step = GanStep(config, 6, torch.device("cpu"))
        live.peak = live.now
        step()
    assert abs(live.peak / expected - 1) < 0.02
    expected = count_encoder_peak(EncoderNetworks, config, 6)
    with LiveBytes() as live:
        step = EncoderStep(EncoderNetworks, config, 6, torch.device("cpu"))
        live.peak = live.now
        step()
    assert abs(live.peak / expected - 1) < 0.02


def test_an_adversary_that_starts_later_is_counted():
    words = ("gan.reconstruction_weight=1", "gan.adversarial_ratio=1", "discriminator.condition_on=sentence")
    always, later = (count_gan_peak(sized(*words, f"gan.adversarial_start={at}"), 4) for at in (0, 0.5))
    assert later == always


def test_parts_take_less_memory():
    learnt = ("gan.reconstruction_weight=1", "generator.prior=flow", "generator.prior_dim=8")
    for words in ((), learnt):
        whole, micro_batched = (
            count_gan_peak(sized("generator.base_size=64", f"micro_batch={n}", *words), 16) for n in (0, 4)
        )
        assert whole > 2 * micro_batched


# Choosing


def fitted(config: Config, begun: Config | None = None) -> Config:
    """With a network that takes 1 GiB an image, and half of it where it is computed again."""

    def count(config: Config, batch_size: int, device: object) -> int:
        return GIB * (min(batch_size, config.micro_batch) or 2 * batch_size)

    engine = Holder(config=config, begun=begun, device=torch.device("cpu"), is_main=True)
    return fit_to_memory(engine, 12, count, "generator.channels").config


class Holder(SimpleNamespace):
    """What `fit_to_memory` asks of an engine."""

    def __replace__(self, **changes: object) -> Holder:
        return Holder(**{**vars(self), **changes})


@pytest.fixture(autouse=True)
def replaceable(monkeypatch):
    """dataclasses.replace takes a Holder too."""
    as_it_was = replace

    def replace_any(item: object, **changes: object) -> object:
        return item.__replace__(**changes) if isinstance(item, Holder) else as_it_was(item, **changes)

    monkeypatch.setattr("s2i.training.memory.replace", replace_any)


def test_the_most_that_fits_is_chosen_said_and_kept(capsys):
    assert list(candidates(12)) == [0, 12, 6, 4, 3, 2]
    assert fitted(sized()).micro_batch == 0
    assert fitted(sized("memory=80gb")).micro_batch == 0  # 24 GiB
    assert fitted(sized("memory=16gb")).micro_batch == 12  # 13.6 GiB of 16 are used
    capsys.readouterr()
    assert fitted(sized("memory=8gb")).micro_batch == 6
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "memory=8gb: 6 images at once" in line and "6.00 GiB" in line
    assert fitted(sized("memory=8gb", "micro_batch=5")).micro_batch == 5  # as given
    begun = replace(sized("memory=8gb"), micro_batch=3)
    assert fitted(sized("memory=8gb"), begun).micro_batch == 3


def test_a_step_that_never_fits_is_one_line():
    config = sized("memory=8gb")
    engine = Holder(config=config, begun=None, device=torch.device("cpu"), is_main=True)
    expected = (
        r"within 6\.80 GiB for memory=8gb, found 9\.00 GiB with 2 images.* or lower matching\.batch_size"
    )
    with pytest.raises(InputError, match=expected):
        fit_to_memory(engine, 12, lambda *_: 9 * GIB, "matching.batch_size")


def test_a_run_keeps_its_micro_batches(trained_encoders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "s2i.training.encoder.count_encoder_peak",
        lambda _, config, *rest: 8 * GIB * (config.micro_batch != 2),
    )
    config = override(
        tiny_training_config(trained_encoders / "data", tmp_path / "run"), ["memory=8gb", "matching.steps=2"]
    )
    train_encoder(config)
    assert "micro_batch: 2\n" in (tmp_path / "run" / "config.yaml").read_text()
    monkeypatch.setattr("s2i.training.encoder.count_encoder_peak", lambda *_: pytest.fail("counted again"))
    train_encoder(config)  # finds it finished
    with pytest.raises(InputError, match="memory: 8gb -> unlimited"):
        train_encoder(replace(config, memory="unlimited"))


def test_a_region_loss_that_is_compared_image_by_image_is_counted_too(monkeypatch):
    monkeypatch.setattr(region_comparison, "AT_ONCE", 1)
    with without_data() as live:
        regions = torch.randn(4, 8, 9, requires_grad=True)
        sequence, mask = torch.randn(4, 8, 5), torch.rand(4, 5) > 0.5
        assert mask.nonzero().shape == (20, 2)  # a mask chooses every row
        sum(losses.region_loss(regions, sequence, mask, torch.arange(4), (4.0, 5.0, 10.0))).backward()
        assert regions.grad.shape == regions.shape
    assert live.peak > 0
