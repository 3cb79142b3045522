"""Progress: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item],
    total: int,
    label: str,
    start: int = 0,
    seconds: float = 15.0,
    note: Callable[[], str] = str,
) -> Iterator[Item]:
    """Pass `items` on, showing how many of `total` are done, from `start` on, and how long the rest takes.

    Off a terminal a line is printed every `seconds`, and one at the end.

    Args:
        note: what else stands on a line, such as a loss; asked for each time.
    """
    if sys.stderr.isatty():
        with tqdm(items, total=total, initial=start, desc=label, dynamic_ncols=True) as bar:
            for item in bar:
                yield item
                bar.set_postfix_str(note(), refresh=False)
        return
    begun = last = time.monotonic()
    done = start
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= seconds:
            left = (total - done) * (now - begun) / (done - start)
            clauses = (f"{done} of {total}, {now - begun:.0f} s, about {duration(left)} left", note())
            say(f"{label}: {'; '.join(filter(None, clauses))}")
            last = now
    clauses = (f"{done} of {total} in {time.monotonic() - begun:.1f} s", note())
    say(f"{label}: {'; '.join(filter(None, clauses))}")


def duration(seconds: float) -> str:
    """Seconds in the two units that tell: "40 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    larger, unit, smaller, of = (whole // 60, "min", whole % 60, "s")
    if whole >= 3600:
        larger, unit, smaller, of = (whole // 3600, "h", whole % 3600 // 60, "min")
    return f"{larger} {unit} {smaller} {of}" if smaller else f"{larger} {unit}"


def say(text: str) -> None:
    """A line for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def listed(things: Iterable[str | Path], most: int = 5) -> str:
    """Some of many things, and how many more there are."""
    things = [str(thing) for thing in things]
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more
