"""Configurations from YAML, `key=value` words, checkpoints and exported models, and back.

A YAML file names only what it changes; `key=value` words on the command line change it further; the run
folder keeps the whole, resolved. A key that does not exist is an error, with a suggestion.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from s2i.config import AudioConfig, Config
from s2i.errors import InputError

# A batch norm needs two pictures; what comes every 0 steps is turned off by its weight or kind.
LEAST = {
    "generator.stages": 1,
    "generator.channels": 1,
    "matching.steps": 1,
    "matching.batch_size": 2,
    "gan.steps": 1,
    "gan.batch_size": 2,
    "gan.penalty_every": 1,
    "gan.generator_steps": 1,
    "judge.steps": 1,
    "judge.batch_size": 2,
    "evaluation.captions": 1,
    "evaluation.batch_size": 1,
    "evaluation.processes": 1,
    "log.every": 1,
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file over the defaults, then `key=value` overrides over both.

    Raises InputError for a missing file, a misspelt key or a value of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a configuration file, found none at {path}: check --config")
    try:
        given = OmegaConf.load(path)
    except Exception as error:  # the YAML parser has a family of its own
        raise InputError(f"expected YAML in {path}, found: {' '.join(str(error).split())}") from error
    config = _merge(given, overrides, str(path))
    return replace(config, audio=with_front_end(config.audio))


def with_front_end(audio: AudioConfig) -> AudioConfig:
    """The settings with what their front end fixes: rate, width, window and hop of a pretrained network.

    Raises InputError for a network or a layer that torchaudio does not have.
    """
    if audio.front_end == "log_mel":
        return audio
    from torchaudio.pipelines import Wav2Vec2Bundle  # here: log-mels start without it

    from s2i.bundles import find_bundle

    name = audio.front_end
    bundle = find_bundle(name, Wav2Vec2Bundle, "log_mel or a network of torchaudio as audio.front_end")
    if not 0 <= audio.layer <= bundle._params["encoder_num_layers"]:
        raise InputError(
            f"expected audio.layer of 1 to {bundle._params['encoder_num_layers']}, or 0 for the last of"
            f" {name}, found {audio.layer}: change it"
        )
    # Its convolutions' receptive field and stride, in samples; torchaudio's default where it names none.
    layers = bundle._params["extractor_conv_layer_config"] or [
        (512, 10, 5),
        *[(512, 3, 2)] * 4,
        *[(512, 2, 2)] * 2,
    ]
    window = hop = 1
    for _, kernel, stride in layers:
        window, hop = window + (kernel - 1) * hop, hop * stride
    rate = int(bundle.sample_rate)
    width = bundle._params["encoder_embed_dim"]
    return replace(audio, sample_rate=rate, mels=width, window=window / rate, hop=hop / rate)


def override(config: Config, overrides: Sequence[str], sections: Sequence[str] = ()) -> Config:
    """A configuration with `key=value` words put over it, keys of some sections alone where they are given.

    Raises InputError for another section's key, and as `load_config` does.
    """
    for word in overrides:
        if sections and word.partition(".")[0] not in sections:
            expected = " or ".join(f"{section}.key=value" for section in sections)
            raise InputError(f"expected {expected}, found {word!r}: the rest belongs to the run")
    return _merge(OmegaConf.create(config_to_dict(config)), overrides, "the run's configuration")


def config_from_dict(values: dict[str, Any], origin: str) -> Config:
    """Config from plain containers, as a checkpoint or an exported model holds them."""
    return _merge(OmegaConf.create(values), (), origin)


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain containers, without the values that were never given."""
    found = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            found[item.name] = config_to_dict(value)
        elif value != MISSING:
            found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def save_config(config: Config, path: str | Path) -> None:
    """Write the resolved configuration as YAML."""
    Path(path).write_text(OmegaConf.to_yaml(OmegaConf.create(config_to_dict(config))))


def require(config: Config, *keys: str) -> None:
    """Refuse a configuration in which one of the dotted keys was never given."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value == MISSING:
            raise InputError(f"expected a value for {key}, found none: add {key}=... to the command")


def _merge(given: Any, overrides: Sequence[str], origin: str) -> Config:
    for word in overrides:
        if "=" not in word:
            raise InputError(f"expected key=value on the command line, found {word!r}")
    try:
        merged = OmegaConf.merge(
            _schema(), given, OmegaConf.from_dotlist([_as_yaml(word) for word in overrides])
        )
        config = _freeze(Config, merged)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{origin}: {reason} (key {getattr(error, 'full_key', None) or '?'})") from error
    except (YAMLError, TypeError, ValueError) as error:  # of a value that is no YAML, a list in place of keys
        raise InputError(f"expected key: value in {origin}, found: {' '.join(str(error).split())}") from error
    _check_ranges(config, origin)
    return config


def _as_yaml(word: str) -> str:
    """A `key=value` word for OmegaConf, which reads values as YAML: text, such as a path that has a "#" or
    is all digits, is meant letter by letter."""
    key, _, value = word.partition("=")
    kind: Any = Config
    for part in key.split("."):
        kind = _hints(kind).get(part) if is_dataclass(kind) else None
    return f"{key}={json.dumps(value, ensure_ascii=False)}" if kind is str else word


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _check_ranges(config: Config, origin: str) -> None:
    for key, least in LEAST.items():
        section, _, name = key.partition(".")
        found = getattr(getattr(config, section), name)
        if found < least:
            raise InputError(f"{origin}: expected {key} of {least} or more, found {found}: change it")
    if config.evaluation.captions > 10:
        raise InputError(
            f"{origin}: expected evaluation.captions of 10 or fewer, found {config.evaluation.captions}:"
            " change it"
        )
    size = config.generator.base_size
    if size < 4 or size & (size - 1):
        raise InputError(
            f"{origin}: expected generator.base_size of 4, 8, 16, 32, ... px, found {size}: change it"
        )


@cache
def _schema() -> Any:
    """Config as OmegaConf reads it; a merge copies it."""
    return OmegaConf.structured(Config)


def _freeze(kind: type, node: Any) -> Any:
    """A frozen dataclass from a merged node; a value never given stays MISSING."""
    values = {}
    for item in fields(kind):
        if OmegaConf.is_missing(node, item.name):
            values[item.name] = MISSING
            continue
        value = node[item.name]
        if OmegaConf.is_config(value) and is_dataclass(OmegaConf.get_type(value)):
            values[item.name] = _freeze(OmegaConf.get_type(value), value)
        else:
            values[item.name] = tuple(value) if OmegaConf.is_config(value) else value
    return kind(**values)
