"""Recordings of phones and browsers, decoded by PyAV where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from s2i.data import sound_containers, sound_files
from s2i.data.file_kinds import FOREIGN_RECORDINGS, RECORDINGS, foreign
from s2i.data.sound_containers import ENDINGS, can_decode, is_container
from s2i.data.sound_files import check_recording, read_recording, readable_endings
from s2i.errors import InputError

RATE = 48000
KINDS = {
    "m4a": ("mp4", "aac"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "pcm_s16le"),
    "aac": ("adts", "aac"),
}
needs_av = pytest.mark.skipif(not can_decode(), reason="needs av")


def write(path, seconds=1.0, channels=1):
    """A tone of 440 Hz, louder on the left, in the container that the ending names."""
    import av

    kind, codec = KINDS[path.suffix[1:]]
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE)
    samples = np.stack([tone, tone / 2][:channels])
    with av.open(str(path), "w", format=kind) as container:
        track = container.add_stream(codec, rate=RATE, layout="stereo" if channels == 2 else "mono")
        whole = av.AudioFrame.from_ndarray(samples.astype(np.float32), "fltp", track.layout.name)
        whole.rate = RATE
        resampler = av.AudioResampler(track.format, track.layout, RATE, track.codec_context.frame_size)
        for frame in (*resampler.resample(whole), *resampler.resample(None)):
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return tone


@needs_av
@pytest.mark.parametrize("ending", KINDS)
def test_the_sound_of_a_phone_or_a_browser_is_that_which_was_recorded(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    tone = write(path)
    check_recording(path, 2)
    samples, rate = read_recording(path, 2)
    assert rate == RATE and samples.dtype == np.float32 and samples.shape[1] == 1
    assert abs(len(samples) - len(tone)) < 4096  # a codec pads its first and last frame
    spectrum = np.abs(np.fft.rfft(samples[4096:-4096, 0]))
    loudest = spectrum.argmax() * RATE / (len(samples) - 2 * 4096)
    assert loudest == pytest.approx(440, abs=3)
    assert np.abs(samples[4096:-4096]).max() == pytest.approx(0.4, abs=0.06)


@needs_av
def test_channels_stay_apart_and_content_decides(tmp_path):
    write(tmp_path / "a.mka", channels=2)
    (tmp_path / "a.mka").rename(tmp_path / "a.wav")
    samples, _ = read_recording(tmp_path / "a.wav", 2)
    assert samples.shape == (RATE, 2)
    assert np.abs(samples[:, 0]).max() == pytest.approx(0.4, abs=1e-3)
    assert np.abs(samples[:, 1]).max() == pytest.approx(0.2, abs=1e-3)


@needs_av
def test_what_is_too_long_broken_or_has_no_sound_is_refused(tmp_path):
    write(tmp_path / "a.m4a", 3.0)
    for read in (check_recording, read_recording):
        with pytest.raises(InputError, match="at most 2 s of speech, found more in .*a.m4a: cut it"):
            read(tmp_path / "a.m4a", 2)
    whole = (tmp_path / "a.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.webm").write_bytes(b"\x1aE\xdf\xa3" + bytes(200))
    for name in ("cut.m4a", "head.webm"):
        with pytest.raises(InputError, match=f"found a broken one in .*{name}: make it again"):
            read_recording(tmp_path / name, 9)


def test_without_a_decoder_the_kinds_are_not_offered_and_a_line_says_how(tmp_path, monkeypatch):
    for module in (sound_containers, sound_files):
        monkeypatch.setattr(module, "can_decode", lambda: False)
    monkeypatch.setattr("s2i.data.file_kinds.can_decode", lambda: False)
    assert readable_endings() == RECORDINGS and foreign(".m4a").endswith("or pip install av")
    assert "pip" not in foreign(".ape")
    (tmp_path / "a.webm").write_bytes(b"\x1aE\xdf\xa3" + bytes(200))
    with pytest.raises(InputError, match=r"found \.webm, which can't be decoded here"):
        check_recording(tmp_path / "a.webm", 9)


def test_with_a_decoder_they_are(monkeypatch):
    monkeypatch.setattr(sound_files, "can_decode", lambda: True)
    assert set(readable_endings()) == set(RECORDINGS) | set(ENDINGS)
    assert set(ENDINGS) <= set(FOREIGN_RECORDINGS)


@pytest.mark.parametrize(
    "head, known",
    [
        (b"\0\0\0\x20ftypM4A ", True),
        (b"\x1aE\xdf\xa3\x01\0\0\0", True),
        (b"#!AMR\n", True),
        (b"\xff\xf1\x50\x80", True),
        (b"\xff\xfb\x90\x64", False),  # MP3
        (b"RIFF\0\0\0\0WAVE", False),
        (b"", False),
    ],
)
def test_containers_are_known_by_their_first_bytes(head, known):
    assert is_container(head) == known
