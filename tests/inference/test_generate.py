from __future__ import annotations

import warnings
import wave
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from s2i import cli
from s2i.data.images import to_uint8
from s2i.errors import InputError, InputWarning
from s2i.inference.attention_maps import STRIP, attention_overlay, heat, heat_over, segment_labels
from s2i.inference.generate import generate
from s2i.inference.image_facts import command_of, read_image_facts
from s2i.inference.model import load
from s2i.models.build import build_generator
from tests.fixtures.models import SENTENCES, tiny_model_config, write_recording, write_tiny_run

RATE = 22050


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("recordings") / "x.wav")


def test_the_same_sentence_and_seed_give_the_same_bytes(model, speech, tmp_path):
    for name in ("a.png", "b.png"):
        generate(model, speech, None, tmp_path / name, seed=3)
    generate(model, speech, None, tmp_path / "other.png", seed=4)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes() != (tmp_path / "other.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == (32, 32)


def test_a_refused_call_says_of_no_file_that_it_is_replaced(model, speech, tmp_path, capsys):
    out = tmp_path / "a.png"
    words = ["generate", "--model", str(model), "--output", str(out)]
    cli.main([*words, "--speech", str(speech)])
    before = out.read_bytes()
    (tmp_path / "empty.wav").touch()
    capsys.readouterr()
    for refused in (["--text", "xyzzy"], ["--speech", str(tmp_path / "empty.wav")]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, *refused])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and said.startswith("s2i: error: ") and said.count("\n") == 1
    assert out.read_bytes() == before
    cli.main([*words, "--speech", str(speech)])
    assert f"{out} is replaced\n" in capsys.readouterr().err


def _tile(page, row, column, side=32, gap=2):
    """An image of a page that `grid` laid out."""
    top, left = row * (side + gap), column * (side + gap)
    return np.asarray(Image.open(page))[top : top + side, left : left + side]


def test_a_seed_generates_the_same_image_however_many_are_generated(model, speech, tmp_path):
    generate(model, speech, None, tmp_path / "five.png", count=5, seed=10)
    for seed, row, column in ((10, 0, 0), (12, 0, 2), (14, 1, 1)):
        generate(model, speech, None, tmp_path / "one.png", seed=seed)
        alone = np.asarray(Image.open(tmp_path / "one.png"))
        assert np.array_equal(_tile(tmp_path / "five.png", row, column), alone)


def test_text_generates_too_and_the_images_are_those_of_the_pipeline(model, tmp_path):
    generate(model, None, SENTENCES[0], tmp_path / "y.png", seed=2)
    path = load(model).path("text")
    output = path.generate(path.encode_text(SENTENCES[:1]), ["2"])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "y.png")), to_uint8(output.images[-1][0]))


def test_every_stage_is_shown_in_a_row_without_smoothing(model, tmp_path):
    generate(model, None, SENTENCES[0], tmp_path / "y.png", stages=True, count=2)
    path = load(model).path("text")
    for row in range(2):
        output = path.generate(path.encode_text(SENTENCES[:1]), [str(row)])
        for column, (image, factor) in enumerate(zip(output.images, (4, 2, 1), strict=True)):
            expected = to_uint8(image[0]).repeat(factor, 0).repeat(factor, 1)
            assert np.array_equal(_tile(tmp_path / "y.png", row, column), expected)


def test_attention_is_written_with_a_tile_for_each_segment_or_word(model, speech, tmp_path):
    for name, given in (("s", (speech, None)), ("t", (None, SENTENCES[0]))):
        written = generate(model, *given, tmp_path / f"{name}.png", attention=tmp_path / f"{name}-where.png")
        assert written == [tmp_path / f"{name}.png", tmp_path / f"{name}-where.png"]
        assert Image.open(tmp_path / f"{name}-where.png").width > 4 * 128


def test_labels_are_words_or_seconds(model):
    paths = load(model).paths
    assert segment_labels(paths["text"], 3, "A small, red bird") == ["a", "small", "red"]
    assert segment_labels(paths["speech"], 2) == ["0.00 - 0.16 s", "0.16 - 0.32 s"]


def test_labels_count_from_the_recordings_beginning(model, tmp_path, monkeypatch):
    captured = []
    monkeypatch.setattr(
        "s2i.inference.sentence_page.attention_overlay",
        lambda image, attention, labels, side: captured.append(labels[0]) or Image.new("RGB", (8, 8)),
    )
    time = np.arange(16000) / 16000
    voice = 0.3 * np.sin(2 * np.pi * 300 * time)
    for name, samples in (("tight", voice), ("late", np.concatenate([np.zeros(32000), voice]))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000)
        outputs = (tmp_path / f"{name}.png", tmp_path / f"{name}-where.png")
        generate(model, tmp_path / f"{name}.wav", None, outputs[0], attention=outputs[1])
    assert captured[0].startswith("0.00 - ") and captured[1].startswith("1.99 - ")
    assert captured[0].endswith(" s") and float(captured[1].split()[2]) <= 3.0


def test_heat_lies_where_the_segment_attends():
    strength = torch.zeros(4, 4)
    strength[1, 2] = 1
    overlay = heat_over(torch.zeros(3, 32, 32), strength).astype(int)
    colour = np.abs(overlay - overlay.mean(2, keepdims=True)).sum(2)
    row, column = np.unravel_index(colour.argmax(), colour.shape)
    assert 8 <= row < 16 <= column < 24
    assert (overlay[-4:] == 128).all()  # grey where it did not look


def test_heat_counts_from_an_even_share_to_the_largest():
    attention = torch.tensor([0.25, 0.75, 0.1, 0.5, 0.75, 0.25, 0.9, 0.5]).view(2, 2, 2)
    # Two even shares make 1, which is more than the largest here.
    expected = torch.tensor([0, 0.5, 0, 0, 0.5, 0, 0.8, 0]).view(2, 2, 2)
    torch.testing.assert_close(heat(attention), expected)
    sharp = torch.tensor([0.7, 0.1, 0.1, 0.1]).view(4, 1, 1)
    torch.testing.assert_close(heat(sharp), torch.tensor([1.0, 0, 0, 0]).view(4, 1, 1))
    assert not heat(torch.full((4, 2, 2), 0.25)).any() and not heat(torch.ones(1, 2, 2)).any()


def test_padding_has_no_tile():
    attention = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0))
    two = attention_overlay(torch.zeros(3, 16, 16), attention, ["a", "b"])
    assert two.size == attention_overlay(torch.zeros(3, 16, 16), attention[:2], ["a", "b"]).size
    assert two.height >= 128 + STRIP and two.width < 4 * 128


def _write_bad(path, name):
    seconds = np.random.default_rng(0).normal(size=RATE) / 10
    if name == "empty":
        path.write_bytes(b"")
    elif name == "silent":
        soundfile.write(path, np.zeros(RATE), RATE)
    elif name == "short":
        soundfile.write(path, seconds[: RATE // 10], RATE)
    elif name == "no samples":
        soundfile.write(path, seconds[:0], RATE)
    elif name == "NaN":
        seconds[5] = np.nan
        soundfile.write(path, seconds, RATE, subtype="FLOAT")
    elif name == "no audio":
        path.write_text("a bird is not a sound")
    elif name == "hour":
        with wave.open(str(path), "wb") as stream:
            stream.setparams((1, 1, 8000, 0, "NONE", "NONE"))
            stream.writeframes(b"\x80" * 8000 * 3600)
    elif name == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    "name", ["missing", "empty", "silent", "short", "no samples", "NaN", "no audio", "hour", "folder"]
)
def test_bad_speech_is_one_line_that_names_the_file_and_writes_nothing(model, tmp_path, name):
    _write_bad(tmp_path / "bad.wav", name)
    with pytest.raises(InputError, match="expected .*found") as caught:
        generate(model, tmp_path / "bad.wav", None, tmp_path / "y.png", attention=tmp_path / "where.png")
    assert "bad.wav" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("text", ["", "   ", "?!", "qwertz yxcv"])
def test_text_without_a_known_word_is_refused(model, tmp_path, text):
    with pytest.raises(InputError, match="expected .*found"):
        generate(model, None, text, tmp_path / "y.png")
    assert not list(tmp_path.iterdir())


LONGEST = tiny_model_config("text").text_encoder.max_words
LONG = "a zebra " + "red " * LONGEST


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a purpel elefant with a wing", "the model never learnt purpel, elefant"),
        (LONG, f"the model never learnt zebra; it reads {LONGEST} words, so not: red red"),
        (SENTENCES[0], ""),
    ],
)
def test_words_that_are_not_read_are_one_line_of_the_command(model, tmp_path, capsys, text, message):
    words = ["--model", str(model), "--device", "cpu", "--text", text]
    cli.main(["generate", *words, "--output", str(tmp_path / "y.png")])
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == bool(message) and (tmp_path / "y.png").is_file()
    if message:
        assert lines[0] == f"s2i: warning: {text[:60]!r} is read in part: {message}"


def test_words_that_are_not_read_are_a_warning_of_the_library(model):
    loaded = load(model)
    for use in (loaded.generate, loaded.embed):
        with pytest.warns(InputWarning, match="'a zebra with a wing' is read in part: .* never learnt zebra"):
            use(text="a zebra with a wing")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.embed(text=SENTENCES[0])


def test_outputs_that_can_not_be_written_are_refused_before_anything_is(model, speech, tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    bad = {"y.jpg": r"ends in \.png", "y": r"ends in \.png", "folder.png": "folder", "file/y.png": "folder"}
    for name, expected in bad.items():
        for given in (
            {"output": tmp_path / name},
            {"output": tmp_path / "ok.png", "attention": tmp_path / name},
        ):
            with pytest.raises(InputError, match=expected):
                generate(model, speech, None, **given)
    with pytest.raises(InputError, match="twice"):
        generate(model, speech, None, tmp_path / "ok.png", attention=tmp_path / "ok.png")
    assert {path.name for path in tmp_path.iterdir()} == {"folder.png", "file"}


def test_what_generate_can_not_do_is_said(model, speech, tmp_path):
    output = tmp_path / "y.png"
    for given in ({"speech": speech, "text": "a bird"}, {"speech": None, "text": None}):
        with pytest.raises(InputError, match="either speech or text"):
            generate(model, **given, output=output)
    with pytest.raises(InputError, match="count of 1 or more"):
        generate(model, speech, None, output, count=0)
    with pytest.raises(InputError, match="no such folder"):
        generate(tmp_path / "nothing", speech, None, output)
    run = write_tiny_run(tmp_path / "run", attention=False)
    with pytest.raises(InputError, match="generator with attention"):
        generate(run, speech, None, output, attention=tmp_path / "where.png")
    with pytest.raises(InputError, match="path from text"):
        generate(run, None, "a bird", output)
    assert not output.exists()


def test_truncation_scales_the_noise(model, tmp_path, capsys):
    path = load(model).path("text")
    drawn = path.generator.sample_noise(["a"], 0)
    for values, scaled in zip(drawn, replace(path, truncation=0.5).sample_noise(["a"], 0), strict=True):
        torch.testing.assert_close(scaled, values / 2)
    pages = {}
    for truncation, seed in ((1.0, 1), (0.0, 1), (0.0, 2)):
        generate(model, None, SENTENCES[0], tmp_path / "x.png", seed=seed, truncation=truncation)
        pages[truncation, seed] = np.asarray(Image.open(tmp_path / "x.png")).tobytes()
    assert pages[1.0, 1] != pages[0.0, 1] == pages[0.0, 2]  # without noise a caption has one image
    words = ["generate", "--model", str(model), "--text", SENTENCES[0], "--output", str(tmp_path / "y.png")]
    cli.main([*words, "--seed", "1", "--truncation", "0"])
    assert np.asarray(Image.open(tmp_path / "y.png")).tobytes() == pages[0.0, 1]
    with pytest.raises(SystemExit):
        cli.main([*words, "--truncation", "5"])
    assert "expected a factor, 0 to 4, found '5'" in capsys.readouterr().err


def test_bf16_is_chosen_recorded_and_doubted_where_it_is_emulated(model, tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr("s2i.inference.path.has_instructions", lambda device: True)
    images = {}
    for bf16 in (False, True):
        [file] = generate(model, None, SENTENCES[0], tmp_path / f"{bf16}.png", bf16=bf16)
        images[bf16] = np.asarray(Image.open(file)).astype(int)
        [image] = load(model).generate(text=SENTENCES[0], bf16=bf16)
        assert np.array_equal(np.asarray(image), images[bf16])
    assert 0 < np.abs(images[True] - images[False]).max() < 13
    assert not recwarn.list
    assert "--bf16" in command_of(read_image_facts(tmp_path / "True.png")).split()
    assert "--bf16" not in command_of(read_image_facts(tmp_path / "False.png"))
    monkeypatch.setattr("s2i.inference.path.has_instructions", lambda device: False)
    with pytest.warns(InputWarning, match="no instructions for bf16"):
        generate(model, None, SENTENCES[0], tmp_path / "emulated.png", bf16=True)
    assert (tmp_path / "emulated.png").read_bytes() == (tmp_path / "True.png").read_bytes()


def test_guidance_is_of_a_learnt_prior_alone(model, tmp_path):
    path = load(model).path("text")
    with pytest.raises(InputError, match="a generator with a learnt prior for a guidance of 2, found none"):
        generate(model, None, SENTENCES[0], tmp_path / "x.png", guidance=2.0)
    settings = replace(path.config.generator, prior="flow", prior_dim=8, prior_layers=1, guidance=1.5)
    generator = build_generator(replace(path.config, generator=settings)).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(generator.prior.velocity.weight)  # zeros before it learns
    torch.nn.init.normal_(generator.prior.blocks[0].modulation.weight)
    path = replace(path, generator=generator)
    encoding = path.encode_text([SENTENCES[0]])
    images = {
        guidance: path.sampling(1.0, guidance).generate(encoding, ["a"]).images[-1]
        for guidance in (0.0, 1.0, 1.5, 3.0)
    }
    assert torch.equal(images[0.0], images[1.5])  # the model's own
    assert not torch.equal(images[0.0], images[1.0]) and not torch.equal(images[0.0], images[3.0])
    assert generator.prior.guidance == 1.5
