"""Training a generator on the encodings of a trained caption encoder: `s2i train-gan`.

One loop: the generator generates once a step; the discriminators learn from the generation without its
history, then
the generator from the discriminators, the matching model and the relation supervisor. The caption encoder is
frozen, unless `gan.encoder_lr` has it learn too: through the images alone, lest it make captions easier to
classifier. The averaged generator (EMA) is a separate net; sampling and export use it alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.config_files import require
from s2i.data.batches import Batch
from s2i.data.pack import Pack
from s2i.data.sampler import endless_batches
from s2i.errors import InputError
from s2i.models.build import build_discriminators, build_generator, build_posterior, image_sizes
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import image_pyramid
from s2i.models.generator import GeneratorOutput, StackedGenerator
from s2i.models.posterior import Posterior
from s2i.models.relation import SAME_CLASS
from s2i.progress import progress
from s2i.runs.fingerprints import data_of_run
from s2i.runs.run import alone_in_its_run
from s2i.training import objectives
from s2i.training.conditioner import OTHER, CaptionSource, load_encoders, source_of_step
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.loop import Training
from s2i.training.optim import adam, clip_gradients, set_learning_rate
from s2i.training.samples import SampleGrid


@alone_in_its_run
def train_gan(config: Config) -> Path:
    """Train, continue or find finished; returns the run's folder."""
    require(config, "run", "data.pack", "gan.encoder")
    data = data_of_run(config.run, config.data.pack)
    pack = Pack(Path(config.data.pack) / "train", config)
    settings, engine = config.gan, Engine.start(config)
    _refuse_what_does_not_fit(config)
    configs = config.of_each_modality()
    encoders = [load_encoders(each) for each in configs]
    # Channels last: the same mathematics, and on CPU a step takes about two thirds of the time.
    generator, networks = (
        part.to(engine.device, memory_format=torch.channels_last)
        for part in (build_generator(config), build_discriminators(config, len(pack.class_labels)))
    )
    engine.share(generator, networks)
    average = averaged(generator)
    posterior = build_posterior(config)
    if posterior is not None:
        posterior = posterior.to(engine.device, memory_format=torch.channels_last)
        engine.share(posterior)
    generating = nn.ModuleList([generator] if posterior is None else [generator, posterior])
    g_optimiser = adam(generating.parameters(), settings.generator)
    d_optimiser = adam(networks.parameters(), settings.discriminator)
    sources = [
        CaptionSource(each, pack, engine, its_encoders, prefix)
        for each, its_encoders, prefix in zip(configs, encoders, ("", OTHER), strict=False)
    ]
    parts = {
        "generator": generator,
        "ema": average,
        "discriminators": networks,
        "generator_optimiser": g_optimiser,
        "discriminator_optimiser": d_optimiser,
    }
    if posterior is not None:
        parts["posterior"] = posterior
    for source in sources:
        parts |= source.parts()
    sizes = image_sizes(config)
    vocabulary = next((source.vocabulary for source in sources if source.vocabulary), None)
    facts = {"kind": "gan", "data": data, "vocabulary": vocabulary.to_list() if vocabulary else None}
    with Training(engine, settings.steps, parts, facts) as training:
        samples = [
            SampleGrid(
                training.run.samples / source.prefix.rstrip("_"), pack, source.config, source.vocabulary
            )
            for source in sources
        ]
        done = [source_of_step(step, len(sources), settings.penalty_every) for step in range(training.step)]
        batches = [
            endless_batches(
                source.dataset,
                settings.batch_size,
                config.seed,
                done.count(place),
                config.data.workers,
                engine.rank,
                engine.world,
            )
            for place, source in enumerate(sources)
        ]
        steps = range(training.step, settings.steps)
        for step in progress(steps, settings.steps, training.run.label, training.step):
            rates = {
                "lr/generator": set_learning_rate(g_optimiser, settings.generator, step, settings.steps),
                "lr/discriminator": set_learning_rate(
                    d_optimiser, settings.discriminator, step, settings.steps
                ),
            }
            place = source_of_step(step, len(sources), settings.penalty_every)
            source, batch = sources[place], next(batches[place]).to(engine.device)
            stages = growing_stages(settings.grow, step / settings.steps, len(sizes))
            encoding, output, found_noise = _generate(generator, posterior, source, batch, stages)
            matched = source.read(batch)
            by_mu = config.discriminator.condition == "mu"

            # Discriminators: images and condition without history.
            condition = (output.mu if by_mu else encoding.sentence).detach()
            reals = image_pyramid(batch.images, sizes[:stages])
            fakes = [image.detach() for image in output.images]
            networks.requires_grad_(True)
            with engine.autocast():
                d_total, terms = objectives.discriminator_objective(
                    networks, reals, fakes, condition, batch.class_ids, settings
                )
            d_optimiser.zero_grad(set_to_none=True)
            engine.backward(d_total)
            if settings.penalty != "none" and step % settings.penalty_every == 0:
                value, found = objectives.penalty_objective(networks, reals, condition, settings)
                engine.backward(value)
                terms |= found
            engine.average_gradients(networks)
            d_norm = clip_gradients(networks.parameters(), settings.discriminator.clip)
            d_optimiser.step()

            # Generator, against the discriminators as they now are. With condition="mu" the condition keeps
            # its history, as published: conditioning augmentation learns through it as well.
            networks.requires_grad_(False)
            for turn in range(settings.generator_steps):
                if turn:
                    encoding, output, found_noise = _generate(generator, posterior, source, batch, stages)
                with engine.autocast():
                    g_total, found, vectors = objectives.generator_objective(
                        networks,
                        output,
                        encoding.detach(),
                        output.mu if by_mu else encoding.sentence.detach(),
                        batch.class_ids,
                        source.looks,
                        settings,
                        source.matching,
                        matched,
                    )
                terms |= found
                if found_noise is not None:
                    value, found = objectives.reconstruction_objective(output, reals, found_noise, settings)
                    g_total = g_total + value
                    terms |= found
                if settings.relation_weight:
                    with torch.no_grad():
                        real, same = (source.looks(images)[0] for images in (batch.images, batch.same_class))
                    if turn == 0:
                        r_total, found = objectives.relation_objective(
                            source.relation,
                            real,
                            same,
                            vectors.detach(),
                            batch.class_ids,
                            batch.has_same_class,
                        )
                        source.relation_optimiser.zero_grad(set_to_none=True)
                        engine.backward(r_total)
                        engine.average_gradients(source.relation)
                        source.learn_relations(step)
                        terms |= found
                    value = objectives.relation_loss(source.relation, real, vectors, SAME_CLASS)
                    g_total = g_total + settings.relation_weight * value
                    terms["g/relation"] = value.detach()
                g_optimiser.zero_grad(set_to_none=True)
                source.zero_grad()
                engine.backward(g_total)
                engine.average_gradients(generating)
                g_norm = clip_gradients(generating.parameters(), settings.generator.clip)
                g_optimiser.step()
                source.learn(step)
            update_average(average, generator, step, settings.ema)
            source.update_average(step)

            terms |= {"d/all": d_total, "g/all": g_total, "grad_norm/d": d_norm, "grad_norm/g": g_norm}
            training.record(terms | rates)
            if training.every(settings.sample_every) and engine.is_main:
                for grid, shown in zip(samples, sources, strict=True):
                    grid.generate(average.module, shown.averaged_encoder, training.step)
            training.save_if_due()
    return training.run.folder


def _generate(
    generator: StackedGenerator,
    posterior: Posterior | None,
    source: CaptionSource,
    batch: Batch,
    stages: int,
) -> tuple[CaptionEncoding, GeneratorOutput, tuple[Tensor, Tensor] | None]:
    """A batch's captions encoded, and generated from new noise.

    Where the encoder learns, `mu` and `logvar` of the generation have no history that leads to it.
    With a posterior, the first half of the batch is generated from the noise that it finds in the real
    images; returned last are its mu and log variance (B // 2, noise) of them.
    """
    engine, widths = source.engine, source.config.generator
    encoding = source.encode(batch)
    noise = torch.randn(len(batch), widths.noise, device=engine.device)
    condition_noise = torch.randn(len(batch), widths.condition, device=engine.device)
    found = None
    with engine.autocast():
        if posterior is not None:
            half = len(batch) // 2
            mixtures = torch.randn(half, 3, device=engine.device)
            found = posterior(batch.images[:half], encoding.sentence[:half].detach(), mixtures)
            noise = torch.cat((found[0] + (0.5 * found[1]).exp() * noise[:half], noise[half:]))
        output = generator(encoding, noise, condition_noise, stages)
        if source.learns:
            mu, logvar = generator.augmentation(encoding.sentence.detach())
            output = replace(output, mu=mu, logvar=logvar)
        return encoding, output, found


def _refuse_what_does_not_fit(config: Config) -> None:
    settings = config.gan
    for head, weight in (("contrast", settings.contrast_weight), ("classify", settings.class_weight)):
        if weight and not getattr(config.discriminator, head):
            raise InputError(
                f"expected discriminator.{head}=true for a weight of {weight}, found false: mend it"
            )
    if settings.grow and len(settings.grow) != config.generator.stages - 1:
        raise InputError(
            f"expected gan.grow with a number for each of {config.generator.stages - 1} later stages,"
            f" found {list(settings.grow)}: mend the configuration"
        )
    widths = {each.modality: each.embedding for each in config.of_each_modality()}
    if len(set(widths.values())) > 1:
        raise InputError(
            f"expected encoders of one width for gan.other_encoder, found {widths}:"
            " give speech_encoder.hidden and text_encoder.hidden one value"
        )


def growing_stages(grow: tuple[float, ...], progress: float, stages: int) -> int:
    """How many stages train when `progress` (0 to 1) of the steps are done."""
    return stages if not grow else 1 + sum(progress >= part for part in grow)
