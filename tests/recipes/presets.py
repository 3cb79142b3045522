"""The presets of all recipes; those that name networks of their own have another test file than the rest."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from s2i.config_files import load_config

ROOT = Path(__file__).parents[2]
load_preset = cache(load_config)  # many tests read each
_ALL = sorted((ROOT / "recipes").glob("*/conf/*.yaml"))
WITH_OWN_NETWORKS = [path for path in _ALL if load_preset(path).generator.network]
PRESETS = [path for path in _ALL if path not in WITH_OWN_NETWORKS]


def names(path: Path) -> str:
    return f"{path.parts[-3]}/{path.stem}"
