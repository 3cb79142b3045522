"""Fixtures of the tests of trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.trainings import write_trained_encoders


@pytest.fixture(scope="session")
def trained_encoders(tmp_path_factory) -> Path:
    """A folder with packed data and, beside it, a trained encoder of each modality; nothing changes them."""
    return write_trained_encoders(tmp_path_factory.mktemp("trained"))
