"""Google's speech embedding as front end: its published numbers, from a wav to an exported model."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2i.cli import main
from s2i.config_data import AudioConfig
from s2i.config_front_end import with_front_end
from s2i.data import front_end
from s2i.data.audio import features, load_waveform
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.speech_embedding import EMBEDDING, MEL_SPECTRUM, SAMPLES
from s2i.errors import InputError
from s2i.files import packaged_file
from s2i.reports.export import export
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import tiny_training_config

NAME = "s2i.data.speech_embedding:SpeechEmbedding"
STEP = 1280  # samples
AUDIO = with_front_end(AudioConfig(front_end=NAME, cmvn=False))


@pytest.fixture(autouse=True)
def not_yet_loaded():
    front_end._construct.cache_clear()


@pytest.fixture
def files() -> tuple[Path, Path]:
    if find_spec("openwakeword") is None:  # which is not imported: its code is not needed
        pytest.skip("needs openwakeword")
    return MEL_SPECTRUM.find(), EMBEDDING.find()


def syllables(samples: int) -> torch.Tensor:
    time = torch.arange(samples) / 16000
    hum = sum(torch.sin(2 * torch.pi * 120 * harmonic * time) / harmonic for harmonic in range(1, 30))
    return 0.1 * hum * (1 + torch.sin(2 * torch.pi * 4 * time)) * torch.linspace(1, 0.3, samples)


def test_settings_become_those_of_the_embedding():
    assert (AUDIO.sample_rate, AUDIO.mel_bins, AUDIO.window, AUDIO.hop) == (16000, 96, 0.032, 0.08)
    assert with_front_end(AUDIO) == AUDIO


@pytest.mark.parametrize("samples", [512, 12511, 30000])
def test_each_step_is_what_the_unchanged_files_give_for_its_window(files, samples):
    import onnxruntime

    spectrum, embedding = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files
    )
    waveform = syllables(samples)
    embeddings = features(waveform, AUDIO)
    assert embeddings.shape == (1 + samples // STEP, 96) and embeddings.dtype == torch.float32
    silence = np.zeros(SAMPLES // 2, np.float32)
    padded = np.concatenate([silence, 32767 * waveform.numpy(), silence])
    (decibels,) = spectrum.run(None, {"input": padded[None]})
    mel = decibels[0, 0] / 10 + 2
    for step, row in enumerate(embeddings):
        (expected,) = embedding.run(None, {"input_1": mel[None, 8 * step : 8 * step + 76, :, None]})
        assert np.allclose(row, expected.ravel(), atol=1e-3)
    assert embeddings.std() > 1
    both = features(torch.stack([waveform, waveform.flip(0)]), AUDIO)
    assert torch.equal(both[0], embeddings)


def test_a_step_hears_its_own_window_and_nothing_else(files):
    waveform, changed = syllables(40000), syllables(40000)
    place = 25000
    changed[place:] = 0.5 * changed[place:].flip(0)  # no louder, which would raise the floor of all frames
    before, after = features(waveform, AUDIO), features(changed, AUDIO)
    is_same = (before == after).all(dim=1)
    deaf = (place - SAMPLES // 2) // STEP + 1  # steps whose window ends before the change
    assert is_same[:deaf].all() and not is_same[deaf:].any()


def refused(*words: str) -> None:
    with pytest.raises(InputError) as caught:
        features(syllables(8000), AUDIO)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_what_is_missing_is_one_line_with_the_command(monkeypatch, tmp_path):
    def not_there(name: str) -> None:
        raise PackageNotFoundError(name)

    class Package:
        def locate_file(self, name: str) -> Path:
            return tmp_path / "weights.onnx"

    monkeypatch.setattr(packaged_file, "distribution", not_there)
    refused("none installed: pip install --no-deps openwakeword==0.4.0")
    monkeypatch.setattr(packaged_file, "distribution", lambda name: Package())
    (tmp_path / "weights.onnx").write_bytes(b"of a later version")
    refused("SHA-256 ba2b0e0f", "weights.onnx: pip install --force-reinstall --no-deps openwakeword==0.4.0")
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused("found no onnx: pip install -e '.[onnx]'")


def test_settings_that_it_does_not_take_are_refused():
    with pytest.raises(InputError, match="settings that .*SpeechEmbedding takes, found: no audio.layer"):
        features(syllables(8000), replace(AUDIO, layer=2))


def test_trained_and_exported_it_generates_from_a_recording_as_the_run_does(files, tmp_path):
    (tmp_path / "data").mkdir()
    write_telling_data(tmp_path / "data", train=8, val=4)
    made = tiny_training_config(tmp_path / "data", tmp_path / "encoder")
    encoder = replace(made.speech_encoder, channels=(), segment=2)
    config = replace(made, audio=replace(AUDIO, cmvn=True), speech_encoder=encoder)
    build_pack(config, ["train", "val"])
    pack, recording = Pack(tmp_path / "data/pack/train", config), tmp_path / "data" / "0-0.wav"
    expected = features(load_waveform(recording, config.audio), config.audio)
    assert torch.allclose(pack.mel(0), expected, atol=2e-3)
    train_encoder(config)
    train_gan(
        replace(config, run=str(tmp_path / "gan"), gan=replace(config.gan, encoder=str(tmp_path / "encoder")))
    )
    export([tmp_path / "gan"], tmp_path / "model")
    assert f"passes `{NAME}` first" in (tmp_path / "model" / "README.md").read_text()
    images = [tmp_path / f"{model}.png" for model in ("gan", "model")]
    for image in images:
        front_end._construct.cache_clear()
        model = ["--model", str(tmp_path / image.stem)]
        main(["generate", *model, "--speech", str(recording), "--output", str(image)])
    assert Image.open(images[0]).tobytes() == Image.open(images[1]).tobytes()
