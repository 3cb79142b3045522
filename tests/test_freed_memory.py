"""Freed memory stays with the process: what is needed again has its pages already."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from s2i import cli
from s2i.freed_memory import keep_freed_memory

BYTES = 256 * 2**20
PAGES = BYTES // 4096

FAULTS = f"""
import resource

import numpy as np

from s2i.freed_memory import keep_freed_memory

if {{keeps}}:
    keep_freed_memory()
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty({BYTES}, np.uint8).fill(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""


def faults(keeps: bool) -> list[int]:
    """Pages that a new process asks for while it fills a large array, twice."""
    run = [sys.executable, "-c", FAULTS.format(keeps=keeps)]
    # Huge pages would be one fault each: numpy asks for them where the system lets it.
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0"}
    printed = subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout
    return [int(number) for number in printed.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_what_is_needed_again_has_its_pages():
    first, again = faults(keeps=True)
    assert first > PAGES / 2
    assert again < PAGES / 100
    assert faults(keeps=False)[1] > PAGES / 2


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_libraries_are_left_as_they_are(monkeypatch, error):
    def library(_):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", library)
    keep_freed_memory()


def test_each_command_keeps_it(monkeypatch):
    calls = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: calls.append(1))
    with pytest.raises(SystemExit):
        cli.main(["about", "/no/such/model"])
    assert calls == [1]
