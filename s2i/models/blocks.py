"""Building blocks of generators (StackGAN-v2, AttnGAN): norms, upsampling, residual blocks, attention."""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.models.doubled_convolution import convolve_doubled
from s2i.models.gradient_layout import gated_linear_unit, memory_format_of, with_aligned_gradient


class Norm(nn.Module):
    """Batch norm; with `modulation` numbers of condition, their linear maps move its scale and shift."""

    def __init__(self, channels: int, modulation: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.modulation = nn.Linear(modulation, 2 * channels) if modulation else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.bias)
            nn.init.normal_(self.modulation.weight, std=0.02)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, modulation) -> (B, C, H, W)."""
        hidden = with_aligned_gradient(self.norm(hidden))
        if self.modulation is None:
            return hidden
        return modulate(hidden, *self.modulation(condition).to(hidden.dtype).chunk(2, 1))


def modulate(hidden: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(B, C, H, W), (B, C) each -> hidden * (1 + scale) + shift."""
    # A processor's vector holds 32 bfloat16 numbers, and torch takes what is left over one by one: of the
    # channels, where they lie innermost. Rows of places are long.
    is_bfloat16 = (hidden.device.type, hidden.dtype) == ("cpu", torch.bfloat16)
    if not (is_bfloat16 and hidden.shape[1] % 32 and memory_format_of(hidden) == torch.channels_last):
        scale, shift = scale[..., None, None], shift[..., None, None]
        return torch.addcmul(hidden + shift, hidden, scale)
    width = hidden.shape[3]
    scale, shift = (each.repeat(1, width).unsqueeze(1) for each in (scale, shift))
    rows = hidden.permute(0, 2, 3, 1).flatten(2)
    return torch.addcmul(rows + shift, rows, scale).unflatten(2, (width, -1)).permute(0, 3, 1, 2)


class Gate(nn.Module):
    """A stage's non-linearity: "glu" (published) halves the channels, "relu" costs half the convolution."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.widening = 2 if kind == "glu" else 1

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, widening * C, ...) -> (B, C, ...)."""
        return gated_linear_unit(hidden) if self.widening == 2 else F.leaky_relu(hidden, 0.2)


class Upsample(nn.Module):
    """Twice the size, convolution, norm, non-linearity."""

    def __init__(self, before: int, after: int, mode: str, gate: str = "glu", modulation: int = 0) -> None:
        super().__init__()
        self.mode, self.gate = mode, Gate(gate)
        self.convolution = nn.Conv2d(before, self.gate.widening * after, 3, 1, 1, bias=False)
        self.norm = Norm(self.gate.widening * after, modulation)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, 2H, 2W)."""
        if self.mode == "nearest":
            hidden = convolve_doubled(hidden, self.convolution.weight)
        else:
            hidden = F.interpolate(hidden, scale_factor=2, mode=self.mode, align_corners=False)
            hidden = self.convolution(hidden)
        return self.gate(self.norm(hidden, condition))


class Residual(nn.Module):
    """Convolution, norm, non-linearity, convolution, norm; plus the input."""

    def __init__(self, channels: int, gate: str = "glu", modulation: int = 0) -> None:
        super().__init__()
        self.gate = Gate(gate)
        self.convolution1 = nn.Conv2d(channels, self.gate.widening * channels, 3, 1, 1, bias=False)
        self.norm1 = Norm(self.gate.widening * channels, modulation)
        self.convolution2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = Norm(channels, modulation)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        inner = self.gate(self.norm1(self.convolution1(hidden), condition))
        return hidden + self.norm2(self.convolution2(inner), condition)


class SegmentAttention(nn.Module):
    """Each place of a map attends to the caption's segments or words (AttnGAN, eq. 4-6)."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(embedding, channels, 1, bias=False)

    def forward(self, hidden: Tensor, sequence: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            hidden: (B, C, H, W); sequence: (B, D, T); mask: (B, T), True = valid.

        Returns:
            context (B, C, H, W) and attention (B, T, H, W), which sums to one over valid T at each place.
        """
        keys = self.project(sequence)  # eq. 4; (B, C, T)
        places = hidden.flatten(2).transpose(1, 2)  # (B, HW, C); channels last lie so
        scores = (places @ keys).float().masked_fill(~mask[:, None], float("-inf"))
        attention = scores.softmax(2)  # eq. 5
        context = attention.to(keys.dtype) @ keys.transpose(1, 2)  # eq. 6
        context, attention = (
            each.transpose(1, 2).unflatten(2, hidden.shape[2:]) for each in (context, attention)
        )
        return context.contiguous(memory_format=memory_format_of(hidden)), attention


class ConditioningAugmentation(nn.Module):
    """A Gaussian around the sentence: linear, gated linear unit, mean and log variance (StackGAN-v2)."""

    def __init__(self, embedding: int, condition: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding, 4 * condition)

    def start_with(self, spread: float) -> None:
        """Set the standard deviation with which an untrained network spreads; the published one has 1."""
        condition = self.linear.out_features // 4
        with torch.no_grad():  # the gate halves what the linear layer gives
            self.linear.bias[condition : 2 * condition] = 4 * log(spread)

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> mu (B, C), log variance (B, C); float32."""
        mu, logvar = F.glu(self.linear(sentence).float(), 1).chunk(2, 1)  # mu, log sigma^2
        return mu, logvar
