"""The engine: schedules, averages, and a training that may be killed anywhere and ends in the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import nn

from s2i.config import Config, LogConfig, OptimiserConfig, ScheduleConfig
from s2i.errors import InputError
from s2i.runs.checkpoint import load_last
from s2i.runs.run import CLOCK
from s2i.training.distributed import Engine
from s2i.training.ema import average_decay, averaged, update_average
from s2i.training.loop import Training
from s2i.training.optim import (
    adam,
    clip_gradients,
    learning_rate_factor,
    load_optimiser,
    set_learning_rate,
)
from tests.fixtures.models import same

STEPS = 23
OPTIMISER = OptimiserConfig(lr=0.01, clip=1.0, schedule=ScheduleConfig(kind="linear", start=0.5))


def make_config(folder, **changes) -> Config:
    config = Config(run=str(folder), device="cpu", precision="fp32", threads=1)
    return replace(config, **{"log": LogConfig(every=4, checkpoint_every=5), **changes})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, values):
        return self.layers(values)


def train(config: Config, until: int | None = None, during=None, steps: int = STEPS) -> Training:
    """A small training; `until` is a step at whose end, before it is saved, the process "dies"."""
    engine = Engine.start(config)
    bare = Net()
    average = averaged(bare)
    net, optimiser = engine.prepare(bare, adam(bare.parameters(), OPTIMISER))
    saved = {"net": net, "ema": average, "optimiser": optimiser}
    with Training(engine, steps, saved, {"kind": "test"}) as training:
        while not training.finished:
            rate = set_learning_rate(optimiser, OPTIMISER, training.step, steps)
            loss = net(torch.randn(16, 4)).square().mean()
            optimiser.zero_grad()
            engine.backward(loss)
            norm = clip_gradients(net.parameters(), OPTIMISER.clip)
            optimiser.step()
            update_average(average, bare, training.step, 0.9)
            if during is not None:
                during(training, bare)
            training.record({"loss/all": loss, "lr/all": rate, "grad_norm/all": norm})
            if training.every(6) and engine.is_main:
                training.extra["last"] = training.step
                training.run.metric({"step": training.step, "metric": "square", "value": loss.item()})
            if training.step == until:
                break
            training.save_if_due()
    return training


def without(state: dict, *keys: str) -> dict:
    return {key: value for key, value in state.items() if key not in keys}


def assert_same_runs(first: Training, second: Training) -> None:
    states = [without(load_last(training.run.checkpoints), "config") for training in (first, second)]
    assert same(*states)
    assert first.run.read_metrics() == second.run.read_metrics()
    logs = [[without(line, *CLOCK) for line in training.run.read_log()] for training in (first, second)]
    assert logs[0] == logs[1] and [line["step"] for line in logs[0]] == [4, 8, 12, 16, 20, 23]


def test_a_run_killed_anywhere_ends_in_the_bits_of_an_unbroken_one(tmp_path):
    unbroken = train(make_config(tmp_path / "unbroken"))
    config = make_config(tmp_path / "broken")
    for step in (3, 13, 19):
        assert not train(config, until=step).finished
    assert_same_runs(train(config), unbroken)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_in_hand_and_the_run_continues_to_the_same_bits(tmp_path, number):
    def stop(training: Training, net: nn.Module) -> None:
        if training.step == 11:
            os.kill(os.getpid(), number)

    config = make_config(tmp_path / "stopped")
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(config, during=stop)
    assert load_last(tmp_path / "stopped" / "checkpoints")["step"] == 12
    assert signal.getsignal(number) is handler
    assert_same_runs(train(config), train(make_config(tmp_path / "unbroken")))


def test_a_finished_run_is_left_as_it_is(tmp_path):
    config = make_config(tmp_path)
    train(config)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert train(config).finished
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_checkpoint_holds_what_a_reader_and_a_resumption_need(tmp_path):
    train(make_config(tmp_path))
    state = load_last(tmp_path / "checkpoints")
    assert {"kind", "step", "config", "nets", "optimisers", "extra", "random"} <= set(state)
    assert state["kind"] == "test" and state["config"]["seed"] == 0
    assert set(state["nets"]["ema"]) == set(state["nets"]["net"])  # an average has its net's names
    assert set(state["optimisers"]) == {"optimiser"}


@pytest.mark.parametrize(("step", "term", "found_by"), [(2, "loss/all", 4), (9, "weights/net", 10)])
def test_a_value_that_is_not_finite_is_named_and_not_saved(tmp_path, step, term, found_by):
    def spoil(training: Training, net: nn.Module) -> None:
        if training.step == step:
            with torch.no_grad():
                net.layers[0].weight.fill_(float("nan"))

    with pytest.raises(InputError, match=rf"{term} = nan by step {found_by}"):
        train(make_config(tmp_path), during=spoil)
    saved = load_last(tmp_path / "checkpoints")
    assert (saved is None) == (step == 2)
    if saved:
        assert all(torch.isfinite(value).all() for value in saved["nets"]["net"].values())


def test_a_checkpoint_of_other_networks_is_refused(tmp_path):
    config = make_config(tmp_path)
    train(config)
    engine = Engine.start(config)
    other = nn.Linear(1, 1)
    with pytest.raises(InputError, match="last.pt"), Training(engine, 50, {"net": other}):
        pass


def test_bf16_trains_and_gives_float32_outputs(tmp_path):
    engine = Engine.start(make_config(tmp_path, precision="bf16"))
    linear = nn.Linear(64, 64)
    net = engine.prepare(linear)
    values = torch.randn(8, 64)
    output = net(values)
    exact = torch.nn.functional.linear(values, linear.weight, linear.bias)
    assert output.dtype == torch.float32 and linear.weight.dtype == torch.float32
    assert not torch.equal(output, exact) and torch.allclose(output, exact, atol=0.05)
    engine.backward(output.sum())
    assert torch.isfinite(linear.weight.grad).all()
    engine = Engine.start(make_config(tmp_path))  # the next training in this process has its own precision
    assert engine.prepare(nn.Linear(2, 2))(torch.zeros(1, 2)).dtype == torch.float32


def test_the_same_seed_builds_the_same_network(tmp_path):
    built = []
    for seed in (1, 1, 2):
        Engine.start(make_config(tmp_path, seed=seed))
        built.append(nn.Linear(3, 3).weight)
    assert torch.equal(built[0], built[1]) and not torch.equal(built[0], built[2])


def test_threads_are_as_configured(tmp_path):
    before = torch.get_num_threads()
    try:
        Engine.start(make_config(tmp_path, threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleConfig(), {0: 1.0, 99: 1.0}),
        (ScheduleConfig(kind="linear", start=0.6), {0: 1.0, 60: 1.0, 80: 0.5, 99: 0.025, 100: 0.0}),
        (ScheduleConfig(kind="linear", start=0.0), {0: 1.0, 25: 0.75}),
        (ScheduleConfig(kind="linear", start=1.0), {50: 1.0, 99: 1.0}),
        (ScheduleConfig(kind="linear", start=0.6, min_factor=0.2), {80: 0.5, 99: 0.2}),
        (ScheduleConfig(kind="step", every=30, factor=0.1), {0: 1.0, 29: 1.0, 30: 0.1, 90: 0.001}),
        (ScheduleConfig(warmup=4), {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0}),
    ],
)
def test_the_learning_rate_follows_its_formula(schedule, expected):
    factors = {step: learning_rate_factor(step, 100, schedule) for step in expected}
    assert factors == pytest.approx(expected)


def test_the_learning_rate_reaches_the_optimiser():
    optimiser = adam(nn.Linear(1, 1).parameters(), OPTIMISER)
    assert set_learning_rate(optimiser, OPTIMISER, 15, 20) == pytest.approx(0.005)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.005)


def test_clipping_returns_the_norm_before_and_zero_means_off():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 0.0) == pytest.approx(5.0)
    assert torch.equal(weight.grad, torch.tensor([3.0, 4.0]))
    assert clip_gradients([weight], 1.0) == pytest.approx(5.0)
    assert weight.grad.norm() == pytest.approx(1.0, abs=1e-4)


def test_the_average_is_a_net_of_its_own_with_ramped_decay_and_statistics_averaged_with_the_weights():
    net = Net()
    average = averaged(net)
    weight = mean = variance = None
    for step in range(4):
        with torch.no_grad():
            net.layers[0].bias.fill_(float(step))
            net.layers[1].running_mean.fill_(float(10 * step))
            net.layers[1].running_var.fill_(float(1 + step))
            net.layers[1].num_batches_tracked.fill_(100 + step)
        update_average(average, net, step, 0.3)
        decay = 0.0 if step == 0 else min(0.3, (1 + step) / (10 + step))
        weight, mean, variance = (
            new if old is None else decay * old + (1 - decay) * new
            for old, new in ((weight, step), (mean, 10 * step), (variance, 1 + step))
        )
    assert average.module.layers[0].bias[0] == pytest.approx(weight)
    assert average.module.layers[1].running_mean[0] == pytest.approx(mean)
    assert average.module.layers[1].running_var[0] == pytest.approx(variance)
    assert average.module.layers[1].num_batches_tracked == 103
    assert net.layers[0].bias[0] == 3 and net.layers[1].running_mean[0] == 30  # the live net is not touched
    assert not average.training and not any(weight.requires_grad for weight in average.parameters())


def test_the_average_ramps_up_to_its_decay():
    decays = [average_decay(step, 0.99) for step in (0, 10, 100, 10_000)]
    assert decays == sorted(decays) and decays[0] == pytest.approx(0.1) and decays[-1] == 0.99


# Adam


def plain_adam(weights: Iterable[nn.Parameter], settings: OptimiserConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        weights, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=False
    )


def test_weights_are_updated_in_one_pass_to_the_same_values():
    settings = OptimiserConfig(lr=0.01, betas=(0.5, 0.99), weight_decay=0.1)
    updated, states = [], []
    for make in (plain_adam, adam):
        torch.manual_seed(0)
        weights = [nn.Parameter(torch.randn(40, 30)), nn.Parameter(torch.randn(7))]
        optimiser = make(iter(weights), settings)
        for step in range(5):
            set_learning_rate(optimiser, settings, step, 5)
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            optimiser.step()
        updated.append(weights)
        states.append(optimiser.state_dict())
    assert [bool(state["param_groups"][0]["fused"]) for state in states] == [False, True]
    for plain, fused in zip(*updated, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)


def test_a_run_that_was_begun_without_fused_updates_goes_on_without():
    weights = [nn.Parameter(torch.randn(6, 5, 3, 3).to(memory_format=torch.channels_last)) for _ in range(2)]
    weights[1].data.copy_(weights[0].data)
    begun, continued = plain_adam(weights[:1], OPTIMISER), adam(weights[1:], OPTIMISER)
    load_optimiser(continued, begun.state_dict())
    assert not continued.param_groups[0]["fused"]
    for _ in range(3):
        weights[0].grad = torch.randn(6, 5, 3, 3)
        weights[1].grad = weights[0].grad.clone(memory_format=torch.channels_last)
        begun.step()
        continued.step()
    assert torch.equal(*weights)


@pytest.mark.parametrize("make", [plain_adam, adam])
def test_a_run_that_goes_on_in_another_memory_format_has_the_same_updates(make):
    formats = (torch.channels_last, torch.contiguous_format)
    gradients = torch.randn(2, 6, 5, 3, 3)
    weights = []
    for memory_format in formats:
        torch.manual_seed(0)
        first, second = (
            nn.Parameter(torch.randn(6, 5, 3, 3).to(memory_format=each))
            for each in (formats[0], memory_format)
        )
        begun, continued = (make([weight], OPTIMISER) for weight in (first, second))
        first.grad = gradients[0].clone(memory_format=torch.channels_last)
        begun.step()
        second.data.copy_(first.data)
        load_optimiser(continued, begun.state_dict())
        second.grad = gradients[1].clone(memory_format=memory_format)
        continued.step()
        weights.append(second.detach())
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("weight_lies", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("gradient_lies", [torch.channels_last, torch.contiguous_format])
def test_a_fused_update_is_the_same_however_weight_and_gradient_lie(weight_lies, gradient_lies):
    start, gradients = torch.randn(6, 5, 3, 3), torch.randn(3, 6, 5, 3, 3)
    updated = []
    for make, formats in ((plain_adam, [torch.contiguous_format] * 2), (adam, [weight_lies, gradient_lies])):
        weight = nn.Parameter(start.clone(memory_format=formats[0]))
        optimiser = make([weight], OPTIMISER)
        for gradient in gradients:
            weight.grad = gradient.clone(memory_format=formats[1])
            optimiser.step()
        updated.append(weight.detach())
    torch.testing.assert_close(*updated, rtol=1e-5, atol=1e-6)


def test_a_fused_update_copies_nothing_of_a_weight_that_is_channels_last():
    weight = nn.Parameter(torch.randn(6, 5, 3, 3).to(memory_format=torch.channels_last))
    optimiser = adam([weight], OPTIMISER)
    weight.grad = torch.randn_like(weight)
    optimiser.step()
    given = [[] for _ in range(6)]
    optimiser._init_group(optimiser.param_groups[0], *given)
    moments = optimiser.state[weight]
    whole = [weight, weight.grad, moments["exp_avg"], moments["exp_avg_sq"]]
    for (view,), tensor in zip(given[:4], whole, strict=True):
        assert view.is_contiguous() and view.data_ptr() == tensor.data_ptr()
        assert torch.equal(view.permute(0, 3, 1, 2), tensor) and tensor.shape == (6, 5, 3, 3)
