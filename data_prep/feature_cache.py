"""Pack -> what a frozen image network sees in it.

    python -m data_prep.feature_cache --config FILE [key=value ...]

`s2i train-encoder` does the same where it finds it undone; done here, it is done once for two trainings that
run side by side. Where `image_encoder.cached_crops` is 0 there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2i.config import Config
from s2i.config_files import load_config, require
from s2i.data.pack import Pack
from s2i.errors import Parser, exit_on_input_error
from s2i.files.paths import given_path
from s2i.models.build import build_image_encoder
from s2i.progress import say
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.training.cached_features import open_feature_cache
from s2i.training.loop import resolve_device, set_threads


def make_feature_cache(config: Config) -> None:
    """The views that a training of an encoder reads: several of training images, one of validation's."""
    require(config, "data.pack")
    if not config.image_encoder.cached_crops:
        say("image_encoder.cached_crops is 0: no views are kept")
        return
    set_threads(config.threads)
    encoder = build_image_encoder(config).to(resolve_device(config.device))
    require_backbone(connect(encoder, config.image_encoder))
    for split, count in (("train", config.image_encoder.cached_crops), ("val", 1)):
        pack = Pack(Path(config.data.pack) / split, config)
        cached_crops = open_feature_cache(encoder, pack, config, count)
        say(f"{cached_crops.folder}: {len(pack.records)} images, views of each: {cached_crops.count}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the views of a pack; those that are there already take seconds."""
    parser = Parser(description="Look at a pack's images with the frozen image network.")
    parser.add_argument(
        "--config", required=True, type=given_path, metavar="FILE", help="YAML, as for s2i train-encoder"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    given = parser.parse_args(arguments)
    make_feature_cache(load_config(given.config, given.overrides))


if __name__ == "__main__":
    exit_on_input_error(main)
