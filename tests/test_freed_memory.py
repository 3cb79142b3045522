"""Freed memory stays with a training: what is needed again has its pages already."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys

import pytest

from s2i.config import Config
from s2i.freed_memory import keep_freed_memory
from s2i.training import distributed
from s2i.training.distributed import Engine

BYTES = 256 * 2**20
PAGES = BYTES // resource.getpagesize()

FAULTS = f"""
import ctypes
import resource

import numpy as np

from s2i.freed_memory import keep_freed_memory
from tests.benchmarks.suite.plain import give_freed_memory_back

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault


def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty({BYTES}, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


numbers = [faults(), faults()]
keep_freed_memory()
numbers += [faults(), faults()]
give_freed_memory_back()
np.empty({BYTES} + 1, np.uint8)  # what was kept goes back as the end of the heap is next looked at
numbers += [faults(), faults()]
print(*numbers)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_what_is_needed_again_has_its_pages():
    environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True, env=environment
    )
    first, again, kept_first, kept, _, given_back = map(int, run.stdout.split())
    assert min(first, again, kept_first, given_back) > PAGES / 2
    assert kept < PAGES / 100


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_libraries_are_left_as_they_are(monkeypatch, error):
    asked = []

    def library(name):
        asked.append(name)
        raise error

    monkeypatch.setattr(ctypes, "CDLL", library)
    keep_freed_memory()
    assert asked == [None]


def test_each_training_keeps_it(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed, "keep_freed_memory", lambda: calls.append(1))
    Engine.start(Config(run=str(tmp_path / "run"), device="cpu", precision="fp32"))
    assert calls == [1]
