"""How image networks lie in memory: what `memory_format: auto` resolves to for the networks at hand.

Channels last or channels first is the same mathematics; which is faster depends on the processor, the
precision, widths and sizes. On a CPU a run tries its own networks in both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from s2i.config import OptimiserConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminators
from s2i.models.interfaces import Generator
from s2i.training.distributed import Engine
from s2i.training.latents import decoder
from s2i.training.optim import adam

FORMATS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}
USUAL = "channels_last"
LEAST_GAIN = 1.1  # less is within what so short a trial errs
LEAST_SECONDS = 0.2  # of a step: what a shorter one measures is calls, and channels last is at no loss there
ENOUGH = 2.0  # seconds of a format's steps, after which no third round is needed
ROUNDS = 3
IMAGES = 2  # of a trial's step: the fewest that a batch norm takes
SEGMENTS = 8  # of its captions


def in_its_format(
    engine: Engine,
    generator: Generator,
    discriminators: Discriminators | None,
    others: list[nn.Module],
    embedding_dim: int,
    condition_dim: int = 0,
) -> Engine:
    """Move networks to the device, in the memory format of the run.

    As configured; else as the run was begun, where it continues; else as a trial of copies of the generator
    and the discriminators finds it, in the run's precision; on a GPU channels last.

    Args:
        others: networks that lie as these do.
        embedding_dim: of a caption.
        condition_dim: numbers of a caption that discriminators read.

    Returns:
        the engine, its configuration with the format, and the reason.
    """
    networks = [network for network in (generator, discriminators, *others) if network is not None]
    for network in networks:
        network.to(engine.device)
    settled = _settled(engine)
    if settled is None and engine.device.type != "cpu":
        settled = USUAL, "as convolutions on a GPU have it"  # a trial would measure kernel launches
    if settled is None:
        copies = deepcopy((generator, discriminators))
        with torch.random.fork_rng(devices=[]):
            gain = try_both(*copies, (embedding_dim, condition_dim), engine.autocast)
        settled = decide(_agreed(engine, gain))
    return _placed(engine, networks, *settled)


def in_settled_format(engine: Engine, *networks: nn.Module) -> Engine:
    """Move networks to the device, in the memory format of the run, without a trial: as configured; else as
    the run was begun, where it continues; else channels last. Returns as `in_its_format`."""
    return _placed(engine, networks, *(_settled(engine) or (USUAL, "as this training has it by default")))


def _settled(engine: Engine) -> tuple[str, str] | None:
    """The format that was given or begun with, and which of both; None: it is open."""
    if engine.config.memory_format != "auto":
        return engine.config.memory_format, "as configured"
    if engine.begun is None:
        return None
    # Runs from before there was a choice have none, and are channels last.
    kept = engine.begun.memory_format
    return (USUAL if kept == "auto" else kept), "as this run was begun"


def _placed(engine: Engine, networks: Sequence[nn.Module], chosen: str, reason: str) -> Engine:
    for network in networks:
        network.to(engine.device, memory_format=FORMATS[chosen])
    return replace(engine, config=replace(engine.config, memory_format=chosen), format_reason=reason)


def decide(gain: float | None) -> tuple[str, str]:
    """A format and its reason. `gain`: seconds in channels last over channels first; None: not tried."""
    if gain is None:
        return USUAL, "so small a step is not tried in both formats"
    if gain < LEAST_GAIN:
        return USUAL, f"a trial in channels first took {1 / gain:.1f} times its seconds"
    return "channels_first", f"a trial in channels last took {gain:.1f} times its seconds"


def seconds_in_both(networks: nn.Module, step: Callable[[], None]) -> dict[str, float] | None:
    """Seconds of the processor, on one thread, of a step of networks in each format, the best of a few; None
    of one that is too short to tell. What else the machine does changes little of it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = dict.fromkeys(FORMATS, math.inf)
    spent = 0.0
    try:
        for number in range(ROUNDS):
            for name, memory_format in FORMATS.items():
                networks.to(memory_format=memory_format)
                begun = time.process_time()
                step()
                best[name] = min(best[name], time.process_time() - begun)
                if best[USUAL] < LEAST_SECONDS:
                    return None
            spent += best[USUAL]
            if number and spent > ENOUGH:  # the first of all steps also asks the system for memory
                break
    finally:
        torch.set_num_threads(threads)
    return best


def try_both(
    generator: Generator,
    discriminators: Discriminators | None,
    widths: tuple[int, int],
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> float | None:
    """What `decide` reads, of networks that the trial changes: a forward and a backward pass of both, and an
    update.

    `widths`: of a caption's embedding, and of what discriminators read of it.
    """
    networks = nn.ModuleList(network for network in (generator, discriminators) if network is not None)
    weights = [*generator.parameters(), *(discriminators.trainable_parameters() if discriminators else ())]

    def step() -> None:
        with autocast():
            loss = _loss(generator, discriminators, *widths)
        loss.backward()
        adam(weights, OptimiserConfig()).step()  # anew each time: its moments lie as the weights do
        networks.zero_grad(set_to_none=True)

    best = seconds_in_both(networks, step)
    return None if best is None else best["channels_last"] / best["channels_first"]


def _agreed(engine: Engine, gain: float | None) -> float | None:
    """The mean over the processes, which all lay their networks alike; None where one has not tried."""
    if engine.any(gain is None):
        return None
    return float(engine.average(torch.tensor(gain, device=engine.device)))


def _loss(
    generator: Generator, discriminators: Discriminators | None, embedding_dim: int, condition_dim: int
) -> Tensor:
    """A number that passes through everything that a training step's terms do."""
    encoding = CaptionEncoding(
        torch.randn(IMAGES, embedding_dim),
        torch.randn(IMAGES, embedding_dim, SEGMENTS),
        torch.ones(IMAGES, SEGMENTS, dtype=torch.bool),
    )
    noise = generator.sample_batch_noise(IMAGES, torch.device("cpu"))
    images = decoder(generator)(encoding, *noise).images
    loss = sum(each.float().mean() for each in images)
    if discriminators is not None:
        condition = torch.randn(IMAGES, condition_dim)
        for network, view in zip(discriminators, discriminators.look(images), strict=True):
            loss = loss + network.conditional_logits(network(view), condition).float().mean()
    return loss
