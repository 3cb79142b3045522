"""The one exception for what a user can cause and mend, and how a command reports it."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(Exception):
    """Bad input. The message is one line: what was expected, what was found, where, what to do."""


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
