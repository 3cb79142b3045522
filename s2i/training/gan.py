"""Training a generator on the encodings of a trained caption encoder: `s2i train-gan`.

One loop: the generator draws once a step; the discriminators learn from the drawing without its history, then
the generator from the discriminators, the matching model and the relation supervisor. The caption encoder is
frozen. The averaged generator (EMA) is a separate net; sampling and export use it alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from s2i.config import Config, config_from_dict, config_to_dict, require
from s2i.data.dataset import CaptionedPictures, endless_batches
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.models.build import (
    build_caption_encoder,
    build_discriminators,
    build_generator,
    build_image_encoder,
    image_sizes,
)
from s2i.models.discriminator import picture_pyramid
from s2i.models.relation import SAME_CLASS, RelationSupervisor
from s2i.progress import progress
from s2i.training import objectives
from s2i.training.checkpoint import read_checkpoint
from s2i.training.encoder import BEST, refuse_short_recordings
from s2i.training.engine import (
    Engine,
    Training,
    adam,
    averaged,
    clip_gradients,
    set_learning_rate,
    update_average,
)
from s2i.training.samples import SampleGrid

ENCODER_SECTIONS = ("audio", "speech_encoder", "text_encoder", "image_encoder", "modality")


def train_gan(config: Config) -> Path:
    """Train, continue or find finished; returns the run's folder."""
    require(config, "run", "data.pack", "gan.encoder")
    pack = Pack(Path(config.data.pack) / "train", config)
    settings, engine = config.gan, Engine.start(config)
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
    encoder, image_encoder, vocabulary = load_encoders(config)
    encoder, image_encoder = encoder.to(engine.device), image_encoder.to(engine.device)
    generator = build_generator(config).to(engine.device)
    networks = build_discriminators(config, len(pack.class_labels)).to(engine.device)
    relation = RelationSupervisor(config.embedding).to(engine.device)
    engine.share(generator, networks, relation)
    average = averaged(generator)
    g_optimiser = adam(generator.parameters(), settings.generator)
    d_optimiser = adam(networks.parameters(), settings.discriminator)
    r_optimiser = adam(relation.parameters(), settings.relation)
    refuse_short_recordings(encoder, pack)
    parts = {
        "generator": generator,
        "ema": average,
        "discriminators": networks,
        "relation": relation,
        "caption_encoder": encoder,
        "image_encoder": image_encoder,
        "generator_optimiser": g_optimiser,
        "discriminator_optimiser": d_optimiser,
        "relation_optimiser": r_optimiser,
    }
    dataset = CaptionedPictures(
        pack,
        config.seed,
        config.image_size,
        config.modality,
        vocabulary,
        config.text_encoder.words,
        same_class=settings.relation_weight > 0,
    )
    sizes = image_sizes(config)
    facts = {"kind": "gan", "vocabulary": vocabulary.to_list() if vocabulary else None}
    with Training(engine, settings.steps, parts, facts) as training:
        samples = SampleGrid(training.run.samples, pack, config, vocabulary)
        batches = endless_batches(
            dataset,
            settings.batch_size,
            config.seed,
            training.step,
            config.data.workers,
            engine.rank,
            engine.world,
        )
        steps = range(training.step, settings.steps)
        for step in progress(steps, settings.steps, training.run.label, training.step):
            rates = {
                "lr/generator": set_learning_rate(g_optimiser, settings.generator, step, settings.steps),
                "lr/discriminator": set_learning_rate(
                    d_optimiser, settings.discriminator, step, settings.steps
                ),
            }
            batch = next(batches).to(engine.device)
            with torch.no_grad(), engine.autocast():
                encoding = encoder(batch.inputs, batch.lengths)
            noise = torch.randn(len(batch), config.generator.noise, device=engine.device)
            condition_noise = torch.randn(len(batch), config.generator.condition, device=engine.device)
            stages = growing_stages(settings.grow, step / settings.steps, len(sizes))
            with engine.autocast():
                drawing = generator(encoding, noise, condition_noise, stages)
            condition = drawing.mu if config.discriminator.condition == "mu" else encoding.sentence

            # Discriminators: pictures and condition without history.
            reals = picture_pyramid(batch.pictures, sizes[:stages])
            fakes = [picture.detach() for picture in drawing.pictures]
            networks.requires_grad_(True)
            with engine.autocast():
                d_total, terms = objectives.discriminator_objective(
                    networks, reals, fakes, condition.detach(), batch.class_ids, settings
                )
            d_optimiser.zero_grad(set_to_none=True)
            engine.backward(d_total)
            if settings.penalty != "none" and step % settings.penalty_every == 0:
                value, found = objectives.penalty_objective(networks, reals, condition.detach(), settings)
                engine.backward(value)
                terms |= found
            engine.average_gradients(networks)
            d_norm = clip_gradients(networks.parameters(), settings.discriminator.clip)
            d_optimiser.step()

            # Generator, against the discriminators as they now are. With condition="mu" the condition keeps
            # its history, as published: conditioning augmentation learns through it as well.
            networks.requires_grad_(False)
            with engine.autocast():
                g_total, found, vectors = objectives.generator_objective(
                    networks,
                    drawing,
                    encoding,
                    condition,
                    batch.class_ids,
                    image_encoder,
                    settings,
                    config.matching,
                )
            terms |= found
            if settings.relation_weight and len(vectors):
                with torch.no_grad():
                    real, same = image_encoder(batch.pictures)[0], image_encoder(batch.same_class)[0]
                r_total, found = objectives.relation_objective(
                    relation, real, same, vectors.detach(), batch.class_ids
                )
                r_optimiser.zero_grad(set_to_none=True)
                engine.backward(r_total)
                engine.average_gradients(relation)
                r_optimiser.step()
                terms |= found
                value = objectives.relation_loss(relation, real, vectors, SAME_CLASS)
                g_total = g_total + settings.relation_weight * value
                terms["g/relation"] = value.detach()
            g_optimiser.zero_grad(set_to_none=True)
            engine.backward(g_total)
            engine.average_gradients(generator)
            g_norm = clip_gradients(generator.parameters(), settings.generator.clip)
            g_optimiser.step()
            update_average(average, generator, step, settings.ema)

            terms |= {"d/all": d_total, "g/all": g_total, "grad_norm/d": d_norm, "grad_norm/g": g_norm}
            training.record(terms | rates)
            if training.every(settings.sample_every) and engine.is_main:
                samples.draw(average.module, encoder, training.step)
            training.save_if_due()
    return training.run.folder


def growing_stages(grow: tuple[float, ...], progress: float, stages: int) -> int:
    """How many stages train when `progress` (0 to 1) of the steps are done."""
    return stages if not grow else 1 + sum(progress >= part for part in grow)


def load_encoders(config: Config) -> tuple[nn.Module, nn.Module, Vocabulary | None]:
    """Frozen caption and image encoder of `config.gan.encoder`, and its vocabulary.

    Raises InputError where that run's encoders are others than this configuration describes.
    """
    path = Path(config.gan.encoder) / "checkpoints" / BEST
    state = read_checkpoint(path)
    theirs, ours = config_to_dict(config_from_dict(state["config"], str(path))), config_to_dict(config)
    for section in ENCODER_SECTIONS:
        if theirs.get(section) != ours.get(section):
            raise InputError(
                f"expected the {section} of {config.gan.encoder} ({theirs.get(section)}), found"
                f" {ours.get(section)} in this configuration: give both trainings the same"
            )
    vocabulary = Vocabulary.from_list(state["vocabulary"]) if state["vocabulary"] else None
    encoder = build_caption_encoder(config, len(vocabulary or ()))
    image_encoder = build_image_encoder(config)
    encoder.load_state_dict(state["nets"]["caption_encoder"])
    image_encoder.load_state_dict(state["nets"]["image_encoder"])
    return freeze(encoder), freeze(image_encoder), vocabulary


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients to the weights; gradients still pass through to the input."""
    return network.requires_grad_(False).eval()
