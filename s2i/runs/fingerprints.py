"""The fingerprints of the packs that a run was trained on, compared with those of the packs that it is given.

A run keeps {split: fingerprint} of the splits that lay in its pack's folder when it trained; an exported
model has the same. Training reads train and val. A test split may come, and change, later: what matters of it
is that its classes are unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from s2i.data.manifest import SPLITS
from s2i.data.pack import Pack, read_pack_facts
from s2i.errors import InputError
from s2i.progress import say
from s2i.runs.checkpoint import LAST, read_checkpoint

TRAINED_ON = ("train", "val")
UNKNOWN = "no fingerprint of its training data: whether this is the same data is unknown"
OTHER = "other data than the model's own: it may have been trained on these classes"
Fingerprints = dict[str, str]  # split: the fingerprint of its pack


def read_fingerprints(packs: str | Path, splits: Iterable[str] = SPLITS) -> Fingerprints:
    """Those of the splits that are packed in a folder; a pack that can't be read counts as none."""
    fingerprints = {}
    for split in splits:
        try:
            fingerprints[split] = read_pack_facts(Path(packs) / split)["fingerprint"]
        except InputError:
            continue
    return fingerprints


def data_of_run(run: str | Path, packs: str | Path) -> Fingerprints:
    """Fingerprints of the packs that a training is to read, compared with those that its run has already.

    Raises InputError as `refuse_other_data`, before the data is read.
    """
    last = Path(run) / "checkpoints" / LAST
    if last.exists():
        known = read_checkpoint(last, mapped=True).get("data")
        refuse_other_data(known, packs, f"the run {run}", "pack that data again, or give another run=FOLDER")
    return read_fingerprints(packs)


def refuse_other_data(known: Fingerprints | None, packs: str | Path, owner: str, remedy: str) -> None:
    """Compare the training data of a run or model with the packs in a folder, as far as they are there.

    Args:
        known: fingerprints of its training data; None if it was trained before packs had any.
        owner: the run or model, for the message.
        remedy: for the message.

    Raises:
        InputError: the train or the val split is another.
    """
    if known is None:
        say(f"{owner} for {packs}: {UNKNOWN}")
        return
    for split, fingerprint in read_fingerprints(packs, TRAINED_ON).items():
        if known.get(split, fingerprint) != fingerprint:
            raise InputError(
                f"expected the data that {owner} was trained on ({split} {known[split][:12]}),"
                f" found other data ({split} {fingerprint[:12]}) in {packs}: {remedy}"
            )


def check_measured_data(
    known: Fingerprints | None, pack: Pack, owner: str, acknowledged: bool | None = None
) -> str:
    """Check the data of an evaluation; returns the note that belongs beside the metrics, "" if there is none.

    The train and val splits beside the measured one must be those trained on; where neither is there, the
    measured one must have been there at the time.

    Args:
        known: as `refuse_other_data`.
        pack: of the evaluation.
        acknowledged: whether other data is intended (`evaluation.other_data`); None: it is never allowed.

    Raises:
        InputError: other data that is not acknowledged; or a class of a test split that a
            training split beside it has too.
    """
    packs = pack.folder.parent
    _refuse_seen_classes(pack)
    if known is None:
        say(f"{owner} for {packs}: {UNKNOWN}")
        return UNKNOWN
    present = read_fingerprints(packs)
    compared = [split for split in TRAINED_ON if split in present and split in known] or [pack.split]
    differing = [split for split in compared if known.get(split) != present[split]]
    if not differing:
        return ""
    if acknowledged:
        return OTHER
    split = differing[0]
    remedy = "pack again what it was trained on, or train anew"
    if acknowledged is not None:
        remedy = "give its own, or set evaluation.other_data=true, which is noted beside the metrics"
    raise InputError(
        f"expected the data that {owner} was trained on ({split} {known.get(split, 'unknown')[:12]}),"
        f" found other data ({split} {present[split][:12]}) in {packs}: {remedy}"
    )


def _refuse_seen_classes(pack: Pack) -> None:
    if pack.split != "test":
        return
    ours = {image.class_name for image in pack.records}
    for split in TRAINED_ON:
        try:
            theirs = read_pack_facts(pack.folder.with_name(split))["classes"]
        except InputError:  # it is not there
            continue
        if seen := sorted(ours.intersection(theirs)):
            raise InputError(
                f"expected classes of test to be unseen, found {len(seen)} of {len(ours)} in {split} too,"
                f" {seen[0]!r} the first, in {pack.folder.parent}: mend the manifest and pack all again"
            )
