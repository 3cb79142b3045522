"""A signal to a recipe ends what it has started: each training saves first, and none goes on alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[2] / "recipes" / "stages.sh"
# As a training does: a first signal lets it save and say so, a second ends it at once.
TRAINING = """
import os, signal, sys, time
from pathlib import Path
folder, name, signals = Path(sys.argv[1]), sys.argv[2], []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: signals.append(1))
(folder / f"{name}.pid").write_text(str(os.getpid()))
until = time.monotonic() + 60
while not signals and time.monotonic() < until:
    time.sleep(0.02)
until = time.monotonic() + 0.5
while time.monotonic() < until:
    time.sleep(0.02)
    if len(signals) > 1:
        sys.exit("cut short")
sys.stderr.write(f"{name} saved\\n")  # in one write, whatever another writes
(folder / name).touch()
sys.exit(130)
"""
RECIPE = """
set -euo pipefail
first=1 last=1 last_stage=1 list="" dry_run="" processes=1 python={python}
source {stages}
train() {{ run "$python" {folder}/training.py {folder} "$1"; }}
two() {{ train second && train never; }}
{commands}
touch {folder}/never
"""


@pytest.mark.parametrize(
    ("number", "commands", "started"),
    [
        (signal.SIGTERM, "together train first and two", ["first", "second"]),
        (signal.SIGINT, "together train first and two", ["first", "second"]),
        (signal.SIGHUP, "train first", ["first"]),
        (signal.SIGTERM, "room=2; beside two; beside train first; settle", ["first", "second"]),
    ],
    ids=["together", "interrupted", "alone", "beside"],
)
def test_a_signal_ends_every_training_after_it_has_saved(tmp_path, number, commands, started):
    recipe = _started(tmp_path, commands, started)
    recipe.send_signal(number)
    said = recipe.communicate(timeout=30)[1]
    assert recipe.returncode == 130
    for name in started:
        assert (tmp_path / name).is_file() and f"{name} saved" in said
        assert not _is_alive(tmp_path / f"{name}.pid")
    assert not list(tmp_path.glob("never*"))


def test_a_second_signal_ends_them_at_once(tmp_path):
    recipe = _started(tmp_path, "together train first and two", ["first", "second"])
    recipe.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    recipe.send_signal(signal.SIGTERM)
    assert recipe.communicate(timeout=30)[1].count("cut short") == 2
    assert recipe.returncode == 130 and not (tmp_path / "first").exists()


@pytest.mark.parametrize("commands", ["together false and true", "together true and false", "run false"])
def test_what_fails_ends_the_recipe_with_its_status(tmp_path, commands):
    recipe = _started(tmp_path, commands.replace("false", "bash -c 'exit 7'"), [])
    assert recipe.wait(30) == 7 and not (tmp_path / "never").exists()


def _started(folder: Path, commands: str, names: list[str]) -> subprocess.Popen[str]:
    """The recipe, when all of these trainings have begun."""
    (folder / "training.py").write_text(TRAINING)
    written = RECIPE.format(python=sys.executable, stages=STAGES, folder=folder, commands=commands)
    (folder / "run.sh").write_text(written)
    recipe = subprocess.Popen(
        ["bash", str(folder / "run.sh")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        # The tests may have been started by nohup, and a shell can't trap what it was started to ignore.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    until = time.monotonic() + 30
    while not all((folder / f"{name}.pid").is_file() for name in names):
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.1)
    return recipe


def _is_alive(file: Path) -> bool:
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True
