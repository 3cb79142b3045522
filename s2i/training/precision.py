"""The precision in which a run computes: what `precision: auto` resolves to on the device at hand.

bf16 where the device has instructions for it, every part of the model runs in it and it is faster; else fp32.
`weigh` measures, `decide` decides by the evidence, `choose` does both. But for the run's own encoders, which
must run, all runs on a machine are tried in the same way: speech and text, a small preset and a large one get
the same precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn

from s2i.config import Config
from s2i.config_data import AudioConfig
from s2i.config_networks import SpeechEncoderConfig, TextEncoderConfig
from s2i.devices import has_instructions
from s2i.errors import InputError
from s2i.models.build import build_caption_encoder
from s2i.models.speech_encoder import SpeechEncoder
from s2i.models.text_encoder import TextEncoder

# Less is within what so short a trial errs. Found: .5 on AVX-512, which emulates bf16; 1.4 to 1.8 with
# instructions for it.
LEAST_GAIN = 1.1
_ROUNDS = 2

Part = tuple[str, nn.Module, tuple[Tensor, ...]]  # its name, the network, its inputs


@dataclass(frozen=True)
class Evidence:
    """How a device computes in bf16.

    Attributes:
        native: it has instructions for it; else it computes in fp32 and rounds.
        failure: the first part of the model that doesn't run in it, and why; empty where all do.
        gain: seconds in fp32 over seconds in bf16; None where that wasn't timed.
    """

    native: bool
    failure: str = ""
    gain: float | None = None


@dataclass(frozen=True)
class Choice:
    """A precision, and the reason for it in a few words."""

    precision: str
    reason: str


def choose(config: Config, kept: str, device: torch.device, reads_captions: bool = True) -> Choice:
    """The precision of a run on a device; the same in all processes of a training, which all must call it.

    `kept`: what the run that continues was begun in, else empty; `reads_captions`: whether the training has
    caption encoders. Raises InputError as `decide` does.
    """
    timed = config.precision == "auto" and not kept
    needed = timed or "bf16" in (config.precision, kept)
    evidence = [(kept, weigh(config, device, reads_captions, timed) if needed else Evidence(native=False))]
    if PartialState().num_processes > 1:
        evidence = gather_object(evidence)
    return decide(config.precision, evidence[0][0], weakest([each for _, each in evidence]))


def decide(configured: str, kept: str, evidence: Evidence) -> Choice:
    """The precision of a run.

    Args:
        configured: `auto`, `fp32` or `bf16`.
        kept: what the run that continues was begun in; empty for a new one.
        evidence: what `weigh` found; not read where fp32 is configured or kept.

    Raises:
        InputError: bf16, configured or kept, where a part of the model doesn't run in it.
    """
    settled, why = configured, "as configured"
    if configured == "auto" and kept:
        settled, why = kept, "as this run was begun"
    if settled == "fp32":
        return Choice("fp32", why)
    if settled == "bf16":
        if evidence.failure:
            remedy = "give precision=auto or precision=fp32"
            if configured == "auto":
                remedy = "go on where it was begun, or give another run=FOLDER"
            raise InputError(
                f"expected a model that runs in bf16 here, {why}, found that {evidence.failure}: {remedy}"
            )
        return Choice("bf16", why if evidence.native else f"{why}, though this device only emulates it")
    if not evidence.native:
        return Choice("fp32", "this device has no instructions for bf16")
    if evidence.failure:
        return Choice("fp32", f"in bf16 {evidence.failure}")
    if evidence.gain is None:
        return Choice("bf16", "this device has instructions for it")
    if evidence.gain < LEAST_GAIN:
        return Choice("fp32", f"a trial in bf16 took {1 / evidence.gain:.1f} times its seconds")
    return Choice("bf16", f"a trial in fp32 took {evidence.gain:.1f} times its seconds")


def weigh(config: Config, device: torch.device, reads_captions: bool = True, timed: bool = True) -> Evidence:
    """Try bf16 on a device: a forward and a backward pass of the run's own caption encoders and of layers as
    the image networks have them; where `timed`, of such parts of fixed size in both precisions too.

    A GPU with instructions for bf16 isn't timed: so little work would measure kernel launches alone.
    """
    native = has_instructions(device)
    if timed and not native:
        return Evidence(native)  # a trial would change nothing
    with torch.random.fork_rng(devices=[]):
        failure = first_failure(_parts_of(config, reads_captions), device)
        if failure or not timed or device.type != "cpu":
            return Evidence(native, failure)
        failure = first_failure(_usual_parts(), device)
        return Evidence(native, failure, None if failure else gain_here())


def weakest(evidence: Sequence[Evidence]) -> Evidence:
    """What all of a training's processes can do."""
    gains = [each.gain for each in evidence if each.gain is not None]
    return Evidence(
        all(each.native for each in evidence),
        next(filter(None, (each.failure for each in evidence)), ""),
        min(gains) if gains else None,
    )


def first_failure(networks: Iterator[Part], device: torch.device) -> str:
    """The first part that doesn't run in bf16, with what torch said; empty where all do."""
    for name, net, inputs in networks:
        try:
            _step(net.to(device), tuple(value.to(device) for value in inputs), bf16=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split()).split(". ")[0]
            return f"its {name} doesn't run: {reason}"
    return ""


def _parts_of(config: Config, reads_captions: bool) -> Iterator[Part]:
    if reads_captions:
        for each in config.of_each_modality():
            encoder = build_caption_encoder(each, vocabulary=8)
            yield (
                f"{each.modality} encoder",
                encoder,
                _captions(each.modality, encoder, each.audio.mel_bins, 2),
            )
    yield _image_layers(images=2)


def _usual_parts() -> Iterator[Part]:
    """Every kind of layer that the package's networks are made of, in the amounts of a small training: of
    fewer captions and images, what a call costs would hide what a product costs."""
    speech = SpeechEncoder(SpeechEncoderConfig(hidden_dim=128, layers=1, pool=2), AudioConfig())
    text = TextEncoder(TextEncoderConfig(embedding_dim=128, hidden_dim=128), vocabulary=8)
    yield "text encoder", text, _captions("text", text, 0, 32)
    yield "speech encoder", speech, _captions("speech", speech, AudioConfig().mel_bins, 32)
    yield _image_layers(images=32)


def _captions(modality: str, encoder: nn.Module, mels: int, count: int) -> tuple[Tensor, Tensor]:
    """Captions of noise: the inputs of an encoder, and their lengths."""
    if modality == "text":
        words = 16
        return torch.randint(1, 8, (count, words)), torch.full((count,), words)
    frames = max(200, 2 * encoder.shortest() if hasattr(encoder, "shortest") else 0)
    return torch.randn(count, mels, frames), torch.full((count,), frames)


def _image_layers(images: int) -> Part:
    layers = nn.Sequential(
        nn.Conv2d(3, 48, 3, 1, 1), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 96, 4, 2, 1), nn.ReLU()
    )
    net = nn.Sequential(layers, nn.Conv2d(96, 96, 3, 1, 1), nn.Flatten(), nn.Linear(96 * 16 * 16, 32))
    net = net.to(memory_format=torch.channels_last)
    return "image networks", net, (torch.randn(images, 3, 32, 32),)


def _step(net: nn.Module, inputs: tuple[Tensor, ...], bf16: bool) -> None:
    device = inputs[0].device.type
    context: AbstractContextManager = torch.autocast(device, torch.bfloat16, enabled=bf16)
    with context:
        output = net(*inputs)
    output = output if isinstance(output, Tensor) else output.sentence
    if output.requires_grad:
        output.float().sum().backward()


@cache
def gain_here() -> float:
    """Seconds that this processor spends on the usual parts in fp32, over those in bf16.

    On one thread and in seconds of the processor, so that it is the same for every run, whatever else the
    machine does meanwhile: the best of some steps each.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = {False: 0.0, True: 0.0}
    for _, net, inputs in _usual_parts():
        best = {False: math.inf, True: math.inf}
        for _ in range(1 + _ROUNDS):  # the first step also makes what the others use
            for bf16 in best:
                begun = time.process_time()
                _step(net, inputs, bf16)
                best[bf16] = min(best[bf16], time.process_time() - begun)
        for bf16, least in best.items():
            seconds[bf16] += least
    torch.set_num_threads(threads)
    return seconds[False] / seconds[True]
