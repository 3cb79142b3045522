"""The whole path from a waveform to images as one network, of operations that ONNX has."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_data import AudioConfig
from s2i.data.audio import normalise, samples_in
from s2i.data.mel_spectrum import mel_filters
from s2i.errors import InputError
from s2i.inference.path import GenerationPath
from s2i.models.caption_encoding import CaptionEncoding


class LogMel(nn.Module):
    """`s2i.data.audio.features` of log-mels as a convolution with windowed cosines and sines."""

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.audio = audio
        size, self.hop = samples_in(audio.window, audio), samples_in(audio.hop, audio)
        self.padding = size // 2
        angle = 2 * np.pi / size * (np.outer(np.arange(size // 2 + 1), np.arange(size)) % size)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        waves = np.concatenate([np.cos(angle), -np.sin(angle)]) * window
        self.register_buffer("waves", torch.tensor(waves[:, None], dtype=torch.float32))
        filters = mel_filters(audio.sample_rate, size, audio.mel_bins)
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32))

    def forward(self, waveform: Tensor) -> Tensor:
        """(1, N) -> (1, M, T)."""
        spectrum = F.conv1d(waveform[:, None], self.waves, stride=self.hop, padding=self.padding)
        real, imaginary = spectrum.chunk(2, dim=1)
        mel = (self.filters @ (real.square() + imaginary.square()) + self.audio.log_floor).log()
        return normalise(mel.transpose(1, 2)).transpose(1, 2) if self.audio.cmvn else mel


class SpeechToImage(nn.Module):
    """What is said in one recording, and the noise of K images of it, to those images."""

    def __init__(self, path: GenerationPath) -> None:
        """Copies the networks of a path from speech, onto the CPU.

        Raises InputError for one whose recordings pass a pretrained network first.
        """
        super().__init__()
        audio = path.config.audio
        if audio.front_end != "log_mel":
            raise InputError(
                f"expected a model that hears log-mels, found audio.front_end {audio.front_end} in"
                f" {path.folder}: export one with audio.front_end=log_mel"
            )
        self.log_mel = LogMel(audio)
        self.encoder = with_recurrence_as_operators(deepcopy(path.encoder).cpu())
        self.generator = deepcopy(path.generator).cpu()

    def forward(self, waveform: Tensor, *noise: Tensor) -> Tensor:
        """Generate.

        Args:
            waveform: (1, N), at the rate of the model, without silence around what is said.
            noise: (K, ...) standard normal, as the generator's `sample_noise` gives it.

        Returns:
            (K, 3, S, S) in [-1, 1]; K = 1 of a generator without noise.
        """
        mel = self.log_mel(waveform)
        encoding = self.encoder(mel, torch.full((1,), mel.shape[2], dtype=torch.int64))
        count = noise[0].shape[0] if noise else 1  # a generator without noise has one image of a caption
        tensors = (encoding.sentence, encoding.sequence, encoding.mask)
        encoding = CaptionEncoding(*(tensor.expand(count, *tensor.shape[1:]) for tensor in tensors))
        return self.generator(encoding, *noise).images[-1]


@torch.library.custom_op("s2i::gru", mutates_args=())
def gru(inputs: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One layer of a GRU in one direction from a state of zeros: (1, T, C) -> (1, T, H)."""
    first = inputs.new_zeros(1, inputs.shape[0], w_hh.shape[1])
    states, _ = torch.gru(inputs, first, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, True)
    return states


@torch.library.custom_op("s2i::lstm", mutates_args=())
def lstm(inputs: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """The same of an LSTM."""
    first = inputs.new_zeros(1, inputs.shape[0], w_hh.shape[1])
    states, _, _ = torch.lstm(
        inputs, [first, first], [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, True
    )
    return states


def _states_alike(inputs: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """What an exporter, which has no numbers, needs to know of both."""
    return inputs.new_empty(inputs.shape[0], inputs.shape[1], w_hh.shape[1])


gru.register_fake(_states_alike)
lstm.register_fake(_states_alike)
OPERATORS = {nn.GRU: gru, nn.LSTM: lstm}


class Recurrence(nn.Module):
    """A layer of nn.GRU or nn.LSTM as one operator: torch.export unrolls it over a fixed number of steps.

    The final state, which torch's layers return too, is None.
    """

    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        if layer.num_layers != 1 or layer.bidirectional or not layer.batch_first or not layer.bias:
            raise InputError(
                f"expected recurrent layers of one direction, batch first, with biases, found {layer}: this"
                " encoder can't be exported"
            )
        self.operator = OPERATORS[type(layer)]
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            self.register_buffer(name, getattr(layer, name).detach())

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """(1, T, C) -> (1, T, H)."""
        weights = (self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return self.operator(inputs, *weights), None


def with_recurrence_as_operators(network: nn.Module) -> nn.Module:
    """The network, in which each nn.GRU and nn.LSTM is a `Recurrence`."""
    for name, child in list(network.named_children()):
        if type(child) in OPERATORS:
            setattr(network, name, Recurrence(child))
        else:
            with_recurrence_as_operators(child)
    return network
