"""Benchmarks follow the package: each reads its options and imports what it measures."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted(
    path
    for path in Path(__file__).parent.glob("*.py")
    if path.stem != "__init__" and not path.stem.startswith("test_")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_says_how_it_is_called(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(script), run_name="__main__")
    assert not stopped.value.code and "usage:" in capsys.readouterr().out
