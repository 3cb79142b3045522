"""What visitors get: examples, links, commands that work, and nothing stale under an error."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from dataclasses import replace
from html import unescape
from urllib.parse import parse_qs

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from s2i import cli
from s2i.app.again import ROOT, Shared, commands, from_root, query, read_query
from s2i.app.examples import MOST, find_examples
from s2i.app.page import CANDIDATES, FEW, build_page, usual_candidates
from s2i.app.render import UNFAMILIAR, render
from s2i.app.studio import Request, Studio, strongest_map
from s2i.app.visits import Visits
from s2i.app.welcome import heading, welcome
from s2i.config_networks import ImageEncoderConfig
from s2i.data.images import to_uint8
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.reports.export import export
from tests.fixtures.models import SENTENCES, write_recording, write_tiny_run

gradio = pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("visits")


@pytest.fixture(scope="module")
def model(folder):
    export([write_tiny_run(folder / "speech"), write_tiny_run(folder / "text", "text")], folder / "model")
    return load(folder / "model", "cpu")


@pytest.fixture(scope="module")
def examples(folder, model):
    """Two recordings in the folder beside the model."""
    (folder / "examples").mkdir()
    lines = []
    for name, seconds in (("one", 1.0), ("two", 1.5)):
        samples, rate = soundfile.read(write_recording(folder / f"{name}.wav", seconds))
        soundfile.write(folder / "examples" / f"{name}.flac", samples, rate)  # 16 bits
        lines.append({"audio": f"{name}.flac", "text": SENTENCES[0], "speaker": f"voice {name}"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "examples" / "examples.jsonl").write_text(text)
    return find_examples(model.origin)


@pytest.fixture(scope="module")
def visits(model, folder, examples):
    return Visits(Studio(model), folder / "downloads", examples)


def images(shown: str) -> list[str]:
    """The last stages that an answer shows."""
    return re.findall(r'<img src="(data:image/png[^"]+)" alt="Generated', shown)


def link_of(shown: str) -> str:
    return unescape(re.search(r'data-query="([^"]*)"', shown)[1])


def test_examples_are_those_of_the_model_or_beside_all_models(examples, folder, tmp_path):
    assert [(each.name, each.text, each.speaker) for each in examples] == [
        ("one", SENTENCES[0], "voice one"),
        ("two", SENTENCES[0], "voice two"),
    ]
    examples_folder = tmp_path / "mine" / "examples"
    examples_folder.mkdir(parents=True)
    soundfile.write(examples_folder / "a.wav", np.zeros(900), 8000)
    (examples_folder / "examples.jsonl").write_text('{"audio": "a.wav", "text": null}\n\n' * (MOST + 2))
    model_examples = find_examples(tmp_path / "mine")
    assert {(each.name, each.text, each.rate, len(each.samples)) for each in model_examples} == {
        ("a", "", 8000, 900)
    }
    assert len(model_examples) <= MOST and find_examples(tmp_path) == []


def test_a_broken_list_of_examples_is_one_line(tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "examples.jsonl").write_text('{"sound": "a.wav"}')
    with pytest.raises(InputError, match="expected a line with audio, text and speaker, found .*: mend it"):
        find_examples(tmp_path)


def test_an_example_gives_its_images_and_is_ready_to_go_on_from(visits, examples):
    status, shown, archive, sound, typed = visits.try_example(examples[1], "3,5")
    assert status == "" and len(images(shown)) == 4 and archive["visible"]
    assert typed == SENTENCES[0] and sound[0] == 22050 and np.array_equal(sound[1], examples[1].samples)
    assert parse_qs(link_of(shown).removeprefix("?")) == {
        "example": ["two"],
        "seeds": ["3,5"],
    }
    assert f"--speech={examples[1].path}" in shown and "recording.wav" not in shown


def test_an_example_is_known_again_when_the_page_hands_it_back(visits, examples, tmp_path):
    """gradio writes what it is given into a WAV file of its own."""
    soundfile.write(tmp_path / "x.wav", examples[0].samples, examples[0].rate)
    _, shown, _ = visits.generate(str(tmp_path / "x.wav"), SENTENCES[0], "0")
    assert link_of(shown) == "?example=one&seeds=0"
    changed = examples[0].samples.copy()
    changed[100] += 5
    soundfile.write(tmp_path / "y.wav", changed, examples[0].rate)
    _, shown, _ = visits.generate(str(tmp_path / "y.wav"), "", "0")
    assert 'data-query=""' in shown and "--speech=recording.wav" in shown and "s2i-copy-link" not in shown


@pytest.mark.parametrize("wrong", [("", "a bird", "x"), ("", "", "0"), ("/none.wav", "", "0")])
def test_nothing_stale_stays_under_an_error(visits, wrong):
    recorded, typed, seeds = wrong
    for values in (
        visits.generate(recorded or None, typed, seeds),
        visits.generate_others(recorded or None, typed, seeds),
    ):
        status, shown, archive, *_ = values
        assert "s2i-failure" in status and shown == "" and archive == gradio.update(visible=False)


@pytest.mark.parametrize(("typed", "message"), [("", "empty text"), ("...", "'...'")])
def test_nothing_stale_stays_under_words_that_can_not_be_spoken(visits, typed, message):
    status, shown, archive, sound = visits.speak(typed)
    assert "s2i-failure" in status and message in unescape(status) and shown == ""
    assert archive == gradio.update(visible=False) and sound == gradio.skip()
    status, shown, archive, (rate, samples) = visits.speak("a red bird")
    assert (status, shown, archive) == ("", gradio.skip(), gradio.skip()) and len(samples) > rate // 2


def test_all_that_visits_return_has_its_place_on_the_page(model, folder, examples):
    """What is shown and saved goes with every answer and every error."""
    page = build_page(Studio(model), folder / "downloads", examples)
    events = [event for event in page.fns.values() if isinstance(getattr(event.fn, "__self__", None), Visits)]
    assert {event.fn.__name__ for event in events} == {"generate", "generate_others", "follow_link", "speak"}
    for event in events:
        names = [component.elem_id for component in event.outputs[:3]]
        assert names == ["s2i-status", "s2i-result", "s2i-save"], event.fn.__name__


def test_a_link_carries_sentence_and_seeds(visits):
    _, shown, _ = visits.generate(None, "a small red bird & more", "7, 2")
    status, followed, _, _, typed, seeds = visits.follow_link(link_of(shown))
    assert status == "" and images(followed) == images(shown) and len(images(shown)) == 2
    assert (typed, seeds) == ("a small red bird & more", "7,2")


def test_a_link_to_an_example_and_one_of_nothing(visits):
    status, shown, _, sound, typed, seeds = visits.follow_link("?example=one&seeds=4")
    assert status == "" and len(images(shown)) == 2 and typed == SENTENCES[0] and seeds == "4"
    assert visits.follow_link("?__theme=dark") == (gradio.skip(),) * 6
    assert visits.follow_link(None) == (gradio.skip(),) * 6
    assert "expected an example of this page" in visits.follow_link("?example=none")[0].lower()
    assert "expected seeds" in visits.follow_link("?text=a&seeds=all")[0].lower()


@pytest.mark.parametrize("typed", ["a blue bird", ""])
def test_a_link_to_an_example_carries_another_sentence_too(visits, examples, typed):
    recorded = str(examples[1].path)
    _, shown, _ = visits.generate(recorded, f" {typed}", "2")
    assert parse_qs(link_of(shown).removeprefix("?"), keep_blank_values=True) == {
        "example": ["two"],
        "text": [typed],
        "seeds": ["2"],
    }
    status, followed, _, sound, words, _ = visits.follow_link(link_of(shown))
    assert status == "" and images(followed) == images(shown) and words == typed
    assert np.array_equal(sound[1], examples[1].samples) and link_of(followed) == link_of(shown)


def test_a_link_speaks_what_was_spoken(visits, tmp_path):
    _, _, _, (rate, samples) = visits.speak(" a blue bird")
    soundfile.write(tmp_path / "spoken.wav", samples, rate)
    _, shown, _ = visits.generate(str(tmp_path / "spoken.wav"), "a blue bird ", "1,2")
    assert link_of(shown) == "?text=a+blue+bird&spoken=1&seeds=1%2C2" and len(images(shown)) == 4
    status, followed, _, sound, typed, seeds = visits.follow_link(link_of(shown))
    assert status == "" and images(followed) == images(shown) and np.array_equal(sound[1], samples)
    assert (typed, seeds) == ("a blue bird", "1,2") and link_of(followed) == link_of(shown)
    _, shown, _ = visits.generate(str(tmp_path / "spoken.wav"), "a red bird", "1")
    assert link_of(shown) == "?text=a+red+bird&seeds=1"  # no link holds that recording


def test_a_link_to_a_model_from_speech_alone_speaks_its_sentence(folder):
    status, shown, _, sound, typed, seeds = Visits(
        Studio(load(folder / "speech", "cpu")), folder / "spoken", []
    ).follow_link("?text=a+red+bird&seeds=1")
    assert status == "" and len(images(shown)) == 1 and len(sound[1]) > 4000 and seeds == "1"


def test_the_page_shows_the_nearest_of_several_candidates_and_its_commands_say_so(model, folder):
    visits = Visits(Studio(model), folder / "several", [], candidates=4)
    plain = Visits(Studio(model), folder / "one", [])
    _, shown, archive = visits.generate(None, SENTENCES[0], "0-3")
    assert images(shown) != images(plain.generate(None, SENTENCES[0], "0-3")[1])
    path = model.path("text").choosing_among(4)
    nearest = to_uint8(path.generate(path.encode_text(SENTENCES[:1]), ["2"]).images[-1])[0]
    request = Request(None, SENTENCES[0], (2,), candidates=4)
    (side,) = Studio(model).answer(request).modalities
    assert np.array_equal(side.generated_images[0].stages[-1], nearest)
    (command,) = commands(request, ["text"], model.origin)
    assert "--seed 2 --candidates 4 " in command and "--candidates 4" in unescape(shown)
    with zipfile.ZipFile(archive["value"]) as saved:
        assert json.loads(saved.read("settings.json"))["candidates"] == 4


def test_several_candidates_are_usual_where_they_take_milliseconds(model):
    assert usual_candidates(model) == CANDIDATES > 1
    paths = {name: replace(path, image_encoder=None) for name, path in model.paths.items()}
    assert usual_candidates(replace(model, paths=paths)) == 1
    path = model.path("text")
    unmatched = replace(path.config, gan=replace(path.config.gan, encoder_start="random"))
    assert usual_candidates(replace(model, paths={"text": replace(path, config=unmatched)})) == 1
    few = replace(path.config, image_encoder=ImageEncoderConfig(kind="efficientnet_lite0"))
    assert usual_candidates(replace(model, paths={"text": replace(path, config=few)})) == FEW > 1
    pretrained = replace(path.config, image_encoder=ImageEncoderConfig(kind="inception_v3"))
    assert usual_candidates(replace(model, paths={"text": replace(path, config=pretrained)})) == 1
    large = replace(path.config, generator=replace(path.config.generator, base_size=64, stages=3))
    assert large.generated_size == 256
    assert usual_candidates(replace(model, paths={"text": replace(path, config=large)})) == 1


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        (Shared("a bird? & 100%", "3,1"), "?text=a+bird%3F+%26+100%25&seeds=3%2C1"),
        (Shared("a bird", "3", is_spoken=True), "?text=a+bird&spoken=1&seeds=3"),
        (Shared(None, "3,1", "two"), "?example=two&seeds=3%2C1"),
        (Shared("a bird", "0", "two"), "?example=two&text=a+bird&seeds=0"),
        (Shared("", "0", "two"), "?example=two&text=&seeds=0"),
    ],
)
def test_a_query_reads_what_it_wrote(shared, words):
    assert query(shared) == words and read_query(words) == shared


def test_a_query_of_no_sentence_is_none():
    assert query(Shared("", "0")) == ""
    assert read_query("") is None and read_query("?seeds=3") is None
    assert read_query("?text=+&spoken=1&seeds=3") is None


def test_images_are_smoothed_on_the_page_as_elsewhere():
    style = (ROOT / "s2i" / "app" / "page.css").read_text(encoding="utf-8")
    assert "image-rendering" not in style


def test_the_address_forgets_all_that_an_earlier_answer_put_there():
    """page.js deletes the names that `query` writes before it sets those of the new answer."""
    script = (ROOT / "s2i" / "app" / "page.js").read_text(encoding="utf-8")
    deleted = json.loads(re.search(r"of (\[.*?\])\) address\.searchParams\.delete", script)[1])
    written = query(Shared("a bird", "3", "two", is_spoken=True)).removeprefix("?")
    assert set(deleted) == set(parse_qs(written))


def test_commands_work_from_the_repositorys_root(model, tmp_path, monkeypatch):
    """Those of a shipped model name it from there, those of another its whole path."""
    request = Request(None, SENTENCES[0], (4,))
    (command,) = commands(request, ["text"], ROOT / "checkpoints" / "painted_birds")
    assert shlex.split(command)[:4] == ["s2i", "generate", "--model", "checkpoints/painted_birds"]
    assert from_root(ROOT / "checkpoints" / "examples" / "piper.flac") == "checkpoints/examples/piper.flac"
    (command,) = commands(request, ["text"], model.origin)
    monkeypatch.chdir(tmp_path)
    _, *words = shlex.split(command)
    words.remove("--stages")
    cli.main([*words, "--device", "cpu"])
    (side,) = Studio(model).answer(request).modalities
    made = np.asarray(Image.open(tmp_path / "text-seed-4.png"))
    assert np.array_equal(made, side.generated_images[0].stages[-1])


def test_an_unfamiliar_recording_is_said_in_words_above_the_images(model, examples):
    answer = Studio(model).answer(Request(examples[0].path, "", (0,)))
    side = replace(answer.modalities[0], is_unfamiliar=True)
    shown = render(replace(answer, modalities=[side]))
    assert UNFAMILIAR[3:] in shown and shown.index("An unfamiliar recording") < shown.index("<img")
    assert "unfamiliar" not in render(replace(answer, modalities=[replace(side, is_unfamiliar=False)]))


def test_a_strong_spot_is_stronger_than_a_faint_veil():
    maps = torch.zeros(3, 4, 4)
    maps[0] = 0.2  # 16 x .04
    maps[2, 1, 1] = 0.9  # .81
    assert strongest_map(maps) == 2
    maps[1, 0] = 0.6  # 4 x .36
    assert strongest_map(maps) == 1


def test_the_strongest_segment_is_chosen_at_first(model):
    answer = Studio(model).answer(Request(None, SENTENCES[0], (0, 1)))
    (side,) = answer.modalities
    maps = side.generated_images[0].attention
    strongest = side.generated_images[0].strongest
    assert 0 <= strongest < len(maps)
    images = [replace(side.generated_images[0], strongest=2), side.generated_images[1]]
    shown = render(replace(answer, modalities=[replace(side, generated_images=images)]))
    pressed = re.findall(r'class="s2i-tile".*?aria-pressed="(\w+)"', shown)
    assert pressed == ["true" if place == 2 else "false" for place in range(len(maps))]
    assert f"<output>{side.segments[2].label}</output>" in shown


def test_images_come_first_and_the_first_seed_is_large(model, examples):
    shown = render(Studio(model).answer(Request(examples[0].path, SENTENCES[0], (0, 1))))
    assert shown.index("s2i-chosen") < shown.index("s2i-player")
    assert shown.count("s2i-chosen") == 1 and '<section class="s2i-card s2i-chosen" data-seed="0">' in shown


def test_the_model_says_what_it_knows(model):
    assert "It knows" not in heading(model) and "<b>model</b>" in heading(model)
    paths = {
        name: replace(path, config=replace(path.config, data=replace(path.config.data, subject="<birds>")))
        for name, path in model.paths.items()
    }
    page_heading = heading(replace(model, paths=paths))
    assert "It knows &lt;birds&gt;, and nothing else." in page_heading
    assert "Click an example" in welcome(model, True) and "Click" not in welcome(model, False)
