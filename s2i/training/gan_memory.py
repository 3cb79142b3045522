"""Bytes of a step of a generator's training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from s2i.config import Config
from s2i.data.batches import Batch
from s2i.models.build import (
    build_caption_encoder,
    build_discriminators,
    build_generator,
    build_image_encoder,
    build_posterior,
)
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import image_pyramid
from s2i.models.efficientnet_lite0 import FEATURE_CHANNELS, FEATURE_STRIDES, EfficientNetLite0
from s2i.models.feature_network import FeatureNetwork
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.relation import RelationSupervisor
from s2i.training.gan_step import GanNetworks, learning_weights, train_step
from s2i.training.joint_batch import ALONE, JointBatch
from s2i.training.latent_check import check_latent
from s2i.training.learner import Learner
from s2i.training.memory import PlacedNetwork, make_moments, placed, without_data
from s2i.training.micro_batches import use_micro_batches
from s2i.training.step_engine import StepEngine

CLASSES, SEGMENTS = 150, 20  # CUB's in training; of a caption


def count_gan_peak(config: Config, batch_size: int, device: torch.device | str = "cpu") -> int:
    """The most bytes that a step has at one time, all stages trained, a gradient penalty among its terms.

    A caption encoder that learns through the generator, and a first stage, are not counted.
    """
    with without_data() as live:
        step = GanStep(config, batch_size, torch.device(device))
        live.peak = live.now
        step()
    return live.peak


class GanStep:
    """A step of a generator's training on random captions and images, with networks of initial weights."""

    def __init__(
        self, config: Config, batch_size: int, device: torch.device, joint: JointBatch = ALONE
    ) -> None:
        """`batch_size`: of this process; `joint`: the batch of all, where there are several."""
        settings = replace(config.gan, encoder_lr=0.0, caption_class_weight=0.0)
        # All stages and terms, from step 0 on.
        settings = replace(settings, grow=(), adversarial_start=0.0, generator_start=0.0)
        self.config = replace(config, gan=settings)
        self.engine = StepEngine(self.config, device, joint)
        encoder = build_caption_encoder(config, vocabulary=2)
        self._conditioner = _Conditioner(self.config, self.engine, encoder.embedding_dim)
        self.networks = _build(self.config, self.engine, encoder.embedding_dim)
        self._average = placed(lambda: build_generator(config, encoder.embedding_dim), device)  # as large
        self._batch = _batch(config, batch_size, device)
        learners = self.networks.generator_learner, self.networks.discriminator_learner
        for learner in filter(None, (*learners, self.networks.prior_learner)):
            make_moments(learner.optimiser)
        modules = [self.networks.generator, *self.networks.discriminators, self.networks.features]
        use_micro_batches(config.micro_batch, *modules, self._conditioner.matching_image_encoder)

    def __call__(self) -> None:
        """Take it, but for the update of the average, which takes no memory; with a gradient penalty where
        the configuration has one."""
        real_images = image_pyramid(self._batch.images, self.networks.generator.sizes)
        train_step(self.networks, self._conditioner, self._batch, real_images, self.config.gan, 0)


class _Conditioner:
    """What a step asks of `s2i.training.conditioner.Conditioner`, with captions encoded before."""

    is_tuned, caption_classifier, encoder_learners = False, None, ()

    def __init__(self, config: Config, engine: StepEngine, width: int) -> None:
        self.config, self.engine, self.matching, self.width = config, engine, config.matching, width
        image_encoder = placed(lambda: build_image_encoder(config, width), engine.device)
        is_read = config.gan.matching_weight or config.gan.relation_weight
        if isinstance(image_encoder, PretrainedImageEncoder) and is_read:
            settings = config.image_encoder
            shape = settings.kind, settings.input_size, settings.input_normalization
            image_encoder.use_backbone(placed(lambda: PlacedNetwork(*shape), engine.device))
        self.matching_image_encoder = image_encoder.requires_grad_(False).eval()
        self.relation = placed(lambda: RelationSupervisor(width), engine.device)
        self.relation_learner = Learner(
            engine, self.relation.parameters(), config.gan.relation, config.gan.steps
        )
        make_moments(self.relation_learner.optimiser)

    def encode(self, batch: Batch) -> CaptionEncoding:
        """Random sentences and sequences."""
        rows, device = len(batch), self.engine.device
        return CaptionEncoding(
            torch.randn(rows, self.width, device=device),
            torch.randn(rows, self.width, SEGMENTS, device=device),
            torch.ones(rows, SEGMENTS, dtype=torch.bool, device=device),
        )

    def encode_for_matching(self, batch: Batch) -> None:
        """By the same encoder."""


def _build(config: Config, engine: StepEngine, width: int) -> GanNetworks:
    features, settings, device = None, config.gan, engine.device
    if config.needs_features:
        side = config.feature_input_size
        features = placed(
            lambda: FeatureNetwork(EfficientNetLite0(), FEATURE_CHANNELS, FEATURE_STRIDES, side), device
        )
    generator = placed(lambda: build_generator(config, width), device)
    posterior = None
    if settings.reconstruction_weight or settings.perceptual_weight:
        check_latent(config, generator)
        posterior = placed(lambda: build_posterior(config, width, features), device)
    discriminators = placed(lambda: build_discriminators(config, CLASSES, width, features), device)
    of_generator, of_prior = learning_weights(generator, posterior)
    return GanNetworks(
        engine,
        generator,
        posterior,
        discriminators,
        features,
        config.discriminator.augmentation,
        Learner(engine, of_generator, settings.generator, settings.steps),
        Learner(engine, discriminators.trainable_parameters(), settings.discriminator, settings.steps),
        Learner(engine, of_prior, settings.prior, settings.steps) if of_prior else None,
    )


def _batch(config: Config, rows: int, device: torch.device) -> Batch:
    def images() -> Tensor:
        return torch.rand(rows, 3, config.generated_size, config.generated_size, device=device) * 2 - 1

    numbers = torch.arange(rows, device=device)
    alone = torch.zeros(rows, dtype=torch.bool, device=device)
    same_class = images() if config.gan.relation_weight else None
    return Batch(images(), numbers % CLASSES, numbers, numbers, same_class, ~alone)
