"""A run whose caption encoder comes from elsewhere, with embeddings of another width than this package's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2i.config_files import load_config, override
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.records import evaluate
from s2i.inference.model import load
from s2i.models.speech_encoder import SpeechEncoder
from tests.fixtures.runs import write_gan_run, write_world

WIDTH = 12


class WideEncoder(SpeechEncoder):
    """This package's own, of a width that no configuration says."""

    def __init__(self, config, audio, width: int) -> None:
        super().__init__(replace(config, hidden_dim=width // 2), audio)


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A run from speech with a WideEncoder; beside it a world of runs of the usual width."""
    runs = write_world(tmp_path_factory.mktemp("wide"), classifier_steps=1)
    config = load_config(runs["speech"] / "config.yaml")
    network = f"speech_encoder.network={__name__}:WideEncoder"
    folder = runs["speech"].with_name("wide")
    config = override(config, [network, f"speech_encoder.options.width={WIDTH}"])
    write_gan_run(folder, replace(config, run=str(folder)))
    return folder


def test_a_run_of_another_width_is_evaluated_by_every_protocol_that_an_own_one_is(wide):
    assert load_config(wide / "config.yaml").embedding_dim != WIDTH
    assert load(wide, "cpu").path("speech").embedding_dim == WIDTH
    bank = FeatureBank(load(wide, "cpu").path("speech"))
    assert bank.caption_embeddings.shape[1] == WIDTH
    measured, usual = evaluate(wide), evaluate(wide.with_name("tiny-speech"))
    names = [
        [(line["protocol"], line["metric"], line["of"]) for line in lines] for lines in (measured, usual)
    ]
    assert names[0] == names[1]
