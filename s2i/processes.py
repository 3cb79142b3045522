"""Work in several processes, with memory that does not grow with the number of jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from s2i.errors import InputError

Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may have: of the machine, what its affinity and its control group leave."""
    from joblib import cpu_count  # here: it takes a while, and few processes ask

    return cpu_count()


def in_processes(function: Callable[..., Result], jobs: Iterable[tuple], processes: int) -> Iterator[Result]:
    """Results of `function(*job)` in the order in which they end; one process: here, without starting any.

    Jobs are taken from the iterable as they are needed. Each process has one thread. What `function` raises
    is raised here; InputError for a process that was killed.
    """
    if processes <= 1:
        yield from (function(*job) for job in jobs)
        return
    # spawn: forking a process in which torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    pending = set()
    try:
        with ProcessPoolExecutor(processes, context, initializer=_begin_single_threaded) as pool:
            for job in jobs:
                with interrupts_held():  # the processes start with the first job
                    pending.add(pool.submit(function, *job))
                if len(pending) >= 2 * processes:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in pending)
    except BrokenProcessPool as error:
        raise InputError(
            "expected every process to finish its work, found one killed (out of memory?):"
            " run the same command again, with fewer processes"
        ) from error


def in_order(function: Callable[..., Result], jobs: Iterable[tuple], processes: int) -> Iterator[Result]:
    """As `in_processes`, in the order of the jobs: results that are early wait."""
    early: dict[int, Result] = {}
    numbered = ((function, number, *job) for number, job in enumerate(jobs))
    due = 0
    for number, result in in_processes(_numbered, numbered, processes):
        early[number] = result
        while due in early:
            yield early.pop(due)
            due += 1


def _numbered(function: Callable[..., Result], number: int, *job: object) -> tuple[int, Result]:
    return number, function(*job)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Interrupts come after the block; a process that it starts never hears one: they are the parent's."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def begin_process() -> None:
    """In a process of a pool: leave interrupts to the parent, and end when it does, even if that is killed.

    A killed parent can't stop its processes, and they would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _begin_single_threaded() -> None:
    import torch  # here: not all processes compute with it

    torch.set_num_threads(1)  # the processes are the parallelism
    begin_process()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
