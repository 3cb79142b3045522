"""A model's card: on which data and by which commands its paths were trained, and what was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2i.config import MISSING
from s2i.config_files import load_run_config
from s2i.evaluation.captions import SAMPLING
from s2i.files.atomic import read_json
from s2i.inference.path import GenerationPath
from s2i.inference.speech_path import SpeechPath
from s2i.reports.rows import Record, cells, interval_forms, leading, rows
from s2i.runs.checkpoint import BEST, read_checkpoint
from s2i.runs.exported import is_exported
from s2i.runs.run import Run
from s2i.tables import filled, markdown, metric_label

# Above the table, where all its rows agree.
SHARED = ("step", "split", "seed", "weights", *SAMPLING, "classifier")


def describe_run(source: str, run: Path, path: GenerationPath | SpeechPath) -> list[str]:
    """The card's lines about one path, from its run's folder and from its encoder's."""
    config = path.config
    lines = ["", f"## From {source}", ""]
    if config.data.manifest != MISSING:
        known = f" (fingerprint {path.data['train'][:12]})" if path.data and "train" in path.data else ""
        lines.append(f"Data: the split `train`{known} of `{_shown(config.data.manifest)}`.")
    lines.append(f"Seed {config.seed}, {config.precision}. Every setting is in `config.json`.")
    if source == "speech" and config.audio.front_end not in ("log_mel", "waveform"):
        lines.append(_describe_front_end(config.audio.front_end))
    if config.gan.encoder != MISSING:
        encoder = Path(config.gan.encoder)
        best = encoder / "checkpoints" / BEST
        if is_exported(encoder):
            lines += ["", f"The encoders are those of the exported model `{_shown(str(encoder))}`."]
        lines += _describe_start("encoder", encoder)
        lines += _describe_training("encoder", encoder)
        lines += table(_records(read_checkpoint(best)["metrics"])) if best.is_file() else []
    if config.gan.matching_model:
        lines += _describe_training(
            "matching model that the generator learnt from", Path(config.gan.matching_model)
        )
    lines += _describe_start("generator", run)
    lines += _describe_training("generator", run)
    lines += table(Run(run).read_metrics())
    return lines


def _describe_front_end(name: str) -> str:
    if ":" in name:
        return f"A recording passes `{name}` first, whose package and weights are not here: install them."
    return (
        f"A recording passes torchaudio's `{name}` first, whose weights are not here:"
        " torchaudio downloads them once, or finds them in its cache."
    )


def table(records: Sequence[Record]) -> list[str]:
    """Lines of a table of the headline figures (those of single attributes and classes have a "/" in their
    names): a row a metric; a protocol's name stands at the first of its rows."""
    measured = rows(record for record in records if "/" not in record["metric"])
    if not measured:
        return []
    facts_of_rows = [{key: leading(row).get(key) for key in SHARED} for row in measured]
    shared = {
        key: value
        for key, value in facts_of_rows[0].items()
        if all(each[key] == value for each in facts_of_rows)
    }
    lines = [
        {
            "protocol": leading(row)["protocol"],
            "metric": metric_label(leading(row)["metric"]),
            **cells(row),
            **{key: "" if each[key] is None else str(each[key]) for key in SHARED if key not in shared},
            "extractor": leading(row).get("extractor_hash") or "",
        }
        for row, each in zip(measured, facts_of_rows, strict=True)
    ]
    columns = filled(lines)
    for before, each in reversed(list(zip(lines, lines[1:], strict=False))):
        if before["protocol"] == each["protocol"]:
            each["protocol"] = ""
    facts = [f"{key} {value}" for key, value in shared.items() if value is not None]
    forms = interval_forms(measured)
    facts = ", ".join([*facts, *([f"95 % intervals by {forms}"] if forms else [])])
    return [
        "",
        *([f"Of all that follows: {facts}.", ""] if facts else []),
        *markdown(columns, lines),
    ]


def _describe_training(what: str, run: Path) -> list[str]:
    environment = run / "env.json"
    if not environment.is_file():
        return []
    made = read_json(environment, "versions and command of a training", "delete it")
    command = _shown(str(made.get("command") or "unknown"))
    return ["", f"The {what}, {_commits(made)}:", "", f"    {command}"]


def _describe_start(what: str, run: Path) -> list[str]:
    """The trainings that a run was fine-tuned from, the first of them first."""
    starts: list[Path] = []
    while (run / "config.yaml").is_file() and (start := load_run_config(run).start_from):
        run = Path(start)
        if run in starts:  # it was moved to where it started from
            break
        starts.append(run)
    before = f"{what} from which the {what} below was fine-tuned"
    lines = [line for start in reversed(starts) for line in _describe_training(before, start)]
    if starts and is_exported(starts[-1]):  # what was before it is in its own card
        lines = ["", f"The first {what} started from the exported model `{_shown(str(starts[-1]))}`.", *lines]
    return lines


def _commits(environment: dict[str, Any]) -> str:
    """Which code trained: the commit, or each with the step after which it took over."""
    named = []
    for each in environment.get("code") or [environment]:
        dirty = " with changes" if each.get("dirty") else ""
        after = f" (after step {each['after_step']})" if each.get("after_step") else ""
        named.append(f"{each.get('commit') or 'unknown'}{dirty}{after}")
    return f"at commit{'s' * (len(named) > 1)} {' and '.join(named)}"


def _records(metrics: dict[str, Any]) -> list[Record]:
    """What an encoder keeps of its best step, as records."""
    values = {name: value for name, value in metrics.items() if isinstance(value, float)}
    facts = {name: value for name, value in metrics.items() if name not in values}
    return [{"metric": name, "value": value, **facts} for name, value in values.items()]


def _shown(text: str) -> str:
    """Without this machine's folders: relative to where the command ran, else the name alone."""
    text = text.replace(f"{Path.cwd()}/", "").replace(f"{Path.home()}/", "~/")
    return re.sub(r"(?<![\w.~/-])/(?:[^\s/]+/)+([^\s/]+)", r"\1", text)
