"""The benchmark: plain forms compute what the package does; clock, counts, and a checkout beside ours."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from s2i import losses, region_comparison
from s2i.config_data import AudioConfig
from s2i.data.audio import log_mel
from s2i.data.crops import read_images
from s2i.data.resampling import resample
from s2i.errors import InputError
from s2i.metrics.distances import kernel_distance
from s2i.models.build import build_caption_encoder
from s2i.search.nearest import VectorTable, write_table
from tests.benchmarks.search import of_classes, unit
from tests.benchmarks.suite import __main__ as suite
from tests.benchmarks.suite import against, data_rows, plain
from tests.benchmarks.suite.data_rows import World, falling_noise
from tests.benchmarks.suite.machine import Machine
from tests.benchmarks.suite.table import entry, markdown
from tests.benchmarks.suite.timing import OURS, PLAIN, Choice, Row, Timed, bytes_of, counted, time_row
from tests.fixtures.models import tiny_model_config

MACHINE = Machine("a processor", 2, "2.11", {"fp32": 1e9}, 1e8)

CHECKOUT = """
import torch
from settings import cfg
from torch import nn


class CA_NET(nn.Module):
    pass


class NEXT_STAGE_G(nn.Module):
    pass


class G_NET(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(cfg.GAN.Z_DIM + 1024, 3)

    def forward(self, noise, embedding):
        colours = self.linear(torch.cat((noise, embedding), 1))
        return [colours[:, :, None, None].expand(-1, -1, 256, 256).tanh()], None, None


class D_NET64(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 + 128, cfg.GAN.DF_DIM)

    def forward(self, images, condition):
        features = self.linear(torch.cat((images.mean((2, 3)), condition), 1))
        return [features.sigmoid(), features.sigmoid(), features]
"""


SETTINGS = """
from types import SimpleNamespace

cfg = SimpleNamespace(CUDA=True, GAN=SimpleNamespace(Z_DIM=1, DF_DIM=1))
"""


# Plain forms


def test_the_plain_log_mel_and_resampling_are_ours():
    waveform = falling_noise(1)
    features = log_mel(waveform, AudioConfig()).numpy()
    np.testing.assert_allclose(features, plain.log_mel(waveform.numpy()), atol=2e-3)
    recorded = falling_noise(1, 48000)
    ours = resample(recorded, 48000, 22050).numpy()
    theirs = plain.resample(recorded.numpy(), 48000, 22050)
    assert np.abs(ours - theirs).max() < 0.02 * np.abs(theirs).max()  # another filter's edge


def test_the_plain_region_loss_is_ours(monkeypatch):
    torch.manual_seed(0)
    regions, sequence = torch.randn(5, 6, 9), torch.randn(5, 6, 4)
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1, 4])[:, None]
    given = regions, sequence, mask, torch.tensor([0, 1, 1, 2, 3]), (4.0, 5.0, 10.0)
    expected = plain.region_loss(*given)
    torch.testing.assert_close(sum(losses.region_loss(*given)), expected)
    monkeypatch.setattr(region_comparison, "AT_ONCE", 0)
    torch.testing.assert_close(sum(losses.region_loss(*given)), expected)


def test_a_batch_that_is_loaded_plainly_is_a_batch_of_the_pack(tmp_path):
    world = World.write(tmp_path, side=16)
    pack = world.pack("pack")
    images, mels = plain.load_batch(world.images[:3], world.recordings[:3], pack.packed_size, pack.side)
    ours = read_images(pack, np.arange(3), np.zeros((3, 3), dtype=np.int64), pack.packed_size)
    assert ours.shape == images.shape and mels.shape[:2] == (3, 40)
    # The pack crops before it resizes, and cuts silence: the same sizes, about the same numbers.
    assert abs(len(pack.mel(0)) - int((mels[0].abs().sum(0) > 0).sum())) < 10


@pytest.mark.parametrize("kind", ["efficientnet_lite0", "inception_v3"])
def test_a_pack_has_rows_and_cached_features_are_those_computed_plainly(monkeypatch, kind):
    assert data_rows.SIDES["paper"] == (256, 299) and set(data_rows.NETWORKS) == {64, 299}
    monkeypatch.setattr(data_rows, "BATCH", 3)
    monkeypatch.setattr(data_rows, "SIDES", {"paper": (32, 80)})
    monkeypatch.setattr(data_rows, "NETWORKS", {80: kind})
    named = []
    for row in data_rows.rows(Choice(quick=True, components=("loading", "packing", "feature cache"))):
        named.append((row.part, row.size, re.search(r"(\d+) px", row.name)[1]))
        outputs, expected = row.forms[OURS](), row.forms[PLAIN]()
        if row.part == "feature cache":
            for ours, theirs in zip(outputs, expected, strict=True):
                assert ours.shape == theirs.shape and theirs.std(0).max() > 0.01
                torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3 * float(theirs.abs().max()))
            assert row.bytes == 1.5 * bytes_of(outputs)
    expected = [(part, "paper", side) for side in ("32", "80") for part in ("loading", "packing")]
    assert named == [*expected, ("feature cache", "paper", "80")]
    monkeypatch.setattr(data_rows.World, "write", lambda folder, side: pytest.fail("nothing needs a pack"))
    for choice in (Choice(components=("search",)), Choice(sizes=("painted birds",))):
        chosen = data_rows.rows(choice)
        assert not {row.part for row in chosen} & set(data_rows.PARTS)


def test_captions_one_by_one_are_those_of_a_batch():
    config = tiny_model_config("speech")
    encoder = build_caption_encoder(config, 0).eval()
    lengths = torch.tensor([40, 60])
    inputs = torch.randn(2, config.audio.mel_bins, 60) * (torch.arange(60) < lengths[:, None, None])
    vectors = plain.captions_one_by_one(encoder, inputs, lengths)
    torch.testing.assert_close(vectors, encoder(inputs, lengths).sentence)


def test_the_plain_search_and_distance_are_ours(tmp_path):
    vectors = unit(of_classes(300, 32, np.random.default_rng(0)))
    np.save(tmp_path / "vectors.npy", vectors[1:])
    write_table(tmp_path)
    places, cosines = VectorTable(tmp_path).nearest(vectors[0], 5)
    expected = plain.nearest(vectors[1:], vectors[0], 5)
    assert places.tolist() == expected[0].tolist()
    np.testing.assert_allclose(cosines, expected[1], atol=1e-5)
    first, second = vectors[:100], vectors[100:220]
    assert kernel_distance(first, second) == pytest.approx(plain.kernel_distance(first, second), abs=1e-5)


# The clock and the counts


def test_forms_take_turns_and_ratios_are_of_each_round():
    now, order = [0.0], []

    def takes(name, seconds):
        order.append(name)
        now[0] += seconds

    forms = {OURS: partial(takes, OURS, 1.0), PLAIN: partial(takes, PLAIN, 3.0)}
    row = Row("part", "name", "", "fp32", forms, clock=lambda: now[0])
    timed = time_row(row, seconds=12)
    turns = order[4:]  # after two calls of each, of which the second says how often it is called
    # A turn's first call doesn't count.
    assert turns == [OURS, OURS, *[PLAIN] * 4, *[OURS] * 4, PLAIN, PLAIN]
    assert timed.seconds == {OURS: [1.0] * 3, PLAIN: [3.0] * 3} and timed.ratio() == (3.0, 3.0, 3.0)
    short = replace(row, forms={OURS: partial(takes, OURS, 0.005)})
    order.clear()
    assert time_row(short, seconds=0.04).seconds[OURS] == pytest.approx([0.005] * 3)
    assert len(order) == 2 + 3 * (1 + 4)  # turns of .02 s


def test_operations_and_bytes_are_counted_and_say_how_far_the_limit_is():
    first, second = torch.randn(2, 3), torch.randn(3, 5)
    assert counted(lambda: first @ second) == 2 * 2 * 3 * 5
    assert bytes_of(torch.nn.Linear(3, 5), [first]) == 4 * (15 + 5 + 6)
    assert MACHINE.limit(1e9, 1e7, "fp32") == 2.0 and MACHINE.limit(1e8, 1e8, "bf16") == 2.0
    row = Row("GAN", "a step", "paper", "fp32", {OURS: print, PLAIN: print, "other": print}, 1e9, 0)
    timed = Timed(row, {OURS: [4.0, 5.0, 4.0], PLAIN: [8.0, 10.0, 6.0], "other": [4.0, 5.0, 4.0]})
    row_entry = entry(timed, MACHINE)
    assert row_entry["share_of_limit"] == 0.5 and row_entry["milliseconds"][OURS] == 4000
    assert row_entry["ratio"][PLAIN] == {"median": 2.0, "lower": 1.75, "upper": 2.0}
    table = markdown([row_entry], MACHINE)
    cells = "4000 | 8000 | 2.00 [1.75, 2.00] | other: 1.00 [1.00, 1.00] | 50 % |"
    assert f"| GAN | a step | paper | fp32 | {cells}" in table
    assert "a processor, 2 threads" in table


def test_rows_are_chosen_by_part_size_and_precision():
    assert Choice().has("GAN", "paper") and Choice().has("search") and Choice().has_precision("bf16")
    choice = Choice(components=("GAN", "search"), sizes=("paper",), precisions=("fp32",))
    assert choice.has("GAN", "paper") and not choice.has("GAN", "painted birds")
    assert not choice.has("search") and not choice.has("encoder", "paper")
    assert choice.has_precision("fp32") and not choice.has_precision("bf16")


# The command


def test_a_part_is_written_as_json_and_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(suite, "measure_machine", lambda: MACHINE)
    threads = torch.get_num_threads()
    words = ["--quick", "--parts", "evaluation", "--output", str(tmp_path / "made")]
    monkeypatch.setattr(sys, "argv", ["suite", *words])
    monkeypatch.setattr(suite.use_rows, "rows", lambda choice: iter([_row("evaluation"), _row("search")]))
    suite.main()
    torch.set_num_threads(threads)
    made = json.loads((tmp_path / "made" / "benchmark.json").read_text())
    assert [row["part"] for row in made["rows"]] == ["evaluation"] and made["machine"]["threads"] == 2
    assert (tmp_path / "made" / "benchmark.md").read_text() == capsys.readouterr().out


def _row(part: str) -> Row:
    return Row(part, "a sum", "", "fp32", {OURS: lambda: sum(range(999)), PLAIN: lambda: sum(range(999))})


@pytest.mark.parametrize(
    "words, expected",
    [
        (["memory"], ["memory"]),
        (["scaling", "search", "memory"], ["rows of search", "memory", "scaling"]),
        (["search"], ["rows of search"]),
        ([], ["rows of search", "rows of evaluation"]),
    ],
)
def test_memory_and_scaling_are_counted_when_named_and_alone_time_nothing(words, expected, monkeypatch):
    done = []
    monkeypatch.setattr(suite, "measure_machine", lambda: MACHINE)
    monkeypatch.setattr(suite, "PARTS", {suite.use_rows: ("search", "evaluation")})
    monkeypatch.setattr(
        suite.use_rows, "rows", lambda choice: map(_row, filter(choice.has, ("search", "evaluation")))
    )
    monkeypatch.setattr(suite, "time_row", lambda row, _: done.append(f"rows of {row.part}"))
    monkeypatch.setattr(suite, "entry", lambda *_: {"ratio": 1})
    monkeypatch.setattr(suite, "markdown", lambda *_: "")
    for name, counting in suite.COUNTED.items():
        assert counting.func.__module__ == f"tests.benchmarks.{name}" and all(
            map(Path.is_file, counting.args[0])
        )
        monkeypatch.setitem(suite.COUNTED, name, partial(done.append, name))
    monkeypatch.setattr(sys, "argv", ["suite", *(["--parts", *words] if words else [])])
    threads = torch.get_num_threads()
    suite.main()
    torch.set_num_threads(threads)
    assert done == expected


NOWHERE = ["--against", "nowhere", "--parts", "search"]


@pytest.mark.parametrize("words", [["--parts", "smell"], ["--threads", "0"], NOWHERE])
def test_bad_input_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setattr(suite, "measure_machine", lambda: MACHINE)
    monkeypatch.setattr(suite.use_rows, "rows", lambda choice: iter([]))
    monkeypatch.setattr(sys, "argv", ["suite", *words])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as stopped:
        suite.main()
    torch.set_num_threads(threads)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and len(lines) == 1 and lines[0].startswith("s2i: error: ")


def test_a_checkouts_modules_are_timed_on_the_same_shapes(tmp_path):
    code = tmp_path / "checkout" / "models"
    code.mkdir(parents=True)
    (code / "model.py").write_text(CHECKOUT)
    (tmp_path / "checkout" / "settings.py").write_text(SETTINGS)
    path = list(sys.path)
    generation, discriminator = list(against.rows(tmp_path / "checkout", quick=True))
    assert "s2igan: 1 image of 256 px" in generation.name and "discriminator of 64 px" in discriminator.name
    shapes = [form().shape for form in generation.forms.values()]
    assert shapes == [(1, 3, 256, 256)] * 2 and generation.operations > 9e9
    discriminator.forms[against.THEIRS]()
    settings = sys.modules.pop("settings").cfg
    assert settings.GAN.Z_DIM == 100 and settings.CUDA is False and sys.path == path
    with pytest.raises(InputError, match="no Python file with a class G_NET"):
        against.find_module(tmp_path / "x")
    (code / "model.py").write_text("import a_package_of_another_time\nclass G_NET: pass\n")
    with pytest.raises(InputError, match="ModuleNotFoundError.*mend the checkout"):
        against.find_module(tmp_path / "checkout")
