"""The trainings before a training: the run or exported model that it starts from, its encoders', and those
before these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from s2i.config import MISSING, Config
from s2i.config_files import config_from_dict
from s2i.data.pack import read_pack_facts
from s2i.errors import InputError
from s2i.runs.checkpoint import BEST, LAST, read_checkpoint
from s2i.runs.exported import is_exported, read_exported_path
from s2i.runs.fingerprints import TRAINED_ON, Fingerprints, refuse_other_data


@dataclass(frozen=True)
class EarlierRun:
    """A run's folder and configuration, or an exported model's.

    Attributes:
        data: fingerprints of the packs that it was trained on; None where they are unknown.
        classes: that it, and all before it, saw in training, where it says so itself; None: its packs tell.
    """

    folder: Path
    config: Config
    data: Fingerprints | None
    classes: tuple[str, ...] | None = None

    def seen_classes(self) -> Iterator[tuple[str, Sequence[str]]]:
        """The names of the classes that it has seen in training, with the place that they are known from.

        Raises InputError where they are unknown: its packs are gone or others by now, or the model was
        exported before models said.
        """
        if self.classes is not None:
            yield f"{self.folder}/config.json", self.classes
            return
        if is_exported(self.folder):
            raise InputError(
                f"expected the classes that {self.folder} has seen in training, found none in its"
                " config.json: export it again, with this version of s2i"
            )
        packs = Path(self.config.data.pack)
        refuse_other_data(self.data, packs, f"{self.folder}", "pack again what it was trained on")
        for split in TRAINED_ON:
            try:
                yield f"{packs}/{split}", read_pack_facts(packs / split)["classes"]
            except InputError as error:
                raise InputError(
                    f"expected the data of {self.folder} in {packs}, for the classes that it has seen, found"
                    " none: pack it again"
                ) from error


def earlier_runs(config: Config, kind: str, at_hand: bool = False) -> Iterator[EarlierRun]:
    """Each run before the training that `config` describes, once.

    Args:
        kind: of the training, "encoder" or "gan".
        at_hand: leave out those that aren't there, as encoders of generators, which were trained on the
            generator's data, are at any rate.

    Of an exported model the runs before it are left out: it says itself what they saw.
    Raises InputError for a run that a training starts from and that isn't there.
    """
    waiting, known = _before(config, kind), set()
    while waiting:
        folder, is_start = waiting.pop(0)
        if is_exported(folder):
            if folder.resolve() not in known:
                known.add(folder.resolve())
                path = read_exported_path(folder, config.modality, "start_from or gan.encoder")
                yield EarlierRun(folder, path.config, path.data, path.classes)
            continue
        checkpoints = folder / "checkpoints"
        path = checkpoints / (BEST if (checkpoints / BEST).is_file() else LAST)
        if folder.resolve() in known or not (path.is_file() or (is_start and not at_hand)):
            continue
        known.add(folder.resolve())
        state = read_checkpoint(path, mapped=True)
        earlier = config_from_dict(state["config"], str(path))
        yield EarlierRun(folder, earlier, state.get("data"))
        waiting += _before(earlier, state.get("kind", ""))


def _before(config: Config, kind: str) -> list[tuple[Path, bool]]:
    """The runs right before one, and whether it starts from them."""
    encoders = (config.gan.encoder, config.gan.other_encoder) if kind == "gan" else ()
    named = [(config.start_from, True), *((folder, False) for folder in encoders)]
    return [(Path(folder), is_start) for folder, is_start in named if folder not in ("", MISSING)]
