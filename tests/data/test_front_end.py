"""Pretrained networks as front end: torchaudio's own loading, features in the pack, the same when
generation."""

from __future__ import annotations

import json
import sys
import urllib.error
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from PIL import Image
from torchaudio.models import wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2Bundle

from s2i.cli import main
from s2i.config_data import AudioConfig
from s2i.config_files import load_config
from s2i.config_front_end import HOP, SIZES, WINDOW, with_front_end
from s2i.data import front_end, pack_builder
from s2i.data.audio import features, load_waveform
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.files.unfinished import PART
from s2i.inference.model import load
from s2i.plugins import find_outside
from s2i.reports.export import export
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import tiny_training_config

TINY = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [(8, 10, 5), (8, 7, 8), (8, 10, 8)],
    "extractor_conv_bias": False, "encoder_embed_dim": 16, "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 4, "encoder_pos_conv_groups": 2, "encoder_num_layers": 3,
    "encoder_num_heads": 2, "encoder_attention_dropout": 0.1, "encoder_ff_interm_features": 16,
    "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.1, "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05, "aux_num_out": None,
}  # fmt: skip
WAVLM = TINY | {"encoder_num_buckets": 8, "encoder_max_distance": 16}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights under the names that torchaudio's cache would give them."""
    folder = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        torch.save(wav2vec2_model(**TINY).state_dict(), folder / "tiny-hubert.pth")
        torch.save(wavlm_model(**WAVLM).state_dict(), folder / "tiny-wavlm.pth")
    return folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    hubert = Wav2Vec2Bundle("tiny-hubert.pth", TINY, 16000, False, "Wav2Vec2")
    wavlm = Wav2Vec2Bundle("tiny-wavlm.pth", WAVLM, 16000, True, "WavLM")
    monkeypatch.setattr(torchaudio.pipelines, "HUBERT_LARGE", hubert)
    monkeypatch.setattr(torchaudio.pipelines, "WAVLM_LARGE", wavlm)
    monkeypatch.setitem(SIZES, "LARGE", (3, 16))
    front_end._load.cache_clear()


def real_bundles() -> dict[str, Wav2Vec2Bundle]:
    bundles = {name: getattr(torchaudio.pipelines, name) for name in torchaudio.pipelines.__all__}
    return {name: bundle for name, bundle in bundles.items() if isinstance(bundle, Wav2Vec2Bundle)}


@pytest.mark.parametrize("name, bundle", real_bundles().items())
def test_sizes_are_those_that_torchaudio_keeps_to_itself(monkeypatch, name, bundle):
    monkeypatch.undo()  # the tiny networks
    settings = bundle._params
    window = hop = 1
    for _, kernel, stride in settings["extractor_conv_layer_config"]:
        window, hop = window + (kernel - 1) * hop, hop * stride
    assert (window, hop) == (WINDOW, HOP)
    layers, width = settings["encoder_num_layers"], settings["encoder_embed_dim"]
    assert with_front_end(AudioConfig(front_end=name, layer=layers)).mel_bins == width
    with pytest.raises(InputError, match=f"1 to {layers}, "):
        with_front_end(AudioConfig(front_end=name, layer=layers + 1))


def audio(weights: Path, name: str = "HUBERT_LARGE", **changes) -> AudioConfig:
    file = weights / f"tiny-{'hubert' if name == 'HUBERT_LARGE' else 'wavlm'}.pth"
    return with_front_end(AudioConfig(front_end=name, weights=str(file), **changes))


def tone(samples: int) -> torch.Tensor:
    return 0.3 * torch.sin(torch.arange(samples) * 0.1) + 0.01 * torch.randn(samples)


def test_settings_become_those_of_the_network(tmp_path):
    (tmp_path / "a.yaml").write_text("audio: {front_end: WAV2VEC2_XLSR53, layer: 9, sample_rate: 8000}")
    audio_config = load_config(tmp_path / "a.yaml").audio
    assert (audio_config.sample_rate, audio_config.mel_bins, audio_config.window, audio_config.hop) == (
        16000,
        1024,
        0.025,
        0.02,
    )
    assert audio_config.layer == 9 and with_front_end(audio_config) == audio_config
    assert with_front_end(AudioConfig()) == AudioConfig()


@pytest.mark.parametrize(
    "name, layer, message",
    [
        ("HUBERT", 0, "expected log_mel or a network of torchaudio as audio.front_end.*HUBERT_BASE"),
        ("TACOTRON2_WAVERNN_CHAR_LJSPEECH", 0, "expected log_mel or a network"),
        ("WAVLM_BASE", 13, "audio.layer of 1 to 12, or 0 for the last of WAVLM_BASE, found 13"),
    ],
)
def test_unknown_network_or_layer_is_refused(tmp_path, name, layer, message):
    (tmp_path / "a.yaml").write_text(f"audio: {{front_end: {name}, layer: {layer}}}")
    with pytest.raises(InputError, match=message):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize("name, make, settings", [
    ("HUBERT_LARGE", wav2vec2_model, TINY), ("WAVLM_LARGE", wavlm_model, WAVLM)
])  # fmt: skip
def test_features_are_those_of_the_chosen_layer(weights, name, make, settings):
    waveform = tone(9000)
    network = make(**settings).eval()
    config = audio(weights, name, layer=2, cmvn=False)
    network.load_state_dict(torch.load(config.weights, weights_only=True))
    given = waveform[None]
    if name == "WAVLM_LARGE":  # the bundle says that this one hears waveforms of deviation 1
        given = (given - given.mean()) / (given.var(correction=0) + 1e-5).sqrt()
    with torch.no_grad():
        layers, _ = network.extract_features(given)
    frames = 1 + (9000 - round(config.window * 16000)) // round(config.hop * 16000)
    assert layers[1].shape == (1, frames, 16)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    activations = features(waveform, config)
    assert torch.equal(torch.get_rng_state(), state) and not activations.requires_grad
    assert torch.allclose(activations, layers[1][0], atol=1e-5)
    last = features(waveform, replace(config, layer=0))
    assert torch.allclose(last, layers[2][0], atol=1e-5) and not torch.allclose(last, activations, atol=1e-2)
    both = features(torch.stack([waveform, waveform.flip(0)]), config)
    assert torch.equal(both[0], activations)
    assert features(waveform, replace(config, cmvn=True)).mean(0).abs().max() < 1e-5


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weights": "nowhere.pth"}, "weights of audio.front_end HUBERT_LARGE, found no file at .*nowhere"),
        ({"weights": "tiny-wavlm.pth"}, "weights of audio.front_end HUBERT_LARGE in .*found: Error"),
        ({"sha256": "0123"}, "SHA-256 0123 .audio.sha256., found [0-9a-f]{64} in .*tiny-hubert.pth"),
    ],
)
def test_wrong_weights_are_an_input_error(weights, changes, message):
    config = audio(weights)
    if "weights" in changes:
        changes = {"weights": str(weights / changes["weights"])}
    with pytest.raises(InputError, match=message):
        features(tone(9000), replace(config, **changes))


def test_without_a_file_torchaudio_downloads_and_without_a_network_says_so(weights, tmp_path, monkeypatch):
    asked = []

    def download(url, path, *_, **__):
        asked.append(url)
        Path(path).write_bytes((weights / "tiny-hubert.pth").read_bytes())

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    given, waveform = audio(weights), tone(8000)
    assert torch.equal(features(waveform, replace(given, weights="")), features(waveform, given))
    assert asked == ["https://download.pytorch.org/torchaudio/models/tiny-hubert.pth"]

    def no_network(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "other"))
    front_end._load.cache_clear()
    with pytest.raises(InputError, match="download the weights of audio.front_end HUBERT_LARGE.*no network"):
        features(tone(8000), replace(given, weights=""))


@pytest.fixture
def config(weights, tmp_path):
    (tmp_path / "data").mkdir()
    write_telling_data(tmp_path / "data", train=8, val=4)
    made = tiny_training_config(tmp_path / "data", tmp_path / "encoder")
    encoder = replace(made.speech_encoder, channels=(), segment=2)  # the network's frames go to the GRU
    return replace(made, audio=audio(weights, layer=2), speech_encoder=encoder)


def test_pack_holds_the_features_and_is_stale_for_another_network_or_layer(config, tmp_path, capsys):
    build_pack(config, ["train"])
    pack = Pack(tmp_path / "data/pack/train", config)
    for index in (0, 5):
        waveform = load_waveform(tmp_path / "data" / pack.caption(index).audio, config.audio)
        expected = features(waveform, config.audio)
        assert pack.mel(index).shape == expected.shape == (len(expected), 16)
        assert torch.allclose(pack.mel(index), expected, atol=2e-3)
    for changed in ({"layer": 1}, {"front_end": "WAVLM_LARGE"}, {"sha256": "ab"}):
        with pytest.raises(InputError, match="expected a pack made with audio"):
            Pack(pack.folder, replace(config, audio=replace(config.audio, **changed)))
    Pack(pack.folder, replace(config, audio=replace(config.audio, weights="moved.pth")))
    capsys.readouterr()
    build_pack(config, ["train"])
    assert "packed before" in capsys.readouterr().err
    other = Path(config.audio.weights).with_name("other.pth")
    state = torch.load(config.audio.weights, weights_only=True)
    torch.save({name: value + 0.1 for name, value in state.items()}, other)
    build_pack(replace(config, audio=replace(config.audio, weights=str(other))), ["train"])
    assert "packed before" not in capsys.readouterr().err
    with pytest.raises(InputError, match="weights of HUBERT_LARGE in gone.pth"):
        build_pack(replace(config, audio=replace(config.audio, weights="gone.pth")), ["train"])


def test_pack_of_log_mels_knows_nothing_of_networks(config, tmp_path):
    plain = replace(config, audio=AudioConfig())
    build_pack(plain, ["train"])
    description = (tmp_path / "data/pack/train/pack.json").read_text()
    assert (
        all(f'"{name}"' in description for name in ("mel_bins", "hop")) and '"front_end"' not in description
    )
    assert set(asdict(AudioConfig())) >= {"front_end", "layer", "weights", "sha256"}


def test_trained_and_exported_it_generates_from_a_recording_as_the_run_does(
    config, weights, tmp_path, monkeypatch
):
    build_pack(config, ["train", "val"])
    train_encoder(config)
    gan = replace(config.gan, encoder=str(tmp_path / "encoder"))
    train_gan(replace(config, run=str(tmp_path / "gan"), gan=gan))
    export([tmp_path / "gan"], tmp_path / "model")
    described = (tmp_path / "model" / "config.json").read_text()
    assert '"HUBERT_LARGE"' in described and "tiny-hubert.pth" not in described
    assert "torchaudio's `HUBERT_LARGE`" in (tmp_path / "model" / "README.md").read_text()
    monkeypatch.setenv("TORCH_HOME", str(weights.parent.parent))  # the exported model looks there
    recording = tmp_path / "data" / "0-0.wav"
    generated = []
    for model in ("gan", "model"):
        front_end._load.cache_clear()
        image = tmp_path / f"{model}.png"
        main(
            [
                "generate",
                "--model",
                str(tmp_path / model),
                "--speech",
                str(recording),
                "--output",
                str(image),
            ]
        )
        generated.append(Image.open(image).tobytes())  # its file names the model too
    assert generated[0] == generated[1]
    path = load(tmp_path / "gan", "cpu").path("speech")
    pack = Pack(tmp_path / "data/pack/train")
    sentence = path.encode_speech([load_waveform(recording, path.config.audio)]).sentence
    from_pack = path.encoder(pack.mel(0).T[None], torch.tensor([len(pack.mel(0))])).sentence
    assert np.allclose(sentence.numpy(), from_pack.numpy(), atol=1e-2)


class Envelope:
    """A front end of a test: the mean level of each 10 ms, twice over."""

    sample_rate, mel_bins, window, hop = 8000, 2, 0.02, 0.01

    def __init__(self, config):
        if config.layer:
            raise ValueError("no audio.layer")

    def __call__(self, waveform):
        return waveform.unfold(0, 160, 80).abs().mean(dim=1, keepdim=True).expand(-1, 2)


CLASS = """
class Level:
    sample_rate, mel_bins, window, hop = 8000, 1, 0.02, 0.01

    def __init__(self, config):
        pass

    def __call__(self, waveform):
        return waveform.unfold(0, 160, 80).abs().mean(dim=1, keepdim=True)
"""


@pytest.fixture
def outside(config, tmp_path, monkeypatch):
    """A front end in a file of its own, with weights, its configuration, and how to read it anew."""
    source, weights = tmp_path / "outside_level.py", tmp_path / "level.pth"
    source.write_text(CLASS)
    weights.write_bytes(b"one")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = AudioConfig(front_end="outside_level:Level", weights=str(weights))
    yield source, weights, replace(config, audio=with_front_end(settings))
    sys.modules.pop("outside_level", None)
    find_outside.cache_clear()
    front_end._construct.cache_clear()


def test_a_pack_is_stale_when_the_class_or_its_weights_have_changed(outside, capsys):
    source, weights, config = outside

    def is_left() -> bool:
        capsys.readouterr()
        build_pack(config, ["train"])
        return "packed before" in capsys.readouterr().err

    assert not is_left() and is_left()
    folder = Path(config.data.pack) / "train"
    fingerprint = Pack(folder, config).fingerprint
    source.write_text(CLASS.replace(".abs()", ".square()"))
    with pytest.raises(
        InputError, match=r"outside_level:Level as its file is now.*run data_prep/pack\.py"
    ) as no:
        Pack(folder, config)
    assert "\n" not in str(no.value) and not is_left() and is_left()
    assert Pack(folder, config).fingerprint == fingerprint  # the same data, heard in another way
    weights.write_bytes(b"two")
    with pytest.raises(InputError, match=r"weights in .*level\.pth as they are now.*run data_prep/pack\.py"):
        Pack(folder, config)
    assert not is_left() and is_left()
    weights.unlink()  # as on a machine that only trains
    Pack(folder, config)


def test_a_pack_that_does_not_say_which_class_made_it_goes_on_with_a_line(outside, capsys):
    source, _, config = outside
    build_pack(config, ["train"])
    file = Path(config.data.pack) / "train" / "pack.json"
    facts = json.loads(file.read_text())
    del facts["front_end_source"]
    file.write_text(json.dumps(facts))
    source.write_text(CLASS + "# another\n")
    for use in (lambda: Pack(file.parent, config), lambda: build_pack(config, ["train"])):
        capsys.readouterr()
        use()
        said = capsys.readouterr().err
        assert "whether outside_level:Level is still as it was" in said and "images packed" not in said
    plain = replace(config, audio=AudioConfig())  # of log-mels there is nothing to say
    build_pack(plain, ["train"])
    Pack(file.parent, plain)
    assert "still as it was" not in capsys.readouterr().err


def test_a_killed_build_of_another_state_of_the_class_is_not_continued(outside, monkeypatch):
    source, _, config = outside

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pack_builder, "_join_chunks", dies)
        with pytest.raises(KeyboardInterrupt):
            build_pack(config, ["train"])
    [before] = Path(config.data.pack).glob(f".train-*{PART}")
    source.write_text(CLASS.replace(".abs()", ".square()"))
    sys.modules.pop("outside_level")
    find_outside.cache_clear()
    front_end._construct.cache_clear()
    build_pack(config, ["train"])
    pack = Pack(Path(config.data.pack) / "train", config)
    waveform = load_waveform(Path(config.data.root) / pack.caption(0).audio, config.audio)
    assert torch.allclose(pack.mel(0), features(waveform, config.audio), atol=2e-3) and not before.exists()


class Wider(Envelope):
    """States another width than it gives."""

    mel_bins = 3


class Fractional(Envelope):
    """States no whole number of samples a second."""

    sample_rate = 8000.5


class Unstated:
    """States nothing."""


def test_a_class_of_another_package_gives_features_and_settings(tmp_path):
    (tmp_path / "a.yaml").write_text(f"audio: {{front_end: '{__name__}:Envelope', hop: 0.5, cmvn: false}}")
    audio = load_config(tmp_path / "a.yaml").audio
    assert (audio.sample_rate, audio.mel_bins, audio.window, audio.hop) == (8000, 2, 0.02, 0.01)
    level = torch.cat([torch.full((800,), 0.1), torch.full((800,), -0.3)])
    envelope = features(level, audio)
    assert envelope.shape == (19, 2)
    assert torch.allclose(envelope[:9], torch.tensor(0.1)) and torch.allclose(
        envelope[10:], torch.tensor(0.3)
    )
    with pytest.raises(InputError, match="one window of speech .160 samples., found 100"):
        features(level[:100], audio)


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("Wider", {}, r"expected features \(T, 3\) of .*Wider, found \(99, 2\)"),
        ("Fractional", {}, r"Fractional to state sample_rate, 1000 to 384000 Hz, found 8000.5"),
        ("Unstated", {}, "Unstated to state sample_rate, 1000 to 384000 Hz, found None"),
        ("Envelope", {"layer": 3}, "expected settings that .*Envelope takes, found: no audio.layer"),
        ("Nothing", {}, "expected .*:Nothing for audio.front_end, found: .*install its package"),
    ],
)
def test_a_class_that_does_not_keep_its_word_is_one_line(name, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        features(tone(8000), with_front_end(AudioConfig(front_end=f"{__name__}:{name}", **changes)))
    assert "\n" not in str(caught.value)
