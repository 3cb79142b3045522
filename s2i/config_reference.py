"""What is known of each key of a configuration, for people: from the dataclasses that declare them.

Type, default, range, unit and readers are those of `s2i.settings`; what a key means, and the paper that a
value comes from, is the comment beside it in the source.
"""

from __future__ import annotations

import inspect
import io
import textwrap
import tokenize
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from s2i.config import Config
from s2i.settings import LARGEST, MISSING, Setting, Training, declared, types, value_of
from s2i.tables import filled, markdown

VERBS = {kind: f"train-{kind.replace('_', '-')}" for kind in get_args(Training)}
INDENT, WIDTH = 2, 100  # of printed YAML, in characters
HEAD = """# Every key of a configuration

Made from the dataclasses by `python -m s2i.config_reference`; a test holds it up to date. A key is given in a
YAML file or as a word, `gan.generator.lr=1e-4`; `s2i show-config --config FILE --comments` prints the whole
configuration of a run with these remarks. In brackets stands the paper that a part or a value comes from.
Defaults are neutral: what a published system chose stands in its own preset, `recipes/*/conf`."""
EVERY = "all trainings"
OF_EVALUATION = "evaluate, compare, report, robustness"


@dataclass(frozen=True)
class Key:
    """One key of a configuration, in words.

    Attributes:
        kind: "number", "whole number", "text", ..., or the values that it may have.
        default: as YAML writes it; "" where it has to be given.
        allowed: the range of a number, with its unit.
        meaning: with the published systems' choices, if any.
        read_by: the verbs that read it.
    """

    name: str
    kind: str
    default: str
    allowed: str
    meaning: str
    read_by: str

    @property
    def comment(self) -> str:
        """For a line of YAML."""
        must = "" if self.default else "has to be given"
        return "; ".join(filter(None, (self.meaning, must, self.allowed or self.kind)))


@cache
def keys() -> dict[str, Key]:
    """{dotted name: key}, in the order of a printed configuration."""
    meanings, hints = _meanings(Config), types(Config)
    return {
        name: Key(
            name,
            _kind(hints[name]),
            _default(name),
            _allowed(setting, hints[name]),
            meanings[name],
            _readers(name, setting),
        )
        for name, setting in declared(Config).items()
    }


@cache
def sections() -> dict[str, str]:
    """{dotted name of a section: what it is, of which class}, outer ones first; "" is the whole."""
    return dict(_sections(Config, ""))


def _sections(kind: type, prefix: str) -> list[tuple[str, str]]:
    summaries = [(prefix.rstrip("."), inspect.getdoc(kind).partition("\n\n")[0].replace("\n", " "))]
    for item in fields(kind):
        hint = get_type_hints(kind)[item.name]
        if is_dataclass(hint):
            summaries += _sections(hint, f"{prefix}{item.name}.")
    return summaries


def _meanings(kind: type, prefix: str = "") -> dict[str, str]:
    """{dotted key: the comment beside it}."""
    meanings, comments = {}, _comments(kind)
    for item in fields(kind):
        hint, name = get_type_hints(kind)[item.name], f"{prefix}{item.name}"
        meanings |= _meanings(hint, f"{name}.") if is_dataclass(hint) else {name: comments.get(item.name, "")}
    return meanings


def _comments(kind: type) -> dict[str, str]:
    """{field: the comment on its lines, and on those right above} of a class's source.

    A line "Of the plain ones:" is of all fields below it, up to the next such line.
    """
    comments: dict[str, str] = {}
    heading, above, name, beside = "", [], "", []
    source = io.StringIO(textwrap.dedent(inspect.getsource(kind)))
    names, is_line_begun = {item.name for item in fields(kind)}, False
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.COMMENT:
            words = token.string.lstrip("# ")
            if is_line_begun:
                beside.append(words)
            elif words.startswith("Of ") and words.endswith(":"):
                heading, above = words[3:-1], []
            else:
                above.append(words)
        elif token.type == tokenize.NAME and not is_line_begun and token.string in names:
            name, is_line_begun = token.string, True
        elif token.type == tokenize.NEWLINE:
            if name:
                words = " ".join([*above, *beside])
                comments[name] = f"of {heading}: {words}" if heading and words else words
            name, above, beside, is_line_begun = "", [], [], False
        elif token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING):
            is_line_begun = True
    return comments


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        plural = "whole numbers" if inner[0] is int else "numbers"
        return f"list of {plural}" if inner[-1] is Ellipsis else f"{len(inner)} {plural}"
    if get_origin(hint) is dict or hint is dict:
        return "keys and values"
    return {int: "whole number", float: "number", bool: "true or false", str: "text"}[hint]


def _default(name: str) -> str:
    value = value_of(Config(), name)
    if value == MISSING:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | int):
        return f"{value:.10g}"
    if isinstance(value, tuple):
        return f"[{', '.join(f'{part:.10g}' for part in value)}]"
    return value or "''" if isinstance(value, str) else "{}"


def _allowed(setting: Setting, hint: Any) -> str:
    if hint not in (int, float) and get_origin(hint) is not tuple:
        return setting.unit
    if setting.at_most != LARGEST or setting.below is not None or not setting.is_bounded:
        return setting.allowed
    least = f"{setting.at_least:.10g} or more" if setting.above is None else f"more than {setting.above:.10g}"
    return f"{least} {setting.unit}".strip()


def _readers(name: str, setting: Setting) -> str:
    if name.startswith("evaluation."):
        return OF_EVALUATION
    others = [verb for kind, verb in VERBS.items() if kind not in setting.read_by]
    if len(others) <= 1:
        return " but ".join([EVERY, *others])
    return ", ".join(verb for kind, verb in VERBS.items() if kind in setting.read_by)


def with_comments(yaml: str) -> str:
    """A printed configuration with a comment above each section and key."""
    known, about = keys(), sections()
    lines: list[str] = [f"# {about['']}"]
    names: list[str] = []
    for line in yaml.splitlines():
        name, separator, _ = line.strip().partition(":")
        depth = (len(line) - len(line.lstrip())) // INDENT
        dotted = ".".join([*names[:depth], name])
        comment = about.get(dotted) or (known[dotted].comment if dotted in known else "")
        if separator and comment and not line.lstrip().startswith("-"):
            names[depth:] = [name]
            margin = " " * INDENT * depth
            lines += [""] * (dotted in about) + textwrap.wrap(
                comment, WIDTH, initial_indent=f"{margin}# ", subsequent_indent=f"{margin}# "
            )
        lines.append(line)
    return "\n".join(lines) + "\n"


def page() -> str:
    """The reference of every key as a page of Markdown: a table a section."""
    lines = [HEAD]
    known = keys()
    for section, about in sections().items():
        start = f"{section}." if section else ""
        inside = [key for name, key in known.items() if name.rpartition(".")[0] == section]
        lines += ["", f"## {section or 'The whole'}", "", about]
        if inside:
            readers = {key.read_by for key in inside}
            common = readers.pop() if len(readers) == 1 else ""
            lines += ["", f"Read by {common}."] if common else []
            rows = [
                {
                    "key": f"`{key.name.removeprefix(start)}`",
                    "default": f"`{key.default}`" if key.default else "has to be given",
                    "type and range": ", ".join(filter(None, (key.kind, key.allowed))),
                    "read by": "" if common else key.read_by,
                    "meaning": key.meaning,
                }
                for key in inside
            ]
            lines += ["", *markdown(filled(rows), rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
