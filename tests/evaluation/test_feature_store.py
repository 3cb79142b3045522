"""Features on disk: filled in any order, found again when they fit, and never when they don't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s2i.errors import InputError
from s2i.evaluation.feature_store import FeatureStore
from s2i.files.unfinished import PART

OUTPUTS = {"features": 3, "logits": 2}


def store_in(folder: Path, seed: int = 0, rows: int = 5, **options) -> FeatureStore:
    return FeatureStore(folder, "generated-test-classifier", {"seed": seed}, rows, OUTPUTS, **options)


def values(rows: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(rows, np.float32)[:, None] + np.arange(width) for name, width in OUTPUTS.items()}


def test_rows_come_back_in_place_whatever_the_order(tmp_path):
    store = store_in(tmp_path)
    for rows in ([4, 1], [0], [2, 3]):
        store.write(np.array(rows), values(rows))
    store.flush()
    assert len(store.missing) == 0
    for name, stored in store.read().items():
        assert np.array_equal(stored, values([0, 1, 2, 3, 4])[name])


def test_another_process_finds_what_was_flushed_and_does_the_rest(tmp_path):
    store = store_in(tmp_path)
    store.write(np.array([1, 3]), values([1, 3]))
    assert len(store_in(tmp_path).missing) == 5  # written, not flushed: not counted
    store.flush()
    other = store_in(tmp_path)
    assert other.missing.tolist() == [0, 2, 4]
    other.write(np.array([0, 2, 4]), values([0, 2, 4]))
    other.flush()
    assert len(store.missing) == 0  # both have the same file open
    assert np.array_equal(store.read()["features"], values([0, 1, 2, 3, 4])["features"])


def test_what_is_read_is_mapped_and_writing_into_it_changes_no_file(tmp_path):
    store = store_in(tmp_path)
    store.write(np.arange(5), values([0, 1, 2, 3, 4]))
    store.flush()
    features = store.read()["features"]
    assert isinstance(features, np.memmap)
    features[:] = -1
    assert store.read()["features"].min() == 0


def test_features_of_something_else_are_never_found(tmp_path):
    store_in(tmp_path).write(np.arange(5), values([0, 1, 2, 3, 4]))
    first, other = store_in(tmp_path), store_in(tmp_path, seed=1)
    assert first.folder != other.folder and len(other.missing) == 5


def test_pruning_removes_old_features_of_the_same_name(tmp_path):
    old, beside = store_in(tmp_path), FeatureStore(tmp_path, "generated-test", {}, 5, OUTPUTS)
    old.write(np.arange(5), values([0, 1, 2, 3, 4]))
    store = store_in(tmp_path, seed=1, prune=True)
    assert store.folder.is_dir() and beside.folder.is_dir()
    old.flush()  # it is in use, and stays whole
    assert old.read()["features"][4, 0] == store_in(tmp_path).read()["features"][4, 0]
    folder = old.folder
    del old
    store_in(tmp_path, seed=1, prune=True)
    assert not folder.exists() and store.folder.is_dir() and beside.folder.is_dir()


def test_features_that_are_not_all_there_are_not_read(tmp_path):
    store = store_in(tmp_path)
    store.write(np.arange(4), values([0, 1, 2, 3]))
    store.flush()
    with pytest.raises(InputError, match="expected 5 rows of features .*found 1 missing"):
        store.read()


def test_a_store_that_was_cut_short_is_made_again(tmp_path):
    store = store_in(tmp_path)
    store.write(np.arange(5), values([0, 1, 2, 3, 4]))
    store.flush()
    path = store.folder / "features.npy"
    path.write_bytes(path.read_bytes()[:-8])
    assert len(store_in(tmp_path).missing) == 5
    (store_in(tmp_path).folder / "logits.npy").unlink()
    assert len(store_in(tmp_path).missing) == 5
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match="or features of evaluations, at .*file, found a file.*set evaluation.cache"
    ):
        store_in(tmp_path / "file")


def test_a_folder_of_something_else_is_refused_and_none_is_pruned(tmp_path):
    photographs = tmp_path / "generated-test-classifier-abcdefabcdefabcd"  # a name that a store might have
    photographs.mkdir()
    (photographs / "mine.jpg").write_text("mine")
    with pytest.raises(
        InputError, match="found generated-test-classifier-.*/mine.jpg there.*set evaluation.cache"
    ):
        store_in(tmp_path, prune=True)
    assert (photographs / "mine.jpg").read_text() == "mine"


def test_a_file_of_ones_own_in_a_store_stays(tmp_path):
    store = store_in(tmp_path)
    folder = store.folder
    del store
    (folder / "mine.txt").write_text("mine")
    store_in(tmp_path, seed=1, prune=True)
    assert {path.name for path in folder.iterdir()} == {"made-from.json", "mine.txt"}


def test_what_a_killed_process_left_of_a_store_goes(tmp_path):
    folder = store_in(tmp_path).folder
    for path in folder.iterdir():
        path.unlink()
    folder.rename(tmp_path / f".{folder.name}.abcdefgh{PART}")
    assert len(store_in(tmp_path).missing) == 5
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_folder_of_an_exported_models_stores_may_lie_among_others(tmp_path):
    store_in(tmp_path / "model").flush()
    assert len(store_in(tmp_path).missing) == 5
    (tmp_path / "model" / "notes.txt").touch()
    with pytest.raises(InputError, match="found model/notes.txt there"):
        store_in(tmp_path)


def test_a_store_has_its_room_on_the_disk_from_the_start(tmp_path):
    store = FeatureStore(tmp_path, "generated", {"of": 1}, 5000, {"features": 64})
    for path in store.folder.glob("*.npy"):  # a disk that fills up under a map would end the process
        assert path.stat().st_blocks * 512 >= path.stat().st_size
