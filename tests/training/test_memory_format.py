"""`memory_format: auto`: what a trial decides, that it leaves no trace, that a run keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2i.models.build import build_discriminators, build_generator
from s2i.models.caption_encoding import CaptionEncoding
from s2i.training import memory_format
from s2i.training.distributed import Engine
from s2i.training.memory_format import FORMATS, decide, in_its_format, in_settled_format, seconds_in_both
from tests.fixtures.models import tiny_training_config


@pytest.fixture
def config(tmp_path):
    return tiny_training_config(tmp_path / "data", tmp_path / "run")


def networks_of(config):
    torch.manual_seed(0)
    return build_generator(config), build_discriminators(config, classes=3)


def placed(config, engine, generator, discriminators):
    widths = config.embedding_dim, config.generator.condition_dim
    return in_its_format(engine, generator, discriminators, [], *widths)


def lies(network, name):
    weight = next(part.weight for part in network.modules() if isinstance(part, torch.nn.Conv2d))
    return weight.is_contiguous(memory_format=FORMATS[name])


@pytest.mark.parametrize(
    ("gain", "expected", "words"),
    [
        (None, "channels_last", "not tried"),
        (0.5, "channels_last", "channels first took 2.0 times"),
        (1.05, "channels_last", "channels first took 1.0 times"),
        (1.5, "channels_first", "channels last took 1.5 times"),
    ],
)
def test_channels_last_unless_a_trial_finds_it_slower(gain, expected, words):
    chosen, reason = decide(gain)
    assert chosen == expected and words in reason


@pytest.mark.parametrize("slower", ["channels_last", "channels_first"])
def test_the_trial_of_copies_decides_and_leaves_no_trace(config, monkeypatch, slower):
    def seconds(networks, step):
        step()  # forward and backward, of copies
        return {name: 1.5 if name == slower else 1.0 for name in FORMATS}

    monkeypatch.setattr(memory_format, "seconds_in_both", seconds)
    engine, networks = Engine.start(config), networks_of(config)
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in networks]
    random = torch.get_rng_state()
    engine = placed(config, engine, *networks)
    (expected,) = set(FORMATS) - {slower}
    assert engine.config.memory_format == expected and "took 1.5 times" in engine.format_reason
    assert all(lies(part, expected) for part in networks)
    assert torch.equal(torch.get_rng_state(), random)
    for part, values in zip(networks, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in part.state_dict().items())
        assert all(weight.grad is None for weight in part.parameters())


def test_so_small_a_step_is_not_timed(config):
    engine = placed(config, Engine.start(config), *networks_of(config))
    assert engine.config.memory_format == "channels_last" and "not tried" in engine.format_reason


@pytest.mark.parametrize("enough", [5.0, 10.0])  # the first round alone is never enough
def test_the_best_of_a_few_steps_counts_and_threads_are_given_back(monkeypatch, enough):
    clock = iter([0, 9, 10, 17, 20, 23, 30, 35])  # steps of 9, 7, 3 and 5 s
    monkeypatch.setattr(memory_format.time, "process_time", lambda: next(clock))
    monkeypatch.setattr(memory_format, "ENOUGH", enough)
    threads, seen = torch.get_num_threads(), []
    seconds = seconds_in_both(torch.nn.Conv2d(3, 4, 3), lambda: seen.append(torch.get_num_threads()))
    assert seconds == {"channels_last": 3, "channels_first": 5} and seen == [1] * 4
    assert torch.get_num_threads() == threads


def test_a_continued_run_keeps_its_format_and_an_earlier_one_is_channels_last(config, monkeypatch):
    def refuse(*_):
        raise AssertionError("a trial")

    monkeypatch.setattr(memory_format, "seconds_in_both", refuse)
    engine = Engine.start(config)
    for kept, expected in (("auto", "channels_last"), ("channels_first", "channels_first")):
        begun = replace(engine, begun=replace(config, memory_format=kept))
        settled = placed(config, begun, *networks_of(config))
        assert (settled.config.memory_format, settled.format_reason) == (expected, "as this run was begun")
    given = replace(config, memory_format="channels_first")
    settled = placed(given, replace(engine, config=given, begun=replace(config)), *networks_of(config))
    assert (settled.config.memory_format, settled.format_reason) == ("channels_first", "as configured")


def test_without_a_trial_a_format_is_given_or_begun_with_or_the_usual_one(config, monkeypatch):
    monkeypatch.setattr(memory_format, "seconds_in_both", lambda *_: pytest.fail("a trial"))
    engine, first = Engine.start(config), "channels_first"
    last = "channels_last"
    cases = [("auto", None, last), (first, None, first), ("auto", first, first), (last, first, last)]
    for given, begun, expected in [*cases, ("auto", "auto", last)]:
        network = networks_of(config)[0]
        settled = in_settled_format(
            replace(
                engine,
                config=replace(config, memory_format=given),
                begun=begun and replace(config, memory_format=begun),
            ),
            network,
        )
        assert settled.config.memory_format == expected and lies(network, expected) and settled.format_reason


def test_both_formats_are_the_same_mathematics(config):
    gradients = []
    for memory in FORMATS.values():
        generator, discriminators = networks_of(config)
        generator.to(memory_format=memory), discriminators.to(memory_format=memory)
        width = config.embedding_dim
        encoding = CaptionEncoding(torch.randn(4, width), torch.randn(4, width, 5), torch.ones(4, 5).bool())
        images = generator(encoding, *generator.sample_batch_noise(4, torch.device("cpu"))).images
        condition = torch.randn(4, config.generator.condition_dim)
        views = discriminators.look(images)
        logits = [
            each.conditional_logits(each(view), condition)
            for each, view in zip(discriminators, views, strict=True)
        ]
        (images[-1].square().mean() + torch.stack(logits).sum()).backward()
        gradients.append([weight.grad for weight in generator.parameters() if weight.grad is not None])
    assert len(gradients[0]) > 20
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)
