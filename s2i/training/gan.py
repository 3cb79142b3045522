"""Training a generator on the encodings of a trained caption encoder: `s2i train-gan`.

A step is S2IGAN's: generate once, then update discriminators, relation supervisor and generator
(`s2i.training.gan_step`). The caption encoder is frozen, unless `gan.encoder_lr` tunes it. The averaged
generator (EMA) is a separate net; sampling and export use it alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from s2i.config import Config, GanConfig
from s2i.config_files import require
from s2i.data.batches import Batch
from s2i.data.loader import endless_batches
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.models.build import build_discriminators, build_generator, build_posterior
from s2i.models.discriminator import Discriminators, image_pyramid
from s2i.models.interfaces import CaptionEncoder
from s2i.runs.feature_network import load_feature_network
from s2i.runs.fingerprints import data_of_run
from s2i.runs.provenance import Origins, backbone_fingerprint
from s2i.runs.run import alone_in_its_run
from s2i.training import gan_step
from s2i.training.conditioner import OTHER, Conditioner, conditioner_of_step
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.fine_tuning import models_of_training, start_gan
from s2i.training.first_stage import load_first_stage
from s2i.training.gan_memory import count_gan_peak
from s2i.training.gan_step import GanNetworks, learning_weights
from s2i.training.latent_check import check_latent
from s2i.training.learner import Learner
from s2i.training.loop import Training
from s2i.training.memory import fit_to_memory
from s2i.training.memory_format import in_its_format
from s2i.training.micro_batches import use_micro_batches
from s2i.training.samples import SampleGrid
from s2i.training.trained_encoders import load_encoders


@alone_in_its_run
def train_gan(config: Config) -> Path:
    """Train, continue or find finished; returns the run's folder."""
    require(config, "run", "data.pack", *_required(config.gan))
    data = data_of_run(config.run, config.data.pack)
    pack = Pack(Path(config.data.pack) / "train", config)
    settings, engine = config.gan, Engine.start(config)
    _check(config)
    configs = config.of_each_modality()
    if not (config.speech_encoder.network or config.text_encoder.network):  # known before they are loaded
        _check_widths({each.modality: each.embedding_dim for each in configs})
    encoders = [load_encoders(each) for each in configs]
    _check_widths(
        {
            each.modality: encoder.embedding_dim
            for each, (encoder, _, _) in zip(configs, encoders, strict=True)
        }
    )
    rows = engine.rows(settings.batch_size, "gan.batch_size")
    _check_rows(config, rows, engine.world)
    lower = "generator.channels, discriminator.channels or generator.stages"
    engine = fit_to_memory(engine, rows, count_gan_peak, lower)
    networks, of_first_stage = _build_networks(config, engine, len(pack.class_labels), encoders[0][0])
    engine = networks.engine
    average = averaged(networks.generator)
    conditioners = [
        Conditioner(each, pack, engine, trained, prefix)
        for each, trained, prefix in zip(configs, encoders, ("", OTHER), strict=False)
    ]
    modules = [networks.generator, *networks.discriminators, networks.features]
    for conditioner in conditioners:
        modules += [
            conditioner.matching_image_encoder,
            *([conditioner.encoder] if conditioner.is_tuned else []),
        ]
    use_micro_batches(engine.config.micro_batch, *modules)
    saved = {
        "generator": networks.generator,
        "ema": average,
        "discriminators": networks.discriminators,
        "generator_optimiser": networks.generator_learner.optimiser,
        "discriminator_optimiser": networks.discriminator_learner.optimiser,
    }
    if networks.posterior is not None:
        saved["posterior"] = networks.posterior
    if networks.prior_learner is not None:
        saved["prior_optimiser"] = networks.prior_learner.optimiser
    for conditioner in conditioners:
        saved |= conditioner.networks()
    vocabulary = next((each.vocabulary for each in conditioners if each.vocabulary), None)
    trained = {name: engine.unwrap(each) for name, each in saved.items() if isinstance(each, nn.Module)}
    of_start = start_gan(config, trained)
    facts = {
        "kind": "gan",
        "data": data,
        "models": models_of_training(config, "gan"),
        "trained_by": of_first_stage | of_start | _trained_by(conditioners, networks),
        "vocabulary": vocabulary.to_list() if vocabulary else None,
    }
    sizes = networks.generator.sizes
    with Training(engine, settings.steps, saved, facts) as training:
        grids = [
            SampleGrid(training.run.samples / each.prefix.rstrip("_"), pack, each.config, each.vocabulary)
            for each in conditioners
        ]
        batches = _batches(config, conditioners, engine, training.step)
        for step in training.steps_left():
            turn = conditioner_of_step(step, len(conditioners), settings.penalty_every)
            conditioner, batch = conditioners[turn], training.fetch(batches[turn])
            stages = growing_stages(settings.grow, step / settings.steps, len(sizes))
            real_images = image_pyramid(batch.images, sizes[:stages])

            terms = gan_step.train_step(networks, conditioner, batch, real_images, settings, step)
            update_average(average, networks.generator, step, settings.ema)
            conditioner.update_average(step)

            training.record(terms)
            if training.every(settings.sample_every) and engine.is_main:
                for grid, each in zip(grids, conditioners, strict=True):
                    grid.generate(average.module, each.averaged_encoder, training.step)
                    training.run.show(training.step, grid.file(training.step))
            training.save_if_due()
    return training.run.folder


def growing_stages(grow: tuple[float, ...], progress: float, stages: int) -> int:
    """How many stages train when `progress` (0 to 1) of the steps are done."""
    return stages if not grow else 1 + sum(progress >= start for start in grow)


def _build_networks(
    config: Config, engine: Engine, classes: int, encoder: CaptionEncoder
) -> tuple[GanNetworks, Origins]:
    """The networks, and what trained a first stage among them."""
    settings, embedding_dim = config.gan, encoder.embedding_dim
    features = load_feature_network(config).to(engine.device) if config.needs_features else None
    networks = [
        build_generator(config, embedding_dim),
        build_discriminators(config, classes, embedding_dim, features),
    ]
    posterior = build_posterior(config, embedding_dim, features)
    others = [] if posterior is None else [posterior]
    by_mu = config.discriminator.condition_on == "mu"
    condition_dim = config.generator.condition_dim if by_mu else embedding_dim
    engine = in_its_format(engine, *networks, others, embedding_dim, condition_dim)
    engine.share(*networks, *others)
    engine.join_batch_norms(*networks, *others)
    generator, discriminators = networks
    of_first_stage = load_first_stage(config, generator, encoder)
    _check_heads(config, discriminators)
    if posterior is not None:
        check_latent(config, generator)
    of_generator, of_prior = learning_weights(generator, posterior)
    _check_prior(config, bool(of_prior), posterior is not None)
    networks = GanNetworks(
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
    return networks, of_first_stage


def _trained_by(conditioners: list[Conditioner], networks: GanNetworks) -> Origins:
    """The networks that have a part in the training; a discriminator of another package may name some as
    `pretrained`."""
    origins: Origins = {}
    for conditioner in conditioners:
        origins |= conditioner.origins()
    if networks.features is not None:
        digits = backbone_fingerprint(networks.features.network)
        origins[digits] = "the frozen network in whose features images are compared"
    for discriminator in networks.discriminators:
        for name, network in getattr(discriminator, "pretrained", {}).items():
            origins[backbone_fingerprint(network)] = f"{name} in a discriminator"
    return origins


def _batches(
    config: Config, conditioners: list[Conditioner], engine: Engine, step: int
) -> list[Iterator[Batch]]:
    """Each conditioner's batches from `step` of the training on."""
    turns = [conditioner_of_step(past, len(conditioners), config.gan.penalty_every) for past in range(step)]
    return [
        endless_batches(
            conditioner.dataset,
            engine.rows(config.gan.batch_size, "gan.batch_size"),
            config.seed,
            turns.count(number),
            config.data.workers,
            engine.rank,
            engine.world,
        )
        for number, conditioner in enumerate(conditioners)
    ]


def _required(settings: GanConfig) -> tuple[str, ...]:
    """`gan.encoder`, but where no loss reads what was matched and the caption encoder begins unmatched."""
    terms = settings.relation_weight or settings.matching_weight
    is_read = settings.encoder_start == "matched" or terms or settings.other_encoder
    return ("gan.encoder",) if is_read else ()


def _check(config: Config) -> None:
    """Raises InputError for settings that contradict each other."""
    settings = config.gan
    if settings.grow and len(settings.grow) != config.generator.stages - 1:
        raise InputError(
            f"expected gan.grow with a number for each of {config.generator.stages - 1} later stages,"
            f" found {list(settings.grow)}: mend the configuration"
        )
    if settings.interpolation_weight and config.generator.attention:
        raise InputError(
            "expected generator.attention=false for gan.interpolation_weight, found both: there are no words"
            " between two captions"
        )
    if settings.caption_class_weight and not settings.encoder_lr:
        raise InputError(
            "expected gan.encoder_lr for gan.caption_class_weight, found 0: nothing would learn from it"
        )
    if settings.real_target != 1 and settings.loss != "least_squares":
        raise InputError(
            f"expected gan.loss=least_squares for gan.real_target={settings.real_target:g}, found"
            f" {settings.loss}: change either"
        )
    if config.generator.attention and config.text_encoder.units == "characters" and config.modality == "text":
        raise InputError(
            "expected text_encoder.units=words for generator.attention, found characters: maps are of words"
        )


def _check_prior(config: Config, has_prior: bool, has_posterior: bool) -> None:
    """Raises InputError for a learnt prior that is wanted and not there, or has nothing to learn from."""
    if config.generator.prior == "flow" and not has_prior:
        raise InputError(
            f"expected a generator with a prior for generator.prior=flow, found {config.generator.network},"
            " which has none: leave it out"
        )
    if has_posterior and config.gan.posterior == "features" and not has_prior:
        raise InputError(
            "expected generator.prior=flow for gan.posterior=features, whose latents nothing else holds to"
            f" noise, found {config.generator.prior}: change either"
        )
    without_use = {
        "gan.guided": config.gan.guided,
        "generator.guidance": config.generator.guidance != 1,
        "generator.truncation": config.generator.truncation != 1,
    }
    for key, is_set in without_use.items():
        if is_set and not has_prior:
            raise InputError(
                f"expected generator.prior=flow for {key}, found {config.generator.prior}: change either"
            )
    if has_prior and not has_posterior:
        raise InputError(
            "expected gan.reconstruction_weight or gan.perceptual_weight above 0 for a learnt prior, found 0"
            " of both: it learns from what a posterior infers, set one"
        )


def _check_rows(config: Config, rows: int, processes: int) -> None:
    """Raises InputError for a process's `rows` of which the half that a posterior reads is too small: none,
    or one image for the norm over the batch of the posterior on features."""
    settings = config.gan
    if not (settings.reconstruction_weight or settings.perceptual_weight):
        return
    least = 4 if settings.posterior == "features" and processes == 1 else 2
    if rows < least:
        raise InputError(
            f"expected gan.batch_size of {least * processes} or more in processes: {processes}, since the"
            f" posterior reads half of each one's images, found {settings.batch_size}: change either"
        )


def _check_heads(config: Config, discriminators: Discriminators) -> None:
    """Raises InputError for terms on images alone, of discriminators that have no head for them."""
    is_conditional_alone = not all(getattr(each, "unconditional_logits", None) for each in discriminators)
    if is_conditional_alone and config.gan.has_unconditional_terms:
        raise InputError(
            "expected gan.terms.real_u, gan.terms.fake_u and gan.unconditional_weight of 0 for"
            f" {config.discriminator.network}, which has no unconditional head, found"
            f" {config.gan.terms.real_u}, {config.gan.terms.fake_u} and {config.gan.unconditional_weight}:"
            " change them"
        )


def _check_widths(widths: dict[str, int]) -> None:
    """Raises InputError for two encoders of which a generator can't read both."""
    if len(set(widths.values())) > 1:
        raise InputError(
            f"expected encoders of one width for gan.other_encoder, found {widths}:"
            " give speech_encoder.hidden_dim and text_encoder.hidden_dim one value"
        )
