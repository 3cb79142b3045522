"""Augmentation in the mel domain, held against the same done to waveforms."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch

from s2i.analysis.robustness import add_noise
from s2i.config_data import AudioConfig, AugmentConfig, AugmentPart, NoisePart
from s2i.config_files import load_config
from s2i.data.audio import load_waveform, log_mel, normalise
from s2i.data.augment import frequency
from s2i.data.augment.augmentation import SpeechAugmentation
from s2i.data.augment.masks import mask_bands
from s2i.data.augment.rooms import decay_seconds, reverberate, stretch_of, white_noise
from s2i.data.augment.timing import Timing, stretch, with_silence
from s2i.data.dataset import CaptionedImages
from s2i.data.loader import endless_batches
from s2i.data.manifest import read_manifest, write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.silence import spoken_frames, spoken_part
from s2i.data.tts_espeak import speak
from s2i.errors import InputError
from tests.fixtures.data import tiny_config, write_tiny_data

AUDIO = AudioConfig()
FLOOR = np.float32(AUDIO.log_floor)
PARTS = [item.name for item in fields(AugmentConfig)]
NO_TIMING = Timing(np.float64(1), np.int64(0), np.int64(0), np.int64(0))


def with_parts(*names: str) -> AugmentConfig:
    """Each of these parts always."""
    config = AugmentConfig()
    return replace(config, **{name: replace(getattr(config, name), probability=1.0) for name in names})


@pytest.fixture(scope="module")
def sentence() -> torch.Tensor:
    return load_waveform(speak("a small red bird with barred wings and a long black bill"), AUDIO)


@pytest.fixture(scope="module")
def spoken(sentence) -> np.ndarray:
    return log_mel(sentence, AUDIO).numpy()


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tiny_data(folder, train=12, val=0, classes=3, captions=2)
    build_pack(tiny_config(folder), ["train"])
    return Pack(folder / "pack" / "train")


def power_of(waveform: torch.Tensor) -> np.ndarray:
    return np.exp(log_mel(waveform, AUDIO).numpy()) - FLOOR


def difference(power: np.ndarray, waveform: torch.Tensor) -> tuple[float, float]:
    """Mean and root mean square of the log-mel of mel power less that of a waveform."""
    apart = np.log(power + FLOOR) - log_mel(waveform, AUDIO).numpy()
    return float(apart.mean()), float(np.sqrt((apart**2).mean()))


def augment(config: AugmentConfig, log_mels: np.ndarray, seed: int = 0, least: int = 1) -> torch.Tensor:
    made = SpeechAugmentation(config, AUDIO, least)
    timing = made.sample_timing(np.random.default_rng(seed), 1).of(0)
    return made(log_mels, timing, np.random.default_rng(seed), lambda random: log_mels[::-1])


def test_noise_added_as_power_is_close_to_noise_added_to_the_waveform(sentence):
    """The same noise: .2 apart (root mean square of the log-mel), where two draws of it are .7 apart."""
    randn = torch.Generator().manual_seed(1)
    draws = [torch.randn(len(sentence), generator=randn) for _ in range(2)]
    noisy, again = (add_noise(sentence, noise, 5, 0) for noise in draws)
    mean, apart = difference(power_of(sentence) + power_of(noisy - sentence), noisy)
    assert abs(mean) < 0.03 and apart < 0.25
    assert difference(power_of(again), noisy)[1] > 2.5 * apart
    clean = difference(power_of(sentence), noisy)
    assert clean[1] > 20 * apart


def test_coloured_noise_from_the_store_is_like_a_draw_of_that_noise(sentence):
    made = SpeechAugmentation(AugmentConfig(), AUDIO)
    speech = power_of(sentence)
    noise = stretch_of(white_noise(AUDIO), 77, len(speech))
    noise = noise * np.float32(made._power(speech) * 10**-0.5 / made._power(noise))
    noisy = add_noise(sentence, torch.randn(len(sentence), generator=torch.Generator().manual_seed(1)), 5, 0)
    mean, apart = difference(speech + noise, noisy)
    assert abs(mean) < 0.1  # as loud, by the loudness weights
    assert apart < 0.8  # two draws are .7 apart


@pytest.mark.parametrize(("seconds", "decibels"), [(0.3, 6), (0.8, -3)])
def test_a_decaying_tail_is_close_to_a_convolution_with_a_simulated_response(sentence, seconds, decibels):
    random = np.random.default_rng(2)
    samples = round(seconds * AUDIO.sample_rate)
    decay = 10 ** (-3 * np.arange(samples) / samples)
    tail = np.concatenate([np.zeros(AUDIO.sample_rate // 50), random.standard_normal(samples) * decay])
    direct = 10 ** (decibels / 10)
    response = tail * np.sqrt(1 / direct / (tail**2).sum())
    response[0] = 1
    wet = np.convolve(sentence.numpy(), response)[: len(sentence) + samples] / np.sqrt(1 + 1 / direct)
    wet = torch.from_numpy(wet.astype(np.float32))
    dry = power_of(sentence)
    dry = np.concatenate([dry, np.zeros((len(log_mel(wet, AUDIO)) - len(dry), 40), np.float32)])
    made = reverberate(dry, np.full(40, seconds), direct, AUDIO.hop)
    mean, apart = difference(made, wet)
    assert abs(mean) < 0.35 and apart < 0.8
    assert difference(dry, wet)[1] > 2.5 * apart
    normalised = normalise(torch.from_numpy(np.log(made + FLOOR))) - normalise(log_mel(wet, AUDIO))
    assert normalised.square().mean().sqrt() < 0.25


def test_reverberation_equals_its_sum_over_earlier_frames():
    power = np.random.default_rng(0).random((30, 2), np.float32)
    seconds, direct = np.array([0.1, 0.3]), 2.0
    decay = 10 ** (-6 * AUDIO.hop / seconds)
    expected = power * direct
    for frame in range(30):
        for before in range(2, frame + 1):
            expected[frame] += (1 - decay) * decay ** (before - 2) * power[frame - before]
    made = reverberate(power, seconds, direct, AUDIO.hop)
    np.testing.assert_allclose(made, expected / (1 + direct), rtol=1e-5)
    assert decay_seconds(0.5, np.array([500.0, 1000.0, 4000.0])).tolist() == pytest.approx(
        [0.5, 0.5, 0.33], 1e-2
    )


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_a_longer_vocal_tract_lowers_a_formant(factor):
    made = SpeechAugmentation(AugmentConfig(), AUDIO)
    matrix = frequency.vocal_tract_warp(factor, made.centres, made.highest)
    assert matrix.min() >= 0 and matrix.sum(0) == pytest.approx(np.ones(40), abs=1e-5)
    formant = np.exp(-(((made.centres - 1500) / 200) ** 2))
    assert made.centres[(formant @ matrix).argmax()] == pytest.approx(1500 / factor, rel=0.06)
    if factor == 1:
        np.testing.assert_allclose(matrix, np.eye(40), atol=1e-5)


def test_a_faster_utterance_has_the_same_sounds_in_fewer_frames(spoken):
    faster = stretch(spoken, len(spoken) // 2)
    assert faster.shape == (len(spoken) // 2, 40)
    np.testing.assert_allclose(faster[[0, -1]], spoken[[0, -1]], rtol=1e-5)
    middle = len(faster) // 2
    assert np.abs(faster[middle] - spoken[2 * middle]).mean() < 0.5
    assert stretch(spoken, len(spoken)) is spoken


def test_added_silence_keeps_every_frame_of_speech():
    power = np.arange(1, 121, dtype=np.float32)[:, None].repeat(3, 1)
    loudness = power[:, 0].copy()
    loudness[60] = 0
    timing = Timing(np.float64(1), np.int64(5), np.int64(7), np.int64(11))
    made = with_silence(power, loudness, timing, around=0.5, tail=2)
    assert len(made) == int(timing.lengths(np.array(120))) + 2
    assert not made[:5].any() and not made[-9:].any() and not made[65:76].any()
    assert np.array_equal(made[made.any(1)], power)


def test_silence_is_cut_where_it_is_cut_from_a_recording_in_noise(sentence):
    noise = 0.02 * torch.randn(
        3 * AUDIO.sample_rate + len(sentence), generator=torch.Generator().manual_seed(3)
    )
    margin = 3 * AUDIO.sample_rate // 2
    quiet = torch.zeros(margin)
    start, stop = spoken_part(torch.cat([quiet, sentence, quiet]) + noise, AUDIO.sample_rate)
    speech, alone = power_of(sentence), power_of(noise)[: len(power_of(sentence))]
    made = SpeechAugmentation(AugmentConfig(), AUDIO)
    heard = spoken_frames((speech + alone) @ made.loudness, float((alone[:50] @ made.loudness).max()))
    kept = made._without_silence(speech + alone, alone, 1)
    assert np.array_equal(kept, (speech + alone)[heard])
    hop = AUDIO.hop * AUDIO.sample_rate
    assert abs(heard.start - (start - margin) / hop) <= 4
    assert abs((heard.stop or len(speech)) - (stop - margin) / hop) <= 8
    assert np.array_equal(made._without_silence(speech, None, len(speech)), speech)  # never too short
    assert np.array_equal(made._without_silence(speech[:60], None, 1), speech[:60])
    assert not made._without_silence(np.zeros((80, 40), np.float32), None, 1).any()


def test_masks_cover_their_bands_and_at_most_a_fifth():
    made = torch.ones(100, 40)
    mask_bands(made, [30, 0], [0.999, 0.5], axis=0)
    assert made.sum(1).tolist() == [40.0] * 80 + [0.0] * 20  # at most a fifth
    mask_bands(made, [4], [0.0], axis=1)
    assert not made[:, :4].any() and made[:80, 4:].all()


def test_augmentation_with_every_part_off_changes_nothing(spoken):
    made = augment(AugmentConfig(), spoken)
    assert (made - normalise(torch.from_numpy(spoken))).abs().max() < 1e-3


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_changes_a_recording_and_leaves_numbers(spoken, part):
    made = augment(with_parts(part), spoken)
    clean = normalise(torch.from_numpy(spoken))
    assert torch.isfinite(made).all()
    assert made.shape != clean.shape or (made - clean).abs().max() > 1e-2
    assert torch.equal(made, augment(with_parts(part), spoken))
    other = augment(with_parts(part), spoken, seed=1)
    assert made.shape != other.shape or not torch.equal(made, other)


def test_gain_matters_only_where_the_floor_is(spoken):
    loud = spoken + 5
    apart = augment(with_parts("gain"), loud) - normalise(torch.from_numpy(loud))
    assert apart[loud.min(1) > -4].abs().max() < 0.3 or (loud.min(1) > -4).sum() == 0


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_anything_can_be_augmented_and_stays_long_enough(frames):
    config = with_parts(*PARTS)
    silent = np.full((frames, 40), np.log(FLOOR), np.float32)
    for seed in range(5):
        for mel in (silent, np.random.default_rng(seed).standard_normal((frames, 40)).astype(np.float32)):
            made = augment(config, mel, seed, least=20)
            assert torch.isfinite(made).all() and len(made) >= min(frames, 20)


def test_a_pack_gives_back_log_mels_before_normalisation(pack):
    audio = AudioConfig()
    for index in (0, 5, 23):
        file = pack.folder.parents[1] / pack.caption(index).audio
        expected = log_mel(load_waveform(file, audio), audio).numpy()
        assert np.abs(pack.unnormalised(index) - expected).max() < 0.02


def dataset(pack: Pack, twice: bool = False) -> CaptionedImages:
    made = SpeechAugmentation(with_parts(*PARTS), AUDIO, 20)
    return CaptionedImages(pack, 3, 16, "speech", augmentation=made, twice=twice)


def test_a_recording_depends_on_seed_epoch_and_caption_alone(pack):
    whole = dataset(pack, twice=True)[2, np.arange(12)]
    for batch in (
        dataset(pack, twice=True)[2, np.array([7, 3])],
        dataset(pack, twice=True)[2, np.array([3])],
    ):
        row = len(batch) - 1
        frames, others = int(batch.mel_lengths[row]), int(batch.other_mel_lengths[row])
        assert frames == whole.mel_lengths[3] and others == whole.other_mel_lengths[3]
        assert torch.equal(batch.mels[row, :, :frames], whole.mels[3, :, :frames])
        assert torch.equal(batch.other_mels[row, :, :others], whole.other_mels[3, :, :others])
        assert not batch.mels[row, :, frames:].any()
    assert whole.mels.shape != whole.other_mels.shape or not torch.equal(whole.mels, whole.other_mels)
    later = dataset(pack)[3, np.arange(12)]
    assert later.other_mels is None and not torch.equal(later.mel_lengths, whole.mel_lengths)


def test_loader_processes_and_a_restart_change_nothing(pack):
    first = list(islice(endless_batches(dataset(pack, twice=True), 4, seed=3), 5))
    others = islice(endless_batches(dataset(pack, twice=True), 4, seed=3, workers=1, step=2), 3)
    for batch, other in zip(first[2:], others, strict=True):
        assert torch.equal(batch.mels, other.mels) and torch.equal(batch.other_mels, other.other_mels)


def test_batches_hold_recordings_of_about_one_augmented_length(pack):
    plain, made = CaptionedImages(pack, 3, 16, "speech"), dataset(pack)
    timing = made.timings(0)[0]
    expected = timing.lengths(plain._lengths[plain.plan(0).captions])
    assert np.array_equal(made.lengths(0), expected[made.candidates])
    assert (made.lengths(0) != plain.lengths(0)).any()


def test_a_second_recording_of_the_same_words_is_preferred(tmp_path):
    write_tiny_data(tmp_path, train=4, val=0, classes=2, captions=3)
    manifest = tmp_path / "manifest.jsonl"
    records = read_manifest(manifest)
    same = tuple(replace(c, text="one" if n < 2 else "two") for n, c in enumerate(records[0].captions))
    write_manifest(manifest, [replace(records[0], captions=same), *records[1:]])
    build_pack(tiny_config(tmp_path), ["train"])
    pair = CaptionedImages(Pack(tmp_path / "pack" / "train"), 3, 16, "speech", twice=True)
    assert pair._others(np.array([0, 1, 2]), 0).tolist() == [1, 0, 2]
    batch = pair[0, np.arange(4)]
    assert batch.other_mels is not None


def test_augmentation_needs_log_mels(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("audio: {front_end: HUBERT_BASE}\ndata: {augment: {noise: {probability: 0.5}}}\n")
    with pytest.raises(InputError, match="expected audio.front_end log_mel with data.augment"):
        load_config(file)


def test_a_generator_hears_altered_recordings_only_where_something_alters_them(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("gan: {augment_recordings: true}\n")
    with pytest.raises(InputError, match="expected a probability above 0 in data.augment .* found none"):
        load_config(file)
    file.write_text("gan: {augment_recordings: true}\ndata: {augment: {noise: {probability: 0.5}}}\n")
    assert load_config(file).gan.augment_recordings


def test_strengths_are_kept_where_only_a_probability_is_given(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "data: {augment: {rate: {probability: 0.5}, noise: {probability: 0.2, least_ratio: 0}}}\n"
    )
    config = load_config(file).data.augment
    assert config.rate == AugmentPart(0.5, AugmentConfig().rate.strength)
    assert config.noise == NoisePart(0.2, 0.0)
