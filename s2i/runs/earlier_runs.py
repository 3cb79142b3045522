"""The trainings before a training: the runs and exported models that it starts from or reads, and those
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
from s2i.runs.exported import classes_of_model, is_exported
from s2i.runs.fingerprints import TRAINED_ON, Fingerprints, refuse_other_data

# {folder of an exported model: the classes that it has seen, None where it doesn't say}: what a training
# keeps of those that it stands on, which may move or be replaced.
Models = dict[str, list[str] | None]


@dataclass(frozen=True)
class EarlierRun:
    """A run before a training, or an exported model.

    Attributes:
        config: the run's; None: a model, which says itself what it has seen.
        data: fingerprints of the packs that the run was trained on; None where they are unknown.
        classes: that the model, and all before it, saw in training; None where it doesn't say.
    """

    folder: Path
    config: Config | None = None
    data: Fingerprints | None = None
    classes: Sequence[str] | None = None

    def seen_classes(self) -> Iterator[tuple[str, Sequence[str]]]:
        """The names of the classes that it has seen in training, with the place that they are known from.

        Raises InputError where they are unknown: a run's packs are gone or others by now, or a model doesn't
        say.
        """
        if self.config is None:
            if self.classes is None:
                raise InputError(
                    f"expected the classes that {self.folder} has seen in training, found none in its"
                    " config.json: export it again from its runs, or leave the test split out of data.pack"
                )
            yield f"{self.folder}/config.json", self.classes
            return
        packs = Path(self.config.data.pack)
        refuse_other_data(self.data, packs, f"{self.folder}", "pack again what it was trained on")
        for split in TRAINED_ON if self.data is None else filter(self.data.get, TRAINED_ON):
            try:
                yield f"{packs}/{split}", read_pack_facts(packs / split)["classes"]
            except InputError as error:
                raise InputError(
                    f"expected the data of {self.folder} in {packs}, for the classes that it has seen, found"
                    " none: pack it again"
                ) from error


def earlier_runs(config: Config, kind: str, at_hand: bool = False) -> Iterator[EarlierRun]:
    """Each run or exported model before the training that `config` describes, once.

    Args:
        kind: of the training, "encoder" or "gan".
        at_hand: leave out those that aren't there. Runs of encoders are left out at any rate: they were
            trained on the generator's data.

    Raises InputError for what a training starts from and that isn't there.
    """
    return _walk(_before(config, kind, {}), at_hand)


def with_earlier_runs(folder: Path) -> Iterator[EarlierRun]:
    """A run and each before it, once. Raises InputError as `earlier_runs`."""
    return _walk([(folder, True, {})], at_hand=False)


def models_before(config: Config, kind: str) -> Models:
    """The exported models right before the training that `config` describes."""
    folders = [folder for folder, _, _ in _before(config, kind, {}) if is_exported(folder)]
    return {str(folder): classes_of_model(folder) for folder in folders}


_Earlier = tuple[Path, bool, Models]  # a folder, whether it is started from, the models that are known


def _walk(waiting: list[_Earlier], at_hand: bool) -> Iterator[EarlierRun]:
    known: set[Path] = set()
    while waiting:
        folder, is_start, models = waiting.pop(0)
        if folder.resolve() in known:
            continue
        if str(folder) in models or is_exported(folder):
            known.add(folder.resolve())
            classes = models[str(folder)] if str(folder) in models else classes_of_model(folder)
            yield EarlierRun(folder, classes=classes)
            continue
        checkpoints = folder / "checkpoints"
        path = checkpoints / (BEST if (checkpoints / BEST).is_file() else LAST)
        if not (path.is_file() or (is_start and not at_hand)):
            continue
        known.add(folder.resolve())
        state = read_checkpoint(path, mapped=True)
        earlier = config_from_dict(state["config"], str(path))
        yield EarlierRun(folder, earlier, state.get("data"))
        waiting += _before(earlier, state.get("kind", ""), state.get("models", {}))


def _before(config: Config, kind: str, models: Models) -> list[_Earlier]:
    """What is right before a training."""
    gan = config.gan
    read = (gan.encoder, gan.other_encoder, gan.matching_model, gan.first_stage) if kind == "gan" else ()
    named = [(config.start_from, True), *((folder, False) for folder in read)]
    return [(Path(folder), is_start, models) for folder, is_start in named if folder not in ("", MISSING)]
