"""Fixtures that several folders of tests share, and the order of files between processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from s2i.reports.export import export
from tests.fixtures import made_once
from tests.fixtures.models import write_tiny_run

# The files that take longest, some with few tests: begun first, no process is left alone with one at the end.
LONGEST = (
    "recipes/test_recipe_smoke.py",
    "recipes/test_recipes.py",
    "reports/test_compare.py",
    "training/test_training.py",
    "training/test_two_processes.py",
    "analysis/test_robustness.py",
    "app/test_app_page.py",
    "training/test_precision.py",
    "training/test_conditioner.py",
    "training/test_published_systems.py",
    "command/test_killed_workers.py",
    "command/test_errors.py",
    "recipes/test_published_presets.py",
    "analysis/test_asr_cascade.py",
    "evaluation/test_feature_extraction.py",
    "models/test_pretrained_networks.py",
    "data_prep/test_voices.py",
    "data/test_sound_files.py",
    "recipes/test_recipe_options.py",
    "files/test_leaves_nothing_behind.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes take a file each, the longest are taken first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session", autouse=True)
def folders_made_once(tmp_path_factory) -> None:
    """They are made in the temporary folder of the run, above those of its processes."""
    folder = tmp_path_factory.getbasetemp()
    made_once.make_in(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The folder of an exported model of random weights that reads speech and text; nothing changes it."""
    folder = tmp_path_factory.mktemp("models")
    export([write_tiny_run(folder / "speech"), write_tiny_run(folder / "text", "text")], folder / "model")
    return folder / "model"
