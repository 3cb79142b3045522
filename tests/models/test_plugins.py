"""Networks, losses and a data set that come from outside the package, as s2i/README.md shows them."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from torchvision.models import squeezenet1_1

from s2i import cli
from s2i.config_files import load_config, override
from s2i.data.audio import features
from s2i.data.manifest import check_manifest
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.inference.attention_maps import segment_labels
from s2i.inference.model import load
from s2i.models.build import build_caption_encoder, build_discriminators, build_generator
from s2i.plugins import find_outside
from s2i.reports.export import export
from s2i.runs.checkpoint import load_last
from s2i.runs.run import Run
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.loop import Training
from tests.fixtures.models import same, tiny_model_config, tiny_training_config, write_recording
from tests.fixtures.trainings import Killed, write_trained_encoders

PAGE = (Path(__file__).parents[2] / "s2i" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The page's own Python as a package beside the project; its name."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "outside_parts"
    folder.mkdir()
    for name, text in blocks:
        (folder / name).write_text(text)
    assert {name for name, _ in blocks} == {
        "front_ends.py",
        "encoders.py",
        "decoders.py",
        "discriminators.py",
        "losses.py",
        "prepare.py",
    }
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
        "speech_encoder.options.width=16",
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


def test_a_front_end_from_outside_is_heard_through(outside, tmp_path):
    filters, waveform = torch.randn(32, 400), torch.randn(16000)
    torch.save(filters, tmp_path / "filters.pth")
    words = [f"audio.front_end={outside}.front_ends:Filters", f"audio.weights={tmp_path / 'filters.pth'}"]
    (tmp_path / "a.yaml").write_text("audio: {cmvn: false}")
    audio = load_config(tmp_path / "a.yaml", words).audio
    frames = features(waveform, audio)
    assert frames.shape == (98, 32)
    expected = (waveform[160 * 7 : 160 * 7 + 400] @ filters.T).abs().add(1e-3).log()
    assert torch.allclose(frames[7], expected, atol=1e-3)


def write_image(path, number):
    from PIL import Image

    colour = [40, 40, 40]
    colour[number] = 200
    Image.new("RGB", (24, 24), tuple(colour)).save(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Packed data with an encoder of each modality, and the weights of a SqueezeNet in a file."""
    folder = write_trained_encoders(tmp_path_factory.mktemp("world"))
    torch.save(squeezenet1_1().state_dict(), folder / "squeezenet.pth")
    return folder


def words_of(kind: str, outside: str, world: Path) -> list[str]:
    """What a configuration says of a network from outside."""
    if kind == "encoder":
        return [
            f"speech_encoder.network={outside}.encoders:Transformer",
            "speech_encoder.options.width=12",
            "speech_encoder.options.stride=8",
        ]
    if kind == "decoder":
        return [
            f"generator.network={outside}.decoders:OneScale",
            "generator.options.width=8",
            "generator.stages=1",
            "generator.base_size=16",
            "discriminator.condition_on=sentence",
        ]
    return [
        f"discriminator.network={outside}.discriminators:OnFrozenFeatures",
        f"discriminator.options.weights={world / 'squeezenet.pth'}",
    ]


@pytest.mark.parametrize("kind", ["encoder", "decoder", "discriminator"])
def test_a_network_from_outside_trains_resumes_is_exported_and_generates(
    kind, outside, world, tmp_path, monkeypatch
):
    config = tiny_training_config(world / "data", tmp_path / "run")
    gan = replace(config.gan, encoder=str(world / "speech-encoder"), steps=6)
    config = override(replace(config, gan=gan), words_of(kind, outside, world))
    if kind == "encoder":
        config = replace(config, gan=replace(gan, encoder=str(tmp_path / "encoder")))
        matching = replace(config.matching, steps=3)
        train_encoder(replace(config, run=config.gan.encoder, matching=matching))
    unbroken = load_last(train_gan(config) / "checkpoints")
    record = Training.record

    def die(self: Training, terms) -> None:
        record(self, terms)
        if self.step == 5:  # the checkpoint is of step 4
            raise Killed

    config = replace(config, run=str(tmp_path / "broken"))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Training, "record", die)
        train_gan(config)
    broken = load_last(train_gan(config) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], broken[part]), part

    export([tmp_path / "run"], tmp_path / "model")
    model = load(tmp_path / "model", "cpu").hearing(normalised=False)  # a run knows no voices
    recording = write_recording(tmp_path / "speech.wav", 0.6)
    [image] = model.generate(speech=recording, seed=1)
    assert image.size == (16, 16)
    assert image.tobytes() == load(tmp_path / "run", "cpu").generate(speech=recording, seed=1)[0].tobytes()
    path = model.path("speech")
    if kind == "encoder":
        assert model.embed(speech=recording).shape == (12,)
        labels = segment_labels(path, 2)
        assert labels == ["0.00 - 0.08 s", "0.08 - 0.16 s"]  # 8 frames of 10 ms
    elif kind == "decoder":
        assert [images.shape[-1] for images in generated_from(path, recording, ["a"])] == [16]
        together = generated_from(path, recording, ["a", "b"])[0]
        assert torch.allclose(together[1:], generated_from(path, recording, ["b"])[0], atol=1e-5)
        assert not torch.allclose(together[0], together[1])
    else:
        check_frozen(unbroken, world / "squeezenet.pth")


def generated_from(path, recording, keys: list[str]) -> list[torch.Tensor]:
    """Images of one recording from the noise of each key."""
    encoding = path.encode_speech([torch.from_numpy(soundfile.read(recording, dtype="float32")[0])])
    return path.generate(encoding.repeat(len(keys)), keys).images


def check_frozen(state: dict, weights: Path) -> None:
    """The backbone of every stage is what the file holds, the heads have moved, and the optimiser knows them
    alone."""
    published = torch.load(weights, weights_only=True)
    nets = state["nets"]["discriminators"]
    for stage in (0, 1):
        backbone = f"scales.{stage}.backbone."
        kept = {key: value for key, value in nets.items() if key.startswith(backbone)}
        assert len(kept) == sum(key.startswith("features.") for key in published)
        for key, value in kept.items():
            assert torch.equal(value, published[key.replace(backbone, "features.")]), key
        assert not is_orthogonal(nets[f"scales.{stage}.image.weight"])
    assert len(state["optimisers"]["discriminator_optimiser"]["state"]) == 2 * 4  # two heads a stage


def is_orthogonal(weight: torch.Tensor) -> bool:
    return torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["speech_encoder.options.depth=2"], r"speech_encoder.options, found .*'depth'"),
        (["generator.options.depth=2"], r"generator.options, found .*'depth'"),
        (["discriminator.options.depth=2"], r"discriminator.options, found .*'depth'"),
    ],
)
def test_an_option_that_a_network_does_not_take_is_one_line(words, expected):
    config = override(tiny_model_config("speech"), words)
    with pytest.raises(InputError, match=expected) as raised:
        build_caption_encoder(config, 0), build_generator(config), build_discriminators(config)
    assert "\n" not in str(raised.value)


def test_a_network_refuses_a_value_and_a_size_in_one_line(outside, world):
    config = override(
        tiny_model_config("speech"),
        [*words_of("encoder", outside, world), "speech_encoder.options.width=13"],
    )
    with pytest.raises(InputError, match="speech_encoder.options that Transformer takes, found: a width of"):
        build_caption_encoder(config, 0)
    config = override(
        tiny_model_config("speech"), [*words_of("decoder", outside, world), "generator.stages=2"]
    )
    with pytest.raises(InputError, match=r"expected images of \[16, 32\] px, .* found \[16\] px"):
        build_generator(config)


SPEECH2FACE = "speech_encoder.network=s2i.models.speech2face:SpeechToFeature"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [SPEECH2FACE, "speech_encoder.options.channels=5"],
            "SpeechToFeature takes",
        ),
        (
            [SPEECH2FACE, "speech_encoder.options.width=0"],
            "width of 1 or more, not 0",
        ),
        ([SPEECH2FACE, "speech_encoder.options.hidden=a"], "hidden of 1 or more"),
        (
            ["text_encoder.network=s2i.models.char_cnn_rnn:CharCnnRnn", "text_encoder.units=characters"]
            + ["text_encoder.max_words=201", "text_encoder.options.channels=[4,-1,4]", "modality=text"],
            "channels of 1 or more",
        ),
        (
            ["generator.network=s2i.models.feature_decoder:FeatureDecoder", "generator.options.width=1.5"],
            "width of 1 or more, not 1.5",
        ),
        (
            ["generator.network=s2i.models.stackgan:StageTwoGenerator", "generator.options.first_channels=b"],
            "first_channels of 1 or more",
        ),
        (
            ["discriminator.network=s2i.models.residual_dcgan:MatchingAwareDiscriminator"]
            + ["discriminator.norm=batch", "discriminator.options.project_dim=0"],
            "project_dim of 1 or more, not 0",
        ),
    ],
)
def test_a_width_that_is_none_is_one_line(words, expected):
    config = override(tiny_model_config("speech"), words)
    with pytest.raises(InputError, match=expected) as raised:
        build_caption_encoder(config, 9), build_generator(config), build_discriminators(config)
    assert "\n" not in str(raised.value)


def test_what_torch_refuses_of_an_option_is_one_line_and_other_mistakes_are_not_hidden(monkeypatch):
    class Wide(torch.nn.Linear):
        def __init__(self, config, audio, width=-1):
            super().__init__(3, width)

    monkeypatch.setattr("s2i.models.build.find_outside", lambda *_: Wide)
    config = override(tiny_model_config("speech"), ["speech_encoder.network=some:Wide"])
    for width, error in (
        ("a", "Wide takes, found: empty"),
        ("-3", "Wide takes, found: Trying to create tensor"),
    ):
        with pytest.raises(InputError, match=error) as raised:
            build_caption_encoder(override(config, [f"speech_encoder.options.width={width}"]), 0)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    with pytest.raises(RuntimeError, match="Trying to create tensor"):
        build_caption_encoder(config, 0)


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
    sections = "speech_encoder|text_encoder|generator|discriminator|matching|gan"
    words = [
        word.replace("=...", "=a:b")
        for quoted in re.findall(r"`([^`\n]+)`", PAGE)
        for word in quoted.split()
        if re.match(rf"(?:{sections})\.[\w.]+=", word)
    ]
    assert len(words) >= 9
    cli.main(["show-config", "--config", str(tmp_path / "some.yaml"), *words])
    shown = capsys.readouterr().out
    for word in words:
        assert f"{word.partition('=')[0].rpartition('.')[2]}: {word.partition('=')[2]}" in shown, word
