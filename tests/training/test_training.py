"""Training encoders and generators: the same bits however often it is killed, and who may change what."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s2i import losses
from s2i.config import Config, LogConfig
from s2i.config_data import AugmentConfig, AugmentPart, NoisePart
from s2i.config_networks import DiscriminatorConfig
from s2i.data.batches import evaluation_batches
from s2i.data.crops import centre_crops, read_images
from s2i.data.dataset import CaptionedImages
from s2i.data.manifest import write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.metrics.retrieval import chance_by_class
from s2i.models.build import build_caption_encoder, build_image_encoder
from s2i.reports.export import export
from s2i.runs.checkpoint import BEST, load_last, read_checkpoint
from s2i.runs.run import CLOCK, Run
from s2i.training import conditioner, gan_step
from s2i.training.encoder import EncoderNetworks, retrieval_scores, train_encoder
from s2i.training.gan import growing_stages, train_gan
from s2i.training.loop import Training
from tests.fixtures.data import write_telling_data, write_tiny_data
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.trainings import train_and_die

TRAININGS = {"encoder": train_encoder, "gan": train_gan}


def make_config(trained_encoders: Path, run: Path, modality: str = "speech") -> Config:
    config = tiny_training_config(trained_encoders / "data", run, modality)
    return replace(config, gan=replace(config.gan, encoder=str(trained_encoders / f"{modality}-encoder")))


def state_of(folder: Path, name: str = "last.pt") -> dict:
    """A checkpoint without its configuration, in which the run's folder stands."""
    return {
        key: part for key, part in read_checkpoint(folder / "checkpoints" / name).items() if key != "config"
    }


def log_of(folder: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in Run(folder).read_log()]


# Killed and resumed


@pytest.mark.parametrize("modality", ["speech", "text"])
@pytest.mark.parametrize("kind", TRAININGS)
def test_a_training_killed_and_resumed_equals_an_unbroken_one_bit_for_bit(
    kind, modality, trained_encoders, tmp_path, monkeypatch
):
    train = TRAININGS[kind]
    config = make_config(trained_encoders, tmp_path / "broken", modality)
    if modality == "text":
        config = replace(config, gan=replace(config.gan, grow=(0.4,), reconstruction_weight=1.0))
    unbroken = train(replace(config, run=str(tmp_path / "unbroken")))
    for step in (3, 5, 8):  # before the first checkpoint, between two, before the second is written
        torch.rand(step)  # a new process doesn't begin with the random state in which the old one ended
        train_and_die(monkeypatch, train, config, step)
    broken = train(config)
    names = {"encoder": ("last.pt", BEST), "gan": ("last.pt",)}[kind]
    for name in names:
        states = [state_of(folder, name) for folder in (unbroken, broken)]
        assert same(*states)
    assert {"nets", "optimisers", "random", "step"} <= states[0].keys() or name == BEST
    assert log_of(unbroken) == log_of(broken) and [line["step"] for line in log_of(broken)] == [3, 6, 9]
    assert Run(unbroken).read_metrics() == Run(broken).read_metrics()
    images = sorted(path.name for path in (unbroken / "samples").glob("*"))
    assert images == (["step-00000004.png", "step-00000008.png", "step-00000009.png"] * (kind == "gan"))
    for name in images:
        assert (unbroken / "samples" / name).read_bytes() == (broken / "samples" / name).read_bytes()


def test_augmentation_and_a_second_recording_are_learnt_from_and_resumed_bit_for_bit(
    trained_encoders, tmp_path, monkeypatch
):
    config = make_config(trained_encoders, tmp_path / "broken")
    augment = AugmentConfig(
        noise=NoisePart(0.5, 0.0), rate=AugmentPart(0.8, 0.3), silence=AugmentPart(0.5, 0.3)
    )
    plain = replace(config, matching=replace(config.matching, invariance_weight=2.0))
    config = replace(plain, data=replace(config.data, augment=augment))
    unbroken = train_encoder(replace(config, run=str(tmp_path / "unbroken")))
    train_and_die(monkeypatch, train_encoder, config, 5)
    broken = train_encoder(config)
    assert same(*(state_of(folder) for folder in (unbroken, broken)))
    assert all(line["loss/invariance"] > 0 for line in log_of(broken))
    alike = log_of(train_encoder(replace(plain, run=str(tmp_path / "plain"))))
    # The same recording twice: nothing to learn from, but for what rounding leaves.
    assert all(abs(line["loss/invariance"]) < 1e-5 for line in alike)
    assert alike[0]["loss/batch"] != log_of(broken)[0]["loss/batch"]


def test_the_encoder_unlearns_speakers_that_a_classifier_learns(trained_encoders, tmp_path):
    """The encoder's gradient is that of the plain losses minus `weight` times that of telling speakers."""
    config = make_config(trained_encoders, tmp_path / "run")
    config = replace(config, matching=replace(config.matching, speaker_adversarial_weight=0.25))
    pack = Pack(Path(config.data.pack) / "train", config)
    assert pack.speakers()[0] == ["voice"]  # one tells nothing
    with pytest.raises(InputError, match="expected two speakers or more .* found 1 named in"):
        train_encoder(config)
    count, of_captions = 2, torch.arange(pack.caption_count) % 2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = EncoderNetworks(config, 0, len(pack.class_labels), (count, of_captions)).eval()
    captions = pack.usable("speech")[:4]
    (batch,) = evaluation_batches(pack, captions, 4, "speech", image_size=config.packed_size)
    weights = [each for each in networks.caption_encoder.parameters() if each.requires_grad]

    def gradients(loss: torch.Tensor, of: list[torch.Tensor]) -> list[torch.Tensor]:
        derivatives = torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(each) if one is None else one for each, one in zip(of, derivatives, strict=True)
        ]

    total, terms = networks(batch)
    heard = networks.speaker_classifier(networks.caption_encoder(batch.inputs, batch.lengths).sentence)
    telling = torch.nn.functional.cross_entropy(heard, of_captions[batch.captions])
    assert terms["loss/speaker"].item() == pytest.approx(telling.item())
    plain = total - telling  # its gradient: the plain losses', the reversed one and minus the true one
    speaker_gradients = gradients(telling, weights)
    config = replace(config, matching=replace(config.matching, speaker_adversarial_weight=0.0))
    networks.config = config
    without, _ = networks(batch)
    for reversed_one, true_one, plain_one in zip(
        gradients(plain, weights), speaker_gradients, gradients(without, weights), strict=True
    ):
        torch.testing.assert_close(reversed_one + 1.25 * true_one, plain_one, rtol=1e-4, atol=1e-6)
    classifier_weights = list(networks.speaker_classifier.parameters())
    for total_one, true_one in zip(
        gradients(total, classifier_weights), gradients(telling, classifier_weights), strict=True
    ):
        torch.testing.assert_close(total_one, true_one)


def test_a_checkpoint_holds_every_net_and_optimiser(trained_encoders, tmp_path):
    encoder = load_last(trained_encoders / "text-encoder" / "checkpoints")
    assert encoder["kind"] == "encoder" and encoder["config"]["modality"] == "text"
    assert set(encoder["nets"]) == {"caption_encoder", "image_encoder", "classifier"}
    gan = load_last(train_gan(make_config(trained_encoders, tmp_path, "text")) / "checkpoints")
    assert gan["kind"] == "gan" and gan["vocabulary"] == encoder["vocabulary"]
    assert set(gan["nets"]) == {
        "generator",
        "ema",
        "discriminators",
        "relation",
        "caption_encoder",
        "image_encoder",
    }
    assert set(gan["optimisers"]) == {
        "generator_optimiser",
        "discriminator_optimiser",
        "relation_optimiser",
    }


@pytest.mark.parametrize("kind", TRAININGS)
def test_saving_measuring_and_sampling_change_nothing_that_is_learnt(kind, trained_encoders, tmp_path):
    """The published code puts the averaged weights into the live generator whenever it saves."""
    seldom = make_config(trained_encoders, tmp_path / "seldom")
    seldom = replace(
        seldom,
        log=LogConfig(every=9, checkpoint_every=0),
        matching=replace(seldom.matching, validate_every=9),
        gan=replace(seldom.gan, sample_every=0),
    )
    often = replace(
        seldom,
        run=str(tmp_path / "often"),
        log=LogConfig(every=1, checkpoint_every=1),
        matching=replace(seldom.matching, validate_every=1),
        gan=replace(seldom.gan, sample_every=1),
    )
    states = [state_of(TRAININGS[kind](config)) for config in (seldom, often)]
    for part in ("nets", "optimisers", "random"):
        assert same(states[0][part], states[1][part]), part


@pytest.mark.parametrize("kind", TRAININGS)
def test_another_seed_trains_another_network_and_the_same_one_the_same(kind, trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "a")
    config = replace(config, matching=replace(config.matching, steps=2), gan=replace(config.gan, steps=2))
    nets = [
        state_of(TRAININGS[kind](replace(config, run=str(tmp_path / name), seed=seed)))["nets"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert same(nets[0], nets[1]) and not same(nets[0], nets[2])


# Encoders


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_an_encoder_learns_to_find_images_that_it_has_not_seen(modality, trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path, modality)
    train_encoder(replace(config, matching=replace(config.matching, steps=80, batch_size=8)))
    labels = torch.from_numpy(Pack(trained_encoders / "data" / "pack" / "val").labels)
    chance = chance_by_class(labels, labels)["mAP"]
    best = read_checkpoint(tmp_path / "checkpoints" / BEST)["metrics"]
    assert best["mAP"] > 0.9 > 2 * chance
    log = Run(tmp_path).read_log()
    for term in ("loss/batch", "loss/region", "loss/class", "loss/all"):
        assert log[-1][term] < log[0][term]


def test_a_later_step_that_is_worse_does_not_replace_the_best_one(trained_encoders, tmp_path, monkeypatch):
    from s2i.training import encoder

    scores = iter([0.3, 0.5, 0.4])
    monkeypatch.setattr(encoder, "retrieval_scores", lambda *_: {"mAP": torch.full((2,), next(scores))})
    train_encoder(make_config(trained_encoders, tmp_path))
    best, last = (state_of(tmp_path, name) for name in (BEST, "last.pt"))
    common = {"mAP": 0.5, "step": 6, "split": "val", "counts": {"captions": 2}}
    assert best["step"] == 6 and common.items() <= best["metrics"].items() and last["step"] == 9
    assert not same(best["nets"], last["nets"])


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_the_best_step_by_validation_is_kept_and_gives_its_numbers_again(modality, trained_encoders):
    folder = trained_encoders / f"{modality}-encoder"
    best = read_checkpoint(folder / "checkpoints" / BEST)
    measured = [line for line in Run(folder).read_metrics() if line["metric"] == "mAP"]
    assert [line["step"] for line in measured] == [3, 6, 9]
    assert all(line["split"] == "val" and line["counts"] == {"captions": 16} for line in measured)
    first_best = max(measured, key=lambda line: (line["value"], -line["step"]))
    assert (best["step"], best["metrics"]["mAP"]) == (first_best["step"], first_best["value"])

    config = make_config(trained_encoders, folder, modality)
    vocabulary = Vocabulary.from_list(best["vocabulary"]) if modality == "text" else None
    encoder = build_caption_encoder(config, len(vocabulary or ())).eval()
    image_encoder = build_image_encoder(config).eval()
    encoder.load_state_dict(best["nets"]["caption_encoder"])
    image_encoder.load_state_dict(best["nets"]["image_encoder"])
    pack = Pack(trained_encoders / "data" / "pack" / "val", config)
    scores = retrieval_scores(encoder, image_encoder, pack, config, vocabulary)
    for name, values in scores.items():
        assert values.mean().item() == pytest.approx(best["metrics"][name], abs=1e-5)


def test_the_test_split_is_never_opened(trained_encoders, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(trained_encoders / "data", data)
    (data / "pack" / "test").mkdir()
    (data / "pack" / "test" / "pack.json").write_text("not to be read")
    config = tiny_training_config(data, tmp_path / "speech-encoder")
    train_encoder(replace(config, matching=replace(config.matching, steps=1)))
    train_gan(replace(config, run=str(tmp_path / "gan"), gan=replace(config.gan, steps=1)))


def test_the_vocabulary_has_the_words_of_training_captions_alone(trained_encoders):
    words = load_last(trained_encoders / "text-encoder" / "checkpoints")["vocabulary"]
    assert {"a", "bird", "that", "is", "red", "green", "blue", "white"} < set(words)
    assert "zebra" not in words
    assert load_last(trained_encoders / "speech-encoder" / "checkpoints")["vocabulary"] is None


def test_a_recording_shorter_than_one_step_is_refused_by_name(tmp_path):
    images = write_telling_data(tmp_path)
    name = images[2].captions[1].audio
    samples, rate = soundfile.read(tmp_path / name)
    soundfile.write(tmp_path / name, samples[: 220 * 14], rate)
    config = tiny_training_config(tmp_path, tmp_path / "speech-encoder")
    build_pack(config, ["train", "val"])
    with pytest.raises(InputError, match=rf"16 frames or more .*{name} \(14 frames\)"):
        train_encoder(config)
    text = tiny_training_config(tmp_path, tmp_path / "text-encoder", "text")
    train_encoder(replace(text, matching=replace(text.matching, steps=1)))  # nobody listens


def test_speech_needs_no_text(tmp_path):
    """An unwritten language has none."""
    images = write_telling_data(tmp_path)
    images = [
        replace(image, captions=tuple(replace(c, text=None) for c in image.captions)) for image in images
    ]
    write_manifest(tmp_path / "manifest.jsonl", images)
    config = tiny_training_config(tmp_path, tmp_path / "speech-encoder")
    build_pack(config, ["train", "val"])
    train_encoder(replace(config, matching=replace(config.matching, steps=1)))
    train_gan(replace(config, run=str(tmp_path / "gan"), gan=replace(config.gan, steps=1)))
    with pytest.raises(InputError, match="text"):
        train_encoder(tiny_training_config(tmp_path, tmp_path / "text-encoder", "text"))


# Generators


@pytest.fixture(scope="module")
def gan(trained_encoders, tmp_path_factory) -> dict:
    """The checkpoint of a GAN run."""
    folder = train_gan(make_config(trained_encoders, tmp_path_factory.mktemp("runs") / "gan"))
    return load_last(folder / "checkpoints")


def test_the_matching_model_is_frozen_with_its_running_statistics(trained_encoders, gan):
    encoder = read_checkpoint(trained_encoders / "speech-encoder" / "checkpoints" / BEST)
    for name in ("caption_encoder", "image_encoder"):
        assert same(gan["nets"][name], encoder["nets"][name])
        assert any("running_mean" in key for key in gan["nets"][name])


def test_the_average_is_a_net_of_its_own_with_statistics_of_its_own(gan):
    live, average = gan["nets"]["generator"], gan["nets"]["ema"]
    assert live.keys() == average.keys()
    counts = [key for key in live if "num_batches" in key]
    assert counts and all(torch.equal(live[key], average[key]) for key in counts)
    moved = [key for key in live if not torch.equal(live[key], average[key])]
    assert len(moved) == len(live) - len(counts) and any("running_var" in key for key in moved)


def test_the_averages_statistics_are_the_running_mean_of_the_live_ones(
    trained_encoders, tmp_path, monkeypatch
):
    """Of the generator and of an encoder that learns with it, in a training and in an exported model."""
    expected: dict[str, dict[str, torch.Tensor]] = {}
    record = Training.record

    def follow(self: Training, terms: dict) -> None:
        for name, average in (("generator", "ema"), ("caption_encoder", "caption_encoder_ema")):
            live = {key: value for key, value in self.nets[name].named_buffers() if "running_" in key}
            decay = min(0.9, (1 + self.step) / (10 + self.step)) if self.step else 0.0
            known = expected.setdefault(average, {key: value.clone() for key, value in live.items()})
            for key, value in live.items():
                known[key] = decay * known[key] + (1 - decay) * value
        record(self, terms)

    monkeypatch.setattr(Training, "record", follow)
    config = make_config(trained_encoders, tmp_path / "run")
    config = replace(config, gan=replace(config.gan, encoder_lr=1e-3))
    nets = load_last(train_gan(config) / "checkpoints")["nets"]
    export([tmp_path / "run"], tmp_path / "model")
    path = load(tmp_path / "model", "cpu").path("speech")
    generated_with = {"ema": path.generator.state_dict(), "caption_encoder_ema": path.encoder.state_dict()}
    for average, statistics in expected.items():
        assert statistics
        for key, value in statistics.items():
            torch.testing.assert_close(nets[average][key], value)
            assert torch.equal(generated_with[average][key], nets[average][key])


@pytest.mark.parametrize("condition", ["mu", "sentence"])
def test_in_a_training_the_discriminators_step_has_no_history_and_the_generators_moves_no_discriminator(
    condition, trained_encoders, tmp_path, monkeypatch
):
    config = make_config(trained_encoders, tmp_path)
    config = replace(config, discriminator=DiscriminatorConfig(channels=4, condition_on=condition))
    steps: list[str] = []
    after_generator: dict[str, torch.Tensor] = {}
    for_discriminator = gan_step.discriminator_losses
    for_generator = gan_step.generator_adversarial_losses

    def learn_to_discriminate(networks, reals, fakes, condition_given, *rest):
        steps.append("d")
        assert not condition_given.requires_grad and not any(fake.requires_grad for fake in fakes)
        assert all(weight.requires_grad for weight in networks.parameters())
        for key, value in after_generator.items():  # the generator's step changed no weight
            assert torch.equal(value, dict(networks.named_parameters())[key]), key
        return for_discriminator(networks, reals, fakes, condition_given, *rest)

    def learn_to_generate(networks, generated, *rest):
        steps.append("g")
        assert generated.condition.requires_grad == (condition == "mu")
        assert all(image.requires_grad for image in generated.output.images)
        assert not any(weight.requires_grad for weight in networks.parameters())
        after_generator.update({key: value.clone() for key, value in networks.named_parameters()})
        return for_generator(networks, generated, *rest)

    record = Training.record

    def without_history(self, terms) -> None:
        assert not any(isinstance(term, torch.Tensor) and term.requires_grad for term in terms.values())
        record(self, terms)

    monkeypatch.setattr(gan_step, "discriminator_losses", learn_to_discriminate)
    monkeypatch.setattr(gan_step, "generator_adversarial_losses", learn_to_generate)
    monkeypatch.setattr(Training, "record", without_history)
    train_gan(replace(config, gan=replace(config.gan, steps=3)))
    assert steps == ["d", "g"] * 3


def test_the_generator_generates_once_a_step(trained_encoders, tmp_path, monkeypatch):
    from s2i.models.generator import StackedGenerator

    calls = []
    forward = StackedGenerator.forward
    monkeypatch.setattr(
        StackedGenerator,
        "forward",
        lambda self, *inputs, **options: (calls.append(self), forward(self, *inputs, **options))[1],
    )
    config = replace(make_config(trained_encoders, tmp_path), memory_format="channels_last")  # no trial
    train_gan(replace(config, gan=replace(config.gan, steps=5, sample_every=0)))
    assert len(calls) == 5 and len(set(map(id, calls))) == 1


@pytest.mark.parametrize(("class_weight", "region_weight"), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
def test_every_weight_of_an_encoder_that_may_learn_does(
    class_weight, region_weight, trained_encoders, tmp_path
):
    """Else several processes wait for gradients that never come."""
    config = make_config(trained_encoders, tmp_path)
    matching = replace(config.matching, class_weight=class_weight, region_weight=region_weight)
    config = replace(config, matching=matching)
    pack = Pack(trained_encoders / "data" / "pack" / "train")
    networks = EncoderNetworks(config, 0, len(pack.class_labels))
    dataset = CaptionedImages(pack, 0, config.generated_size, "speech")
    networks(dataset[0, np.arange(8)])[0].backward()
    learning = {name for name, weight in networks.named_parameters() if weight.requires_grad}
    assert learning == {name for name, weight in networks.named_parameters() if weight.grad is not None}
    assert any("classifier" in name for name in learning) == (class_weight > 0)


def test_stages_grow_when_their_part_of_the_steps_has_come(trained_encoders, tmp_path):
    shown = [growing_stages((0.2, 0.5), step / 10, 3) for step in range(10)]
    assert shown == [1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    assert growing_stages((), 0.0, 3) == 3
    config = replace(make_config(trained_encoders, tmp_path), log=LogConfig(every=1, checkpoint_every=9))
    lines = Run(train_gan(replace(config, gan=replace(config.gan, grow=(0.4,))))).read_log()
    for term in ("g_16/conditional", "d_16/real_c"):
        assert [line["step"] for line in lines if term in line] == [5, 6, 7, 8, 9]
    for term in (
        "g_8/conditional",
        "g/matching",
        "g/relation",
    ):  # the last two: of the largest image generated
        assert all(term in line for line in lines)
    with pytest.raises(InputError, match="gan.grow"):
        train_gan(replace(config, run=str(tmp_path / "b"), gan=replace(config.gan, grow=(0.2, 0.4))))


def test_real_images_are_cropped_and_flipped_unless_switched_off(trained_encoders, tmp_path, monkeypatch):
    given = []
    real = conditioner.CaptionedImages.__init__

    def noted(self: object, *arguments: object, **named: object) -> None:
        given.append(named["augment"])
        real(self, *arguments, **named)

    monkeypatch.setattr(conditioner.CaptionedImages, "__init__", noted)
    for augment in (True, False):
        config = make_config(trained_encoders, tmp_path / str(augment))
        train_gan(replace(config, gan=replace(config.gan, steps=1, augment=augment)))
    assert given == [True, False]


def test_samples_come_from_the_average_in_evaluation_mode(trained_encoders, tmp_path, monkeypatch):
    from s2i.training import samples

    generated = []
    generate = samples.SampleGrid.generate

    def watch(self, generator, encoder, step):
        generated.append(generator)
        shown = self.batch.image_ids.numpy()  # as the class says: of the training split
        cut = read_images(pack, shown, centre_crops(pack, len(shown)), config.generated_size)
        assert torch.equal(self.batch.images, cut)
        assert not generator.training and not encoder.training
        generate(self, generator, encoder, step)

    monkeypatch.setattr(samples.SampleGrid, "generate", watch)
    config, pack = make_config(trained_encoders, tmp_path), Pack(trained_encoders / "data" / "pack" / "train")
    folder = train_gan(config)
    assert same(dict(generated[-1].state_dict()), load_last(folder / "checkpoints")["nets"]["ema"])


def test_where_each_image_is_a_class_of_its_own_none_is_shown_as_identical(tmp_path):
    (tmp_path / "data").mkdir()
    write_tiny_data(tmp_path / "data", train=8, val=4, classes=12)
    config = tiny_training_config(tmp_path / "data", tmp_path / "speech-encoder")
    build_pack(config, ["train", "val"])
    encoder = train_encoder(replace(config, matching=replace(config.matching, steps=1)))
    gan = replace(config.gan, encoder=str(encoder), steps=1)
    (line,) = Run(train_gan(replace(config, run=str(tmp_path / "gan"), gan=gan))).read_log()
    terms = {name for name in line if name.startswith("relation/")}
    assert terms == {"relation/same_class", "relation/generated", "relation/other_class", "relation/all"}


def test_every_term_of_the_losses_is_logged(trained_encoders, tmp_path):
    line = Run(train_gan(make_config(trained_encoders, tmp_path))).read_log()[0]
    terms = {f"d_{s}/{k}" for s in (8, 16) for k in ("real_c", "real_u", "wrong_c", "fake_c", "fake_u")}
    terms |= {f"d_{s}/penalty" for s in (8, 16)}
    terms |= {f"g_{s}/{k}" for s in (8, 16) for k in ("conditional", "unconditional")}
    terms |= {"g/kl", "g/matching", "g/relation", "g/all", "d/all", "grad_norm/g", "grad_norm/d"}
    terms |= {f"relation/{k}" for k in ("identical", "same_class", "generated")}
    assert terms <= line.keys()


@pytest.mark.parametrize("kind", TRAININGS)
def test_bf16_trains_every_term_and_is_used_by_every_net(kind, trained_encoders, tmp_path, monkeypatch):
    seen: dict[str, set[torch.dtype]] = {"bce": set(), "penalty": set(), "class": set()}
    adversarial, squared, by_class = losses.adversarial_loss, losses.squared_gradient, losses.class_loss
    monkeypatch.setattr(
        losses,
        "adversarial_loss",
        lambda logits, *rest: (seen["bce"].add(logits.dtype), adversarial(logits, *rest))[1],
    )
    monkeypatch.setattr(
        losses,
        "squared_gradient",
        lambda outputs, inputs: (seen["penalty"].add(outputs.dtype), squared(outputs, inputs))[1],
    )
    monkeypatch.setattr(
        losses,
        "class_loss",
        lambda image, *rest: (seen["class"].add(image.dtype), by_class(image, *rest))[1],
    )
    config = replace(make_config(trained_encoders, tmp_path), precision="bf16")
    state = state_of(TRAININGS[kind](config))
    used = {torch.bfloat16}
    if kind == "gan":  # the penalty's second derivatives stay in float32
        assert seen == {"bce": used, "penalty": {torch.float32}, "class": set()}
    else:
        assert seen == {"bce": set(), "penalty": set(), "class": used}
    for net in state["nets"].values():
        for value in net.values():
            assert value.dtype != torch.bfloat16 and torch.isfinite(value).all()


def test_an_encoder_of_another_shape_is_refused_by_section(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path)
    other = replace(config, speech_encoder=replace(config.speech_encoder, segment=2))
    with pytest.raises(InputError, match="expected the speech_encoder of"):
        train_gan(other)
    with pytest.raises(InputError, match="expected the modality of"):
        train_gan(replace(config, modality="text"))
    assert not (tmp_path / "config.yaml").exists()


def test_a_missing_encoder_is_named(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        train_gan(replace(config, gan=replace(config.gan, encoder=str(tmp_path / "nowhere"))))
