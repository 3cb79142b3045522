"""Recognition, then text: spelling, word errors, a tiny recogniser, and what it does to the numbers."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio

from s2i.analysis import asr_cascade, recognisers
from s2i.analysis.asr_cascade import measure_cascade, word_error_rate
from s2i.analysis.caption_scores import score_generated
from s2i.analysis.recognisers import CtcRecogniser, WhisperRecogniser, as_words, load_recogniser, spell
from s2i.config_data import AudioConfig
from s2i.data.audio import load_waveform
from s2i.data.tts_espeak import speak
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.records import evaluate
from s2i.inference.model import load
from s2i.reports.compare import compare
from tests.fixtures.runs import write_world

TINY = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [
        (8, 10, 5),
        (8, 3, 2),
        (8, 3, 2),
        (8, 3, 2),
        (8, 3, 2),
        (8, 2, 2),
        (8, 2, 2),
    ],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 8,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 4,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 1,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 8,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": 29,
}


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A file of random weights in the form of the published one, for a tiny bundle in its place."""
    published = torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H
    monkeypatch.setattr(torchaudio.pipelines, recognisers.BUNDLE, replace(published, _params=TINY))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchaudio.models.wav2vec2_model(**TINY).state_dict()
    for name in ("aux.weight", "aux.bias"):  # three labels that torchaudio takes out again
        value = state[name]
        state[name] = torch.cat([value[:1], torch.full_like(value[:3], 99.0), value[1:]])
    torch.save(state, tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"), classifier_steps=5)


def banks(world) -> dict[str, FeatureBank]:
    return {side: FeatureBank(load(world[side], "cpu").path(side)) for side in ("speech", "text")}


def test_repetitions_are_joined_before_blanks_are_left_out():
    names = ("-", "|", "B", "E", "R", "D")
    spoken = [1, 2, 2, 0, 3, 3, 0, 3, 1, 1, 0, 1, 4, 3, 0, 5, 5, 0]
    assert spell(spoken, names) == "bee red" and spell([0, 1, 0], names) == ""


@pytest.mark.parametrize(
    ("reference", "transcription", "edits"),
    [
        ("a red bird", "a red bird", 0),
        ("a red bird", "read bird", 2),
        ("", "a b", 2),
        ("a b c", "", 3),
        ("a b", "b a", 2),
    ],
)
def test_the_word_error_rate_counts_the_least_number_of_edits(reference, transcription, edits):
    rate = word_error_rate([reference.split(), ["a"]], [transcription.split(), ["a"]])
    assert rate == pytest.approx(edits / (len(reference.split()) + 1))


def test_a_local_file_of_torchaudios_form_is_read_and_another_refused(weights, tmp_path):
    recogniser = load_recogniser(weights)
    assert recogniser.rate == 16000 and len(recogniser.labels) == 29
    assert float(recogniser.network.aux.bias.abs().max()) < 99  # the labels that aren't spelt are out
    assert recogniser.transcribe(torch.zeros(8000)) == recogniser.transcribe(torch.zeros(8000))
    torch.save({"odd": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match="weights of the recogniser WAV2VEC2_ASR_BASE_960H in .*odd.pth"):
        load_recogniser(tmp_path / "odd.pth")
    with pytest.raises(InputError, match="found no file"):
        load_recogniser(tmp_path / "none.pth")


def test_pocketsphinx_reads_speech_with_the_model_in_its_wheel():
    pytest.importorskip("pocketsphinx")
    recogniser = load_recogniser("pocketsphinx")
    waveform = load_waveform(speak("one two three four five"), AudioConfig(sample_rate=recogniser.rate))
    words = recogniser.transcribe(waveform).split()  # it reads little of what espeak-ng says but numbers
    assert words[-4:] == ["two", "three", "four", "five"]
    recogniser.transcribe(torch.zeros(8000))
    assert recogniser.transcribe(waveform).split() == words  # whatever it read before
    assert recogniser.name.startswith("pocketsphinx ")


def test_pocketsphinx_reads_captions_better_with_a_language_model_of_captions():
    pytest.importorskip("pocketsphinx")
    colours, body_parts = ("red", "blue", "grey", "yellow"), ("wings", "back", "tail", "belly")
    sentences = [
        f"A {colour} bird, with {other} {part}."
        for colour in colours
        for other in colours
        for part in body_parts
    ]
    held, taught = "a blue bird with yellow wings", [*sentences, "a zygodactyl bird", ""]
    taught = [sentence for sentence in taught if as_words(sentence) != held]
    informed, plain = (
        load_recogniser("pocketsphinx-captions", lambda: taught),
        load_recogniser("pocketsphinx"),
    )
    waveform = load_waveform(speak(held), AudioConfig(sample_rate=plain.rate))
    heard = [each.transcribe(waveform).split() for each in (informed, plain)]
    assert heard[0][-5:] == held.split()[-5:] != heard[1][-5:]
    assert informed.name == f"{plain.name}, trigrams of 63 captions"
    with pytest.raises(
        InputError, match="expected training captions of words in pocketsphinx's dictionary, found none in 1"
    ):
        load_recogniser("pocketsphinx-captions", lambda: ["zygodactyl"])


def test_a_recogniser_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(InputError, match=r"expected pocketsphinx .*found none: pip install"):
        load_recogniser("pocketsphinx")
    with pytest.raises(InputError, match=r"found no model\.bin in "):
        load_recogniser(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"whisper")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(InputError, match=r"expected faster-whisper .*found none: pip install"):
        load_recogniser(tmp_path)


def test_a_folder_is_given_to_faster_whisper_which_may_download_nothing(tmp_path, monkeypatch):
    class WhisperModel:
        def __init__(self, folder, **options):
            if Path(folder, "model.bin").read_bytes() != b"whisper":
                raise RuntimeError("File model.bin is\nincomplete")
            assert options == {"device": "cpu", "compute_type": "int8", "local_files_only": True}

        def transcribe(self, samples, language, beam_size):
            assert samples.dtype == np.float32 and (language, beam_size) == ("en", 5)
            return iter([types.SimpleNamespace(text=" A red,"), types.SimpleNamespace(text=" BIRD.")]), None

    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=WhisperModel))
    monkeypatch.setattr(recognisers, "version", lambda package: "1.0")
    (tmp_path / "model.bin").write_bytes(b"whisper")
    recogniser = load_recogniser(tmp_path)
    assert isinstance(recogniser, WhisperRecogniser) and recogniser.transcribe(torch.zeros(9)) == "a red bird"
    assert recogniser.name == f"faster-whisper 1.0 {tmp_path.name}"
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="found: File model.bin is incomplete: convert or copy it again"):
        load_recogniser(tmp_path)


def test_words_are_written_without_signs():
    assert as_words(" It's Blue-grey,  isn't it? ") == "it's blue grey isn't it"


def test_a_recogniser_without_errors_reaches_the_captions_own_text(world, monkeypatch):
    feature_banks = banks(world)
    text = {
        (line["metric"], line["of"]): line["value"]
        for line in evaluate(world["text"], ["attribute_accuracy"])
    }
    monkeypatch.setattr(
        asr_cascade,
        "_transcribe",
        lambda bank, captions, _: [bank.pack.caption(int(i)).text for i in captions],
    )
    numbers = measure_cascade(
        feature_banks["speech"], feature_banks["text"], CtcRecogniser(torch.nn.Identity(), (), 16000)
    )
    counts = {"captions": 60, "unread": 0, "read_in_part": 0}
    assert numbers["word_error_rate"] == 0 and numbers["counts"] == counts
    for columns in numbers["metrics"].values():
        assert columns["cascade"]["value"] == pytest.approx(columns["text"]["value"], abs=0.01)
        change = columns["speech"]["cascade_minus"]["value"]
        assert change == pytest.approx(columns["cascade"]["value"] - columns["speech"]["value"])
    accuracy = numbers["metrics"]["attribute_accuracy"]["text"]["value"]
    assert accuracy == pytest.approx(text["attribute_accuracy", "run"], abs=1e-6)


@pytest.mark.parametrize("size", [0, 16])
def test_images_that_an_analysis_generates_are_measured_as_the_captions_own(world, size):
    path = load(world["text"], "cpu").path("text")
    assert path.config.generated_size == 32
    bank = FeatureBank(path, replace(path.config.evaluation, captions=1, image_size=size))
    texts = [bank.pack.caption(int(index)).text for index in bank.captions.generated]
    again, known = (
        asr_cascade.score_transcriptions(bank, bank.captions.generated, texts),
        score_generated(bank),
    )
    assert {"mAP", "attribute_accuracy"} <= set(known.values)
    for metric, values in known.values.items():
        np.testing.assert_allclose(again.values[metric], values, atol=1e-5)


def test_captions_of_which_nothing_is_recognised_are_counted(world, monkeypatch):
    feature_banks = banks(world)
    monkeypatch.setattr(asr_cascade, "_transcribe", lambda bank, captions, _: ["" for _ in captions])
    numbers = measure_cascade(
        feature_banks["speech"], feature_banks["text"], CtcRecogniser(torch.nn.Identity(), (), 16000)
    )
    assert numbers["word_error_rate"] == 1 and numbers["counts"]["unread"] == 60
    assert numbers["counts"]["read_in_part"] == 0


def test_sentences_that_the_text_run_reads_in_part_are_counted(world, monkeypatch):
    feature_banks = banks(world)
    heard = ["a red zebra bird", "a red bird"]
    monkeypatch.setattr(
        asr_cascade, "_transcribe", lambda bank, captions, _: [heard[n % 2] for n in range(60)]
    )
    numbers = measure_cascade(
        feature_banks["speech"], feature_banks["text"], CtcRecogniser(torch.nn.Identity(), (), 16000)
    )
    assert numbers["counts"] == {"captions": 60, "unread": 0, "read_in_part": 30}


def test_compare_shows_the_cascade_as_a_third_column(world, weights, tmp_path):
    compare(world["speech"], world["text"], tmp_path / "report", recogniser=str(weights))
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert set(results["cascade"]["metrics"]) == {"recall@1", "mAP", "attribute_accuracy"}
    assert results["cascade"]["recogniser"].startswith("WAV2VEC2_ASR_BASE_960H ")
    assert "cascade" in results["protocols"] and "recogniser" in results["protocols"]["cascade"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert (
        "Cascade: speech recognition" in page and "cascade minus speech" in page and "Word error rate" in page
    )
