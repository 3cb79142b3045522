"""The `s2i` command: parsing and error text. `s2i.arguments` has the arguments of each verb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from s2i.arguments.evaluation import add_evaluation
from s2i.arguments.generation import add_generation
from s2i.arguments.models import add_models
from s2i.arguments.retrieval import add_retrieval
from s2i.arguments.training import add_training
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.paths import given_path
from s2i.version import described


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments`, by default the program's own."""
    exit_on_input_error(partial(_run, arguments))


def _run(arguments: Sequence[str] | None) -> None:
    parser = build_parser()
    known, others = parser.parse_known_args(arguments)
    given = vars(known)
    verb = given.pop("parser")
    # argparse accepts no positional words after an option has come between.
    if others and ("overrides" not in given or not all(_is_override(word) for word in others)):
        verb.error(f"unrecognized arguments: {' '.join(others)}")
    if others:
        given["overrides"] += others
    command = given.pop("command")
    command(**given)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = Parser(prog="s2i", description="Generate images from speech: train, generate, evaluate.")
    version = parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    completion = parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=("bash", "zsh"),
        help="print what a shell reads to complete s2i's words, and end",
    )
    version.default = completion.default = argparse.SUPPRESS  # no arguments of a verb
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (add_training, add_generation, add_retrieval, add_evaluation, add_models):
        add(verbs)
    return parser


class _Version(argparse.Action):
    """Prints the version; git, which knows the commit, is asked only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"s2i {described()}")
        parser.exit()


class _Completion(argparse.Action):
    """Prints a shell's completion of the whole command, made by shtab."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, *__: Any) -> None:
        try:
            import shtab
        except ImportError as error:
            raise InputError(
                "expected shtab for --print-completion, found none installed: pip install -e '.[completion]'"
            ) from error
        for each in (parser, *_verbs(parser).values()):
            for action in each._actions:
                if action.type is given_path:
                    action.complete = shtab.FILE
        print(shtab.complete(parser, shell))
        parser.exit()


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (verbs,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return verbs.choices


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")
