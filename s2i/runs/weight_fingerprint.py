"""One fingerprint of networks' weights, for whatever must recognise a network again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import nn


def weight_fingerprint(
    *networks: nn.Module | None,
    half: bool = False,
    floating_alone: bool = False,
    without: Collection[str] = (),
) -> str:
    """SHA-256, in hexadecimal digits, of the names and values of all weights and buffers; the same on every
    device.

    Args:
        networks: in order; None for one that is absent.
        half: of the weights as float16, so that a run and what is exported from it in 32 or 16 bits have the
            same fingerprint.
        floating_alone: leave out integers, such as the counters of batch norm.
        without: names of layers to leave out, with all that is in them.
    """
    digest = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items() if network is not None else ():
            is_floating = value.is_floating_point()
            if floating_alone and not is_floating or name.partition(".")[0] in without:
                continue
            value = value.cpu().to(torch.float16) if half and is_floating else value.cpu()
            digest.update(name.encode())
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()
