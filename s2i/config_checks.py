"""What is refused in a configuration: values out of range, text that no file holds, keys that contradict."""

from __future__ import annotations

from dataclasses import fields

from s2i.config import Config
from s2i.errors import InputError
from s2i.files.atomic import is_utf8
from s2i.settings import declared, value_of


def check_values(config: Config, origin: str) -> None:
    """Refuse a number outside what `s2i.config` declares of its key, and text that no file can hold."""
    for key, setting in declared(Config).items():
        value = value_of(config, key)
        if isinstance(value, dict):  # options of a network, which checks them
            continue
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, str):
                check_text(key, part, origin)
            elif not isinstance(part, bool) and not setting.allows(part):
                raise InputError(f"{origin}: expected {key} of {setting.allowed}, found {value}: change it")


def check_text(key: str, text: str, origin: str) -> None:
    """A configuration is written as UTF-8, and names of files end at a NUL."""
    if "\0" in text or not is_utf8(text):
        raise InputError(
            f"{origin}: expected {key} as UTF-8 without NUL, found {text!r}: rename or change it"
        )


def check_together(config: Config, origin: str) -> None:
    """What the ranges of single keys can't tell."""
    image, audio, size = config.image_encoder, config.audio, config.generator.base_size
    halvings = len(image.channels)
    if size & (size - 1):
        raise InputError(
            f"{origin}: expected generator.base_size of 4, 8, 16, 32, ... px, found {size}: change it"
        )
    if image.kind == "small" and (halvings < 2 or image.input_size < 2**halvings):
        raise InputError(
            f"{origin}: expected image_encoder.channels of two numbers or more, each of which halves an image"
            f" of {image.input_size} px, found {list(image.channels)}: change either"
        )
    if not config.classifier.channels:
        raise InputError(
            f"{origin}: expected classifier.channels of one number or more, found none: add some"
        )
    parts = config.data.augment
    if audio.front_end != "log_mel" and any(getattr(parts, item.name).probability for item in fields(parts)):
        raise InputError(
            f"{origin}: expected audio.front_end log_mel with data.augment, which works on log-mels, found"
            f" {audio.front_end}: leave either out"
        )
    if min(audio.window, audio.hop) * audio.sample_rate < 1:
        raise InputError(
            f"{origin}: expected audio.window and audio.hop of a sample or more at {audio.sample_rate} Hz,"
            f" found {audio.window:g} and {audio.hop:g} s: raise them"
        )
