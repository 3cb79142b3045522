"""A run that is measured while it trains ends in the bits of one that nobody looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2i.config import Config, EvaluationConfig, JudgeConfig
from s2i.data.pack import build_pack
from s2i.evaluation.records import evaluate
from s2i.runs.checkpoint import read_checkpoint
from s2i.training.classifier import train_judge
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.samples import SampleGrid
from tests.tiny import same, tiny_training_config
from tests.tiny_data import write_telling_data


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """Of a GAN training that saves at steps 4, 8 and 9, draws samples at 4 and 8, and has a judge."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "birds").mkdir()
    (folder / "others").mkdir()
    write_telling_data(folder / "birds")
    write_telling_data(folder / "others", train=20, val=4)
    config = tiny_training_config(folder / "birds", folder / "gan", "speech")
    other = tiny_training_config(folder / "others", folder / "judge", "speech")
    settings = JudgeConfig(pack=other.data.pack, channels=(8, 8), features=8, steps=4, batch_size=8)
    build_pack(config, ["train", "val"])
    build_pack(other, ["train", "val"])
    judge = train_judge(replace(other, judge=settings))
    train_encoder(replace(config, run=config.gan.encoder))
    return replace(config, evaluation=EvaluationConfig(split="val", judge=str(judge)))


def test_measuring_in_mid_training_leaves_its_bits(config, monkeypatch):
    quiet, watched = (replace(config, run=f"{config.run}-{name}") for name in ("quiet", "watched"))
    train_gan(quiet)
    draw, measured = SampleGrid.draw, []

    def draw_and_measure(self: SampleGrid, *rest) -> None:
        draw(self, *rest)
        if (Path(watched.run) / "checkpoints" / "last.pt").exists():
            measured.extend(evaluate(watched.run))  # in the very process that trains

    monkeypatch.setattr(SampleGrid, "draw", draw_and_measure)
    train_gan(watched)
    assert {line["protocol"] for line in measured} >= {"retrieval_by_caption", "judge_distances"}
    assert {line["step"] for line in measured} == {4, 8}
    one, other = (read_checkpoint(Path(each.run) / "checkpoints" / "last.pt") for each in (quiet, watched))
    for name in one.keys() - {"config"}:
        assert same(one[name], other[name]), name
