"""The recordings that the quick start names: what they are said to be, and readable by a model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import soundfile

from data_prep.clips import implausible_clip
from data_prep.voices.registry import FAMILIES
from s2i.data.text import Vocabulary
from s2i.inference.generate_many import generate_many

FOLDER = Path(__file__).parents[2] / "checkpoints" / "examples"
EXAMPLES = [json.loads(line) for line in (FOLDER / "examples.jsonl").read_text(encoding="utf-8").splitlines()]
MODELS = sorted(file.parent for file in FOLDER.parent.glob("*/config.json"))


def test_there_are_four_of_four_families_and_no_other():
    assert {file.name for file in FOLDER.glob("*.flac")} == {example["audio"] for example in EXAMPLES}
    families = [example["speaker"].partition("/")[0] for example in EXAMPLES]
    assert len(EXAMPLES) == len(set(families)) == 4 and set(families) <= set(FAMILIES)
    assert sum(file.stat().st_size for file in FOLDER.glob("*.flac")) < 400_000


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["audio"])
def test_a_recording_can_be_its_sentence_and_is_what_the_page_says(example):
    waveform, rate = soundfile.read(FOLDER / example["audio"], dtype="float32")
    assert rate == 16000 and waveform.ndim == 1
    assert implausible_clip(example["text"], 175, waveform, rate) is None
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    [[text, seconds]] = re.findall(
        rf"^\| `{example['audio']}` \| (.*?) \| .*? \| ([\d.]+) \|", page, re.MULTILINE
    )
    assert text == example["text"] and abs(float(seconds) - len(waveform) / rate) <= 0.05


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_word_is_known_to_the_shipped_models(model):
    described = json.loads((model / "config.json").read_text(encoding="utf-8"))["paths"]["text"]
    vocabulary = Vocabulary.from_list(described["vocabulary"])
    longest = described["config"]["text_encoder"]["max_words"]
    unread = {example["text"]: str(vocabulary.unread(example["text"], longest)) for example in EXAMPLES}
    assert not any(unread.values()), unread


def test_the_folder_of_them_gives_an_image_each(model, tmp_path):
    made = generate_many(model=model, source=FOLDER, output=tmp_path / "generated", device="cpu")
    assert {Path(path).stem for path in made} == {Path(example["audio"]).stem for example in EXAMPLES}
