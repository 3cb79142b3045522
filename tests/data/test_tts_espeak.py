"""When each word begins, by espeak-ng's own events: rising times inside of the samples that `speak` gives."""

from __future__ import annotations

import numpy as np
import pytest

from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.metrics.boundaries import TOLERANCES, score_boundaries


@pytest.fixture(scope="module")
def espeak():
    with arranged_voices() as folder:
        yield Espeak(folder)


def test_each_word_begins_once_in_the_samples_of_speak(espeak):
    text = "a small red bird with a short blue beak"
    samples, rate = espeak.speak(text, "en-us", 175, 50)
    same, rate_again, begins = espeak.speak_words(text, "en-us", 175, 50)
    assert np.array_equal(samples, same) and rate == rate_again
    assert len(begins) == len(text.split()) and (np.diff(begins) > 0.03).all()
    assert 0 <= begins[0] < 0.1 and begins[-1] < len(samples) / rate - 0.1
    for tolerance in TOLERANCES:
        assert score_boundaries([begins[1:]], [begins[1:]], tolerance).f1 == 1


def test_a_word_begins_later_where_more_is_said_before_it_or_more_slowly(espeak):
    def last(text: str, rate: int = 175) -> float:
        return float(espeak.speak_words(text, "en-us", rate, 50)[2][-1])

    assert last("red bird") < last("yellow bird") < last("yellow bird", 110)


def test_a_word_begins_where_silence_ends(espeak):
    samples, rate, begins = espeak.speak_words("red, bird", "en-us", 175, 50)
    level = np.array([np.abs(part).max() for part in np.array_split(samples, len(samples) * 100 // rate)])
    heard = np.flatnonzero(level > 0.02) / 100
    after_the_pause = heard[1:][np.diff(heard) > 0.08]
    assert len(begins) == 2 and np.abs(after_the_pause - begins[1]).min() < 0.06


def test_nothing_to_pronounce_has_no_words(espeak):
    samples, _, begins = espeak.speak_words("...", "en-us", 175, 50)
    assert len(samples) == len(begins) == 0
