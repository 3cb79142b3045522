"""Speech by Tacotron2: loaded as torchaudio does it; clips that are whole, the same, of a likely length."""

from __future__ import annotations

import sys
import urllib.error

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from data_prep import synthesize_speech
from data_prep.voices import speak as voices_speak
from data_prep.voices.tacotron2 import Tacotron2Voice
from s2i.data.manifest import Caption, ImageRecord, read_manifest, write_manifest
from s2i.errors import InputError
from tests.fixtures.tacotron import tiny_pipeline, write_tiny_weights

NAME = "TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH"
WAVERNN = "TACOTRON2_WAVERNN_CHAR_LJSPEECH"
TEXTS = ["a small red bird", "a bird", "this one is blue"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> list[str]:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(torchaudio.pipelines, NAME, tiny_pipeline())
    monkeypatch.setattr(torchaudio.pipelines, WAVERNN, tiny_pipeline("wavernn"))


def speak(root, weights, *more: str) -> list[ImageRecord]:
    captions = tuple(Caption(text, None, None, None) for text in TEXTS)
    german = Caption("ein Vogel", None, None, "de")
    write_manifest(
        root / "in.jsonl", [ImageRecord("7", "7.png", None, 0, "Wren", "test", (*captions, german))]
    )
    words = ["--manifest", root / "in.jsonl", "--root", root, "--output", root / "out.jsonl", "--voice", NAME]
    synthesize_speech.main([*map(str, words), "--weights", weights[0], *more])
    return read_manifest(root / "out.jsonl")


def clips(root) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "audio").glob("*/*.flac")}


def test_captions_are_spoken_by_the_pipeline_and_others_left(tmp_path, weights):
    (made,) = speak(tmp_path, weights)
    for caption in made.captions[:3]:
        waveform, sample_rate = soundfile.read(tmp_path / caption.audio)
        # Griffin-Lim's frames of 256 samples, centred: one step fewer than 24.
        assert sample_rate == 22050 and len(waveform) == 23 * 256 and np.isfinite(waveform).all()
        assert caption.speaker == f"tacotron2/{NAME}" and caption.language == "en"
    assert made.captions[3] == Caption("ein Vogel", None, None, "de")


def test_wavernn_cuts_each_sentence_of_a_block_at_its_own_end(weights, monkeypatch):
    voice = Tacotron2Voice(WAVERNN, weights)
    infer = voice._tacotron2.infer

    def with_lengths(tokens, lengths):
        mels, _, rest = infer(tokens, lengths)
        return mels, torch.tensor([20, 10]), rest

    monkeypatch.setattr(voice._tacotron2, "infer", with_lengths)
    assert [len(waveform) for waveform in voice.speak(["a bird", "a small red bird"])] == [10 * 6, 20 * 6]


def test_speaking_is_a_function_of_texts_and_attempt_and_leaves_the_random_state_alone(weights):
    voice = Tacotron2Voice(WAVERNN, weights)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = voice.speak(TEXTS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    again, other = Tacotron2Voice(WAVERNN, weights).speak(TEXTS), voice.speak(TEXTS, attempt=1)
    assert all(map(np.array_equal, first, again)) and not any(map(np.array_equal, first, other))


def test_killed_run_continues_to_the_same_clips_and_a_finished_one_speaks_no_more(
    tmp_path, weights, monkeypatch
):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    by_two = "--block", "2"
    speak(tmp_path / "whole", weights, *by_two)
    write, written = voices_speak.write_clip, []

    def die_at_the_second(*clip):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(write(*clip))

    monkeypatch.setattr(voices_speak, "write_clip", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        speak(tmp_path / "killed", weights, *by_two)
    assert len(clips(tmp_path / "killed")) == 1 and not (tmp_path / "killed/out.jsonl").exists()
    monkeypatch.setattr(voices_speak, "write_clip", write)
    speak(tmp_path / "killed", weights, *by_two)
    assert clips(tmp_path / "killed") == clips(tmp_path / "whole") and len(clips(tmp_path / "whole")) == 3
    monkeypatch.setattr(Tacotron2Voice, "speak", lambda *_: pytest.fail("spoke again"))
    speak(tmp_path / "killed", weights, *by_two)


def test_clip_of_a_wrong_length_is_tried_again_and_refused_in_the_end(tmp_path, weights, monkeypatch):
    attempts = []

    def babble(voice, texts, attempt=0):
        attempts.append(attempt)
        return [np.ones(22050 * (2 if attempt == 2 else 60), np.float32) for _ in texts]

    monkeypatch.setattr(Tacotron2Voice, "speak", babble)
    speak(tmp_path, weights)
    assert attempts == [0, 1, 2, 1, 2, 1, 2] and len(clips(tmp_path)) == 3
    monkeypatch.setattr(Tacotron2Voice, "speak", lambda voice, texts, attempt=0: [np.zeros(0)] * len(texts))
    (tmp_path / "silent").mkdir()
    with pytest.raises(InputError, match="found silence for caption 1 of image 7.*4 times: 'a bird'"):
        speak(tmp_path / "silent", weights)


@pytest.mark.parametrize("text", ["a small red bird " * 20, "redbird" * 90])
def test_over_long_caption_is_refused_before_anything_is_spoken(tmp_path, weights, monkeypatch, text):
    monkeypatch.setattr(Tacotron2Voice, "speak", lambda *_: pytest.fail("spoke"))
    monkeypatch.setattr(sys.modules[__name__], "TEXTS", ["a bird", text])
    with pytest.raises(InputError, match="up to 23 s, the most that tacotron2 speaks, .* caption 1 of image"):
        speak(tmp_path, weights)


def test_text_without_a_letter_is_silence(weights):
    assert [len(waveform) > 0 for waveform in Tacotron2Voice(NAME, weights[:1]).speak(["§", "a"])] == [
        False,
        True,
    ]


def test_one_sentence_is_written_to_a_file(tmp_path, weights):
    output = tmp_path / "bird.wav"
    words = ["--text", TEXTS[0], "--output", str(output), "--voice", WAVERNN, "--weights", *weights]
    synthesize_speech.main(words)
    waveform, sample_rate = soundfile.read(output)
    assert sample_rate == 22050 and len(waveform) == 24 * 6


def test_one_sentence_is_spoken_by_the_pipeline_that_is_named(tmp_path, weights):
    output = tmp_path / "bird.wav"
    words = ["--text", TEXTS[0], "--output", str(output), "--voice"]
    synthesize_speech.main([*words, NAME, "--weights", weights[0]])  # no network of a vocoder
    assert soundfile.info(output).frames
    with pytest.raises(InputError, match="piper, espeak-ng, recordings, s2igan or Tacotron2, found 'nosuch'"):
        synthesize_speech.main([*words, "nosuch"])


def test_weights_are_downloaded_by_torchaudio_where_no_file_is_given(tmp_path, weights, monkeypatch):
    asked = []

    def download(url, path, *_, **__):
        asked.append(url)
        with open(weights[0], "rb") as source, open(path, "wb") as target:
            target.write(source.read())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetched, given = Tacotron2Voice(NAME), Tacotron2Voice(NAME, weights[:1])
    assert np.array_equal(fetched.speak(TEXTS[:1])[0], given.speak(TEXTS[:1])[0])
    assert asked == ["https://download.pytorch.org/torchaudio/models/tiny-tacotron2.pth"]
    assert fetched.version != given.version

    def no_network(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "other"))
    with pytest.raises(InputError, match="download the weights of Tacotron2 .*no network.*give the file"):
        Tacotron2Voice(NAME).speak(TEXTS)


@pytest.mark.parametrize(
    "name, files, message",
    [
        ("TACOTRON3", [], "espeak-ng, recordings, s2igan or Tacotron2, found 'TACOTRON3'.*WAVERNN_CHAR"),
        ("HUBERT_BASE", [], "found 'HUBERT_BASE'"),
        (NAME, ["nowhere.pth"], "expected weights at nowhere.pth, found"),
        (WAVERNN, [0], "expected 2 files of weights"),
        (NAME, [1], "expected the weights of Tacotron2 in .*found: Error.* in loading state_dict"),
    ],
)
def test_wrong_voice_or_weights_are_an_input_error(tmp_path, weights, name, files, message):
    chosen = [weights[file] if isinstance(file, int) else file for file in files]
    with pytest.raises(InputError, match=message):
        speak(tmp_path, weights, "--voice", name, "--weights", *(chosen or weights[:1]))
    assert not (tmp_path / "out.jsonl").exists()


def test_phonemes_without_their_package_are_an_input_error(monkeypatch):
    monkeypatch.setattr(torchaudio._internal.module_utils, "is_module_available", lambda *_: False)
    with pytest.raises(InputError, match="package deep-phonemizer for TACOTRON2_GRIFFINLIM_PHONE_LJSPEECH"):
        Tacotron2Voice("TACOTRON2_GRIFFINLIM_PHONE_LJSPEECH").speak(TEXTS)
