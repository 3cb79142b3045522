"""Numbers and pages of what was trained."""

from __future__ import annotations

import argparse

from s2i import commands
from s2i.arguments.verb import Verbs, add_output_folder, add_verb
from s2i.files.paths import given_path


def add_evaluation(verbs: Verbs) -> None:
    """evaluate, compare, robustness, tabulate, systems, report."""
    measuring = add_verb(
        verbs, "evaluate", commands.evaluate, "evaluate a run or a model with named protocols"
    )
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

    comparing = add_verb(
        verbs,
        "compare",
        commands.compare,
        "compare generation from speech and from text on the same captions",
    )
    for side in ("speech", "text"):
        comparing.add_argument(
            f"{side}_run",
            type=given_path,
            metavar=f"{side.upper()}_RUN",
            help=f"GAN run from {side}, or exported model",
        )
    comparing.add_argument(
        "overrides",
        nargs="*",
        metavar="evaluation.key=value",
        help="overrides of the speech run's settings; a model needs data.pack=DIR and data.root=DIR",
    )
    add_output_folder(comparing, "output folder: index.html, results.json")

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
        help="also evaluate the cascade of speech recognition and text: pocketsphinx, pocketsphinx-captions,"
        " a folder of faster-whisper, weights of torchaudio's WAV2VEC2_ASR_BASE_960H, or `download`",
    )

    robustness = add_verb(
        verbs,
        "robustness",
        commands.robustness,
        "evaluate generation from speech with noise, reverberation and other voices",
    )
    robustness.add_argument(
        "run", type=given_path, metavar="RUN", help="GAN run from speech, or exported model"
    )
    robustness.add_argument(
        "overrides",
        nargs="*",
        metavar="evaluation.key=value",
        help="overrides of the run's settings; a model needs data.pack=DIR and data.root=DIR",
    )
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
        help="captions of the data by other synthesiser families: data_prep.synthesize_speech --family NAME;"
        " and their captions after word swaps: data_prep.swapped_captions",
    )
    robustness.add_argument(
        "--text",
        type=given_path,
        metavar="RUN",
        help="GAN run from text or exported model, of the cascade of --recogniser",
    )
    robustness.set_defaults(recogniser="")
    robustness.add_argument(
        "--recogniser",
        type=given_path,
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="also evaluate the cascade: pocketsphinx, pocketsphinx-captions (with a language model of the"
        " training captions), a folder of faster-whisper, or as compare takes it",
    )
    robustness.add_argument(
        "--output",
        type=given_path,
        metavar="DIR",
        help="output folder (default for a run: RUN/robustness, which compare reads)",
    )

    tabulating = add_verb(
        verbs, "tabulate", commands.tabulate, "tabulate an ablation study: runs against a base run"
    )
    tabulating.add_argument(
        "runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, the base run first"
    )
    add_output_folder(tabulating, "output folder of the table")
    tabulating.add_argument(
        "--published", type=given_path, metavar="JSON", help="published results, by the names of runs"
    )

    systems = add_verb(
        verbs, "systems", commands.systems, "compare several systems on the same captions, in one table"
    )
    systems.add_argument(
        "runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, one a system and seed"
    )
    add_output_folder(systems, "output folder of table and page")
    systems.add_argument(
        "--published", type=given_path, metavar="JSON", help="names and published figures of the systems"
    )

    reporting = add_verb(verbs, "report", commands.report, "report the metrics and images of one run")
    reporting.add_argument("run", type=given_path, metavar="RUN", help="GAN run")
    add_output_folder(reporting, "output folder: index.html, results.json")
