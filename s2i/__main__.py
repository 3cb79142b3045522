"""The `s2i` command: of `python -m s2i`, and of the program that pip installs."""

import signal


def main() -> None:
    """Run the command line.

    An interrupt ends it quietly from here on: while the package is still being imported, as it ends a program
    that doesn't handle it; then with the line of `s2i.errors`.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # else it is ignored, as in a script's background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from s2i.cli import main as run_command_line

    signal.signal(signal.SIGINT, handler)
    run_command_line()


if __name__ == "__main__":
    main()
