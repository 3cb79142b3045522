"""Many sentences, and the way between two recordings."""

from __future__ import annotations

import json
import os
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from s2i import cli
from s2i.data.manifest import Caption, ImageRecord, write_manifest
from s2i.errors import InputError, InputWarning
from s2i.files.locks import only_process
from s2i.inference.generate import generate
from s2i.inference.generate_many import Task, _load, generate_many
from s2i.inference.interpolate import between, interpolate
from s2i.inference.model import load
from s2i.inference.sentence_page import PageSettings
from s2i.models.caption_encoding import CaptionEncoding
from tests.fixtures.models import SENTENCES, write_recording, write_tiny_run


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "deep").mkdir()
    for number, name in enumerate(("a.wav", "b.wav", "deep/c.wav")):
        write_recording(folder / name, 0.8 + 0.3 * number, number)
    return folder


def test_each_recording_of_a_folder_gives_the_same_image_as_alone(model, recordings, tmp_path):
    options = {"count": 2, "seed": 5, "stages": True}
    files = generate_many(model, recordings, tmp_path / "out", attention=tmp_path / "where", **options)
    names = ("a", "b", "deep/c")
    assert list(files) == [tmp_path / "out" / f"{name}.png" for name in names]
    for name in names:
        alone = tmp_path / "alone.png", tmp_path / "alone-where.png"
        generate(model, recordings / f"{name}.wav", None, alone[0], attention=alone[1], **options)
        for one, folder in zip(alone, ("out", "where"), strict=True):
            assert one.read_bytes() == (tmp_path / folder / f"{name}.png").read_bytes()


def test_several_processes_give_the_images_and_lines_of_one(model, tmp_path, capsys):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join([SENTENCES[0], "quagga", "a red zebra", SENTENCES[1]]))

    def images(processes):
        made = []
        with pytest.warns(InputWarning, match="line 3: .* never learnt zebra"):
            with pytest.raises(InputError, match="found 1 that can't be used, named above, the first is 2:"):
                for file in generate_many(model, lines, tmp_path / str(processes), processes=processes):
                    made.append((file.name, file.read_bytes()))
        assert "left out: lines.txt, line 2: " in capsys.readouterr().err
        return made

    named_images = images(2)
    assert [name for name, _ in named_images] == ["1.png", "3.png", "4.png"] and named_images == images(1)


def test_settings_of_the_path_reach_several_processes_which_warn_once(model, tmp_path, monkeypatch):
    monkeypatch.setattr("s2i.inference.path.has_instructions", lambda device: False)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(SENTENCES))
    made = {}
    for processes in (1, 2):
        with pytest.warns(InputWarning, match="no instructions for bf16") as caught:
            files = list(
                generate_many(model, lines, tmp_path / str(processes), bf16=True, processes=processes)
            )
        assert len(caught) == 1
        made[processes] = [file.read_bytes() for file in files]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what each process of several calls is silent
        loaded = _load(Task(model, "text", "model", "cpu", PageSettings(bf16=True), False))
    assert loaded.path("text").bf16
    generate(model, None, SENTENCES[0], tmp_path / "alone.png", bf16=True)
    assert made[1] == made[2] and made[1][0] == (tmp_path / "alone.png").read_bytes()


def test_photographs_beside_the_recordings_are_never_written_over(model, recordings, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(recordings, both)
    (both / "a.png").write_bytes(b"a photograph")
    (tmp_path / "link").symlink_to("both")
    for given in (
        {"output": both},
        {"output": tmp_path / "link"},
        {"output": tmp_path / "x", "attention": both},
    ):
        with pytest.raises(InputError, match="found a.png there"):
            list(generate_many(model, both, **given))
    assert not (tmp_path / "x").exists()
    for _ in range(2):  # generated inside of what was read: no recording, so the second call finds the same
        assert len(list(generate_many(model, both, both / "deep" / "generated"))) == 3
    (both / "deep" / "generated" / "a.png").write_bytes(b"another photograph")
    (both / "a.wav").write_bytes((both / "b.wav").read_bytes())  # to be resampled
    with pytest.raises(InputError, match="found a.png there"):
        list(generate_many(model, both, both / "deep" / "generated"))
    assert (both / "a.png").read_bytes() == b"a photograph"
    assert (both / "deep" / "generated" / "a.png").read_bytes() == b"another photograph"


def test_a_killed_run_continues_with_what_is_missing(model, recordings, tmp_path, monkeypatch):
    output = tmp_path / "out"
    running = generate_many(model, recordings, output)
    next(running)
    running.close()
    assert [file.name for file in output.rglob("*.png")] == ["a.png"]
    generated = []
    from s2i.inference import generate_many as module

    generate = module.sentence_pages
    monkeypatch.setattr(module, "sentence_pages", lambda *given: generated.append(given) or generate(*given))
    assert len(list(generate_many(model, recordings, output))) == 3 and len(generated) == 2
    assert len(list(generate_many(model, recordings, output))) == 3 and len(generated) == 2


def test_a_sentence_that_has_changed_is_generated_again(model, tmp_path):
    lines, output = tmp_path / "lines.txt", tmp_path / "out"
    lines.write_text("a red bird\na blue bird\n")
    before = [file.read_bytes() for file in generate_many(model, lines, output)]
    lines.write_text("a blue bird\na blue bird\n")
    with (output / "sentences.jsonl").open("a") as stream:
        stream.write('{"name": "2", "o')  # a kill while it was written
    after = [file.read_bytes() for file in generate_many(model, lines, output)]
    assert before[0] != after[0] and before[1] == after[1]
    written = [json.loads(line) for line in (output / "sentences.jsonl").read_text().splitlines()]
    assert [line["name"] for line in written] == ["1", "2", "1"]
    with pytest.raises(InputError, match="found .*out twice"):
        list(generate_many(model, lines, output, attention=output))


def test_images_of_other_settings_or_another_model_are_not_mixed(model, recordings, tmp_path):
    list(generate_many(model, recordings, tmp_path / "out"))
    with pytest.raises(InputError, match="found another seed and stages"):
        list(generate_many(model, recordings, tmp_path / "out", seed=1, stages=True))
    with pytest.raises(InputError, match="found another encoder and generator"):
        list(generate_many(write_tiny_run(tmp_path / "run", seed=2), recordings, tmp_path / "out"))
    with pytest.raises(InputError, match="found another candidates and image_encoder"):
        list(generate_many(model, recordings, tmp_path / "out", candidates=2))


def _manifest(folder, *captions):
    write_manifest(folder / "m.jsonl", [ImageRecord("x/1", "x.png", None, 1, "bird", "test", captions)])
    return folder / "m.jsonl"


def test_a_manifest_is_generated_caption_by_caption(model, recordings, tmp_path):
    spoken = [Caption(None, name, None, None) for name in ("a.wav", "b.wav")]
    manifest = _manifest(tmp_path, Caption(SENTENCES[0], None, None, "en"), *spoken)
    files = list(generate_many(model, manifest, tmp_path / "out", root=recordings))
    assert [file.name for file in files] == ["x_1-1.png", "x_1-2.png"]
    generate(model, recordings / "b.wav", None, tmp_path / "b.png")
    assert files[1].read_bytes() == (tmp_path / "b.png").read_bytes()
    written = _manifest(tmp_path, Caption(SENTENCES[0], None, None, "en"))
    [generated] = generate_many(model, written, tmp_path / "texts")
    generate(model, None, SENTENCES[0], tmp_path / "t.png")
    assert generated.read_bytes() == (tmp_path / "t.png").read_bytes()


def test_names_of_any_bytes_and_ids_of_any_length_are_generated(model, recordings, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    name = os.fsdecode(b"caf\xe9")
    shutil.copyfile(recordings / "a.wav", odd / f"{name}.wav")
    assert [file.name for file in generate_many(model, odd, tmp_path / "out")] == [f"{name}.png"]
    assert [file.name for file in generate_many(model, odd, tmp_path / "out")] == [f"{name}.png"]
    spoken = (Caption(None, "a.wav", None, None),)
    ids = ["x" * 400, "x" * 401, "\u00fc" * 130]
    images = [ImageRecord(each, "x.png", None, 0, "x", "test", spoken) for each in ids]
    write_manifest(tmp_path / "m.jsonl", images)
    files = list(generate_many(model, tmp_path / "m.jsonl", tmp_path / "many", root=recordings))
    assert len({file.name for file in files}) == 3 and all(file.is_file() for file in files)


def test_what_can_not_be_used_is_named_and_the_rest_is_generated(model, recordings, tmp_path, capsys):
    shutil.copytree(recordings, tmp_path / "in")
    (tmp_path / "in" / "b.wav").write_text("no sound")
    with pytest.raises(InputError, match="expected 3 usable sentences .* found 1 that can't be used"):
        list(generate_many(model, tmp_path / "in", tmp_path / "out"))
    assert sorted(file.name for file in (tmp_path / "out").rglob("*.png")) == ["a.png", "c.png"]
    assert "b.wav" in capsys.readouterr().err
    shutil.copy(recordings / "a.wav", tmp_path / "in" / "a.flac")
    with pytest.raises(InputError, match=r"found two named a\.png"):
        list(generate_many(model, tmp_path / "in", tmp_path / "out"))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="expected recordings .* found none"):
        list(generate_many(model, tmp_path / "nothing", tmp_path / "out"))


def test_recordings_that_can_not_be_decoded_are_named_and_hidden_ones_passed_over(model, tmp_path, capsys):
    folder = tmp_path / "voice"
    folder.mkdir()
    (tmp_path / "store").mkdir()
    write_recording(tmp_path / "store" / "b.wav")
    (folder / "linked").symlink_to(tmp_path / "store")
    (folder / "a.m4a").write_bytes(b"mpeg-4")
    (folder / "._b.wav").write_bytes(b"of a Mac")
    with pytest.raises(InputError, match="2 usable sentences in .*, found 1 that can't be used, .* is a:"):
        list(generate_many(model, folder, tmp_path / "out"))
    said = capsys.readouterr().err
    assert "a.m4a: convert it" in said and "passed over 1 hidden file (._b.wav)" in said
    assert [file.name for file in (tmp_path / "out").rglob("*.png")] == ["b.png"]


def test_the_command_generates_a_file_of_sentences_and_prints_each_image(model, tmp_path, capsys):
    (tmp_path / "s.txt").write_text("\n".join([SENTENCES[0], "", SENTENCES[1]]))
    words = ["generate", "--model", str(model), "--device", "cpu"]
    cli.main([*words, "--texts", str(tmp_path / "s.txt"), "--output", str(tmp_path / "out")])
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / f"{line}.png") for line in (1, 3)]
    for wrong in (["--interpolate", __file__, __file__, "--stages"], ["--texts", "nowhere.txt"]):
        with pytest.raises(SystemExit) as caught:
            cli.main([*words, *wrong, "--output", str(tmp_path / "no.png")])
        assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_lines_that_are_read_in_part_or_not_at_all_are_named(model, tmp_path, capsys):
    (tmp_path / "s.txt").write_text("\n".join([SENTENCES[0], "", "a red zebra", "quagga"]))
    words = ["generate", "--model", str(model), "--device", "cpu", "--texts", str(tmp_path / "s.txt")]
    with pytest.raises(SystemExit):
        cli.main([*words, "--output", str(tmp_path / "out")])
    lines = capsys.readouterr().err.splitlines()
    assert "s2i: warning: s.txt, line 3: 'a red zebra' is read in part: the model never learnt zebra" in lines
    assert [line for line in lines if line.startswith("left out: s.txt, line 4: expected words")]
    captions = Caption("a red bird", None, None, "en"), Caption("a blue quagga bird", None, None, "en")
    manifest = _manifest(tmp_path, *captions)
    with pytest.warns(InputWarning, match="m.jsonl, caption 1 of x/1: .* never learnt quagga"):
        list(generate_many(model, manifest, tmp_path / "many"))


def test_an_interpolation_begins_and_ends_with_the_image_of_each_recording(model, recordings, tmp_path):
    ends = [recordings / "a.wav", recordings / "deep" / "c.wav"]
    interpolate(model, *ends, tmp_path / "strip.png", frames=4, seed=3)
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape == (32, 4 * 34 - 2, 3)
    alone = [np.asarray(load(model).generate(speech=end, seed=3)[0]) for end in ends]
    assert np.array_equal(strip[:, :32], alone[0]) and np.array_equal(strip[:, -32:], alone[1])
    assert not np.array_equal(strip[:, 34:66], alone[0])
    interpolate(model, *ends, tmp_path / "way.gif", frames=4, seed=3)
    assert sum(1 for _ in ImageSequence.Iterator(Image.open(tmp_path / "way.gif"))) == 6  # there and back


def test_halfway_lies_between_in_length_and_steps():
    def encoding(sentence, sequence):
        values = torch.tensor(sequence)[None, None]
        return CaptionEncoding(torch.tensor([sentence]), values, torch.ones(1, values.shape[2]).bool())

    first = encoding([1.0, 0.0], [0.0, 2.0])
    last = encoding([0.0, 3.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    half = between(first, last, 0.5)
    # (0.5, 1.5) made 2 long, halfway between 1 and 3; 4 steps between 2 and 6.
    torch.testing.assert_close(half.sentence, torch.tensor([[0.5, 1.5]]) * 2 / 2.5**0.5)
    expected = (torch.linspace(0, 2, 4) + torch.linspace(0, 5, 4)) / 2
    torch.testing.assert_close(half.sequence[0, 0], expected)
    assert half.mask.shape == (1, 4) and half.mask.all()
    for part, end in ((0.0, first), (1.0, last)):
        same = between(first, last, part)
        assert torch.equal(same.sentence, end.sentence) and torch.equal(same.sequence, end.sequence)


def test_padding_of_a_recording_has_no_part_in_the_way():
    mask = torch.tensor([[True, True, False]])
    padded = CaptionEncoding(torch.ones(1, 2), torch.tensor([[[1.0, 2.0, 9.0]]]), mask)
    assert between(padded, padded, 0.5).sequence.tolist() == [[[1.0, 2.0]]]


def test_settings_are_readable(model, recordings, tmp_path):
    list(generate_many(model, recordings, tmp_path / "out", seed=4))
    known = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (known["seed"], known["count"], known["stages"]) == (4, 1, False)


def test_a_folder_that_another_call_is_writing_is_refused(model, tmp_path):
    (tmp_path / "lines.txt").write_text("a red bird\n")
    with only_process(tmp_path / "out"):
        with pytest.raises(InputError, match="at work there"):
            list(generate_many(model, tmp_path / "lines.txt", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
