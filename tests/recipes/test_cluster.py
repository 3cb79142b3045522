"""The scripts for clusters: they are bash, and ask the scheduler and torchrun for what their page says."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.tree import write_tree

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "recipes" / "cluster"
SCRIPTS = sorted(path for path in CLUSTER.iterdir() if path.suffix in (".sh", ".sbatch"))


@pytest.fixture
def tree(tmp_path) -> Path:
    """Recipes in a tree of their own, and a folder of programs that print how they were called."""
    tree = write_tree(tmp_path / "tree")
    (tmp_path / "programs").mkdir()
    return tree


def program(tree: Path, name: str, text: str) -> None:
    path = tree.parent / "programs" / name
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


def run(tree: Path, script: str, *words: str, **variables: str) -> subprocess.CompletedProcess:
    path = f"{tree.parent / 'programs'}:{os.environ['PATH']}"
    known = {"PATH": path, "S2I_PYTHON": sys.executable, "SLURM_SUBMIT_DIR": str(tree)}
    return subprocess.run(
        [shutil.which("bash"), f"recipes/cluster/{script}", *words],
        capture_output=True,
        text=True,
        cwd=tree,
        env={**os.environ, **known, **variables},
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash(script):
    done = subprocess.run([shutil.which("bash"), "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_job_starts_one_torchrun_a_node(tree):
    program(tree, "srun", "printf '%q ' \"$@\"")
    program(tree, "scontrol", "printf 'first\\nsecond\\n'")
    slurm = {"SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "x"}
    done = run(tree, "train.sbatch", "train-gan", "--config", "a b.yaml", **slurm)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout)
    assert words[1:3] == ["-m", "torch.distributed.run"] and words[-5:-3] == ["-m", "s2i"]
    assert words[-3:] == ["train-gan", "--config", "a b.yaml"]
    options = dict(zip(words[3:-5:2], words[4:-5:2], strict=True))
    assert options["--nnodes"] == "2" and options["--nproc-per-node"] == "8"
    assert options["--rdzv-endpoint"] == "first:29500"


def test_shards_come_before_what_joins_them(tree):
    program(tree, "sbatch", f'echo "$@" >>"{tree}/submitted"; wc -l <"{tree}/submitted"')
    done = run(tree, "prepare.sh", "8", "config.yaml", "/shared/cub", "voices.yaml")
    assert done.returncode == 0, done.stderr
    lines = (tree / "submitted").read_text().splitlines()
    expected = [
        "--parsable --array 1-8 {} speak",
        "--parsable --dependency afterok:1 {} speak",
        "--parsable --array 1-8 --dependency afterok:2 {} pack",
        "--parsable --dependency afterok:3 {} pack",
    ]
    script = "recipes/cluster/prepare.sbatch"
    assert lines == [line.format(script) + " config.yaml /shared/cub voices.yaml" for line in expected]


@pytest.mark.parametrize("part", ["speak", "pack"])
def test_a_job_of_an_array_makes_its_shard(tree, part):
    program(tree, "python", 'case "$1" in -c) exit 0 ;; esac; printf \'%q \' "$@"')
    words = part, "config.yaml", "/shared/cub", "voices.yaml"
    python = {"S2I_PYTHON": str(tree.parent / "programs" / "python")}
    whole = run(tree, "prepare.sbatch", *words, **python)
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_CPUS_PER_TASK": "4"}
    shard = run(tree, "prepare.sbatch", *words, **python, **array)
    assert whole.returncode == shard.returncode == 0, shard.stderr
    assert "--shard" not in whole.stdout and "--processes 4 --shard 3/8" in shard.stdout


@pytest.mark.parametrize(
    ("script", "words"), [("prepare.sh", ["8"]), ("node.sh", ["2", "gpu1", "8", "train-gan"])]
)
def test_a_wrong_call_is_one_line(tree, script, words):
    done = run(tree, script, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("s2i: error: expected") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("late", ["0", "1"])
def test_a_training_that_fails_in_several_processes_says_why_once(tmp_path, late):
    """Each process finds the same error; one's is told, whichever comes first to end the others."""
    text = f'import os, time\nif os.environ.get("RANK") == "{late}":\n    time.sleep(4)\n'
    (tmp_path / "sitecustomize.py").write_text(text)  # Python reads it as it starts
    words = ["--processes", "2", "train-gan", "--config", str(tmp_path / "none.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "s2i.launch", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(tmp_path / "none.yaml") in done.stderr


@pytest.mark.parametrize(
    "words", [["--processes", "0", "train-gan"], ["--processes", "2", "generate"], ["--processes", "2"]]
)
def test_only_trainings_are_launched(words, capsys):
    from s2i import launch

    with pytest.raises(SystemExit) as stopped:
        launch.exit_on_input_error(lambda: launch.main(words))
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("s2i: error: expected") and error.count("\n") == 1
