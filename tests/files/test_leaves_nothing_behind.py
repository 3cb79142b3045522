"""Packing, looking and training, killed and repeated, leave the files that an unbroken run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from s2i.data.feature_cache import write_feature_cache
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.training.encoder import train_encoder
from tests.fixtures.data import write_tiny_data
from tests.fixtures.models import tiny_training_config

# For each name that it reads, a process that does the work and stops before it renames a file of this name,
# as if the disk were slow at the moment of the kill. They are forked where torch is loaded, once for all.
STOPPING = """
import os, sys, time
from pathlib import Path
import torch
from tests.files.test_leaves_nothing_behind import work
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one of a process loads much
replace = os.replace
for line in sys.stdin:
    def stop(source, target):
        if Path(target).name == line.strip():
            print(os.getpid(), flush=True)
            time.sleep(600)
        replace(source, target)
    child = os.fork()
    if child == 0:
        os.replace = stop
        work(Path(sys.argv[1]))
        os._exit(1)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        sys.exit(f"not killed at {line}")
"""


def look(images):
    return images.mean((2, 3)), images.flatten(2)[:, :, :4]


def work(folder: Path) -> None:
    """A pack, a feature cache beside it, a training."""
    config = tiny_training_config(folder / "data", folder / "run")
    build_pack(config, ("train", "val"))
    cache = folder / "data" / "pack" / "train" / "feature-cache-0123456789abcdef"
    if not cache.is_dir():
        write_feature_cache(cache, Pack(cache.parent), 2, look, True)
    train_encoder(config)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "data").mkdir()
    write_tiny_data(folder / "data")
    work(folder)
    return files(folder)


def test_killed_and_repeated_nothing_is_left_behind(unbroken, tmp_path):
    (tmp_path / "data").mkdir()
    write_tiny_data(tmp_path / "data")
    before = files(tmp_path)
    words = [sys.executable, "-c", STOPPING, str(tmp_path)]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a process of several threads can't be forked
    with subprocess.Popen(words, **pipes, env=environment, text=True) as process:
        for name in ("000000.npz", "rows.txt", "env.json", "last.pt"):
            print(name, file=process.stdin, flush=True)
            stopped = process.stdout.readline()
            assert stopped, process.communicate()[1]
            os.kill(int(stopped), signal.SIGKILL)
            assert any(path.endswith(".s2i-part") for path in files(tmp_path)), name
    work(tmp_path)
    assert files(tmp_path) == unbroken
    assert before < unbroken
    assert not [path for path in unbroken if Path(path).name.startswith(".")]
