"""A generator that tunes its encoder, begins with an unmatched one, learns from two, steps more often, or is
matched by other encoders than it generates from, or hears altered recordings."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2i.config import Config, GanConfig
from s2i.config_data import AugmentConfig, AugmentPart, NoisePart
from s2i.config_files import override
from s2i.errors import InputError
from s2i.evaluation.r_precision_encoder import load_r_precision_encoder
from s2i.inference.model import load
from s2i.reports.export import export
from s2i.runs.checkpoint import BEST, load_last, read_checkpoint, write_checkpoint
from s2i.training import gan_losses, gan_step
from s2i.training.conditioner import Conditioner, conditioner_of_step
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.loop import Training
from s2i.training.matching_model import load_matching_model
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.trainings import Killed


@pytest.fixture(scope="module")
def looker(trained_encoders) -> Path:
    """The run of a further speech encoder: narrower, over smaller images."""
    config = tiny_training_config(trained_encoders / "data", trained_encoders / "looker")
    images = replace(config.image_encoder, input_size=8)
    speech = replace(config.speech_encoder, hidden_dim=4)
    matching = replace(config.matching, scale=7.0)
    return train_encoder(
        replace(config, seed=5, image_encoder=images, speech_encoder=speech, matching=matching)
    )


def make_config(trained_encoders: Path, run: Path, modality: str = "speech", **settings) -> Config:
    config = tiny_training_config(trained_encoders / "data", run, modality)
    encoder = str(trained_encoders / f"{modality}-encoder")
    return replace(config, gan=replace(config.gan, encoder=encoder, **settings))


def of_both(trained_encoders: Path, run: Path) -> Config:
    return make_config(trained_encoders, run, other_encoder=str(trained_encoders / "text-encoder"))


def altered(config: Config) -> Config:
    augment = AugmentConfig(noise=NoisePart(1.0, 0.0), rate=AugmentPart(0.8, 0.3))
    data, gan = replace(config.data, augment=augment), replace(config.gan, augment_recordings=True)
    return replace(config, data=data, gan=gan)


def matched_nets(trained_encoders: Path, modality: str) -> dict:
    return read_checkpoint(trained_encoders / f"{modality}-encoder" / "checkpoints" / BEST)["nets"]


@pytest.mark.parametrize("kind", ["tuned", "both", "looked at", "altered"])
def test_killed_and_resumed_it_equals_an_unbroken_training_bit_for_bit(
    kind, trained_encoders, looker, tmp_path, monkeypatch
):
    made = {"tuned": lambda run: make_config(trained_encoders, run, encoder_lr=1e-3, generator_steps=2)}
    made["both"] = lambda run: replace(
        of_both(trained_encoders, run), gan=replace(of_both(trained_encoders, run).gan, encoder_lr=1e-3)
    )
    made["looked at"] = lambda run: make_config(trained_encoders, run, matching_model=str(looker))
    made["altered"] = lambda run: altered(make_config(trained_encoders, run))
    config = made[kind](tmp_path / "broken")
    unbroken = load_last(train_gan(made[kind](tmp_path / "unbroken")) / "checkpoints")
    record = Training.record

    def die(self: Training, terms) -> None:
        record(self, terms)
        if self.step == 7:  # the checkpoint is of step 4
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Training, "record", die)
        train_gan(config)
    torch.rand(3)
    broken = load_last(train_gan(config) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], broken[part]), part


@pytest.mark.parametrize(("modality", "is_altered"), [("speech", True), ("text", False)])
def test_recordings_are_altered_where_a_generator_is_to_hear_them_so(
    modality, is_altered, trained_encoders, tmp_path, monkeypatch
):
    """`data.augment` alone alters nothing for a generator, and nothing alters a text."""
    inputs: dict[str, list[torch.Tensor]] = {}
    encode = Conditioner.encode

    def note(self: Conditioner, batch):
        inputs.setdefault(Path(self.config.run).name, []).append(batch.inputs)
        return encode(self, batch)

    monkeypatch.setattr(Conditioner, "encode", note)
    config = altered(make_config(trained_encoders, tmp_path / "altered", modality, steps=2))
    alone = replace(config, gan=replace(config.gan, augment_recordings=False), run=str(tmp_path / "alone"))
    plain = replace(alone, data=replace(config.data, augment=AugmentConfig()), run=str(tmp_path / "plain"))
    for each in (config, alone, plain):
        train_gan(each)
    assert len(inputs["plain"]) == 2 and same(inputs["alone"], inputs["plain"])
    assert same(inputs["altered"], inputs["plain"]) is not is_altered


@pytest.mark.parametrize(
    ("hears", "key"), [("gan.augment_recordings=false", "gan.augment_recordings"), ("", "data.augment.rate")]
)
def test_a_generator_does_not_continue_with_recordings_altered_otherwise(
    hears, key, trained_encoders, tmp_path
):
    config = altered(make_config(trained_encoders, tmp_path / "run", steps=1))
    train_gan(config)
    with pytest.raises(InputError, match=key):
        train_gan(override(config, [hears or "data.augment.rate.strength=0.7"]))


def test_a_tuned_encoder_moves_with_the_generator_and_its_average_is_what_generates(
    trained_encoders, tmp_path
):
    folder = train_gan(make_config(trained_encoders, tmp_path / "run", encoder_lr=1e-3))
    nets, before = load_last(folder / "checkpoints")["nets"], matched_nets(trained_encoders, "speech")
    assert same(nets["image_encoder"], before["image_encoder"])
    weights = [key for key in before["caption_encoder"] if "running" not in key and "num_b" not in key]
    moved = {
        key
        for key in weights
        if not torch.equal(nets["caption_encoder"][key], before["caption_encoder"][key])
    }
    assert any("recurrent" in key for key in moved) and any("convolutions" in key for key in moved)
    assert not same(nets["caption_encoder"], nets["caption_encoder_ema"])

    export([folder], tmp_path / "model")
    for model in (folder, tmp_path / "model"):
        encoder = load(model, "cpu").path("speech").encoder
        assert same(dict(encoder.state_dict()), nets["caption_encoder_ema"])
        assert not encoder.training


def test_a_frozen_encoder_stays_as_it_was_matched_nets(trained_encoders, tmp_path):
    nets = load_last(train_gan(make_config(trained_encoders, tmp_path)) / "checkpoints")["nets"]
    assert same(nets["caption_encoder"], matched_nets(trained_encoders, "speech")["caption_encoder"])
    assert "caption_encoder_ema" not in nets


def test_an_unmatched_encoder_is_another_one_and_stays_frozen(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path, encoder_start="random", matching_weight=0.0)
    first = load_last(train_gan(replace(config, gan=replace(config.gan, steps=1))) / "checkpoints")["nets"]
    longer = replace(config, run=str(tmp_path / "longer"))
    last = load_last(train_gan(longer) / "checkpoints")["nets"]
    assert same(first["caption_encoder"], last["caption_encoder"])
    assert not same(last["caption_encoder"], matched_nets(trained_encoders, "speech")["caption_encoder"])
    assert same(last["image_encoder"], matched_nets(trained_encoders, "speech")["image_encoder"])


@pytest.mark.parametrize("condition", ["mu", "sentence"])
def test_the_encoder_is_tuned_through_the_images_and_not_through_the_discriminators(
    condition, trained_encoders, tmp_path, monkeypatch
):
    for_generator, encode, sentences = gan_step.generator_losses, Conditioner.encode, []

    def note(self, batch):
        encoding = encode(self, batch)
        sentences.append(encoding.sentence)
        return encoding

    def reaches(value):
        gradients = torch.autograd.grad(value.sum(), sentences[-1], retain_graph=True, allow_unused=True)
        return gradients[0] is not None

    def watch(generated, *rest):
        output = generated.output
        # conditioning augmentation learns through the condition, the encoder does not
        assert generated.condition.requires_grad == (condition == "mu")
        assert not reaches(output.mu) and not reaches(output.logvar)
        assert all(reaches(image) for image in output.images)
        seen = []

        def added(output, encoding, class_ids):
            seen.append(encoding.sentence.requires_grad or encoding.sequence.requires_grad)
            return output.images[-1].mean()

        monkeypatch.setattr(gan_losses, "find_outside", lambda *_: added)
        total, terms = for_generator(generated, *rest)
        assert seen == [False]
        return total, terms

    monkeypatch.setattr(Conditioner, "encode", note)
    monkeypatch.setattr(gan_step, "generator_losses", watch)
    config = make_config(trained_encoders, tmp_path, encoder_lr=1e-3, steps=2, added_loss="some:loss")
    train_gan(replace(config, discriminator=replace(config.discriminator, condition_on=condition)))


def test_generator_steps_are_so_many_a_batch_from_new_noise(trained_encoders, tmp_path, monkeypatch):
    steps, images = [], []
    for_discriminators, for_generator = gan_step.discriminator_losses, gan_step.generator_losses

    def discriminate(*arguments):
        steps.append("d")
        return for_discriminators(*arguments)

    def generate(generated, *rest):
        steps.append("g")
        images.append(generated.output.images[0].detach())
        return for_generator(generated, *rest)

    monkeypatch.setattr(gan_step, "discriminator_losses", discriminate)
    monkeypatch.setattr(gan_step, "generator_losses", generate)
    train_gan(make_config(trained_encoders, tmp_path / "a", generator_steps=3, steps=2))
    assert steps == ["d", "g", "g", "g"] * 2
    assert not torch.equal(images[0], images[1])


def test_conditioners_take_turns_and_share_the_penalty():
    assert [conditioner_of_step(step, 1, 8) for step in range(4)] == [0, 0, 0, 0]
    turns = [conditioner_of_step(step, 2, 4) for step in range(12)]
    assert turns == [0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1] and turns[::4] == [0, 1, 0]
    assert [conditioner_of_step(step, 2, 1) for step in range(4)] == [0, 1, 0, 1]
    assert [conditioner_of_step(step, 2, 3) for step in range(0, 12, 3)] == [0, 1, 0, 1]


def test_one_generator_for_both_modalities_alternates_and_generates_from_either(
    trained_encoders, tmp_path, monkeypatch
):
    heard = []
    encode = Conditioner.encode

    def listen(self, batch):
        heard.append((self.config.modality, batch.tokens is not None))
        return encode(self, batch)

    monkeypatch.setattr(Conditioner, "encode", listen)
    folder = train_gan(of_both(trained_encoders, tmp_path / "run"))
    # One penalty every 2 steps: the turns move on by one after each.
    assert [modality for modality, _ in heard[:4]] == ["speech", "text", "text", "speech"]
    assert all(is_text == (modality == "text") for modality, is_text in heard)
    assert (folder / "samples" / "step-00000008.png").is_file()
    assert (folder / "samples" / "other" / "step-00000008.png").is_file()

    export([folder], tmp_path / "model")
    saved = load_last(folder / "checkpoints")["nets"]
    for model in (load(folder, "cpu"), load(tmp_path / "model", "cpu")):
        assert list(model.paths) == ["speech", "text"]
        for modality, path in model.paths.items():
            assert path.config.modality == modality and (path.vocabulary is None) == (modality == "speech")
            assert same(dict(path.generator.state_dict()), saved["ema"])
            assert same(
                dict(path.encoder.state_dict()), matched_nets(trained_encoders, modality)["caption_encoder"]
            )
            assert same(
                dict(path.image_encoder.state_dict()),
                matched_nets(trained_encoders, modality)["image_encoder"],
            )
    output = load(folder, "cpu").path("text")
    image = output.generate(output.encode_text(["a red bird"]), ["0"]).images[-1]
    assert image.shape == (1, 3, 16, 16) and torch.isfinite(image).all()


def test_a_matching_model_of_its_own_matches_and_relates_the_generated_images(
    trained_encoders, looker, tmp_path, monkeypatch
):
    for_generator, embed, calls = gan_step.generator_losses, gan_step.embed_images, []

    def note(generated, embeddings, matching_encoding, class_ids, gan, matching, joint):
        calls.append((generated.encoding, matching, matching_encoding))
        return for_generator(generated, embeddings, matching_encoding, class_ids, gan, matching, joint)

    def check(conditioner, generated, batch, settings):
        embeddings = embed(conditioner, generated, batch, settings)
        vectors, _ = model.image_encoder(generated.output.images[-1])
        torch.testing.assert_close(embeddings.generated, vectors)
        torch.testing.assert_close(embeddings.real, model.image_encoder(batch.images)[0])
        return embeddings

    monkeypatch.setattr(gan_step, "generator_losses", note)
    monkeypatch.setattr(gan_step, "embed_images", check)
    model = load_matching_model(looker, "gan.matching_model", torch.device("cpu"))
    folder = train_gan(make_config(trained_encoders, tmp_path / "run", matching_model=str(looker), steps=2))
    assert len(calls) == 2
    for encoding, matching, matched in calls:
        assert matching.scale == 7.0 and encoding.sentence.shape[1] == 16 and matched.sentence.shape[1] == 8
        assert not matched.sentence.requires_grad and not matched.sequence.requires_grad
    # What the model generates from, and is searched with, are its own encoders still.
    path = load(folder, "cpu").path("speech")
    assert same(dict(path.encoder.state_dict()), matched_nets(trained_encoders, "speech")["caption_encoder"])
    assert same(
        dict(path.image_encoder.state_dict()), matched_nets(trained_encoders, "speech")["image_encoder"]
    )

    export([folder], tmp_path / "model")
    assert "The matching model that the generator learnt from" in (tmp_path / "model/README.md").read_text()
    assert str(looker.parent) not in (tmp_path / "model" / "config.json").read_text()
    with pytest.raises(InputError, match="no part in the generator's training"):
        load_r_precision_encoder(looker, path)


def test_a_matching_model_reads_as_the_model_itself_reads(trained_encoders, looker, tmp_path):
    message = r"expected gan.matching_model to read the {} that gan.encoder reads, found another in \S*{}"
    with pytest.raises(InputError, match=message.format("modality", "looker")):
        train_gan(make_config(trained_encoders, tmp_path / "run", "text", matching_model=str(looker)))
    config = make_config(trained_encoders, tmp_path / "run", matching_model=str(tmp_path / "coarse"))
    shutil.copytree(looker, tmp_path / "coarse")
    origin = tmp_path / "coarse" / "checkpoints" / BEST
    saved = read_checkpoint(origin)
    saved["config"]["audio"]["hop"] = 0.02
    write_checkpoint(origin, saved)
    with pytest.raises(InputError, match=message.format("audio", "coarse")):
        train_gan(config)
    shutil.copytree(trained_encoders / "text-encoder", tmp_path / "words")
    saved = read_checkpoint(trained_encoders / "text-encoder" / "checkpoints" / BEST)
    saved["vocabulary"] = [*saved["vocabulary"][:-1], "ostrich"]
    write_checkpoint(tmp_path / "words" / "checkpoints" / BEST, saved)
    with pytest.raises(InputError, match=message.format("vocabulary", "words")):
        train_gan(
            make_config(trained_encoders, tmp_path / "run", "text", matching_model=str(tmp_path / "words"))
        )
    assert not (tmp_path / "run").exists()


def test_encoders_of_two_widths_are_refused(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "gan")
    config = replace(config, text_encoder=replace(config.text_encoder, hidden_dim=4))
    speech, text = (
        train_encoder(replace(config, modality=modality, run=str(tmp_path / modality)))
        for modality in ("speech", "text")
    )
    gan = replace(config.gan, encoder=str(speech), other_encoder=str(text))
    with pytest.raises(InputError, match=r"one width for gan.other_encoder, found \{'speech': 16, 'text': 8"):
        train_gan(replace(config, gan=gan))


def test_a_run_as_each_modality_sees_it():
    config = Config(modality="text", gan=GanConfig(encoder="t", other_encoder="s"))
    text, speech = config.of_each_modality()
    assert text is config and (speech.modality, speech.gan.encoder) == ("speech", "s")
    assert speech.gan.other_encoder == "t" and Config().of_each_modality() == [Config()]
