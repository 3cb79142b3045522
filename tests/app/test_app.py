"""What the page shows for a request, without a browser."""

from __future__ import annotations

import io
import json
import re
import shlex
import socket
import time
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from s2i import cli
from s2i.app import page
from s2i.app.archive import pack_answer
from s2i.app.render import failure, render
from s2i.app.studio import (
    ATTENTION_SIDE,
    MOST_CHARACTERS,
    Request,
    Studio,
    next_seeds,
    parse_seeds,
)
from s2i.app.timeline import SHADES, shade, trace
from s2i.app.visits import as_sentence
from s2i.config_data import AudioConfig
from s2i.data.audio import hear
from s2i.data.images import load_image, resize, to_uint8
from s2i.errors import InputError
from s2i.inference.attention_maps import heat, heat_over
from s2i.inference.model import load
from s2i.inference.word_segments import attention_during, word_segments
from s2i.reports.export import export
from s2i.search.build import build_index
from tests.fixtures.data import write_tiny_data
from tests.fixtures.models import SENTENCES, write_recording, write_tiny_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def model(folder):
    export([write_tiny_run(folder / "speech"), write_tiny_run(folder / "text", "text")], folder / "model")
    return load(folder / "model")


@pytest.fixture(scope="module")
def speech(folder):
    return write_recording(folder / "x.wav", 1.5)


@pytest.fixture(scope="module")
def answer(model, speech):
    return Studio(model).answer(Request(speech, SENTENCES[0], (4, 1)))


@pytest.mark.parametrize(
    "words, seeds",
    [
        ("3", (3,)),
        (" 0-3, 7 ", (0, 1, 2, 3, 7)),
        ("2 5;11", (2, 5, 11)),
        ("1 - 2", (1, 2)),
        ("5,1-5", (5, 1, 2, 3, 4)),
        ("0-7", tuple(range(8))),
        ("999999", (999999,)),
    ],
)
def test_seeds_as_a_person_writes_them(words, seeds):
    assert parse_seeds(words) == seeds


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "expected seeds such as"),
        ("three", "found 'three'"),
        ("-1", "found '-1'"),
        ("1.5", "found '1.5'"),
        ("\u0663", "expected seeds such as"),
        ("4-2", "the smaller first"),
        ("1000000", "from 0 to 999999"),
        ("0-8", "at most 8"),
        ("0-999999", "at most 8"),
        ("1,2,3,4,5,6,7,8,9", "at most 8"),
        ("9" * 40, "expected seeds such as"),
    ],
)
def test_other_seeds_are_refused(words, said):
    with pytest.raises(InputError, match=re.escape(said)):
        parse_seeds(words)


def test_next_seeds_follow_the_largest():
    assert next_seeds((0, 1, 2)) == "3-5"
    assert next_seeds((9, 2)) == "10-11"
    assert next_seeds((7,)) == "8"
    assert next_seeds((999_999, 3)) == "0-1"
    assert len(parse_seeds(next_seeds((999_990, 999_991)))) == 2


def test_each_seed_gives_the_image_of_the_generate_command(model, answer, speech, tmp_path):
    for side, given in zip(answer.modalities, ("--speech", "--text"), strict=True):
        argument = str(speech) if given == "--speech" else SENTENCES[0]
        for generated, seed in zip(side.generated_images, (4, 1), strict=True):
            words = ["--model", str(model.origin), given, argument, "--seed", str(seed), "--device", "cpu"]
            cli.main(["generate", *words, "--output", str(tmp_path / "x.png")])
            assert generated.seed == seed
            assert np.array_equal(generated.stages[-1], np.asarray(Image.open(tmp_path / "x.png")))
            assert [stage.shape for stage in generated.stages] == [(8, 8, 3), (16, 16, 3), (32, 32, 3)]


def test_speech_and_text_generate_from_the_same_noise(model, monkeypatch):
    noises = {}
    for modality, path in model.paths.items():
        hook = path.generator.register_forward_pre_hook(
            lambda _, given, modality=modality: noises.setdefault(modality, []).append(given[1:3])
        )
        encoding = (
            path.encode_text(SENTENCES[:1])
            if modality == "text"
            else path.encode_speech([torch.randn(22050, generator=torch.Generator().manual_seed(0))])
        )
        for key in ("4", "1"):
            path.generate(encoding, [key])
        hook.remove()
    for (noise, condition), (other_noise, other_condition) in zip(*noises.values(), strict=True):
        assert torch.equal(noise, other_noise) and torch.equal(condition, other_condition)


def test_there_is_one_attention_map_of_the_last_stage_a_segment(model, answer):
    path = model.paths["text"]
    output = path.generate(path.encode_text(SENTENCES[:1]), ["1"])
    maps = heat(output.attention[-1][0])
    images = answer.modalities[1].generated_images[1].attention
    assert len(images) == len(answer.modalities[1].segments) == len(SENTENCES[0].split())
    for image, strength in zip(images, maps, strict=True):
        assert np.array_equal(image, heat_over(output.images[-1][0], strength))
    assert [segment.label for segment in answer.modalities[1].segments] == SENTENCES[0].split()


def test_segments_of_speech_cover_the_recording(model, speech, answer):
    segments, path = answer.modalities[0].segments, model.paths["speech"]
    assert segments[0].start == 0 and segments[-1].end == pytest.approx(1.5, abs=1e-4)
    assert all(first.end == second.start for first, second in zip(segments, segments[1:], strict=False))
    heard = hear(speech, path.config.audio)
    words = word_segments(heard)
    assert [(segment.start, segment.end) for segment in segments] == words and len(words) > 1
    assert segments[1].label == "{:.2f} to {:.2f} s".format(*words[1])
    output = path.generate(path.encode_speech([heard.spoken]), ["4"])
    maps = heat(attention_during(output.attention[-1][0], path.encoder.seconds_per_step, words))
    shown = answer.modalities[0].generated_images[0].attention
    for image, strength in zip(shown, maps, strict=True):
        assert np.array_equal(image, heat_over(output.images[-1][0], strength))


def test_what_is_cut_around_a_sentence_is_shown_and_what_is_wrong_with_it_is_said(model, folder):
    recorded, rate = soundfile.read(write_recording(folder / "said.wav", 1.5))
    silence = np.zeros(rate)
    soundfile.write(folder / "padded.wav", np.concatenate([silence, recorded, silence[: rate // 2]]), rate)
    answer = Studio(model).answer(Request(folder / "padded.wav", "", (0,)))
    [side], timeline = answer.modalities, answer.timeline
    assert timeline.seconds == pytest.approx(3, abs=1e-3)
    assert (timeline.start, timeline.stop) == pytest.approx((1, 2.5), abs=0.03)
    assert side.segments[0].start == timeline.start
    assert side.segments[-1].end == pytest.approx(timeline.stop)
    shown = render(answer)
    assert shown.count('class="s2i-cut"') == 2 and "s2i-doubt" not in shown and "of 3.0 s heard" in shown
    alone = Studio(model).answer(Request(folder / "said.wav", "", (0,)))
    assert 's2i-cut"' not in render(alone)
    overdriven = np.clip(20 * recorded / np.abs(recorded).max(), -1, 1)
    soundfile.write(folder / "loud.wav", overdriven, rate)
    loud = Studio(model).answer(Request(folder / "loud.wav", "", (0,)))
    assert "It was too loud for its microphone" in render(loud)


def test_the_nearest_real_images_are_those_that_search_finds(model, speech, folder):
    write_tiny_data(folder)
    index = build_index(model, folder / "manifest.jsonl", folder / "index")
    answer = Studio(model, index).answer(Request(speech, SENTENCES[0], (0,)))
    for side, given in zip(answer.modalities, ({"speech": speech}, {"text": SENTENCES[0]}), strict=True):
        hits = model.search(index, top=6, **given)
        assert [near.name for near in side.neighbours] == [hit.class_name for hit in hits]
        assert [near.cosine for near in side.neighbours] == pytest.approx(
            [hit.score for hit in hits], abs=1e-5
        )
        first = np.asarray(resize(load_image(hits[0].image), 128))
        assert np.array_equal(side.neighbours[0].image, first)
    shown = render(answer)
    assert shown.count("<li><img") == 2 * 6 + 2 * 2 and "Nearest real images" in shown
    with pytest.raises(InputError, match="found another"):
        other = folder / "other"
        export([write_tiny_run(folder / "other-speech", seed=5)], other)
        Studio(load(other), index)


def test_unknown_and_unread_words_are_named(model):
    words = model.paths["text"].config.text_encoder.max_words
    text = "a zebra & " + "red " * (words + 2) + "zebra"
    (side,) = Studio(model).answer(Request(None, text, (0,))).modalities
    assert side.unknown == ["zebra"]
    assert side.unread == ["red"] * 4 + ["zebra"]
    shown = render(Studio(model).answer(Request(None, text, (0,))))
    assert "Not in the model's vocabulary: zebra." in shown and "so ignored: red red red red zebra." in shown


def test_large_images_under_heat_are_made_smaller(answer, monkeypatch):
    from s2i.app import studio

    image = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    assert studio._fit(image) is image
    large = np.repeat(np.repeat(image, 8, 0), 8, 1)
    assert np.array_equal(studio._fit(large), np.repeat(np.repeat(image, 4, 0), 4, 1))
    assert len(studio._fit(large)) == ATTENTION_SIDE


def test_the_waveform_has_each_columns_extremes():
    waveform = torch.zeros(6000)
    waveform[25], waveform[5999] = 0.5, -0.25
    timeline = trace(waveform, AudioConfig())
    assert timeline.extremes.shape == (300, 2)
    assert timeline.extremes[1].tolist() == [0, 0.5] and timeline.extremes[-1].tolist() == [-0.25, 0]
    assert not timeline.extremes[2:-1].any()
    assert timeline.seconds == pytest.approx(6000 / 22050)


def test_what_is_played_is_what_was_heard():
    waveform = torch.linspace(-0.9, 0.9, 3000)
    timeline = trace(waveform, AudioConfig())
    for exact, tolerance in ((False, 1 / 32768), (True, 0)):
        samples, rate = soundfile.read(io.BytesIO(timeline.wav(exact)), dtype="float32")
        assert rate == 22050 and np.abs(samples - waveform.numpy()).max() <= tolerance


def test_a_log_mel_is_shaded_from_quiet_to_loud_with_high_bins_on_top():
    mel = torch.full((5, 3), -30.0)
    mel[2, 0], mel[4, 2] = 2.0, -1.0  # 3 of 9 below the loudest: two shades of four up
    shades = shade(mel)
    assert shades.shape == (3, 5, 3)
    assert shades[2, 2].tolist() == SHADES[3].tolist() and shades[0, 4].tolist() == SHADES[2].tolist()
    assert (shades[1] == SHADES[0]).all()


def test_what_a_visitor_writes_can_not_become_markup(model):
    answer = Studio(model).answer(Request(None, "a red <script>alert(1)</script> bird", (0,)))
    shown, (side,) = render(answer), answer.modalities
    strongest = side.segments[side.generated_images[0].strongest].label
    assert "<script" not in shown and f"<output>{strongest}</output>" in shown
    assert failure('<img onerror="x">') == (
        '<p class="s2i-failure" role="alert">&lt;img onerror=&quot;x&quot;&gt;</p>'
    )


def test_the_answer_shows_every_stage_of_every_seed_side_by_side(answer):
    shown = render(answer)
    assert shown.count('<section class="s2i-card') == 2 and "Seed 4" in shown and "Seed 1" in shown
    for modality in ("speech", "text"):
        for seed in (4, 1):
            for side in (8, 16):
                assert f'alt="{side} px stage, from {modality}, seed {seed}"' in shown
            assert f'download="{modality}-seed-{seed}-32px.png"' in shown
    assert not re.search(r'(?:src|href)="(?!data:)', shown)


def test_a_model_without_attention_shows_what_was_heard_and_read(folder, speech):
    runs = [write_tiny_run(folder / f"plain-{name}", name, attention=False) for name in ("speech", "text")]
    export(runs, folder / "plain")
    shown = render(Studio(load(folder / "plain")).answer(Request(speech, SENTENCES[0], (0,))))
    assert "s2i-mel" in shown and ">small</span>" in shown
    assert "s2i-pick" not in shown and "s2i-tile" not in shown and "--attention" not in shown


def test_the_archive_holds_every_image_and_generates_it_again(model, answer, folder, tmp_path, monkeypatch):
    packed = pack_answer(answer, model)
    time.sleep(1.05 - time.time() % 1)  # a file that notes the second would be another one in the next
    assert packed == pack_answer(answer, model)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["seeds"] == [4, 1] and settings["text"] == SENTENCES[0] and settings["model"] == "model"
    assert settings["steps"] == {"speech": 7, "text": 7} and len(settings["images"]) == 2 * 2 * 3
    for image_entry in settings["images"]:
        image = np.asarray(Image.open(tmp_path / image_entry["file"]))
        assert image.shape == (image_entry["pixels"], image_entry["pixels"], 3)
    monkeypatch.chdir(tmp_path)
    for command, side in zip(settings["commands"][::2], answer.modalities, strict=True):
        _, *words = shlex.split(command)
        words.remove("--stages")
        cli.main([*words, "--device", "cpu"])
        again = np.asarray(Image.open(tmp_path / words[-1]))
        assert np.array_equal(again, side.generated_images[0].stages[-1])
        assert np.array_equal(again, np.asarray(Image.open(tmp_path / f"{side.modality}-seed-4-32px.png")))


def test_requests_out_of_bounds_are_refused(model, folder, speech, tmp_path):
    studio = Studio(model)
    with pytest.raises(InputError, match="found neither"):
        studio.answer(Request(None, "  ", (0,)))
    with pytest.raises(InputError, match=f"at most {MOST_CHARACTERS} characters, found 301"):
        studio.answer(Request(None, "a" * 301, (0,)))
    for seeds in ((), tuple(range(9))):
        with pytest.raises(InputError, match="1 to 8 seeds"):
            studio.answer(Request(speech, "", seeds))
    long = write_recording(tmp_path / "long.wav", 31, rate=8000)
    with pytest.raises(InputError, match="at most 30 s of speech, found 31 s"):
        studio.answer(Request(long, "", (0,)))
    with pytest.raises(InputError, match="path from text"):
        Studio(load(folder / "speech")).answer(Request(None, "a bird", (0,)))
    (side,) = studio.answer(Request(speech, "", (0,))).modalities
    assert side.modality == "speech"
    generated = model.paths["speech"].generate(
        model.paths["speech"].encode_speech([_waveform(speech)]), ["0"]
    )
    assert np.array_equal(side.generated_images[0].stages[-1], to_uint8(generated.images[-1][0]))


def test_without_gradio_a_line_says_how_to_get_it(monkeypatch, capsys, folder):
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        cli.main(["app", "--model", str(folder / "model")])
    printed = capsys.readouterr()
    assert caught.value.code == 2 and printed.out == ""
    assert printed.err == (
        "s2i: error: expected gradio, which serves the page, found none: pip install -e '.[app]'\n"
    )


def test_a_port_that_is_taken_is_refused(monkeypatch, folder):
    monkeypatch.setattr(page, "find_spec", lambda name: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="expected a free port at 127.0.0.1.*choose another --port"):
            page.serve(folder / "model", port=taken.getsockname()[1])
        with pytest.raises(InputError, match="expected a free port"):
            page.serve(folder / "model", port=70_000)


def test_sentences_name_no_file_of_the_server():
    message = "/tmp/a/x.wav: expected speech, found silence in /tmp/a/x.wav: record it again"
    assert as_sentence(message, "/tmp/a/x.wav") == (
        "Expected speech, found silence in the recording: record it again."
    )
    assert as_sentence("expected words!", None) == "Expected words!"


def test_gradios_links_are_taken_out_of_the_page_and_its_own_stay():
    html = (
        '<meta property="og:url" content="https://gradio.app/" /><script src="./assets/x.js"></script>'
        '{"root": "http://127.0.0.1:7860", "example": "https://github.com/gradio-app/x.wav"}'
    )
    assert page.without_links(html) == (
        '<meta property="og:url" content="" /><script src="./assets/x.js"></script>'
        '{"root": "http://127.0.0.1:7860", "example": ""}'
    )


def _waveform(path):
    samples, _ = soundfile.read(path, dtype="float32")
    return torch.from_numpy(samples)
