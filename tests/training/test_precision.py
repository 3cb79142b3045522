"""`precision: auto`: what is chosen from what a device can do, that it is kept, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from s2i.config import Config
from s2i.config_files import load_config
from s2i.config_networks import SpeechEncoderConfig
from s2i.errors import InputError
from s2i.runs.checkpoint import load_last
from s2i.runs.run import open_run
from s2i.training import precision
from s2i.training.distributed import Engine
from s2i.training.precision import Choice, Evidence, choose, decide, first_failure, weakest, weigh
from tests.training.test_loop import make_config, train

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
GOOD = Evidence(native=True, gain=1.7)
FAILING = "its text encoder doesn't run: could not create a primitive"


def fails_in_bf16(*_: object) -> Evidence:
    return Evidence(native=True, failure=FAILING)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (GOOD, "bf16"),
        (Evidence(native=True, gain=None), "bf16"),  # a GPU: not timed
        (Evidence(native=True, gain=1.1), "bf16"),
        (Evidence(native=True, gain=1.05), "fp32"),
        (Evidence(native=True, gain=0.07), "fp32"),
        (Evidence(native=False), "fp32"),
        (Evidence(native=False, gain=1.7), "fp32"),
        (Evidence(native=True, failure=FAILING), "fp32"),
    ],
)
def test_auto_is_bf16_where_it_is_native_and_runs_and_is_faster(evidence, expected):
    assert decide("auto", "", evidence).precision == expected


def test_the_reason_names_the_measured_gain_or_the_failure():
    assert "1.7 times" in decide("auto", "", GOOD).reason
    assert "4.0 times" in decide("auto", "", Evidence(native=True, gain=0.25)).reason
    assert "no instructions" in decide("auto", "", Evidence(native=False)).reason
    assert FAILING in decide("auto", "", Evidence(native=True, failure=FAILING)).reason
    assert "emulates" in decide("bf16", "", Evidence(native=False)).reason


def test_what_is_given_or_kept_decides():
    slow = Evidence(native=False, gain=0.1)
    assert decide("fp32", "", GOOD) == Choice("fp32", "as configured")
    assert decide("bf16", "", slow).precision == "bf16"
    assert decide("auto", "fp32", GOOD) == Choice("fp32", "as this run was begun")
    assert decide("auto", "bf16", slow).precision == "bf16"


@pytest.mark.parametrize(("asked", "kept", "way"), [("bf16", "", "=fp32"), ("auto", "bf16", "run=FOLDER")])
def test_bf16_that_does_not_run_is_refused_with_the_part_and_a_way_out(asked, kept, way):
    with pytest.raises(InputError, match=f"{FAILING}: .*{way}"):
        decide(asked, kept, fails_in_bf16())


def test_several_processes_take_the_precision_that_the_weakest_can():
    other = Evidence(native=True, failure=FAILING, gain=None)
    assert weakest([GOOD, replace(GOOD, gain=1.2)]) == replace(GOOD, gain=1.2)
    assert weakest([GOOD, other]) == replace(other, gain=1.7)
    assert not weakest([GOOD, Evidence(native=False)]).native
    assert weakest([Evidence(native=True)] * 2).gain is None


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_what_this_device_is_found_to_do_holds_together(modality):
    config = Config(modality=modality)
    before = torch.get_rng_state()
    evidence = weigh(config, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert evidence == weigh(config, CPU)  # so that two runs begin alike
    assert evidence.native == precision.has_instructions(CPU)
    assert (evidence.gain is not None) == (evidence.native and not evidence.failure)
    assert weigh(config, CPU, timed=False).gain is None


class NoBfloat16(nn.Module):
    """An encoder of another package whose arithmetic has no bfloat16."""

    def __init__(self, config: SpeechEncoderConfig, audio: object) -> None:
        super().__init__()
        self.linear = nn.Linear(40, 4)

    def forward(self, mels, lengths):
        output = self.linear(mels.transpose(1, 2)).mean(1)
        if output.dtype == torch.bfloat16:
            raise RuntimeError("no kernel for BFloat16.\nSee the manual.")
        return output


def test_an_encoder_from_outside_has_its_say(monkeypatch):
    monkeypatch.setattr(precision, "has_instructions", lambda device: True)
    config = replace(
        Config(), speech_encoder=SpeechEncoderConfig(network="tests.training.test_precision:NoBfloat16")
    )
    assert weigh(config, CPU).failure == "its speech encoder doesn't run: no kernel for BFloat16"
    assert choose(config, "", CPU).precision == "fp32"
    assert not weigh(config, CPU, reads_captions=False, timed=False).failure  # a classifier hears nothing
    with pytest.raises(InputError, match="precision=fp32"):
        choose(replace(config, precision="bf16"), "", CPU)
    assert choose(replace(config, precision="fp32"), "", CPU) == Choice("fp32", "as configured")


def test_a_part_that_fails_is_named_on_one_line():
    def networks():
        yield "image networks", nn.Linear(2, 3), (torch.zeros(1, 2),)
        yield "text encoder", nn.Linear(2, 3), (torch.zeros(1, 5),)

    failure = first_failure(networks(), CPU)
    assert failure.startswith("its text encoder doesn't run: ") and "\n" not in failure


@pytest.mark.parametrize(("evidence", "expected"), [(GOOD, "bf16"), (Evidence(native=False), "fp32")])
def test_a_continued_run_keeps_its_precision_and_threads(tmp_path, monkeypatch, capsys, evidence, expected):
    monkeypatch.setattr(precision, "weigh", lambda *_: evidence)
    config = make_config(tmp_path / "run", precision="auto", threads=0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not train(config, until=13).finished
    said = [line for line in capsys.readouterr().err.splitlines() if "computes in" in line]
    assert len(said) == 1 and f"run: computes in {expected} on 1 thread; " in said[0]
    saved = load_config(tmp_path / "run" / "config.yaml")
    assert (saved.precision, saved.threads) == (expected, torch.get_num_threads())

    # Another machine's strengths change nothing, nor does the same configuration with auto in it.
    other = Evidence(native=False) if expected == "bf16" else GOOD
    monkeypatch.setattr(precision, "weigh", lambda *_: other)
    assert train(config).finished
    assert f"computes in {expected} on 1 thread; as this run was begun" in capsys.readouterr().err
    assert load_config(tmp_path / "run" / "config.yaml") == saved
    assert load_last(tmp_path / "run" / "checkpoints")["config"]["precision"] == expected
    changed = "fp32" if expected == "bf16" else "bf16"
    with pytest.raises(InputError, match=f"precision: {expected} -> {changed}"):
        open_run(replace(saved, precision=changed), "gan")


def test_a_run_goes_on_with_its_threads_where_there_are_as_many_cores(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("s2i.training.distributed.cores", lambda: 3)
    try:
        train(make_config(tmp_path, threads=2), until=13)
        config = make_config(tmp_path, threads=0)
        assert Engine.start(config).config.threads == 2
        assert Engine.start(replace(config, threads=1)).config.threads == 1
        new = replace(config, run=str(tmp_path / "new"))
        monkeypatch.setattr("s2i.training.distributed.cores", lambda: 7)
        assert Engine.start(new).config.threads == 3  # another training beside it has room
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "7")
        assert Engine.start(new).config.threads == 1
        monkeypatch.setattr("s2i.training.distributed.cores", lambda: 1)
        assert Engine.start(config).config.threads == 1
    finally:
        torch.set_num_threads(before)


def on_avx2(*words: str) -> subprocess.CompletedProcess:
    """A command on what oneDNN takes for a processor with AVX2 and no more."""
    variables = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


SHOW = """
import torch
from s2i.config import Config
from s2i.errors import exit_on_input_error
from s2i.training.precision import choose
for modality in ("speech", "text"):
    print(choose(Config(modality=modality), "", torch.device("cpu")).precision)
exit_on_input_error(lambda: choose(Config(modality="text", precision="bf16"), "", torch.device("cpu")))
"""


@pytest.mark.skipif(
    torch.cpu.get_capabilities()["architecture"] != "x86_64", reason="AVX2 is of x86 processors"
)
def test_a_processor_with_avx2_alone_computes_in_fp32_and_refuses_bf16_on_one_line():
    done = on_avx2("-c", SHOW)
    assert done.stdout.split() == ["fp32", "fp32"], done.stderr
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("s2i: error: ") and "its text encoder doesn't run" in line


def test_the_benchmark_prints_seconds_a_step_of_each_part_in_both_precisions():
    words = ["--config", "recipes/painted_birds/conf/smoke.yaml", "--steps", "2", "--rounds", "1"]
    small = ["matching.batch_size=4", "gan.batch_size=4", "classifier.batch_size=4", "generator.stages=1"]
    done = subprocess.run(
        [sys.executable, "tests/benchmarks/precision.py", *words, *small],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    chosen = choose(Config(), "", torch.device("cuda" if torch.cuda.is_available() else "cpu")).precision
    assert printed[1].startswith(f"precision: auto is {chosen} here: ")
    rows = {line[:16].strip(): line[16:].split() for line in printed[4:]}
    assert list(rows) == ["speech encoder", "text encoder", "classifier", "GAN"]
    assert all(len(cells) == 6 and float(cells[0]) > 0 and float(cells[3]) > 0 for cells in rows.values())


def test_threads_that_wait_leave_their_core_to_others():
    """Before torch is loaded, in every process of ours; what a person has set stays."""
    code = "import os, sys, {}; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_WAIT_POLICY", None)

    def run(package: str) -> str:
        return subprocess.check_output(
            [sys.executable, "-c", code.format(package)], env=environment, text=True
        )

    assert {run(package) for package in ("s2i", "data_prep", "tests")} == {"PASSIVE False\n"}
    environment["OMP_WAIT_POLICY"] = "ACTIVE"
    assert run("s2i") == "ACTIVE False\n"
