"""Digests of tiny trainings at a fixed seed, and of every metric on them, from before and after a change.

    python tests/training/bits.py

Prints a line a training (speech and text, in one process and in two) and one for all metrics. Checkouts whose
lines agree train the same weights and measure the same numbers, whatever things are called: a digest is of
the sorted digests of all tensors, or of all values. Processors and thread counts may differ in their bits.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

from s2i.config_files import load_config  # noqa: E402
from s2i.data.pack_builder import build_pack  # noqa: E402
from s2i.evaluation.feature_bank import FeatureBank  # noqa: E402
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import measure  # noqa: E402
from s2i.inference.model import load  # noqa: E402
from s2i.runs.checkpoint import read_checkpoint  # noqa: E402
from s2i.training.encoder import train_encoder  # noqa: E402
from s2i.training.gan import train_gan  # noqa: E402
from tests.fixtures.data import write_telling_data  # noqa: E402
from tests.fixtures.models import tiny_training_config  # noqa: E402
from tests.fixtures.runs import write_world  # noqa: E402
from tests.fixtures.torchrun import in_two_processes  # noqa: E402

MODALITIES = ("speech", "text")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data", Path(folder) / "runs"
        data.mkdir()
        write_telling_data(data)
        build_pack(tiny_training_config(data, runs / "none"), ["train", "val"])
        for modality in MODALITIES:
            train(data, runs, modality)
            print(f"{modality} encoder: {of_run(runs / f'{modality}-encoder')}")
            print(f"{modality} gan: {of_run(runs / f'{modality}-gan')}")
        in_two_processes(__file__, str(data), str(runs / "two"))
        for modality in MODALITIES:
            print(f"{modality} gan, two processes: {of_run(runs / 'two' / f'{modality}-gan')}")
        world = write_world(Path(folder) / "world", classifier_steps=20)
        print(f"classifier: {of_run(world['classifier'])}")
        values = []
        for modality in MODALITIES:
            path = load(world[modality], "cpu").path(modality)
            bank = FeatureBank(path, load_config(world[modality] / "config.yaml").evaluation)
            for scores in measure(bank, list(PROTOCOLS)).values():
                values += [f"{score.value!r} {score.interval95!r}" for score in scores]
        print(f"{len(values)} metrics: {digest(value.encode() for value in values)}")


def train(data: Path, runs: Path, modality: str) -> None:
    """An encoder and a GAN with every term of the losses."""
    train_encoder(tiny_training_config(data, runs / f"{modality}-encoder", modality))
    config = tiny_training_config(data, runs / f"{modality}-gan", modality)
    gan = replace(config.gan, encoder=str(runs / f"{modality}-encoder"), reconstruction_weight=1.0)
    train_gan(replace(config, gan=gan))


def of_run(folder: Path) -> str:
    """Of all tensors in a run's checkpoint, optimisers' state included."""
    state = read_checkpoint(folder / "checkpoints" / "last.pt")
    return digest(
        str(tensor.dtype).encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes()
        for tensor in tensors([state["nets"], state["optimisers"]])
    )


def tensors(value: object) -> Iterable[torch.Tensor]:
    """Every tensor in nested containers, scalars as (1,)."""
    if isinstance(value, torch.Tensor):
        yield value.reshape(-1)
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors(each)


def digest(contents: Iterable[bytes]) -> str:
    each = sorted(hashlib.sha256(content).digest() for content in contents)
    return hashlib.sha256(b"".join(each)).hexdigest()[:16]


if __name__ == "__main__":
    if len(sys.argv) == 3:
        for modality in MODALITIES:
            train(Path(sys.argv[1]), Path(sys.argv[2]), modality)
    else:
        main()
