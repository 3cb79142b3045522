"""The whole recipe, from nothing to report and model, with the preset that is made for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.recipes.tree import write_tree

ROOT = Path(__file__).parents[2]
RUNS = ("classifier", "r-precision-encoder", "speech-encoder", "text-encoder", "speech-gan", "text-gan")
RETRIEVAL = {"recall@1", "recall@5", "recall@10", "mAP"}
GENERATION = {"attribute_accuracy", "fid", "kid", "inception_score", "r_precision", "mAP"}


def run(tree: Path, *words: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*map(str, words)],
        cwd=tree,
        env={**os.environ, "S2I_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A tree like this repository's, so that runs land in it and not here; the code is this one's."""
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def recipe(tree) -> list[str]:
    """The command of the recipe, which has run once."""
    words = ["bash", "recipes/painted_birds/run.sh", "--preset", "smoke", "--exp", "small"]
    words += ["--root", str(tree / "birds")]
    done = run(tree, *words)
    assert done.returncode == 0, done.stderr[-4000:]
    return words


@pytest.fixture(scope="module")
def exp(recipe, tree) -> Path:
    return tree / "recipes" / "painted_birds" / "exp"


def test_every_training_leaves_a_whole_run(exp):
    for name in RUNS:
        folder = exp / f"small-{name}"
        for file in ("config.yaml", "env.json", "log.jsonl", "checkpoints/last.pt"):
            assert (folder / file).is_file(), f"{name}: {file}"
    for modality in ("speech", "text"):
        assert list((exp / f"small-{modality}-gan" / "samples").glob("*.png"))
        measured = (exp / f"small-{modality}-gan" / "metrics.jsonl").read_text().splitlines()
        lines = [json.loads(line) for line in measured]
        assert all(line["protocol"] and "seed" in line and "weights" in line for line in lines)
        assert {"attribute_accuracy", "mAP", "recall@1", "fid"} <= {line["metric"] for line in lines}


def test_the_report_has_the_contracts_numbers_and_opens_from_disk(exp):
    report = exp / "small-report"
    assert "<html" in (report / "index.html").read_text()
    results = json.loads((report / "results.json").read_text())
    assert {"protocols", "data", "seconds", "retrieval", "generation", "difference"} <= results.keys()
    assert results["protocols"] and all(isinstance(text, str) for text in results["protocols"].values())
    assert {"draw", "speak", "pack", "classifier"} <= results["seconds"].keys()
    assert {"speech", "text", "chance"} <= results["retrieval"].keys()
    assert {"speech", "text", "real", "chance"} <= results["generation"].keys()
    for of in ("speech", "text", "chance"):
        assert results["retrieval"][of].keys() >= RETRIEVAL
        assert all(0 <= results["retrieval"][of][name] <= 1 for name in RETRIEVAL)
    for of in ("speech", "text"):
        assert results["generation"][of].keys() >= GENERATION
    assert 0 < results["generation"]["chance"]["attribute_accuracy"] < 0.5
    for difference in results["difference"].values():
        low, high = difference["interval95"]
        assert low <= difference["speech_minus_text"] <= high and difference["n"] > 0


def test_the_exported_model_generates_from_speech_and_from_text(exp, tree):
    model = exp / "small-model"
    recording = next((tree / "birds").rglob("*.wav"), None) or next((tree / "birds").rglob("*.flac"))
    generate = [sys.executable, "-m", "s2i", "generate", "--model", model]
    for words in (["--speech", recording], ["--text", "a red bird with a black wing"]):
        image = tree / f"{words[0]}.png"
        done = run(tree, *generate, *words, "--output", image)
        assert done.returncode == 0, done.stderr
        assert Image.open(image).size == (64, 64)


def test_a_finished_recipe_is_left_as_it_is(recipe, exp, tree):
    """Up to the trainings: what follows them generates and measures again."""

    def stamps() -> dict[Path, int | bytes]:
        kept = [*(tree / "birds").rglob("*"), *exp.glob("*/checkpoints/*")]
        times: dict[Path, int | bytes] = {p: p.stat().st_mtime_ns for p in kept if p.is_file()}
        spoken = tree / "birds" / "spoken.jsonl"  # written again, the same
        return times | {spoken: spoken.read_bytes()}

    before = stamps()
    listed = run(tree, *recipe, "--list").stdout.splitlines()
    (stage,) = (line.split()[0] for line in listed if line.split()[1] == "evaluate")
    done = run(tree, *recipe, "--stop-stage", str(int(stage) - 1))
    assert done.returncode == 0, done.stderr[-4000:]
    assert stamps() == before
