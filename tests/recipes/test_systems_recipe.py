"""systems.sh: the commands that it prints, and its presets."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s2i.config_files import load_config
from s2i.models.build import build_caption_encoder
from tests.recipes.presets import ROOT, load_preset

RECIPE = ROOT / "recipes" / "painted_birds"
SYSTEMS = ("s2igan", "li2020", "attngan", "attngan4", "stackgan_v2", "stackgan", "gan_int_cls", "wav2pix")
SYSTEMS += ("deep_cross_modal", "deep_cross_modal_random", "deep_cross_modal_autoencoded")
SYSTEMS += ("deep_cross_modal_speech", "cmcgan", "speech2face", "default")
CROSS_MODAL = ("deep_cross_modal_speech", "cmcgan")


@pytest.fixture(scope="module")
def commands() -> list[list[str]]:
    done = subprocess.run(
        [shutil.which("bash"), RECIPE / "systems.sh", "--dry-run", "--", "gan.steps=31"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "S2I_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def values(command: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in command if "=" in word)


def test_every_system_has_one_budget_of_steps(commands):
    trained = {}
    for words in commands:
        if {"train-gan", "train-regression", "train-cross-modal"} & set(words):
            given = values(words)
            trained[Path(given["run"]).name] = given
    assert {f"systems-{name}" for name in SYSTEMS} <= trained.keys()
    for name in SYSTEMS:
        given = trained[f"systems-{name}"]
        if name == "speech2face":
            assert given["regression.decoder_steps"] == given["regression.steps"] == "16"
        elif name == "stackgan":
            first = trained["systems-stackgan-stage1"]
            assert (
                given["gan.steps"] == first["gan.steps"] == "16" and given["gan.first_stage"] == first["run"]
            )
        elif name in CROSS_MODAL:
            assert given["cross_modal.steps"] == "31", name
        else:
            assert given["gan.steps"] == "31", name
    assert "gan.encoder" not in trained["systems-wav2pix"]
    seeds = [name for name in trained if name.endswith("-seed-1")]
    assert seeds and all(trained[name]["seed"] == "1" for name in seeds)


def test_all_systems_are_scored_by_one_classifier_and_stand_in_one_table(commands):
    table = commands[-1]
    assert table[3] == "systems"
    runs = [word for word in table if word.startswith("recipes/") and "/exp/" in word][:-1]
    assert len(runs) == len(SYSTEMS) + 3
    classifiers = {values(words).get("evaluation.classifier") for words in commands if "train-gan" in words}
    assert len(classifiers) == 1
    of_speech = {
        values(words).get("evaluation.speech_classifier")
        for words in commands
        if "train-cross-modal" in words
    }
    [scoring] = [values(words)["run"] for words in commands if "train-speech-classifier" in words]
    assert of_speech == {scoring}


@pytest.mark.parametrize("name", SYSTEMS)
def test_presets_of_systems_generate_at_one_size(name):
    config = load_preset(RECIPE / "conf" / f"{name}.yaml")
    training = config.cross_modal if name in CROSS_MODAL else config.gan
    assert config.generated_size == 64 and training.batch_size == 32
    assert config.packed_size == 64 and config.evaluation.split == "test"  # one pack serves all


def test_one_network_scores_r_precision_whatever_the_pack(commands):
    trained = [values(words) for words in commands if "train-encoder" in words and "seed=100" in words]
    packs = [Path(given["data.pack"]).name for given in trained]
    assert packs == ["pack", "pack-waveform", "pack-log-mel"]
    configs = [words[words.index("--config") + 1] for words in commands if "seed=100" in words]
    assert {Path(config).name for config in configs} == {"systems.yaml"}
    for given, preset in zip(trained, ("systems", "wav2pix", "cmcgan"), strict=True):
        overrides = [f"{key}={value}" for key, value in given.items() if key.startswith("audio.")]
        config = load_config(RECIPE / "conf" / "systems.yaml", overrides)
        assert (
            config.audio == load_preset(RECIPE / "conf" / f"{preset}.yaml").audio
        )  # else its pack is refused
        assert not {key.split(".")[0] for key in given} & {"matching", "text_encoder", "image_encoder"}


def test_speech2face_reaches_features_of_any_length():
    config = load_preset(RECIPE / "conf" / "speech2face.yaml")
    assert config.text_encoder.normalize == "none"
    encoder = build_caption_encoder(config, 0)
    with torch.no_grad():
        encoder.project[-1].bias.fill_(2.0)  # what a mean feature may be
        sentence = encoder(torch.randn(2, config.audio.mel_bins, 90), torch.tensor([90, 60])).sentence
    assert sentence.shape == (2, 256) and sentence.norm(dim=1).min() > 30


def test_a_first_stage_reads_the_pack_of_the_second():
    first, second = (
        load_preset(RECIPE / "conf" / f"{name}.yaml") for name in ("stackgan_stage1", "stackgan")
    )
    assert first.packed_size == second.packed_size and first.generated_size < second.generated_size


def test_published_figures_name_every_system():
    known = json.loads((RECIPE / "published_systems.json").read_text())
    assert set(known) == set(SYSTEMS)
    assert all(entry.keys() == {"name", "figures", "source"} for entry in known.values())
    assert all(bool(entry["figures"]) == bool(entry["source"]) for entry in known.values())
