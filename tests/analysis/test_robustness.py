"""The same captions in noise, in rooms and by other voices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_prep.swapped_captions import write_swapped_captions
from s2i.analysis import conditions, robustness
from s2i.analysis.conditions import add_noise, add_room, add_silence, family_of, in_band
from s2i.analysis.robustness import measure_robustness
from s2i.cli import main
from s2i.config_data import AudioConfig
from s2i.data.manifest import read_manifest, write_manifest
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.records import evaluate
from s2i.inference import path as path_module
from s2i.inference.model import load
from s2i.reports import analysis_sections
from s2i.reports.analysis_sections import FAMILY_CHART
from s2i.reports.compare import _robustness as report_of_robustness
from s2i.reports.compare import compare
from s2i.reports.export import export
from s2i.reports.robustness import report_robustness
from tests.fixtures.runs import write_world


def test_noise_is_as_loud_as_the_ratio_says_and_goes_around():
    speech = torch.sin(torch.arange(8000) / 7)
    noise = torch.randn(300, generator=torch.Generator().manual_seed(0))
    for ratio in (20, 0):
        added = add_noise(speech, noise, ratio, 250) - speech
        measured_ratio = 10 * torch.log10(speech.square().mean() / added.square().mean())
        assert measured_ratio.item() == pytest.approx(ratio, abs=1e-3)
    assert torch.allclose(added[:10] / added[0], noise[250:260] / noise[250], atol=1e-4)
    assert torch.allclose(added[50:60], added[350:360], atol=1e-6)  # around after 300 samples


def test_a_room_of_one_reflection_adds_it_at_the_former_power():
    speech = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    response = torch.zeros(400)
    response[40], response[140] = 1.0, 0.5  # what comes before the direct sound is cut off
    wet = add_room(speech, response)
    expected = speech.clone()
    expected[100:] += 0.5 * speech[:-100]
    expected *= (speech.square().mean() / expected.square().mean()).sqrt()
    assert torch.allclose(wet, expected, atol=1e-4)


def test_noise_and_echoes_are_read_to_their_end(tmp_path):
    response = np.zeros(20000)
    response[200], response[12000] = 1.0, 1e-4  # far under what counts as speech
    soundfile.write(tmp_path / "room.wav", response, 22050, "FLOAT")
    [read] = robustness._sounds(tmp_path, AudioConfig())
    assert len(read) == 20000 and read[12000] > 0


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"), classifier_steps=5)


def test_every_condition_is_measured_and_the_clean_one_is_that_of_evaluate(
    world, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(robustness, "RATIOS", (20, 0))
    monkeypatch.setattr(robustness, "SPEEDS", (1.2,))
    monkeypatch.setattr(robustness, "RATES", ())
    monkeypatch.setattr(robustness, "ACCENTS", ("de",))
    random = np.random.default_rng(0)
    for name in ("noise", "rooms"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", random.normal(0, 0.1, 9000), 16000)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    table = report_robustness(world["speech"], None, noise=tmp_path / "noise", rooms=tmp_path / "rooms")
    assert torch.equal(torch.get_rng_state(), before)
    assert table == world["speech"] / "robustness" / "table.md"
    rows = {row["name"]: row for row in json.loads((table.parent / "results.json").read_text())["rows"]}
    assert list(rows) == [
        "clean",
        "noise at 20 dB",
        "noise at 0 dB",
        "room",
        "speed 1.2",
        "telephone",
        "small microphone",
        "silence of 2 s around",
        "resynthesised",
        "voice de",
        "seen speakers",
        "unseen speakers",
    ]
    accuracies = {
        (line["metric"], line["of"]): line["value"]
        for line in evaluate(world["speech"], ["attribute_accuracy"])
    }
    clean = rows["clean"]["attribute_accuracy"]
    # float16 in the pack
    assert clean["value"] == pytest.approx(accuracies["attribute_accuracy", "run"], abs=0.02)
    assert "difference" not in clean and rows["voice de"]["reference"] == "resynthesised"
    for name in ("noise at 0 dB", "room", "speed 1.2"):
        recall = rows[name]["recall@1"]
        change = recall["value"] - rows["clean"]["recall@1"]["value"]
        assert recall["difference"]["value"] == pytest.approx(change) and rows[name]["captions"] == 60
    assert rows["seen speakers"]["captions"] == rows["unseen speakers"]["captions"] == 30
    assert (table.parent / "chart.svg").read_text().count("<circle") == 9
    told_by = json.loads((table.parent / "results.json").read_text())
    assert told_by["sources"] == {"noise": "noise", "rooms": "rooms"} and told_by["identity"]["step"] == 40
    compare(world["speech"], world["text"], tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>Robustness</h2>" in page and "noise at 0 dB" in page
    chart = (tmp_path / "report" / "images" / "robustness.svg").read_text()
    assert chart == (table.parent / "chart.svg").read_text() and 'src="images/robustness.svg"' in page
    assert sum(line.startswith("| ") for line in table.read_text().splitlines()) == 1 + len(rows)
    compare(world["speech"], world["text"], tmp_path / "other", overrides=["evaluation.seed=1"])
    assert "results.json is left out: it is of other weights" in capsys.readouterr().err
    assert "<h2>Robustness</h2>" not in (tmp_path / "other" / "index.html").read_text()


def test_an_exported_model_is_measured_on_data_that_it_is_given_as_it_hears(world, tmp_path, monkeypatch):
    for name in ("SPEEDS", "RATES", "ACCENTS"):
        monkeypatch.setattr(robustness, name, ())
    model, root = tmp_path / "model", world["speech"].parents[1] / "birds"
    export([world["speech"], world["text"]], model)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    words = [
        f"data.pack={root / 'pack'}",
        f"data.root={root}",
        f"evaluation.classifier={world['classifier']}",
    ]
    words += ["evaluation.captions=2", f"evaluation.cache={tmp_path / 'features'}"]
    of_run = measure_robustness(world["speech"], overrides=["evaluation.captions=2"])
    of_model = measure_robustness(model, overrides=words)
    for run_row, same in zip(of_run["rows"], of_model["rows"], strict=True):
        assert run_row["name"] == same["name"] and run_row["captions"] == same["captions"]
        expected = run_row["attribute_accuracy"]["value"]
        assert same["attribute_accuracy"]["value"] == pytest.approx(expected, abs=1e-4)

    manifest = tmp_path / "words.jsonl"
    write_manifest(
        manifest, [each for each in read_manifest(root / "manifest.jsonl") if each.split == "test"]
    )
    words.append("evaluation.normalise_voices=true")
    heard: list[int] = []
    monkeypatch.setattr(path_module, "encode_normalised", _counting(path_module.encode_normalised, heard))
    output = str(tmp_path / "out")
    main(["robustness", str(model), "--output", output, "--voices", str(manifest), *words])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identity"]["normalise_voices"] is True and heard and "note" not in results
    assert (
        "recordings read under the warps that suit their voices."
        in (tmp_path / "out" / "table.md").read_text()
    )
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before

    with pytest.raises(InputError, match="expected data.root=DIR beside data.pack=DIR"):
        measure_robustness(model, overrides=words[:1])
    with pytest.raises(InputError, match="found an exported model from speech"):
        measure_robustness(model)
    with pytest.raises(InputError, match="expected an output folder for a model that is no run"):
        report_robustness(model, overrides=words)


def _counting(function, calls: list[int]):
    def counted(*arguments, **named):
        calls.append(1)
        return function(*arguments, **named)

    return counted


def test_photographs_without_attributes_are_measured_by_their_classes(tmp_path, monkeypatch):
    for name in ("SPEEDS", "RATES", "ACCENTS"):
        monkeypatch.setattr(robustness, name, ())
    runs = write_world(tmp_path, classifier_steps=5, attributes=False)
    table = report_robustness(runs["speech"])
    rows = {row["name"]: row for row in json.loads((table.parent / "results.json").read_text())["rows"]}
    metrics = {
        (line["metric"], line["of"]): line["value"]
        for line in evaluate(runs["speech"], ["class_retrieval_by_generated"])
    }
    # float16 in the pack
    assert rows["clean"]["mAP"]["value"] == pytest.approx(metrics["mAP", "run"], abs=0.03)
    assert "attribute_accuracy" not in rows["clean"] and "difference" in rows["resynthesised"]["mAP"]
    assert (
        "| condition | Recall@1 | change of Recall@1 | mAP | change of mAP | captions |" in table.read_text()
    )


def test_recorded_captions_are_held_against_the_same_captions(world, tmp_path, monkeypatch):
    for name in ("SPEEDS", "RATES", "ACCENTS"):
        monkeypatch.setattr(robustness, name, ())
    root = world["speech"].parents[1] / "birds"
    tests = [each for each in read_manifest(root / "manifest.jsonl") if each.split == "test"]
    recorded = []
    for place, image in enumerate(tests):
        (first, *rest) = image.captions
        # The recording of another image; of every second image's first caption alone.
        audio = tests[place - 1].captions[0].audio if place % 2 else None
        unspoken = [replace(caption, audio=None) for caption in rest]
        recorded.append(replace(image, captions=(replace(first, audio=audio), *unspoken)))
    write_manifest(tmp_path / "recorded.jsonl", recorded)
    table = report_robustness(world["speech"], tmp_path / "out", recordings=tmp_path / "recorded.jsonl")
    rows = {row["name"]: row for row in json.loads((table.parent / "results.json").read_text())["rows"]}
    recorded_row = rows["recorded"]
    assert recorded_row["captions"] == len(tests) // 2 and recorded_row["reference"] == "clean"
    assert rows["clean"]["captions"] > recorded_row["captions"]

    write_manifest(tmp_path / "same.jsonl", tests)  # the data's own recordings are nobody's
    with pytest.raises(InputError, match="found none in .*same.jsonl"):
        report_robustness(world["speech"], tmp_path / "out", recordings=tmp_path / "same.jsonl")


def test_every_family_has_its_row_and_a_cascade_beside_it(world, tmp_path, monkeypatch):
    for name in ("SPEEDS", "RATES", "ACCENTS"):
        monkeypatch.setattr(robustness, name, ())
    monkeypatch.setattr(conditions, "trained_families", lambda bank: {"flite"})
    root = world["speech"].parents[1] / "birds"
    tests = [each for each in read_manifest(root / "manifest.jsonl") if each.split == "test"]
    for family in ("piper", "flite"):
        spoken = [
            replace(image, captions=tuple(replace(each, speaker=f"{family}/a") for each in image.captions))
            for image in tests[: 20 if family == "piper" else None]
        ]
        write_manifest(tmp_path / f"{family}.jsonl", spoken)

    class Recogniser:  # hears one sentence in long recordings, and no known word in others
        name, rate = "a recogniser", 16000

        def transcribe(self, waveform):
            return "a bird with red wing" if len(waveform) > 16000 * 0.7 else "quagga"

    monkeypatch.setattr(robustness, "load_recogniser", lambda *given: Recogniser())
    voices = [tmp_path / "piper.jsonl", tmp_path / "flite.jsonl"]
    table = report_robustness(
        world["speech"], tmp_path / "out", voices=voices, text=world["text"], recogniser="some"
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    names = ["clean", "flite (seen)", "piper (unseen)"]
    assert [name for name in rows if name in names] == names
    assert [name for name in rows if "cascade" in name] == [f"cascade, {name}" for name in names]
    assert rows["piper (unseen)"]["captions"] == 40 and rows["flite (seen)"]["captions"] == 60
    # The recordings are the data's own: a family changes nothing.
    assert rows["flite (seen)"]["attribute_accuracy"]["difference"]["value"] == pytest.approx(0, abs=1e-6)
    bar = rows["cascade, piper (unseen)"]
    assert bar["reference"] == "piper (unseen)" and bar["captions"] == 40
    direct = rows["piper (unseen)"]["attribute_accuracy"]["value"]
    change = bar["attribute_accuracy"]["difference"]["value"]
    assert change == pytest.approx(bar["attribute_accuracy"]["value"] - direct)
    assert results["sources"]["recogniser"] == "a recogniser" and "piper (unseen)" in table.read_text()
    assert results["sources"]["voices"] == "piper.jsonl, flite.jsonl"
    with pytest.raises(InputError, match="give both, --recogniser and --text"):
        report_robustness(world["speech"], tmp_path / "none", recogniser="pocketsphinx")


def test_word_swaps_are_measured_in_each_familys_voices(world, tmp_path, monkeypatch):
    for name in ("SPEEDS", "RATES", "ACCENTS"):
        monkeypatch.setattr(robustness, name, ())
    root = world["speech"].parents[1] / "birds"
    tests = [each for each in read_manifest(root / "manifest.jsonl") if each.split == "test"]
    captions_by_image = {image.id: image.captions for image in tests}
    spoken = [
        replace(image, captions=tuple(replace(each, speaker="piper/a") for each in image.captions))
        for image in tests
    ]
    write_manifest(tmp_path / "piper.jsonl", spoken)
    write_swapped_captions(world["speech"], tmp_path / "swapped.jsonl")
    unspoken = read_manifest(tmp_path / "swapped.jsonl")
    count = 0
    for place, image in enumerate(unspoken):
        captions = list(image.captions)
        for number, caption in enumerate(captions):
            before = captions_by_image[image.id][number]
            if caption.audio is not None:
                assert caption == before
                continue
            changed = set(before.text.lower().split()) ^ set(caption.text.split())
            assert len(changed) == 2 and not caption.mentions
            # Somebody says the caption as it was: its image must not change.
            captions[number] = replace(caption, audio=before.audio, speaker="piper/a")
            count += 1
        unspoken[place] = replace(image, captions=tuple(captions))
    assert count > 10
    write_manifest(tmp_path / "piper-swapped.jsonl", unspoken)

    class Recogniser:
        name, rate = "a recogniser", 16000

        def transcribe(self, waveform):
            return "a bird with red wing"

    monkeypatch.setattr(robustness, "load_recogniser", lambda *given: Recogniser())
    voices = [tmp_path / "piper.jsonl", tmp_path / "piper-swapped.jsonl"]
    table = report_robustness(
        world["speech"], tmp_path / "out", voices=voices, text=world["text"], recogniser="some"
    )
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["rows"]}
    assert "espeak-ng (seen)" not in rows  # the data's own recordings beside the swapped ones
    for name in ("piper (unseen)", "cascade, piper (unseen)"):
        row = rows[name]
        assert row["swaps"] == count and row["swap_consistency"]["value"] == 1
        assert row["swap_accuracy"]["value"] == row["swap_accuracy_before"]["value"]
    assert rows["clean"]["swaps"] == count and "swap_accuracy" not in rows["telephone"]
    assert "| Word swap | swaps | captions |" in table.read_text()
    chart = (tmp_path / "out" / "families.svg").read_text()
    dots = 2 * len(
        [metric for metric in ("recall@1", "mAP", "attribute_accuracy") if metric in rows["clean"]]
    )
    assert chart.count('class="dot"') == dots + 2 + 1 and chart.count('class="hollow"') == dots + 1 + 1
    assert "the data&#x27;s own voices" in chart and "piper (unseen)" in chart

    # A comparison's page shows the same.
    (tmp_path / "report" / "images").mkdir(parents=True)
    (tmp_path / "out").rename(tmp_path / "robustness")
    bank = FeatureBank(load(world["speech"]).path("speech"))
    shown = {"analyses": report_of_robustness(bank, tmp_path, tmp_path / "report")}
    assert (tmp_path / "report" / FAMILY_CHART).read_text() == chart
    section = analysis_sections.robustness(shown)
    assert f'src="{FAMILY_CHART}"' in section.content and "Word swap" in section.content

    others = [replace(each, captions=tests[place - 1].captions) for place, each in enumerate(spoken)]
    write_manifest(tmp_path / "others.jsonl", others)
    with pytest.raises(
        InputError, match="expected the words of the data, '.*', found '.*' in .*others.jsonl"
    ):
        report_robustness(world["speech"], tmp_path / "none", voices=[tmp_path / "others.jsonl"])


def test_bands_and_silence_are_what_they_are_called():
    time = torch.arange(22050) / 22050
    low, inside = torch.sin(2 * torch.pi * 100 * time), torch.sin(2 * torch.pi * 1000 * time)
    assert torch.allclose(in_band(low + inside, 22050, (300.0, 3400.0)), inside, atol=1e-3)
    padded = add_silence(inside, 22050, 0.5, -60, seed=3)
    assert len(padded) == 2 * 22050 and torch.allclose(padded[11025:33075], inside, atol=5e-3)
    level = 20 * torch.log10(padded[:11025].square().mean().sqrt() / inside.square().mean().sqrt())
    assert level.item() == pytest.approx(-60, abs=0.5)
    assert torch.equal(padded, add_silence(inside, 22050, 0.5, -60, seed=3))
    assert [family_of(name) for name in ("flite/slt", "anna", None)] == ["flite", "unknown", "unknown"]


def test_what_cannot_be_measured_is_refused(world, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected recordings .*found none in .*empty"):
        report_robustness(world["speech"], tmp_path / "out", noise=tmp_path / "empty")
    with pytest.raises(InputError, match="path from speech"):
        report_robustness(world["text"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
