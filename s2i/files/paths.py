"""Paths as people give them, on the command line and in configurations."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def expand_path(word: str) -> str:
    """A path in which `~` is somebody's home, also where no shell has put it there (`key=~/birds`).

    Raises ValueError for an empty one, which Python takes for the current folder and people leave behind as
    an unset variable, and for one with a NUL, at which names of files end.
    """
    if not word.strip():
        raise ValueError("expected a path, found an empty one (is a variable unset?)")
    if "\0" in word:
        raise ValueError(f"expected a path, found {word!r} with a NUL in it")
    return os.path.expanduser(word)


def in_place_of_folder(path: Path) -> str:
    """What is found where a folder is expected and there is none, for the error."""
    return "a file" if path.exists() else "no such folder"


def given_path(word: str) -> Path:
    """The `type` of every option and argument that is a path."""
    try:
        return Path(expand_path(word))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
