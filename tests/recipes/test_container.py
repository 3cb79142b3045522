"""The Dockerfile, which no test builds: what it copies, installs and starts exists."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from data_prep.voices.festival import PACKAGES
from s2i.cli import build_parser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "recipes" / "container"
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, its words) of a Dockerfile, without comments, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", lines)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


DOCKERFILE = instructions((FOLDER / "Dockerfile").read_text(encoding="utf-8"))


def words_of(instruction: str) -> list[str]:
    return [words for name, words in DOCKERFILE if name == instruction]


def copied() -> dict[str, str]:
    """{path in the repository: its place in the image}."""
    places = {}
    for words in words_of("COPY"):
        *sources, target = [word for word in shlex.split(words) if not word.startswith("--")]
        places |= {source: target for source in sources}
    return places


def test_it_is_a_dockerfile_of_known_instructions():
    known = {"FROM", "RUN", "WORKDIR", "ARG", "COPY", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in DOCKERFILE} <= known and DOCKERFILE[0][0] == "FROM"
    assert instructions("# no\nRUN a \\\n    && b\n") == [("RUN", "a && b")]


def test_its_python_is_one_that_the_package_allows():
    version = re.fullmatch(r"python:(3\.\d+)-slim-bookworm", words_of("FROM")[0])[1]
    assert 'python_requires=">=3.10,<3.13"' in SETUP and version in ("3.10", "3.11", "3.12")


def test_what_it_copies_is_in_the_repository_and_reaches_the_build():
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    for source, target in copied().items():
        assert (ROOT / source).exists(), source
        assert target == ("./" if (ROOT / source).is_file() else f"./{source}")
        assert not any(fnmatch(source, pattern) for pattern in ignored)
    packages = set(re.findall(r'"(\w+)", "\w+\.\*"', SETUP))
    assert packages and packages <= set(copied()) and {"recipes", "checkpoints"} <= set(copied())


def test_pip_finds_the_packages_where_they_are_installed_from():
    """An editable package that isn't there when pip is called is never found."""
    order = [f"{name} {words}" for name, words in DOCKERFILE]
    [pip] = [place for place, line in enumerate(order) if "pip install" in line]
    before = " ".join(order[:pip])
    for source in ("setup.py", "./s2i", "./data_prep"):
        assert re.search(rf"COPY [^&]*{re.escape(source)}\b", before), source


def test_data_and_runs_stay_out_of_the_build():
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    kept = subprocess.run(["git", "check-ignore", ".venv", "recipes/cub/data", "recipes/cub/exp"],
                          cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()  # fmt: skip
    for path in (".git", *kept):
        assert any(fnmatch(path, pattern) for pattern in ignored), path


def test_the_extras_and_programs_that_it_installs_are_those_that_the_project_names():
    runs = " && ".join(words_of("RUN"))
    [extras] = re.findall(r"pip install .*?'\.\[([\w,]+)\]'", runs)
    for extra in extras.split(","):
        assert re.search(rf'^        "{extra}": \[', SETUP, re.MULTILINE), extra
    assert {"app", "formats"} <= set(extras.split(","))  # the page, and what phones record
    [programs] = re.findall(r"apt-get install ((?:--\S+ )*)(.*?) &&", runs)
    assert set(programs[1].split()) == {"git", "flite", "festival", *PACKAGES.values()}


def test_it_starts_the_page_with_a_model_that_it_copies():
    [entry], [command] = words_of("ENTRYPOINT"), words_of("CMD")
    assert f'"{json.loads(entry)[0]} = s2i.__main__:main"' in SETUP
    given = build_parser().parse_args(json.loads(command))
    assert words_of("EXPOSE") == [str(given.port)] and given.host == "0.0.0.0"
    assert given.model.parts[0] in copied() and (ROOT / given.model / "config.json").is_file()


@pytest.mark.parametrize("line", re.findall(r"s2i (generate .*)$", re.sub(r" \\\n\s*", " ",
                         (FOLDER / "README.md").read_text(encoding="utf-8")), re.MULTILINE))  # fmt: skip
def test_commands_of_the_page_parse_and_name_files_that_exist(line):
    given = build_parser().parse_args(shlex.split(line))
    assert (ROOT / given.speech).is_file() and (ROOT / given.model / "config.json").is_file()
