"""Paths as people give them: an empty one is refused wherever one can be given, `~` is a home everywhere."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from data_prep import feature_cache, pack
from s2i import cli
from s2i.config import Config
from s2i.config_files import load_config, override
from s2i.errors import InputError, Parser
from s2i.files.paths import expand_path, given_path
from s2i.settings import declared

SCRIPTS = ("check", "cub", "own_data", "pack", "painted_birds", "synthesize_speech", "feature_cache")
# What no path is, though it is a word.
WORDS = {"text", "overrides", "split", "device", "among", "protocols", "host", "system", "captions", "voice"}
WORDS |= {"languages", "voices", "held_out_voices", "splits", "classes", "help", "json", "sub", "family"}
WORDS |= {"caption"}
# Of the words, paths where this verb has them.
PATHS = {("robustness", "voices"), ("robustness", "text"), ("robustness", "recogniser")}
LOCAL = [key for key, setting in declared(Config).items() if setting.local]
NEEDED = ["run", "data.root", "data.manifest", "data.pack", "gan.encoder", "classifier.pack"]


def parsers(monkeypatch) -> dict[str, argparse.ArgumentParser]:
    """Every command's and every script's."""
    actions = cli.build_parser()._actions
    (verbs,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
    command_parsers = dict(verbs.choices)

    def keep(parser, *_, **__):
        raise _Kept(parser)

    for method in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(Parser, method, keep)
    for script in SCRIPTS:
        with pytest.raises(_Kept) as kept:
            importlib.import_module(f"data_prep.{script}").main([])
        command_parsers[script] = kept.value.parser
    monkeypatch.undo()
    return command_parsers


class _Kept(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def test_every_word_of_a_command_is_a_path_or_known_to_be_none(monkeypatch):
    for name, parser in parsers(monkeypatch).items():
        for action in parser._actions:
            if action.nargs == 0 or action.choices or action.type not in (None, given_path):
                continue
            is_word = action.dest in WORDS and (name, action.dest) not in PATHS
            assert (action.type is given_path) != is_word, (name, action.dest)


@pytest.mark.parametrize("word", ["", " ", "\t"])
def test_an_empty_path_is_refused_in_every_option(monkeypatch, capsys, word):
    tried = 0
    for name, parser in parsers(monkeypatch).items():
        for action in parser._actions:
            if action.type is not given_path:
                continue
            count = action.nargs if isinstance(action.nargs, int) else 1
            system = ["attngan"] if name == "import" else []
            with pytest.raises(SystemExit) as ended:
                parser.parse_args([*system, *action.option_strings[:1], *[word] * count])
            said = capsys.readouterr().err
            assert ended.value.code == 2 and said.count("\n") == 1, (name, action.dest)
            assert "expected a path, found an empty one" in said, (name, action.dest)
            tried += 1
    assert tried > 50


def test_homes_and_other_paths():
    home = str(Path.home())
    assert expand_path("~") == home and expand_path("~/a b") == f"{home}/a b"
    assert given_path("~/a") == Path(home, "a")
    for word in ("a~", "./~", "a/~/b", "~nobody-of-that-name/a", "-", " a", "#", "1"):
        assert expand_path(word) == word
    with pytest.raises(ValueError, match="NUL"):
        expand_path("a\0b")


@pytest.mark.parametrize("key", LOCAL)
def test_paths_of_a_configuration(tmp_path, key):
    def read(word: str, by_file: bool) -> str:
        lines, path = [], tmp_path / "a.yaml"
        for depth, part in enumerate(key.split(".")):
            lines.append(f"{'  ' * depth}{part}:")
        path.write_text("\n".join(lines) + f" '{word}'\n" if by_file else "")
        node = load_config(path, [] if by_file else [f"{key}={word}"])
        for part in key.split("."):
            node = getattr(node, part)
        return node

    for by_file in (False, True):
        assert read("~/birds", by_file) == str(Path.home() / "birds")
        assert read("/birds/~", by_file) == "/birds/~"
        assert read("", by_file) == ""  # of some keys that there is none; of the others see below
        with pytest.raises(InputError, match=f"an empty one .* for {key}: give one"):
            read(" ", by_file)


@pytest.mark.parametrize("key", NEEDED)
def test_an_empty_path_of_a_configuration_is_refused_where_it_is_used(tmp_path, capsys, key):
    (tmp_path / "a.yaml").write_text("")
    given = {name: str(tmp_path / name) for name in NEEDED} | {key: ""}
    words = ["--config", str(tmp_path / "a.yaml"), *(f"{name}={word}" for name, word in given.items())]
    for verb in ("train-encoder", "train-gan", "train-classifier"):
        with pytest.raises(SystemExit) as ended:
            cli.main([verb, *words])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and said.count("\n") == 1
        assert f"expected a path for {key}, found an empty one" in said
    for script in (pack, feature_cache):
        with pytest.raises(InputError, match=f"a path for {key}, found an empty one"):
            script.main([*words, *(["image_encoder.cached_crops=1"] if script is feature_cache else [])])
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
    with pytest.raises(InputError, match=f"a path for {key}, found an empty one"):
        override(Config(), [f"{key}="])
