"""The README: its Python runs, its commands parse, the links and anchors of every page exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import s2i
from s2i import cli
from s2i.config import Config
from s2i.inference.model import load
from s2i.reports.export import export
from s2i.settings import declared
from tests.fixtures.models import write_recording, write_tiny_run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "s2i" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    s2i (.+)$", README, re.MULTILINE)
RECORDING = "checkpoints/examples/espeak-ng.flac"
PAGES = [
    ROOT / "README.md",
    *sorted(
        page
        for folder in ("s2i", "data_prep", "recipes", "checkpoints")
        for page in (ROOT / folder).rglob("*.md")
        if not {"data", "exp"} & set(page.relative_to(ROOT / folder).parts[1:-1])
    ),
]
LINK = re.compile(r"\]\(([^):#]*)(?:#([\w-]+))?\)")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that holds what the pages name: a model, a recording."""
    runs = [write_tiny_run(tmp_path / "speech"), write_tiny_run(tmp_path / "text", "text")]
    export(runs, tmp_path / "checkpoints" / "painted_birds")
    (tmp_path / "checkpoints" / "examples").mkdir()
    write_recording(tmp_path / "x.wav").rename(tmp_path / RECORDING)  # a recording is known by its content
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _python(page):
    return [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import s2i\n" in block]


def test_three_lines_of_python_generate(clone):
    [block] = _python(README)
    assert len([line for line in block.splitlines() if line]) == 3
    variables: dict = {}
    exec(block, variables)
    assert [image.size for image in variables["images"]] == [(32, 32)]
    again = load("checkpoints/painted_birds").generate(speech=RECORDING, seed=1)
    assert variables["images"][0].tobytes() == again[0].tobytes()


def test_the_python_of_the_package_page_runs(clone):
    bird = s2i.load("checkpoints/painted_birds")
    (clone / "images").mkdir()
    for number, image in enumerate(bird.generate(text="a small red bird", count=3)):
        image.save(clone / "images" / f"{number}.png")
    cli.main("index images --model checkpoints/painted_birds --output birds.index".split())
    [block] = _python(PAGE)
    variables: dict = {}
    with torch.random.fork_rng():
        exec(block, variables)
    assert len(variables["images"]) == 4 and len(variables["hits"]) == 3
    vector = variables["vector"]
    assert vector.shape == (16,) and abs(float((vector**2).sum()) - 1) < 1e-5


def test_the_readme_has_commands_and_links():
    assert len(COMMANDS) >= 6 and len(LINK.findall(README)) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    assert cli.build_parser().parse_args(shlex.split(command)).command


@pytest.mark.parametrize("page", [README, PAGE], ids=["README", "s2i/README"])
def test_what_pages_name_of_the_shipped_checkpoints_exists(page):
    named = set(re.findall(r"checkpoints/[\w./-]*\w", page))
    assert RECORDING in named and all((ROOT / path).exists() for path in named)


def test_the_page_on_limits_says_whether_the_shipped_model_knows_what_it_has_heard():
    claimed = "can say so of a recording" not in README
    assert claimed == (
        load(ROOT / "checkpoints" / "painted_birds", only="speech").path("speech").domain is not None
    )


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_files_and_headings_that_links_name_exist(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in _anchors(target.read_text(encoding="utf-8")), (path, anchor)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_configuration_keys_that_pages_set_exist(page):
    keys = declared(Config)
    sections = "|".join({key.partition(".")[0] for key in keys if "." in key})
    named = re.findall(
        rf"(?<![\w.])((?:{sections})(?:\.(?!options\.)\w+)+)=", page.read_text(encoding="utf-8")
    )
    assert set(named) - {"evaluation.key"} <= set(keys)


def _anchors(page):
    """The anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
