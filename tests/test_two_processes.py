"""A GAN in two processes: they stay one network, and a killed training goes on to the same bits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from s2i.data.pack import build_pack
from s2i.training.encoder import train_encoder
from s2i.training.engine import Training
from s2i.training.gan import train_gan
from tests.tiny import tiny_training_config
from tests.tiny_data import write_telling_data
from tests.tiny_trainings import Killed

RESUMED_FROM = 4


def test_a_gan_in_two_processes_is_one_network_and_resumes_to_the_same_bits(tmp_path):
    (tmp_path / "data").mkdir()
    write_telling_data(tmp_path / "data")
    build_pack(tiny_training_config(tmp_path / "data", tmp_path), ["train", "val"])
    config = tiny_training_config(tmp_path / "data", tmp_path / "encoder")
    train_encoder(replace(config, matching=replace(config.matching, steps=2)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        + [__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests = {path.name: path.read_text() for path in tmp_path.glob("*.digest")}
    assert set(digests) == {f"{run}-{rank}.digest" for run in ("broken", "unbroken") for rank in (0, 1)}
    assert len(set(digests.values())) == 1


def _train(folder: Path, name: str, killed_at: int | None = None) -> None:
    """What each process does: train, and write what its networks have come to."""
    config = tiny_training_config(folder / "data", folder / name)
    gan = replace(config.gan, encoder=str(folder / "encoder"), reconstruction_weight=1.0, steps=6)
    config = replace(config, gan=gan, log=replace(config.log, checkpoint_every=RESUMED_FROM))
    record = Training.record

    def watch(self: Training, terms: dict) -> None:
        record(self, terms)
        if self.step == killed_at:
            raise Killed
        if self.step == gan.steps:
            digest = hashlib.sha256()
            for net in ("generator", "discriminators", "posterior"):
                for value in self.nets[net].parameters():
                    digest.update(value.detach().numpy().tobytes())
            (folder / f"{name}-{self.engine.rank}.digest").write_text(digest.hexdigest())

    Training.record = watch
    try:
        train_gan(config)
    except Killed:
        pass
    finally:
        Training.record = record


if __name__ == "__main__":
    _train(Path(sys.argv[1]), "broken", killed_at=RESUMED_FROM + 1)
    _train(Path(sys.argv[1]), "broken")
    _train(Path(sys.argv[1]), "unbroken")
