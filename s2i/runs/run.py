"""A run's folder: its configuration, its environment and what was measured in it.

config.yaml     complete and resolved: the only thing that later commands read
env.json        versions, device, commit, command and last step of the latest start that trained; under
                "code" every commit that trained, and after which step it took over
log.jsonl       one object a log step: {"step", "seconds", "images_per_second", "waiting_for_data" (a share),
                term: mean since the line before}
metrics.jsonl   one object a measured number
trace.json      of the steps that `profile=true` has profiled
samples/        grids of images
checkpoints/    last.pt and kept ones
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from importlib import metadata
from pathlib import Path
from typing import Any

from s2i.config import Config
from s2i.config_files import config_to_dict, config_to_yaml, load_run_config, require, save_config
from s2i.errors import InputError
from s2i.files.atomic import append_json, json_line, read_json, read_json_lines, write_atomically
from s2i.files.locks import only_process
from s2i.files.output_folder import refuse_foreign
from s2i.files.paths import in_place_of_folder
from s2i.files.unfinished import sweep
from s2i.progress import say
from s2i.runs.log_writers import LogWriter, scalars
from s2i.settings import declared
from s2i.version import VERSION, commit

# Keys that may change when a run continues: the weights do not depend on them. The folder may have moved.
CHANGEABLE = frozenset(key for key, declaration in declared(Config).items() if declaration.changeable)
# Paths of the runs that a generator was trained on: the weights do not depend on where they lie.
PLACES = (
    frozenset(key for key, declaration in declared(Config).items() if declaration.local == "run") - CHANGEABLE
)
CLOCK = ("seconds", "images_per_second", "waiting_for_data")  # of a log line: no two trainings have the same
PACKAGES = ("torch", "torchaudio", "torchvision", "accelerate", "librosa", "numpy", "omegaconf")


@dataclass(frozen=True)
class Run:
    """One training's folder. `writers`: where its log goes besides."""

    folder: Path
    writers: tuple[LogWriter, ...] = ()

    @property
    def label(self) -> str:
        """The name to show a person."""
        return self.folder.name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    def log(self, values: dict[str, Any]) -> None:
        """Append a line to log.jsonl; `values` has its step."""
        append_json(self.folder / "log.jsonl", values)
        for writer in self.writers:
            writer.numbers(values["step"], scalars(values))

    def metric(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl: a number with protocol, counts, weights, seed, and step if any."""
        append_json(self.folder / "metrics.jsonl", values)
        for writer in self.writers:
            writer.numbers(values["step"], {f"metric/{values['metric']}": values["value"]})

    def show(self, step: int, file: Path) -> None:
        """Give a grid of images, a PNG below `samples`, to the writers too."""
        name = file.parent.relative_to(self.folder).as_posix()
        for writer in self.writers:
            writer.image(step, name, file)

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; one that a kill cut short is left out."""
        return _read(self.folder / "log.jsonl")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one that a kill cut short is left out."""
        return _read(self.folder / "metrics.jsonl")

    def last_step(self) -> int:
        """The step after which the training is finished; 0 where it is not known yet, nor of runs of before
        env.json had it."""
        return int(self._environment().get("last_step", 0))

    def _environment(self) -> dict[str, Any]:
        path = self.folder / "env.json"
        return read_json(path, "an environment", "delete it") if path.is_file() else {}

    def rewind(self, step: int) -> None:
        """Drop the lines of steps after `step`: the training goes on from there and writes them again."""
        for name in ("log.jsonl", "metrics.jsonl"):
            path = self.folder / name
            if not path.exists():
                continue
            kept = [line for line in _read(path) if line.get("step", 0) <= step]
            text = "".join(json_line(line) for line in kept)
            if text != path.read_text(encoding="utf-8"):
                with write_atomically(path) as stream:
                    stream.write(text)

    def write_environment(self, step: int, **facts: Any) -> None:
        """Write env.json: `facts` (device, processes, ...) beside versions, commit and command, for a start
        that goes on after `step`."""
        head, dirty = commit()
        known = self._environment()
        first = {"after_step": 0, "commit": known.get("commit"), "dirty": known.get("dirty")}
        code = [each for each in known.get("code", [first]) if each["after_step"] < step]
        if not code or (code[-1]["commit"], code[-1]["dirty"]) != (head, dirty):
            code.append({"after_step": step, "commit": head, "dirty": dirty})
        environment = {
            "python": platform.python_version(),
            "system": platform.system(),
            "packages": {"s2i": VERSION, **{name: _version(name) for name in PACKAGES}},
            "commit": head,
            "dirty": dirty,
            "code": code,
            "command": shlex.join([_program(), *sys.argv[1:]]),
            **facts,
        }
        with write_atomically(self.folder / "env.json") as stream:
            stream.write(json.dumps(environment, indent=2) + "\n")


def alone_in_its_run(train: Callable[[Config], Path]) -> Callable[[Config], Path]:
    """A training that holds its run's folder while it works: of several processes the first holds it for all.

    Raises InputError, before anything is read or written, where another training is at work there.
    """

    @wraps(train)
    def alone(config: Config) -> Path:
        require(config, "run")
        with nullcontext() if int(os.environ.get("RANK", "0")) else only_process(config.run):
            return train(config)

    return alone


def begun_config(config: Config) -> Config | None:
    """The configuration with which the run in `config.run` was begun; None for a new run."""
    require(config, "run")
    folder = Path(config.run)
    return load_run_config(folder) if _is_run(folder) else None


def check_run(folder: Path) -> None:
    """Raises InputError for a folder that is no run of a training."""
    if not (folder / "config.yaml").is_file():
        problem = "no config.yaml there" if folder.is_dir() else in_place_of_folder(folder)
        raise InputError(f"expected the run of a training in {folder}, found {problem}: check the path")


def open_run(config: Config, kind: str = "", writes: bool = True) -> Run:
    """The folder `config.run`: made with its config.yaml, or found and continued.

    Raises InputError where it holds a run of another configuration, naming each key that differs, or
    anything that is no run.

    Args:
        kind: of training; what it doesn't read may differ.
        writes: False in all processes of a distributed training but the first.
    """
    run, begun = Run(Path(config.run)), begun_config(config)
    if begun is None:
        refuse_foreign(run.folder, "a run")
    else:
        for folder in (run.folder, run.samples, run.checkpoints) if writes else ():
            sweep(folder)
        changes = config_changes(begun, config, kind)
        fixed = {key: change for key, change in changes.items() if key not in CHANGEABLE}
        if fixed:
            listed = ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in fixed.items())
            raise InputError(
                f"expected the configuration with which the run in {run.folder} was begun, found {listed}:"
                " give another run=FOLDER, or these values back"
                f" ({', '.join(_whole_sections(CHANGEABLE))} may change)"
            )
        if changes and writes:
            say(f"{run.label}: continued with other {', '.join(changes)}")
        if not changes:
            return run
    if writes:
        save_config(config, run.folder / "config.yaml")
    return run


def _is_run(folder: Path) -> bool:
    """Whether a training made a folder: a config.yaml that somebody wrote by hand is neither complete nor
    beside what trainings write."""
    path = folder / "config.yaml"
    if not path.is_file():
        return False
    if (folder / "env.json").is_file() or (folder / "checkpoints" / "last.pt").is_file():
        return True
    return path.read_text(encoding="utf-8") == config_to_yaml(load_run_config(path.parent))


def config_changes(old: Config, new: Config, kind: str = "") -> dict[str, tuple[Any, Any]]:
    """Settings that differ: {dotted key: (old, new)}; "nothing" for one that was never given.

    `kind`: of training; settings that it doesn't read are left out.
    """
    unread = {
        key for key, declaration in declared(Config).items() if kind and kind not in declaration.read_by
    }
    before, after = _flat(config_to_dict(old)), _flat(config_to_dict(new))
    return {
        key: (before.get(key, "nothing"), after.get(key, "nothing"))
        for key in {**before, **after}
        if before.get(key) != after.get(key) and key not in unread
    }


def _whole_sections(keys: frozenset[str]) -> list[str]:
    """Keys in words: a section all of whose keys are among them is `name.*`."""
    broken = {key.partition(".")[0] for key in declared(Config) if key not in keys}
    named = []
    for key in sorted(keys):
        section, _, name = key.partition(".")
        named.append(f"{section}.*" if name and section not in broken else key)
    return list(dict.fromkeys(named))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _read(path: Path) -> list[dict[str, Any]]:
    return read_json_lines(path, "a JSON object", "delete the line") if path.exists() else []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _program() -> str:
    name = Path(sys.argv[0]).name
    return "s2i" if name == "__main__.py" else name
