"""A speech encoder as one half of an autoencoder: the loss by hand, what is kept, and a generator over it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2i.config import Config
from s2i.config_files import override
from s2i.errors import InputError
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.log_mel_generator import LogMelScale
from s2i.runs.checkpoint import load_last, read_checkpoint
from s2i.runs.run import Run
from s2i.training.autoencoding import autoencoding_loss
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.trainings import train_and_die

ALONE = [
    "matching.autoencoding_weight=2",
    "matching.batch_weight=0",
    "matching.class_weight=0",
    "matching.region_weight=0",
    "speech_generator.frames=40",
    "speech_generator.noise_dim=0",
    "speech_generator.channels=4",
]


@pytest.fixture
def config(trained_encoders, tmp_path) -> Config:
    return override(tiny_training_config(trained_encoders / "data", tmp_path / "run"), ALONE)


class Decoder:
    """Decodes the sentence's first number, at each place; of three frames."""

    frames = 3

    def __init__(self):
        self.scale = LogMelScale()
        self.scale.set_range(-4, 4)

    def sample_noise(self, keys, seed):
        return ()

    def __call__(self, encoding):
        return encoding.sentence[:, :1, None].expand(-1, 2, 3)


def test_the_loss_by_hand():
    encoding = CaptionEncoding.of_vectors(torch.tensor([[1.0], [2.0]]))
    mels = torch.tensor([[[1.0, 3, 9, 9], [0, 1, 9, 9]], [[2.0, 2, 0, 7], [4, 0, 2, 7]]])
    # The first recording has two frames; of the second the decoder reaches three; a unit of the scale is 4.
    first, second = (0 + 2 + 1 + 0) / 4 / 4, (0 + 0 + 2 + 2 + 2 + 0) / 6 / 4
    loss = autoencoding_loss(Decoder(), encoding, mels, torch.tensor([2, 4]))
    assert loss.item() == pytest.approx((first + second) / 2)


def test_it_resumes_bit_for_bit_and_keeps_the_least_error(config, tmp_path, monkeypatch):
    unbroken = load_last(train_encoder(config) / "checkpoints")
    broken = replace(config, run=str(tmp_path / "broken"))
    train_and_die(monkeypatch, train_encoder, broken, 5)
    torch.rand(3)
    again = load_last(train_encoder(broken) / "checkpoints")
    for part in ("nets", "optimisers", "random", "step", "extra"):
        assert same(unbroken[part], again[part]), part
    lines = Run(tmp_path / "run").read_metrics()
    errors = {line["step"]: line["value"] for line in lines if line["metric"] == "autoencoding_error"}
    assert len(errors) == 3 == len(lines) and {line["protocol"] for line in lines} == {"autoencoding"}
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")
    assert errors[best["step"]] == min(errors.values())
    log = Run(tmp_path / "run").read_log()
    for line in log:  # six digits of each
        assert line["loss/all"] == pytest.approx(2 * line["loss/autoencoding"], rel=0, abs=1.6e-6)


def test_a_generator_learns_from_it(config, tmp_path):
    encoder = train_encoder(config)
    gan = replace(config.gan, encoder=str(encoder), steps=2, matching_weight=0, relation_weight=0)
    run = train_gan(replace(config, run=str(tmp_path / "gan"), gan=gan))
    assert load_last(run / "checkpoints")["step"] == 2


def test_text_is_not_autoencoded(config, tmp_path):
    with pytest.raises(InputError, match=r"expected modality=speech for matching\.autoencoding_weight"):
        train_encoder(replace(config, modality="text"))
    assert not (tmp_path / "run").exists()
