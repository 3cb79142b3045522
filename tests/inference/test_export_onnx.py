"""The path from speech as an ONNX file, run by onnxruntime: the same images as PyTorch's."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from s2i import cli
from s2i.config_data import AudioConfig
from s2i.config_files import override
from s2i.data.audio import features, load_waveform
from s2i.errors import InputError
from s2i.inference import export_onnx as module
from s2i.inference.export_onnx import export_onnx
from s2i.inference.model import load
from s2i.inference.speech_to_image import LogMel, Recurrence, SpeechToImage
from s2i.models.build import build_caption_encoder, build_generator
from tests.fixtures.models import write_recording, write_tiny_run

PAGE = Path(__file__).parents[2] / "checkpoints" / "README.md"


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The file of the session's model of random weights."""
    file = tmp_path_factory.mktemp("onnx") / "bird.onnx"
    cli.main(["export-onnx", "--model", str(model), "--output", str(file)])
    return file


@pytest.mark.parametrize("cmvn", [True, False])
@pytest.mark.parametrize("rate, window", [(22050, 0.025), (16000, 0.025), (8000, 0.032)])
def test_log_mels_of_a_convolution_are_those_that_the_encoder_was_trained_on(cmvn, rate, window):
    audio = AudioConfig(sample_rate=rate, window=window, cmvn=cmvn)
    for samples in (rate // 2, rate + 123):
        waveform = torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * 0.1
        mel = LogMel(audio)(waveform[None])
        torch.testing.assert_close(mel[0].T, features(waveform, audio), atol=1e-3, rtol=0)


@pytest.mark.parametrize("seconds, count", [(0.9, 1), (2.6, 3)])
def test_a_file_generates_the_images_that_the_model_generates(exported, model, tmp_path, seconds, count):
    recording = write_recording(tmp_path / "x.wav", seconds, seed=count)
    loaded = load(model)
    path = loaded.path("speech")
    waveform = load_waveform(recording, path.config.audio).numpy()
    noise = path.generator.sample_noise([str(seed) for seed in range(5, 5 + count)], 0)
    session = onnxruntime.InferenceSession(exported)
    given = {"waveform": waveform[None]} | {f"noise_{n}": part.numpy() for n, part in enumerate(noise)}
    (images,) = session.run(["images"], given)
    assert images.shape == (count, 3, 32, 32)
    expected = [
        np.asarray(image, dtype=int) for image in loaded.generate(speech=recording, seed=5, count=count)
    ]
    pixels = ((images.transpose(0, 2, 3, 1) + 1) * 127.5).round()
    assert np.abs(pixels - np.stack(expected)).max() <= 1
    assert len(np.unique(pixels)) > 20  # and not one grey


def test_a_file_says_what_it_takes(exported, model):
    session = onnxruntime.InferenceSession(exported)
    assert [node.name for node in session.get_inputs()] == ["waveform", "noise_0", "noise_1"]
    facts = session.get_modelmeta().custom_metadata_map
    config = load(model).path("speech").config
    assert int(facts["sample_rate"]) == config.audio.sample_rate and int(facts["size"]) == 32
    assert json.loads(facts["noise"]) == {"noise_0": [6], "noise_1": [4]}


def test_the_python_of_the_page_runs(exported, tmp_path, monkeypatch):
    [block] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "bird.onnx").write_bytes(exported.read_bytes())
    write_recording(tmp_path / "bird.wav")
    monkeypatch.chdir(tmp_path)
    variables: dict = {}
    exec(block, variables)
    assert variables["images"].shape == (4, 3, 32, 32) and np.abs(variables["images"]).max() <= 1


def test_a_learnt_prior_is_part_of_the_file(model):
    path = load(model).path("speech")
    config = replace(
        path.config.generator,
        prior="flow",
        prior_dim=8,
        prior_layers=1,
        prior_steps=2,
        guidance=2.0,
        truncation=0.5,
    )
    generator = build_generator(replace(path.config, generator=config)).eval().requires_grad_(False)
    torch.nn.init.normal_(generator.prior.velocity.weight)  # zeros before it learns
    path = replace(path, generator=generator)
    session = onnxruntime.InferenceSession(module._traced(SpeechToImage(path).eval(), path, model))
    assert module._difference(session, path, 2.0, count=3) < 1e-3
    generator.prior = None
    assert module._difference(session, path, 2.0, count=3) > 1e-2


def test_a_generator_without_noise_takes_a_waveform_alone(model):
    """Speech2Face, whose encoder lays a short recording out on a length of its own."""
    path = load(model).path("speech")
    words = [
        "audio.mel_bins=40",
        "speech_encoder.network=s2i.models.speech2face:SpeechToFeature",
        "speech_encoder.options={width: 8, hidden: 8, channels: [2, 2, 2, 2, 2, 2, 4, 4, 4, 4]}",
        "generator.network=s2i.models.feature_decoder:FeatureDecoder",
        "generator.options.width=8",
        "generator.attention=false",
        "generator.stages=1",
        "generator.base_size=16",
    ]
    config = override(path.config, words)
    torch.manual_seed(0)
    networks = build_caption_encoder(config, 0), build_generator(config, 8)
    encoder, generator = (network.eval().requires_grad_(False) for network in networks)
    path = replace(path, config=config, encoder=encoder, generator=generator)
    session = onnxruntime.InferenceSession(module._traced(SpeechToImage(path).eval(), path, model))
    assert [node.name for node in session.get_inputs()] == ["waveform"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["noise"]) == {}
    for seconds in (0.9, 6.3):
        assert module._difference(session, path, seconds, count=1) < 1e-5


@pytest.mark.parametrize("kind", [torch.nn.GRU, torch.nn.LSTM])
def test_recurrent_layers_are_onnx_s_own(kind):
    layer = kind(3, 4, batch_first=True).eval().requires_grad_(False)

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Recurrence(layer)

        def forward(self, steps: torch.Tensor) -> torch.Tensor:
            return self.layer(steps)[0]

    program = torch.onnx.export(
        States(),
        (torch.randn(1, 7, 3),),
        dynamic_shapes=({1: torch.export.Dim("steps", min=2)},),
        custom_translation_table=module._translations(),
        dynamo=True,
        verbose=False,
    )
    assert kind.__name__ in {node.op_type for node in program.model_proto.graph.node}
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for length in (2, 7, 40):
        steps = torch.randn(1, length, 3)
        (states,) = session.run(None, {session.get_inputs()[0].name: steps.numpy()})
        torch.testing.assert_close(torch.from_numpy(states), layer(steps)[0], atol=1e-5, rtol=0)


def test_recurrent_layers_of_two_directions_are_refused():
    with pytest.raises(InputError, match="expected recurrent layers of one direction"):
        Recurrence(torch.nn.GRU(3, 4, batch_first=True, bidirectional=True))


def test_a_file_that_would_take_one_length_alone_is_not_written(exported, model, tmp_path, monkeypatch):
    class OneLength:
        get_inputs = onnxruntime.InferenceSession(exported).get_inputs

        def run(self, *_: object) -> None:
            raise RuntimeError(
                "Got invalid dimensions for input: waveform\nindex: 1 Got: 37485 Expected: 66150"
            )

    monkeypatch.setattr(module, "_traced", lambda *_: b"")
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: OneLength())
    with pytest.raises(InputError, match="recordings of any length, found: Got invalid") as error:
        export_onnx(model, tmp_path / "bird.onnx")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_images_that_differ_are_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_traced", lambda *_: b"")
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: None)
    monkeypatch.setattr(module, "_difference", lambda *_: float("nan"))
    with pytest.raises(InputError, match="found them nan apart"):
        export_onnx(model, tmp_path / "bird.onnx")
    assert not list(tmp_path.iterdir())


def test_what_the_exporter_refuses_is_one_line(model, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(SpeechToImage, "forward", refuse)
    with pytest.raises(InputError) as error:
        export_onnx(model, tmp_path / "bird.onnx")
    assert "expected networks that ONNX has the operations of" in str(error.value)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_bad_input_is_one_line(model, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected a file that ends in .onnx"):
        export_onnx(model, tmp_path / "bird.pt")
    with pytest.raises(InputError, match="expected a model with a path from speech"):
        export_onnx(write_tiny_run(tmp_path / "text", "text"), tmp_path / "bird.onnx")
    path = load(model).path("speech")
    audio = replace(path.config.audio, front_end="waveform")
    with pytest.raises(
        InputError, match="expected a model that hears log-mels, found audio.front_end waveform"
    ):
        SpeechToImage(replace(path, config=replace(path.config, audio=audio)))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"found no onnxruntime: pip install -e '\.\[onnx\]'"):
        export_onnx(model, tmp_path / "bird.onnx")
