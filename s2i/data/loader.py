"""The batches of training, loaded by processes beside it; and how these end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from copy import copy
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from threading import Thread
from types import TracebackType

import torch
from torch.utils.data import DataLoader

from s2i.data.batches import Batch
from s2i.data.dataset import CaptionedImages
from s2i.data.sampler import BucketSampler
from s2i.errors import LoaderLost


def endless_batches(
    dataset: CaptionedImages,
    batch_size: int,
    seed: int,
    step: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Training batches from optimiser step `step` on, for ever; the same whatever the number of `workers`.

    Raises LoaderLost for one of them that is killed; torch raises RuntimeError for most.
    """
    loader = DataLoader(
        dataset,
        sampler=BucketSampler(dataset, batch_size, seed, step, rank, world),
        batch_size=None,  # a key is a whole batch already
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),  # else each start would move the global random state
        worker_init_fn=begin_loader_process,
        multiprocessing_context=_without_locked_events() if workers else None,
    )
    batches = iter(loader)
    return batches if workers == 0 else _from_living_processes(batches)


def _without_locked_events() -> BaseContext:
    """Python's own, but for its events: whoever asks whether one is set takes a lock, which a process that
    is killed meanwhile never releases; and torch asks before it reports such a process."""
    context = copy(get_context())
    context.Event = lambda: _Event(context)
    return context


class _Event:
    """What torch uses of multiprocessing.Event, in one shared byte, without a lock."""

    def __init__(self, context: BaseContext) -> None:
        self._byte = context.RawValue(ctypes.c_bool, False)

    def set(self) -> None:
        self._byte.value = True

    def is_set(self) -> bool:
        return self._byte.value


def _from_living_processes(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Raises LoaderLost for a process that was killed while it handed over a batch.

    torch looks for lost processes too, and finds none that is still about to end.
    """
    while True:
        try:
            batch = next(batches)
        except (ConnectionError, EOFError) as error:
            if "in DataLoader worker process" in str(error):  # raised there, by a file that it read
                raise
            raise LoaderLost from error
        yield batch


def begin_loader_process(number: int) -> None:
    """In a loader process: a training that ends while it fetches a batch is no error, and prints none; and
    this process ends when the training says so.

    A signal to the whole group, as `timeout`, a recipe's script or a job's end send it, is the training's,
    which saves before it ends: without its batches it couldn't.
    """
    sys.excepthook = _print_unless_lost
    if hasattr(signal, "sigwaitinfo"):  # macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_end_when_the_training_says_so, daemon=True).start()


def _end_when_the_training_says_so() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _print_unless_lost(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # multiprocessing's server of shared memory reports a connection that was cut off by this hook.
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)
