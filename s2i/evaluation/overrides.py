"""What the command line changes of a model's evaluation, and the data that an exported model is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from s2i.config import MISSING, Config
from s2i.config_data import DataConfig
from s2i.config_files import override
from s2i.errors import InputError
from s2i.inference.path import GenerationPath


def overridden(config: Config, words: Sequence[str], reads_recordings: bool = False) -> Config:
    """A model's configuration with `evaluation.key=value` words put over it, and `data.key=value` ones where
    it is an exported model.

    `reads_recordings`: whether the data's recordings are read beside its pack, which needs data.root. Raises
    InputError as `s2i.config_files.override` does, and for a pack without a root that is needed.
    """
    if config.run != MISSING:
        return override(config, words, ["evaluation"])
    chosen = override(config, words, ["evaluation", "data"])
    if chosen.evaluation.other_data:  # the model's own subject is that of what it was trained on
        unnamed = replace(config, data=replace(config.data, subject=""))
        chosen = override(unnamed, words, ["evaluation", "data"])
    if reads_recordings and chosen.data.pack != MISSING and chosen.data.root == MISSING:
        raise InputError(
            "expected data.root=DIR beside data.pack=DIR, from which recordings are read, found none: add it"
        )
    return chosen


def with_data(path: GenerationPath, data: DataConfig) -> GenerationPath:
    """A path that knows its data: an exported model's is given some, a run's keeps its own."""
    if path.config.run != MISSING:
        return path
    return replace(path, config=replace(path.config, data=data))
