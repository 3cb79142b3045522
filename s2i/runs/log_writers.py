"""TensorBoard and Weights & Biases as further writers of a run's log.

`log.tensorboard=true` and `log.wandb=PROJECT` of a training: what goes into log.jsonl and metrics.jsonl, and
the grids of samples/, go there too. Neither library is needed for anything else.
"""

from __future__ import annotations

import importlib
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from PIL import Image

from s2i.config import Config
from s2i.config_files import config_to_dict
from s2i.errors import InputError
from s2i.files.atomic import write_atomically

TENSORBOARD = "tensorboard"  # folder of its files, in the run's
WANDB_ID = "wandb_id.txt"  # in the run's folder: the name of the run at W&B, under which it goes on


class LogWriter(Protocol):
    """Where a run's log goes besides."""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Named scalars of a step."""

    def image(self, step: int, name: str, file: Path) -> None:
        """A PNG of a step."""

    def close(self) -> None:
        """Nothing comes any more."""


def open_writers(folder: Path, config: Config, step: int) -> tuple[LogWriter, ...]:
    """The writers that `config.log` asks for, of a run that goes on after `step`.

    Raises InputError where a library isn't installed.
    """
    writers: list[LogWriter] = []
    if config.log.tensorboard:
        writers.append(TensorBoard(folder, step))
    if config.log.wandb:
        writers.append(WeightsAndBiases(folder, config))
    return tuple(writers)


class TensorBoard:
    """Event files in `folder`/tensorboard: `tensorboard --logdir recipes/NAME/exp` shows all runs."""

    def __init__(self, folder: Path, step: int) -> None:
        """What an earlier start wrote of steps after `step`, which come again, is hidden."""
        _library("tensorboard", "log.tensorboard=true", "log")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def image(self, step: int, name: str, file: Path) -> None:
        with Image.open(file) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of a project at Weights & Biases, under the run's name; `WANDB_MODE=offline` keeps it here."""

    def __init__(self, folder: Path, config: Config) -> None:
        self._wandb = _library("wandb", f"log.wandb={config.log.wandb}", "wandb")
        known = folder / WANDB_ID
        if not known.is_file():
            with write_atomically(known) as stream:
                stream.write(uuid.uuid4().hex[:8])
        self._run = self._wandb.init(
            project=config.log.wandb,
            name=folder.name,
            id=known.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(folder),
            config=config_to_dict(config),
        )

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def image(self, step: int, name: str, file: Path) -> None:
        self._run.log({name: self._wandb.Image(str(file))}, step=step)

    def close(self) -> None:
        self._run.finish()


def scalars(line: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a line of the log, but for its step."""
    return {
        prefix + name: float(value)
        for name, value in line.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _library(name: str, key: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"expected {name} for {key}, found none installed: pip install -e '.[{extra}]', or leave it out"
        ) from error
