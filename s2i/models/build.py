"""Networks from a configuration."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from torch import nn

from s2i.config import Config
from s2i.errors import InputError
from s2i.models.discriminator import Discriminator, Discriminators
from s2i.models.feature_network import FeatureNetwork
from s2i.models.feature_posterior import FeaturePosterior
from s2i.models.generator import StackedGenerator
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.interfaces import CaptionEncoder, Generator, SpeechGenerator
from s2i.models.log_mel_generator import LogMelGenerator
from s2i.models.pair_discriminator import PairDiscriminator
from s2i.models.posterior import Posterior
from s2i.models.projected_discriminator import ProjectedDiscriminator
from s2i.models.speech_encoder import SpeechEncoder
from s2i.models.text_encoder import TextEncoder
from s2i.plugins import find_outside

LONGEST_REASON = 200  # letters that are quoted of an exception


def build_caption_encoder(config: Config, vocabulary: int) -> CaptionEncoder:
    """The encoder of the run's modality; `vocabulary` (its size) is read for text alone.

    Raises InputError for one of another package that is not there or is no network, and for an option that it
    does not know.
    """
    if config.modality == "speech":
        return _build("speech_encoder", config.speech_encoder, SpeechEncoder, config.audio)
    return _build("text_encoder", config.text_encoder, TextEncoder, vocabulary)


def build_image_encoder(
    config: Config, embedding_dim: int | None = None
) -> ImageEncoder | PretrainedImageEncoder:
    """The image encoder that the caption encoder is matched against.

    A pretrained one comes without its backbone: `s2i.runs.pretrained_weights.connect` says where to fetch it.

    Args:
        embedding_dim: of the caption encoder; None: of this package's own, as configured.
    """
    width = embedding_dim or config.embedding_dim
    if config.image_encoder.kind != "small":
        return PretrainedImageEncoder(config.image_encoder, width)
    return ImageEncoder(config.image_encoder, width)


def make_generator(config: Config, embedding_dim: int | None = None) -> Generator:
    """The generator with any weights, to be loaded. `embedding_dim`: as of `build_image_encoder`.

    Raises InputError as `build_caption_encoder` does, and where its images have other sizes than the
    configuration says.
    """
    generator = _build("generator", config.generator, StackedGenerator, embedding_dim or config.embedding_dim)
    if list(generator.sizes) != image_sizes(config):
        raise InputError(
            f"expected images of {image_sizes(config)} px, by generator.base_size and generator.stages, found"
            f" {list(generator.sizes)} px of {config.generator.network}: set both to what it generates"
        )
    return generator


def build_generator(config: Config, embedding_dim: int | None = None) -> Generator:
    """The generator with the weights that a training begins with; otherwise as `make_generator`."""
    generator = make_generator(config, embedding_dim)
    generator.initialise()
    return generator


def make_speech_generator(config: Config, code_dim: int | None = None) -> SpeechGenerator:
    """The generator of speech with any weights, to be loaded.

    `code_dim`: of what it reads; None: of an image's code, as configured.

    Raises InputError as `build_caption_encoder` does.
    """
    width, bins = code_dim or config.speech_generator.code_dim, config.audio.mel_bins
    return _build("speech_generator", config.speech_generator, LogMelGenerator, width, bins)


def build_speech_generator(config: Config, code_dim: int | None = None) -> SpeechGenerator:
    """The generator of speech with the weights that a training begins with; otherwise as
    `make_speech_generator`."""
    generator = make_speech_generator(config, code_dim)
    generator.initialise()
    return generator


def build_pair_discriminator(config: Config) -> PairDiscriminator:
    """The discriminator of images with speech, with the weights that a training begins with."""
    sizes = config.generated_size, config.audio.mel_bins, config.speech_generator.frames
    discriminator = _build("discriminator", config.discriminator, PairDiscriminator, *sizes)
    discriminator.initialise()
    return discriminator


def build_posterior(
    config: Config, embedding_dim: int | None = None, features: FeatureNetwork | None = None
) -> Posterior | FeaturePosterior | None:
    """What infers a real image's noise while a generator trains; None where nothing is resampled.

    `features`: what the one of kind "features" looks through.
    """
    settings = config.gan
    if not (settings.reconstruction_weight or settings.perceptual_weight):
        return None
    if settings.posterior == "features":
        return FeaturePosterior(config.generator.noise_dim, features, settings.posterior_spread)
    width = embedding_dim or config.embedding_dim
    return Posterior(width, config.generator.noise_dim, sees=settings.posterior_sees)


def image_sizes(config: Config) -> list[int]:
    """Side in px of each stage's images, smallest first."""
    return [config.generator.base_size * 2**i for i in range(config.generator.stages)]


def build_discriminators(
    config: Config,
    classes: int = 0,
    embedding_dim: int | None = None,
    features: FeatureNetwork | None = None,
) -> Discriminators:
    """The discriminators, with the weights that a training begins with and the heads whose terms have a
    weight.

    Args:
        classes: in the training split.
        embedding_dim: as of `build_image_encoder`.
        features: what those of kind "projected" look through.
    """
    settings, sizes = config.discriminator, image_sizes(config)
    by_mu = settings.condition_on == "mu"
    condition = config.generator.condition_dim if by_mu else embedding_dim or config.embedding_dim
    heads = classes if config.gan.class_weight else 0, config.gan.contrast_weight > 0
    networks, stages = [], []
    for stage, size in enumerate(sizes):
        if settings.kind == "plain" or stage < settings.plain_stages:
            widening = sizes[-1] // size if settings.match_widths else 1
            widened = replace(settings, channels=settings.channels * widening)
            networks.append(_build("discriminator", widened, Discriminator, size, condition, *heads))
            stages.append(stage)
        if settings.kind == "projected" and (settings.every_stage or stage == len(sizes) - 1):
            networks.append(ProjectedDiscriminator(settings, size, condition, *heads, network=features))
            stages.append(stage)
    discriminators = Discriminators(networks, stages)
    discriminators.initialise()
    return discriminators


def _build(section: str, settings: Any, default: type[nn.Module], *arguments: Any) -> Any:
    """The network that a section of the configuration names, made of the section, further arguments and its
    options."""
    key, kind = f"{section}.network", default
    if settings.network:
        kind = find_outside(settings.network, key)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise InputError(f"expected a torch.nn.Module for {key}, found {kind!r}: name its class")
    try:
        inspect.signature(kind).bind(settings, *arguments, **settings.options)
    except TypeError as error:
        raise InputError(
            f"expected options of {kind.__name__} for {section}.options, found {settings.options}: {error}"
        ) from error
    try:
        return kind(settings, *arguments, **settings.options)
    except (ValueError, TypeError, RuntimeError) as error:
        if not (settings.options or isinstance(error, ValueError)):
            raise  # too little memory, or a mistake of the network
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise InputError(f"expected {section}.options that {kind.__name__} takes, found: {reason}") from error
