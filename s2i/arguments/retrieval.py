"""Search."""

from __future__ import annotations

from s2i import commands
from s2i.arguments.verb import (
    Verbs,
    add_device,
    add_model,
    add_output_folder,
    add_root,
    add_verb,
    whole_number,
)
from s2i.files.paths import given_path


def add_retrieval(verbs: Verbs) -> None:
    """index, search."""
    indexing = add_verb(verbs, "index", commands.index, "index images and recordings for search")
    indexing.add_argument(
        "source", type=given_path, metavar="SOURCE", help="folder of images, or manifest (.jsonl)"
    )
    add_model(indexing)
    add_output_folder(indexing, "output folder of the index")
    add_root(indexing)
    indexing.add_argument(
        "--split", choices=("train", "val", "test"), default="", help="split of the manifest (default: all)"
    )
    add_device(indexing)

    finding = add_verb(
        verbs, "search", commands.search, "retrieve images or recordings with a sentence or an image"
    )
    add_model(finding, "the model of the index")
    query = finding.add_mutually_exclusive_group(required=True)
    query.add_argument("--speech", type=given_path, metavar="WAV", help="a spoken query")
    query.add_argument("--text", metavar="WORDS", help="a written query")
    query.add_argument("--image", type=given_path, metavar="FILE", help="an image query")
    finding.add_argument("--index", required=True, type=given_path, metavar="DIR", help="output of s2i index")
    finding.add_argument(
        "--top", type=whole_number(1), default=10, metavar="K", help="number of results (default: 10)"
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
    add_device(finding)
