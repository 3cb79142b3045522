"""Trainings and their configuration."""

from __future__ import annotations

from s2i import commands
from s2i.arguments.verb import Verbs, add_verb, whole_number
from s2i.files.paths import given_path

VERBS = (
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
    (
        "train-speech-classifier",
        commands.train_speech_classifier,
        "train the classifier that scores generated speech",
    ),
    ("show-config", commands.show_config, "print a complete configuration as YAML"),
)


def add_training(verbs: Verbs) -> None:
    """Of networks that generate, of those that score, show-config and plot."""
    for name, command, description in VERBS:
        verb = add_verb(verbs, name, command, description)
        verb.add_argument(
            "--config",
            required=True,
            type=given_path,
            metavar="FILE",
            help="YAML: the keys that differ from the defaults",
        )
        if name == "show-config":
            verb.add_argument(
                "--comments", action="store_true", help="say of each key what it means and may be"
            )
        verb.add_argument("overrides", nargs="*", metavar="key=value", help="further keys, such as seed=1")

    plotting = add_verb(verbs, "plot", commands.plot, "plot curves and grids of runs while they train")
    plotting.add_argument("runs", nargs="+", type=given_path, metavar="RUN", help="run of any training")
    plotting.add_argument(
        "--output", type=given_path, metavar="PAGE", help="HTML page (default: plot.html in the first RUN)"
    )
    plotting.add_argument(
        "--follow",
        type=whole_number(1, 86_400),
        default=0,
        metavar="SECONDS",
        help="write it again every so many seconds until it is interrupted; an open page loads itself",
    )
