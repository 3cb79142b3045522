from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import s2i
from s2i.config_files import load_config
from s2i.data.audio import load_waveform
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.noise import caption_noise
from s2i.models.speech_encoder import SpeechEncoder
from s2i.reports.export import export
from s2i.runs.checkpoint import read_checkpoint, write_checkpoint
from tests.fixtures.models import SENTENCES, write_recording, write_tiny_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def speech_run(tmp_path_factory):
    return write_tiny_run(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    return write_tiny_run(tmp_path_factory.mktemp("text"), "text")


@pytest.fixture(scope="module")
def model(speech_run, text_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export([speech_run, text_run], folder)
    return folder


@pytest.fixture()
def exported(model, tmp_path):
    """A copy to break."""
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture(scope="module")
def waveforms(tmp_path_factory, speech_run):
    folder = tmp_path_factory.mktemp("recordings")
    audio = load(speech_run).path("speech").config.audio
    lengths = (0.8, 2.3, 1.5)
    return [
        load_waveform(write_recording(folder / f"{i}.wav", length, i), audio)
        for i, length in enumerate(lengths)
    ]


def test_a_model_tells_what_it_is_in_five_lines_at_most(model):
    lines = repr(load(model)).splitlines()
    assert len(lines) <= 5 and str(model) in lines[0]
    assert "from speech: images of 32 px in 3 stages" in lines[1] and "from text" in lines[2]
    assert max(map(len, lines)) <= 120


def test_noise_is_a_function_of_seed_and_key_alone():
    noise, condition = caption_noise(["a", "b"], 3, (6, 4))
    again, _ = caption_noise(["c", "b"], 3, (6, 4))
    assert noise.shape == (2, 6) and condition.shape == (2, 4)
    assert torch.equal(noise[1], again[1])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], caption_noise(["a"], 4, (6, 4))[0][0])


def test_noise_is_standard_normal():
    noise, condition = caption_noise([str(i) for i in range(500)], 0, (100, 30))
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((noise[:, :30] * condition).mean()) < 0.05  # the two parts are independent


def test_generating_uses_the_averaged_generator_in_eval_mode(speech_run, waveforms):
    path = load(speech_run).path("speech")
    average = read_checkpoint(speech_run / "checkpoints" / "last.pt")["nets"]["ema"]
    assert all(torch.equal(value, average[key]) for key, value in path.generator.state_dict().items())
    assert not any(part.training for part in path.generator.modules())
    assert not any(part.training for part in path.encoder.modules())
    path.generate(path.encode_speech(waveforms), list("abc"))
    assert all(torch.equal(value, average[key]) for key, value in path.generator.state_dict().items())


def test_an_image_depends_neither_on_its_batch_nor_on_its_place(speech_run, waveforms):
    path = load(speech_run).path("speech")
    together = path.generate(path.encode_speech(waveforms), list("abc"), seed=5)
    assert [tuple(part.shape) for part in together.images] == [(3, 3, size, size) for size in (8, 16, 32)]
    for i, waveform in enumerate(waveforms):
        alone = path.generate(path.encode_speech([waveform]), ["abc"[i]], seed=5)
        for one, all_ in zip(alone.images, together.images, strict=True):
            torch.testing.assert_close(one[0], all_[i], atol=1e-5, rtol=0)
        steps = alone.attention[-1].shape[1]
        torch.testing.assert_close(
            alone.attention[-1][0], together.attention[-1][i, :steps], atol=1e-5, rtol=0
        )
        assert not together.attention[-1][i, steps:].any()


def test_images_follow_caption_and_key(speech_run, waveforms):
    path = load(speech_run).path("speech")
    encoding = path.encode_speech(waveforms[:1]).repeat(2)
    images = path.generate(encoding, ["a", "b"]).images[-1]
    assert (images[0] - images[1]).abs().max() > 1e-2
    other = path.generate(path.encode_speech(waveforms[1:2]), ["a"]).images[-1]
    assert (images[0] - other[0]).abs().max() > 1e-4


def test_loading_and_generating_leave_the_global_random_state_alone(speech_run, text_run, waveforms):
    before = torch.get_rng_state()
    for run in (speech_run, text_run):
        path = next(iter(load(run).paths.values()))
        speaks = path.config.modality == "speech"
        path.generate(path.encode_speech(waveforms[:1]) if speaks else path.encode_text(SENTENCES[:1]), ["a"])
    assert torch.equal(before, torch.get_rng_state())


def test_an_exported_model_generates_as_its_runs(model, speech_run, text_run, waveforms):
    model = load(model)
    assert list(model.paths) == ["speech", "text"]
    for modality, run in (("speech", speech_run), ("text", text_run)):
        images = []
        for path in (model.path(modality), load(run).path(modality)):
            encoding = (
                path.encode_speech(waveforms)
                if modality == "speech"
                else path.encode_text([SENTENCES[0]] * 3)
            )
            images.append(path.generate(encoding, list("abc")).images[-1])
        assert torch.equal(*images)


def test_a_path_that_the_model_lacks_is_named(speech_run):
    with pytest.raises(InputError, match="a path from text in .* found only speech"):
        load(speech_run).path("text")


def test_too_short_speech_says_the_seconds(speech_run):
    path = load(speech_run).path("speech")
    hop = 220
    needed = (path.encoder.shortest() - 1) * hop + 1  # the first frame is there from the first sample on
    noise = torch.randn(needed, generator=torch.Generator().manual_seed(0)) / 10
    path.encode_speech([noise])
    with pytest.raises(InputError, match=r"more than 0\.15 s, found 0\.\d\d s"):
        path.encode_speech([noise[:-1]])


def test_a_segment_lasts_as_long_as_the_encoder_makes_it(speech_run):
    path = load(speech_run).path("speech")
    noise = torch.randn(22050 * 8, generator=torch.Generator().manual_seed(0)) / 10
    segments = path.encode_speech([noise]).mask.sum()
    assert path.encoder.seconds_per_step == pytest.approx(0.010 * 2 * 2 * 4)
    assert segments == pytest.approx(8 / path.encoder.seconds_per_step, abs=1)
    pooled = SpeechEncoder(replace(path.config.speech_encoder, pool=3), path.config.audio)
    assert pooled.seconds_per_step == pytest.approx(0.48)
    li2020 = load_config(Path(__file__).parents[2] / "recipes" / "cub" / "conf" / "li2020.yaml")
    theirs = SpeechEncoder(li2020.speech_encoder, li2020.audio)
    assert theirs.seconds_per_step == pytest.approx(0.64)  # their 64 frames a step


def _break(folder, name):
    weights = folder / "speech.safetensors"
    described = json.loads((folder / "config.json").read_text())
    if name == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif name == "empty weights":
        weights.write_bytes(b"")
    elif name == "missing weights":
        weights.unlink()
    elif name == "weights of another model":
        shutil.copy(folder / "text.safetensors", weights)
    elif name == "a file":
        shutil.rmtree(folder)
        folder.touch()
    elif name == "bad json":
        (folder / "config.json").write_text('{"format": 1, "pa')
    elif name == "json of something else":
        (folder / "config.json").write_text("[1, 2]")
    elif name == "no paths":
        described["paths"] = {}
    elif name == "another format":
        described["format"] = 3
    elif name == "no configuration":
        del described["paths"]["speech"]["config"]
    elif name == "misspelt key":
        described["paths"]["speech"]["config"]["sed"] = 1
    elif name == "other widths":
        described["paths"]["speech"]["config"]["generator"]["channels"] = 12
    elif name == "no stages":
        described["paths"]["speech"]["config"]["generator"]["stages"] = 0
    elif name == "no vocabulary":
        described["paths"]["text"]["vocabulary"] = None
    elif name == "missing folder":
        shutil.rmtree(folder)
    elif name == "empty folder":
        shutil.rmtree(folder)
        folder.mkdir()
    if folder.is_dir() and "json" not in name and "folder" not in name:
        (folder / "config.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("truncated weights", "speech.safetensors.*cut short"),
        ("empty weights", "speech.safetensors.*cut short"),
        ("missing weights", "speech.safetensors.*cut short"),
        ("weights of another model", "fit the configuration"),
        ("bad json", "JSON in .*config.json"),
        ("json of something else", "format 1 or 2 in .*config.json, found None"),
        ("no paths", "paths from speech, text or images"),
        ("another format", "format 1 or 2 in .*config.json, found 3"),
        ("no configuration", "configuration and a step in .*config.json"),
        ("misspelt key", "config.json.*sed"),
        ("other widths", "fit the configuration"),
        ("no stages", "generator.stages of 1 to 8"),
        ("no vocabulary", "a vocabulary for text"),
        ("missing folder", "found no such folder"),
        ("a file", "found a file: give the folder"),
        ("empty folder", "neither config.json nor"),
    ],
)
def test_a_broken_model_folder_is_one_line(exported, name, expected):
    _break(exported, name)
    with pytest.raises(InputError, match=expected) as caught:
        load(exported)
    assert "\n" not in str(caught.value)


def test_a_cut_short_or_other_run_is_one_line(speech_run, tmp_path):
    last = tmp_path / "checkpoints" / "last.pt"
    last.parent.mkdir()
    last.write_bytes((speech_run / "checkpoints" / "last.pt").read_bytes()[:-200])
    with pytest.raises(InputError, match="last.pt"):
        load(tmp_path)
    write_checkpoint(last, {"kind": "classifier"})
    with pytest.raises(InputError, match="GAN run in .*last.pt, found kind 'classifier'"):
        load(tmp_path)


def test_large_images_are_generated_in_the_form_for_inference(speech_run, monkeypatch):
    path = load(speech_run, "cpu").path("speech")
    mask = torch.ones(2, 5, dtype=torch.bool)
    encoding = CaptionEncoding(
        torch.randn(2, path.embedding_dim), torch.randn(2, path.embedding_dim, 5), mask
    )
    expected = path.generate(encoding, ["a", "b"]).images
    monkeypatch.setattr("s2i.inference.path.LARGE", 16)
    quick = replace(path)
    for one, other in zip(quick.generate(encoding, ["a", "b"]).images, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in quick._quick_generator.modules())
    assert quick.fingerprint("generator") == path.fingerprint("generator")


def test_importing_the_package_imports_no_torch_until_load_is_asked_for():
    code = "import sys, s2i; assert 'torch' not in sys.modules; s2i.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="nothing"):
        s2i.nothing  # noqa: B018


def test_generating_imports_nothing_heavy(model, tmp_path):
    code = f"""
import sys
from s2i.inference.generate import generate
generate({str(model)!r}, None, {SENTENCES[0]!r}, {str(tmp_path / "y.png")!r})
heavy = {{"librosa", "accelerate", "torchvision", "torchaudio", "scipy", "matplotlib", "gradio", "sympy"}}
heavy |= {{"omegaconf", "yaml", "filelock", "numba", "sklearn"}}
found = heavy & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
