"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2i.reports.export import export
from tests.fixtures.models import write_tiny_run


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The folder of an exported model of random weights that reads speech and text; nothing changes it."""
    folder = tmp_path_factory.mktemp("models")
    export([write_tiny_run(folder / "speech"), write_tiny_run(folder / "text", "text")], folder / "model")
    return folder / "model"
