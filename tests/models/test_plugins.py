"""An encoder, two losses and a data set that come from outside the package, as s2i/README.md shows them."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from s2i import cli
from s2i.config_files import override
from s2i.data.manifest import check_manifest
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.models.build import build_caption_encoder
from s2i.plugins import find_outside
from s2i.reports.export import export
from s2i.runs.run import Run
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.tiny import tiny_model_config, tiny_training_config, write_recording

PAGE = (Path(__file__).parents[2] / "s2i" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The page's own Python as a package beside the project; its name."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "outside_parts"
    folder.mkdir()
    for name, text in blocks:
        (folder / name).write_text(text)
    assert {name for name, _ in blocks} == {"encoders.py", "losses.py", "prepare.py"}
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "outside_parts"
    for name in [name for name in sys.modules if name.split(".")[0] == "outside_parts"]:
        del sys.modules[name]
    find_outside.cache_clear()


def test_parts_from_outside_train_export_and_draw(outside, tmp_path):
    source, data = tmp_path / "source", tmp_path / "data"
    for number, colour in enumerate(("red", "blue", "green")):
        (source / colour).mkdir(parents=True)
        for place in range(4):
            write_image(source / colour / f"{place}.png", number)
            write_recording(source / colour / f"{place}.wav", 0.6, 10 * number + place)
    prepare = find_outside(f"{outside}.prepare:prepare", "test")
    prepare(source, data)
    assert check_manifest(data / "manifest.jsonl", source) == []

    config = tiny_training_config(data, tmp_path / "speech-gan")
    words = [
        f"data.root={source}",
        f"speech_encoder.network={outside}.encoders:Transformer",
        f"matching.added_loss={outside}.losses:alignment",
        "matching.added_weight=0.5",
        f"gan.added_loss={outside}.losses:brightness",
    ]
    config = override(config, words)
    config = replace(config, matching=replace(config.matching, steps=3), gan=replace(config.gan, steps=3))
    build_pack(config, ("train", "val"))
    encoder = train_encoder(replace(config, run=config.gan.encoder))
    run = train_gan(config)
    for folder, term in ((encoder, "loss/added"), (run, "g/added")):
        logged = [line for line in Run(folder).read_log() if term in line]
        assert logged and all(line[term] > 0 for line in logged)

    export([run], tmp_path / "model")
    path = load(tmp_path / "model").path("speech")
    assert type(path.encoder).__module__ == f"{outside}.encoders"
    [image] = load(tmp_path / "model").generate(speech=source / "red" / "0.wav")
    assert image.size == (16, 16)


def write_image(path, number):
    from PIL import Image

    colour = [40, 40, 40]
    colour[number] = 200
    Image.new("RGB", (24, 24), tuple(colour)).save(path)


def test_what_is_not_there_is_one_line(outside, capsys, tmp_path):
    config = tiny_model_config("speech")
    for name, expected in (
        ("nowhere.parts:Encoder", "No module named 'nowhere'"),
        (f"{outside}.encoders:Nothing", "has no attribute 'Nothing'"),
        (f"{outside}.encoders", "expected module:name"),
        (f"{outside}.losses:alignment", r"expected a torch\.nn\.Module"),
    ):
        encoder = replace(config.speech_encoder, network=name)
        with pytest.raises(InputError, match=expected):
            build_caption_encoder(replace(config, speech_encoder=encoder), 0)


def test_the_page_names_keys_that_exist(capsys, tmp_path):
    (tmp_path / "some.yaml").write_text("seed: 3\n")
    keys = re.findall(r"`((?:speech_encoder|text_encoder|matching|gan)\.\w+)=", PAGE)
    assert len(keys) >= 3
    cli.main(["show-config", "--config", str(tmp_path / "some.yaml"), *(f"{key}=a:b" for key in keys)])
    assert capsys.readouterr().out.count("a:b") == len(set(keys))
