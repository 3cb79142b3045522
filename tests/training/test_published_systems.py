"""Published systems with networks of their own: each trains, resumes, is exported, loaded and measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2i.config import Config, EvaluationConfig
from s2i.config_files import override
from s2i.config_front_end import with_front_end
from s2i.data.audio import load_waveform
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.records import evaluate
from s2i.inference.model import load
from s2i.reports.export import export
from s2i.runs.checkpoint import load_last
from s2i.runs.run import Run
from s2i.training import first_stage
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.models import same, tiny_training_config, write_recording
from tests.fixtures.trainings import train_and_die

CONDITIONAL_ALONE = ["gan.terms.real_u=0", "gan.terms.fake_u=0", "gan.unconditional_weight=0"]
OWN_LOSSES_ALONE = ["gan.matching_weight=0", "gan.relation_weight=0", "gan.penalty=none"]
GAN_INT_CLS = [
    *CONDITIONAL_ALONE,
    *OWN_LOSSES_ALONE,
    "generator.network=s2i.models.residual_dcgan:ResidualGenerator",
    "generator.attention=false",
    "generator.stages=1",
    "generator.base_size=16",
    "discriminator.network=s2i.models.residual_dcgan:MatchingAwareDiscriminator",
    "discriminator.options.project_dim=4",
    "discriminator.condition_on=sentence",
    "gan.interpolation_weight=1",
]
STACKGAN_STAGE1 = [
    *CONDITIONAL_ALONE,
    *OWN_LOSSES_ALONE,
    "generator.network=s2i.models.stackgan:StageOneGenerator",
    "generator.attention=false",
    "generator.stages=1",
    "generator.base_size=8",
    "data.packed_size=16",
    "generator.channels=4",
    "discriminator.network=s2i.models.stackgan:ConditionalDiscriminator",
    "gan.steps=3",
]
STACKGAN = [
    *STACKGAN_STAGE1,
    "generator.network=s2i.models.stackgan:StageTwoGenerator",
    "generator.options={first_size: 8, first_channels: 4}",
    "generator.base_size=16",
    "generator.channels=8",
    "gan.steps=5",
]
WAV2PIX = [
    *CONDITIONAL_ALONE,
    *OWN_LOSSES_ALONE,
    "audio.front_end=waveform",
    "audio.sample_rate=8000",
    "audio.cmvn=false",
    "speech_encoder.network=s2i.models.wav2pix:WaveformEncoder",
    "speech_encoder.options={channels: [4, 4, 8, 8], hidden: [8], width: 8}",
    "generator.network=s2i.models.wav2pix:DropoutGenerator",
    "generator.attention=false",
    "generator.stages=1",
    "generator.base_size=16",
    "discriminator.network=s2i.models.stackgan:ConditionalDiscriminator",
    "discriminator.condition_on=sentence",
    "discriminator.norm=spectral",
    "gan.encoder_start=random",
    "gan.encoder_lr=1e-3",
    "gan.loss=least_squares",
    "gan.real_target=0.9",
    "gan.pixel_weight=50",
    "gan.feature_matching_weight=100",
    "gan.caption_class_weight=20",
]
SYSTEMS = {"gan_int_cls": GAN_INT_CLS, "stackgan": STACKGAN, "wav2pix": WAV2PIX}
CHARACTERS = [
    "text_encoder.network=s2i.models.char_cnn_rnn:CharCnnRnn",
    "text_encoder.units=characters",
    "text_encoder.max_words=201",
    "text_encoder.options.channels=[8,8,8]",
    "text_encoder.options.hidden=8",
    "text_encoder.options.width=12",
]


def make_config(trained_encoders: Path, run: Path, words: list[str], modality: str = "speech") -> Config:
    config = tiny_training_config(trained_encoders / "data", run, modality)
    gan = replace(config.gan, encoder=str(trained_encoders / f"{modality}-encoder"), steps=5)
    evaluation = EvaluationConfig(split="val", batch_size=4)
    return override(replace(config, gan=gan, evaluation=evaluation), words)


def of_waveforms(config: Config, pack: Path) -> Config:
    """With what reading it from a file would fix, a pack of its own, and no matched encoder."""
    data, gan = replace(config.data, pack=str(pack)), replace(config.gan, encoder=Config().gan.encoder)
    return replace(config, audio=with_front_end(config.audio), data=data, gan=gan)


@pytest.fixture(scope="module")
def configs(trained_encoders) -> dict[str, Config]:
    """{system: a configuration}, what it stands on trained; its run's folder is to be set."""
    made = {name: make_config(trained_encoders, Path("unset"), words) for name, words in SYSTEMS.items()}
    first = make_config(trained_encoders, trained_encoders / "stage1", STACKGAN_STAGE1)
    made["stackgan"] = override(made["stackgan"], [f"gan.first_stage={train_gan(first)}"])
    made["wav2pix"] = of_waveforms(made["wav2pix"], trained_encoders / "waveforms")
    build_pack(made["wav2pix"], ("train", "val"))
    return made


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_resumes_bit_for_bit_generates_is_exported_and_measured(system, configs, tmp_path, monkeypatch):
    config = replace(configs[system], run=str(tmp_path / "run"))
    unbroken = load_last(train_gan(config) / "checkpoints")
    config = replace(config, run=str(tmp_path / "broken"))
    train_and_die(monkeypatch, train_gan, config, 5)  # the checkpoint is of step 4
    torch.rand(3)
    broken = load_last(train_gan(config) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], broken[part]), part

    export([tmp_path / "run"], tmp_path / "model")
    recording = write_recording(tmp_path / "speech.wav", 0.6)
    models = [load(tmp_path / name, "cpu") for name in ("run", "model")]
    first, again = (model.generate(speech=recording, seed=1, count=2) for model in models)
    size = config.generated_size
    assert [image.size for image in first] == [(size, size)] * 2
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert first[0].tobytes() != first[1].tobytes()  # noise of its own
    [alone] = models[0].generate(speech=recording, seed=2)
    assert alone.tobytes() == first[1].tobytes()  # whatever is generated beside it

    measured = evaluate(tmp_path / "run")
    matched = "image_encoder" in unbroken["nets"]  # Wav2Pix matches no captions with images
    assert {line["metric"] for line in measured} >= ({"recall@1", "mAP"} if matched else set())


@pytest.mark.parametrize("system", SYSTEMS)
def test_images_of_a_batch_are_those_that_each_caption_has_alone(system, configs, tmp_path):
    """Batch norm in training mode, or noise of the batch, would make an image depend on its neighbours."""
    config = configs[system]
    run = train_gan(replace(config, run=str(tmp_path / "run"), gan=replace(config.gan, steps=2)))
    path = load(run, "cpu").path("speech")
    recordings = [torch.randn(9000 + 4000 * n) * 0.1 for n in range(3)]
    assert len(path.generator.sample_noise(["a"], 0)) > 0
    together = path.generate(path.encode_speech(recordings), ["a", "b", "c"]).images[-1]
    for number, key in enumerate("abc"):
        alone = path.generate(path.encode_speech([recordings[number]]), [key]).images[-1]
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=0)


def test_gan_int_cls_reads_text_by_its_characters(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "run", GAN_INT_CLS, "text")
    config = override(config, [*CHARACTERS, f"gan.encoder={tmp_path / 'encoder'}"])
    train_encoder(replace(config, run=config.gan.encoder, matching=replace(config.matching, steps=3)))
    export([train_gan(config)], tmp_path / "model")
    model = load(tmp_path / "model", "cpu")
    assert model.path("text").vocabulary.units == "characters"
    assert model.path("text").vocabulary.to_list()[1:4] == ["a", "b", "c"]
    [image] = model.generate(text="a bird nobody has seen")  # of words that training lacks
    assert image.size == (16, 16)
    assert model.embed(text="A  Bird").tobytes() == model.embed(text="a bird").tobytes()
    with pytest.raises(InputError, match="expected characters"):
        model.generate(text="日本")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gan.terms.real_u=1"], "has no unconditional head, found 1.0"),
        (["gan.unconditional_weight=0.5"], "has no unconditional head"),
        (["gan.contrast_weight=1"], "no such head"),
        (["discriminator.norm=none"], "discriminator.norm=batch"),
        (["generator.attention=true"], "generator.attention=false for gan.interpolation_weight"),
    ],
)
def test_what_a_system_lacks_is_refused_in_one_line_before_it_trains(
    words, expected, trained_encoders, tmp_path
):
    config = override(make_config(trained_encoders, tmp_path / "run", GAN_INT_CLS), words)
    with pytest.raises(InputError, match=expected) as raised:
        train_gan(config)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_an_unmatched_encoder_needs_no_run_and_leaves_no_image_encoder(trained_encoders, tmp_path, capsys):
    config = make_config(trained_encoders, tmp_path / "run", GAN_INT_CLS)
    gan = replace(config.gan, encoder=Config().gan.encoder, encoder_start="random", encoder_lr=1e-3)
    run = train_gan(replace(config, gan=gan))
    assert "image_encoder" not in load_last(run / "checkpoints")["nets"]
    export([run], tmp_path / "model")
    assert load(tmp_path / "model", "cpu").path("speech").image_encoder is None
    assert all(line["protocol"] != "retrieval_by_caption" for line in evaluate(run))
    assert "trained without one" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"a value for gan\.encoder"):
        train_gan(replace(config, run=str(tmp_path / "other"), gan=replace(gan, matching_weight=1.0)))


FEATURE_DECODER = [
    *GAN_INT_CLS,
    "generator.network=s2i.models.feature_decoder:FeatureDecoder",
    "generator.options.width=8",
]


@pytest.mark.parametrize("memory", ["unlimited", "8gb"])
def test_what_a_posterior_infers_has_to_be_there_before_anything_is_written(
    memory, trained_encoders, tmp_path
):
    words = [*FEATURE_DECODER, "gan.reconstruction_weight=1", f"memory={memory}"]
    with pytest.raises(InputError, match="found FeatureDecoder with no noise: set both weights") as raised:
        train_gan(make_config(trained_encoders, tmp_path / "run", words))
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_a_generator_without_noise_is_trained_between_captions_too(trained_encoders, tmp_path):
    run = train_gan(make_config(trained_encoders, tmp_path / "run", [*FEATURE_DECODER, "gan.steps=3"]))
    assert all(line["g/interpolated"] > 0 for line in Run(run).read_log())


# StackGAN


def test_stage_two_leaves_stage_one_as_its_run_left_it(configs, tmp_path):
    run = train_gan(replace(configs["stackgan"], run=str(tmp_path / "run")))
    theirs = load_last(Path(configs["stackgan"].gan.first_stage) / "checkpoints")["nets"]["ema"]
    nets = load_last(run / "checkpoints")["nets"]
    for name in ("generator", "ema"):
        first = {key[12:]: value for key, value in nets[name].items() if key.startswith("first_stage.")}
        assert same(first, theirs)
    assert not same(nets["generator"]["head.weight"], nets["ema"]["head.weight"])


def test_what_trained_stage_one_had_a_part_in_stage_two_too(configs, tmp_path, monkeypatch):
    read = first_stage.read_finished_gan
    monkeypatch.setattr(
        first_stage,
        "read_finished_gan",
        lambda *given: read(*given) | {"trained_by": {"ab" * 32: "a network"}},
    )
    config = override(replace(configs["stackgan"], run=str(tmp_path / "run")), ["gan.steps=1"])
    assert load_last(train_gan(config) / "checkpoints")["trained_by"]["ab" * 32] == (
        "a network of gan.first_stage"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gan.first_stage="], "expected gan.first_stage with a generator that has a first stage"),
        (["generator.options.first_channels=8"], "give first_size and first_channels"),
        (["generator.options.first_size=16"], "first_size of 8 px or more and less than 16"),
        (["gan.encoder_start=random"], "found another encoder in .*stage1"),
    ],
)
def test_a_first_stage_that_does_not_fit_is_one_line(words, expected, configs, tmp_path):
    config = override(replace(configs["stackgan"], run=str(tmp_path / "run")), words)
    with pytest.raises(InputError, match=expected) as raised:
        train_gan(config)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_a_first_stage_of_a_generator_that_has_none_is_refused(configs, tmp_path):
    config = replace(configs["stackgan"], run=str(tmp_path / "run"))
    config = replace(config, generator=replace(config.generator, network="", options={}))
    with pytest.raises(InputError, match="and no other, found .*stage1 for the stacked generator"):
        train_gan(config)


# Wav2Pix


def test_a_pack_of_waveforms_holds_the_samples_memory_mapped(configs):
    config = configs["wav2pix"]
    pack = Pack(Path(config.data.pack) / "train", config)
    caption = pack.caption(3)
    waveform = load_waveform(Path(config.data.root) / caption.audio, config.audio)
    samples = pack.mel(3)
    assert samples.shape == (len(waveform), 1)
    torch.testing.assert_close(samples[:, 0], waveform, atol=1e-3, rtol=0)  # float16
    assert isinstance(pack._mels, np.memmap) and pack._mels.dtype == np.float16


def test_the_encoder_learns_through_the_generator_and_its_average_is_exported(configs, tmp_path):
    run = train_gan(replace(configs["wav2pix"], run=str(tmp_path / "run")))
    saved = load_last(run / "checkpoints")
    live, average = (saved["nets"][name] for name in ("caption_encoder", "caption_encoder_ema"))
    assert not same(live["convolutions.0.weight"], average["convolutions.0.weight"])
    exported = load(run, "cpu").path("speech").encoder.state_dict()
    assert same(dict(exported), dict(average))
    assert "caption_classifier" in saved["nets"] and "image_encoder" not in saved["nets"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gan.encoder_lr=0"], "expected gan.encoder_lr for gan.caption_class_weight"),
        (["gan.loss=bce"], "gan.loss=least_squares for gan.real_target=0.9"),
        (["generator.options.dropout=0"], "a dropout between 0 and 1"),
        (["speech_encoder.options.channels=[]"], "one convolution or more"),
        (["speech_encoder.options.channels=5"], "options that WaveformEncoder takes, found: "),
        (["speech_encoder.options.channels=[4,0]"], r"found: channels of 1 or more, not \[4, 0\]"),
        (["generator.options.dropout=a"], "options that DropoutGenerator takes, found: "),
        (["gan.reconstruction_weight=1"], r"DropoutGenerator with noise of \[\[.*set both weights to 0"),
        (["audio.front_end=log_mel"], "audio.front_end=waveform|pack made with audio"),
    ],
)
def test_what_wav2pix_refuses_is_one_line(words, expected, configs, tmp_path):
    config = override(replace(configs["wav2pix"], run=str(tmp_path / "run")), words)
    with pytest.raises(InputError, match=expected) as raised:
        train_gan(config)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()
