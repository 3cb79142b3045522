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
    known, others = parser.parse_known_args(arguments)
    given = vars(known)
    # argparse accepts no positional words after an option has come between.
    if others and ("overrides" not in given or not all(_is_override(word) for word in others)):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if others:
        given["overrides"] += others
    command = given.pop("command")
    command(**given)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="s2i", description="Generate images from speech: train, generate, evaluate.")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Any, description: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=description, description=description, allow_abbrev=False)
        added.set_defaults(command=command)
        return added

    for name, command, description in (
        (
            "train-encoder",
            commands.train_encoder,
            "train a speech or text encoder by matching captions with images",
        ),
        ("train-gan", commands.train_gan, "train a generator on a trained caption encoder"),
        (
            "train-regression",
            commands.train_regression,
            "train a decoder of image features, and a caption encoder that regresses them",
        ),
        (
            "train-cross-modal",
            commands.train_cross_modal,
            "train a generator of speech from images, or of both from each other",
        ),
        ("train-classifier", commands.train_classifier, "train the classifier that scores generated images"),
        ("show-config", commands.show_config, "print a complete configuration as YAML"),
    ):
        training = add(name, command, description)
        training.add_argument(
            "--config",
            required=True,
            type=given_path,
            metavar="FILE",
            help="YAML: the keys that differ from the defaults",
        )
        training.add_argument(
            "overrides", nargs="*", metavar="key=value", help="further keys, such as seed=1"
        )

    output = add(
        "generate",
        commands.generate,
        "generate images from a spoken or written sentence, or speech from an image",
    )
    output.add_argument(
        "--model", required=True, type=given_path, metavar="DIR", help="exported model or GAN run"
    )
    sentence = output.add_mutually_exclusive_group(required=True)
    sentence.add_argument(
        "--speech",
        type=given_path,
        metavar="WAV",
        help="a recording; or a folder or manifest (.jsonl) of recordings, one image each",
    )
    sentence.add_argument("--text", metavar="WORDS", help="the sentence")
    sentence.add_argument("--texts", type=given_path, metavar="FILE", help="a file of sentences, one a line")
    sentence.add_argument(
        "--record",
        type=_seconds,
        metavar="SECONDS",
        help="record from the microphone until you fall silent, at most so long",
    )
    sentence.add_argument(
        "--image", type=given_path, metavar="FILE", help="an image, of which speech is generated (.wav)"
    )
    sentence.add_argument(
        "--interpolate",
        type=given_path,
        nargs=2,
        metavar=("A.wav", "B.wav"),
        help="interpolate between two recordings",
    )
    output.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="PNG",
        help="output file, .wav for speech; a folder for many sentences",
    )
    output.add_argument(
        "--count", type=_number(1, 10_000), default=1, metavar="N", help="number of images (default: 1)"
    )
    output.add_argument(
        "--seed", type=_number(0), default=0, metavar="S", help="seed of the noise (default: 0)"
    )
    output.add_argument(
        "--truncation",
        type=_factor,
        default=1.0,
        metavar="T",
        help="factor of the noise, 0 to 4: below 1 images are more usual, and more alike (default: 1)",
    )
    output.add_argument("--stages", action="store_true", help="show the images of all stages")
    output.add_argument(
        "--attention",
        type=given_path,
        metavar="PNG",
        help="output file, or folder, for the attention map of each segment or word",
    )
    output.add_argument(
        "--frames",
        type=_number(2, 10_000),
        metavar="N",
        help="number of images of --interpolate (default: 9)",
    )
    output.add_argument(
        "--root",
        type=given_path,
        metavar="DIR",
        help="root of the manifest's paths (default: its folder)",
    )
    output.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)"
    )

    indexing = add("index", commands.index, "index images and recordings for search")
    indexing.add_argument(
        "source", type=given_path, metavar="SOURCE", help="folder of images, or manifest (.jsonl)"
    )
    indexing.add_argument(
        "--model", required=True, type=given_path, metavar="DIR", help="exported model or GAN run"
    )
    indexing.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="output folder of the index"
    )
    indexing.add_argument(
        "--root",
        type=given_path,
        metavar="DIR",
        help="root of the manifest's paths (default: its folder)",
    )
    indexing.add_argument(
        "--split", choices=("train", "val", "test"), default="", help="split of the manifest (default: all)"
    )
    indexing.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)"
    )

    finding = add("search", commands.search, "retrieve images or recordings with a sentence or an image")
    finding.add_argument(
        "--model", required=True, type=given_path, metavar="DIR", help="the model of the index"
    )
    query = finding.add_mutually_exclusive_group(required=True)
    query.add_argument("--speech", type=given_path, metavar="WAV", help="a spoken query")
    query.add_argument("--text", metavar="WORDS", help="a written query")
    query.add_argument("--image", type=given_path, metavar="FILE", help="an image query")
    finding.add_argument("--index", required=True, type=given_path, metavar="DIR", help="output of s2i index")
    finding.add_argument(
        "--top", type=_number(1), default=10, metavar="K", help="number of results (default: 10)"
    )
    finding.add_argument(
        "--gallery",
        choices=("images", "recordings"),
        default="images",
        help="gallery to search (default: images)",
    )
    finding.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    finding.add_argument(
        "--html", type=given_path, metavar="PAGE", help="also write the results as an HTML page"
    )
    finding.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)"
    )

    measuring = add("evaluate", commands.evaluate, "evaluate a run or a model with named protocols")
    measuring.add_argument("run", type=given_path, metavar="RUN", help="run, or exported or imported model")
    measuring.add_argument(
        "overrides",
        nargs="*",
        metavar="evaluation.key=value",
        help="overrides of the run's settings; a model needs data.pack=DIR",
    )
    measuring.add_argument(
        "--protocol",
        action="extend",
        nargs="+",
        default=[],
        dest="protocols",
        metavar="NAME",
        help="protocols (default: all that apply to the run)",
    )
    measuring.add_argument(
        "--inception-weights",
        type=given_path,
        metavar="PATH",
        help="weights of Inception: file, folder or `download` (default: the run's setting)",
    )
    measuring.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    comparing = add(
        "compare", commands.compare, "compare generation from speech and from text on the same captions"
    )
    comparing.add_argument("speech_run", type=given_path, metavar="SPEECH_RUN", help="GAN run from speech")
    comparing.add_argument("text_run", type=given_path, metavar="TEXT_RUN", help="GAN run from text")
    comparing.add_argument(
        "overrides", nargs="*", metavar="evaluation.key=value", help="overrides of the speech run's settings"
    )
    comparing.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="DIR",
        help="output folder: index.html, results.json",
    )

    for side in ("speech", "text"):
        comparing.add_argument(
            f"--also-{side}",
            action="append",
            default=[],
            type=given_path,
            metavar="RUN",
            help=f"another {side} run with another seed; repeatable",
        )

    comparing.set_defaults(recogniser="")  # not the argument's own default, which would be parsed as a path
    comparing.add_argument(
        "--recogniser",
        type=given_path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="also evaluate the cascade of speech recognition and text: pocketsphinx, a folder of"
        " faster-whisper, weights of torchaudio's WAV2VEC2_ASR_BASE_960H, or `download`",
    )

    robustness = add(
        "robustness", commands.robustness, "evaluate a speech run with noise, reverberation and other voices"
    )
    robustness.add_argument("run", type=given_path, metavar="RUN", help="GAN run from speech")
    robustness.add_argument("--noise", type=given_path, metavar="DIR", help="noise recordings")
    robustness.add_argument("--rooms", type=given_path, metavar="DIR", help="room impulse responses")
    robustness.add_argument(
        "--recordings",
        type=given_path,
        metavar="MANIFEST",
        help="captions of the data read by people",
    )
    robustness.add_argument(
        "--voices",
        type=given_path,
        nargs="+",
        default=[],
        metavar="MANIFEST",
        help="captions of the data by other synthesiser families: data_prep.synthesize_speech --family NAME",
    )
    robustness.add_argument(
        "--text", type=given_path, metavar="RUN", help="GAN run from text, of the cascade of --recogniser"
    )
    robustness.set_defaults(recogniser="")
    robustness.add_argument(
        "--recogniser",
        type=given_path,
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="also evaluate the cascade: pocketsphinx, a folder of faster-whisper, or as compare takes it",
    )
    robustness.add_argument(
        "--output",
        type=given_path,
        metavar="DIR",
        help="output folder (default: RUN/robustness, which compare reads)",
    )

    tabulating = add("tabulate", commands.tabulate, "tabulate an ablation study: runs against a base run")
    tabulating.add_argument(
        "runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, the base run first"
    )
    tabulating.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="output folder of the table"
    )
    tabulating.add_argument(
        "--published", type=given_path, metavar="JSON", help="published results, by the names of runs"
    )

    systems = add("systems", commands.systems, "compare several systems on the same captions, in one table")
    systems.add_argument(
        "runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, one a system and seed"
    )
    systems.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="output folder of table and page"
    )
    systems.add_argument(
        "--published", type=given_path, metavar="JSON", help="names and published figures of the systems"
    )

    reporting = add("report", commands.report, "report the metrics and images of one run")
    reporting.add_argument("run", type=given_path, metavar="RUN", help="GAN run")
    reporting.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="DIR",
        help="output folder: index.html, results.json",
    )

    exporting = add("export", commands.export, "export runs as one model folder")
    exporting.add_argument("runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, one a modality")
    exporting.add_argument("folder", type=given_path, metavar="DIR", help="output folder of the model")
    exporting.add_argument("--half", action="store_true", help="store weights as float16")

    importing = add("import", commands.import_published, "convert published weights into a model folder")
    importing.add_argument("system", choices=("attngan", "s2igan", "stackgan-v2"), help="their system")
    importing.add_argument(
        "files",
        nargs="+",
        type=given_path,
        metavar="FILE",
        help="weights (.pth) of generator and encoder in any order; for attngan also its vocabulary"
        " (captions.pickle, or .txt with one word a line)",
    )
    importing.add_argument(
        "--output", required=True, type=given_path, metavar="DIR", help="output folder of the model"
    )

    showing = add("app", commands.app, "serve a web page for speech or text input")
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
        help="index of s2i index, to show nearest real images",
    )
    showing.add_argument(
        "--port", type=_number(1), metavar="N", help="port (default: the first free one from 7860 on)"
    )
    showing.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen at; 0.0.0.0: all of this machine (default: 127.0.0.1)",
    )
    showing.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)"
    )
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


def _factor(word: str) -> float:
    try:
        factor = float(word)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 4:
        raise argparse.ArgumentTypeError(f"expected a factor, 0 to 4, found {word!r}")
    return factor


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0 and at most 60, found {word!r}")
    return seconds
