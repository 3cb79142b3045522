"""Model folders, and the page that serves one."""

from __future__ import annotations

from pathlib import Path

from s2i import commands
from s2i.arguments.verb import (
    Verbs,
    add_device,
    add_model,
    add_output_folder,
    add_verb,
    licence,
    whole_number,
)
from s2i.files.paths import given_path


def add_models(verbs: Verbs) -> None:
    """export, export-onnx, import, app."""
    exporting = add_verb(verbs, "export", commands.export, "export runs as one model folder")
    exporting.add_argument("runs", nargs="+", type=given_path, metavar="RUN", help="GAN runs, one a modality")
    exporting.add_argument("folder", type=given_path, metavar="DIR", help="output folder of the model")
    exporting.add_argument(
        "--bits",
        type=int,
        choices=(32, 16, 8),
        default=32,
        help="bits of a stored weight; 8: of the generator's matrices, 16 of all else (default: 32)",
    )
    exporting.add_argument(
        "--license",
        type=licence,
        default="unknown",
        metavar="NAME",
        help="licence of the weights, for the card, by Hugging Face's name, such as mit (default: unknown)",
    )

    converting = add_verb(
        verbs, "export-onnx", commands.export_onnx, "write a model's path from speech as one ONNX file"
    )
    add_model(converting)
    converting.add_argument(
        "--output", required=True, type=given_path, metavar="ONNX", help="output file, .onnx"
    )

    importing = add_verb(
        verbs, "import", commands.import_published, "convert published weights into a model folder"
    )
    importing.add_argument("system", choices=("attngan", "s2igan", "stackgan-v2"), help="their system")
    importing.add_argument(
        "files",
        nargs="+",
        type=given_path,
        metavar="FILE",
        help="weights (.pth) of generator and encoder in any order; for attngan also its vocabulary"
        " (captions.pickle, or .txt with one word a line)",
    )
    add_output_folder(importing, "output folder of the model")

    showing = add_verb(verbs, "app", commands.app, "serve a web page for speech or text input")
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
        "--port",
        type=whole_number(1, 65535),
        metavar="N",
        help="port (default: the first free one from 7860 on)",
    )
    showing.add_argument(
        "--candidates",
        type=whole_number(1, 1024),
        metavar="N",
        help="generate each image N times and show the one that the model finds best"
        " (default: 8 of a model of small images, 4 where it looks through a larger network, else 1)",
    )
    showing.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen at; 0.0.0.0: all of this machine (default: 127.0.0.1)",
    )
    add_device(showing)
