"""Speech from images, and both from each other: losses by hand, traps, the same bits however often killed."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s2i.cli import main
from s2i.config import Config, CrossModalConfig, EvaluationConfig
from s2i.config_data import AudioConfig
from s2i.config_files import load_config, override
from s2i.config_networks import DiscriminatorConfig, SpeechEncoderConfig, SpeechGeneratorConfig
from s2i.data.audio import log_mel
from s2i.data.griffin_lim import to_waveform
from s2i.data.manifest import write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.log_mel_encoder import LogMelEncoder
from s2i.models.log_mel_generator import LogMelGenerator, LogMelScale, laid_out
from s2i.models.pair_discriminator import PairDiscriminator
from s2i.reports.export import export
from s2i.runs.checkpoint import load_last
from s2i.training.cross_modal import train_cross_modal
from s2i.training.cross_modal_step import Pair, discriminator_losses, generate_pairs, generator_losses
from s2i.training.memory_format import FORMATS
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.trainings import train_and_die

SPEECH = [
    "cross_modal.generates=speech",
    "cross_modal.batch_size=4",
    "cross_modal.steps=5",
    "cross_modal.ema=0.9",
    "cross_modal.sample_every=3",
    "speech_generator.frames=33",
    "speech_generator.code_dim=6",
    "speech_generator.noise_dim=5",
    "speech_generator.channels=4",
    "discriminator.norm=batch",
    "discriminator.options.project_dim=4",
    "generator.stages=1",
    "generator.base_size=16",
    "generator.attention=false",
    "audio.mel_bins=20",
]

BOTH = [
    *SPEECH,
    "cross_modal.generates=both",
    "cross_modal.cycle_weight=10",
    "audio.cmvn=false",
    "speech_encoder.network=s2i.models.log_mel_encoder:LogMelEncoder",
    "speech_encoder.options={channels: [4, 8], width: 6, frames: 33}",
    "generator.network=s2i.models.residual_dcgan:ResidualGenerator",
]


def configured(folder: Path, run: Path, words: list[str]) -> Config:
    config = tiny_training_config(folder / "data", run)
    config = replace(config, evaluation=EvaluationConfig(split="val", batch_size=4))
    return override(config, [*words, f"data.pack={folder / 'pack'}"])


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """Data in `data`, packed for SPEECH in `pack`."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "data").mkdir()
    write_telling_data(folder / "data")
    build_pack(configured(folder, folder / "none", SPEECH), ["train", "val"])
    return folder


def test_speech_from_images_resumes_bit_for_bit_is_exported_and_heard(packed, tmp_path, monkeypatch):
    config = configured(packed, tmp_path / "run", SPEECH)
    unbroken = load_last(train_cross_modal(config) / "checkpoints")
    broken = replace(config, run=str(tmp_path / "broken"))
    train_and_die(monkeypatch, train_cross_modal, broken, 5)  # the checkpoint is of step 4
    torch.rand(3)
    again = load_last(train_cross_modal(broken) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], again[part]), part
    assert sorted(path.name for path in (tmp_path / "run" / "samples" / "speech").iterdir()) == [
        "step-00000003.png",
        "step-00000005.png",
    ]

    export([tmp_path / "run"], tmp_path / "model")
    models = [load(tmp_path / name, "cpu") for name in ("run", "model")]
    image = packed / "data" / "0.png"
    (first, rate), (exported, _) = (model.speak(image, seed=1) for model in models)
    assert rate == 22050 and len(first) == pytest.approx(33 * 220, abs=600)
    assert np.array_equal(first, exported) and not np.array_equal(first, models[0].speak(image, seed=2)[0])
    assert "Generates speech from images." in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(InputError, match="path from speech .* found only an image"):
        models[1].path("speech")


@pytest.fixture(scope="module")
def packed_for_both(packed) -> Path:
    """The same data, packed for BOTH: a folder with `data` and `pack`."""
    folder = packed / "both"
    folder.mkdir()
    (folder / "data").symlink_to(packed / "data")
    build_pack(configured(folder, folder / "none", BOTH), ["train", "val"])
    return folder


def test_four_paths_resume_bit_for_bit_and_are_exported(packed_for_both, tmp_path, monkeypatch):
    config = configured(packed_for_both, tmp_path / "run", BOTH)
    unbroken = load_last(train_cross_modal(config) / "checkpoints")
    broken = replace(config, run=str(tmp_path / "broken"))
    train_and_die(monkeypatch, train_cross_modal, broken, 5)
    torch.rand(3)
    again = load_last(train_cross_modal(broken) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], again[part]), part

    export([tmp_path / "run"], tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").glob("*.safetensors")} == {
        "image.safetensors",
        "speech.safetensors",
    }
    models = [load(tmp_path / name, "cpu") for name in ("run", "model")]
    image, recording = packed_for_both / "data" / "0.png", packed_for_both / "data" / "0-0.wav"
    spoken = [model.speak(image, seed=1)[0] for model in models]
    assert np.array_equal(*spoken)
    shown = [model.generate(speech=recording, seed=1)[0].tobytes() for model in models]
    assert shown[0] == shown[1]
    for words, output in (
        (["--speech", str(recording)], "image.png"),
        (["--speech", str(recording)], "again.wav"),
        (["--image", str(image)], "speech.wav"),
        (["--image", str(image)], "again.png"),
    ):
        main(["generate", "--model", str(tmp_path / "model"), *words, "--output", str(tmp_path / output)])
        assert (tmp_path / output).stat().st_size > 100


def test_every_network_learns_from_each_path_that_it_is_on(packed_for_both, tmp_path):
    config = configured(
        packed_for_both, tmp_path / "run", [*BOTH, "cross_modal.steps=1", "cross_modal.ema=0"]
    )
    train_cross_modal(config)
    before = {}

    def remember(networks, batch, real):
        pairs = generate_pairs(networks, batch, real)
        reached = {}
        weights = {
            "image_encoder": networks.image_encoder.globe.weight,
            "speech_generator": networks.speech_generator.first.weight,
            "speech_encoder": networks.speech_encoder.project.weight,
            "generator": networks.generator.first.weight,
        }
        for path, pair in pairs.items():
            total = pair.images.square().sum() + pair.speech.square().sum()
            gradients = torch.autograd.grad(total, weights.values(), retain_graph=True, allow_unused=True)
            reached[path] = {name for name, each in zip(weights, gradients, strict=True) if each is not None}
        before.update(reached)
        return pairs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2i.training.cross_modal_step.generate_pairs", remember)
        train_cross_modal(replace(config, run=str(tmp_path / "other")))
    everything = {"image_encoder", "speech_generator", "speech_encoder", "generator"}
    assert before == {
        "image_to_speech": {"image_encoder", "speech_generator"},
        "speech_to_image": {"speech_encoder", "generator"},
        "speech_to_speech": everything,
        "image_to_image": everything,
    }


def test_an_encoding_of_a_log_mel_depends_on_no_other_one_of_its_batch():
    torch.manual_seed(0)
    audio = AudioConfig(mel_bins=20, cmvn=False)
    encoder = LogMelEncoder(SpeechEncoderConfig(), audio, channels=(3, 4), width=5, frames=32)
    for norm in encoder.norms:
        norm.running_mean.normal_(std=0.3)
        norm.bias.data.normal_()
    encoder.eval()
    lengths = torch.tensor([7, 32, 45])
    mels = torch.randn(3, 20, 45) - 5
    together = encoder(mels, lengths).sentence
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(mels[row : row + 1, :, :length], lengths[row : row + 1]).sentence
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)
    silent = torch.full((1, 20, 32), log(1e-6))  # a recording is followed by silence, as a generated one is
    silent[..., :7] = mels[:1, :, :7]
    torch.testing.assert_close(encoder(silent, torch.tensor([32])).sentence, together[:1], atol=1e-5, rtol=0)


def test_a_log_mel_depends_on_its_image_and_key_alone(packed, tmp_path):
    run = train_cross_modal(configured(packed, tmp_path / "run", [*SPEECH, "cross_modal.steps=2"]))
    path = load(run, "cpu").speech_path()
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    together = path.generate(images, ["a", "b", "c"], seed=4)
    assert together.shape == (3, 33, 20)
    for row, key in enumerate("abc"):
        alone = path.generate(images[row : row + 1], [key], seed=4)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=0)
    assert not torch.equal(path.generate(images[:1], ["a"], 0), path.generate(images[:1], ["b"], 0))


def test_the_range_of_log_mels_is_that_of_the_recordings(packed, tmp_path):
    run = train_cross_modal(configured(packed, tmp_path / "run", [*SPEECH, "cross_modal.steps=1"]))
    scale = load(run, "cpu").speech_path().generator.scale
    pack = Pack(packed / "pack" / "train")
    loudest = max(pack.unnormalised(index).max() for index in pack.usable("speech").tolist())
    assert float(scale.least) == pytest.approx(log(1e-6)) and float(scale.largest) == pytest.approx(loudest)


def test_from_the_command_line(packed, tmp_path, capsys):
    run = train_cross_modal(configured(packed, tmp_path / "run", [*SPEECH, "cross_modal.steps=1"]))
    output = tmp_path / "bird.wav"
    main(
        ["generate", "--model", str(run), "--image", str(packed / "data" / "0.png"), "--output", str(output)]
    )
    samples, rate = soundfile.read(output)
    assert rate == 22050 and len(samples) > 4000
    assert capsys.readouterr().out.strip() == str(output)
    for words in (
        ["report", str(run), "--output", str(tmp_path / "report")],
        ["tabulate", str(run), "--output", str(tmp_path / "table")],
        ["systems", str(run), "--output", str(tmp_path / "systems")],
        ["index", str(packed / "data"), "--model", str(run), "--output", str(tmp_path / "index")],
        ["compare", str(run), str(run), "--output", str(tmp_path / "comparison")],
        ["app", "--model", str(run)],
        ["evaluate", str(run), "--protocol", "attribute_accuracy"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        printed = capsys.readouterr()
        assert stopped.value.code == 2 and printed.err.splitlines()[-1].startswith("s2i: error: expected"), (
            words
        )
    for words, expected in (
        (["--image", str(packed / "data" / "0.png"), "--output", "b.wav", "--count", "2"], "without --count"),
        (["--image", str(packed / "data" / "none.png"), "--output", "b.wav"], "found neither"),
        (["--image", str(packed / "data" / "0.png"), "--output", "b.gif"], "ends in .wav or .png"),
        (["--speech", str(packed / "data" / "0-0.wav"), "--output", "b.wav"], "path from speech"),
        (["--image", str(packed / "data" / "0.png"), "--output", "b.png"], "path from speech"),
        (
            ["--image", str(packed / "data" / "0.png"), "--output", "b.wav", "--guidance", "2"],
            "expected no truncation or guidance for speech of an image, found 1 and 2",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["generate", "--model", str(run), *words])
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert stopped.value.code == 2 and expected in error, error


def test_recordings_are_laid_out_with_silence_behind():
    mels = torch.arange(12.0).reshape(2, 1, 6)
    out = laid_out(mels, torch.tensor([2, 6]), 4, -9.0)
    assert out.tolist() == [[[0, 1, -9, -9]], [[6, 7, 8, 9]]]
    assert laid_out(mels, torch.tensor([6, 1]), 7, -9.0).tolist()[1] == [[6, -9, -9, -9, -9, -9, -9]]


def test_log_mels_become_numbers_between_minus_one_and_one_and_back():
    scale = LogMelScale()
    scale.set_range(-13.0, 3.0)
    assert scale.to_unit(torch.tensor([-13.0, -5.0, 3.0, 4.0])).tolist() == [-1, 0, 1, 1]
    assert scale.to_log_mels(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [-13, -5, 3]


@pytest.mark.parametrize(("bins", "frames"), [(40, 384), (128, 44), (20, 33), (16, 16)])
def test_log_mels_have_the_size_that_is_asked_for(bins, frames):
    config = SpeechGeneratorConfig(frames=frames, noise_dim=0, channels=2)
    generator = LogMelGenerator(config, 3, bins)
    code = CaptionEncoding.of_vectors(torch.randn(2, 3))
    assert generator(code, *generator.sample_noise(["a", "b"], 0)).shape == (2, bins, frames)
    discriminator = PairDiscriminator(DiscriminatorConfig(channels=2), 16, bins, frames, project_dim=3)
    [logits] = discriminator([(torch.randn(2, 3, 16, 16), torch.randn(2, bins, frames))])
    assert logits.shape == (2,)


def test_pairs_that_share_a_side_have_the_logits_of_each_alone():
    discriminator = PairDiscriminator(DiscriminatorConfig(channels=2), 16, 16, 32, project_dim=3)
    images, other_images = torch.randn(2, 4, 3, 16, 16)
    speech, other_speech = torch.randn(2, 4, 16, 32)
    pairs = [(images, speech), (images, other_speech), (other_images, speech)]
    seen = []
    discriminator.image.register_forward_hook(lambda *_: seen.append("images"))
    discriminator.speech.register_forward_hook(lambda *_: seen.append("speech"))
    together = discriminator(pairs)
    assert sorted(seen) == ["images"] * 2 + ["speech"] * 2
    together[1].sum().backward(retain_graph=True)
    shared = discriminator.image[0].weight.grad.clone()
    discriminator.zero_grad()
    for pair, logits in zip(pairs, together, strict=True):
        torch.testing.assert_close(logits, discriminator([pair])[0])
    discriminator([pairs[1]])[0].sum().backward()
    torch.testing.assert_close(shared, discriminator.image[0].weight.grad)


def test_a_pair_without_history_keeps_the_side_that_others_share():
    real = torch.zeros(1, 3, 2, 2)
    generated = (real + torch.ones(1, requires_grad=True)).mean(1)
    bare = Pair(real, generated).detach()
    assert bare.images is real and not bare.speech.requires_grad


def test_what_is_heard_has_nearly_the_log_mel_that_was_generated():
    config = AudioConfig()
    time = torch.arange(22050) / 22050
    tones = sum(0.1 * torch.sin(2 * torch.pi * pitch * time) for pitch in (200, 400, 900))
    mel = log_mel(tones * (9 * time).sin(), config)
    waveform = to_waveform(mel, config)
    heard = log_mel(waveform, config)
    mel = mel[: len(heard)]
    loud = mel > mel.max() - 8
    assert (mel - heard)[loud].abs().mean() < 0.3 * mel[loud].std()
    assert torch.equal(waveform, to_waveform(mel, config)[: len(waveform)])


class Telling(torch.nn.Module):
    """Logits that can be known: the mean of the image plus twice that of the speech."""

    def forward(self, pairs):
        return [images.mean((1, 2, 3)) + 2 * speech.mean((1, 2)) for images, speech in pairs]


def pair(images: list[float], speech: list[float]) -> Pair:
    return Pair(
        torch.tensor(images).view(-1, 1, 1, 1).expand(-1, 3, 2, 2),
        torch.tensor(speech).view(-1, 1, 1).expand(-1, 4, 5),
    )


def softplus(value: float) -> float:
    return float(np.log1p(np.exp(value)))


REAL = pair([0.1, 0.2, 0.3], [0.4, -0.5, 0.6])
GENERATED = {
    "image_to_speech": pair([0.1, 0.2, 0.3], [0.0, 0.1, 0.2]),
    "speech_to_image": pair([0.5, 0.6, 0.7], [0.4, -0.5, 0.6]),
    "speech_to_speech": pair([0.1, 0.2, 0.3], [0.3, 0.3, 0.3]),
    "image_to_image": pair([0.9, 0.8, 0.7], [0.4, -0.5, 0.6]),
}


def test_the_discriminators_loss_by_hand():
    classes = torch.tensor([0, 0, 1])  # partners of another class: 2, 2, 0
    config = CrossModalConfig(wrong_share=0.3)
    terms = discriminator_losses(Telling(), REAL, GENERATED, classes, config)
    real = np.mean([softplus(-(x + 2 * s)) for x, s in ((0.1, 0.4), (0.2, -0.5), (0.3, 0.6))])
    wrong = np.mean([softplus(x + 2 * s) for x, s in ((0.1, 0.6), (0.2, 0.6), (0.3, 0.4))])
    fakes = {
        "image_to_speech": ((0.1, 0.0), (0.2, 0.1), (0.3, 0.2)),
        "speech_to_image": ((0.5, 0.4), (0.6, -0.5), (0.7, 0.6)),
        "speech_to_speech": ((0.1, 0.3), (0.2, 0.3), (0.3, 0.3)),
        "image_to_image": ((0.9, 0.4), (0.8, -0.5), (0.7, 0.6)),
    }
    fake = {path: np.mean([softplus(x + 2 * s) for x, s in pairs]) for path, pairs in fakes.items()}
    assert terms["d/real"].item() == pytest.approx(real) and terms["d/wrong"].item() == pytest.approx(wrong)
    for path, value in fake.items():
        assert terms[f"d/{path}"].item() == pytest.approx(value)
    total = real + 0.3 * wrong + 0.7 * np.mean(list(fake.values()))
    assert terms["d/all"].item() == pytest.approx(total)


def test_a_batch_of_one_class_has_no_mismatched_pair():
    terms = discriminator_losses(Telling(), REAL, GENERATED, torch.tensor([4, 4, 4]), CrossModalConfig())
    assert "d/wrong" not in terms and torch.isfinite(terms["d/all"])


def test_the_generators_loss_by_hand():
    config = CrossModalConfig(cycle_weight=10)
    terms = generator_losses(Telling(), REAL, GENERATED, config)
    passing = np.mean([softplus(-(x + 2 * s)) for x, s in ((0.1, 0.0), (0.2, 0.1), (0.3, 0.2))])
    assert terms["g/image_to_speech"].item() == pytest.approx(passing)
    speech = np.mean([abs(0.3 - 0.4), abs(0.3 + 0.5), abs(0.3 - 0.6)])
    images = np.mean([0.8, 0.6, 0.4])
    assert terms["g/speech_cycle"].item() == pytest.approx(speech)
    assert terms["g/image_cycle"].item() == pytest.approx(images)
    total = sum(terms[f"g/{path}"].item() for path in GENERATED) + 10 * (speech + images)
    assert terms["g/all"].item() == pytest.approx(total)


def test_speech_alone_has_no_cycle():
    config = CrossModalConfig(generates="speech", cycle_weight=10)
    one = {"image_to_speech": GENERATED["image_to_speech"]}
    terms = generator_losses(Telling(), REAL, one, config)
    assert terms.keys() == {"g/image_to_speech", "g/all"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["audio.front_end=waveform"], "expected audio.front_end=log_mel to generate speech"),
        (["modality=text"], "expected modality=speech"),
        (["cross_modal.generates=both"], "expected audio.cmvn=false for cross_modal.generates=both"),
        (["generator.prior=flow"], "expected generator.prior=normal where no posterior infers"),
        (["discriminator.norm=spectral"], "discriminator.norm=batch"),
        (["speech_generator.frames=8"], "log-mels of 16 bins and frames or more"),
        (["speech_generator.options.depth=3"], "expected options of LogMelGenerator"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_written(words, expected, packed, tmp_path):
    config = configured(packed, tmp_path / "run", [*SPEECH, *words])
    with pytest.raises(InputError, match=expected) as raised:
        train_cross_modal(config)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


STAGE_TWO = "s2i.models.stackgan:StageTwoGenerator"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [f"generator.network={STAGE_TWO}", "generator.options={first_size: 8, first_channels: 8}"],
            STAGE_TWO,
        ),
        (["data.augment.room.probability=0.5"], "expected data.augment of probability 0"),
        (["speech_encoder.options.channels=[4, 0]"], r"found: channels of 1 or more, not \[4, 0\]"),
        (["discriminator.options.project_dim=a"], "found: project_dim of 1 or more, not 'a'"),
    ],
)
def test_what_does_not_fit_both_is_one_line_too(words, expected, packed_for_both, tmp_path):
    config = configured(packed_for_both, tmp_path / "run", [*BOTH, *words])
    with pytest.raises(InputError, match=expected) as raised:
        train_cross_modal(config)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("channels_first", "channels_first"), ("auto", "channels_last")],
)
def test_image_networks_lie_as_configured(given, expected, packed, tmp_path, monkeypatch):
    config = configured(packed, tmp_path / "run", [*SPEECH, "cross_modal.steps=1", f"memory_format={given}"])
    lies = []

    def look(networks, *given):
        weights = [part.weight for part in networks.discriminator.image if isinstance(part, torch.nn.Conv2d)]
        lies.extend(each.is_contiguous(memory_format=FORMATS[expected]) for each in weights)
        return generate_pairs(networks, *given)

    monkeypatch.setattr("s2i.training.cross_modal_step.generate_pairs", look)
    run = train_cross_modal(config)
    assert lies and all(lies)
    assert load_config(run / "config.yaml").memory_format == expected


def test_data_without_recordings_is_one_line_before_anything_is_written(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    images = write_telling_data(folder)
    silent = [
        replace(image, captions=tuple(replace(caption, audio=None) for caption in image.captions))
        for image in images
    ]
    write_manifest(folder / "manifest.jsonl", silent)
    config = configured(tmp_path, tmp_path / "run", SPEECH)
    build_pack(config, ["train", "val"])
    with pytest.raises(InputError, match="expected captions with audio in .* found none"):
        train_cross_modal(config)
    assert not (tmp_path / "run").exists()
