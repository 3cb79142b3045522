"""Progress: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], total: int, label: str, start: int = 0, seconds: float = 15.0
) -> Iterator[Item]:
    """Pass `items` on, showing how many of `total` are done, from `start` on.

    Off a terminal a line is printed every `seconds`, and one at the end.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, initial=start, desc=label, dynamic_ncols=True)
        return
    begun = last = time.monotonic()
    done = start
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= seconds:
            say(f"{label}: {done} of {total}, {now - begun:.0f} s")
            last = now
    say(f"{label}: {done} of {total} in {time.monotonic() - begun:.1f} s")


def say(text: str) -> None:
    """A line for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def listed(things: Iterable[str | Path], most: int = 5) -> str:
    """Some of many things, and how many more there are."""
    things = [str(thing) for thing in things]
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more
