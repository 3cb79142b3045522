"""A run knows its data: fingerprints of the packs that it was trained on, held against those that it meets.

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
UNKNOWN = "no fingerprint of what it was trained on: this data can't be held against it"
OTHER = "other data than it was trained on: classes may have been trained on"
Fingerprints = dict[str, str]  # split: the fingerprint of its pack


def read_fingerprints(packs: str | Path, splits: Iterable[str] = SPLITS) -> Fingerprints:
    """Those of the splits that are packed in a folder; a pack that can't be read counts as none."""
    found = {}
    for split in splits:
        try:
            found[split] = read_pack_facts(Path(packs) / split)["fingerprint"]
        except InputError:
            continue
    return found


def data_of_run(run: str | Path, packs: str | Path) -> Fingerprints:
    """Fingerprints of the packs that a training is to read, held against those that its run knows already.

    Raises InputError as `refuse_other_data`, before anything is made of the data.
    """
    last = Path(run) / "checkpoints" / LAST
    if last.exists():
        known = read_checkpoint(last, mapped=True).get("data")
        refuse_other_data(known, packs, f"the run {run}", "pack that data again, or give another run=FOLDER")
    return read_fingerprints(packs)


def refuse_other_data(known: Fingerprints | None, packs: str | Path, who: str, mend: str) -> None:
    """Hold what somebody was trained on against the packs in a folder, as far as they are there.

    Args:
        known: None for what was trained before packs had fingerprints; a line says that nothing is known.
        who: the run or model, for the message.
        mend: what to do instead.

    Raises:
        InputError: the train or the val split is another.
    """
    if known is None:
        say(f"{who} for {packs}: {UNKNOWN}")
        return
    for split, fingerprint in read_fingerprints(packs, TRAINED_ON).items():
        if known.get(split, fingerprint) != fingerprint:
            raise InputError(
                f"expected the data that {who} was trained on ({split} {known[split][:12]}),"
                f" found other data ({split} {fingerprint[:12]}) in {packs}: {mend}"
            )


def hold_against_measured(
    known: Fingerprints | None, pack: Pack, who: str, acknowledged: bool | None = None
) -> str:
    """What a note beside the numbers has to say of the data that somebody is measured on; "": all is known.

    The train and val splits beside the measured one must be those trained on; where neither is there, the
    measured one must have been there at the time.

    Args:
        known: as `refuse_other_data`.
        pack: that is measured on.
        acknowledged: whether other data are what is wanted (`evaluation.other_data`); None: they can't be.

    Raises:
        InputError: other data, and nobody has said that they are wanted; or a class of a test split that a
            training split beside it has too.
    """
    packs = pack.folder.parent
    _refuse_seen_classes(pack)
    if known is None:
        say(f"{who} for {packs}: {UNKNOWN}")
        return UNKNOWN
    found = read_fingerprints(packs)
    compared = [split for split in TRAINED_ON if split in found and split in known] or [pack.split]
    differing = [split for split in compared if known.get(split) != found[split]]
    if not differing:
        return ""
    if acknowledged:
        return OTHER
    split = differing[0]
    mend = "pack again what it was trained on, or train anew"
    if acknowledged is not None:
        mend = "give its own, or say evaluation.other_data=true, which its numbers will tell"
    raise InputError(
        f"expected the data that {who} was trained on ({split} {known.get(split, 'unknown')[:12]}),"
        f" found other data ({split} {found[split][:12]}) in {packs}: {mend}"
    )


def _refuse_seen_classes(pack: Pack) -> None:
    if pack.split != "test":
        return
    ours = {image.class_name for image in pack.records}
    for split in TRAINED_ON:
        try:
            theirs = read_pack_facts(pack.folder.with_name(split))["classes"]
        except InputError:  # it isn't at hand
            continue
        if seen := sorted(ours.intersection(theirs)):
            raise InputError(
                f"expected classes of test to be unseen, found {len(seen)} of {len(ours)} in {split} too,"
                f" {seen[0]!r} the first, in {pack.folder.parent}: mend the manifest and pack all again"
            )
