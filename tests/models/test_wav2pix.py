"""Wav2Pix's networks: any length of waveform, dropout as noise, a spectral norm that an average keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2i.config_data import AudioConfig
from s2i.config_networks import GeneratorConfig, SpeechEncoderConfig
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.feature_decoder import FeatureDecoder
from s2i.models.spectral import SpectralConvTranspose2d, spectral_norm_of
from s2i.models.wav2pix import CaptionClassifier, DropoutGenerator, WaveformEncoder
from tests.fixtures.models import write_tiny_run

AUDIO = AudioConfig(front_end="waveform", sample_rate=16000, mel_bins=1, hop=1 / 16000)


def encoding(batch: int, width: int = 6) -> CaptionEncoding:
    return CaptionEncoding(
        torch.randn(batch, width), torch.zeros(batch, width, 1), torch.ones(batch, 1).bool()
    )


def test_the_encoder_has_the_published_layers_and_takes_any_length():
    with torch.device("meta"):
        encoder = WaveformEncoder(SpeechEncoderConfig(), AUDIO)
    assert [layer.weight.shape for layer in encoder.convolutions] == [
        (16, 1, 15),
        (32, 16, 15),
        (128, 32, 15),
        (256, 128, 15),
        (512, 256, 15),
        (1024, 512, 15),
    ]
    assert [layer.weight.shape for layer in encoder.dense] == [(256, 1024), (128, 256), (128, 128)]
    assert encoder.seconds_per_step == pytest.approx(4**6 / 16000)


def test_a_waveforms_vector_depends_on_no_other_one_of_its_batch():
    torch.manual_seed(0)
    encoder = WaveformEncoder(SpeechEncoderConfig(), AUDIO, (4, 4, 8), (8,), 6)
    for norm in encoder.norms:
        norm.running_mean.normal_(std=0.3)
        norm.bias.data.normal_()
    encoder.eval()
    lengths = torch.tensor([1, 700, 333])
    waveforms = torch.randn(3, 1, 700)
    together = encoder(waveforms, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(waveforms[row : row + 1, :, :length], lengths[row : row + 1])
        torch.testing.assert_close(together.sentence[row : row + 1], alone.sentence, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dropout", [0.5, 0.2])
def test_dropout_leaves_out_its_part_when_generating_too(dropout):
    torch.manual_seed(0)
    generator = DropoutGenerator(GeneratorConfig(base_size=16, channels=8), 6, dropout).eval()
    noise = generator.sample_noise(["a", "b"], 0)
    assert [each.shape for each in noise] == [(2, 16 * 4 * 4), (2, 8 * 8 * 8)]
    left_out = torch.cat([each <= generator.threshold for each in noise], 1).float().mean().item()
    assert left_out == pytest.approx(dropout, abs=0.04)
    spoken = encoding(1)
    first, again, other = (
        generator(spoken, *generator.sample_noise(["a"], seed)).images[-1] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)
    together = generator(spoken.repeat(2), *noise).images[-1]
    torch.testing.assert_close(together[:1], first, atol=1e-5, rtol=0)


def test_the_spectral_norm_is_the_largest_singular_value_and_a_function_of_the_weight():
    torch.manual_seed(0)
    weight = torch.randn(5, 7)
    weight[0] *= 8  # one direction that stands out, as in a trained layer
    exact = torch.linalg.matrix_norm(weight, 2).item()
    assert spectral_norm_of(weight, 5).item() == pytest.approx(exact, rel=0.01)
    layer = SpectralConvTranspose2d(4, 3, 4, 2, 1)
    hidden = torch.randn(2, 4, 5, 5)
    sigma = spectral_norm_of(layer.weight.transpose(0, 1), 3)
    plain = torch.nn.functional.conv_transpose2d(hidden, layer.weight / sigma, layer.bias, 2, 1)
    torch.testing.assert_close(layer(hidden), plain)
    assert torch.equal(layer(hidden), layer(hidden)) and not dict(layer.named_buffers())


def test_the_generator_has_the_published_widths():
    with torch.device("meta"):
        generator = DropoutGenerator(GeneratorConfig(base_size=128, channels=64), 128)
    assert [layer.out_channels for layer in generator.layers] == [1024, 512, 256, 128, 64, 3]


def test_the_classifier_of_captions_normalises_its_logits():
    torch.manual_seed(0)
    logits = CaptionClassifier(6, 4)(torch.randn(8, 6))
    torch.testing.assert_close(logits.mean(0), torch.zeros(4), atol=1e-5, rtol=0)


def test_a_truncation_is_refused_of_dropout_and_of_no_noise(tmp_path):
    path = load(write_tiny_run(tmp_path / "run"), "cpu").path("speech")
    settings = GeneratorConfig(base_size=16, channels=8)
    for generator in (DropoutGenerator(settings, 6), FeatureDecoder(settings, 6, 4)):
        without = replace(path, generator=generator)
        assert without.sampling(1.0, 0.0).truncation == 1
        for truncation in (0.0, 0.5, 2.0):
            name = type(generator).__name__
            with pytest.raises(InputError, match=f"truncation of {truncation:g}, found {name} in") as raised:
                without.sampling(truncation, 0.0)
            assert "\n" not in str(raised.value)
    assert path.sampling(0.5, 0.0).truncation == 0.5
    assert path.sampling(1.0, 0.0) is path  # which has its form for inference
