"""Recordings to log-mels: librosa's numbers, any rate and channel count, every bad file by name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import librosa
import numpy as np
import pytest
import soundfile
import torch

from s2i.config_data import AudioConfig
from s2i.data.audio import features, load_waveform, log_mel, normalise
from s2i.data.mel_spectrum import MelSpectrum, mel_filters
from s2i.errors import InputError

CONFIG = AudioConfig()


def speech_like(samples: int, seed: int = 0) -> torch.Tensor:
    """Harmonics of a gliding pitch, loud and quiet in turn, over faint noise: (N,) in [-1, 1]."""
    time = np.arange(samples) / CONFIG.sample_rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(3 * time)) / CONFIG.sample_rate
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 40))
    loudness = np.clip(np.sin(8 * time), 0, 1) ** 2
    noise = np.random.default_rng(seed).normal(size=samples)
    return torch.from_numpy((0.3 * voice * loudness + 1e-3 * noise).astype(np.float32))


def loud_enough(samples: np.ndarray, level: float) -> np.ndarray:
    """The same at another root mean square: what is softer than LEAST_LEVEL is changed when it is read."""
    return samples * (level / np.sqrt((samples**2).mean()))


def librosa_log_mel(waveform: torch.Tensor, config: AudioConfig, window: int, hop: int) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform.numpy(),
        sr=config.sample_rate,
        n_fft=window,
        hop_length=hop,
        win_length=window,
        n_mels=config.mel_bins,
    )
    return np.log(mel + config.log_floor).T


@pytest.mark.parametrize(
    ("rate", "window", "hop", "mels"),
    [
        (22050, 551, 220, 40),  # the published front end: odd
        (16000, 400, 160, 80),
        (22050, 1024, 256, 80),
        (48000, 1200, 480, 64),
        (22050, 441, 220, 24),  # odd square
        (8000, 211, 80, 20),  # prime
    ],
)
def test_log_mels_are_librosas(rate, window, hop, mels):
    config = AudioConfig(sample_rate=rate, window=window / rate, hop=hop / rate, mel_bins=mels)
    waveform = speech_like(30000)
    ours = log_mel(waveform, config)
    theirs = librosa_log_mel(waveform, config, window, hop)
    assert ours.shape == theirs.shape and ours.dtype == torch.float32
    assert np.abs(ours.numpy() - theirs).max() < 1e-4


def test_the_defaults_are_the_published_551_and_220():
    waveform = speech_like(20000)
    assert (
        np.abs(log_mel(waveform, CONFIG).numpy() - librosa_log_mel(waveform, CONFIG, 551, 220)).max() < 1e-4
    )


@pytest.mark.parametrize("samples", [551, 770, 771, 220 * 320, 220 * 320 + 1, 220 * 336])
def test_frames_are_librosas_at_every_length(samples):
    waveform = speech_like(samples)
    theirs = librosa_log_mel(waveform, CONFIG, 551, 220)
    ours = log_mel(waveform, CONFIG)
    assert ours.shape == theirs.shape and np.abs(ours.numpy() - theirs).max() < 1e-4


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize(
    ("size", "hop", "mels"),
    [
        (551, 220, 40),
        (512, 128, 13),
        (400, 400, 80),  # frames that don't overlap
        (400, 533, 8),  # nor touch
        (401, 7, 3),  # prime: no split
        (36, 5, 16),  # both factors even
        (3, 1, 2),
        (2, 1, 1),
        (1, 1, 1),
    ],
)
def test_mel_power_is_that_of_a_discrete_fourier_transform_whatever_the_vectors(lanes, size, hop, mels):
    filters = np.random.default_rng(0).random((mels, size // 2 + 1))
    filters[:, size // 4 : size // 3] = 0
    waveform = speech_like(max(size, 6000) if size > 100 else 300)
    ours = MelSpectrum(size, filters, lanes)(waveform, hop)

    padded = np.pad(waveform.double().numpy(), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    expected = np.abs(np.fft.rfft(frames * window)) ** 2 @ filters.T
    assert ours.shape == expected.shape
    assert np.abs(ours.numpy() - expected).max() <= 1e-5 * expected.max()


def test_log_mels_are_the_same_bit_for_bit_with_wide_and_with_narrow_vectors():
    filters, waveform = mel_filters(22050, 551, 40), speech_like(30000)
    narrow, wide = (MelSpectrum(551, filters, lanes)(waveform, 220) for lanes in (8, 16))
    assert torch.equal(narrow, wide)


def test_filters_without_a_bin_hear_nothing():
    filters = np.zeros((3, 276))
    filters[1, 275] = 1  # the last bin alone
    power = MelSpectrum(551, filters, 8)(speech_like(3000), 220)
    assert (power[:, [0, 2]] == 0).all() and (power[:, 1] > 0).all()


def test_threads_share_a_front_end():
    waveforms = [speech_like(30000, seed) for seed in range(16)]
    alone = [log_mel(waveform, CONFIG) for waveform in waveforms]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda waveform: log_mel(waveform, CONFIG), waveforms * 8))
    assert all(torch.equal(mel, other) for mel, other in zip(together, alone * 8, strict=True))


def test_a_log_mel_has_no_gradient_and_refuses_to_lose_one():
    with pytest.raises(RuntimeError, match="grad"):
        log_mel(speech_like(3000).requires_grad_(), CONFIG)


def test_a_log_mel_is_saved_without_the_memory_that_it_was_made_in():
    mel = log_mel(speech_like(3000), CONFIG)
    assert mel.is_contiguous() and mel.untyped_storage().nbytes() == 4 * mel.numel()


def test_loud_and_quiet_waveforms_agree_too():
    for scale in (1e-4, 1.0, 3.0):
        waveform = scale * speech_like(8000)
        difference = log_mel(waveform, CONFIG).numpy() - librosa_log_mel(waveform, CONFIG, 551, 220)
        assert np.abs(difference).max() < 1e-4


def test_zeros_give_the_logarithm_of_the_floor():
    assert torch.allclose(log_mel(torch.zeros(3000), CONFIG), torch.tensor(1e-6).log(), atol=1e-6)


def test_mel_filters_are_librosas():
    for rate, size, mels in ((22050, 551, 40), (16000, 400, 80), (1600, 64, 8)):
        expected = librosa.filters.mel(sr=rate, n_fft=size, n_mels=mels)
        assert np.abs(mel_filters(rate, size, mels) - expected).max() < 1e-6 * expected.max()


def test_a_batch_has_the_log_mels_of_its_waveforms():
    waveforms = torch.stack([speech_like(9000, seed) for seed in range(3)])
    batch = log_mel(waveforms, CONFIG)
    for waveform, mel in zip(waveforms, batch, strict=True):
        assert torch.equal(log_mel(waveform, CONFIG), mel)
    assert torch.allclose(features(waveforms, CONFIG)[1], features(waveforms[1], CONFIG), atol=1e-4)


def test_features_have_mean_0_and_deviation_1_in_each_bin():
    mel = features(speech_like(22050), CONFIG)
    assert mel.mean(dim=0).abs().max() < 1e-4
    assert (mel.square().mean(dim=0).sqrt() - 1).abs().max() < 1e-4


def test_features_are_plain_log_mels_where_the_config_says_so():
    waveform = speech_like(9000)
    plain = AudioConfig(cmvn=False)
    assert torch.equal(features(waveform, plain), log_mel(waveform, plain))


def test_a_bin_that_never_changes_is_normalised_to_zero():
    mel = torch.full((50, 40), -13.8)
    mel[:, 0] = torch.arange(50.0)
    normal = normalise(mel)
    assert normal.isfinite().all() and normal[:, 1:].abs().max() < 1e-2 and normal[:, 0].max() > 1


def test_a_waveform_under_one_window_is_refused():
    with pytest.raises(InputError, match="551 samples.*550"):
        log_mel(torch.zeros(550), CONFIG)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 22051, 44100, 48000, 1_000_003])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_rate_and_channel_count_becomes_one_channel_at_the_rate(tmp_path, rate, channels):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
    # Channels differ: their mean is the tone.
    samples = np.stack([tone * weight for weight in ((1,), (1.5, 0.5), (2, 1, 0))[channels - 1]], axis=1)
    soundfile.write(tmp_path / "tone.wav", samples, rate, subtype="FLOAT")
    waveform = load_waveform(tmp_path / "tone.wav", CONFIG)
    assert waveform.dtype == torch.float32 and abs(len(waveform) - 11025) <= 1
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(len(waveform)) / 22050)
    assert (waveform - expected)[500:-500].abs().max() < 5e-3


def test_flac_and_ogg_are_recordings(tmp_path):
    for name in ("a.flac", "a.ogg"):
        soundfile.write(tmp_path / name, speech_like(9000).numpy().clip(-1, 1), 22050)
        assert len(load_waveform(tmp_path / name, CONFIG)) == 9000


def bad_recording(path, kind: str) -> None:
    samples = speech_like(9000).numpy()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "not audio":
        path.write_text("I am a text. " * 100)
    elif kind == "silent":
        soundfile.write(path, np.zeros(9000), 22050)
    elif kind == "an offset alone":
        soundfile.write(path, np.full(9000, 0.3), 22050)
    elif kind in ("NaN", "infinity"):
        samples[100] = np.nan if kind == "NaN" else np.inf
        soundfile.write(path, samples, 22050, subtype="FLOAT")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), 22050)
    elif kind == "too short":
        soundfile.write(path, samples[:500], 22050)
    elif kind == "too long":
        soundfile.write(path, np.tile(samples, 4), 22050)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no file"),
        ("empty", "an empty file"),
        ("not audio", "something else"),
        ("silent", "silence"),
        ("an offset alone", "silence"),
        ("NaN", "NaN"),
        ("infinity", "infinity"),
        ("no samples", "0.000 s"),
        ("too short", "0.023 s"),
        ("too long", "at most 1.5 s"),
    ],
)
def test_a_bad_recording_is_refused_by_name_in_one_line(tmp_path, kind, reason):
    path = tmp_path / "speech.wav"
    bad_recording(path, kind)
    with pytest.raises(InputError) as caught:
        load_waveform(path, AudioConfig(max_seconds=1.5))
    message = str(caught.value)
    assert reason in message and str(path) in message and "\n" not in message


def test_an_hour_is_refused_from_the_header_alone(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "hour.wav", np.zeros(3600 * 1000, np.int16), 1000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("the samples were read"))
    with pytest.raises(InputError, match="3600 s"):
        load_waveform(tmp_path / "hour.wav", CONFIG)


def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        load_waveform(tmp_path, CONFIG)


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_an_offset_is_removed_before_the_rate_changes(tmp_path, rate):
    voice = 0.1 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "clean.wav", voice, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "offset.wav", voice + 0.3, rate, subtype="FLOAT")
    clean, with_offset = (load_waveform(tmp_path / f"{name}.wav", CONFIG) for name in ("clean", "offset"))
    assert (clean - with_offset).abs().max() < 1e-5
    assert (features(clean, CONFIG) - features(with_offset, CONFIG)).abs().max() < 0.02


def test_a_small_offset_keeps_its_bits(tmp_path):
    samples = loud_enough(speech_like(9000).numpy(), 0.1).astype(np.float32)
    samples += np.float32(6e-4) - samples.mean()
    soundfile.write(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    assert torch.equal(load_waveform(tmp_path / "a.wav", CONFIG), torch.from_numpy(samples))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("offset", [-0.5, 0.02, 0.3])
def test_an_offset_alone_is_silence_at_every_rate(tmp_path, rate, offset):
    noise = 3e-4 * np.random.default_rng(0).uniform(-1, 1, size=rate)
    soundfile.write(tmp_path / "a.wav", offset + noise, rate, subtype="FLOAT")
    with pytest.raises(InputError, match="silence"):
        load_waveform(tmp_path / "a.wav", CONFIG)


def test_what_is_above_the_new_rate_is_silence(tmp_path):
    soundfile.write(tmp_path / "bat.wav", 0.5 * np.hanning(96000) * np.sin(2.6 * np.arange(96000)), 96000)
    with pytest.raises(InputError, match="silence"):
        load_waveform(tmp_path / "bat.wav", CONFIG)


@pytest.mark.parametrize("weights", [(1, -1), (1, -0.9), (-0.4, 1), (1, -1, 0), (1, -1, 1, -1)])
@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_channels_in_opposite_phase_are_heard_by_the_loudest(tmp_path, capsys, weights, offset):
    voice, random = 0.4 * speech_like(9000).numpy(), np.random.default_rng(0)
    channels = np.stack([weight * voice + 2e-3 * random.normal(size=9000) for weight in weights], axis=1)
    soundfile.write(tmp_path / "stereo.wav", channels + offset, 22050, subtype="FLOAT")
    waveform = load_waveform(tmp_path / "stereo.wav", CONFIG).numpy()
    assert abs(np.corrcoef(waveform, voice)[0, 1]) > 0.99 and waveform.std() > 0.9 * voice.std()
    said = capsys.readouterr().err
    assert "cancel each other out" in said and "stereo.wav" in said and said.count("\n") == 1


def test_channels_that_agree_or_differ_are_mixed_without_a_word(tmp_path, capsys):
    voice, random = loud_enough(speech_like(9000).numpy(), 0.12), np.random.default_rng(0)
    for other in (voice, 0 * voice, 0.3 * voice, 0.1 * random.normal(size=9000)):
        soundfile.write(tmp_path / "a.wav", np.stack([voice, other], axis=1), 22050, subtype="FLOAT")
        waveform = load_waveform(tmp_path / "a.wav", CONFIG).numpy()
        assert np.abs(waveform - (voice + other) / 2).max() < 1e-3
    assert capsys.readouterr().err == ""
