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
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, str):
                check_text(key, item, origin)
            elif not isinstance(item, bool) and not setting.allows(item):
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
    if audio.front_end != "log_mel" and augments_recordings(config):
        raise InputError(
            f"{origin}: expected audio.front_end log_mel with data.augment, which works on log-mels, found"
            f" {audio.front_end}: leave either out"
        )
    if config.gan.augment_recordings and not augments_recordings(config):
        raise InputError(
            f"{origin}: expected a probability above 0 in data.augment with gan.augment_recordings, found"
            " none: give one"
        )
    _check_discriminator(config, origin)
    _check_adversary(config, origin)
    if min(audio.window, audio.hop) * audio.sample_rate < 1 - 1e-6:
        raise InputError(
            f"{origin}: expected audio.window and audio.hop of a sample or more at {audio.sample_rate} Hz,"
            f" found {audio.window:g} and {audio.hop:g} s: raise them"
        )


def augments_recordings(config: Config) -> bool:
    """Whether a part of `data.augment` is on."""
    augmentations = config.data.augment
    return any(getattr(augmentations, item.name).probability for item in fields(augmentations))


FEATURE_SCALES = 4  # of the frozen network
LEAST_FEATURE_INPUT = 32  # px: one place of its deepest map


def _check_discriminator(config: Config, origin: str) -> None:
    settings = config.discriminator
    if len(settings.mixed_channels) != FEATURE_SCALES:
        raise InputError(
            f"{origin}: expected discriminator.mixed_channels of {FEATURE_SCALES} numbers, one a scale of the"
            f" features, found {list(settings.mixed_channels)}: change it"
        )
    if settings.plain_stages > config.generator.stages:
        raise InputError(
            f"{origin}: expected discriminator.plain_stages of at most generator.stages,"
            f" {config.generator.stages}, found {settings.plain_stages}: lower it"
        )
    if settings.kind == "projected" and settings.network and not settings.plain_stages:
        raise InputError(
            f"{origin}: expected discriminator.kind=plain for a discriminator.network, or plain_stages that"
            f" have it beside the projected one, found projected: change either"
        )
    if config.needs_features and config.feature_input_size < LEAST_FEATURE_INPUT:
        raise InputError(
            f"{origin}: expected gan.feature_input_size of {LEAST_FEATURE_INPUT} px or more, found"
            f" {config.feature_input_size}: raise it"
        )


def _check_adversary(config: Config, origin: str) -> None:
    settings = config.gan
    resampled = settings.reconstruction_weight or settings.perceptual_weight
    for key in ("adversarial_ratio", "adversarial_start"):
        if getattr(settings, key) and not resampled:
            raise InputError(
                f"{origin}: expected gan.reconstruction_weight or gan.perceptual_weight above 0 with"
                f" gan.{key}, found none: set one"
            )
    if settings.adversarial_ratio and config.discriminator.condition_on == "mu":
        raise InputError(
            f"{origin}: expected discriminator.condition_on=sentence with gan.adversarial_ratio, which"
            " is taken at the images, found mu: change either"
        )
