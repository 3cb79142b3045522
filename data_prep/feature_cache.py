"""Pack -> features of a frozen image network, cached beside it.

    python -m data_prep.feature_cache --config FILE [--processes N] [key=value ...]

`s2i train-encoder` does the same where the cache is missing; made here, it is made once for two trainings
that run side by side. If `image_encoder.cached_crops` is 0 there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2i.config import Config
from s2i.config_files import load_config, require
from s2i.data.pack import Pack
from s2i.devices import resolve_device
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.paths import given_path
from s2i.models.build import build_image_encoder
from s2i.progress import say
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.training.cached_features import open_feature_cache
from s2i.training.distributed import set_threads


def make_feature_cache(config: Config, processes: int = 1) -> None:
    """Cache the features that a training of an encoder reads: of several crops of each training image, and of
    the centre crop of each validation image."""
    require(config, "data.pack")
    if not config.image_encoder.cached_crops:
        say("image_encoder.cached_crops is 0: nothing is cached")
        return
    set_threads(config.threads)
    encoder = build_image_encoder(config).to(resolve_device(config.device))
    require_backbone(connect(encoder, config.image_encoder))
    for split, crops in (("train", config.image_encoder.cached_crops), ("val", 1)):
        pack = Pack(Path(config.data.pack) / split, config)
        cache = open_feature_cache(encoder, pack, config, crops, processes)
        say(f"{cache.folder}: {len(pack.records)} images, crops of each: {cache.crops}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Cache the features of a pack; a cache that is complete takes seconds."""
    parser = Parser(description="Extract features of a pack's images with the frozen image network.")
    parser.add_argument(
        "--config", required=True, type=given_path, metavar="FILE", help="YAML, as for s2i train-encoder"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="of one thread each; a GPU wants one (default: 1)",
    )
    given = parser.parse_intermixed_args(arguments)
    if given.processes < 1:
        raise InputError(f"expected --processes of 1 or more, found {given.processes}: change it")
    make_feature_cache(load_config(given.config, given.overrides), given.processes)


if __name__ == "__main__":
    exit_on_input_error(main)
