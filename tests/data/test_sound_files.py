"""Sound files: whole ones of many kinds are read to their end, cut ones are refused by their headers."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2i.data.file_kinds import FOREIGN_RECORDINGS, RECORDINGS
from s2i.data.sound_files import MOST_CHANNELS, check_recording, read_recording
from s2i.errors import InputError

RATE, COUNT = 24000, 30000
KINDS = (
    ("a.wav", "WAV", "PCM_16"),
    ("b.wav", "WAV", "FLOAT"),
    ("c.wav", "WAV", "IMA_ADPCM"),
    ("d.wav", "WAVEX", "PCM_24"),
    ("e.wav", "RF64", "PCM_16"),
    ("a.w64", "W64", "PCM_16"),
    ("a.aiff", "AIFF", "PCM_16"),
    ("b.aiff", "AIFF", "FLOAT"),
    ("a.au", "AU", "PCM_16"),
    ("a.caf", "CAF", "PCM_16"),
    ("a.flac", "FLAC", "PCM_16"),
    ("a.ogg", "OGG", "VORBIS"),
    ("a.opus", "OGG", "OPUS"),
    ("a.mp3", "MP3", "MPEG_LAYER_III"),
)
TOLD_BY_HEADER = [kind for kind in KINDS if kind[1] != "FLAC"]  # of a FLAC, decoding tells it


def tone(channels: int = 1) -> np.ndarray:
    voice = 0.3 * np.sin(0.1 * np.arange(COUNT)) + 0.01 * np.random.default_rng(0).normal(size=COUNT)
    return np.stack([voice] * channels, axis=1)


def write(folder: Path, name: str, kind: str, encoding: str, channels: int = 1) -> bytes:
    soundfile.write(folder / name, tone(channels), RATE, format=kind, subtype=encoding)
    return (folder / name).read_bytes()


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_whole_file_is_read_to_its_end(tmp_path, kind, channels):
    write(tmp_path, *kind, channels)
    check_recording(tmp_path / kind[0], 60)
    samples, rate = read_recording(tmp_path / kind[0], 60)
    assert rate == RATE and samples.dtype == np.float32 and samples.shape[1] == channels
    assert COUNT <= len(samples) < COUNT + 2000
    if kind[2] in ("PCM_16", "PCM_24", "FLOAT"):
        assert np.abs(samples - tone(channels)).max() < 1e-4


@pytest.mark.parametrize("kind", TOLD_BY_HEADER, ids=" ".join)
@pytest.mark.parametrize("part", [0.34, 0.5, 0.9, -100, -1])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_that_is_cut_short_is_refused_from_its_header(tmp_path, kind, part, channels):
    content = write(tmp_path, *kind, channels)
    (tmp_path / kind[0]).write_bytes(content[: int(part * len(content)) if part > 0 else part])
    with pytest.raises(InputError, match="cut short") as caught:
        check_recording(tmp_path / kind[0], 60)
    assert str(tmp_path / kind[0]) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_no_cut_is_read(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("cut")
    content = write(folder, *kind)

    @settings(deadline=None)
    @given(st.integers(1, len(content) - 1))
    @example(10)  # in the middle of the header
    def refuse(length: int) -> None:
        (folder / kind[0]).write_bytes(content[:length])
        try:
            samples, _ = read_recording(folder / kind[0], 60)
        except InputError:
            return
        assert len(samples) == 0  # of a header alone, which says so

    refuse()


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36, 0xFFFFFFFF])
def test_a_wav_out_of_a_pipe_is_read_to_the_end_of_the_file(tmp_path, length):
    content = bytearray(write(tmp_path, "a.wav", "WAV", "PCM_16"))
    at = content.index(b"data") + 4
    content[4:8] = struct.pack("<I", min(length + 36, 0xFFFFFFFF))
    content[at : at + 4] = struct.pack("<I", length)
    (tmp_path / "a.wav").write_bytes(content)
    samples, _ = read_recording(tmp_path / "a.wav", 60)
    assert len(samples) == COUNT and (tmp_path / "a.wav").read_bytes() == content
    with pytest.raises(InputError, match="at most 0.5 s"):
        read_recording(tmp_path / "a.wav", 0.5)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_an_au_out_of_a_pipe_is_read_to_the_end_of_the_file(tmp_path, length):
    content = bytearray(write(tmp_path, "a.au", "AU", "PCM_16"))
    content[8:12] = struct.pack(">I", length)
    (tmp_path / "a.au").write_bytes(content)
    assert len(read_recording(tmp_path / "a.au", 60)[0]) == COUNT


def test_what_stands_behind_the_sound_is_none(tmp_path):
    content = write(tmp_path, "a.wav", "WAV", "PCM_16") + b"LIST" + struct.pack("<I", 4000) + 4000 * b"x"
    (tmp_path / "a.wav").write_bytes(content)
    assert len(read_recording(tmp_path / "a.wav", 60)[0]) == COUNT
    empty = bytearray(content[:44]) + content[-4008:]  # no samples, and words about them
    empty[40:44], empty[4:8] = struct.pack("<I", 0), struct.pack("<I", len(empty) - 8)
    (tmp_path / "a.wav").write_bytes(empty)
    assert len(read_recording(tmp_path / "a.wav", 60)[0]) == 0


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [22050, 44100])
def test_an_mp3_that_does_not_count_its_frames_is_read_to_its_end(tmp_path, mode, rate):
    """libsndfile alone reads 57,517 of 132,300 samples of the one at 22,050 Hz."""
    random = np.random.default_rng(0)
    samples = np.concatenate([1e-3 * random.normal(size=3 * rate), 0.2 * random.normal(size=3 * rate)])
    path = tmp_path / "a.mp3"
    with soundfile.SoundFile(
        path, "w", rate, 1, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode
    ) as file:
        file.write(samples)
    counted, _ = read_recording(path, 60)
    content = path.read_bytes()
    second = content.index(content[:2], 4)  # each frame begins with the same bits
    assert b"Info" in content[:second] or b"Xing" in content[:second]
    path.write_bytes(content[second:])  # without the frame that counts the others
    check_recording(path, 60)
    uncounted, _ = read_recording(path, 60)
    assert len(counted) == len(samples) <= len(uncounted) < len(samples) + 4000
    with pytest.raises(InputError, match="at most 2 s of speech, found more"):
        read_recording(path, 2)


@pytest.mark.parametrize("ending", FOREIGN_RECORDINGS)
def test_what_cannot_be_decoded_is_refused_with_a_reason(tmp_path, ending):
    path = tmp_path / f"a{ending.upper()}"
    path.write_bytes(np.random.default_rng(0).bytes(80_000))
    for read in (check_recording, read_recording):
        with pytest.raises(InputError, match=f"found {ending}, which .*: (convert|save)"):
            read(path, 60)


def test_content_decides_and_not_the_ending(tmp_path):
    write(tmp_path, "a.wav", "WAV", "PCM_16")
    for ending in (*RECORDINGS, ".raw", ".m4a", ".txt", ""):
        shutil.copy(tmp_path / "a.wav", tmp_path / f"b{ending}")
        assert len(read_recording(tmp_path / f"b{ending}", 60)[0]) == COUNT


@pytest.mark.parametrize("rate", [1, 999, 2_000_001, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    content = bytearray(write(tmp_path, "a.wav", "WAV", "PCM_16"))
    content[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(content)
    for read in (check_recording, read_recording):
        with pytest.raises(InputError, match=f"1,000 to 2,000,000 Hz, found {rate:,} Hz in .*a.wav"):
            read(tmp_path / "a.wav", 60)


def test_too_many_channels_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((2000, MOST_CHANNELS + 1)), RATE)
    with pytest.raises(InputError, match="at most 32 channels, found 33"):
        check_recording(tmp_path / "a.wav", 60)
