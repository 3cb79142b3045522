"""Which classes of CUB-200-2011 are seen in training: whole classes, as text-to-image papers divide it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_prep.cub_tables import Photograph
from s2i.data.plain_pickle import read_plain_pickle
from s2i.errors import InputError

# The 50 classes that no published system has trained on, by CUB's id: the split of Akata et al. 2013 (CVPR,
# "Label-embedding for attribute-based classification") that Reed et al., StackGAN, AttnGAN and S2IGAN follow.
TEST_CLASSES = frozenset(
    (1, 4, 6, 8, 9, 14, 23, 29, 31, 33, 34, 35, 36, 37, 38, 43, 49, 51, 53, 66, 72, 79, 83, 84, 86)
    + (91, 95, 96, 98, 101, 102, 103, 112, 114, 119, 121, 130, 135, 138, 147, 156, 163, 165, 166)
    + (180, 183, 185, 186, 187, 197)
)


@dataclass(frozen=True)
class PublishedList:
    """One `filenames.pickle` of the published tree."""

    path: Path
    names: frozenset[str]  # of photographs: "CLASS/NAME"

    @property
    def folders(self) -> set[str]:
        """The classes."""
        return {name.partition("/")[0] for name in self.names}


@dataclass(frozen=True)
class Division:
    """The photographs that are used, and the split of each class."""

    photographs: list[Photograph]
    splits: dict[int, str]  # class id -> train, val or test
    unlisted: int  # photographs left out because their split's list doesn't name them
    origin: str  # how the test classes were chosen


def read_published_lists(root: str | Path) -> dict[str, PublishedList]:
    """The lists that are there, by "train" and "test".

    Raises InputError for a pickle of anything but names, for a `class_info.pickle` of another length, and for
    a class that both lists name.
    """
    lists = {}
    for split in ("train", "test"):
        path, numbers = Path(root) / split / "filenames.pickle", Path(root) / split / "class_info.pickle"
        if not path.exists():
            continue
        names = read_plain_pickle(path)
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise InputError(f"expected a list of names in {path}, found something else: fetch it again")
        if numbers.exists():
            classes = read_plain_pickle(numbers)
            if not isinstance(classes, (list, tuple)) or len(classes) != len(names):
                raise InputError(
                    f"expected a class for each of the {len(names)} names of {path}, found something else in"
                    f" {numbers}: fetch both again"
                )
        # Lists made on Windows have back-slashes.
        lists[split] = PublishedList(path, frozenset(name.replace("\\", "/") for name in names))
    if len(lists) == 2:
        both = lists["train"].folders & lists["test"].folders
        if both:
            raise InputError(
                f"expected test classes that training doesn't have, found {sorted(both)[0]} in"
                f" {lists['train'].path} and in {lists['test'].path}: fetch them again"
            )
    return lists


def divide(
    photographs: list[Photograph],
    lists: dict[str, PublishedList],
    seed: int,
    val_classes: int | None = None,
    test_classes: int | None = None,
) -> Division:
    """Give every class its split; validation classes are carved out of the training classes by chance.

    A class that a published list names goes where the list says, and of that split only the listed
    photographs are used; any other class goes by the published classes' ids. With `test_classes`, that many
    classes are held out by chance instead.

    Args:
        val_classes: how many; None: a tenth of the training classes, at least one.
        test_classes: how many; None: the published ones.

    Raises:
        InputError: no class is left to train on, or a class has photographs in both lists.
    """
    splits: dict[int, str] = {}
    unlisted = 0
    if test_classes is None:
        folder_splits = {folder: split for split, names in lists.items() for folder in names.folders}
        used = []
        for photograph in photographs:
            by_id = "test" if photograph.class_id in TEST_CLASSES else "train"
            split = folder_splits.get(photograph.name.partition("/")[0], by_id)
            if splits.setdefault(photograph.class_id, split) != split:
                raise InputError(
                    f"expected class {photograph.class_id} in train or in test, found {photograph.name} in"
                    f" {split} and others in {splits[photograph.class_id]}: mend image_class_labels.txt"
                )
            if split in lists and photograph.name not in lists[split].names:
                unlisted += 1
            else:
                used.append(photograph)
        photographs = used
        absent = [f"{split}/filenames.pickle" for split in ("train", "test") if split not in lists]
        origin = "the published lists in train/ and test/"
        if absent:
            origin = f"the 50 published test classes by id (there is no {' and no '.join(absent)})"
    else:
        order = _shuffled({photograph.class_id for photograph in photographs}, f"{seed}/test")
        splits = dict.fromkeys(order, "train") | dict.fromkeys(order[:test_classes], "test")
        origin = f"{test_classes} classes sampled with seed {seed}: not the published split"
    here = {photograph.class_id for photograph in photographs}
    train = [class_id for class_id in here if splits[class_id] == "train"]
    count = max(1, round(len(train) / 10)) if val_classes is None else val_classes
    if val_classes is None and len(train) == 1:
        count = 0
    if count >= len(train):
        raise InputError(
            f"expected more than {count} classes outside test, to train on some and validate on {count},"
            f" found {len(train)}: lower --val-classes or --test-classes, or use more captions"
        )
    splits.update(dict.fromkeys(_shuffled(train, f"{seed}/validation")[:count], "val"))
    return Division(photographs, {class_id: splits[class_id] for class_id in sorted(here)}, unlisted, origin)


def _shuffled(class_ids: Iterable[int], key: str) -> list[int]:
    """In an order in which any two classes stand alike, whichever others are there."""
    return sorted(class_ids, key=lambda class_id: hashlib.sha256(f"cub/{key}/{class_id}".encode()).digest())
