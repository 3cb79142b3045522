"""The order of training: which images make up each batch, a function of seed and epoch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from itertools import count
from threading import Thread
from types import TracebackType

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from s2i.data.batches import Batch
from s2i.data.dataset import CaptionedImages
from s2i.errors import InputError, LoaderLost

BATCHES_A_CHUNK = 20  # batches whose captions are sorted by length together


def in_buckets(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, random: np.random.Generator
) -> np.ndarray:
    """Batches of about one length each: every 20 batches of `order`, with these `lengths`, are sorted by
    length and cut into batches, and all batches are shuffled.

    `order`, `lengths`: (N,), a multiple of a batch. Returns (batches, batch_size).
    """
    # Sorted by chunk first, then by length; a stable sort keeps the order among equals.
    chunks = np.arange(len(order)) // (BATCHES_A_CHUNK * batch_size)
    batches = order[np.lexsort((lengths, chunks))].reshape(-1, batch_size)
    return batches[random.permutation(len(batches))]


class BucketSampler(Sampler):
    """The order of training: an endless iterator over keys of CaptionedImages, from an optimiser step on.

    An epoch is a permutation of the candidates by (seed, epoch). Its last images, fewer than a batch, are
    dropped, so every process has equally many batches; they differ from epoch to epoch. Every 20 batches
    are sorted by caption length, cut into batches and these shuffled, so a batch holds captions of about
    one length. With `world` processes a step takes batch_size * world images, dealt in turn: the same
    ones that one process would take with a batch that large.
    """

    def __init__(
        self,
        dataset: CaptionedImages,
        batch_size: int,
        seed: int,
        step: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`batch_size`: of each process; `step`: the first one. Raises InputError for fewer images than a
        batch."""
        self.dataset, self.seed, self.step, self.rank, self.world = dataset, seed, step, rank, world
        self.total_batch_size = batch_size * world
        self.batches_an_epoch = len(dataset.candidates) // self.total_batch_size
        if self.batches_an_epoch == 0:
            raise InputError(
                f"expected at least a batch of {self.total_batch_size} captioned images in"
                f" {dataset.pack.folder}, found {len(dataset.candidates)}: lower batch_size or add data"
            )

    def epoch_batches(self, epoch: int) -> np.ndarray:
        """Images of an epoch's batches, all processes together: (batches, batch_size * world)."""
        random = np.random.default_rng((self.seed, epoch, 1))
        kept = self.batches_an_epoch * self.total_batch_size
        order = random.permutation(len(self.dataset.candidates))[:kept]
        lengths = self.dataset.lengths(epoch)[order]
        return in_buckets(self.dataset.candidates[order], lengths, self.total_batch_size, random)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        first_epoch, first_batch = divmod(self.step, self.batches_an_epoch)
        for epoch in count(first_epoch):
            batches = self.epoch_batches(epoch)
            for batch in batches[first_batch:]:
                yield epoch, batch[self.rank :: self.world]
            first_batch = 0


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
    )
    batches = iter(loader)
    return batches if workers == 0 else _from_living_processes(batches)


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
