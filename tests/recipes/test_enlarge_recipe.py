"""enlarge.sh: its commands start from the runs that run.sh has trained, each from the one before."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from s2i.config import Config
from s2i.config_files import load_config
from tests.recipes.test_recipe_options import ROOT, bash, values

FOLDER = ROOT / "recipes" / "cub"


def planned(script: str, *words: str | Path) -> list[list[str]]:
    done = bash(FOLDER / script, "--dry-run", *words, S2I_PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def config_of(words: list[str]) -> Config:
    settings = [word for word in words if "=" in word]
    return load_config(ROOT / words[words.index("--config") + 1], settings)


def trainings(commands: list[list[str]]) -> dict[str, Config]:
    """The configuration of each run, by the end of its name."""
    configs = [config_of(words) for words in commands if "run" in values(words)]
    return {Path(config.run).name.split("-", 1)[1]: config for config in configs}


@pytest.mark.parametrize("preset", ["small", "smoke"])
def test_each_training_starts_from_the_one_before(preset):
    earlier = trainings(planned("run.sh", "--preset", preset))
    enlarged = trainings(planned("enlarge.sh", "--preset", preset))
    assert len(enlarged) == 10
    for modality in ("speech", "text"):
        first, second, third, fourth = (
            enlarged[f"enlarged-{modality}-gan{end}"] for end in ("-unmatched", "-matched", "-sharpened", "")
        )
        before = earlier[f"{modality}-gan"]
        matching_model = enlarged[f"enlarged-{modality}-encoder"]
        assert [first.start_from, second.start_from, third.start_from, fourth.start_from] == [
            before.run,
            first.run,
            second.run,
            third.run,
        ]
        for config in (second, fourth):
            assert config.gan.matching_model == matching_model.run and config.gan.matching_weight > 0
        assert first.gan.matching_weight == before.gan.matching_weight
        for config in (first, second, third, fourth):
            assert config.generator.stages == before.generator.stages + 1
            assert config.gan.encoder == before.gan.encoder
            assert (config.data, config.evaluation, config.modality) == (
                before.data,
                before.evaluation,
                modality,
            )
        for config in (first, second):  # heads of the same size
            assert config.gan.feature_input_size == before.gan.feature_input_size
            assert not config.gan.generator_start
        for config in (third, fourth):
            assert config.gan.feature_input_size == 1.5 * before.gan.feature_input_size
            assert config.gan.generator_start
        assert third.gan.matching_weight == before.gan.matching_weight
        assert fourth.discriminator.plain_stages == fourth.generator.stages
        assert not third.discriminator.plain_stages
        assert matching_model.image_encoder.input_size * 2 == before.image_encoder.input_size


def test_the_images_are_packed_as_large_as_they_are_generated():
    for preset in ("small", "smoke"):
        config = config_of(planned("enlarge.sh", "--preset", preset)[0])
        assert config.data.packed_size >= 8 * 2**config.generator.stages


@pytest.mark.parametrize(
    "preset", ["small_s2igan", "ours", "s2igan", "gan_int_cls", "wav2pix", "speech2face"]
)
def test_presets_that_can_not_go_on_are_refused_at_once(preset):
    done = bash(FOLDER / "enlarge.sh", "--preset", preset, "--dry-run", S2I_PYTHON=sys.executable)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("s2i: error: expected a preset with discriminator.kind=projected")


@pytest.mark.parametrize("option", ["--root", "--voices"])
def test_options_of_data_that_is_made_already_are_refused(option):
    done = bash(FOLDER / "enlarge.sh", option, "x", "--dry-run", S2I_PYTHON=sys.executable)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "it reads what run.sh has made" in done.stderr


def test_without_the_runs_of_run_sh_it_says_so():
    done = bash(FOLDER / "enlarge.sh", "--exp", "nothing-of-this-name", S2I_PYTHON=sys.executable)
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert said.startswith(
        "s2i: error: expected the generators of run.sh, found none in recipes/cub/exp/nothing"
    )
    assert "call recipes/cub/run.sh first" in said


def test_steps_of_the_caller_are_those_of_run_sh():
    words = ("--exp", "mine", "--", "gan.steps=100", "matching.steps=16")
    runs = trainings(planned("enlarge.sh", *words))
    assert runs["enlarged-speech-gan-matched"].gan.steps == 25
    assert runs["enlarged-speech-gan-sharpened"].gan.steps == 42
    assert runs["enlarged-speech-gan"].gan.steps == 37 and runs["enlarged-text-encoder"].matching.steps == 10
    assert all(Path(config.run).name.startswith("mine-enlarged-") for config in runs.values())


def test_settings_of_the_caller_come_before_the_scripts_own():
    words = ("--", "generator.guidance=3", "gan.generator_start=0.5", "gan.generator.lr=1e-4")
    runs = trainings(planned("enlarge.sh", *words))
    for end in ("-sharpened", ""):
        config = runs[f"enlarged-text-gan{end}"]
        assert (config.generator.guidance, config.gan.generator_start) == (3, 0.5)
        assert config.gan.generator.lr == 1e-4
