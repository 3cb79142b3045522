"""Runs held against a base: what the table says, what is measured once, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from s2i.config_files import load_config
from s2i.errors import InputError
from s2i.evaluation.records import evaluate
from s2i.reports import measured
from s2i.reports import tabulate as module
from s2i.reports.charts import Spread, spread_chart
from s2i.reports.tabulate import tabulate
from tests.fixtures.runs import write_gan_run, write_world

PUBLISHED = {"no-tiles": {"than": "base", "found": "worse", "numbers": "9 to 8", "source": "a paper"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """{"base", "seed", "tiles", "text", "both"}: runs of random weights over one data set."""
    folder = tmp_path_factory.mktemp("world")
    runs = write_world(folder)
    base = load_config(runs["speech"] / "config.yaml")
    made = {"base": runs["speech"], "text": runs["text"]}
    for number, (name, config) in enumerate(
        {
            "grid-base": base,
            "grid-base-seed-1": replace(base, seed=1),
            "grid-no-tiles": replace(base, generator=replace(base.generator, tile=False)),
        }.items(),
        1,
    ):
        write_gan_run(folder / "exp" / name, replace(config, run=str(folder / "exp" / name)), seed=number)
        made[name] = folder / "exp" / name
    return made


def grid(world: dict[str, Path]) -> list[Path]:
    return [world[name] for name in ("grid-base", "grid-base-seed-1", "grid-no-tiles")]


@pytest.fixture(scope="module")
def table(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    (folder / "published.json").write_text(json.dumps(PUBLISHED))
    return tabulate(grid(world), folder / "out", folder / "published.json").parent


def test_rows_have_the_numbers_that_evaluate_gives_and_what_they_change(world, table):
    results = json.loads((table / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["base", "base-seed-1", "no-tiles"]
    assert [row["changes"] for row in results["rows"]] == [
        {},
        {"seed": [0, 1]},
        {"generator.tile": [True, False]},
    ]
    for row, run in zip(results["rows"], grid(world), strict=True):
        alone = {
            (line["protocol"], line["metric"]): line["value"] for line in evaluate(run) if line["of"] == "run"
        }
        for column, (protocol, metric, _) in module.COLUMNS.items():
            assert row["values"][column] == pytest.approx(alone[protocol, metric])
        assert row["steps"] == 40 and row["seconds"] == 20.0
    assert set(results["protocols"]) == {protocol for protocol, _, _ in module.COLUMNS.values()}


def test_that_a_run_has_a_matching_model_is_a_change_and_where_it_lies_is_none(world, tmp_path):
    config = load_config(world["grid-base"] / "config.yaml")
    folders = {"with": "exp/matching", "moved": "exp/elsewhere"}
    for name, place in folders.items():
        run = tmp_path / name
        gan = replace(config.gan, matching_model=place)
        write_gan_run(run, replace(config, run=str(run), gan=gan))
    changes = module._changes(world["grid-base"], tmp_path / "with")
    assert changes == {"gan.matching_model": ("the encoders", "another")}
    assert module._changes(tmp_path / "with", tmp_path / "moved") == {}


def test_that_a_run_was_fine_tuned_is_a_change_and_from_where_is_none(world, tmp_path):
    config = load_config(world["grid-base"] / "config.yaml")
    for name, place in {"tuned": "exp/earlier", "moved": "exp/elsewhere"}.items():
        write_gan_run(tmp_path / name, replace(config, run=str(tmp_path / name), start_from=place))
    changes = module._changes(world["grid-base"], tmp_path / "tuned")
    assert changes == {"start_from": ("initial weights", "an earlier run or model")}
    assert module._changes(tmp_path / "tuned", tmp_path / "moved") == {}


def test_differences_are_paired_and_stand_in_table_and_chart(table):
    base, seed, tiles = json.loads((table / "results.json").read_text())["rows"]
    column = "attribute accuracy"
    assert base["difference"] is None
    for row in (seed, tiles):
        difference = row["difference"]
        assert difference["value"] == pytest.approx(row["values"][column] - base["values"][column])
        low, high = difference["interval95"]
        assert low <= difference["value"] <= high
    lines = (table / "table.md").read_text().splitlines()
    cells = [cell.strip() for cell in lines[4].split("|")[1:-1]]
    assert len(cells) == lines[0].count("|") - 1
    assert cells[:2] == ["no-tiles", "`generator.tile` False"]
    assert cells[6].startswith(f"{tiles['difference']['value']:+.3f} [")
    assert cells[9] == "worse than base: 9 to 8" and f"({tiles['difference']['value']:+.3f}" in cells[10]
    low, high = sorted(row["values"][column] for row in (base, seed))
    assert any(f"{low:.3f} to {high:.3f}" in line and "2 seeds" in line for line in lines)
    chart = ElementTree.parse(table / "chart.svg").getroot()
    words = [text.text for text in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert {"base-seed-1", "no-tiles"} <= set(words)


def test_a_run_is_measured_once_until_it_changes(world, table, monkeypatch):
    before = (table / "table.md").read_text()
    asked = []
    measure = measured.measure
    monkeypatch.setattr(measured, "measure", lambda *given: (asked.append(given[0]), measure(*given))[1])
    tabulate(grid(world), table, table.parent / "published.json")
    assert asked == [] and (table / "table.md").read_text() == before
    checkpoint = world["grid-no-tiles"] / "checkpoints" / "last.pt"
    os.utime(checkpoint, ns=(1, 1))
    tabulate(grid(world), table, table.parent / "published.json")
    assert len(asked) == 1 and (table / "table.md").read_text() == before
    monkeypatch.setattr(measured, "VERSION", measured.VERSION + 1)  # images are generated otherwise
    tabulate(grid(world), table, table.parent / "published.json")
    assert len(asked) == 1 + len(grid(world))


def test_text_is_paired_with_speech_where_the_captions_are_the_same(world, tmp_path):
    results = json.loads(
        (tabulate([world["base"], world["text"]], tmp_path).parent / "results.json").read_text()
    )
    text = results["rows"][1]
    assert text["changes"] == {"modality": ["speech", "text"]} and text["difference"]["captions"] == 60


def test_what_cannot_be_tabulated_is_refused(world, tmp_path):
    with pytest.raises(InputError, match="at least one other run"):
        tabulate([world["base"]], tmp_path / "out")
    copy = tmp_path / world["base"].name
    shutil.copytree(world["base"], copy)
    with pytest.raises(InputError, match="runs of different names"):
        tabulate([world["base"], copy], tmp_path / "out")
    (tmp_path / "bad.json").write_text('{"text": {"than": "base"}}')
    with pytest.raises(InputError, match=r"\{than, found, numbers, source\}.*KeyError.*bad.json"):
        tabulate(grid(world), tmp_path / "out", tmp_path / "bad.json")
    assert not (tmp_path / "out").exists()


def test_a_spread_chart_places_values_in_proportion():
    rows = [Spread("a", -0.1, (-0.2, 0.0)), Spread("b <&", 0.1, None, True)]
    generated = ElementTree.fromstring(spread_chart("title", rows))
    space = "{http://www.w3.org/2000/svg}"
    first, second = (float(circle.get("cx")) for circle in generated.iter(f"{space}circle"))
    [interval] = [line for line in generated.iter(f"{space}line") if line.get("class") == "interval"]
    low, high = float(interval.get("x1")), float(interval.get("x2"))
    assert np.isclose(first, (low + high) / 2, atol=0.1)
    assert np.isclose(second - first, high - low, atol=0.1)  # both .2
    [band] = [rect for rect in generated.iter(f"{space}rect") if rect.get("class") == "band"]
    assert np.isclose(float(band.get("x")) + float(band.get("width")), second, atol=0.1)
