"""Steps of the encoders and of the GAN, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from s2i import losses
from s2i.config import Config
from s2i.config_files import load_config
from s2i.devices import has_instructions
from s2i.freed_memory import keep_freed_memory
from s2i.models.build import build_caption_encoder, build_discriminators, build_generator
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import image_pyramid
from s2i.training.gan_losses import GeneratedBatch, discriminator_losses, generator_adversarial_losses
from s2i.training.memory_format import FORMATS, decide, try_both
from s2i.training.optim import adam
from tests.benchmarks.suite import plain
from tests.benchmarks.suite.timing import OURS, PLAIN, Choice, Form, Row, bytes_of, counted

RECIPES = Path(__file__).parents[3] / "recipes"
ENCODERS = {"painted birds": "painted_birds/conf/default.yaml", "paper": "cub/conf/s2igan.yaml"}
GANS = {"painted birds": "painted_birds/conf/default.yaml", "paper": "cub/conf/attngan.yaml"}
# Images, width, regions, segments.
REGIONS = {"painted birds": (64, 128, 64, 12), "paper": (48, 256, 289, 20)}
CAPTIONS, FRAMES, STEPS = 16, 320, 40  # of 3.2 s; steps of 80 ms
IMAGES = {"painted birds": 16, "paper": 8}
QUICK_IMAGES = 2


def rows(choice: Choice) -> Iterator[Row]:
    for size in GANS:
        if choice.has("encoder", size):
            yield from _encoder(size, choice)
    for size in GANS:
        if choice.has("matching", size) and choice.has_precision("fp32"):
            yield _regions(size)
    for size in GANS:
        if choice.has("GAN", size):
            images = QUICK_IMAGES if choice.quick and size == "paper" else IMAGES[size]
            yield from _gan(size, images, choice)


def _bf16() -> AbstractContextManager:
    return torch.autocast("cpu", torch.bfloat16)


def precisions_here(choice: Choice) -> list[str]:
    able = ["fp32", "bf16"] if has_instructions(torch.device("cpu")) else ["fp32"]
    return list(filter(choice.has_precision, able))


def _in(precision: str, form: Form) -> Form:
    if precision == "fp32":
        return form

    def autocast() -> object:
        with _bf16():
            return form()

    return autocast


def _encoder(size: str, choice: Choice) -> Iterator[Row]:
    config = load_config(RECIPES / ENCODERS[size])
    torch.manual_seed(0)
    encoder = build_caption_encoder(config, vocabulary=0)
    lengths = torch.linspace(FRAMES // 2, FRAMES, CAPTIONS).long()
    inputs = torch.randn(CAPTIONS, config.audio.mel_bins, FRAMES)
    inputs *= torch.arange(FRAMES) < lengths[:, None, None]
    images, classes = torch.randn(CAPTIONS, encoder.embedding_dim), torch.arange(CAPTIONS)

    def step(encode: Callable[[], Tensor]) -> None:
        encoder.zero_grad(set_to_none=True)
        sum(losses.batch_matching_loss(images, encode(), classes, 10.0)).backward()

    ours = partial(step, lambda: encoder(inputs, lengths).sentence)
    one_by_one = partial(step, lambda: plain.captions_one_by_one(encoder, inputs, lengths))
    for precision in precisions_here(choice):
        yield Row(
            "encoder",
            f"forward and backward of {CAPTIONS} spoken captions",
            size,
            precision,
            {OURS: _in(precision, ours), PLAIN: one_by_one},
            bytes=bytes_of(inputs, encoder) * 2,
        )
    yield from _recurrence(size, encoder.recurrent, choice)


def _recurrence(size: str, layers: nn.Module, choice: Choice) -> Iterator[Row]:
    """An encoder's recurrent layers alone; the plain ones in the same precision."""
    lengths = torch.full((CAPTIONS,), STEPS)
    inputs = torch.randn(CAPTIONS, STEPS, layers.onward[0].input_size, requires_grad=True)

    def ours() -> None:
        layers.zero_grad(set_to_none=True)
        layers(inputs, lengths)[0].float().square().mean().backward()

    def torchs() -> None:
        with plain.torchs_recurrence():
            ours()

    for precision in precisions_here(choice):
        forms = {OURS: _in(precision, ours), PLAIN: _in(precision, torchs)}
        name = f"recurrent layers, forward and backward, {CAPTIONS} captions of {STEPS} steps"
        yield Row("encoder", name, size, precision, forms, counted(torchs), 4 * bytes_of(inputs, layers))


def _regions(size: str) -> Row:
    images, width, regions, segments = REGIONS[size]
    torch.manual_seed(0)
    inputs = torch.randn(images, width, regions, requires_grad=True)
    sequence = torch.randn(images, width, segments, requires_grad=True)
    mask = torch.arange(segments) < torch.linspace(segments // 2, segments, images).long()[:, None]
    classes, gammas = torch.arange(images), (4.0, 5.0, 10.0)

    def ours() -> None:
        sum(losses.region_loss(inputs, sequence, mask, classes, gammas)).backward()

    def loop() -> None:
        plain.region_loss(inputs, sequence, mask, classes, gammas).backward()

    name = f"region-word loss, {images} images, {regions} regions, {segments} segments"
    return Row("matching", name, size, "fp32", {OURS: ours, PLAIN: loop}, counted(ours), 4 * bytes_of(inputs))


class _Step:
    """The parts of a GAN's step on random captions and images, in one memory format."""

    def __init__(self, config: Config, networks: tuple[nn.Module, nn.Module], images: int, lie: str) -> None:
        self.config = config
        self.generator, self.discriminators = (
            each.to(memory_format=FORMATS[lie]) for each in deepcopy(networks)
        )
        torch.manual_seed(0)
        width, segments = config.embedding_dim, 12
        mask = torch.ones(images, segments, dtype=torch.bool)
        self.encoding = CaptionEncoding(
            torch.randn(images, width), torch.randn(images, width, segments), mask
        )
        self.noise = self.generator.sample_batch_noise(images, torch.device("cpu"))
        largest = 2 * torch.rand(images, 3, self.generator.sizes[-1], self.generator.sizes[-1]) - 1
        self.real = self.discriminators.look(image_pyramid(largest, self.generator.sizes))
        self.classes = torch.arange(images)
        with torch.no_grad():
            self.generated = [each.detach() for each in self.generate().images]
        self.optimisers = {
            "generator": adam(self.generator.parameters(), config.gan.generator),
            "discriminators": adam(self.discriminators.trainable_parameters(), config.gan.discriminator),
        }

    def generate(self) -> object:
        return self.generator(self.encoding, *self.noise)

    def condition(self, mu: Tensor | None = None) -> Tensor:
        return mu if self.config.discriminator.condition_on == "mu" else self.encoding.sentence

    def discriminator_step(self) -> None:
        self.optimisers["discriminators"].zero_grad(set_to_none=True)
        mu = torch.zeros(len(self.classes), self.config.generator.condition_dim)
        views = self.discriminators.look(self.generated)
        terms = discriminator_losses(
            self.discriminators, self.real, views, self.condition(mu), self.classes, self.config.gan
        )
        terms["d/all"].backward()
        self.optimisers["discriminators"].step()

    def generator_step(self) -> None:
        self.optimisers["generator"].zero_grad(set_to_none=True)
        self.discriminators.requires_grad_(False)
        output = self.generate()
        views = self.discriminators.look([images.view_as(images) for images in output.images])
        generated = GeneratedBatch(self.encoding, output, views, self.condition(output.mu), None)
        total, _ = generator_adversarial_losses(self.discriminators, generated, self.classes, self.config.gan)
        total.backward()
        self.discriminators.requires_grad_(True)
        self.optimisers["generator"].step()


def _gan(size: str, images: int, choice: Choice) -> Iterator[Row]:
    config = load_config(RECIPES / GANS[size])
    if config.needs_features:
        raise ValueError(f"{GANS[size]} looks through a network of features")
    torch.manual_seed(0)
    networks = build_generator(config), build_discriminators(config, classes=images)
    by_mu = config.discriminator.condition_on == "mu"
    widths = config.embedding_dim, config.generator.condition_dim if by_mu else config.embedding_dim
    side = networks[0].sizes[-1]
    first = _Step(config, networks, images, "channels_first")
    last = _Step(config, networks, images, "channels_last")
    moved = {
        "generator": 3 * bytes_of(first.generator) + bytes_of(first.generated),
        "discriminators": 7 * bytes_of(first.discriminators) + bytes_of(first.generated, first.real),
    }
    work = {
        "generator": counted(first.generator_step),
        "discriminators": counted(first.discriminator_step),
    }
    for precision in precisions_here(choice):
        context = _bf16 if precision == "bf16" else torch.enable_grad
        keep_freed_memory()  # as a training does before it tries
        chosen, _ = decide(try_both(*deepcopy(networks), widths, context))
        ours = first if chosen == "channels_first" else last
        for network, name in (("discriminators", "discriminator_step"), ("generator", "generator_step")):
            forms = {
                OURS: _in(precision, getattr(ours, name)),
                PLAIN: plain.layers()(getattr(first, name)),
                "channels last, fp32": plain.layers()(getattr(last, name)),
            }
            what = f"{network}: a step of {images} images, {side} px, {chosen.replace('_', ' ')}"
            yield Row("GAN", what, size, precision, forms, work[network], moved[network])
