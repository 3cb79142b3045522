"""Published systems with networks of their own: each trains, resumes, is exported, loaded and measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2i.config import Config, EvaluationConfig
from s2i.config_files import override
from s2i.errors import InputError
from s2i.evaluation.records import evaluate
from s2i.inference.model import load
from s2i.reports.export import export
from s2i.runs.checkpoint import load_last
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.loop import Training
from tests.tiny import same, tiny_training_config, write_recording
from tests.tiny_trainings import Killed

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
SYSTEMS = {"gan_int_cls": GAN_INT_CLS}
CHARACTERS = [
    "text_encoder.network=s2i.models.char_cnn_rnn:CharCnnRnn",
    "text_encoder.units=characters",
    "text_encoder.max_words=201",
    "text_encoder.options.channels=[8,8,8]",
    "text_encoder.options.hidden=8",
    "text_encoder.options.width=12",
]


def make_config(trained_encoders: Path, run: Path, system: str, modality: str = "speech") -> Config:
    config = tiny_training_config(trained_encoders / "data", run, modality)
    gan = replace(config.gan, encoder=str(trained_encoders / f"{modality}-encoder"), steps=5)
    evaluation = EvaluationConfig(split="val", batch_size=4)
    return override(replace(config, gan=gan, evaluation=evaluation), SYSTEMS[system])


def train_and_die(monkeypatch, config: Config, step: int) -> None:
    record = Training.record

    def die(self: Training, terms) -> None:
        record(self, terms)
        if self.step == step:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Training, "record", die)
        train_gan(config)


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_resumes_bit_for_bit_generates_is_exported_and_measured(
    system, trained_encoders, tmp_path, monkeypatch
):
    config = make_config(trained_encoders, tmp_path / "run", system)
    unbroken = load_last(train_gan(config) / "checkpoints")
    config = replace(config, run=str(tmp_path / "broken"))
    train_and_die(monkeypatch, config, 5)  # the checkpoint is of step 4
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

    measured = evaluate(
        tmp_path / "run", ["class_retrieval_by_generated"] if config.evaluation.classifier else []
    )
    assert {line["metric"] for line in measured} >= {"recall@1", "mAP"}


def test_images_of_a_batch_are_those_that_each_caption_has_alone(trained_encoders, tmp_path):
    """Batch norm in training mode, or noise of the batch, would make an image depend on its neighbours."""
    for system in SYSTEMS:
        config = make_config(trained_encoders, tmp_path / system, system)
        path = load(train_gan(config), "cpu").path("speech")
        recordings = [torch.randn(9000 + 4000 * n) * 0.1 for n in range(3)]
        together = path.generate(path.encode_speech(recordings), ["a", "b", "c"]).images[-1]
        for number, key in enumerate("abc"):
            alone = path.generate(path.encode_speech([recordings[number]]), [key]).images[-1]
            torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=0)


def test_gan_int_cls_reads_text_by_its_characters(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "run", "gan_int_cls", "text")
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
    config = override(make_config(trained_encoders, tmp_path / "run", "gan_int_cls"), words)
    with pytest.raises(InputError, match=expected) as raised:
        train_gan(config)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_an_unmatched_encoder_needs_no_run_and_leaves_no_image_encoder(trained_encoders, tmp_path, capsys):
    config = make_config(trained_encoders, tmp_path / "run", "gan_int_cls")
    gan = replace(config.gan, encoder=Config().gan.encoder, encoder_start="random", encoder_lr=1e-3)
    run = train_gan(replace(config, gan=gan))
    assert "image_encoder" not in load_last(run / "checkpoints")["nets"]
    export([run], tmp_path / "model")
    assert load(tmp_path / "model", "cpu").path("speech").image_encoder is None
    assert all(line["protocol"] != "retrieval_by_caption" for line in evaluate(run))
    assert "trained without one" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"a value for gan\.encoder"):
        train_gan(replace(config, run=str(tmp_path / "other"), gan=replace(gan, matching_weight=1.0)))
