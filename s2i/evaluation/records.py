"""Measuring a model by protocols, and the records of its numbers: lines of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2i.config import MISSING, Config, EvaluationConfig
from s2i.config_data import DataConfig
from s2i.errors import InputError
from s2i.evaluation.captions import S2IGAN
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.generated_speech import GeneratedSpeech
from s2i.evaluation.metric_networks import ENCODERS, asked_for
from s2i.evaluation.overrides import overridden
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.protocols.speech import SPEECH_PROTOCOLS
from s2i.evaluation.score import Score
from s2i.inference.model import Model, load
from s2i.metrics.statistics import FORM
from s2i.progress import say
from s2i.runs.checkpoint import random_state_kept
from s2i.runs.run import Run


def evaluate(
    model: str | Path,
    protocols: Sequence[str] = (),
    evaluation: EvaluationConfig | None = None,
    data: DataConfig | None = None,
) -> list[dict[str, Any]]:
    """Measure a run and append the records to its metrics.jsonl; or an exported model, which stays as it is.

    Args:
        model: folder of a GAN training, or of an exported or imported model.
        protocols: names out of PROTOCOLS; none: all that its data, classifier, R-precision encoder and
            weights allow. One that is named and needs published weights fetches them where
            `evaluation` names none.
        evaluation: instead of the run's own settings.
        data: of an exported model, which has none: a pack of its front end and image size.

    Returns:
        Records {metric, value, interval95, interval_form, of, protocol, counts, split, seed, weights,
        modality, step, classifier, extractor, extractor_hash, resize, reference}, and spread and note where
        there are.

    Raises:
        InputError: an unknown protocol, one that was named and can't be measured, an exported model
            without `data`.
    """
    known = PROTOCOLS.keys() | SPEECH_PROTOCOLS.keys()
    for name in protocols:
        if name not in known:
            listed = ", ".join([*PROTOCOLS, *SPEECH_PROTOCOLS])
            raise InputError(f"expected a protocol out of {listed}, found {name!r}")
    loaded = load(model)
    of_images, of_speech = (
        [name for name in protocols if name in family] for family in (PROTOCOLS, SPEECH_PROTOCOLS)
    )
    with random_state_kept():
        records = [] if of_speech and not of_images else _of_images(loaded, of_images, evaluation, data)
        if of_speech or (loaded.from_image is not None and not of_images):
            records += _of_speech(loaded, of_speech, evaluation, data)
    if _config(loaded).run != MISSING:
        for line in records:
            Run(Path(model)).metric(line)
    return records


def _config(model: Model) -> Config:
    """Of the model's first path."""
    return next(iter([*model.paths.values(), model.from_image])).config


def _of_images(
    model: Model,
    protocols: Sequence[str],
    evaluation: EvaluationConfig | None,
    data: DataConfig | None,
) -> list[dict[str, Any]]:
    """Records of each path from captions to images."""
    records = []
    for path in (model.image_paths() if protocols else model.paths).values():
        if data is not None:
            path = replace(path, config=replace(path.config, data=data))
        settings = evaluation or path.config.evaluation
        settings = asked_for(settings, {PROTOCOLS[name].extractor for name in protocols})
        bank = FeatureBank(path, settings)
        for name in protocols:
            bank.extractor(PROTOCOLS[name].extractor)  # known before anything is generated
        for name, scores in measure(bank, protocols or list(PROTOCOLS)).items():
            if protocols and not scores:
                raise InputError(
                    f"expected what {name} needs (a classifier that knows the attributes, an R-precision"
                    f" encoder, mentions, voices that training lacks), found it missing for {model.origin}:"
                    " set evaluation.classifier or evaluation.r_precision_encoder, or leave the protocol out"
                )
            records += [record(bank, name, score) for score in scores]
    return records


def _of_speech(
    model: Model,
    protocols: Sequence[str],
    evaluation: EvaluationConfig | None,
    data: DataConfig | None,
) -> list[dict[str, Any]]:
    """Records of the speech that a model generates."""
    path = model.speech_path()
    if data is not None:
        path = replace(path, config=replace(path.config, data=data))
    speech = GeneratedSpeech(replace(model, from_image=path), evaluation)
    records = []
    for name in protocols or SPEECH_PROTOCOLS:
        scores = SPEECH_PROTOCOLS[name](speech)
        if protocols and not scores:
            raise InputError(
                f"expected what {name} needs (a speech classifier, and for the cycle a path from speech"
                f" to images), found it missing for {model.origin}: set evaluation.speech_classifier, or"
                " leave the protocol out"
            )
        records += [speech.record(name, score) for score in scores]
    return records


def settings_of(model: str | Path, words: Sequence[str]) -> dict[str, EvaluationConfig | DataConfig]:
    """What `evaluate` takes of a model beside its protocols, with the command line's words put over its own
    as `overridden` does."""
    config = _config(load(model))
    chosen = overridden(config, words)
    given = {"evaluation": chosen.evaluation}
    return given if config.run != MISSING else given | {"data": chosen.data}


def measure(bank: FeatureBank, protocols: Sequence[str]) -> dict[str, list[Score]]:
    """Scores by protocol; an empty list where the data can't give one, or, with a line that says why, where
    a network can't be had."""
    left_out: set[str] = set()
    for name in protocols:
        protocol = PROTOCOLS[name]
        if protocol.generates == S2IGAN and bank.path.candidates > 1:
            left_out.add(name)
            say(f"{name} is left out: captions of an image share noise, several candidates have their own")
            continue
        try:
            extractor = bank.extractor(protocol.extractor)
        except InputError as error:
            left_out.add(name)
            say(f"{name} is left out: {error}")
            continue
        if extractor is None and protocol.extractor == ENCODERS:
            left_out.add(name)
            say(
                f"{name} is left out: the model was imported without an image encoder, or trained without one"
            )
        elif extractor is not None and protocol.generates:
            bank.request(protocol.extractor, protocol.generates)
    return {name: [] if name in left_out else PROTOCOLS[name](bank) for name in protocols}


def record(bank: FeatureBank, protocol: str, score: Score) -> dict[str, Any]:
    """A score as a line of metrics.jsonl: plain values."""
    line = {
        "step": bank.path.step,
        "metric": score.metric,
        "value": score.value,
        "interval95": list(score.interval95) if score.interval95 else None,
        "interval_form": FORM if score.interval95 else None,
        "of": score.of,
        "protocol": protocol,
        "counts": score.counts,
        "split": bank.settings.split,
        "fingerprint": bank.pack.fingerprint,
        "seed": bank.settings.seed,
        **_sampling(bank, protocol),
        "weights": "ema",
        "modality": bank.path.config.modality,
        "classifier": bank.classifier.identity if bank.classifier else None,
        **extractor_facts(bank, protocol),
    }
    if score.spread is not None:
        line["spread"] = score.spread
    if bank.captions.left_out:
        line["left_out"] = bank.captions.left_out  # {reason: captions} that the run can't read
    if bank.captions.read_in_part:
        line["read_in_part"] = bank.captions.read_in_part  # {reason: captions} of which it passes over words
    note = "; ".join(filter(None, (bank.captions.note, score.note)))
    return line | ({"note": note} if note else {})


def _sampling(bank: FeatureBank, protocol: str) -> dict[str, Any]:
    """What is noted of sampling; the model's own encoders see images at their own size."""
    facts = bank.captions.sampling_facts()
    if PROTOCOLS[protocol].extractor == ENCODERS:
        facts.pop("image_size", None)
    return facts


def extractor_facts(bank: FeatureBank, protocol: str) -> dict[str, str | None]:
    """Reference set, extractor, its hash and its resize: what stands beside each of a protocol's numbers."""
    known = PROTOCOLS[protocol]
    extractor = bank.extractor(known.extractor)
    return {
        "reference": known.reference,
        "extractor": extractor.network if extractor else None,
        "extractor_hash": extractor.identity if extractor else None,
        "resize": extractor.resize if extractor else None,
    }
