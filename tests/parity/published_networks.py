"""Tiny networks as the published systems name them: random state dicts, and what they compute."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = dict[str, Tensor]
WORDS = ["a", "bird", "with", "red", "wings", "s"]


def _convolution(state: State, name: str, before: int, after: int, side: int, bias: bool = False) -> None:
    state[f"{name}.weight"] = torch.randn(after, before, side, side) / (before * side * side) ** 0.5
    if bias:
        state[f"{name}.bias"] = torch.randn(after)


def _norm(state: State, name: str, width: int) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(width) + 0.5, torch.randn(width) / 4
    state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.randn(width), torch.rand(width) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(3)


def _normed(state: State, name: str, hidden: Tensor) -> Tensor:
    norm_state = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(hidden, *norm_state)


def generator_state(
    system: str, widths: list[int], blocks: list[int], embedding: int, condition: int = 3, noise: int = 5
) -> State:
    """A generator whose stages end in so many channels, the first at 8 px; residual blocks a later stage."""
    state: State = {}
    state["ca_net.fc.weight"] = torch.randn(4 * condition, embedding) / embedding**0.5
    state["ca_net.fc.bias"] = torch.randn(4 * condition) / 4
    state["h_net1.fc.0.weight"] = torch.randn(2 * widths[0] * 32, condition + noise) / 3
    _norm(state, "h_net1.fc.1", 2 * widths[0] * 32)
    _convolution(state, "h_net1.upsample1.1", 2 * widths[0], 2 * widths[0], 3)
    _norm(state, "h_net1.upsample1.2", 2 * widths[0])
    _convolution(state, "img_net1.img.0", widths[0], 3, 3)
    for number, (before, after, count) in enumerate(zip(widths, widths[1:], blocks, strict=False), 2):
        name, inner = f"h_net{number}", before
        if system == "attngan":
            inner = 2 * before
            state[f"{name}.att.conv_context.weight"] = torch.randn(before, embedding, 1, 1) / embedding**0.5
        else:
            _convolution(state, f"{name}.jointConv.0", condition + before, 2 * before, 3)
            _norm(state, f"{name}.jointConv.1", 2 * before)
        for block in range(count):
            _convolution(state, f"{name}.residual.{block}.block.0", inner, 2 * inner, 3)
            _norm(state, f"{name}.residual.{block}.block.1", 2 * inner)
            _convolution(state, f"{name}.residual.{block}.block.3", inner, inner, 3)
            _norm(state, f"{name}.residual.{block}.block.4", inner)
        joined = inner + before if system == "s2igan" else inner
        _convolution(state, f"{name}.upsample.1", joined, 2 * after, 3)
        _norm(state, f"{name}.upsample.2", 2 * after)
        _convolution(state, f"img_net{number}.img.0", after, 3, 3)
    return state


def generate(
    system: str, state: State, sentence: Tensor, words: Tensor, noise: Tensor, augmentation: Tensor
) -> dict[str, object]:
    """What the published generator makes of (B, D), (B, D, T), (B, Z), (B, C): a part of a parity fixture."""
    mu, logvar = F.glu(F.linear(sentence, state["ca_net.fc.weight"], state["ca_net.fc.bias"])).chunk(2, 1)
    condition = augmentation * (0.5 * logvar).exp() + mu

    def gated(name: str, first: int, hidden: Tensor) -> Tensor:
        hidden = F.conv2d(hidden, state[f"{name}.{first}.weight"], padding=1)
        return F.glu(_normed(state, f"{name}.{first + 1}", hidden), 1)

    def doubled(name: str, hidden: Tensor) -> Tensor:
        return gated(name, 1, F.interpolate(hidden, scale_factor=2, mode="nearest"))

    flat = F.linear(torch.cat((condition, noise), 1), state["h_net1.fc.0.weight"])
    hidden = F.glu(_normed(state, "h_net1.fc.1", flat), 1).view(len(sentence), -1, 4, 4)
    hidden = doubled("h_net1.upsample1", hidden)
    images, attention, number = [], [], 1
    while True:
        images.append(F.conv2d(hidden, state[f"img_net{number}.img.0.weight"], padding=1).tanh())
        number += 1
        name = f"h_net{number}"
        if f"{name}.upsample.1.weight" not in state:
            break
        if system == "attngan":
            keys = F.conv1d(words, state[f"{name}.att.conv_context.weight"][..., 0])
            weights = (hidden.flatten(2).transpose(1, 2) @ keys).softmax(2)  # (B, places, T)
            context = (keys @ weights.transpose(1, 2)).view_as(hidden)
            attention.append(weights.transpose(1, 2).unflatten(2, hidden.shape[2:]))
            inner = torch.cat((hidden, context), 1)
        else:
            tiled = condition[..., None, None].expand(-1, -1, *hidden.shape[2:])
            inner = gated(f"{name}.jointConv", 0, torch.cat((tiled, hidden), 1))
        block = 0
        while f"{name}.residual.{block}.block.0.weight" in state:
            part = f"{name}.residual.{block}.block"
            added = F.conv2d(gated(part, 0, inner), state[f"{part}.3.weight"], padding=1)
            inner = inner + _normed(state, f"{part}.4", added)
            block += 1
        hidden = doubled(f"{name}.upsample", torch.cat((inner, hidden), 1) if system == "s2igan" else inner)
    return {"images": images, "attention": attention, "mu": mu, "logvar": logvar}


def discriminator_state(system: str, channels: int, further: int, condition: int) -> State:
    """Four halvings and `further` ones, and the 3x3 convolutions that bring the map back."""
    state: State = {}
    widths = [3] + [channels * 2**i for i in range(4 + further)]
    for i, place in enumerate((0, 2, 5, 8)):
        _convolution(state, f"img_code_s16.{place}", widths[i], widths[i + 1], 4)
        if place:
            _norm(state, f"img_code_s16.{place + 1}", widths[i + 1])
    for i in range(further):
        name = f"img_code_s{32 * 2**i}"
        _convolution(state, f"{name}.0", widths[4 + i], widths[5 + i], 4)
        _norm(state, f"{name}.1", widths[5 + i])
    for i in range(further):
        name = f"img_code_s{16 * 2**further}_{i + 1}"
        _convolution(state, f"{name}.0", widths[-1 - i], widths[-2 - i], 3)
        _norm(state, f"{name}.1", widths[-2 - i])
    joint, conditional, alone = _heads(system)
    _convolution(state, f"{joint}.0", widths[4] + condition, widths[4], 3)
    _norm(state, f"{joint}.1", widths[4])
    _convolution(state, conditional, widths[4], 1, 4, bias=True)
    _convolution(state, alone, widths[4], 1, 4, bias=True)
    return state


def classifier(system: str, state: State, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of "of this caption" and of "real", each (B,)."""

    def leaky(name: str, place: int, stride: int, hidden: Tensor) -> Tensor:
        hidden = F.conv2d(hidden, state[f"{name}.{place}.weight"], stride=stride, padding=1)
        if f"{name}.{place + 1}.weight" in state:
            hidden = _normed(state, f"{name}.{place + 1}", hidden)
        return F.leaky_relu(hidden, 0.2)

    hidden = images
    for place in (0, 2, 5, 8):
        hidden = leaky("img_code_s16", place, 2, hidden)
    last, size = "img_code_s16", 32
    while f"img_code_s{size}.0.weight" in state:
        last, size = f"img_code_s{size}", 2 * size
        hidden = leaky(last, 0, 2, hidden)
    number = 1
    while f"{last}_{number}.0.weight" in state:
        hidden, number = leaky(f"{last}_{number}", 0, 1, hidden), number + 1
    joint, conditional, alone = _heads(system)
    tiled = condition[..., None, None].expand(-1, -1, 4, 4)
    joined = torch.cat((hidden, tiled) if system == "attngan" else (tiled, hidden), 1)

    def probability(name: str, hidden: Tensor) -> Tensor:
        return F.conv2d(hidden, state[f"{name}.weight"], state[f"{name}.bias"]).sigmoid().flatten()

    return probability(conditional, leaky(joint, 0, 1, joined)), probability(alone, hidden)


def _heads(system: str) -> tuple[str, str, str]:
    if system == "attngan":
        return "COND_DNET.jointConv", "COND_DNET.outlogits.0", "UNCOND_DNET.outlogits.0"
    return "jointConv", "logits.0", "uncond_logits.0"


class TextEncoder(nn.Module):
    """AttnGAN's, with one entry for each of `WORDS` and one for the end of a caption."""

    def __init__(self, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.encoder = nn.Embedding(len(WORDS) + 1, 5)
        self.rnn = nn.LSTM(5, hidden, layers, batch_first=True, bidirectional=True)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(1, T) -> words (1, D, T), sentence (1, D)."""
        states, (final, _) = self.rnn(self.encoder(tokens))
        return states.transpose(1, 2), torch.cat((final[-2], final[-1]), 1)


class SpeechEncoder(nn.Module):
    """S2IGAN's, of one attention head."""

    def __init__(self, hidden: int, mels: int = 40, kernel: int = 6, layers: int = 2) -> None:
        super().__init__()
        self.Conv1, self.bnorm1 = nn.Conv1d(mels, 6, kernel, 2), nn.BatchNorm1d(6)
        self.Conv2, self.bnorm2 = nn.Conv1d(6, 7, kernel, 2), nn.BatchNorm1d(7)
        self.rnn = nn.GRU(7, hidden, layers, batch_first=True, bidirectional=True)
        head = nn.ModuleDict({"hidden": nn.Linear(2 * hidden, 3), "out": nn.Linear(3, 2 * hidden)})
        self.att = nn.ModuleDict({"att_heads": nn.ModuleList([head])})
        for norm in (self.bnorm1, self.bnorm2):
            nn.init.uniform_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)

    @torch.no_grad()
    def forward(self, mels: Tensor) -> Tensor:
        """(B, T, M), all of one length -> (B, 2 * hidden)."""
        hidden = self.bnorm1(self.Conv1(mels.transpose(1, 2)))
        states, _ = self.rnn(self.bnorm2(self.Conv2(hidden)).transpose(1, 2))
        head = self.att["att_heads"][0]
        weights = head["out"](head["hidden"](states).tanh()).softmax(1)
        return F.normalize((weights * states).sum(1), dim=1)


def write_weights(path: Path, state: State, wrapped: bool = False, old: bool = False) -> Path:
    """A .pth file; wrapped: as DataParallel names keys; old: as torch before 0.4.1 and 1.6 wrote it."""
    if old:
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    state = {f"module.{key}": value for key, value in state.items()} if wrapped else state
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    return path


def write_captions(path: Path, words: list[str] | None = None) -> Path:
    """captions.pickle, as Python 2 wrote it."""
    numbered = dict(enumerate(["<end>", *(WORDS if words is None else words)]))
    content = [[[1, 2]], [[2, 1]], numbered, {word: number for number, word in numbered.items()}]
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path
