"""`s2i systems`: several runs on the same captions in one table and page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2i.config import Config
from s2i.config_files import load_config
from s2i.errors import InputError
from s2i.evaluation.extractors import Extractor
from s2i.evaluation.feature_bank import FeatureBank
from s2i.reports import measured
from s2i.reports.systems import SHOWN, compare_systems, last_known
from s2i.reports.systems_page import GAP, NAMES_WIDTH, System, _row
from tests.fixtures.runs import write_gan_run, write_world

PLANNED = Config().gan.steps
PUBLISHED = {"speech": {"name": "A system", "figures": "IS 4.00", "source": "its paper"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """Runs of two speech systems, the second of another seed and width; a text run; a classifier."""
    folder = tmp_path_factory.mktemp("systems")
    runs = write_world(folder, classifier_steps=10)
    config = load_config(runs["speech"] / "config.yaml")
    other = folder / "exp" / "tiny-speech-seed-1"
    generator = replace(config.generator, channels=16)
    write_gan_run(other, replace(config, run=str(other), seed=1, generator=generator), seed=1)
    (folder / "published.json").write_text(json.dumps(PUBLISHED))
    return runs | {"other": other, "published": folder / "published.json"}


@pytest.fixture(scope="module")
def written(world, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("report") / "table"
    compare_systems([world["speech"], world["other"]], output, world["published"])
    return output


@pytest.mark.parametrize(("planned", "shown"), [(0, "40"), (40, "40"), (2200, "40 of 2,200")])
def test_a_training_that_is_not_finished_is_said_to_be_so(planned, shown):
    assert _row(System("a", {}, steps=40, planned_steps=planned))["steps"] == shown


def test_a_row_a_system_with_intervals_size_speed_and_published_figures(written):
    comparison = json.loads((written / "results.json").read_text())
    names = [row["name"] for row in comparison["systems"]]
    assert names == ["A system", "A system, seed 1", "real images", "chance"]
    first, second, real, chance = comparison["systems"]
    for row in (first, second):
        assert {"attribute accuracy", "class mAP of generated images", "classifier KID"} <= row[
            "values"
        ].keys()
        low, high = row["intervals95"]["attribute accuracy"]
        assert low <= row["values"]["attribute accuracy"] <= high
        assert row["steps"] == 40 and row["seconds"] == 20 and row["planned_steps"] == PLANNED
    assert second["parameters"] > first["parameters"] > 0
    assert 0 < chance["values"]["attribute accuracy"] < 1 and "classifier KID" in real["values"]
    assert first["published"] == "IS 4.00" and set(comparison["protocols"]) >= {"attribute_accuracy"}
    table = (written / "table.md").read_text()
    assert f"| 40 of {PLANNED:,} |" in table  # the fixture's training is no further
    assert "| A system, seed 1 |" in table and "0.50 |" in table and "- A system: its paper" in table


def test_the_grid_has_a_named_row_of_real_images_and_one_a_system(written):
    page = (written / "index.html").read_text()
    captions = json.loads((written / "results.json").read_text())["captions"]
    image = Image.open(written / "images.png")
    side = 32
    assert len(captions) == SHOWN and image.size[1] == pytest.approx(3 * side, abs=16)
    assert image.size[0] == pytest.approx(NAMES_WIDTH + SHOWN * side, abs=2 * SHOWN + 8)
    dark = np.asarray(image.convert("L"))[:, :NAMES_WIDTH] < 128
    rows = [dark[row * (side + GAP) :][:side].sum() for row in range(3)]  # letters
    assert rows[0] > 20 and rows[1] > 20 and rows[2] > rows[1]  # "A system, seed 1" after "A system"
    assert all(caption in page for caption in captions) and "real images, A system, A system, seed 1" in page


def test_what_is_measured_is_measured_once(world, written, monkeypatch):
    before = (written / "table.md").read_bytes()
    monkeypatch.setattr(measured, "measure", lambda *_: pytest.fail("measured again"))
    compare_systems([world["speech"], world["other"]], written, world["published"])
    assert (written / "table.md").read_bytes() == before


def test_another_scoring_network_measures_anew(world, written, monkeypatch):
    asked, measure, extractor = [], measured.measure, FeatureBank.extractor

    def other(bank: FeatureBank, name: str) -> Extractor | None:
        network = extractor(bank, name)
        return network and replace(network, identity="another")

    monkeypatch.setattr(FeatureBank, "extractor", other)
    monkeypatch.setattr(measured, "measure", lambda *given: (asked.append(given[0]), measure(*given))[1])
    compare_systems([world["speech"], world["other"]], written, world["published"])
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("twice", "runs of different names"),
        ("published", r"expected JSON \{run: \{name, figures, source\}\}"),
        ("foreign", "found .*notes.txt|anything else|s2i did not make|belongs"),
    ],
)
def test_bad_input_is_one_line(case, expected, world, tmp_path):
    runs, output, published = [world["speech"]], tmp_path / "table", None
    if case == "twice":
        runs *= 2
    elif case == "published":
        published = tmp_path / "bad.json"
        published.write_text('{"speech": {"name": "x"}}')
    else:
        output.mkdir()
        (output / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=expected) as raised:
        compare_systems(runs, output, published)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("systems-wav2pix", "wav2pix"),
        ("stackgan-wav2pix", "wav2pix"),
        ("wav2pix-stackgan-seed-1", "stackgan"),
        ("stackgan-deep_cross_modal_speech-seed-12", "deep_cross_modal_speech"),
        ("stackgan", "stackgan"),
        ("stackgan-seed-1", "stackgan"),
        ("systems-two-words", "two-words"),
        ("words-stackgan-again", "stackgan"),
        ("systems-stackganish", ""),
    ],
)
def test_a_systems_name_follows_the_last_known_part_of_its_runs(run, expected):
    keys = ["stackgan", "wav2pix", "deep_cross_modal", "deep_cross_modal_speech", "words", "two-words"]
    for known in (keys, keys[::-1]):
        assert last_known(run, known) == expected
