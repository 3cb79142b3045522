"""What a person sees when a command can't go on: one line, no traceback, a customary exit status."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from s2i import cli, errors
from s2i.errors import BAD_INPUT, INTERRUPTED, READER_GONE, InputError, LoaderLost, exit_on_input_error
from s2i.files.atomic import append_json, json_line, read_json, read_json_lines, write_atomically
from s2i.runs.checkpoint import read_checkpoint, write_checkpoint

MODEL = Path(__file__).parents[2] / "checkpoints" / "painted_birds"
SENTENCE = "a small red bird with a black wing " * 10  # a path that no file system takes


def status_of(raised: BaseException) -> int:
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as stopped:
        exit_on_input_error(main)
    return stopped.value.code


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (InputError("one\nline"), "one line"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/file"), "/a/file, found: No space left"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "File name too long"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/file"), "/a/file, found: Permission denied"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),  # not stdout's
        (
            OSError("Could not load this library: /a/libtorchaudio.so"),
            "of one set, found /a/libtorchaudio.so",
        ),
        (MemoryError(), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (ValueError("embedded null byte"), "NUL"),
        (
            UnicodeEncodeError("utf-8", "caf\udce9.wav", 3, 4, "surrogates not allowed"),
            "found 'caf\\udce9.wav'",
        ),
    ],
)
def test_a_refusal_by_the_machine_is_reported_in_one_line(capsys, raised, message):
    assert status_of(raised) == BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("s2i: error: ") and message in lines[0]
    assert len(lines[0]) < 300


KILLED = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")


@pytest.fixture
def exits_in_process(monkeypatch):
    """os._exit raises SystemExit; SIGCHLD's handler is put back."""
    handler = signal.getsignal(signal.SIGCHLD)
    monkeypatch.setattr(os, "_exit", sys.exit)
    yield
    signal.signal(signal.SIGCHLD, handler)


@pytest.mark.parametrize("raised", [LoaderLost(), KILLED])
def test_a_lost_loader_process_ends_the_command_at_once_in_one_line(capsys, exits_in_process, raised):
    assert status_of(raised) == BAD_INPUT
    assert capsys.readouterr().err.startswith("s2i: error: expected every loader process to live")


def test_a_lost_loader_process_is_one_whatever_was_made_of_the_error(capsys, exits_in_process):
    def main() -> None:
        try:
            raise KILLED
        except RuntimeError as error:
            raise InputError("expected an image, found none") from error

    with pytest.raises(SystemExit) as stopped:
        exit_on_input_error(main)
    assert stopped.value.code == BAD_INPUT
    assert capsys.readouterr().err.startswith("s2i: error: expected every loader process to live")


def test_a_second_loader_process_that_is_lost_meanwhile_changes_nothing(
    capsys, monkeypatch, exits_in_process
):
    def describe(error: Exception) -> str:
        raise KILLED

    monkeypatch.setattr(errors, "_describe", describe)  # as torch's handler of SIGCHLD may, anywhere
    assert status_of(OSError(errno.ENOSPC, "No space left on device", "/a/file")) == BAD_INPUT
    assert capsys.readouterr().err.startswith("s2i: error: expected every loader process to live")


def test_a_mistake_within_a_loader_process_is_none_of_the_users(capsys):
    def main() -> None:
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.")

    with pytest.raises(RuntimeError):
        exit_on_input_error(main)


def test_an_interrupt_is_reported_in_one_line(capsys):
    assert status_of(KeyboardInterrupt()) == INTERRUPTED == 130
    assert capsys.readouterr().err.count("\n") == 1


# Runs the command, with an interrupt as soon as it imports a module of this name.
INTERRUPTED_IMPORT = """
import runpy, signal, sys

awaited = sys.argv.pop(1)

class Interrupt:
    def find_spec(self, name, *_):
        if name == awaited:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
runpy.run_module("s2i", run_name="__main__", alter_sys=True)
"""


def interrupted_import(
    module: str, words: list[str], handler: signal.Handlers
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, module, *words],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )


@pytest.mark.parametrize("module", ["s2i.errors", "argparse", "s2i.commands"])
def test_an_interrupt_while_the_package_is_imported_is_quiet(module):
    done = interrupted_import(module, ["--help"], signal.SIG_DFL)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
    ignored = interrupted_import(module, ["--help"], signal.SIG_IGN)  # of a script's background
    assert ignored.returncode == 0 and b"usage:" in ignored.stdout


def test_an_interrupt_while_torch_is_imported_is_reported_in_one_line(tmp_path):
    words = ["generate", "--model", str(MODEL), "--text", "bird", "--output", str(tmp_path / "x.png")]
    done = interrupted_import("torch", words, signal.SIG_DFL)
    assert done.returncode == INTERRUPTED and done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"s2i: interrupted") and done.stdout == b""


def test_mistakes_of_the_program_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_on_input_error(lambda: 1 // 0)
    with pytest.raises(ValueError, match="another"):
        exit_on_input_error(lambda: (_ for _ in ()).throw(ValueError("another")))


def run(words: list[str | bytes], **options) -> subprocess.CompletedProcess:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.run([sys.executable, "-m", "s2i", *words], env=environment, **options)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text("run: größe\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("gone", ["stdout", "stderr"])
def test_a_reader_that_has_gone_is_no_error(config_file, gone):
    reading, writing = os.pipe()
    os.close(reading)
    words = ["show-config", "--config", str(config_file)] if gone == "stdout" else ["show-config"]
    done = run(words, **{gone: writing})
    os.close(writing)
    output = done.stderr if gone == "stdout" else done.stdout
    assert done.returncode in (READER_GONE, BAD_INPUT) and output == b""
    assert (done.returncode == READER_GONE == 141) == (gone == "stdout")


def test_a_full_output_device_is_reported_in_one_line(config_file):
    with open("/dev/full", "wb") as full:
        done = run(["show-config", "--config", str(config_file)], stdout=full)
    assert done.returncode == BAD_INPUT and b"No space left" in done.stderr
    assert done.stderr.startswith(b"s2i: error: ") and done.stderr.count(b"\n") == 1


def test_a_terminal_of_ascii_gets_other_letters_as_escapes(config_file):
    done = run(["show-config", "--config", str(config_file)], env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and b"run: gr\\xf6\\xdfe\n" in done.stdout


# Each command as a person calls it; more of the same commands are called in this process.
AS_PROCESSES = [
    ["show-config", "--config", b"caf\xe9.yaml"],
    ["show-config", "--config", "{config}", b"run=caf\xe9"],
    ["generate", "--model", "m", "--speech", SENTENCE, "--output", "o.png"],
    ["search", "--model", SENTENCE, "--index", "i", "--image", SENTENCE],
    ["evaluate", SENTENCE],
    ["report", SENTENCE, "--output", SENTENCE],
    ["export", SENTENCE, SENTENCE],
    ["train-encoder", "--config", "/dev/null/config.yaml"],
]
CALLED = [
    ["show-config", "--config", SENTENCE],
    ["generate", "--model", "m", "--texts", SENTENCE, "--output", "o"],
    ["generate", "--model", SENTENCE, "--text", "bird", "--output", "o.png"],
    ["generate", "--model", "m", "--text", "bird", "--output", "x" * 260 + ".png"],
    ["train-encoder", "--config", "/"],
]


@pytest.mark.parametrize("words", AS_PROCESSES)
def test_no_argument_ends_in_a_traceback(config_file, tmp_path, words):
    words = [str(config_file) if word == "{config}" else word for word in words]
    done = run(words, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == BAD_INPUT and done.stdout == b""
    assert done.stderr.count(b"\n") == 1 and done.stderr.startswith(b"s2i: error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", CALLED)
def test_no_argument_of_a_command_called_in_python_ends_in_a_traceback(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    printed = capsys.readouterr()
    assert stopped.value.code == BAD_INPUT and printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("s2i: error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    write_checkpoint(tmp_path / "small" / "last.pt", {"step": 1})
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "import torch; from pathlib import Path; from s2i.errors import exit_on_input_error;"
        "from s2i.runs.checkpoint import write_checkpoint as write;"
        "exit_on_input_error(lambda: write('last.pt', {'step': 2, 'weights': torch.zeros(100_000)}))"
    )
    limited = [sys.executable, "-c", code]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(limited, cwd=tmp_path / "small", env=os.environ | path, capture_output=True)
    assert done.returncode == BAD_INPUT and done.stderr.count(b"\n") == 1
    assert b"expected to write last.pt, found: File too large" in done.stderr
    assert read_checkpoint(tmp_path / "small" / "last.pt")["step"] == 1
    assert [file.name for file in (tmp_path / "small").iterdir()] == ["last.pt"]


def test_names_of_255_bytes_can_be_written(tmp_path):
    for name in ("x" * 251 + ".png", "ü" * 125 + ".pngx"):
        with write_atomically(tmp_path / name) as stream:
            stream.write("whole")
        assert (tmp_path / name).read_text() == "whole"
    with pytest.raises(InputError, match="File name too long"), write_atomically(tmp_path / ("x" * 256)):
        pass
    assert len(list(tmp_path.iterdir())) == 2


def test_text_that_utf8_cannot_encode_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(InputError, match="UTF-8"), write_atomically(tmp_path / "page.html") as stream:
        stream.write("half of an emoji: \ud83d")
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_utf8_stand_in_json_as_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    assert json_line({"name": "größe"}) == '{"name": "größe"}\n'
    append_json(tmp_path / "lines.jsonl", {"name": name})
    assert read_json_lines(tmp_path / "lines.jsonl", "names", "mend it") == [{"name": name}]


@pytest.mark.parametrize(
    "content",
    [b"", b'{"a": 1', b"[1]", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"null", b'"\\ud83d'],
    ids=["empty", "cut", "list", "no text", "deep", "long number", "null", "cut string"],
)
def test_json_that_is_cut_short_or_no_object_is_refused_with_its_file_and_line(tmp_path, content):
    path = tmp_path / "env.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected an environment in .*env.json.*: delete it"):
        read_json(path, "an environment", "delete it")
    path.write_bytes(b'{"step": 1}\n' + content + b'\n{"step": 2}\n')
    if content:
        with pytest.raises(InputError, match="line 2"):
            read_json_lines(path, "lines", "delete it")
    path.write_bytes(b'{"step": 1}\n' + content)  # as a kill leaves it
    assert read_json_lines(path, "lines", "delete it") == [{"step": 1}]
