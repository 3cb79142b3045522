"""recipes/cub: what its run.sh plans, and what it makes of a miniature of the data set."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s2i.config import Config
from s2i.config_files import load_config
from s2i.data.pack import Pack
from s2i.models.build import build_image_encoder
from s2i.runs.pretrained_weights import connect, require_backbone
from tests.fixtures.cub import write_cub
from tests.recipes.tree import write_tree

ROOT = Path(__file__).parents[2]
RUN = "recipes/cub/run.sh"


def bash(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    environment = {**os.environ, "S2I_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    words = [shutil.which("bash"), *map(str, words)]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def planned(*words: str | Path) -> list[list[str]]:
    done = bash(RUN, "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def values(command: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in command if "=" in word)


def test_the_stages_are_named_in_order():
    lines = [line.split() for line in bash(RUN, "--list").stdout.splitlines()]
    stages = (
        "data",
        "speak",
        "pack",
        "classifier",
        "encoders",
        "generators",
        "evaluate",
        "compare",
        "export",
    )
    assert [(line[0], line[1]) for line in lines] == [(str(n), name) for n, name in enumerate(stages, 1)]


def test_nothing_is_planned_to_be_written_into_the_root(tmp_path):
    for words in planned("--preset", "s2igan", "--root", tmp_path / "birds"):
        touched = [word for word in words if str(tmp_path) in word]
        assert len(touched) <= 1 and (not touched or "--root" in words or words[0] == "ln")
    assert not (tmp_path / "birds").exists()


SPEECH_ALONE = {"cmcgan", "deep_cross_modal_autoencoded", "deep_cross_modal_speech"}  # run.sh refuses them


def test_presets_of_one_size_share_a_pack_and_others_do_not():
    packs = {}
    for preset in sorted((ROOT / "recipes" / "cub" / "conf").glob("*.yaml")):
        if preset.stem in SPEECH_ALONE:
            continue
        [classifier] = planned("--preset", preset.stem, "--stage", "4", "--stop-stage", "4")
        *_, r_precision_encoder = planned("--preset", preset.stem, "--stage", "5", "--stop-stage", "5")
        assert values(classifier)["classifier.pack"] == values(classifier)["data.pack"]
        assert values(r_precision_encoder)["seed"] != values(classifier).get("seed", "0")
        packs[preset.stem] = values(classifier)["data.pack"]
        # A pretrained network that trains the generators has no part in the R-precision encoder.
        config = load_config(ROOT / "recipes" / "cub" / "conf" / f"{preset.name}")
        assert (
            config.image_encoder.kind == "small"
            or values(r_precision_encoder)["image_encoder.kind"] == "small"
        )
        overrides = [word for word in r_precision_encoder if "=" in word and not word.startswith("-")]
        load_config(ROOT / "recipes" / "cub" / "conf" / f"{preset.name}", overrides)
        assert not (
            config.evaluation.efficientnet_lite0 and config.image_encoder.kind == "efficientnet_lite0"
        )
    assert packs["s2igan"] == packs["attngan"] == packs["stackgan_v2"] == packs["speech_attngan"]
    assert len({packs[name] for name in ("s2igan", "attngan4", "li2020", "small", "smoke")}) == 5


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A tree like this repository's with a miniature of CUB beside it, which nobody may write into."""
    folder = write_tree(tmp_path_factory.mktemp("tree"))
    write_cub(folder / "birds")
    return folder


def test_data_speech_and_packs_come_of_the_root_which_is_left_alone(tree):
    """What follows are the commands that the recipe of painted birds runs in its own test."""
    before = sorted(path.relative_to(tree) for path in (tree / "birds").rglob("*"))
    words = [RUN, "--preset", "smoke", "--root", tree / "birds", "--stop-stage", "3"]
    done = bash(*words, cwd=tree)
    assert done.returncode == 0, done.stderr[-4000:]
    assert sorted(path.relative_to(tree) for path in (tree / "birds").rglob("*")) == before
    pack = Pack(tree / "recipes" / "cub" / "data" / "smoke" / "pack" / "test")
    assert len(pack.records) == 6 and len(pack.class_labels) == 2
    assert len(pack.usable("speech")) == len(pack.usable("text")) == 60
    stamps = {path: path.stat().st_mtime_ns for path in pack.folder.iterdir()}
    done = bash(*words, cwd=tree)
    assert done.returncode == 0 and "packed before" in done.stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in pack.folder.iterdir()}


def test_small_presets_need_no_weights_but_those_that_come_by_pip():
    for preset, kind in (
        ("small", "efficientnet_lite0"),
        ("small_s2igan", "efficientnet_lite0"),
        ("small_attngan", "efficientnet_lite0"),
        ("small128", "efficientnet_lite0"),
        ("ours", "efficientnet_lite0"),
        ("smoke", "small"),
    ):
        config = load_config(ROOT / "recipes" / "cub" / "conf" / f"{preset}.yaml").image_encoder
        assert (config.kind, config.weights) == (kind, "")
        require_backbone(connect(build_image_encoder(Config(image_encoder=config)), config))


def test_small_trains_no_more_than_its_generators_learn_from():
    commands = planned("--preset", "small", "--stage", "3", "--stop-stage", "6")
    runs = {values(words)["run"] for words in commands if "run" in values(words)}
    names = ("classifier", "r-precision-encoder", "speech-encoder", "text-encoder", "speech-gan", "text-gan")
    assert runs == {f"recipes/cub/exp/small-{name}" for name in names}
