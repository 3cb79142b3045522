"""Families of synthesisers, and the plan of who speaks what."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import synthesize_speech
from data_prep.clips import implausible_clip
from data_prep.utterances import Request, Utterance
from data_prep.voices.cast import Cast, Part
from data_prep.voices.family import Family
from data_prep.voices.festival import FestivalFamily, scheme_string
from data_prep.voices.flite import FliteFamily
from data_prep.voices.piper import PiperFamily, piper_words
from data_prep.voices.plan import FamilyPlan, Plan, read_plan
from data_prep.voices.programs import latin_words, replayed
from data_prep.voices.registry import find_family
from data_prep.voices.speak import make_clips
from s2i.data.manifest import Caption, ImageRecord, read_manifest, write_manifest
from s2i.errors import InputError

TEXT = "a small red bird with black wings"
HOSTILE = [
    '"quoted" (quit) bird',
    '") (system "touch owned") (quit) ("',
    'back\\slash \\" bird',
    "-v --help -o x.wav bird",
    "--version",
    "; a comment (",
    "a bird's 2 wings, 3.5 cm & 50% grey",
    "[[h@loU]] bird",
    "line one\nline two\tand a tab",
    "café – “naïve” bird…",
    "/etc/passwd",
]
STUB = """#!{python}
import struct, sys
words = sys.argv[1:]
if "--version" in words:
    sys.exit(print("  version: flite-stub"))
text = open(words[words.index("-f") + 1]).read()
samples = [(-1) ** n * 8000 for n in range(int(16000 * {seconds}))] if "mute" not in text else []
data = struct.pack(f"<{{len(samples)}}h", *samples)
form = 16, 1, 1, 16000, 32000, 2, 16, b"data", len(data)
head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVEfmt ", *form)
open(words[words.index("-o") + 1], "wb").write(head + data)
open({log!r}, "a").write(repr((words, text)) + "\\n")
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A program `flite` that writes what it was called with, and a second of a tone; its log."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()

    def write(seconds: float = 1.5) -> Path:
        program = folder / "flite"
        program.write_text(STUB.format(python=sys.executable, log=str(log), seconds=seconds))
        program.chmod(0o755)
        return log

    monkeypatch.setenv("PATH", str(folder))
    return write


def image(name: str, split: str, *texts: str) -> ImageRecord:
    captions = tuple(Caption(text, None, None, "en") for text in texts)
    return ImageRecord(name, f"{name}.png", None, 0, "Wren", split, captions)


def run(root: Path, *more: object, plan: str | None = None) -> list[ImageRecord]:
    words = [
        "--manifest",
        root / "in.jsonl",
        "--root",
        root,
        "--output",
        root / "out.jsonl",
        "--processes",
        1,
    ]
    if plan is not None:
        (root / "voices.yaml").write_text(plan)
        words += ["--plan", root / "voices.yaml"]
    synthesize_speech.main(list(map(str, [*words, *more])))
    return read_manifest(root / "out.jsonl")


def say(family, text: str, voice: str, *values: float) -> tuple[np.ndarray, int]:
    family_values = values or family.usual_values()
    (sound,) = family.utter([Utterance(text, "en", family.name, voice, family_values)])
    return sound


def part(name: str, share: float, test_share: float = 0.0, is_installed: bool = True) -> Part:
    voices = {"en": (f"{name}1", f"{name}2")} if is_installed and share else {"en": ()}
    test_voices = {"en": (f"{name}9",)} if is_installed and test_share else {"en": ()}
    return Part(name, share, test_share, voices, test_voices, ((0.8, 1.2, False),), is_installed)


def choices(
    cast: Cast, split: str = "train", images: int = 200, speakers: str | None = None
) -> list[Utterance]:
    rows = [image(f"{split}{number}", split, *[TEXT] * 10) for number in range(images)]
    return [utterance for row in rows for utterance in cast.choose(row, 0, speakers).values()]


def test_shares_are_those_of_the_plan_and_a_family_kept_for_the_test_speaks_there_alone():
    cast = Cast((part("a", 3), part("b", 1, 1), part("c", 0, 1)), ("en",))
    train = Counter(utterance.family for utterance in choices(cast))
    assert set(train) == {"a", "b"} and abs(train["b"] / 2000 - 0.25) < 0.03
    test = Counter(utterance.voice for utterance in choices(cast, "test"))
    assert test["b9"] + test["c9"] == 1000 and abs(test["b9"] - 500) < 60
    assert sum(test[voice] for voice in ("a1", "a2", "b1", "b2")) == 1000
    assert {u.voice for u in choices(cast, "test", 20, "unseen")} == {"b9", "c9"}
    assert not {u.voice for u in choices(cast, "test", 20, "seen")} & {"b9", "c9"}


def test_captions_of_a_missing_family_go_to_others_and_no_other_caption_changes_hands():
    whole = choices(Cast((part("a", 1), part("b", 1), part("c", 1)), ("en",)))
    shared = choices(Cast((part("a", 1), part("b", 1), part("c", 1, 0, False)), ("en",), is_shared=True))
    for before, after in zip(whole, shared, strict=True):
        assert after == before if before.family != "c" else after.family in ("a", "b")
    skipped = choices(Cast((part("a", 1), part("b", 1), part("c", 1, 0, False)), ("en",)))
    assert skipped == [utterance for utterance in whole if utterance.family != "c"]


def test_espeak_alone_is_chosen_as_without_a_plan(tmp_path):
    write_manifest(tmp_path / "in.jsonl", [image("1", "test", TEXT, "a bird"), image("2", "train", TEXT)])
    alone = run(tmp_path)
    clips = {path.name: path.read_bytes() for path in (tmp_path / "audio").glob("*/*")}
    assert run(tmp_path, plan="families: {espeak-ng: {share: 2}}") == alone
    assert {path.name: path.read_bytes() for path in (tmp_path / "audio").glob("*/*")} == clips
    # Names of clips as they were before there were families: nobody's clips are made twice.
    spoken = alone[1].captions[0]
    assert (spoken.audio, spoken.speaker) == ("audio/04/048ee737a5edac3514b4.flac", "espeak-ng/en-gb/m2")


@pytest.mark.parametrize(
    "plan, message",
    [
        ("families: {espeak: {}}", "found 'espeak'"),
        ("families: {flite: {rates: [1, 2]}}", "share, .*, rate, pitch in flite .*'rates'"),
        ("families: {flite: {rate: [2, 1]}}", r"\[least, most\] as rate of flite"),
        ("families: {flite: {rate: [.1, 1]}}", "two numbers of 0.4 to 2.5"),
        ("families: {espeak-ng: {pitch: [35.5, 40]}}", "two whole numbers of 0 to 100"),
        ("families: {piper: {pitch: .nan}}", "two numbers of"),
        ("families: {flite: {share: -1}}", "share of 0 or more for flite"),
        ("families: {flite: {share: .nan}}", "share of 0 or more for flite"),
        ("families: {flite: {share: .inf}}", "share of 0 or more for flite"),
        ("families: {flite: {share: yes}}", "share of 0 or more for flite"),
        ("families: {flite: {share: 0}}", "a share above 0"),
        ("families: {flite: {voices: slt}}", "a list of names as voices of flite"),
        ("families: {flite: {voices: [slt], test_voices: [slt]}}", "found slt in both"),
        ("families: {flite: 3}", "under flite"),
        ("families: [flite]", "expected families: in the plan"),
        ("missing: perhaps\nfamilies: {flite: {}}", "refuse, skip, redistribute .*'perhaps'"),
        ("familys: {flite: {}}", "expected families: in the plan"),
        ("families: {flite: {}}\nseed: 3", "found 'seed'"),
        ("families: {espeak-ng: {voices: [en-uss]}}", "found 'en-uss'"),
        ("families: {espeak-ng: {voices: [de+m1]}}", "a voice that speaks 'en'"),
        ("families: {", "expected YAML"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_an_input_error(tmp_path, plan, message):
    write_manifest(tmp_path / "in.jsonl", [image("1", "train", TEXT)])
    with pytest.raises(InputError, match=message):
        run(tmp_path, plan=plan)
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "audio").exists()


def test_a_plan_that_is_not_there_is_named(tmp_path):
    words = ["--manifest", tmp_path / "in.jsonl", "--root", tmp_path, "--output", tmp_path / "out.jsonl"]
    with pytest.raises(InputError, match="found no file at .*nowhere.yaml: check --plan"):
        synthesize_speech.main([str(word) for word in [*words, "--plan", tmp_path / "nowhere.yaml"]])


def test_a_plan_based_on_another_changes_what_it_names(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "missing: skip\nfamilies: {flite: {share: 2, rate: [1, 1.1]}, espeak-ng: {}}"
    )
    (tmp_path / "b.yaml").write_text("base: a.yaml\nfamilies: {flite: {share: 1}}")
    plan = read_plan(tmp_path / "b.yaml", find_family)
    assert plan.missing == "skip" and plan.families["espeak-ng"] == FamilyPlan()
    assert plan.families["flite"] == FamilyPlan(share=1, ranges=(("rate", (1.0, 1.1)),))


def test_one_family_of_a_plan_speaks_everything():
    plan = Plan(
        {
            "flite": FamilyPlan(2, voices=("slt",), test_voices=("awb",)),
            "piper": FamilyPlan(0, voices=("joe",)),
        }
    )
    assert plan.only("flite").families == {"flite": FamilyPlan(1, voices=("slt",), test_voices=("awb",))}
    assert plan.only("piper").families == {"piper": FamilyPlan(1, voices=("joe",))}
    assert plan.only("festival").families == {"festival": FamilyPlan(1)}


def test_a_program_that_is_not_there_is_named_with_the_command_that_installs_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    write_manifest(tmp_path / "in.jsonl", [image(str(n), "train", TEXT) for n in range(8)])
    families = "families: {espeak-ng: {}, flite: {}}"
    with pytest.raises(InputError, match="expected flite, found it missing: apt install flite"):
        run(tmp_path, plan=families)
    with pytest.raises(InputError, match="festival.*apt install festival"):
        run(tmp_path, "--voice", "festival")
    unneeded = "families: {espeak-ng: {}, flite: {share: 0, test_share: 0}}"
    assert run(tmp_path, plan=unneeded)
    made = run(tmp_path, plan=f"missing: redistribute\n{families}")
    assert "flite is missing (apt install flite): others speak its captions" in capsys.readouterr().err
    assert all(row.captions[0].speaker.startswith("espeak-ng/") for row in made)
    skipped = run(tmp_path, plan=f"missing: skip\n{families}")
    silent = [row.captions[0].audio is None for row in skipped]
    assert any(silent) and not all(silent)


def test_a_program_speaks_whole_manifests_and_a_split_alone(tmp_path, stub, capsys):
    log = stub()
    write_manifest(tmp_path / "in.jsonl", [image("1", "train", TEXT), image("2", "test", TEXT, "a red bird")])
    plan = "families: {espeak-ng: {}, flite: {share: 0, voices: [slt, awb], pitch: [1.1, 1.1]}}"
    (made,) = run(tmp_path, "--family", "flite", "--splits", "test", plan=plan)
    assert made.id == "2" and {c.speaker for c in made.captions} <= {"flite/slt", "flite/awb"}
    for caption in made.captions:
        waveform, sample_rate = soundfile.read(tmp_path / caption.audio)
        assert sample_rate == 16000 and len(waveform) == 24000
    calls = log.read_text().splitlines()
    (first,) = run(tmp_path, "--family", "flite", "--splits", "test", "--captions", 1, plan=plan)
    assert first.captions == made.captions[:1]
    assert len(calls) == 2 and all("int_f0_target_mean=1" in call for call in calls)
    run(tmp_path, "--family", "flite", "--splits", "test", plan=plan)
    assert log.read_text().splitlines() == calls  # nothing is spoken twice
    assert "flite speaks everything; training never hears it" in capsys.readouterr().err
    with pytest.raises(InputError, match="kept for the test split for --speakers unseen, found none"):
        run(tmp_path, "--family", "flite", "--speakers", "unseen", plan=plan)


def test_a_cut_or_silent_clip_is_named(tmp_path, stub):
    stub(0.2)
    write_manifest(
        tmp_path / "in.jsonl", [image("1", "train", "a bird"), image("2", "train", TEXT + " and a tail")]
    )
    with pytest.raises(InputError, match=r"found 0\.2\d s for caption 0 of image 2, spoken by flite/"):
        run(tmp_path, "--voice", "flite")
    write_manifest(tmp_path / "in.jsonl", [image("3", "train", "a mute bird")])
    with pytest.raises(InputError, match="found silence for caption 0 of image 3"):
        run(tmp_path, "--voice", "flite")
    write_manifest(tmp_path / "in.jsonl", [image("4", "train", "a bird " * 300)])
    with pytest.raises(InputError, match="up to 60 s, the most that flite speaks, .* caption 0 of image 4"):
        run(tmp_path, "--voice", "flite")
    write_manifest(tmp_path / "in.jsonl", [image("5", "train", "a bird"), image("6", "train", "赤い鳥")])
    with pytest.raises(InputError, match="caption 0 of image 6: expected English letters, .* flite reads"):
        run(tmp_path, "--voice", "flite")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_reaches_a_program_as_an_option_or_as_code(stub, text):
    log = stub()
    say(FliteFamily(), text, "slt")
    words, written = eval(log.read_text())
    assert words[:2] == ["-voice", "slt"] and words[-4] == "-f" and words[-2] == "-o" and len(words) == 10
    assert written == latin_words(text, "flite") + "\n"
    literal = scheme_string(latin_words(text, "festival"))
    inner = literal[1:-1]
    assert literal[0] == literal[-1] == '"'
    assert inner.replace("\\\\", "").replace('\\"', "").count('"') == 0  # no quote ends the literal
    assert inner.replace("\\\\", "").replace('\\"', "").count("\\") == 0
    assert inner.replace('\\"', '"').replace("\\\\", "\\") == latin_words(text, "festival")


def test_words_for_programs_are_one_line_of_ascii_with_numbers_as_they_are():
    assert latin_words("café – “naïve” bird…\n2 wings", "flite") == 'cafe - "naive" bird... 2 wings'
    assert latin_words("½ of 3.5 m²", "flite") == "1/2 of 3.5 m2"
    assert piper_words("[[h@loU]]\nbird 2") == "[ [h@loU]] bird 2"
    with pytest.raises(InputError, match="found '鳥'"):
        latin_words("a 鳥", "flite")


def test_replaying_keeps_samples_and_moves_their_rate():
    waveform = np.ones(10, np.float32)
    assert replayed((waveform, 16000), 1.1) == (waveform, 17600)


def test_length_and_level_of_a_clip_are_checked():
    tone = np.full(16000, 0.1, np.float32)
    assert implausible_clip(TEXT, 180, tone, 16000) is None
    assert "found 0.40 s" in implausible_clip(TEXT, 180, tone[:6400], 16000)
    assert "found 0.0" in implausible_clip("a", 180, tone[:1500], 16000)
    assert "nothing above 0.001" in implausible_clip(TEXT, 180, tone / 100, 16000)
    assert "NaN" in implausible_clip(TEXT, 180, np.full(16000, np.nan), 16000)
    assert implausible_clip("a bird", 180, tone[:4000], 16000) is None
    assert implausible_clip("... !", 180, tone[:4000], 16000) is None


# What follows needs the programs themselves.
needs_flite = pytest.mark.skipif(not shutil.which("flite"), reason="apt install flite")
needs_festival = pytest.mark.skipif(bool(FestivalFamily().missing([])), reason="apt install festival ...")
needs_piper = pytest.mark.skipif(bool(PiperFamily().missing([])), reason="pip install piper-tts ...")


@needs_flite
@pytest.mark.parametrize("voice", ["slt", "rms", "awb", "kal16"])
def test_rate_and_pitch_of_flite_are_as_asked(voice):
    flite = FliteFamily()
    waveform, rate = say(flite, TEXT, voice)
    fast, _ = say(flite, TEXT, voice, 1.25, 1.0)
    assert 1.2 < len(waveform) / rate < 4 and abs(len(fast) * 1.25 / len(waveform) - 1) < 0.1
    high, high_rate = say(flite, TEXT, voice, 1.0, 1.15)
    assert not np.array_equal(high, waveform) and abs(len(high) / high_rate * rate / len(waveform) - 1) < 0.1
    assert implausible_clip(TEXT, 180, waveform, rate) is None


@needs_flite
def test_flite_speaks_hostile_texts(tmp_path):
    flite = FliteFamily()
    for text in (*HOSTILE, "a bird " * 60):
        waveform, sample_rate = say(flite, text, "kal16")
        assert implausible_clip(text, 180, waveform, sample_rate) is None, text
    assert len(say(flite, "...", "slt")[0]) == len(say(flite, "", "slt")[0]) == 0


@needs_festival
def test_festival_speaks_hostile_texts_and_goes_on_after_one_that_ends_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    festival = FestivalFamily()
    voices = festival.installed
    texts = [TEXT, "...", *HOSTILE, TEXT]
    utterances = [
        Utterance(text, "en", "festival", voices[n % len(voices)], (1.0, 1.0)) for n, text in enumerate(texts)
    ]
    sounds = festival.utter(utterances)
    for text, (waveform, sample_rate) in zip(texts, sounds, strict=True):
        problem = implausible_clip(text, 170, waveform, sample_rate)
        assert (problem is None) == (text != "..."), (text, problem)
    assert not list(tmp_path.iterdir())  # no text has run as code


@needs_festival
def test_rate_of_festival_is_as_asked_and_its_speech_the_same_in_any_company():
    festival = FestivalFamily()
    for voice in festival.installed:
        usual, slow = (Utterance(TEXT, "en", "festival", voice, (rate, 1.0)) for rate in (1.0, 0.8))
        ((alone, rate),) = festival.utter([usual])
        (stretched, _), (after, _) = festival.utter([slow, usual])
        assert abs(len(stretched) * 0.8 / len(alone) - 1) < 0.12 and np.array_equal(after, alone)


@needs_piper
def test_piper_speaks_in_blocks_that_come_out_the_same(tmp_path):
    piper = PiperFamily()
    voices, _ = piper.choose_voices(["en"], ["joe"], None)
    texts = ["a red bird", HOSTILE[1], HOSTILE[7], "..."]
    utterances = [Utterance(text, "en", "piper", voices["en"][0], (1.0, 1.0, 0.667)) for text in texts]
    sounds = piper.utter(utterances)
    for text, (waveform, sample_rate) in zip(texts[:-1], sounds, strict=False):
        assert implausible_clip(text, 180, waveform, sample_rate) is None, text
    assert len(sounds[-1][0]) == 0 and piper.version(voices["en"][0]).startswith("piper 1.")
    again = piper.utter(utterances)
    assert all(np.array_equal(one[0], other[0]) for one, other in zip(sounds, again, strict=True))
    (other,) = piper.utter(utterances[:1], attempt=1)
    assert not np.array_equal(other[0], sounds[0][0])


def test_speakers_of_a_voice_of_many_are_chosen_by_number(tmp_path):
    config = {"num_speakers": 5, "audio": {"sample_rate": 22050}, "espeak": {"voice": "en-us"}}
    (tmp_path / "many.onnx").write_bytes(b"network")
    (tmp_path / "many.onnx.json").write_text(json.dumps(config))
    path = str(tmp_path / "many.onnx")
    piper = PiperFamily()
    voices, test_voices = piper.choose_voices(["en", "de"], [f"{path}#1", f"{path}#3-4"], [f"{path}#0"])
    assert voices == {"en": ("many+1", "many+3", "many+4"), "de": ()} and test_voices["en"] == ("many+0",)
    assert Utterance("a", "en", "piper", "many+3").speaker == "piper/many/3"
    assert len(piper.choose_voices(["en"], [path], None)[0]["en"]) == 5
    for wrong in ("#5", "#3-9", "#x", "#2-1"):
        with pytest.raises(InputError, match="speakers of 0 to 4"):
            piper.choose_voices(["en"], [path + wrong], None)
    with pytest.raises(InputError, match="a voice of Piper, NAME.onnx with NAME.onnx.json beside it"):
        piper.choose_voices(["en"], [str(tmp_path / "none.onnx")], None)


@needs_piper
def test_a_broken_voice_of_piper_is_an_input_error(tmp_path):
    config = {"num_speakers": 1, "audio": {"sample_rate": 22050}, "espeak": {"voice": "en-us"}}
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    (tmp_path / "bad.onnx.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="expected Piper to speak with .*bad.onnx, found: "):
        words = ["--voice", "piper", "--voices", str(tmp_path / "bad.onnx"), "--text", "a bird"]
        synthesize_speech.main([*words, "--output", str(tmp_path / "bird.wav")])
    assert not (tmp_path / "bird.wav").exists()


FESTIVAL = """#!{python}
import os, re, struct, sys
if "--version" in sys.argv:
    sys.exit(print("festival stub"))
for text, file in re.findall(r'\\(s2i_say "(.*)" "(.*)"\\)', open(sys.argv[2]).read()):
    if "deadly" in text:
        os.abort()
    data = bytes(2000) + struct.pack("<24000h", *[8000, -8000] * 12000)
    form = 16, 1, 1, 16000, 32000, 2, 16, b"data", len(data)
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVEfmt ", *form)
    open(file, "wb").write(head + data)
"""  # fmt: skip


def test_festival_goes_on_after_a_sentence_that_ends_it(tmp_path, monkeypatch):
    program = tmp_path / "festival"
    program.write_text(FESTIVAL.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    texts = ["one bird", "a deadly bird", "deadly again", "two birds", "a deadly end"]
    sounds = FestivalFamily().utter(
        [Utterance(text, "en", "festival", "kal_diphone", (1.0, 1.0)) for text in texts]
    )
    assert [len(waveform) > 0 for waveform, _ in sounds] == [True, False, False, True, False]


class Babbler(Family):
    """A synthesiser with chance in it, whose clips depend on their block; some first tries are silent."""

    name = "babbler"
    block = 4
    is_seeded_by_block = True
    tries = 3

    def __init__(self, good: int = 0) -> None:
        self.good, self.asked = good, []

    missing = version = lambda self, voice: "1"
    words_a_minute = lambda self, utterance: 180  # noqa: E731
    choose_voices = None

    def utter(self, utterances, attempt=0):
        self.asked.append((len(utterances), attempt))
        level = 0.5 + 0.1 * len(utterances) + 0.01 * attempt
        seconds = 1 if attempt >= self.good else 0
        return [(np.full(16000 * seconds, level, np.float32), 16000) for _ in utterances]


def test_what_depends_on_its_block_is_made_with_its_whole_block_again(tmp_path):
    requests = [
        Request(tmp_path / f"{n}.flac", Utterance("a bird", "en", "babbler", "v", (n,)), f"caption {n}")
        for n in range(6)
    ]
    make_clips({"babbler": Babbler()}, 1, requests)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "5.flac").unlink()
    again = Babbler()
    make_clips({"babbler": again}, 1, list(reversed(requests)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole and again.asked == [(2, 0)]
    make_clips({"babbler": Babbler()}, 1, [*requests, Request(tmp_path / "00.flac", *requests[0][1:])])
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in whole}
    assert kept == whole  # clips that another manifest has are no other block's to change


def test_a_bad_clip_is_made_again_by_itself_and_named_when_no_try_is_good(tmp_path):
    request = Request(tmp_path / "0.flac", Utterance("a bird", "en", "babbler", "v"), "caption 0 of image 9")
    lucky = Babbler(2)
    make_clips({"babbler": lucky}, 1, [request])
    assert lucky.asked == [(1, 0), (1, 1), (1, 2)] and soundfile.info(request.path).frames == 16000
    request.path.unlink()
    with pytest.raises(InputError, match="silence for caption 0 of image 9, spoken by babbler/v 3 times"):
        make_clips({"babbler": Babbler(3)}, 1, [request])
    assert not request.path.exists()


def test_captions_in_other_languages_go_to_the_families_that_speak_them(tmp_path):
    many = replace(part("a", 1), voices={"en": ("a1",), "de": ("a2",)})
    cast = Cast((many, part("b", 9), part("c", 9, 0, False)), ("en", "de"), is_shared=True)
    row = image("1", "train", *["Vogel"] * 10)
    german = replace(row, captions=tuple(replace(caption, language="de") for caption in row.captions))
    assert {utterance.voice for utterance in cast.choose(german, 0).values()} == {"a2"}
    french = replace(row, captions=tuple(replace(caption, language="fr") for caption in row.captions))
    assert cast.choose(french, 0) == {}


def test_the_plans_of_the_recipes_are_plans():
    root = Path(synthesize_speech.__file__).parents[1] / "recipes"
    plan_files = [*root.glob("*/voices.yaml"), *root.glob("*/voices/*.yaml")]
    assert len(plan_files) == 4
    for path in plan_files:
        plan = read_plan(path, find_family)
        assert plan.families["espeak-ng"].share > sum(f.share for f in plan.families.values()) / 2
        assert bool(plan.families.get("piper", FamilyPlan(0)).share) == (path.name == "all.yaml")
