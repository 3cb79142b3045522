"""Networks from a configuration."""

from __future__ import annotations

from torch import nn

from s2i.config import Config
from s2i.errors import InputError
from s2i.models.discriminator import Discriminators
from s2i.models.generator import StackedGenerator, initialise_orthogonally
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.posterior import Posterior
from s2i.models.speech_encoder import SpeechEncoder
from s2i.models.text_encoder import TextEncoder
from s2i.plugins import find_outside

CaptionEncoder = SpeechEncoder | TextEncoder  # both: (inputs, lengths) -> CaptionEncoding


def build_caption_encoder(config: Config, vocabulary: int) -> CaptionEncoder:
    """The encoder of the run's modality; `vocabulary` (its size) is read for text alone.

    Raises InputError for one of another package that isn't there or is no network.
    """
    if config.modality == "speech":
        kind = _encoder_kind(config.speech_encoder.network, "speech_encoder.network", SpeechEncoder)
        return kind(config.speech_encoder, config.audio)
    kind = _encoder_kind(config.text_encoder.network, "text_encoder.network", TextEncoder)
    return kind(config.text_encoder, vocabulary)


def _encoder_kind(name: str, key: str, own: type[CaptionEncoder]) -> type[CaptionEncoder]:
    if not name:
        return own
    kind = find_outside(name, key)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise InputError(f"expected a torch.nn.Module for {key}, found {kind!r}: name its class")
    return kind


def build_image_encoder(config: Config) -> ImageEncoder | PretrainedImageEncoder:
    """The image encoder that the caption encoder is matched against.

    A pretrained one comes without its backbone: `s2i.runs.pretrained_weights.connect` says where to fetch it.
    """
    if config.image_encoder.kind != "small":
        return PretrainedImageEncoder(config.image_encoder, config.embedding_dim)
    return ImageEncoder(config.image_encoder, config.embedding_dim)


def build_generator(config: Config) -> StackedGenerator:
    """The generator, with orthogonal weights and the configured standard deviation of its condition."""
    generator = StackedGenerator(config.generator, config.embedding_dim)
    initialise_orthogonally(generator)
    generator.augmentation.start_with(config.generator.init_std)
    if config.generator.image_skips:  # a later stage begins by adding nothing to the image before
        for head in generator.heads[1:]:
            nn.init.zeros_(head.weight)
    return generator


def build_posterior(config: Config) -> Posterior | None:
    """What finds a real image's noise while a generator trains; None where nothing is resampled."""
    if not config.gan.reconstruction_weight:
        return None
    return Posterior(config.embedding_dim, config.generator.noise_dim)


def image_sizes(config: Config) -> list[int]:
    """Side in px of each stage's images, smallest first."""
    return [config.generator.base_size * 2**i for i in range(config.generator.stages)]


def build_discriminators(config: Config, classes: int = 0) -> Discriminators:
    """One discriminator a stage, with orthogonal weights and the heads whose terms have a weight.

    `classes`: in the training split.
    """
    sees_mu = config.discriminator.condition_on == "mu"
    width = config.generator.condition_dim if sees_mu else config.embedding_dim
    networks = Discriminators(
        config.discriminator,
        image_sizes(config),
        width,
        classes=classes if config.gan.class_weight else 0,
        contrastive=config.gan.contrast_weight > 0,
    )
    if config.discriminator.norm != "spectral":  # a normed layer holds its weight in parts
        initialise_orthogonally(networks)
    return networks
