"""fine_tune.sh: its commands read what run.sh has made, and start from the runs that it has trained."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from s2i.config_files import load_config
from tests.recipes.test_recipe_options import ROOT, bash, planned, values

SCRIPT = ROOT / "recipes" / "painted_birds" / "fine_tune.sh"


def tuned(*words: str | Path) -> list[list[str]]:
    done = bash(SCRIPT, "--dry-run", *words, S2I_PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def trainings(commands: list[list[str]]) -> list[dict[str, str]]:
    """The settings of each training among the commands."""
    return [values(words) for words in commands if "s2i" in words and "run" in values(words)]


@pytest.mark.parametrize("preset", ["default", "best"])
def test_it_starts_from_the_runs_of_the_recipe(preset):
    runs = {settings["run"]: settings for settings in trainings(planned("--preset", preset))}
    encoder, generator = trainings(tuned("--preset", preset))
    for each in (encoder, generator):
        earlier = runs[each["start_from"]]
        assert each["data.root"] == earlier["data.root"] and each["data.pack"] != earlier["data.pack"]
        for key in ("classifier.pack", "evaluation.classifier", "modality"):
            assert each[key] == earlier[key]
    assert generator["gan.encoder"] == encoder["run"] and encoder["run"] not in runs
    spoken, *_ = tuned("--preset", preset)
    assert spoken[spoken.index("--manifest") + 1] == f"{encoder['data.root']}/manifest.jsonl"
    assert spoken[spoken.index("--output") + 1] == encoder["data.manifest"]
    *_, exported = tuned("--preset", preset)
    assert set(exported) >= {generator["run"], f"recipes/painted_birds/exp/{preset}-text-gan"}


def test_it_takes_a_part_of_the_steps_and_a_callers_other_settings():
    plan = ROOT / "mine.yaml"
    words = ("--voices", plan, "--", "gan.steps=33", "matching.optimiser.lr=3e-4")
    *_, generator = (command for command in tuned(*words) if "train-gan" in command)
    words = [word for word in generator if "=" in word]
    config = load_config(ROOT / generator[generator.index("--config") + 1], words)
    assert (config.gan.steps, config.gan.grow, config.matching.steps) == (3, (), 3000)
    assert (config.matching.optimiser.lr, config.gan.generator.schedule.start) == (3e-4, 0)
    assert config.run.endswith("best-mine-speech-gan") and config.data.pack.endswith("pack-mine")


@pytest.mark.parametrize("preset", ["wav2pix", "stackgan", "speech2face"])
def test_presets_that_can_not_be_fine_tuned_are_refused_at_once(preset):
    done = bash(SCRIPT, "--preset", preset, "--dry-run")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("s2i: error: expected a preset of matched encoders")
