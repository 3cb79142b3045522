"""The order of training: which images make up each batch, a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from torch.utils.data import Sampler

from s2i.data.dataset import CaptionedImages
from s2i.errors import InputError

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
