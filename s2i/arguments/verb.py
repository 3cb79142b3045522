"""What verbs share: their parser, numbers within limits, and options that mean the same everywhere."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from s2i.files.paths import given_path

Verbs = Any  # what `add_subparsers` returns, for which argparse has no public name


def add_verb(
    verbs: Verbs, name: str, command: Callable[..., None], description: str
) -> argparse.ArgumentParser:
    """The parser of a new verb that calls `command` with its arguments by their names."""
    added = verbs.add_parser(name, help=description, description=description, allow_abbrev=False)
    added.set_defaults(command=command, parser=added)
    return added


def add_model(parser: argparse.ArgumentParser, about: str = "exported model or GAN run") -> None:
    """`--model DIR`, which has to be given."""
    parser.add_argument("--model", required=True, type=given_path, metavar="DIR", help=about)


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)"
    )


def add_root(parser: argparse.ArgumentParser) -> None:
    """`--root DIR`, of a manifest."""
    about = "root of the manifest's paths (default: its folder)"
    parser.add_argument("--root", type=given_path, metavar="DIR", help=about)


def add_output_folder(parser: argparse.ArgumentParser, about: str) -> None:
    """`--output DIR`, which has to be given."""
    parser.add_argument("--output", required=True, type=given_path, metavar="DIR", help=about)


def whole_number(least: int, most: int = 10**18) -> Callable[[str], int]:
    """The `type` of a whole number within limits."""

    def parse(word: str) -> int:
        if not word.isascii() or not word.isdigit() or len(word) > 18 or not least <= int(word) <= most:
            allowed = f"{least} or more, of 18 digits at most" if most == 10**18 else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number, {allowed}, found {word[:40]!r}")
        return int(word)

    return parse


def factor(word: str) -> float:
    """The `type` of a factor of the noise."""
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 4:
        raise argparse.ArgumentTypeError(f"expected a factor, 0 to 4, found {word!r}")
    return number


def seconds(word: str) -> float:
    """The `type` of the length of a recording."""
    try:
        number = float(word)
    except ValueError:
        number = 0.0
    if not 0 < number <= 60:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0 and at most 60, found {word!r}")
    return number


def licence(word: str) -> str:
    """A licence by the name that Hugging Face has for it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", word):
        raise argparse.ArgumentTypeError(
            f"expected a licence as Hugging Face writes it, such as mit or cc-by-4.0, found {word[:40]!r}"
        )
    return word
