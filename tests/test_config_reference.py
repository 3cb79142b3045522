"""The reference of configuration keys: whole, true to the dataclasses, and up to date."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

import s2i
from s2i import cli
from s2i.config import Config
from s2i.config_files import config_to_yaml, load_config
from s2i.config_reference import EVERY, _comments, keys, page, sections, with_comments
from s2i.settings import declared

PAGE = Path(s2i.__file__).parent / "configuration.md"


def test_every_key_says_what_it_means():
    assert set(keys()) == set(declared(Config))
    assert [name for name, key in keys().items() if not key.meaning] == []
    assert all(sections().values())


def test_facts_are_those_of_the_declaration():
    rate = keys()["gan.generator.lr"]
    assert (rate.kind, rate.default, rate.allowed, rate.read_by) == (
        "number",
        "0.0002",
        "0 or more",
        "train-gan",
    )
    assert (
        keys()["audio.hop"].allowed == "more than 0, at most 10 s" and keys()["audio.hop"].default == "0.01"
    )
    assert keys()["gan.terms.real_u"].meaning.startswith("a real image (StackGAN-v2 and S2IGAN: 2)")
    assert keys()["gan.penalty"].kind == "none or r1 or matching_aware"
    assert keys()["run"].default == "" and "has to be given" in keys()["run"].comment
    assert keys()["seed"].read_by == EVERY
    assert keys()["discriminator.head_channels"].meaning.startswith("of kind projected: ")
    assert "projected" not in keys()["discriminator.channels"].meaning


def test_comments_are_read_on_the_line_and_above_it():
    @dataclass
    class Some:
        """No comment."""

        # above it,
        # in two lines
        first: int = 1
        second: str = "# no comment"  # beside
        third: tuple[int, ...] = (
            1,  # within
            2,
        )
        # Of the others:
        fourth: int = 4  # said
        fifth: int = 5

    assert _comments(Some) == {
        "first": "above it, in two lines",
        "second": "beside",
        "third": "within",
        "fourth": "of the others: said",
        "fifth": "",
    }


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), f"python -m s2i.config_reference > {PAGE}"


def test_a_configuration_with_comments_reads_as_without(capsys, tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text("run: here\ngenerator: {network: 'my:Net', options: {width: 3, seed: 1}}\n")
    plain = config_to_yaml(load_config(file))
    remarked = with_comments(plain)
    assert yaml.safe_load(remarked) == yaml.safe_load(plain)
    lines = remarked.splitlines()
    place = lines.index("    lr: 0.0002")
    assert lines[place - 1] == "    # learning rate; 0 or more"
    assert (
        "# of weights, order of data, augmentation and noise; 0 to 4294967295"
        in lines[: lines.index("seed: 0")]
    )
    assert max(map(len, lines)) <= 110
    cli.main(["show-config", "--config", str(file), "--comments"])
    assert capsys.readouterr().out == remarked
