"""Clips of captions: made in blocks by several processes, checked, made again where chance was against them.

A clip's name is a digest of what makes it, so that clips which exist are never made again, whichever run or
manifest asked for them first. Blocks are a function of what is asked for, not of what is missing: a killed
run ends in the same clips.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from data_prep.clips import clip_exists, implausible_clip, write_clip
from data_prep.utterances import Request, Utterance
from data_prep.voices.family import Family, Sound
from s2i.data.shards import WHOLE, Shard
from s2i.errors import InputError
from s2i.processes import begin_process, interrupts_held
from s2i.progress import progress

Job, Result = TypeVar("Job"), TypeVar("Result")
Block = tuple[str, tuple[Request, ...]]  # family, and what it speaks together

SECONDS_A_LETTER = 0.05  # at the least, where words aren't written apart
CLIPS_A_PROCESS = 100  # of espeak-ng; a process takes as long to start


def make_clips(
    families: dict[str, Family], processes: int, requests: Sequence[Request], shard: Shard = WHOLE
) -> None:
    """Speak what is missing of a shard's blocks. Raises InputError for a clip that no try gets right."""
    if processes < 1:
        raise InputError(f"expected --processes of 1 or more, found {processes}")
    blocks = _blocks(families, requests, shard)
    for name, block in blocks:
        for request in block:
            _check_length(families[name], request)
    blocks.sort(key=lambda block: -families[block[0]].effort)  # the slow ones first: none is left at the end
    here = [block for block in blocks if not families[block[0]].in_own_processes]
    elsewhere = [block for block in blocks if families[block[0]].in_own_processes]
    work = sum(families[name].effort * len(block) for name, block in elsewhere)
    processes = min(processes, int(work) // CLIPS_A_PROCESS + 1, len(elsewhere))

    def made() -> Iterator[Request]:
        for number, _ in enumerate(map(partial(make_block, families), here)):
            yield from here[number][1]
        sent = {name: family for name, family in families.items() if family.in_own_processes}
        with in_pool(partial(make_block, sent), elsewhere, processes) as ended:
            for number, _ in enumerate(ended):
                yield from elsewhere[number][1]

    for _ in progress(made(), sum(len(block) for _, block in blocks), "speaking"):
        pass


def make_block(families: dict[str, Family], block: Block) -> None:
    """Speak a block into its files, each of which is whole or absent. Raises InputError for a bad clip."""
    name, requests = block
    family = families[name]
    if not family.is_seeded_by_block:
        requests = tuple(request for request in requests if not clip_exists(request.path))
    for request, sound in zip(requests, _spoken(family, requests), strict=True):
        if clip_exists(request.path):
            continue
        problem = _problem(family, request.utterance, sound)
        for attempt in range(1, family.tries):
            if not problem:
                break
            (sound,) = family.utter([request.utterance], attempt)
            problem = _problem(family, request.utterance, sound)
        if problem:
            times = f" {family.tries} times" if family.tries > 1 else ""
            raise InputError(
                f"{problem} for {request.caption}, spoken by {request.utterance.speaker}{times}:"
                f" {request.utterance.text!r}: change the text"
            )
        write_clip(request.path, *sound)


def _spoken(family: Family, requests: Sequence[Request]) -> Iterable[Sound]:
    """The sounds of a block. An error names the caption, where one alone is to blame."""
    try:
        return family.utter([request.utterance for request in requests])
    except InputError:
        for request in requests:
            try:
                family.utter([request.utterance])
            except InputError as error:
                raise InputError(f"{request.caption}: {error}") from error
        raise


def _problem(family: Family, utterance: Utterance, sound: Sound) -> str | None:
    return implausible_clip(utterance.text, family.words_a_minute(utterance), *sound)


def _blocks(families: dict[str, Family], requests: Sequence[Request], shard: Shard) -> list[Block]:
    """A shard's blocks in which a clip is missing."""
    incomplete_blocks = []
    for name, family in families.items():
        family_requests = [request for request in requests if request.utterance.family == name]
        family_requests.sort(key=lambda request: (*family.block_order(request.utterance), request.path.name))
        blocks = (
            tuple(family_requests[start : start + family.block])
            for start in range(0, len(family_requests), family.block)
        )
        incomplete_blocks += [
            (name, block)
            for number, block in enumerate(blocks)
            if shard.has(number) and not all(clip_exists(request.path) for request in block)
        ]
    return incomplete_blocks


def _check_length(family: Family, request: Request) -> None:
    """Raise InputError for a caption that takes far too long, before anything is spoken."""
    text = request.utterance.text
    words = len(text.split()) * 60 / family.words_a_minute(request.utterance)
    seconds = max(words, SECONDS_A_LETTER * len(text))
    if seconds > family.longest:
        raise InputError(
            f"expected a caption of up to {family.longest:.0f} s, the most that {family.name} speaks, found"
            f" about {seconds:.0f} s for {request.caption}: {text[:40]!r}...: shorten it"
        )


@contextmanager
def in_pool(work: Callable[[Job], Result], jobs: Iterable[Job], processes: int) -> Iterator[Iterable[Result]]:
    """The results of `work` on each job, in their order, made by several processes."""
    if processes <= 1:
        yield map(work, jobs)
        return
    # Spawned, not forked: the caller may have threads. s2i.processes.in_processes would import torch in each.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, initializer=begin_process) as pool:
            # The workers start here, and inherit that interrupts are the parent's to answer.
            with interrupts_held():
                made = pool.map(work, jobs)
            try:
                yield made
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        raise InputError(
            "expected every process to live, found one dead (was memory short?): the same command continues"
        ) from error
