"""Speech against text: one generator design, the same captions, the same noise; `results.json` and a page.

index.html     for people; needs nothing but the two folders beside it
results.json   the numbers, with the protocols that made them
audio/         what the page plays; images/: what it shows
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from s2i.analysis import asr_cascade, seeds
from s2i.analysis.asr_cascade import measure_cascade, training_captions
from s2i.analysis.recognisers import load_recogniser
from s2i.analysis.seeds import pool
from s2i.config import Config, EvaluationConfig
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.overrides import overridden, with_data
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import extractor_facts, measure, record
from s2i.evaluation.score import Score
from s2i.files.atomic import read_json, write_atomically
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.progress import say
from s2i.reports.analysis_sections import FAMILY_CHART, ROBUSTNESS_CHART
from s2i.reports.comparison_analyses import ComparisonAnalyses
from s2i.reports.document import with_sizes
from s2i.reports.gallery import request_gallery, write_gallery
from s2i.reports.main_results import Scores
from s2i.reports.page import MODALITIES, Report, page
from s2i.reports.robustness import chart_of_families
from s2i.reports.sections import SECTIONS, difference_name
from s2i.runs.checkpoint import random_state_kept
from s2i.runs.run import CHANGEABLE, PLACES, Run, config_changes

MUST_AGREE = ("noise_dim", "condition_dim")  # of other widths it would be other noise
MAY_DIFFER = CHANGEABLE | PLACES | {"modality"}
Measured = dict[str, list[Score]]  # one run's scores, protocol by protocol


def compare(
    speech_run: str | Path,
    text_run: str | Path,
    output: str | Path,
    also_speech: Sequence[str | Path] = (),
    also_text: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    recogniser: str | Path = "",
) -> None:
    """Measure all runs on the same captions and noise, and write the report into `output`.

    A run may also be an exported model, which knows no data: the words `data.pack=DIR` and `data.root=DIR`
    give it some. One that has both paths may be both runs.

    All are measured by the evaluation settings of the speech run. Numbers are means over a side's runs;
    images and curves are of `speech_run` and `text_run`. What an earlier call wrote into `output` is
    replaced at the end; a folder that holds anything else is refused, but for the recipe's seconds.json.

    Args:
        also_speech, also_text: further runs of a side, trained with other seeds.
        overrides: `evaluation.key=value` words over the speech run's evaluation settings, and where it is an
            exported model `data.key=value` ones.
        recogniser: of speech, as `load_recogniser` takes it: recognition, then text, beside the two.

    Raises:
        InputError: a run of the other modality, runs over different test data or with noise of different
            widths, or what `load`, `FeatureBank` and the protocols refuse.
    """
    folder = OutputFolder(output, "s2i compare")
    folders = {
        "speech": [Path(speech_run), *map(Path, also_speech)],
        "text": [Path(text_run), *map(Path, also_text)],
    }
    paths = {side: [_path(folder, side) for folder in runs] for side, runs in folders.items()}
    with random_state_kept():
        chosen = overridden(paths["speech"][0].config, overrides, reads_recordings=True)
        paths = {side: [with_data(path, chosen.data) for path in runs] for side, runs in paths.items()}
        banks = _banks(paths, chosen.evaluation)
        first = {side: runs[0] for side, runs in banks.items()}
        listener = None
        if recogniser:
            listener = load_recogniser(recogniser, partial(training_captions, first["speech"]))
        analyses = ComparisonAnalyses(first)
        request_gallery(first)
        measured = {side: [measure(bank, list(PROTOCOLS)) for bank in runs] for side, runs in banks.items()}
        classes = len(np.unique(banks["speech"][0].pack.labels))
        scores = {side: pool(runs, classes) for side, runs in measured.items()}
        try:
            with folder.replaced(last="index.html") as written:
                gallery, every = write_gallery(first, written)
                analysed = analyses.run(written)
                seconds = _seconds(folder.path / "seconds.json")
                content = results(scores, _data(banks, folders), seconds, differences(measured, classes))
                content["runs"] = _every_run(measured, banks, folders)
                content["per_class"] = _per_class(scores, first["speech"])
                content["records"] = {side: _records(first[side], scores[side], banks) for side in MODALITIES}
                robustness = _robustness(first["speech"], folders["speech"][0], written)
                content["analyses"] = analysed.numbers | robustness
                content["protocols"] |= analysed.procedures
                if listener is not None:
                    content["cascade"] = measure_cascade(first["speech"], first["text"], listener)
                    content["protocols"]["cascade"] = asr_cascade.PROCEDURE
                content["extractors"] = _extractors(first, scores)
                report = Report(content, scores, gallery, every, analysed, _runs(paths, folders))
                write_report(written, content, page(report))
        except OSError as error:
            raise InputError(
                f"expected to write {output}, found: {error.strerror}: check path and disk"
            ) from error


def results(
    scores: Scores, data: dict[str, Any], seconds: dict[str, float], speech_minus_text: dict[str, Any]
) -> dict[str, Any]:
    """The content of results.json. `real` and `chance` are the speech run's: retrieval's chance and all of
    generation's are the same for both, as captions, images and classifier are."""
    measured = [name for name in PROTOCOLS if any(scores[modality][name] for modality in MODALITIES)]
    content: dict[str, Any] = {
        "protocols": {name: PROTOCOLS[name].procedure for name in measured},
        "data": data,
        "seconds": seconds,
    }
    for section, protocols in SECTIONS.items():
        columns: dict[str, Any] = {column: {} for column in (*MODALITIES, "real", "chance")}
        for protocol, part in protocols.items():
            for column, values in columns.items():
                of = "run" if column in MODALITIES else column
                source = scores[column if column in MODALITIES else "speech"][protocol]
                given = {score.metric: score.value for score in source if score.of == of}
                if part.endswith("_speakers") and column == "text":  # which has none
                    continue
                if part and given:
                    values[part] = values.get(part, {}) | given
                elif not part:
                    values |= given
        content[section] = {name: values for name, values in columns.items() if values}
    content["difference"] = speech_minus_text
    return content


def differences(measured: dict[str, list[Measured]], classes: int) -> dict[str, dict[str, Any]]:
    """Speech minus text, caption by caption on all voices; see `seeds.difference`.

    Named by `difference_name`. FID has none: it has no interval, KID stands for it.
    """
    by_name: dict[str, dict[str, Any]] = {}
    retrieved = {score.metric for score in measured["speech"][0]["retrieval_by_caption"]}
    for protocols in SECTIONS.values():
        for protocol in (name for name, part in protocols.items() if not part.endswith("_speakers")):
            for score in measured["speech"][0][protocol]:
                sides = [
                    [_score(run[protocol], score.metric) for run in measured[side]] for side in MODALITIES
                ]
                if score.of != "run" or any(None in side for side in sides):
                    continue
                difference = seeds.difference(*sides, classes)
                if difference:
                    by_name[difference_name(protocol, score.metric, retrieved)] = difference
    return by_name


def _score(scores: list[Score], metric: str) -> Score | None:
    return next((score for score in scores if score.of == "run" and score.metric == metric), None)


def _every_run(
    measured: dict[str, list[Measured]], banks: dict[str, list[FeatureBank]], folders: dict[str, list[Path]]
) -> dict[str, list[dict[str, Any]]]:
    """{side: [{"name", "step", "seed", "values": {section: {metric: value}}}]}"""
    by_side: dict[str, list[dict[str, Any]]] = {}
    for side in MODALITIES:
        by_side[side] = []
        for scores, bank, folder in zip(measured[side], banks[side], folders[side], strict=True):
            values = {
                section: {
                    score.metric: score.value
                    for protocol, part in protocols.items()
                    if not part
                    for score in scores[protocol]
                    if score.of == "run"
                }
                for section, protocols in SECTIONS.items()
            }
            config = bank.path.config
            run = {"name": folder.absolute().name, "step": bank.path.step, "seed": config.seed}
            by_side[side].append({**run, "values": values})
    return by_side


def _records(
    bank: FeatureBank, scores: Measured, banks: dict[str, list[FeatureBank]]
) -> list[dict[str, Any]]:
    """Each of a side's numbers as `evaluate` records it; of several runs their mean, and their number."""
    count = len(banks[bank.path.config.modality])
    pooled = {"runs": count} if count > 1 else {}
    return [record(bank, name, score) | pooled for name in PROTOCOLS for score in scores[name]]


def _per_class(scores: Scores, bank: FeatureBank) -> dict[str, Any]:
    """Class by class: attribute accuracy, else Recall@1."""
    for protocol, metric in (
        ("attribute_accuracy", "attribute_accuracy"),
        ("retrieval_by_caption", "recall@1"),
    ):
        sides = [_score(scores[side][protocol], metric) for side in MODALITIES]
        if None not in sides:
            label_names = {
                int(label): image.class_name
                for label, image in zip(bank.pack.labels, bank.pack.records, strict=True)
            }
            names = [label_names[label] for label in sorted(label_names)]
            return {"metric": metric, "rows": seeds.by_class(*sides, names)}
    return {}


def _extractors(banks: dict[str, FeatureBank], scores: Scores) -> dict[str, dict[str, Any]]:
    """Reference set, extractor, hash and resize of each measured protocol; both sides' where they differ."""
    facts_of = {}
    for name in PROTOCOLS:
        sides = [extractor_facts(banks[side], name) for side in MODALITIES if scores[side][name]]
        if sides:
            facts_of[name] = {
                key: " / ".join(dict.fromkeys(str(side[key]) for side in sides)) for key in sides[0]
            }
    return facts_of


def _path(folder: Path, modality: str) -> GenerationPath:
    paths = load(folder).image_paths()
    if modality not in paths:
        place = "first" if modality == "speech" else "second"
        raise InputError(
            f"expected a run from {modality} {place}, found one from {' and '.join(paths)} in {folder}:"
            " give s2i compare SPEECH_RUN TEXT_RUN in this order"
        )
    return paths[modality]


def _banks(
    paths: dict[str, list[GenerationPath]], evaluation: EvaluationConfig
) -> dict[str, list[FeatureBank]]:
    """All paths over the same captions."""
    for name in MUST_AGREE:
        widths_of = {
            side: {getattr(path.config.generator, name) for path in runs} for side, runs in paths.items()
        }
        if len(set.union(*widths_of.values())) > 1:
            sides = " and ".join(
                f"{', '.join(map(str, sorted(widths)))} from {side}" for side, widths in widths_of.items()
            )
            raise InputError(
                f"expected runs that share their noise, found generator.{name} {sides}:"
                " train them with one configuration"
            )
    banks = {side: [FeatureBank(path, evaluation) for path in runs] for side, runs in paths.items()}
    all_banks = [bank for runs in banks.values() for bank in runs]
    for other in all_banks[1:]:
        if other.pack.fingerprint != all_banks[0].pack.fingerprint:
            raise InputError(
                f"expected runs over the same data, found different ones in {all_banks[0].pack.folder}"
                f" ({all_banks[0].path.config.modality}) and {other.pack.folder}"
                f" ({other.path.config.modality}): compare runs of one pack"
            )
    captions = reduce(np.intersect1d, (bank.captions.readable for bank in all_banks))
    for bank in all_banks:
        bank.captions.restrict(captions)
    return banks


def _data(banks: dict[str, list[FeatureBank]], folders: dict[str, list[Path]]) -> dict[str, Any]:
    first = {side: runs[0] for side, runs in banks.items()}
    notes = dict.fromkeys(bank.captions.note for runs in banks.values() for bank in runs)
    note = "; ".join(filter(None, notes))
    return {
        **first["speech"].facts(),
        **({"note": note} if note else {}),  # of any of the runs
        "read_in_part": first["text"].captions.read_in_part,
        "runs": {
            modality: {"name": runs[0].absolute().name, "step": first[modality].path.step}
            for modality, runs in folders.items()
        },
        "settings_that_differ": _differing(*(first[modality].path.config for modality in MODALITIES)),
    }


def _differing(speech: Config, text: Config) -> dict[str, tuple[Any, Any]]:
    """Settings, beyond the encoders', that the runs don't share: {key: (of speech, of text)}."""
    return {
        key: change
        for key, change in config_changes(speech, text).items()
        # One that has a run where the other has none was trained in another way.
        if not (key in MAY_DIFFER or key.startswith(("speech_encoder.", "text_encoder.")))
        or (key in PLACES and not all(change))
    }


def _runs(
    paths: dict[str, list[GenerationPath]], folders: dict[str, list[Path]]
) -> dict[str, dict[str, Run]]:
    by_modality: dict[str, dict[str, Run]] = {}
    for modality, (folder, *_) in folders.items():
        encoder = Path(paths[modality][0].config.gan.encoder)
        runs = {"generator": Run(folder), "encoder": Run(encoder)}
        by_modality[modality] = {kind: run for kind, run in runs.items() if run.folder.is_dir()}
    return by_modality


def _robustness(bank: FeatureBank, run: Path, folder: Path) -> dict[str, Any]:
    """The results of `s2i robustness` for the run as it is, if any; its charts go into `folder`."""
    path = run / "robustness" / "results.json"
    if not path.is_file():
        return {}
    measured = read_json(path, "the results of s2i robustness", "run it again")
    if measured.get("identity") != bank.identity():
        say(f"{path} is left out: it is of other weights, captions or settings; run s2i robustness again")
        return {}
    shutil.copyfile(path.with_name("chart.svg"), folder / ROBUSTNESS_CHART)
    families = chart_of_families(measured)
    if families:
        (folder / FAMILY_CHART).write_text(families, encoding="utf-8")
    return {"robustness": measured}


def _seconds(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    known = read_json(path, "{recipe stage: seconds}", "delete it")
    if not all(isinstance(seconds, (int, float)) for seconds in known.values()):
        raise InputError(f"expected {{recipe stage: seconds}} in {path}, found no numbers: delete it")
    return known


def write_report(folder: Path, content: dict[str, Any], html: str) -> None:
    """Write `results.json` and `index.html`, whose images lie in `folder` already."""
    with write_atomically(folder / "results.json") as stream:
        stream.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    with write_atomically(folder / "index.html") as stream:
        stream.write(with_sizes(html, folder))
