"""Voices read under other lengths of the vocal tract, where these bring them nearer to the training's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from s2i.config_data import AudioConfig
from s2i.data.audio import load_waveform, normalise
from s2i.data.augment.frequency import vocal_tract_warp
from s2i.data.batches import pad_mels
from s2i.data.mel_spectrum import mel_edges
from s2i.data.tts_espeak import speak
from s2i.errors import InputError
from s2i.inference import voice_normalisation
from s2i.inference.model import load
from s2i.inference.voice_normalisation import can_normalise, encode_normalised
from s2i.metrics.domain import Domain
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from tests.fixtures.models import write_tiny_run

AUDIO = AudioConfig()
MODEL = Path(__file__).parents[2] / "checkpoints" / "painted_birds"


class MeanOfBins(nn.Module):
    """Encodes a log-mel as its bins' third moments: what a warp moves from bin to bin."""

    def forward(self, log_mels, lengths):
        cubes = log_mels.pow(3).sum(2) / lengths[:, None]
        return CaptionEncoding(cubes, log_mels, length_mask(lengths, log_mels.shape[2]))


def warped(log_mel, factor):
    edges = mel_edges(AUDIO.sample_rate, AUDIO.mel_bins)
    return log_mel @ torch.from_numpy(vocal_tract_warp(factor, edges[1:-1], AUDIO.sample_rate / 2))


def domain_of(embedding, threshold=1.0):
    width = len(embedding)
    return Domain(embedding, torch.eye(width), torch.tensor(threshold))


@pytest.fixture
def log_mels():
    random = torch.Generator().manual_seed(0)
    return [normalise(torch.randn(count, AUDIO.mel_bins, generator=random).exp()) for count in (30, 50)]


@pytest.mark.parametrize("factor", [0.82, 1.18])
def test_a_clearly_likelier_warp_is_taken_alone(log_mels, factor):
    encoder, known = MeanOfBins(), normalise(warped(log_mels[1], factor))
    wanted = encoder(*pad_mels([known])).sentence[0]
    encoding = encode_normalised(encoder, domain_of(wanted), AUDIO, *pad_mels(log_mels))
    torch.testing.assert_close(encoding.sentence[1], wanted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(encoding.sequence[1, :, :50], known.T, atol=1e-3, rtol=1e-3)


def test_a_recording_like_the_trainings_stays_as_it_is(log_mels):
    encoder, padded = MeanOfBins(), pad_mels(log_mels)
    plain = encoder(*padded)
    encoding = encode_normalised(encoder, domain_of(plain.sentence[0]), AUDIO, *padded)
    torch.testing.assert_close(encoding.sentence[0], plain.sentence[0], atol=1e-3, rtol=1e-3)


def test_readings_weigh_as_likely_as_they_are_and_the_recording_as_it_is_more(log_mels, monkeypatch):
    monkeypatch.setattr(voice_normalisation, "FACTORS", (0.88,))
    voice_normalisation._warps.cache_clear()
    encoder = MeanOfBins()
    plain, other = (
        encoder(*pad_mels([each])) for each in (log_mels[1], normalise(warped(log_mels[1], 0.88)))
    )
    known = domain_of(torch.zeros(AUDIO.mel_bins), threshold=20.0)
    distance = [float(known.distance(each.sentence)) for each in (plain, other)]
    weights = np.exp(-((np.array([0.9, 1]) * distance) ** 2) / 0.1)
    first, second = weights / weights.sum()
    assert 0.01 < first < 0.99
    mean = first * plain.sentence + second * other.sentence
    length = first * plain.sentence.norm() + second * other.sentence.norm()
    encoding = encode_normalised(encoder, known, AUDIO, *pad_mels(log_mels))
    voice_normalisation._warps.cache_clear()
    wanted = (mean / mean.norm() * length)[0].float()
    torch.testing.assert_close(encoding.sentence[1], wanted, atol=1e-4, rtol=1e-4)
    wanted = (first * plain.sequence + second * other.sequence)[0].float()
    torch.testing.assert_close(encoding.sequence[1, :, :50], wanted, atol=1e-4, rtol=1e-4)


def test_each_recording_is_encoded_as_it_is_alone(log_mels):
    encoder = MeanOfBins()
    known = domain_of(encoder(*pad_mels([normalise(warped(log_mels[0], 0.88))])).sentence[0])
    together = encode_normalised(encoder, known, AUDIO, *pad_mels(log_mels))
    for row, log_mel in enumerate(log_mels):
        alone = encode_normalised(encoder, known, AUDIO, *pad_mels([log_mel]))
        torch.testing.assert_close(together.sentence[row], alone.sentence[0], atol=1e-5, rtol=1e-5)
        assert torch.equal(together.mask[row, : len(log_mel)], alone.mask[0])


def test_only_normalised_log_mels_can_be_warped():
    assert can_normalise(AUDIO)
    assert not can_normalise(AudioConfig(cmvn=False))
    assert not can_normalise(AudioConfig(front_end="waveform", sample_rate=8000, cmvn=False))


@pytest.mark.parametrize("slower", [0.7, 0.8])
def test_the_shipped_model_understands_a_deeper_voice_better_so(slower):
    model = load(MODEL, "cpu", only="speech")
    path = model.path("speech")
    assert path.normalise_voices and not model.hearing(normalised=False).path("speech").normalise_voices
    texts = (
        "a small yellow bird with a black crown and grey wings",
        "this bird has a red belly and a blue tail",
    )
    known, deep = [], []
    for text in texts:
        samples, rate = speak(text)
        known.append(load_waveform((samples, rate), path.config.audio))
        # Played slower: pitch and formants fall together, as of a longer vocal tract.
        deep.append(load_waveform((samples, round(slower * rate)), path.config.audio))
    as_known = path.encode_speech(known).sentence
    gained = [
        torch.cosine_similarity(as_known, each.encode_speech(deep).sentence).mean()
        for each in (path, path.hearing(normalised=False))
    ]
    assert gained[0] > gained[1]


def test_a_model_that_knows_no_recordings_says_so(tmp_path):
    path = load(write_tiny_run(tmp_path / "run"), "cpu").path("speech")
    assert not path.normalise_voices
    with pytest.raises(InputError, match="normalise voices.*export the run"):
        path.hearing(normalised=True)
