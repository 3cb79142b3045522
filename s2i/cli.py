"""The `s2i` command: parsing and error text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from s2i import commands
from s2i.errors import Parser, exit_on_input_error
from s2i.files.paths import given_path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments`, by default the program's own."""
    exit_on_input_error(partial(_run, arguments))


def _run(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    known, rest = parser.parse_known_args(arguments)
    given = vars(known)
    # argparse takes no second run of words once an option has come between.
    if rest and ("overrides" not in given or not all(_is_override(word) for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        given["overrides"] += rest
    command = given.pop("command")
    command(**given)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="s2i", description="Images from speech: train, draw, measure.")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Any, description: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=description, description=description, allow_abbrev=False)
        added.set_defaults(command=command)
        return added

    for name, command, description in (
        ("train-encoder", commands.train_encoder, "train a speech or text encoder against images"),
        ("train-gan", commands.train_gan, "train a generator on a trained encoder"),
        ("train-classifier", commands.train_classifier, "train a network that only scores images"),
        ("show-config", commands.show_config, "print the complete configuration of a run as YAML"),
    ):
        training = add(name, command, description)
        training.add_argument(
            "--config", required=True, type=given_path, metavar="FILE", help="YAML; names only changes"
        )
        training.add_argument("overrides", nargs="*", metavar="key=value", help="further changes")

    output = add("generate", commands.generate, "generate images of a sentence, spoken or written")
    output.add_argument(
        "--model", required=True, type=given_path, metavar="DIR", help="exported model or GAN run"
    )
    sentence = output.add_mutually_exclusive_group(required=True)
    sentence.add_argument(
        "--speech",
        type=given_path,
        metavar="WAV",
        help="a recording; or a folder or manifest (.jsonl) of them, of which each gets an image",
    )
    sentence.add_argument("--text", metavar="WORDS", help="the sentence")
    sentence.add_argument("--texts", type=given_path, metavar="FILE", help="a file of sentences, one a line")
    sentence.add_argument("--record", type=_seconds, metavar="SECONDS", help="listen to the microphone")
    sentence.add_argument(
        "--interpolate",
        type=given_path,
        nargs=2,
        metavar=("A.wav", "B.wav"),
        help="the way between two recordings",
    )
    output.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="PNG",
        help="file to write; for many sentences a folder",
    )
    output.add_argument(
        "--count", type=_number(1, 10_000), default=1, metavar="N", help="images (default: 1)"
    )
    output.add_argument("--seed", type=_number(0), default=0, metavar="S", help="of the noise (default: 0)")
    output.add_argument("--stages", action="store_true", help="show the image of every stage")
    output.add_argument(
        "--attention",
        type=given_path,
        metavar="PNG",
        help="file, or folder, for where each segment or word looked",
    )
    output.add_argument(
        "--frames", type=_number(2, 10_000), metavar="N", help="of --interpolate (default: 9)"
    )
    output.add_argument(
        "--root",
        type=given_path,
        metavar="DIR",
        help="where a manifest's paths start (default: its own folder)",
    )
    output.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")

    indexing = add("index", commands.index, "prepare images, and recordings, for searching")
    indexing.add_argument(
        "source", type=given_path, metavar="SOURCE", help="folder of images, or manifest (.jsonl)"
    )
    indexing.add_argument(
        "--model", required=True, type=given_path, metavar="DIR", help="exported model or GAN run"
    )
    indexing.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="index folder to write"
    )
    indexing.add_argument(
        "--root",
        type=given_path,
        metavar="DIR",
        help="that a manifest's paths start from (default: its own folder)",
    )
    indexing.add_argument("--split", choices=("train", "val", "test"), default="", help="of a manifest alone")
    indexing.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")

    finding = add("search", commands.search, "find what lies nearest to a sentence or an image")
    finding.add_argument("--model", required=True, type=given_path, metavar="DIR", help="that made the index")
    wanted = finding.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--speech", type=given_path, metavar="WAV", help="a recording of a sentence")
    wanted.add_argument("--text", metavar="WORDS", help="a sentence")
    wanted.add_argument("--image", type=given_path, metavar="FILE", help="an image")
    finding.add_argument("--index", required=True, type=given_path, metavar="DIR", help="of s2i index")
    finding.add_argument("--top", type=_number(1), default=10, metavar="K", help="how many (default: 10)")
    finding.add_argument(
        "--gallery",
        choices=("images", "recordings"),
        default="images",
        help="what to search (default: images)",
    )
    finding.add_argument("--json", action="store_true", dest="as_json", help="print a list of JSON objects")
    finding.add_argument("--html", type=given_path, metavar="PAGE", help="write a page of thumbnails too")
    finding.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")

    measuring = add("evaluate", commands.evaluate, "measure a run, or a model, by named protocols")
    measuring.add_argument(
        "run", type=given_path, metavar="RUN", help="run folder; or exported or imported model"
    )
    measuring.add_argument(
        "overrides",
        nargs="*",
        metavar="evaluation.key=value",
        help="instead of the run's own settings; data.pack=DIR for a model, which knows no data",
    )
    measuring.add_argument(
        "--protocol",
        action="extend",
        nargs="+",
        default=[],
        dest="protocols",
        metavar="NAME",
        help="(default: all that the run can be measured by)",
    )
    measuring.add_argument(
        "--inception-weights",
        type=given_path,
        metavar="PATH",
        help="file or folder of Inception's weights, or the word download (default: the run's setting)",
    )
    measuring.add_argument("--json", action="store_true", dest="as_json", help="print a list of JSON objects")

    comparing = add(
        "compare", commands.compare, "report the same captions generated from speech and from text"
    )
    comparing.add_argument("speech_run", type=given_path, metavar="SPEECH_RUN", help="GAN run from speech")
    comparing.add_argument("text_run", type=given_path, metavar="TEXT_RUN", help="GAN run from text")
    comparing.add_argument(
        "overrides", nargs="*", metavar="evaluation.key=value", help="instead of the speech run's settings"
    )
    comparing.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="DIR",
        help="folder for index.html and results.json",
    )

    for side in ("speech", "text"):
        comparing.add_argument(
            f"--also-{side}",
            action="append",
            default=[],
            type=given_path,
            metavar="RUN",
            help=f"a further run from {side}, of another seed; may be given again",
        )

    comparing.set_defaults(recogniser="")  # not as the argument's: it would be taken for a path
    comparing.add_argument(
        "--recogniser",
        type=given_path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="weights of torchaudio's WAV2VEC2_ASR_BASE_960H, or `download`: recognition, then text, beside"
        " the two",
    )

    straining = add("robustness", commands.robustness, "measure a run in noise, in rooms, with other voices")
    straining.add_argument("run", type=given_path, metavar="RUN", help="GAN run from speech")
    straining.add_argument("--noise", type=given_path, metavar="DIR", help="recordings of noise")
    straining.add_argument("--rooms", type=given_path, metavar="DIR", help="impulse responses of rooms")
    straining.add_argument(
        "--recordings",
        type=given_path,
        metavar="MANIFEST",
        help="the data's, as people spoke its captions",
    )
    straining.add_argument(
        "--output", type=given_path, metavar="DIR", help="(default: RUN/robustness, where compare finds it)"
    )

    tabulating = add("tabulate", commands.tabulate, "hold runs against the first: an ablation's table")
    tabulating.add_argument(
        "runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, the base first"
    )
    tabulating.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="folder for the table"
    )
    tabulating.add_argument(
        "--published", type=given_path, metavar="JSON", help="published orderings, a run's name"
    )

    reporting = add("report", commands.report, "report one run: its numbers and its images")
    reporting.add_argument("run", type=given_path, metavar="RUN", help="GAN run")
    reporting.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="DIR",
        help="folder for index.html and results.json",
    )

    exporting = add("export", commands.export, "write the generation part of runs as one model folder")
    exporting.add_argument("runs", nargs="+", type=given_path, metavar="RUN", help="GAN run, one a modality")
    exporting.add_argument("folder", type=given_path, metavar="DIR", help="model folder to write")
    exporting.add_argument("--half", action="store_true", help="store the weights in half the size (float16)")

    importing = add("import", commands.import_published, "turn published weights into a model folder")
    importing.add_argument("system", choices=("attngan", "s2igan", "stackgan-v2"), help="who published them")
    importing.add_argument(
        "files",
        nargs="+",
        type=given_path,
        metavar="FILE",
        help="weights (.pth) of generator and encoder in any order; for attngan also its vocabulary"
        " (captions.pickle, or .txt with one word a line)",
    )
    importing.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="model folder to write"
    )

    showing = add("app", commands.app, "show a web page to speak to")
    showing.add_argument(
        "--model",
        type=given_path,
        default=Path("checkpoints/painted_birds"),
        metavar="DIR",
        help="exported model or GAN run (default: checkpoints/painted_birds)",
    )
    showing.add_argument(
        "--index",
        type=given_path,
        metavar="DIR",
        help="index whose nearest real images are shown (s2i index)",
    )
    showing.add_argument(
        "--port", type=_number(1), metavar="N", help="(default: the first free from 7860 on)"
    )
    showing.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="0.0.0.0 shows it to other machines too (default: 127.0.0.1)",
    )
    showing.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    return parser


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _number(least: int, most: int = 10**18) -> Any:
    def parse(word: str) -> int:
        if not word.isascii() or not word.isdigit() or len(word) > 18 or not least <= int(word) <= most:
            allowed = f"{least} or more" if most == 10**18 else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number, {allowed}, found {word[:40]!r}")
        return int(word)

    return parse


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0 and at most 60, found {word!r}")
    return seconds
