"""The device that networks run on, and what it has for bf16."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from s2i.errors import InputError

NATIVE = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86, ARM: names of torch.cpu.get_capabilities()


def resolve_device(name: str) -> torch.device:
    """The device for "cpu", "cuda", "cuda:1" or "auto" (cuda if there is a GPU). Raises InputError without a
    GPU."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"expected a GPU for device {name}, found none: use device cpu or auto")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def has_instructions(device: torch.device) -> bool:
    """Whether a device computes in bf16 by instructions of its own."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)  # compute capability 8 or more
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in NATIVE)


def describe(device: torch.device) -> str:
    """A GPU, or a processor with its vector instructions and what it has for bf16, in words."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}"
    capabilities, file = torch.cpu.get_capabilities(), Path("/proc/cpuinfo")  # the file is Linux's
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = capabilities.get("cpu_name") or next(named, "") or platform.processor()
    has = ", ".join(each for each in NATIVE if capabilities.get(each)) or "nothing for bf16"
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}, {has})"
