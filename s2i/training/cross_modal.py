"""Generators of speech and images from each other, against a discriminator of pairs: `s2i train-cross-modal`.

Image to speech alone is Chen et al.'s (2017), all four paths together are CMCGAN's (2018): speech to image,
image to speech, and from each back to itself through the other, over shared encoders and generators. Encoders
learn through the generators. The averaged networks (EMA) are separate; sampling and export use them alone.
The test split is never opened.
"""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
from torch import nn

from s2i.config import Config
from s2i.config_checks import augments_recordings
from s2i.config_files import require
from s2i.data.dataset import CaptionedImages
from s2i.data.loader import endless_batches
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.models.build import (
    build_caption_encoder,
    build_generator,
    build_image_encoder,
    build_pair_discriminator,
    build_speech_generator,
)
from s2i.models.interfaces import SpeechGenerator
from s2i.runs.fingerprints import data_of_run
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.runs.provenance import origins_of_image_encoder
from s2i.runs.run import alone_in_its_run
from s2i.training import cross_modal_step
from s2i.training.cross_modal_step import CrossModalNetworks
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.encoder import refuse_short_recordings
from s2i.training.latents import refuse_prior
from s2i.training.learner import Learner
from s2i.training.loop import Training
from s2i.training.memory_format import in_settled_format
from s2i.training.samples import SampleGrid
from s2i.training.speech_samples import SpeechSamples

RANGE_FROM = 500  # recordings, spread evenly, whose loudest place is the top of the range


@alone_in_its_run
def train_cross_modal(config: Config) -> Path:
    """Train, continue or find finished; returns the run's folder."""
    require(config, "run", "data.pack")
    _check(config)
    data = data_of_run(config.run, config.data.pack)
    pack = Pack(Path(config.data.pack) / "train", config)
    settings, engine = config.cross_modal, Engine.start(config)
    dataset = CaptionedImages(
        pack, config.seed, config.packed_size, "speech", augment=settings.augment, normalised=False
    )
    networks = _build_networks(config, engine)
    engine = networks.engine
    set_range(networks.speech_generator, pack, config)
    if networks.speech_encoder is not None:
        refuse_short_recordings(networks.speech_encoder, pack)
    generating = _generating(networks)
    averages = {name: averaged(network) for name, network in generating.items()}
    saved = {
        **generating,
        **{f"{name}_ema": average for name, average in averages.items()},
        "discriminator": networks.discriminator,
        "generator_optimiser": networks.generator_learner.optimiser,
        "discriminator_optimiser": networks.discriminator_learner.optimiser,
    }
    facts = {
        "kind": "cross_modal",
        "data": data,
        "vocabulary": None,
        "trained_by": origins_of_image_encoder(networks.image_encoder, "the generator of speech"),
    }
    with Training(engine, settings.steps, saved, facts) as training:
        speech_samples = SpeechSamples(training.run.samples / "speech", pack, config)
        grid = None if networks.generator is None else SampleGrid(training.run.samples, pack, config, None)
        batches = endless_batches(
            dataset,
            engine.rows(settings.batch_size, "cross_modal.batch_size"),
            config.seed,
            training.step,
            config.data.workers,
            engine.rank,
            engine.world,
        )
        for step in training.steps_left():
            batch = training.fetch(batches)
            real = cross_modal_step.real_pair(networks, batch, config.generated_size)
            generated = cross_modal_step.generate_pairs(networks, batch, real)
            terms = cross_modal_step.discriminator_step(
                networks, real, generated, batch.class_ids, settings, step
            )
            terms |= cross_modal_step.generator_step(networks, real, generated, settings, step)
            for name, average in averages.items():
                update_average(average, generating[name], step, settings.ema)
            training.record(terms)
            if training.every(settings.sample_every) and engine.is_main:
                live = {name: average.module for name, average in averages.items()}
                speech_samples.generate(live["image_encoder"], live["speech_generator"], training.step)
                training.run.show(training.step, speech_samples.file(training.step))
                if grid is not None:
                    grid.generate(live["generator"], live["caption_encoder"], training.step)
                    training.run.show(training.step, grid.file(training.step))
            training.save_if_due()
    return training.run.folder


def set_range(generator: SpeechGenerator, pack: Pack, config: Config) -> None:
    """Of log-mels: from silence to the loudest place of training recordings."""
    spoken = pack.usable("speech")
    chosen = spoken[np.linspace(0, len(spoken) - 1, min(RANGE_FROM, len(spoken))).astype(int)]
    loudest = max(float(pack.unnormalised(index).max()) for index in chosen.tolist())
    generator.scale.set_range(log(config.audio.log_floor), loudest)


def _generating(networks: CrossModalNetworks) -> dict[str, nn.Module]:
    """What generates, by the names of a checkpoint."""
    named = {
        "image_encoder": networks.image_encoder,
        "speech_generator": networks.speech_generator,
        "caption_encoder": networks.speech_encoder,
        "generator": networks.generator,
    }
    return {name: network for name, network in named.items() if network is not None}


def _build_networks(config: Config, engine: Engine) -> CrossModalNetworks:
    settings, speech_encoder, generator = config.cross_modal, None, None
    if settings.generates == "both":
        speech_encoder = build_caption_encoder(config, 0)
        generator = build_generator(config, speech_encoder.embedding_dim)
        if hasattr(generator, "first_stage"):
            raise InputError(
                "expected a generator without a first stage, which nothing here would train, found"
                f" {config.generator.network}: set another generator.network, or train it with s2i train-gan"
            )
    image_encoder = build_image_encoder(config, config.speech_generator.code_dim)
    connect(image_encoder, config.image_encoder)
    require_backbone(image_encoder)
    image_encoder.region.requires_grad_(False)  # nothing would train it
    speech_generator = build_speech_generator(config)
    discriminator = build_pair_discriminator(config)
    generating = nn.ModuleList(
        network
        for network in (image_encoder, speech_generator, speech_encoder, generator)
        if network is not None
    )
    engine = in_settled_format(engine, *generating, discriminator)
    for network in (*generating, discriminator):
        engine.share(network)
        engine.join_batch_norms(network)
    weights = [weight for weight in generating.parameters() if weight.requires_grad]
    return CrossModalNetworks(
        engine,
        image_encoder,
        speech_generator,
        speech_encoder,
        generator,
        discriminator,
        Learner(engine, weights, settings.generator, settings.steps),
        Learner(engine, discriminator.trainable_parameters(), settings.discriminator, settings.steps),
    )


def _check(config: Config) -> None:
    """Raises InputError for settings that contradict each other."""
    if config.audio.front_end != "log_mel":
        raise InputError(
            "expected audio.front_end=log_mel to generate speech, found"
            f" {config.audio.front_end}, from which nothing could be heard: change it"
        )
    if config.modality != "speech":
        raise InputError(f"expected modality=speech to generate speech, found {config.modality}: change it")
    refuse_prior(config)
    if augments_recordings(config):
        raise InputError(
            "expected data.augment of probability 0 to generate speech, found some above it: what is"
            " spoken is learnt as it is, leave it out"
        )
    if config.cross_modal.generates == "both" and config.audio.cmvn:
        raise InputError(
            "expected audio.cmvn=false for cross_modal.generates=both, found true: the encoder also reads"
            " speech that was generated, which is not normalised; pack the data with it"
        )
