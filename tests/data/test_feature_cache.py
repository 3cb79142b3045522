"""The feature cache of a frozen network: made once, kept once, and gone on with after a kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2i.data import feature_cache as module
from s2i.data.feature_cache import FeatureCache, write_feature_cache
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.files.unfinished import PART, lasting_part
from tests.fixtures.data import tiny_config, write_tiny_data


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tiny_data(folder, train=11)
    build_pack(tiny_config(folder), ["train"])
    return Pack(folder / "pack" / "train")


def look(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and quarters of images, in place of a network's: (B, 3), (B, 3, 4)."""
    return images.mean((2, 3)), images.flatten(2)[:, :, :4]


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(pack: Pack) -> list[str]:
    return sorted(path.name for path in pack.folder.iterdir() if "feature-cache" in path.name)


@pytest.mark.parametrize("regions", [True, False])
def test_a_killed_build_goes_on_where_it_was_and_ends_in_the_same_bytes(pack, monkeypatch, regions):
    whole, killed = (pack.folder / f"feature-cache-{digit * 16}" for digit in ("ab" if regions else "01"))
    write_feature_cache(whole, pack, 3, look, regions)
    monkeypatch.setattr(module, "_ROWS_A_FLUSH", 8)
    for batches in (4, 2, 1):
        looked = []

        def dies(images, batches=batches, looked=looked):
            looked.append(len(images))
            if len(looked) == batches:
                raise KeyboardInterrupt
            return look(images)

        with pytest.raises(KeyboardInterrupt):
            write_feature_cache(killed, pack, 3, dies, regions)
        assert not killed.exists() and lasting_part(killed).is_dir()
    looked = []
    write_feature_cache(killed, pack, 3, lambda images: looked.append(len(images)) or look(images), regions)
    assert sum(looked) <= 33 - 8  # those of the first flush at least are not looked at again
    assert content(killed) == content(whole)
    assert set(content(whole)) == ({"pooled.npy", "regions.npy"} if regions else {"pooled.npy"})
    pooled, maps = FeatureCache(killed).read(np.array([10, 0]), np.array([2, 1]))
    assert pooled.shape == (2, 3) and (maps.shape == (2, 3, 4) if regions else maps is None)
    assert not [name for name in names(pack) if name.endswith(PART)]


def test_two_processes_write_the_same_bytes_as_one(pack, monkeypatch):
    one, two = (pack.folder / f"feature-cache-{digit * 16}" for digit in "89")
    write_feature_cache(one, pack, 3, look, True)
    monkeypatch.setattr(module, "_BATCHES_A_JOB", 2)
    write_feature_cache(two, pack, 3, look, True, processes=2)
    assert content(two) == content(one)


def test_bytes_after_the_last_known_row_are_not_trusted(pack, monkeypatch):
    whole, torn = (pack.folder / f"feature-cache-{digit * 16}" for digit in "cd")
    write_feature_cache(whole, pack, 2, look, True)
    monkeypatch.setattr(module, "_ROWS_A_FLUSH", 8)
    looked = []

    def dies(images):
        looked.append(1)
        if len(looked) == 4:
            raise KeyboardInterrupt
        return look(images)

    with pytest.raises(KeyboardInterrupt):
        write_feature_cache(torn, pack, 2, dies, True)
    for path in lasting_part(torn).glob("*.npy"):
        path.write_bytes(path.read_bytes() + b"torn by a power cut")
    write_feature_cache(torn, pack, 2, look, True)
    assert content(torn) == content(whole)


def test_leftovers_of_killed_builds_of_other_caches_are_swept(pack):
    left, kept = pack.folder / "feature-cache-eeeeeeeeeeeeeeee", pack.folder / ".feature-cache-mine"
    kept.mkdir()

    def dies(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_feature_cache(left, pack, 1, dies, True)
    assert lasting_part(left).is_dir()
    write_feature_cache(pack.folder / "feature-cache-ffffffffffffffff", pack, 1, look, True)
    assert not lasting_part(left).exists() and kept.is_dir()
