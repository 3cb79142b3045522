"""The pace of a training: images a second, and the share of the time that it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterator

from s2i.data.batches import Batch


class Pace:
    """What is counted between two lines of the log, of this process."""

    def __init__(self, processes: int = 1) -> None:
        """`processes`: that train together, each on as many images."""
        self._processes = processes
        self._begin()

    def _begin(self) -> None:
        self._begun, self._waited, self._images = time.perf_counter(), 0.0, 0

    def waited(self, since: float, images: int) -> None:
        """So many images came after waiting since a time of `time.perf_counter`."""
        self._waited += time.perf_counter() - since
        self._images += images

    def next_of(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, for which the training waits."""
        begun = time.perf_counter()
        batch = next(batches)
        self.waited(begun, len(batch))
        return batch

    def take(self) -> dict[str, float]:
        """Images a second over all processes and the share of the time spent waiting, since the last time."""
        seconds = max(time.perf_counter() - self._begun, 1e-9)
        taken = {
            "images_per_second": float(f"{self._processes * self._images / seconds:.4g}"),
            "waiting_for_data": round(self._waited / seconds, 4),
        }
        self._begin()
        return taken
