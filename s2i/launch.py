"""A training in several processes of this machine, one a GPU where there are any.

    python -m s2i.launch --processes 4 train-gan --config FILE [key=value ...]

The words after the number are those of the `s2i` command. The processes are torchrun's, as on several
machines (recipes/cluster), where `torchrun ... -m s2i train-gan ...` starts them; here what ends one ends
all, with its message and exit status and without torchrun's report.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from s2i.errors import InputError, Parser, exit_on_input_error

TRAININGS = ("train-encoder", "train-gan", "train-regression", "train-cross-modal")  # that share a batch


def launch(processes: int, words: Sequence[str]) -> int:
    """Run the `s2i` command `words` in so many processes; returns the exit status of the first that failed.

    Only the first process writes to stderr; another's last lines are printed where it alone has failed.
    """
    # here: `--help` needs none of it
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="s2i",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(folder, {rank: Std.ERR for rank in range(1, processes)}),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "s2i", *words)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            first = error.failures.get(0)
            # The first was ended with the others, before it could say why, or says that it lost them.
            if first is None or first.exitcode < 0 or first.exitcode != failure.exitcode:
                for path in Path(folder).glob(f"**/{rank}/stderr.log"):
                    sys.stderr.write("".join(path.read_text(errors="replace").splitlines(True)[-20:]))
            return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        except SignalException as error:
            return 128 + error.sigval
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Launch a training; exit with its status."""
    parser = Parser(prog="python -m s2i.launch", description="Train in several processes of this machine.")
    parser.add_argument(
        "--processes", type=int, required=True, metavar="N", help="one a GPU, or of some cores"
    )
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="train-gan --config FILE ..."
    )
    given = parser.parse_args(arguments)
    if given.processes < 1:
        raise InputError(f"expected --processes of 1 or more, found {given.processes}: change it")
    if not given.words or given.words[0] not in TRAININGS:
        command = given.words[0] if given.words else "none"
        raise InputError(
            f"expected one of {', '.join(TRAININGS)} after --processes, found {command}: change it"
        )
    sys.exit(launch(given.processes, given.words))


if __name__ == "__main__":
    exit_on_input_error(main)
