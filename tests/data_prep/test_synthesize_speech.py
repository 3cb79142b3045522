"""Speech by espeak-ng: voices, held-out voices, clips that are whole, the same and never made twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import synthesize_speech
from data_prep.voices.cast import Cast, choose_cast
from data_prep.voices.espeak import EspeakFamily
from data_prep.voices.family import Setting
from data_prep.voices.plan import FamilyPlan, Plan
from s2i.data.manifest import Caption, ImageRecord, read_manifest, write_manifest
from s2i.data.tts_espeak import Espeak, arranged_voices, speak
from s2i.errors import InputError, exit_on_input_error
from s2i.files.unfinished import PART

TEXT = "a small red bird with black wings"


@pytest.fixture(scope="module")
def espeak():
    with arranged_voices() as folder:
        yield Espeak(folder)


def espeak_cast(espeak: Espeak) -> Cast:
    family = EspeakFamily()
    family.espeak = espeak
    return choose_cast(Plan({"espeak-ng": FamilyPlan()}), {"espeak-ng": family}, ["en"])


def image(name: str, split: str, *texts: str | None, language: str | None = None) -> ImageRecord:
    captions = tuple(Caption(text, None if text else "given.wav", None, language) for text in texts)
    return ImageRecord(name, f"{name}.png", None, 0, "Wren", split, captions)


def run(root: Path, *images: ImageRecord, more: tuple[str, ...] = ()) -> list[ImageRecord]:
    write_manifest(root / "in.jsonl", images)
    words = ["--manifest", root / "in.jsonl", "--root", root, "--output", root / "out.jsonl"]
    synthesize_speech.main([*map(str, words), "--processes", "1", *more])
    return read_manifest(root / "out.jsonl")


def clips(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "audio").glob("*/*.flac")}


def test_a_manifest_that_cannot_be_read_leaves_no_folder(tmp_path):
    (tmp_path / "in.jsonl").write_text("{\n")
    words = ["--manifest", tmp_path / "in.jsonl", "--root", tmp_path, "--output", tmp_path / "out.jsonl"]
    with pytest.raises(InputError, match="in.jsonl, line 1"):
        synthesize_speech.main([*map(str, words), "--processes", "1"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_sentence_is_speech_of_a_plausible_length_without_silence_around_it():
    waveform, sample_rate = speak(TEXT, "en-us+f1", 175, 50)
    assert sample_rate == 22050 and waveform.dtype == np.float32 and waveform.ndim == 1
    assert 1.2 < len(waveform) / sample_rate < 4
    assert 0.1 < np.abs(waveform).max() <= 1
    heard = np.flatnonzero(np.abs(waveform) > 0.01)
    assert heard[0] / sample_rate < 0.1 and (len(waveform) - heard[-1]) / sample_rate < 0.1


def test_voice_rate_and_pitch_each_change_the_sound(espeak):
    slow = len(espeak.speak(TEXT, "en-us", 150, 50)[0])
    assert slow > 1.2 * len(espeak.speak(TEXT, "en-us", 210, 50)[0])
    plain = espeak.speak(TEXT, "en-us+m1", 175, 50)[0]
    for voice, pitch in (("en-us+f1", 50), ("en-gb+m1", 50), ("en-us+m1", 60)):
        assert not np.array_equal(plain, espeak.speak(TEXT, voice, 175, pitch)[0])


def test_same_request_gives_same_samples_whatever_was_spoken_before(espeak):
    # f3 has flutter, roughness, echo and seeded noise: everything that could run on.
    assert espeak.version.startswith("espeak-ng 1.")
    first = espeak.speak(TEXT, "en-us+f3", 175, 50)[0]
    espeak.speak("something else", "en-gb+m1", 200, 40)
    assert np.array_equal(first, espeak.speak(TEXT, "en-us+f3", 175, 50)[0])


def test_arranged_voice_is_the_one_that_espeak_finds_by_itself(espeak):
    import espeakng_loader

    original = Espeak(espeakng_loader.get_data_path())
    for voice in ("en-us+f1", "en-gb-scotland+m3", "de"):
        assert np.array_equal(espeak.speak(TEXT, voice, 175, 50)[0], original.speak(TEXT, voice, 175, 50)[0])


def test_manifest_gets_audio_speaker_and_language_and_keeps_the_rest(tmp_path):
    given = ImageRecord("1", "1.png", (1, 2, 3, 4), 7, "Wren", "train", (
        Caption(TEXT, None, None, None, ("wing",)), Caption("spoken already", "mine.wav", "me", "en"),
        Caption(None, "unwritten.wav", "her", None),
    ), {"wing": "black"})  # fmt: skip
    (made,) = run(tmp_path, given)
    spoken = made.captions[0]
    assert replace(spoken, audio=None, speaker=None, language=None) == given.captions[0]
    assert made.captions[1:] == given.captions[1:]
    assert replace(made, captions=given.captions) == given
    assert spoken.language == "en" and spoken.audio.startswith("audio/")
    waveform, sample_rate = soundfile.read(tmp_path / spoken.audio)
    assert sample_rate == 22050 and 1 < len(waveform) / sample_rate < 4 and np.abs(waveform).max() > 0.1


def test_half_of_test_captions_have_voices_that_no_other_split_has(espeak):
    cast = espeak_cast(espeak)
    voices = {"train": [], "val": [], "test": []}
    for split, split_voices in voices.items():
        for number in range(60):
            ten = image(f"{split}{number}", split, *[TEXT] * 10)
            chosen = cast.choose(ten, 0)
            split_voices += [utterance.voice for utterance in chosen.values()]
    unseen = set(voices["test"]) - set(voices["train"])
    assert len(set(voices["train"])) == 32 and set(voices["val"]) == set(voices["train"])
    assert len(unseen) == 12 and sum(voice in unseen for voice in voices["test"]) == 300
    variants = {name.partition("+")[2] for name in unseen}
    assert not variants & {name.partition("+")[2] for name in voices["train"]}


def test_choice_is_a_function_of_seed_image_and_number(espeak):
    cast = espeak_cast(espeak)
    one = cast.choose(image("1", "train", TEXT, TEXT, TEXT), 0)
    # A caption that is spoken already must not move the others.
    shorter = image("1", "train", TEXT, None, TEXT)
    other = cast.choose(shorter, 0)
    assert other == {0: one[0], 2: one[2]}
    assert cast.choose(shorter, 1) != other
    for choice in one.values():
        rate, pitch = choice.values
        assert 165 <= rate <= 225 and 35 <= pitch <= 65


def test_second_run_makes_no_clip_and_writes_the_same_manifest(tmp_path, monkeypatch):
    images = [image(str(number), "train", TEXT, "a blue bird") for number in range(3)]
    run(tmp_path, *images)
    first = (tmp_path / "out.jsonl").read_bytes()

    def refuse(*request):
        raise AssertionError("spoke again")

    monkeypatch.setattr(Espeak, "speak", refuse)
    run(tmp_path, *images)
    assert (tmp_path / "out.jsonl").read_bytes() == first and len(clips(tmp_path)) == 6


def test_same_request_shares_a_clip(tmp_path, monkeypatch):
    for name, setting in EspeakFamily.settings.items():
        fixed = Setting(setting.usual, (setting.usual, setting.usual), setting.limits, whole=True)
        monkeypatch.setitem(EspeakFamily.settings, name, fixed)
    made = run(tmp_path, *(image(n, "train", TEXT, TEXT) for n in "123"), more=("--voices", "en-us+m1"))
    assert len({caption.audio for image in made for caption in image.captions}) == 1
    assert len(clips(tmp_path)) == 1


def test_several_processes_make_the_same_bytes_as_one(tmp_path):
    images = [image(str(number), "test", *["a red bird", "a bird"] * 5) for number in range(11)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run(tmp_path / "one", *images)
    run(tmp_path / "two", *images, more=("--processes", "2"))
    assert clips(tmp_path / "one") == clips(tmp_path / "two") and len(clips(tmp_path / "one")) == 110
    assert (tmp_path / "one/out.jsonl").read_bytes() == (tmp_path / "two/out.jsonl").read_bytes()


def test_shards_make_each_clip_once_and_the_whole_the_same_manifest(tmp_path, monkeypatch):
    images = [image(str(number), "train", f"bird {number}") for number in range(6)]
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    run(tmp_path / "whole", *images)
    root, made = tmp_path / "parts", []
    write_manifest(root / "in.jsonl", images)
    words = ["--manifest", root / "in.jsonl", "--root", root, "--output", root / "out.jsonl"]
    monkeypatch.setattr(EspeakFamily, "block", 2)
    for shard in ("1/2", "2/2"):
        synthesize_speech.main([*map(str, words), "--processes", "1", "--shard", shard])
        made.append(set(clips(root)))
        assert not (root / "out.jsonl").exists()
    assert len(made[0]) == 4 and made[0] < made[1] and len(made[1]) == 6
    monkeypatch.setattr(EspeakFamily, "utter", lambda *_: pytest.fail("a clip was made twice"))
    run(root, *images)
    assert clips(root) == clips(tmp_path / "whole")
    assert (root / "out.jsonl").read_bytes() == (tmp_path / "whole" / "out.jsonl").read_bytes()


def test_killed_run_leaves_whole_clips_and_no_processes_and_continues_to_the_same_end(tmp_path):
    images = [image(str(number), "train", *[TEXT] * 10) for number in range(15)]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    for folder in (unbroken, broken):
        folder.mkdir()
        write_manifest(folder / "in.jsonl", images)
    script = Path(synthesize_speech.__file__)
    words = ["--manifest", broken / "in.jsonl", "--root", broken, "--output", broken / "out.jsonl"]
    process = subprocess.Popen(
        [sys.executable, script, *words, "--processes", "2"],
        env={**os.environ, "PYTHONPATH": str(script.parent.parent), "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(clips(broken)) < 20 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    count = -1
    while count != len(clips(broken)):  # the workers end with their parent
        count = len(clips(broken))
        time.sleep(0.5)
    assert 20 <= count < 150 and not (broken / "out.jsonl").exists()
    for path in (broken / "audio").glob("*/*.flac"):
        assert soundfile.info(path).frames == len(soundfile.read(path)[0]) > 0
    run(unbroken, *images)
    run(broken, *images)
    assert clips(broken) == clips(unbroken)
    assert (broken / "out.jsonl").read_bytes() == (unbroken / "out.jsonl").read_bytes()


def test_captions_in_two_languages_are_spoken_each_in_its_own(tmp_path):
    made = run(
        tmp_path,
        image("1", "train", "ein kleiner roter Vogel", language="de"),
        image("2", "train", TEXT),
        image("3", "train", "un petit oiseau", language="fr"),
        more=("--languages", "en", "de"),
    )
    german, english, french = (image.captions[0] for image in made)
    assert german.speaker.startswith("espeak-ng/de/") and german.language == "de"
    assert english.speaker.startswith("espeak-ng/en-") and english.language == "en"
    assert french.audio is None and french.language == "fr"


@pytest.mark.parametrize("samples, length", [(0, "silence"), (1000, "0.05 s"), (22050 * 30, "30.00 s")])
def test_bad_clip_is_refused_by_image_and_text(tmp_path, monkeypatch, samples, length):
    monkeypatch.setattr(Espeak, "speak", lambda *request: (np.ones(samples, np.float32), 22050))
    with pytest.raises(InputError, match=f"found {length} for caption 0 of image p7.*{TEXT}"):
        run(tmp_path, image("p7", "train", TEXT))
    assert not clips(tmp_path) and not (tmp_path / "out.jsonl").exists()


def test_over_long_caption_is_refused_as_soon_as_a_minute_is_spoken(tmp_path):
    begun = time.monotonic()
    with pytest.raises(InputError, match="caption 0 of image p7: expected a sentence of up to 60 s, found"):
        run(tmp_path, image("p7", "train", "a small red bird with black wings " * 3000))
    assert time.monotonic() - begun < 10  # 1.5 hours of speech would take 15 s and more
    assert not clips(tmp_path) and not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("text", ["...", "?!"])
def test_text_without_a_sound_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="found silence for caption 0 of image p7"):
        run(tmp_path, image("p7", "train", text))


def test_peoples_recordings_and_files_are_left_alone(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "mine.flac").write_text("mine")
    with pytest.raises(InputError, match="found mine.flac there.*change --audio"):
        run(tmp_path, image("1", "train", TEXT))
    assert [path.name for path in (tmp_path / "audio").iterdir()] == ["mine.flac"]
    (tmp_path / "out.jsonl").write_text('{"my": "own lines"}\n')
    with pytest.raises(InputError, match="expected a manifest to replace at .*out.jsonl"):
        run(tmp_path, image("1", "train", TEXT), more=("--audio", "clips"))
    with pytest.raises(InputError, match="in.jsonl, which is read"):
        run(tmp_path, image("1", "train", TEXT), more=("--output", str(tmp_path / "in.jsonl")))
    assert (tmp_path / "out.jsonl").read_text() == '{"my": "own lines"}\n' and not (
        tmp_path / "clips"
    ).exists()


def test_a_manifest_is_replaced_with_a_word_and_what_a_kill_left_goes(tmp_path, capsys):
    run(tmp_path, image("1", "train", TEXT))
    (clip,) = (tmp_path / "audio").glob("*/*.flac")
    left = clip.with_name(f".{clip.name}.abcdefgh{PART}"), tmp_path / f".out.jsonl.abcdefgh{PART}"
    for path in left:
        path.write_text("half")
    run(tmp_path, image("1", "train", TEXT))
    assert f"{tmp_path / 'out.jsonl'} is replaced" in capsys.readouterr().err
    assert not any(path.exists() for path in left)


def test_full_or_forbidden_disk_is_an_input_error(tmp_path):
    (tmp_path / "audio").write_text("in the way")
    with pytest.raises(InputError, match="or clips, at .*audio, found a file of that name: change --audio"):
        run(tmp_path, image("1", "train", TEXT))


@pytest.mark.parametrize(
    "more, message",
    [
        (("--voices", "en-us+m33"), "found 'en-us\\+m33': try .*en-us\\+m3"),
        (("--voices", "en-uss"), "found 'en-uss': try .*en-us"),
        (("--languages", "klingon"), "a voice that speaks 'klingon', found none.* en,"),
        (("--voices", "en-us+m1", "--held-out-voices", "en-us+m1"), "en-us\\+m1 in both lists"),
        (("--voices", "de+m1"), "a voice that speaks 'en', found none"),
        (("--audio", "../elsewhere"), "inside --root"),
        (("--manifest", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--text", "a bird"), "found both"),
    ],
)
def test_wrong_option_is_an_input_error(tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, image("1", "train", TEXT), more=more)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", ["bird.wav", "bird.flac"])
def test_one_sentence_is_written_to_a_sound_file(tmp_path, name):
    synthesize_speech.main(["--text", TEXT, "--output", str(tmp_path / name), "--voices", "en-gb+f1"])
    waveform, sample_rate = soundfile.read(tmp_path / name)
    expected, _ = speak(TEXT, "en-gb+f1")
    assert sample_rate == 22050 and np.abs(waveform - expected).max() < 1e-4


@pytest.mark.parametrize(
    "words", [["--text", " ", "--output", "a.wav"], ["--text", "...", "--output", "a.wav"],
              ["--text", "a bird", "--output", "a.xyz"], ["--output", "a.jsonl"],
              ["--text", "a bird", "--output", "a.wav", "--voices", "nobody"]]
)  # fmt: skip
def test_wrong_sentence_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(lambda: synthesize_speech.main(words))
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("s2i: error: expected") and message.count("\n") == 1
    assert not list(tmp_path.iterdir())
