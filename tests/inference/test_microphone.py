"""The microphone: a countdown, a meter, and an end when nobody speaks any more. A stand-in for its stream."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from PIL import Image

from s2i import cli
from s2i.data.images import to_uint8
from s2i.errors import InputError
from s2i.inference import microphone
from s2i.inference.microphone import BLOCK, SILENCE, is_over, level, meter, record
from s2i.inference.model import load
from tests.fixtures.models import write_tiny_run

RATE = 16000


def voice(seconds: float) -> np.ndarray:
    return 0.3 * np.sin(np.cumsum(np.random.default_rng(0).uniform(0.02, 0.2, round(seconds * RATE))))


def sounddevice(monkeypatch, samples=None, error=None, overflows=False) -> list[int]:
    """A stand-in for the package; returns the samples that were read of it, call by call."""
    read: list[int] = []

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, samplerate, channels, dtype, blocksize):
            assert (samplerate, channels, dtype, blocksize) == (RATE, 1, "float32", round(BLOCK * RATE))

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def read(self, size):
            start = sum(read)
            read.append(size)
            return samples[start : start + size].astype(np.float32)[:, None], overflows

    def query_devices(kind):
        assert kind == "input"
        if error:
            raise PortAudioError(error)
        return {"default_samplerate": float(RATE)}

    fake = types.SimpleNamespace(
        PortAudioError=PortAudioError, query_devices=query_devices, InputStream=InputStream
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(microphone.time, "sleep", lambda seconds: None)
    return read


def test_a_recording_ends_when_nobody_speaks_any_more(monkeypatch, capsys):
    hiss = 0.002 * np.random.default_rng(1).normal(size=30 * RATE)
    said = hiss + 0.2  # an offset is no sound
    said[RATE : 2 * RATE] += voice(1)
    said[round(2.6 * RATE) : round(3.4 * RATE)] += voice(0.8)  # after a pause of .6 s
    sounddevice(monkeypatch, said)
    samples, rate = record(20)
    assert rate == RATE and samples.dtype == np.float32 and samples.shape[1] == 1
    assert len(samples) / RATE == pytest.approx(3.4 + SILENCE, abs=2 * BLOCK)
    messages = capsys.readouterr().err.splitlines()
    assert messages[:4] == [
        "speak in 3 s",
        "speak in 2 s",
        "speak in 1 s",
        "recording, at most 20 s, until you fall silent",
    ]
    assert messages[-1] == f"recorded {len(samples) / RATE:.1f} s"


@pytest.mark.parametrize("kind", ["hiss", "speech", "clicks"])
def test_where_nobody_falls_silent_it_ends_after_the_given_time(monkeypatch, kind, capsys):
    samples = 0.002 * np.random.default_rng(1).normal(size=5 * RATE)
    if kind == "speech":
        samples += voice(5)
    elif kind == "clicks":
        samples[RATE :: 2 * RATE] = 0.9
    sounddevice(monkeypatch, samples, overflows=True)
    assert len(record(4)[0]) == 4 * RATE
    assert "some of the sound is missing" in capsys.readouterr().err


def test_speech_from_the_first_block_on_is_waited_for():
    loud, quiet = [-20.0], [-60.0]
    silent = round(SILENCE / BLOCK)
    assert not is_over([]) and not is_over(loud * 100) and not is_over(quiet * 100)
    assert not is_over(loud * 20 + quiet * (silent - 1)) and is_over(loud * 20 + quiet * silent)
    assert not is_over(quiet * 40 + loud * 2 + quiet * silent)  # a click
    assert not is_over(quiet * 40 + [-52.0] * 9 + quiet * silent)  # too little over the background


def test_the_meter_is_one_line_of_one_width(monkeypatch, capsys):
    assert level(np.full(100, 0.5)) == -80 and level(np.array([1.0, -1.0] * 50)) == pytest.approx(0)
    lines = [meter(1.25, decibels) for decibels in (-80, -30, -3, 0)]
    assert [line.count("#") for line in lines] == [0, 15, 28, 30] and len({len(line) for line in lines}) == 1
    assert "too loud" in lines[2] and "too loud" not in lines[1]
    sounddevice(monkeypatch, voice(1))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    record(0.5)
    assert capsys.readouterr().err.count("\r") == 10


def test_a_recording_from_the_microphone_is_generated(tmp_path, monkeypatch, capsys):
    model = write_tiny_run(tmp_path / "run")
    sounddevice(monkeypatch, voice(1))
    words = ["generate", "--model", str(model), "--record", "1", "--output", str(tmp_path / "y.png")]
    cli.main(words)
    generated = np.asarray(Image.open(tmp_path / "y.png"))
    path, encoding = load(model).encode(speech=(voice(1).astype(np.float32)[:, None], RATE))
    assert np.array_equal(generated, to_uint8(path.generate(encoding, ["0"]).images[-1][0]))
    sounddevice(monkeypatch, np.zeros(RATE))
    with pytest.raises(SystemExit):
        cli.main(words)
    assert "found silence" in capsys.readouterr().err


def test_no_microphone_and_no_package_are_one_line(monkeypatch):
    sounddevice(monkeypatch, error="Error querying device -1")
    with pytest.raises(InputError, match="expected a microphone .*Error querying device -1"):
        record(1)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[mic\]'"):
        record(1)
