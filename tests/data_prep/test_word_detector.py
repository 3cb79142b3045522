"""Synthesisers that tell when their words begin, and a detector that they teach."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch

from data_prep import word_detector
from data_prep.utterances import Utterance
from data_prep.voices.espeak import EspeakFamily
from data_prep.voices.festival import FestivalFamily
from data_prep.voices.flite import FliteFamily
from data_prep.voices.word_times import TimedSound, timed_sounds
from data_prep.word_detector import CONFIG, heard_words, spoken_words, teach
from s2i.data.audio import log_mel, normalise
from s2i.errors import InputError
from s2i.metrics.boundaries import score_boundaries, uniform_boundaries

TEXT = "A red-winged bird, with a short blue beak."
WORDS = 9  # a hyphen joins none

needs_flite = pytest.mark.skipif(not shutil.which("flite"), reason="apt install flite")
needs_festival = pytest.mark.skipif(bool(FestivalFamily().missing([])), reason="apt install festival ...")


def check_times(sound: TimedSound) -> None:
    """A word a beginning, the first where the sound begins; it is silent before the pause's comma ends."""
    assert len(sound.begins) == WORDS and sorted(set(sound.begins)) == sound.begins
    loud = np.flatnonzero(np.abs(sound.waveform) > 0.02) / sound.sample_rate
    assert abs(sound.begins[0] - loud[0]) < 0.08
    assert sound.begins[-1] < loud[-1] < sound.begins[-1] + 0.8


def test_espeak_tells_when_its_words_begin():
    with EspeakFamily() as family:
        values = family.usual_values()
        texts = [TEXT, "...", "bird"]
        said = [Utterance(text, "en", family.name, "en-us+f2", values) for text in texts]
        sounds = timed_sounds(family, said)
    check_times(sounds[0])
    assert len(sounds) == 2 and len(sounds[1].begins) == 1


@needs_flite
def test_flite_tells_when_its_words_begin_at_any_rate_and_pitch():
    family = FliteFamily()
    values = {"kal16": (1.0, 1.0), "rms": (1.0, 1.15), "slt": (0.8, 1.0)}
    said = [Utterance(TEXT, "en", family.name, voice, value) for voice, value in values.items()]
    for sound in timed_sounds(family, said):
        check_times(sound)


@needs_festival
def test_festival_tells_when_its_words_begin_at_any_rate_and_pitch(tmp_path):
    family = FestivalFamily()
    values = [(1.0, 1.0), (1.2, 0.9)]
    said = [
        Utterance(TEXT, "en", family.name, voice, value) for voice in family.installed for value in values
    ]
    sounds = timed_sounds(family, said)
    assert len(sounds) == len(said)
    for sound in sounds:
        check_times(sound)


def test_what_is_heard_of_a_sentence_begins_where_its_silence_is_cut():
    time = np.arange(22050) / 22050
    tone = (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    sound = TimedSound(np.pad(tone, 22050), 22050, [1.0, 1.4, 1.75])
    mel, begins = heard_words(sound)
    assert begins == pytest.approx([0.41, 0.76], abs=0.02)  # .01 s of silence is kept
    assert len(mel) * CONFIG.hop == pytest.approx(1.02, abs=0.03)


def test_sentences_are_altered_without_moving_their_words(monkeypatch):
    wave = torch.randn(22050, generator=torch.Generator().manual_seed(0)) * 0.1
    wave[:8000] *= 1e-3  # silence, which augmentation would cut
    mel = log_mel(wave, CONFIG)
    given = {}

    def train(mels, boundaries, hop, seed):
        given.update(mels=mels, boundaries=boundaries)
        return word_detector.WordDetector(CONFIG.mel_bins)

    monkeypatch.setattr(word_detector, "train_word_detector", train)
    teach([(mel, [0.36])] * 8, [(mel, [0.36])])
    assert given["boundaries"] == ([0.36],) * 16
    for altered_mel in given["mels"]:
        loudness = altered_mel[: len(mel)].mean(1)
        assert len(altered_mel) >= len(mel) and loudness[40:90].mean() > loudness[:34].mean()
    assert torch.equal(given["mels"][0], normalise(mel)) and not torch.equal(*given["mels"][8:10])


def test_a_detector_finds_words_of_other_sentences_and_is_written(tmp_path, capsys):
    state = torch.get_rng_state()
    words = ["--families", "espeak-ng", "--count", "48", "--output", str(tmp_path / "x.safetensors")]
    word_detector.main(words)
    assert torch.equal(torch.get_rng_state(), state)
    printed = capsys.readouterr().out
    [score] = re.findall(r"espeak-ng, taught: 8 sentences, .* detector [\d.]+, ([\d.]+); spectral", printed)
    assert float(score) > 0.7 and (tmp_path / "x.safetensors").stat().st_size < 100_000
    spoken = spoken_words(["espeak-ng"], 12, seed=1)["espeak-ng"]
    uniform = [uniform_boundaries(len(mel) * CONFIG.hop, 0.3) for mel, _ in spoken]
    assert score_boundaries([begins for _, begins in spoken], uniform, 0.05).f1 < 0.5


def test_families_that_tell_no_times_are_refused():
    with pytest.raises(InputError, match="tells when it begins a word .* found piper"):
        spoken_words(["piper"], 12)
    with pytest.raises(InputError, match="found flite in both lists"):
        word_detector.main(["--families", "flite", "--test", "flite"])
    with pytest.raises(InputError, match="expected --count of 12 or more, found 3"):
        word_detector.main(["--count", "3"])
