"""A part of some work, for one machine of several: `--shard 2/8`."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Every `count`th piece of the work, from piece `number` on, which counts from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, word: str) -> Shard:
        """`i/n`, for argparse."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", word)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise argparse.ArgumentTypeError(f"expected i/n with i of 1 to n, such as 2/8, found {word!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the work."""
        return self.count == 1

    def has(self, place: int) -> bool:
        """Whether the piece at `place`, which counts from 0, is in it."""
        return place % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"


WHOLE = Shard()
