"""The captions that a path was trained on: whose voices it has heard, and in which languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from s2i.config import Config
from s2i.data.manifest import Caption, iterate_manifest
from s2i.runs.earlier_runs import earlier_runs


def trained_captions(config: Config) -> list[Caption] | None:
    """The captions of the train split beside a configuration's data and, of a fine-tuned run, of the data
    before, as far as these are at hand; None where the split itself isn't."""
    if not _index(config).is_file():
        return None
    runs = earlier_runs(config, "gan", at_hand=True)
    earlier = (run.config for run in runs if run.config is not None)  # no exported model has its captions
    packs = dict.fromkeys(_index(each).absolute() for each in (config, *earlier))
    return [caption for index in packs if index.is_file() for caption in _captions(index)]


def _index(config: Config) -> Path:
    return Path(config.data.pack) / "train" / "index.jsonl"


def _captions(index: Path) -> Iterator[Caption]:
    for image in iterate_manifest(index):
        yield from image.captions
