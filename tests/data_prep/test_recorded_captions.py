"""Recordings for captions: matched by name or table, the missing named; S2IGAN's arrays read, never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import synthesize_speech
from data_prep.waveform_arrays import read_waveforms
from s2i.data.manifest import Caption, ImageRecord, read_manifest, write_manifest
from s2i.errors import InputError, exit_on_input_error


def image(name: str, captions: int = 1) -> ImageRecord:
    spoken = tuple(Caption(f"caption {number}", None, None, None) for number in range(captions))
    return ImageRecord(name, f"images/001.Wren/{name}.jpg", None, 0, "Wren", "train", spoken)


def record(root: Path, *names: str) -> None:
    for name in names:
        path = root / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(2205, 0.1), 22050)


def run(root: Path, voice: str, *images: ImageRecord, more: tuple = ()) -> list[ImageRecord]:
    write_manifest(root / "in.jsonl", images)
    words = ["--manifest", root / "in.jsonl", "--root", root, "--output", root / "out.jsonl"]
    words += ["--voice", voice, "--source", root / "mine", *more]
    synthesize_speech.main(list(map(str, words)))
    return read_manifest(root / "out.jsonl")


def audio(made: list[ImageRecord]) -> list[list[str | None]]:
    return [[caption.audio for caption in image.captions] for image in made]


def test_recordings_are_matched_by_every_documented_name(tmp_path):
    record(tmp_path, "a.wav", "b-0.wav", "b-1.wav", "sub/c_7_0.flac", "001.Wren/d.wav", "e/10.wav", "e/2.wav")
    images = [image("a"), image("b", 2), image("sub/c_7"), image("d"), image("e", 2)]
    assert audio(run(tmp_path, "recordings", *images)) == [
        ["mine/a.wav"], ["mine/b-0.wav", "mine/b-1.wav"], ["mine/sub/c_7_0.flac"], ["mine/001.Wren/d.wav"],
        ["mine/e/2.wav", "mine/e/10.wav"],
    ]  # fmt: skip


def test_table_gives_captions_speakers_languages_and_text(tmp_path):
    record(tmp_path, "x.wav", "y.wav", "z.wav")
    table = tmp_path / "table.csv"
    table.write_text(
        "image,recording,caption,speaker,language\n"
        "a.jpg,x.wav,1,Ada,de\nimages/001.Wren/a.jpg,y.wav,0,,\nb,z.wav,,Bo,\n"
    )
    first, second = run(tmp_path, "recordings", image("a", 2), image("b"), more=("--table", table))
    assert first.captions == (
        Caption("caption 0", "mine/y.wav", None, None), Caption("caption 1", "mine/x.wav", "Ada", "de"),
    )  # fmt: skip
    assert second.captions == (Caption("caption 0", "mine/z.wav", "Bo", None),)


def test_missing_recordings_are_named_and_left_out_on_demand(tmp_path, capsys):
    record(tmp_path, "a-1.wav")
    with pytest.raises(InputError, match="caption 0 of image a, caption 0 of image b: add them"):
        run(tmp_path, "recordings", image("a", 2), image("b"))
    assert not (tmp_path / "out.jsonl").exists()
    made = run(tmp_path, "recordings", image("a", 2), image("b"), more=("--allow-missing",))
    assert audio(made) == [[None, "mine/a-1.wav"], [None]]
    assert "without audio: caption 0 of image a, caption 0 of image b" in capsys.readouterr().err


@pytest.mark.parametrize(
    "placed",
    [
        {0: "0", 1: "1", 3: "3"},
        {0: "bird_0", 1: "bird_1", 3: "bird_3"},
        {0: "take-00", 1: "take-01", 3: "take-03"},
        {1: "1", 3: "3"},
        {2: "a-2"},  # the image's name, and a number
        {0: "a"},
        {0: "0_ada", 3: "3_ben"},
        {2: "2024-05-01_2", 0: "2024-05-02_0"},
    ],
    ids=lambda placed: " ".join(placed.values()),
)
def test_numbers_in_names_place_recordings(tmp_path, capsys, placed):
    record(tmp_path, *(f"a/{name}.wav" for name in placed.values()))
    (made,) = run(tmp_path, "recordings", image("a", 4), more=("--allow-missing",))
    expected = [f"mine/a/{placed[number]}.wav" if number in placed else None for number in range(4)]
    assert [caption.audio for caption in made.captions] == expected
    said = capsys.readouterr().err
    missing = (f"caption {number} of image a" for number in range(4) if number not in placed)
    assert f"without audio: {', '.join(missing)}" in said
    assert ("captions count from 0 on" in said) == (0 not in placed)


@pytest.mark.parametrize("names", [("ada", "ben", "cleo"), ("1", "2", "3"), ("take 8", "take 9", "take 10")])
def test_one_recording_for_each_caption_without_a_0_counts_by_its_order(tmp_path, names):
    record(tmp_path, *(f"a/{name}.wav" for name in names))
    (made,) = run(tmp_path, "recordings", image("a", 3))
    assert [caption.audio for caption in made.captions] == [f"mine/a/{name}.wav" for name in names]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0", "1", "3"), "count from 0 on, found 1 that belong to none .*a/3.wav"),
        (("1", "3"), "belong to none .*a/3.wav"),
        (("ada", "ben"), "one recording for each of the 3 captions of image a, found .*ada.wav, .*ben.wav"),
        (("ada", "1", "2"), "a number at the end of each recording's name"),
        (("0", "00"), "one recording for caption 0 of image a"),
        (("99999999999999999999",), "belong to none"),
    ],
)
def test_names_that_do_not_tell_their_caption_are_refused(tmp_path, names, message):
    record(tmp_path, *(f"a/{name}.wav" for name in names))
    with pytest.raises(InputError, match=message):
        run(tmp_path, "recordings", image("a", 3), more=("--allow-missing",))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", ["a.m4a", "a.amr", "a.raw", "a.wav"])
def test_recordings_that_cannot_be_read_are_refused_by_name_before_anything_is_written(tmp_path, name):
    record(tmp_path, "b.wav")
    (tmp_path / "mine" / name).write_bytes(b"sound of some kind")
    with pytest.raises(InputError, match=f"expected a recording .* in .*/{name}: (convert|save) it"):
        run(tmp_path, "recordings", image("a"), image("b"))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("ending", [".opus", ".oga", ".aiff", ".au", ".caf"])
def test_every_readable_ending_is_a_recording(tmp_path, ending):
    tone = np.sin(np.arange(24000) / 10) / 3
    (tmp_path / "mine").mkdir()
    kind = {".opus": "OGG", ".oga": "OGG"}.get(ending)
    soundfile.write(tmp_path / "mine" / f"a{ending}", tone, 24000, format=kind, subtype=None)
    (made,) = run(tmp_path, "recordings", image("a"))
    assert made.captions[0].audio == f"mine/a{ending}"


@pytest.mark.parametrize(
    "names, more, message",
    [
        (["a.wav", "b.wav"], (), "1 that belong to none .*mine/b.wav"),
        (["a.wav", "a-1.wav"], (), "belong to none .*mine/a-1.wav"),
        (["a.wav", "a-0.wav"], (), "one recording for caption 0 of image a, found .*a-0.wav and .*a.wav"),
        ([], (), "expected recordings .* found none"),
        (["a.wav"], ("--table", "nowhere.csv"), "a table at nowhere.csv"),
        (["a.wav"], ("--source", "/elsewhere"), "in /elsewhere, found none"),
    ],
)
def test_recordings_of_nobody_are_refused(tmp_path, names, more, message):
    record(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        run(tmp_path, "recordings", image("a"), more=more)


@pytest.mark.parametrize(
    "table, message",
    [
        ("image;recording\n", "a first line with recording and image"),
        ("image,recording\nb,a.wav\n", "found 'b' in .*line 2"),
        ("image,recording\na,b.wav\n", "recording at .*b.wav, found none, in .*line 2"),
        ("image,recording,text\na,a.wav,a small, red bird\n", "3 fields, found more, in .*line 2"),
        ("image,recording,caption\na,a.wav,x\n", "a caption's number, found 'x'"),
        (f"image,recording,caption\na,a.wav,{'9' * 5000}\n", "a caption's number, found '99"),
        ("image,recording,class,class\na,a.wav,x,y\n", "each once"),
        ("image,recording\na,a.wav\na,./a.wav\n", "once for image a, found .*a.wav in line 2 .*line 3"),
        (
            "image,recording,class\na,a.wav,wren\na.jpg,d.wav,\na,c.wav,heron\n",
            "one class for image a, found 'wren' in line 2 and 'heron' in .*line 4",
        ),
        ("image,recording,caption\na,a.wav,0\na,a.wav,0\n", "one recording for caption 0 of image a in"),
    ],
)
def test_wrong_table_is_refused_by_its_line(tmp_path, table, message):
    record(tmp_path, "a.wav", "c.wav", "d.wav")
    (tmp_path / "table.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        run(tmp_path, "recordings", image("a"), more=("--table", tmp_path / "table.csv"))


def test_recordings_outside_the_root_are_refused(tmp_path):
    record(tmp_path, "a.wav")
    (tmp_path / "root").mkdir()
    with pytest.raises(InputError, match="files under --root .*mine/a.wav: move or link them"):
        run(tmp_path / "root", "recordings", image("a"), more=("--source", tmp_path / "mine"))


def release(root: Path, name: str, waveforms: list) -> Path:
    """As the authors' script does: numpy.save of a list of waveforms."""
    path = root / "mine" / "001.Wren" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = {len(waveform) for waveform in waveforms}
    array = np.array(waveforms) if len(lengths) == 1 else np.empty(len(waveforms), object)
    if array.dtype == object:
        array[:] = waveforms
    if path.suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(array, protocol=2))
    return path


def waveforms(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.uniform(-0.5, 0.5, length).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("name", ["a.npy", "a.pickle"])
@pytest.mark.parametrize("lengths", [(3000, 4000), (3000, 3000)])
def test_released_waveforms_become_clips(tmp_path, name, lengths):
    spoken = waveforms(*lengths)
    release(tmp_path, name, spoken)
    (made,) = run(tmp_path, "s2igan", image("a", 2))
    for caption, expected in zip(made.captions, spoken, strict=True):
        clip, sample_rate = soundfile.read(tmp_path / caption.audio)
        assert sample_rate == 22050 and np.abs(clip - expected).max() <= 2 / 32768 + 1e-6
        assert caption.speaker == "LJ Speech (S2IGAN)" and caption.language == "en"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}
    run(tmp_path, "s2igan", image("a", 2))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")} == before


def test_clips_of_another_number_of_captions_are_not_taken_for_these(tmp_path):
    release(tmp_path, "a.npy", waveforms(3000, 4000))
    run(tmp_path, "s2igan", image("a", 2))
    with pytest.raises(InputError, match="expected 1 spoken captions in .*a.npy.*found 2"):
        run(tmp_path, "s2igan", image("a"))


def test_arrays_of_python_2_and_of_other_kinds_are_read(tmp_path):
    # What numpy 1 under Python 2 writes: protocol 2, and bytes as Latin-1 letters.
    spoken = waveforms(30, 40)
    path = release(tmp_path, "a.pickle", [(spoken[0] * 32767).astype(np.int16), spoken[1].astype(">f8")])
    arrays = read_waveforms(path)
    assert [item.dtype for item in arrays] == [np.float32] * 2
    assert np.abs(arrays[0] - spoken[0]).max() < 1e-3 and np.array_equal(arrays[1], spoken[1])


class Touch:
    def __reduce__(self):
        return os.system, ("touch called",)


@pytest.mark.parametrize("name", ["a.npy", "a.pickle"])
def test_array_that_would_call_something_calls_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    array = np.empty(2, object)
    array[:] = [Touch(), waveforms(10)[0]]
    path = tmp_path / "mine" / "001.Wren" / name
    path.parent.mkdir(parents=True)
    np.save(path, array, allow_pickle=True) if name == "a.npy" else path.write_bytes(pickle.dumps(array))
    with pytest.raises(InputError, match=r"found: a pickle that would call (posix|nt)\.system"):
        run(tmp_path, "s2igan", image("a", 2))
    assert not (tmp_path / "called").exists() and not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    "spoken, message",
    [
        ([np.ones(10, np.float32)], "expected 2 spoken captions in .*a.npy.*found 1: .*--captions reed"),
        ([np.full(10, np.nan), np.ones(11)], "samples outside"),
        ([np.zeros((2, 3)), np.zeros((4, 3))], r"an array of shape \(2, 3\)"),
    ],
)
def test_released_arrays_of_something_else_are_refused(tmp_path, spoken, message):
    release(tmp_path, "a.npy", spoken)
    with pytest.raises(InputError, match=message):
        run(tmp_path, "s2igan", image("a", 2))


def test_cut_array_and_missing_one_are_named(tmp_path, capsys):
    path = release(tmp_path, "a.npy", waveforms(300, 400))
    with pytest.raises(InputError, match="caption 0 of image b"):
        run(tmp_path, "s2igan", image("a", 2), image("b"))
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(SystemExit) as ended:
        clips = [*(tmp_path / "audio").rglob("*.flac")]
        for clip in clips:
            clip.unlink()
        exit_on_input_error(lambda: run(tmp_path, "s2igan", image("a", 2)))
    assert ended.value.code == 2 and "a.npy" in capsys.readouterr().err
