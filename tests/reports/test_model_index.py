"""The figures in a card's front matter: which, of what, how written; and those of the shipped cards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from s2i import cli
from s2i.config import MISSING
from s2i.reports.model_index import HEADLINE, data_set_name, results
from s2i.tables import metric_label
from tests.fixtures.models import write_tiny_run

CARDS = sorted((Path(__file__).parents[2] / "checkpoints").glob("*/config.json"))


def _record(**changed):
    facts = {"metric": "mAP", "protocol": "retrieval_by_caption", "value": 0.123456, "split": "test"}
    return facts | {"modality": "speech", "counts": {"captions": 1000}} | changed


def test_headline_figures_stand_with_protocol_interval_and_counts():
    [result] = results("speech", "birds", [_record(interval95=[0.1, 0.20004])])
    assert result["task"]["type"] == "speech-to-image"
    assert result["dataset"] == {"type": "birds", "name": "birds", "split": "test"}
    args = {"protocol": "retrieval_by_caption", "n": "1,000 captions", "interval95": [0.1, 0.2]}
    assert result["metrics"] == [
        {"type": "mAP", "value": 0.123, "name": "mAP of retrieval, from speech", "args": args}
    ]


def test_the_last_of_a_figure_counts_and_others_are_left_to_the_card():
    records = [
        _record(value=0.1, step=3),
        _record(value=0.2, step=6),
        _record(value=0.9, of="real"),
        _record(protocol="retrieval_of_exact_image"),
        _record(metric="attribute_accuracy/wing", protocol="attribute_accuracy"),
    ]
    [result] = results("speech", "birds", records)
    assert [metric["value"] for metric in result["metrics"]] == [0.2]
    assert results("speech", "birds", records[2:]) == [] == results("text", "", [])


def test_figures_that_were_sampled_or_measured_otherwise_say_so():
    records = [_record(value=0.1), _record(value=0.2, candidates=8), _record(value=0.3, image_size=64)]
    [result] = results("speech", "birds", records)
    noted = [(each["args"].get("candidates"), each["args"].get("image_size")) for each in result["metrics"]]
    assert noted == [(None, None), (8, None), (None, 64)]


def test_splits_are_told_apart():
    both = results("text", "", [_record(split="val"), _record()])
    assert [result["dataset"].get("split") for result in both] == ["val", "test"]
    assert both[0]["dataset"]["name"] == "unknown"


@pytest.mark.parametrize(
    "manifest, name",
    [
        ("recipes/painted_birds/data/more/spoken.jsonl", "painted_birds"),
        ("/home/anna/s2i/recipes/cub/data/work/spoken.jsonl", "cub"),
        ("mine/manifest.jsonl", "mine"),
        ("Annas Vögel!/manifest.jsonl", "Annas_Vögel"),
        ("manifest.jsonl", ""),
        (MISSING, ""),
    ],
)
def test_a_data_set_is_called_by_its_recipe_or_its_folder(manifest, name):
    assert data_set_name(manifest) == name


def test_a_licence_is_given_to_the_export(tmp_path, capsys):
    run = write_tiny_run(tmp_path / "speech")
    cli.main(["export", str(run), str(tmp_path / "model"), "--license", "cc-by-4.0"])
    assert (tmp_path / "model" / "README.md").read_text().startswith("---\nlicense: cc-by-4.0\n")
    with pytest.raises(SystemExit) as status:
        cli.main(["export", str(run), str(tmp_path / "model"), "--license", "MIT: mine\n"])
    assert (
        status.value.code == 2 and "expected a licence as Hugging Face writes it" in capsys.readouterr().err
    )


@pytest.mark.parametrize("config", CARDS, ids=lambda file: file.parent.name)
def test_the_front_matter_of_a_shipped_card_says_what_its_tables_say(config):
    _, front, card = (config.parent / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "mit" and metadata["library_name"] == "s2i" and metadata["datasets"]
    [index] = metadata["model-index"]
    assert index["name"] == config.parent.name
    paths = json.loads(config.read_text(encoding="utf-8"))["paths"]
    assert [result["task"]["name"] for result in index["results"]] == [
        f"Images from {path}" for path in paths
    ]
    for result, path in zip(index["results"], paths, strict=True):
        table = card.partition(f"## From {path}\n")[2].partition("\n## ")[0].partition("The generator, at")[2]
        assert len(result["metrics"]) >= 5
        for metric in result["metrics"]:
            protocol = metric["args"]["protocol"]
            assert (protocol, metric["type"]) in HEADLINE
            [rows] = re.findall(rf"^\| {protocol} .*\n(?:\|  \|.*\n)*", table, re.MULTILINE)
            [row] = [row for row in rows.splitlines() if f"| {metric_label(metric['type'])} |" in row]
            cells = [re.findall(r"-?[\d.]+", cell) for cell in row.split("|") if "[" in cell]
            shown = [[float(word) for word in cell] for cell in cells]
            assert shown[0] == [metric["value"], *metric["args"]["interval95"]] and metric["args"]["n"] in row
