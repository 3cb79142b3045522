"""What is declared of each key: ranges, local paths, what may change, who reads it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from s2i.config import Config
from s2i.config_checks import check_values
from s2i.config_files import config_from_dict, config_to_dict, load_config
from s2i.config_merge import merge_plain
from s2i.config_plain import NotPlain, plain_config
from s2i.errors import InputError
from s2i.settings import LARGEST, Training, declared, setting, types, value_of

SETTINGS = declared(Config)
PRESETS = Path(__file__).parents[2] / "recipes"


NUMBERS = [key for key, kind in types(Config).items() if kind in (int, float) or get_origin(kind) is tuple]


def _with(config: Any, key: str, number: float) -> Any:
    """The configuration with a number in place of the key's, or of each of its tuple."""
    name, _, rest = key.partition(".")
    old = getattr(config, name)
    if rest:
        return replace(config, **{name: _with(old, rest, number)})
    return replace(config, **{name: (number,) * max(1, len(old)) if isinstance(old, tuple) else number})


def _outside(key: str) -> list[float]:
    setting = SETTINGS[key]
    low = setting.above if setting.at_least is None else setting.at_least - 1
    high = setting.below if setting.below is not None else setting.at_most + 1
    return [low, high, min(low, -1), math.nan, math.inf, -math.inf]


def test_every_number_has_a_range():
    assert [key for key in NUMBERS if not SETTINGS[key].is_bounded] == []
    numeric = {key for key in SETTINGS if isinstance(value_of(Config(), key), (int, float, tuple))}
    flags = {key for key, kind in types(Config).items() if kind is bool}
    assert numeric - flags == set(NUMBERS)


def test_defaults_are_inside_their_ranges():
    check_values(Config(), "the defaults")


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_outside_their_range_are_refused(key):
    for number in _outside(key):
        with pytest.raises(InputError, match=f"expected {key} of .*, found .*: change it"):
            check_values(_with(Config(), key, number), "here")


def test_the_message_states_key_range_unit_and_the_value_found(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("audio: {window: -2}")
    expected = f"{path}: expected audio.window of more than 0, at most 10 s, found -2.0: change it"
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert str(caught.value) == expected
    path.write_text("gan: {grow: [0.5, .nan]}")
    with pytest.raises(InputError, match=r"gan.grow of 0 to 1, found \(0.5, nan\)"):
        load_config(path)


def test_models_and_checkpoints_are_held_against_the_ranges_too():
    with pytest.raises(InputError, match="a model: expected speech_encoder.hidden_dim of 1 to 1000000000"):
        config_from_dict({"speech_encoder": {"hidden_dim": 0}}, "a model")


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("cub/conf/attngan.yaml", ["run=~/runs/a"]),
        ("cub/conf/wav2pix.yaml", ["gan.encoder=b"]),
        ("painted_birds/conf/best.yaml", ["speech_encoder.options={widths: [1, 2], deep: {a: null, b: x}}"]),
    ],
)
def test_plain_containers_are_read_as_omegaconf_reads_them(preset, words):
    config = load_config(PRESETS / preset, words)
    values = config_to_dict(config)
    assert plain_config(values) == merge_plain(values, (), "a model") == config
    assert config_from_dict({"seed": 1, "gan": {"grow": [0, 1]}}, "a model").gan.grow == (0.0, 1.0)
    plain_config(values).speech_encoder.options["widths"] = 0
    assert plain_config(values) == config  # nothing is shared


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "sed"),
        ({"gan": {"batch_size": 2.5}}, "gan.batch_size"),
        ({"gan": [1]}, "list is not a subclass of GanConfig"),
        ({"audio": {"cmvn": "perhaps"}}, "audio.cmvn"),
        ({"modality": "smell"}, "modality"),
        ({"image_encoder": {"channels": [8, True]}}, "found True in it .key image_encoder.channels"),
    ],
)
def test_what_is_not_plain_is_left_to_omegaconf_and_its_words(values, message):
    with pytest.raises(NotPlain):
        plain_config(values)
    with pytest.raises(InputError, match=message):
        config_from_dict(values, "a model")


def test_what_omegaconf_would_convert_is_converted():
    for values in ({"seed": "7"}, {"seed": 7, "run": "${modality}"}, {"seed": 7, "run": "???"}):
        with pytest.raises(NotPlain):
            plain_config(values)
        assert config_from_dict(values, "a model").seed == 7
    assert config_from_dict({"run": "${modality}"}, "a model").run == "speech"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["image_encoder.channels=[8]"], "image_encoder.channels of two numbers"),
        (["image_encoder.input_size=8"], "found \\[32, 64, 128, 256\\]"),
        (["classifier.channels=[]"], "classifier.channels"),
        (["audio.hop=0.00001"], "audio.hop of a sample or more"),
        (["generator.base_size=48"], "generator.base_size of 4, 8, 16"),
        ([f"gan.steps={LARGEST + 1}"], "gan.steps"),
        (["data.root=/data/\udcff"], "data.root as UTF-8"),
        (["matching.optimiser.lr=-1"], "matching.optimiser.lr of 0 to"),
        (
            ["speech_encoder.channels=[8, .inf]"],
            "whole numbers, found inf in it .key speech_encoder.channels",
        ),
        (["gan.grow=[soon]"], "numbers, found 'soon' in it .key gan.grow"),
        (["seed=true"], "seed"),
        (["seed=2.5"], "seed"),
    ],
)
def test_values_that_no_training_can_use_are_one_line(tmp_path, words, message):
    path = tmp_path / "config.yaml"
    path.write_text("")
    with pytest.raises(InputError, match=message) as caught:
        load_config(path, words)
    assert "\n" not in str(caught.value)


def test_a_nul_in_the_file_is_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    for text, message in (
        ('run: "a\\0b"', "with a NUL in it for run"),
        ('audio: {sha256: "a\\0b"}', "audio.sha256 as UTF-8 without NUL"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_config(path)


def test_settings_state_who_reads_a_key_and_whether_it_may_change():
    assert SETTINGS["generator.channels"].read_by == ("gan", "regression", "cross_modal")
    assert SETTINGS["generator.stages"].read_by == get_args(Training)
    assert SETTINGS["log.every"].changeable and not SETTINGS["gan.sample_every"].changeable
    with pytest.raises(TypeError):
        setting(1, at_leats=0)
