from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import s2i
from s2i import cli
from s2i.errors import InputError, InputWarning
from s2i.files.atomic import sha256_of
from s2i.inference.caption_strip import captioned, font_for, wrapped
from s2i.inference.generate import generate
from s2i.inference.image_facts import command_of, read_image_facts
from s2i.inference.interpolate import interpolate
from s2i.inference.model import load
from tests.fixtures.models import SENTENCES, write_recording


def test_an_image_tells_what_made_it_and_how_to_make_it_again(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentence = f"{SENTENCES[0]}, ‹naïve›"
    generate(model, None, sentence, "a.png", count=2, seed=5, truncation=0.5, scale=2)
    facts = read_image_facts("a.png")
    path = load(model).path("text")
    assert facts == {
        "modality": "text",
        "sentence": sentence,
        "model": model.name,
        "step": path.step,
        "encoder": path.fingerprint("encoder")[:16],
        "generator": path.fingerprint("generator")[:16],
        "count": 2,
        "seed": 5,
        "truncation": 0.5,
        "scale": 2,
        "version": s2i.__version__,
    }
    with Image.open("a.png") as image:
        image.load()
        assert image.info["Description"] == sentence and image.info["Software"] == f"s2i {s2i.__version__}"
    capsys.readouterr()
    cli.main(["about", "a.png"])
    printed_facts = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert printed_facts["sentence"] == sentence and printed_facts["seed"] == "5"
    again = shlex.split(printed_facts["again"])
    again[again.index("--model") + 1] = str(model)
    cli.main(again[1:])
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    capsys.readouterr()
    cli.main(["about", "--json", "a.png"])
    assert json.loads(capsys.readouterr().out) == facts


def test_a_recording_is_told_by_its_name_and_digest(model, tmp_path):
    speech = write_recording(tmp_path / "rédaction.wav")
    generate(model, speech, None, tmp_path / "a.png", attention=tmp_path / "maps.png")
    for name in ("a.png", "maps.png"):
        facts = read_image_facts(tmp_path / name)
        assert (facts["modality"], facts["recording"]) == ("speech", "rédaction.wav")
        assert (facts["seed"], facts["count"], "stages" in facts) == (0, 1, False)
        assert facts["recording_sha256"] == sha256_of(speech) and str(tmp_path) not in json.dumps(facts)


def test_a_recording_is_found_again_by_the_path_that_was_given(model, tmp_path, capsys, monkeypatch):
    """From the folder of the command, or beside an image that was moved; what lay outside stays a name."""
    here = tmp_path / "here"
    for folder in ("checkpoints", "voice", "moved"):
        (here / folder).mkdir(parents=True)
    (here / "checkpoints" / model.name).symlink_to(model)
    monkeypatch.chdir(here)
    given = f"checkpoints/{model.name}"
    write_recording(here / "voice" / "a.wav")
    write_recording(tmp_path / "outside.wav")

    def made(speech, output="bird.png"):
        generate(given, speech, None, output)
        return read_image_facts(output)["recording"]

    def again(file):
        capsys.readouterr()
        cli.main(["about", str(file)])
        words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("again: "))
        return words[words.index("--speech") + 1], words[1:]

    assert made("./voice/a.wav") == "voice/a.wav"
    with Image.open("bird.png") as image:
        image.load()
        assert image.info["Description"] == "a.wav"
    speech, words = again("bird.png")
    assert speech == "voice/a.wav"
    cli.main(words)
    assert (here / "again.png").read_bytes() == (here / "bird.png").read_bytes()

    (here / "voice" / "a.wav").rename(here / "moved" / "a.wav")
    (here / "bird.png").rename(here / "moved" / "bird.png")
    assert again(Path("moved", "bird.png"))[0] == "moved/a.wav"
    (here / "moved" / "a.wav").unlink()
    assert again(Path("moved", "bird.png"))[0] == "voice/a.wav"

    assert made(tmp_path / "outside.wav") == made("../outside.wav") == "outside.wav"
    assert made("voice/../../outside.wav") == "outside.wav"


def test_an_image_of_an_older_version_names_its_recording_alone(tmp_path, monkeypatch):
    (tmp_path / "beside").mkdir()
    monkeypatch.chdir(tmp_path)
    facts = {"modality": "speech", "recording": "a.wav", "model": "model", "seed": 0, "version": "0.1"}
    assert "--speech a.wav " in command_of(facts, "beside")
    (tmp_path / "beside" / "a.wav").touch()
    assert "--speech beside/a.wav " in command_of(facts, "beside")
    (tmp_path / "a.wav").touch()
    assert "--speech a.wav " in command_of(facts, "beside")


def test_a_strip_between_two_recordings_tells_both_and_how_to_make_it_again(
    model, tmp_path, capsys, monkeypatch
):
    (tmp_path / "here" / "checkpoints").mkdir(parents=True)
    (tmp_path / "here" / "checkpoints" / model.name).symlink_to(model)
    monkeypatch.chdir(tmp_path / "here")
    first, last = (
        write_recording(tmp_path / name, seed=seed) for seed, name in enumerate(("a.wav", "b.wav"))
    )
    interpolate(model, first, last, tmp_path / "strip.png", frames=3, seed=2, scale=2)
    facts = read_image_facts(tmp_path / "strip.png")
    assert (facts["recording"], facts["until"], facts["frames"]) == ("a.wav", "b.wav", 3)
    assert facts["until_sha256"] == sha256_of(last) != facts["recording_sha256"]
    cli.main(["about", str(tmp_path / "strip.png")])
    again = capsys.readouterr().out.splitlines()[-1].removeprefix("again: ")
    cli.main(shlex.split(again)[1:])
    assert (tmp_path / "here" / "again.png").read_bytes() == (tmp_path / "strip.png").read_bytes()


@pytest.mark.parametrize("text", [None, "{", '{"a": 1}', "[]"])
def test_an_image_of_somebody_elses_tells_nothing(tmp_path, text):
    from s2i.data.images import save_png

    save_png(Image.new("RGB", (4, 4)), tmp_path / "a.png", {} if text is None else {"s2i": text})
    with pytest.raises(InputError, match="a.png"):
        read_image_facts(tmp_path / "a.png")


def test_a_larger_image_has_the_same_content_and_a_caption_below(model, tmp_path):
    for name, options in {
        "plain": {},
        "large": {"scale": 4},
        "said": {"scale": 4, "caption": True},
        "words": {"scale": 4, "caption": "something else"},
    }.items():
        generate(model, None, SENTENCES[0], tmp_path / f"{name}.png", count=2, **options)
    plain, large, said, words = (
        np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "large", "said", "words")
    )
    assert plain.shape == (32, 66, 3) and large.shape == (128, 258, 3)
    shrunk = np.asarray(Image.fromarray(large[:, :128]).resize((32, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(shrunk - plain[:, :32]).mean() < 12
    assert said.shape[0] > 128 and np.array_equal(said[:128, :258], large)
    assert (said[128:] < 100).any() and not np.array_equal(said, words)


def test_a_caption_wraps_between_words_and_widens_a_small_image():
    font = font_for("a", 12)
    lines = wrapped("a small red bird with a yellow belly and incomprehensibilities", font, 100)
    assert " ".join(lines) == "a small red bird with a yellow belly and incomprehensibilities"
    assert all(font.getlength(line) <= 100 for line in lines if " " in line) and len(lines) > 2
    image = Image.new("RGB", (16, 16), "red")
    page = captioned(image, "a small red bird", "model, seed 0")
    assert page.width == 192 and page.getpixel((88, 8)) == (255, 0, 0) and page.getpixel((0, 0)) == (255,) * 3


def test_letters_that_no_font_has_are_named():
    with pytest.warns(InputWarning, match="\U0001f99c"):
        captioned(Image.new("RGB", (16, 16)), "a \U0001f99c", "model")
