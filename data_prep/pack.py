"""Manifest -> packs.

python data_prep/pack.py --config FILE [key=value ...] [--splits train val test] [--processes N] [--shard i/n]
"""

from __future__ import annotations

from collections.abc import Sequence

from s2i.config_files import load_config
from s2i.data.manifest import SPLITS
from s2i.data.pack_builder import build_pack
from s2i.data.shards import WHOLE, Shard
from s2i.errors import Parser, exit_on_input_error
from s2i.files.paths import given_path
from s2i.processes import cores


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack the splits that are asked for; those that are packed already take seconds."""
    parser = Parser(description="Pack the splits of a manifest for training.")
    parser.add_argument(
        "--config", required=True, type=given_path, metavar="FILE", help="YAML; data.* and audio.* are read"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all")
    parser.add_argument("--processes", type=int, default=cores(), help="default: one a core")
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        default=WHOLE,
        metavar="i/n",
        help="pack this part alone, on one machine of several; the same command without it joins the parts",
    )
    given = parser.parse_intermixed_args(arguments)
    build_pack(load_config(given.config, given.overrides), given.splits, given.processes, given.shard)


if __name__ == "__main__":
    exit_on_input_error(main)
