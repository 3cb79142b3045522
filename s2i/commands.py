"""The commands of `s2i`: options in, results to stdout. Each imports its modules when it is called."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2i.errors import InputError

if TYPE_CHECKING:
    from s2i.config import Config


def _config(config: str, overrides: list[str]) -> Config:
    from s2i.config_files import load_config

    return load_config(config, overrides)


def train_encoder(**given: Any) -> None:
    """Train a caption encoder."""
    config = _config(**given)
    from s2i.training.encoder import train_encoder

    train_encoder(config)


def train_gan(**given: Any) -> None:
    """Train a generator."""
    config = _config(**given)
    from s2i.training.gan import train_gan

    train_gan(config)


def train_regression(**given: Any) -> None:
    """Train a decoder of image features and an encoder that regresses them."""
    config = _config(**given)
    from s2i.training.regression import train_regression

    train_regression(config)


def train_cross_modal(**given: Any) -> None:
    """Train a generator of speech, and of images if both are generated from each other."""
    config = _config(**given)
    from s2i.training.cross_modal import train_cross_modal

    train_cross_modal(config)


def train_classifier(**given: Any) -> None:
    """Train a classifier."""
    config = _config(**given)
    from s2i.training.classifier import train_classifier

    train_classifier(config)


def train_speech_classifier(**given: Any) -> None:
    """Train a classifier of speech."""
    config = _config(**given)
    from s2i.training.speech_classifier import train_speech_classifier

    train_speech_classifier(config)


def show_config(comments: bool, **given: Any) -> None:
    """Print the whole configuration as YAML, with `comments` what each key means."""
    from s2i.config_files import config_to_yaml

    yaml = config_to_yaml(_config(**given))
    if comments:
        from s2i.config_reference import with_comments

        yaml = with_comments(yaml)
    print(yaml, end="")


def plot(runs: list[Path], output: Path | None, follow: int) -> None:
    """Write the page of some runs; prints it."""
    from s2i.reports.plot import plot

    print(plot(runs, output, follow))


def generate(
    speech: Path | None,
    texts: Path | None,
    record: float | None,
    image: Path | None,
    interpolate: list[Path] | None,
    frames: int | None,
    root: Path | None,
    processes: int,
    **options: Any,
) -> None:
    """Generate from one sentence, from many, between two recordings, or from an image; prints each file
    written."""
    for given in filter(None, (speech, texts, image, *(interpolate or ()))):  # before anything is loaded
        # os.path takes what can't be a file's name, such as a sentence of 300 letters, for a missing file.
        if not os.path.exists(given) or (given.is_dir() and given != speech):
            kind = "a folder" if os.path.isdir(given) else "neither file nor folder"
            raise InputError(f"expected a recording or sentences at {given}, found {kind}: check the path")
    if interpolate:
        given = options | {"root": root, "processes": processes}
        _only(
            given,
            "interpolate",
            "count",
            "candidates",
            "bf16",
            "stages",
            "attention",
            "root",
            "caption",
            "processes",
        )
        from s2i.inference.interpolate import interpolate as generate_between

        chosen = {
            key: options[key]
            for key in ("model", "output", "seed", "truncation", "guidance", "scale", "device")
        }
        if frames is not None:
            chosen["frames"] = frames
        print(generate_between(first=interpolate[0], last=interpolate[1], **chosen))
        return
    if image or options["output"].suffix.lower() == ".wav":
        name = "image" if image else "output *.wav"
        given = options | {"root": root, "frames": frames, "record": record, "texts": texts}
        refused = (
            "count",
            "candidates",
            "bf16",
            "stages",
            "attention",
            "root",
            "frames",
            "record",
            "texts",
            "scale",
        )
        _only(given | {"processes": processes}, name, *refused, "caption", "processes")
        from s2i.inference.generate_speech import generate_speech

        chosen = {
            key: options[key]
            for key in ("model", "output", "text", "seed", "truncation", "guidance", "device")
        }
        print(generate_speech(image=image, speech=speech, **chosen))
        return
    if frames is not None:
        raise InputError("expected --frames beside --interpolate, found it alone: leave out --frames")
    source = texts or (speech if speech and (speech.is_dir() or speech.suffix == ".jsonl") else None)
    if source is not None:
        if isinstance(options["caption"], str):
            raise InputError(
                "expected --caption without words for many sentences, found some: leave them out"
            )
        del options["text"]
        from s2i.inference.generate_many import generate_many

        for path in generate_many(source=source, root=root, processes=processes, **options):
            print(path, flush=True)
        return
    if root is not None:
        raise InputError("expected --root beside a manifest, found it alone: leave out --root")
    if processes > 1:
        raise InputError("expected --processes beside many sentences, found one: leave out --processes")
    from s2i.inference.generate import check_outputs, generate

    if record is not None:
        from s2i.inference.hub import model_folder
        from s2i.inference.microphone import record as record_speech
        from s2i.inference.model import load
        from s2i.runs.stored import read_model

        check_outputs([options["output"], *filter(None, [options["attention"]])])  # before recording
        if options["candidates"] > 1:
            load(options["model"], "cpu").path("speech").choosing_among(options["candidates"])
        else:
            read_model(model_folder(options["model"]))
        speech = record_speech(record)
    for path in generate(speech=speech, **options):
        print(path)


def about(file: Path, as_json: bool) -> None:
    """Print what made an image, and the command that makes it again."""
    from s2i.inference.image_facts import command_of, read_image_facts

    facts = read_image_facts(file)
    if as_json:
        print_json(facts)
        return
    for name, value in {**facts, "again": command_of(facts, file.parent)}.items():
        print(f"{name.replace('_', ' ')}: {value}")


def _only(options: dict[str, Any], name: str, *others: str) -> None:
    """Refuse options that have no effect with --`name`."""
    for other in others:
        if options[other] is True or options[other] not in (None, False, 1):
            raise InputError(f"expected --{name} without --{other}, found both: leave out --{other}")


def index(model: Path, device: str, **options: Any) -> None:
    """Make an index; prints its folder."""
    from s2i.inference.model import load
    from s2i.search.build import build_index

    print(build_index(load(model, device), **options).folder)


def search(model: Path, index: Path, as_json: bool, html: Path | None, device: str, **query: Any) -> None:
    """Print the nearest neighbours of a query in an index."""
    from s2i.inference.model import load

    query_file = query["speech"] or query["image"]
    if html is not None:
        from s2i.files.output_folder import check_output_file

        if html.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"expected a page that ends in .html, found {html}: name it so")
        check_output_file(html, filter(None, [query_file]))
    hits = load(model, device).search(index, **query)
    if html is not None:
        from s2i.search.page import write_page

        write_page(html, str(query_file or query["text"]), hits, query_file)
    if as_json:
        print_json(
            [{key: str(v) if isinstance(v, Path) else v for key, v in vars(hit).items()} for hit in hits]
        )
        return
    for hit in hits:
        columns = (hit.recording or hit.image, hit.class_name, hit.caption)
        print("  ".join([f"{hit.score:.3f}", *(str(column) for column in columns if column)]))


def evaluate(
    run: Path, overrides: list[str], protocols: list[str], inception_weights: Path | None, as_json: bool
) -> None:
    """Print a run's metrics: a summary, then each below its protocol."""
    from s2i.evaluation import records
    from s2i.evaluation.protocols.registry import PROTOCOLS
    from s2i.evaluation.protocols.speech import SPEECH_PROTOCOLS
    from s2i.reports.rows import lines
    from s2i.reports.summary import summary

    if inception_weights is not None:
        overrides = [*overrides, f"evaluation.inception_weights={inception_weights}"]
    words = [word for word in protocols if "=" in word]  # argparse can't tell where the names end
    names, overrides = [word for word in protocols if word not in words], [*overrides, *words]
    settings = records.settings_of(run, overrides) if overrides else {}
    metrics = records.evaluate(run, names, **settings)
    procedures = {name: protocol.procedure for name, protocol in {**PROTOCOLS, **SPEECH_PROTOCOLS}.items()}
    if as_json:
        print_json([metric | {"procedure": procedures[metric["protocol"]]} for metric in metrics])
        return
    first = summary(metrics)
    for line in [*(["# Summary", *first, ""] if first else []), *lines(metrics, procedures)]:
        print(line)


def print_json(values: list[dict[str, Any]] | dict[str, Any]) -> None:
    """Print JSON, non-ASCII characters unescaped where stdout's encoding has them."""
    is_unicode = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    print(json.dumps(values, ensure_ascii=not is_unicode, indent=2))


def compare(output: Path, **runs: Any) -> None:
    """Write a comparison; prints its page."""
    from s2i.reports.compare import compare

    compare(output=output, **runs)
    print(output / "index.html")


def robustness(voices: list[Path], overrides: list[str], **given: Any) -> None:
    """Evaluate a run or a model in every condition; prints the table's file."""
    from s2i.reports.robustness import report_robustness

    words = [word for word in map(str, voices) if word.startswith(("evaluation.", "data.")) and "=" in word]
    manifests = [manifest for manifest in voices if str(manifest) not in words]  # as of evaluate's protocols
    print(report_robustness(voices=manifests, overrides=[*overrides, *words], **given))


def tabulate(runs: list[Path], output: Path, published: Path | None) -> None:
    """Write an ablation's table; prints its file."""
    from s2i.reports.tabulate import tabulate

    print(tabulate(runs, output, published))


def systems(runs: list[Path], output: Path, published: Path | None) -> None:
    """Write a table and a page of several systems; prints the table's file."""
    from s2i.reports.systems import compare_systems

    print(compare_systems(runs, output, published))


def report(run: Path, output: Path) -> None:
    """Write one run's report; prints its page."""
    from s2i.reports.single import report

    report(run, output)
    print(output / "index.html")


def export(runs: list[Path], folder: Path, bits: int, license: str) -> None:
    """Write a model folder; prints it."""
    from s2i.reports.export import export

    export(runs, folder, bits=bits, license=license)
    print(folder)


def export_onnx(model: Path, output: Path) -> None:
    """Write an ONNX file; prints it."""
    from s2i.inference.export_onnx import export_onnx

    export_onnx(model, output)
    print(output)


def import_published(system: str, files: list[Path], output: Path) -> None:
    """Read published weights; prints the model folder."""
    from s2i.published.importer import import_model

    import_model(system, files, output)
    print(output)


def app(**options: Any) -> None:
    """Serve the page."""
    from s2i.app.page import serve

    serve(**options)
