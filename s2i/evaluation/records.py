"""Protocols: how each number is made. A protocol's docstring is its procedure, printed beside its values.

All of them use the averaged weights (EMA), captions of `evaluation.split`, and noise of (`evaluation.seed`,
caption). Intervals are of 95 %, t over classes (`statistics.py`): captions and images of one class are no
independent trials. A metric that the data can't give is absent.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2i.config import MISSING, DataConfig, EvaluationConfig
from s2i.config_files import override
from s2i.errors import InputError
from s2i.evaluation.inception import DOWNLOAD, PUBLISHED
from s2i.evaluation.protocols.attributes import (
    answers,
    attribute_accuracy,
    attribute_accuracy_unseen_speakers,
    known_attributes,
)
from s2i.evaluation.protocols.distances import classifier_distances, clean_distances, inception_distances
from s2i.evaluation.protocols.retrieval import (
    retrieval_by_caption,
    retrieval_by_caption_seen_speakers,
    retrieval_by_caption_unseen_speakers,
    retrieval_by_image,
    retrieval_of_exact_captions,
    retrieval_of_exact_image,
)
from s2i.evaluation.protocols.semantics import (
    class_retrieval_by_generated,
    r_precision,
    s2igan_mean_average_precision,
    s2igan_mean_average_precision_by_classifier,
)
from s2i.evaluation.score import Protocol, Score
from s2i.evaluation.subject import Subject
from s2i.inference.model import load
from s2i.metrics.statistics import FORM
from s2i.progress import say
from s2i.runs.checkpoint import random_state_kept
from s2i.runs.run import Run

__all__ = [
    "PROTOCOLS",
    "Score",
    "answers",
    "evaluate",
    "known_attributes",
    "measure",
    "procedure",
    "record",
    "settings_of",
    "who_looked",
]

PROTOCOLS: dict[str, Protocol] = {
    function.__name__: function
    for function in (
        retrieval_by_caption,
        retrieval_by_caption_seen_speakers,
        retrieval_by_caption_unseen_speakers,
        retrieval_by_image,
        retrieval_of_exact_image,
        retrieval_of_exact_captions,
        attribute_accuracy,
        attribute_accuracy_unseen_speakers,
        class_retrieval_by_generated,
        s2igan_mean_average_precision_by_classifier,
        s2igan_mean_average_precision,
        r_precision,
        classifier_distances,
        inception_distances,
        clean_distances,
    )
}


def evaluate(
    model: str | Path,
    protocols: Sequence[str] = (),
    evaluation: EvaluationConfig | None = None,
    data: DataConfig | None = None,
) -> list[dict[str, Any]]:
    """Measure a run and append the records to its metrics.jsonl; or an exported model, which stays as it is.

    Args:
        model: folder of a GAN training, or of an exported or imported model.
        protocols: names out of PROTOCOLS; none: all that its data, classifier, scorer and weights allow. One
        that
            is named and needs Inception's weights fetches them where `evaluation.inception_weights` is empty.
        evaluation: instead of the run's own settings.
        data: of an exported model, which has none: a pack of its front end and image size.

    Returns:
        Records {metric, value, interval95, interval_form, of, protocol, counts, split, seed, weights,
        modality, step, classifier, extractor, extractor_hash, resize, reference}, and spread and note where
        there are.

    Raises:
        InputError: an unknown protocol, one that was asked for and can't be measured, an exported model
            without `data`.
    """
    for name in protocols:
        if name not in PROTOCOLS:
            raise InputError(f"expected a protocol out of {', '.join(PROTOCOLS)}, found {name!r}")
    records = []
    with random_state_kept():
        for path in load(model).paths.values():
            if data is not None:
                path = replace(path, config=replace(path.config, data=data))
            settings = evaluation or path.config.evaluation
            if {PROTOCOLS[name].facts.extractor for name in protocols} & set(PUBLISHED):
                settings = replace(settings, inception_weights=settings.inception_weights or DOWNLOAD)
            subject = Subject(path, settings)
            for name in protocols:
                subject.extractor(PROTOCOLS[name].facts.extractor)  # known before anything is generated
            for name, scores in measure(subject, protocols or list(PROTOCOLS)).items():
                if protocols and not scores:
                    raise InputError(
                        f"expected what {name} needs (a classifier that knows the attributes, an"
                        f" R-precision encoder, mentions,"
                        f" voices that training lacks), found it missing for {model}: set"
                        f" evaluation.classifier or"
                        " evaluation.r_precision_encoder, or leave the protocol out"
                    )
                records += [record(subject, name, score) for score in scores]
    if path.config.run != MISSING:
        for line in records:
            Run(Path(model)).metric(line)
    return records


def settings_of(model: str | Path, overrides: Sequence[str]) -> dict[str, EvaluationConfig | DataConfig]:
    """What `evaluate` takes of a model beside its protocols, with `evaluation.key=value` words put over a
    run's settings, and `data.key=value` ones over an exported model's. InputError as for a run's
    configuration."""
    config = next(iter(load(model).paths.values())).config
    sections = ["evaluation"] if config.run != MISSING else ["evaluation", "data"]
    config = override(config, overrides, sections)
    return {section: getattr(config, section) for section in sections}


def measure(subject: Subject, protocols: Sequence[str]) -> dict[str, list[Score]]:
    """Scores by protocol; an empty list where the data can't give one, or, with a line that tells why, where
    a network can't be had."""
    out: set[str] = set()
    for name in protocols:
        facts = PROTOCOLS[name].facts
        try:
            extractor = subject.extractor(facts.extractor)
        except InputError as error:
            out.add(name)
            say(f"{name} is left out: {error}")
            continue
        if extractor is None and facts.extractor == "encoders":
            out.add(name)
            say(f"{name} is left out: the model was imported without an image encoder")
        elif extractor is not None and facts.generates:
            subject.asked.add((facts.generates, facts.extractor))
    return {name: [] if name in out else PROTOCOLS[name](subject) for name in protocols}


def record(subject: Subject, protocol: str, score: Score) -> dict[str, Any]:
    """A score as a line of metrics.jsonl: plain values."""
    found = {
        "step": subject.path.step,
        "metric": score.metric,
        "value": score.value,
        "interval95": list(score.interval95) if score.interval95 else None,
        "interval_form": FORM if score.interval95 else None,
        "of": score.of,
        "protocol": protocol,
        "counts": score.counts,
        "split": subject.evaluation.split,
        "fingerprint": subject.pack.fingerprint,
        "seed": subject.evaluation.seed,
        "weights": "ema",
        "modality": subject.path.config.modality,
        "classifier": subject.classifier.identity if subject.classifier else None,
        **who_looked(subject, protocol),
    }
    found |= {"spread": score.spread} if score.spread is not None else {}
    if subject.left_out:
        found["left_out"] = subject.left_out  # {why: captions} that the run can't read
    if subject.read_in_part:
        found["read_in_part"] = subject.read_in_part  # {why: captions} of which it passes over words
    note = "; ".join(filter(None, (subject.note, score.note)))
    return found | ({"note": note} if note else {})


def who_looked(subject: Subject, protocol: str) -> dict[str, str | None]:
    """Reference set, extractor, its hash and its resize: what stands beside each of a protocol's numbers."""
    facts = PROTOCOLS[protocol].facts
    extractor = subject.extractor(facts.extractor)
    return {
        "reference": facts.reference,
        "extractor": extractor.network if extractor else None,
        "extractor_hash": extractor.identity if extractor else None,
        "resize": extractor.resize if extractor else None,
    }


def procedure(protocol: str) -> str:
    """A protocol's text, as one paragraph."""
    return " ".join((inspect.getdoc(PROTOCOLS[protocol]) or "").split())
