"""The README's own words: its Python runs, its commands are understood, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import s2i
from s2i import cli
from s2i.inference.model import load
from s2i.reports.export import export
from tests.tiny import write_recording, write_tiny_run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "s2i" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    s2i (.+)$", README, re.MULTILINE)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder in which what the pages name is there: a model, a recording, an index."""
    runs = [write_tiny_run(tmp_path / "speech"), write_tiny_run(tmp_path / "text", "text")]
    export(runs, tmp_path / "checkpoints" / "painted_birds")
    write_recording(tmp_path / "x.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _python(page):
    return [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import s2i\n" in block]


def test_three_lines_of_python_draw(clone):
    [block] = _python(README)
    assert len([line for line in block.splitlines() if line]) == 3
    found: dict = {}
    exec(block, found)
    assert [image.size for image in found["images"]] == [(32, 32)]
    again = load("checkpoints/painted_birds").generate(speech="x.wav", seed=1)
    assert found["images"][0].tobytes() == again[0].tobytes()


def test_all_of_python_runs_as_the_page_has_it(clone):
    bird = s2i.load("checkpoints/painted_birds")
    (clone / "images").mkdir()
    for number, image in enumerate(bird.generate(text="a small red bird", count=3)):
        image.save(clone / "images" / f"{number}.png")
    cli.main("index images --model checkpoints/painted_birds --output birds.index".split())
    [block] = _python(PAGE)
    found: dict = {}
    with torch.random.fork_rng():
        exec(block, found)
    assert len(found["images"]) == 4 and len(found["hits"]) == 3
    assert found["vector"].shape == (16,) and abs(float((found["vector"] ** 2).sum()) - 1) < 1e-5


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    assert cli._parser().parse_args(shlex.split(command)).command


def test_links_lead_somewhere():
    assert len(COMMANDS) >= 6
    for page in (ROOT / "README.md", ROOT / "s2i" / "README.md", ROOT / "s2i" / "models" / "README.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        assert links and all((page.parent / link).exists() for link in links)
