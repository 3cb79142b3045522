"""The one exception for what a user can cause and mend, and how a command reports it."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn, TextIO

BAD_INPUT, INTERRUPTED, READER_GONE = 2, 128 + 2, 128 + 13  # exit statuses; as a shell tells of signals


class InputError(Exception):
    """Bad input. The message is one line: what was expected, what was found, where, what to do."""


class LoaderLost(InputError):
    """A process that loads batches was killed.

    A lock that it held is never released, so a command must end without waiting for any.
    """

    def __init__(
        self,
        message: str = "expected every loader process to live, found one killed (was memory short?):"
        " the same command continues, with fewer data.workers if need be",
    ) -> None:
        super().__init__(message)


class InputWarning(UserWarning):
    """A part of an input that can't be used, while the rest is. The message is one line, as an error's."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong use as every other bad input is reported."""

    def error(self, message: str) -> NoReturn:
        _report(f"s2i: error: {message}: see `{self.prog} --help`")
        sys.exit(BAD_INPUT)


def exit_on_input_error(main: Callable[[], None]) -> None:
    """Run a command's `main`; report what a user can cause as one line on stderr, with no traceback.

    The exit status is 2 for bad input and for a machine that refuses (a full disk, too little memory), 130
    for an interrupt, 141 where whoever read the output has gone, as `head` does.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if hasattr(stream, "reconfigure"):  # a terminal of ASCII gets every letter, some as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        _report_errors_of(main)
    except Exception as error:  # also torch's, of another process that ends while the first is reported
        if not _has_lost_loader(error):
            raise
        _end_without_waiting()


def _report_errors_of(main: Callable[[], None]) -> None:
    try:
        try:
            with warnings.catch_warnings():
                _tell_warnings()
                main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what can't be written shows here, not when the interpreter ends
    except KeyboardInterrupt:
        _report("s2i: interrupted; the same command continues")
        sys.exit(INTERRUPTED)
    except BrokenPipeError as error:
        if not _reader_is_gone():
            _exit_with(_describe(error))
        _discard(sys.stdout)
        _discard(sys.stderr)
        sys.exit(READER_GONE)
    except Exception as error:
        if _has_lost_loader(error):
            raise
        described = str(error) if isinstance(error, InputError) else _describe(error)
        if not described:
            raise
        _exit_with(described)


def _has_lost_loader(error: BaseException | None) -> bool:
    """Whether it, or what it was raised for, is LoaderLost or torch's error of a process that was killed,
    which its signal handler raises wherever the program happens to be."""
    while error is not None:
        if isinstance(error, LoaderLost):
            return True
        if isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _tell_warnings() -> None:
    """An InputWarning, each time, is a line on stderr; others stay as they are."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        if issubclass(category, InputWarning):
            _report(f"s2i: warning: {message}")
        else:
            others(message, category, *where)

    warnings.showwarning = show
    warnings.simplefilter("always", InputWarning)


_LIBRARY = "Could not load this library: "  # torch's words, of an extension built for another torch


def _describe(error: Exception) -> str:
    """What the machine refused, as an InputError would say it; "" for a mistake of the program."""
    if isinstance(error, OSError) and str(error).startswith(_LIBRARY):
        return (
            f"expected torch, torchaudio, torchvision of one set, found {str(error).removeprefix(_LIBRARY)},"
            " which this torch can't load: install the versions that setup.py has"
        )
    if isinstance(error, OSError):
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        where = " and ".join(name if len(name) <= 200 else f"{name[:60]}..." for name in names)
        reason = error.strerror or str(error) or type(error).__name__
        return f"expected to read and write {where or 'all files'}, found: {reason}: check path and disk"
    if isinstance(error, UnicodeEncodeError):
        excerpt = error.object[max(0, error.start - 30) : error.start + 10]
        return f"expected text and names in UTF-8, found {excerpt!r}: change the text or rename the file"
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "expected a path, found one with a NUL in it: change it"
    if (  # torch's exceptions by their words: the command line starts without it
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    ):
        reason = str(error) or "none left"
        return (
            f"expected enough memory, found: {reason}: lower batch sizes and widths, or use another machine"
        )
    return ""


def _exit_with(described: str) -> NoReturn:
    try:
        _report(f"s2i: error: {described}")
    finally:
        _discard_what_is_full(sys.stdout)
    sys.exit(BAD_INPUT)


def _end_without_waiting() -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch raises again for each process that ends here
    import multiprocessing  # here: most commands start no process

    _report(f"s2i: error: {LoaderLost()}")
    _discard_what_is_full(sys.stdout)
    for process in multiprocessing.active_children():
        process.kill()
        process.join(5)
    os._exit(BAD_INPUT)


def _report(text: str) -> None:
    """A line on stderr, if anybody reads it."""
    try:
        print(" ".join(text.split()), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _reader_is_gone() -> bool:
    """Whether nobody reads stdout or stderr any more; a broken pipe may also be another one."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _discard_what_is_full(stream: TextIO | None) -> None:
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        _discard(stream)


def _discard(stream: TextIO | None) -> None:
    """What is still to be written goes nowhere, lest the interpreter tries again as it ends."""
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
