"""Gated recurrent units that read in both directions at once, with a gradient of their own, for processors.

On a CPU torch's GRU is a loop over steps of small operations, one direction after the other; its gradient is
recorded operation by operation and adds up the weights' step by step. Here both directions share each
operation, what of the gradient doesn't depend on later steps is worked out for all steps together, and the
weights' gradient is one product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from s2i.matrix_products import products


def is_faster(layer: nn.Module, inputs: Tensor) -> bool:
    """Whether `read_both_ways` is faster than the layer: GRUs on a CPU. An exporter knows torch's alone."""
    return isinstance(layer, nn.GRU) and inputs.device.type == "cpu" and not torch.compiler.is_exporting()


def read_both_ways(directions: tuple[nn.GRU, nn.GRU], inputs: Tensor) -> Tensor:
    """The states of two GRUs of one layer, each over its sequences, from a state of zeros.

    Args:
        directions: of one size.
        inputs: (2, B, T, C).

    Returns:
        (2, B, T, H), of the inputs' number format, whatever autocast computes in, as torch's GRU.
    """
    _, batch, steps, width = inputs.shape
    given = inputs.dtype
    weights = [
        torch.stack([getattr(direction, f"{name}_l0") for direction in directions])
        for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    ]
    if torch.is_autocast_enabled("cpu"):
        number = torch.get_autocast_dtype("cpu")
        inputs, weights = inputs.to(number), [weight.to(number) for weight in weights]
    of_inputs, input_bias, of_state, state_bias = weights
    with torch.autocast("cpu", enabled=False):
        projected = products(inputs.reshape(2, batch * steps, width), of_inputs.transpose(1, 2))
        projected = (projected + input_bias.unsqueeze(1)).view(2, batch, steps, -1)
        return _Recurrence.apply(projected, of_state, state_bias).to(given)


class _Recurrence(torch.autograd.Function):
    """The inputs' part of the three gates (2, B, T, 3 H), and the state's weights (2, 3 H, H) and bias
    (2, 3 H) -> the states (2, B, T, H).

    r, z = sigmoid of inputs' and state's parts; n = tanh(inputs' + r * state's); h' = (1 - z) n + z h.
    """

    @staticmethod
    def forward(context: Any, projected: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        _, batch, steps, width = projected.shape
        hidden = width // 3
        states = projected.new_zeros(steps + 1, 2, batch, hidden)
        # Without a gradient each step takes the place of the one before.
        kept = steps if any(context.needs_input_grad) else 1
        gates = projected.new_empty(kept, 2, batch, 2 * hidden)  # r, z
        candidates = projected.new_empty(kept, 2, batch, hidden)  # n
        recurrent = projected.new_empty(kept, 2, batch, width)  # the state's part of each
        bias, across = bias.unsqueeze(1), weight.transpose(1, 2)
        for step in range(steps):
            given, state, row = projected[:, :, step], states[step], step % kept
            of_state = torch.add(products(state, across), bias, out=recurrent[row])
            torch.add(given[..., : 2 * hidden], of_state[..., : 2 * hidden], out=gates[row]).sigmoid_()
            reset, update = gates[row].chunk(2, dim=-1)
            candidate = torch.addcmul(
                given[..., 2 * hidden :], reset, of_state[..., 2 * hidden :], out=candidates[row]
            ).tanh_()
            torch.lerp(candidate, state, update, out=states[step + 1])
        if any(context.needs_input_grad):
            context.save_for_backward(states, gates, candidates, recurrent, weight)
        return states[1:].permute(1, 2, 0, 3)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, gates, candidates, recurrent, weight = context.saved_tensors
        steps, _, batch, hidden = candidates.shape
        reset, update = gates.chunk(2, dim=-1)
        of_candidate = recurrent[..., 2 * hidden :]
        # Each times the gradient of the new state, or of n before its tanh, is that of a gate before its own.
        to_candidate = (1 - update) * (1 - candidates.square())
        to_update = (states[:-1] - candidates) * update * (1 - update)
        to_reset = of_candidate * reset * (1 - reset)

        through = torch.empty_like(recurrent)  # of the state's part of each gate
        inner = torch.empty_like(candidates)  # of n before its tanh
        arriving = gradient.permute(2, 0, 1, 3)
        carried = torch.zeros_like(candidates[0])
        for step in reversed(range(steps)):
            total = carried + arriving[step]
            of_reset, of_update, of_new = through[step].chunk(3, dim=-1)
            torch.mul(total, to_candidate[step], out=inner[step])
            torch.mul(inner[step], to_reset[step], out=of_reset)
            torch.mul(total, to_update[step], out=of_update)
            torch.mul(inner[step], reset[step], out=of_new)
            carried = torch.addcmul(products(through[step], weight), total, update[step])

        rows = through.transpose(0, 1).reshape(2, steps * batch, 3 * hidden)
        before = states[:-1].transpose(0, 1).reshape(2, steps * batch, hidden)
        of_inputs = torch.cat([through[..., : 2 * hidden], inner], dim=-1).permute(1, 2, 0, 3)
        return of_inputs, products(rows.transpose(1, 2), before), rows.sum(1)
