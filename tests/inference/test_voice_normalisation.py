"""Voices that are read under another vocal tract's length where that brings them nearer to the training's."""

from pathlib import Path

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
from s2i.inference.voice_normalisation import FACTORS, can_normalise, encode_normalised
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
def test_a_recording_is_read_under_the_warp_that_brings_it_nearest(log_mels, factor):
    encoder, known = MeanOfBins(), normalise(warped(log_mels[1], factor))
    wanted = encoder(*pad_mels([known])).sentence[0]
    encoding = encode_normalised(encoder, domain_of(wanted), AUDIO, *pad_mels(log_mels))
    torch.testing.assert_close(encoding.sentence[1], wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoding.sequence[1, :, :50], known.T, atol=1e-4, rtol=1e-4)


def test_a_recording_that_no_warp_brings_clearly_nearer_stays_as_it_is(log_mels, monkeypatch):
    encoder = MeanOfBins()
    padded = pad_mels(log_mels)
    plain = encoder(*padded)
    known = domain_of(plain.sentence[0])
    encoding = encode_normalised(encoder, known, AUDIO, *padded)
    assert torch.equal(encoding.sentence[0], plain.sentence[0])
    # The least distance under a warp, of the second: just too little, then just enough.
    distances = [
        float(known.distance(encoder(*pad_mels([normalise(warped(log_mels[1], factor))])).sentence))
        for factor in FACTORS
    ]
    share = min(distances) / float(known.distance(plain.sentence[1:]))
    for nearer, stays in ((share * 0.99, True), (share * 1.01, False)):
        monkeypatch.setattr(voice_normalisation, "NEARER", nearer)
        encoding = encode_normalised(encoder, known, AUDIO, *padded)
        assert torch.equal(encoding.sentence[1], plain.sentence[1]) == stays


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
    path = load(MODEL, "cpu", only="speech").path("speech")
    assert path.normalise_voices
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
