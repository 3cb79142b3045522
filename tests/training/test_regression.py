"""Speech2Face for birds: losses by hand, who learns from what, the same bits however often it is killed."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest
import torch

from s2i import losses
from s2i.config import Config, EvaluationConfig, RegressionConfig
from s2i.config_data import AudioConfig
from s2i.config_files import override
from s2i.config_networks import GeneratorConfig, SpeechEncoderConfig
from s2i.errors import InputError
from s2i.evaluation.records import evaluate
from s2i.inference.model import load
from s2i.models.feature_decoder import FeatureDecoder
from s2i.models.speech2face import SpeechToFeature
from s2i.reports.export import export
from s2i.reports.systems import _planned_steps
from s2i.runs.checkpoint import load_last, read_checkpoint
from s2i.training.regression import decoder_losses, regression_losses, train_regression
from tests.fixtures.models import same, tiny_training_config, write_recording
from tests.fixtures.trainings import train_and_die

WORDS = [
    "generator.network=s2i.models.feature_decoder:FeatureDecoder",
    "generator.options.width=12",
    "generator.attention=false",
    "generator.stages=1",
    "generator.base_size=16",
    "regression.batch_size=4",
    "regression.decoder_steps=4",
    "regression.feature_weight=1",
    "regression.steps=4",
    "log.checkpoint_every=2",
    "log.keep=3",
]


@pytest.fixture
def config(trained_encoders, tmp_path) -> Config:
    made = tiny_training_config(trained_encoders / "data", tmp_path / "run")
    made = replace(made, evaluation=EvaluationConfig(split="val", batch_size=4))
    return override(made, [*WORDS, f"regression.image_network={trained_encoders / 'speech-encoder'}"])


def test_it_resumes_bit_for_bit_and_generates_as_any_other_model(config, tmp_path, monkeypatch):
    unbroken = load_last(train_regression(config) / "checkpoints")
    broken = replace(config, run=str(tmp_path / "broken"))
    for step in (3, 7):  # in the decoder's training, in the encoder's
        train_and_die(monkeypatch, train_regression, broken, step)
        torch.rand(3)
    again = load_last(train_regression(broken) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step"):
        assert same(unbroken[part], again[part]), part

    halfway, end = (
        read_checkpoint(tmp_path / "run" / "checkpoints" / f"step-{step:08d}.pt")["nets"] for step in (4, 8)
    )
    for name in ("ema", "generator", "classifier", "image_encoder"):
        assert same(halfway[name], end[name]), name
    assert not same(halfway["caption_encoder"], end["caption_encoder"])

    assert _planned_steps(load(tmp_path / "run", "cpu"), config) == 8
    export([tmp_path / "run"], tmp_path / "model")
    recording = write_recording(tmp_path / "speech.wav", 0.6)
    first, other = load(tmp_path / "run", "cpu").generate(speech=recording, count=2)
    [exported] = load(tmp_path / "model", "cpu").hearing(normalised=False).generate(speech=recording)
    assert first.size == (16, 16) and first.tobytes() == exported.tobytes()
    assert first.tobytes() == other.tobytes()  # a caption has one image, whatever the seed
    assert {line["metric"] for line in evaluate(tmp_path / "run")} >= {"recall@1", "mAP"}


def test_the_encoder_learns_from_altered_recordings(config):
    """The decoder, which hears nothing, is the same."""
    plain = load_last(train_regression(config) / "checkpoints")["nets"]
    altered = override(config, [f"run={config.run}-altered", "data.augment.noise.probability=1"])
    nets = load_last(train_regression(altered) / "checkpoints")["nets"]
    assert same(nets["generator"], plain["generator"])
    assert not same(nets["caption_encoder"], plain["caption_encoder"])


def test_the_encoders_losses_by_hand():
    torch.manual_seed(0)
    decoder = FeatureDecoder(GeneratorConfig(base_size=8, channels=1, min_channels=2), 3, width=2)
    classifier = torch.nn.Linear(3, 2)
    features = torch.tensor([[3.0, 0.0, 4.0], [0.0, 1.0, 0.0]])
    regressed = torch.tensor([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]])
    config = RegressionConfig(decoder_weight=2, distance_weight=3, distillation_weight=5, temperature=2)
    terms = regression_losses(decoder, classifier, features, regressed, config)
    hidden = [decoder.first_layer(each) for each in (features, regressed)]
    assert terms["encoder/decoder"].item() == pytest.approx((hidden[0] - hidden[1]).abs().sum().item() / 4)
    distances = [0.6**2 + 1 + 0.8**2, 0.0]  # of (.6, 0, .8) and (0, 1, 0); of one vector and itself
    assert terms["encoder/distance"].item() == pytest.approx(sum(distances) / 2)
    total = 2 * terms["encoder/decoder"] + 3 * terms["encoder/distance"] + 5 * terms["encoder/distillation"]
    assert terms["encoder/all"].item() == pytest.approx(total.item())


def test_distillation_by_hand():
    teacher, student = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [6.0, 6.0]])
    p = exp(1) / (exp(1) + 1)  # T = 2
    q = 1 / (1 + exp(2))
    expected = (-(p * log(q) + (1 - p) * log(1 - q)) + log(2)) / 2
    assert losses.class_distillation_loss(teacher, student, 2.0).item() == pytest.approx(expected)


def test_the_decoder_learns_from_images_alone_and_the_classifier_from_classes():
    torch.manual_seed(0)
    decoder = FeatureDecoder(GeneratorConfig(base_size=8, channels=1, min_channels=2), 3, width=2)
    classifier = torch.nn.Linear(3, 2)

    def network(images):
        return images.mean((2, 3)), None

    images = torch.rand(4, 3, 16, 16) * 2 - 1
    terms = decoder_losses(
        decoder,
        classifier,
        network,
        images,
        network(images)[0],
        torch.tensor([0, 1, 0, 1]),
        RegressionConfig(pixel_weight=1, feature_weight=1),
    )
    assert terms["decoder/all"].item() == pytest.approx(
        sum(terms[f"decoder/{name}"].item() for name in ("pixel", "class", "feature")), rel=1e-5
    )
    terms["decoder/pixel"].backward(retain_graph=True)
    assert all(weight.grad is not None for weight in decoder.parameters())
    assert all(weight.grad is None for weight in classifier.parameters())


def test_a_captions_feature_depends_on_no_other_one_of_its_batch():
    torch.manual_seed(0)
    audio = AudioConfig(mel_bins=44)
    channels = (2, 2, 3, 3, 3, 3, 4, 4, 4, 4)
    encoder = SpeechToFeature(SpeechEncoderConfig(), audio, width=5, hidden=6, channels=channels)
    for norm in encoder.norms:
        norm.running_mean.normal_(std=0.3)
        norm.bias.data.normal_()
    encoder.eval()
    assert encoder.frames == 515 and encoder.shortest() == 1
    lengths = torch.tensor([40, 515 + 301, 515 + 77])
    mels = torch.randn(3, 44, int(lengths.max()))
    together = encoder(mels, lengths)
    assert together.sentence.shape == (3, 5) and together.mask.shape == (3, 1)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(mels[row : row + 1, :, :length], lengths[row : row + 1])
        torch.testing.assert_close(together.sentence[row : row + 1], alone.sentence, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["regression.image_network="], "expected regression.image_network, or a pretrained network"),
        (["speech_encoder.hidden_dim=4"], "of the feature's 16 numbers, found 8"),
        (["image_encoder.input_size=8"], "expected the image_encoder of"),
        (["generator.prior=flow"], "expected generator.prior=normal where no posterior infers"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_written(words, expected, config, tmp_path):
    with pytest.raises(InputError, match=expected) as raised:
        train_regression(override(config, words))
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_another_generator_is_refused(config):
    generator = replace(config.generator, network="", options={})
    with pytest.raises(InputError, match=r"expected generator\.network=s2i\.models\.feature_decoder"):
        train_regression(replace(config, generator=generator))
