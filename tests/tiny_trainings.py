"""What tests of trainings begin with: packed data with trained encoders beside it, and a way to die."""

from __future__ import annotations

from pathlib import Path

from s2i.data.pack_builder import build_pack
from s2i.training.encoder import train_encoder
from tests.tiny import tiny_training_config
from tests.tiny_data import write_telling_data


class Killed(BaseException):
    """The process is gone: nothing is saved or cleaned up."""


def write_trained_encoders(folder: Path) -> Path:
    """Packed data in `data` and an encoder of each modality in `speech-encoder` and `text-encoder`."""
    (folder / "data").mkdir()
    write_telling_data(folder / "data")
    build_pack(tiny_training_config(folder / "data", folder), ["train", "val"])
    for modality in ("speech", "text"):
        train_encoder(tiny_training_config(folder / "data", folder / f"{modality}-encoder", modality))
    return folder
