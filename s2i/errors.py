"""The one exception for what a user can cause and mend, and how a command reports it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(Exception):
    """Bad input. The message is one line: what was expected, what was found, where, what to do."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong use as every other bad input is reported."""

    def error(self, message: str) -> NoReturn:
        print(f"s2i: error: {' '.join(message.split())}: see `{self.prog} --help`", file=sys.stderr)
        sys.exit(2)


def exit_on_input_error(main: Callable[[], None]) -> None:
    """Run a command's `main`; report bad input as one line on stderr with exit status 2."""
    try:
        main()
    except InputError as error:
        print(f"s2i: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("s2i: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
