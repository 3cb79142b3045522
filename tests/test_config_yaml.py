"""YAML files that are based on others: order, relative paths, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2i.config_files import load_config
from s2i.errors import InputError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_overrides_its_base_key_by_key(tmp_path):
    write(tmp_path / "base.yaml", "seed: 3\ngan: {steps: 7, grow: [0.2, 0.4]}")
    path = write(tmp_path / "deeper" / "own.yaml", "base: ../base.yaml\ngan: {grow: [0.5], ema: 0.5}")
    config = load_config(path, ["gan.ema=0.25"])
    assert (config.seed, config.gan.steps, config.gan.grow, config.gan.ema) == (3, 7, (0.5,), 0.25)


def test_of_several_bases_the_last_counts_and_a_base_may_have_its_own(tmp_path):
    write(tmp_path / "root.yaml", "{seed: 1, threads: 1, gan: {steps: 1, batch_size: 2}}")
    write(tmp_path / "a.yaml", "base: root.yaml\ngan: {steps: 2, batch_size: 4}")
    write(tmp_path / "b.yaml", "gan: {steps: 3}\nthreads: 2")
    config = load_config(write(tmp_path / "own.yaml", "base: [a.yaml, b.yaml]"))
    assert (config.seed, config.threads, config.gan.steps, config.gan.batch_size) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: nowhere.yaml", r"found none at .*nowhere\.yaml: check base in .*own\.yaml"),
        ("base: own.yaml", r"not based on themselves, found .*own\.yaml -> .*own\.yaml: change base"),
        ("base: other.yaml", r"not based on themselves, found .*own\.yaml -> .*other\.yaml -> .*own\.yaml"),
        ("base: 3", r"list of paths as base in .*own\.yaml, found 3"),
        ("base: [bad.yaml]", r"bad\.yaml: .*sed.*\(key sed\)"),
        ("base: list.yaml", r"expected key: value in .*list\.yaml"),
    ],
)
def test_a_base_that_cannot_be_is_one_line_that_names_the_file(tmp_path, text, message):
    write(tmp_path / "other.yaml", "base: own.yaml")
    write(tmp_path / "bad.yaml", "sed: 3")
    write(tmp_path / "list.yaml", "[1, 2]")
    with pytest.raises(InputError, match=message) as raised:
        load_config(write(tmp_path / "own.yaml", text))
    assert "\n" not in str(raised.value)
