"""What a reader asks of a comparison beyond its numbers: is it memory, is it one image, does it follow?

Every question is asked of the speech run and of the text run alike, over the same captions and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from s2i.analysis import memorisation, word_swaps
from s2i.data.images import grid, save_png
from s2i.evaluation.subject import Subject

NEIGHBOURS, SPREADS, EXAMPLES, STRIPS = 10, 4, 6, 3  # images, captions, swaps and pairs that the page shows


@dataclass(frozen=True)
class Example:
    """A swap that the page shows: its sentences and, by side, a file with the images before and after."""

    text: str
    swapped: str
    attribute: str
    files: dict[str, str]


@dataclass(frozen=True)
class Strip:
    """Images from one caption to another: the sentences and a file a side."""

    first: str
    second: str
    files: dict[str, str]


@dataclass
class Questions:
    """Answers: `numbers` {question: {side: numbers}} and `procedures` for results.json; for the page files,
    relative to the report."""

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    procedures: dict[str, str] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)  # side -> generated above nearest
    diversity: dict[str, str] = field(default_factory=dict)  # side -> a caption a row
    spread_texts: list[str] = field(default_factory=list)  # the captions of these rows
    examples: list[Example] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)


def ask(subjects: dict[str, Subject], folder: Path) -> Questions:
    """Ask all that the data allow; images go into `folder`/images."""
    asked = Questions()
    captions = next(iter(subjects.values())).generated_captions
    _ask_memory(asked, subjects, _spread(captions, NEIGHBOURS), folder)
    _ask_diversity(asked, subjects, folder)
    _ask_following(asked, subjects, folder)
    _interpolate(asked, subjects, captions, folder)
    return asked


def _ask_memory(asked: Questions, subjects: dict[str, Subject], shown: np.ndarray, folder: Path) -> None:
    for side, subject in subjects.items():
        found = memorisation.search_memory(subject, shown)
        if found is None:
            return
        asked.numbers.setdefault("duplicates", {})[side] = found.numbers
        rows = [n.generated for n in found.neighbours] + [n.nearest for n in found.neighbours]
        asked.memory[side] = _save(rows, len(shown), folder, f"memory-{side}")
    asked.procedures["duplicates"] = memorisation.PROCEDURES["duplicates"]


def _ask_diversity(asked: Questions, subjects: dict[str, Subject], folder: Path) -> None:
    for side, subject in subjects.items():
        found = memorisation.measure_diversity(subject)
        asked.numbers.setdefault("diversity", {})[side] = found.numbers
        chosen = _spread(np.array(list(found.rows)), SPREADS)
        images = np.concatenate([found.rows[index] for index in chosen.tolist()])
        asked.diversity[side] = _save(images, memorisation.OUTPUTS, folder, f"diversity-{side}")
        asked.spread_texts = [_text(subject, index) for index in chosen.tolist()]
    asked.procedures["diversity"] = memorisation.PROCEDURES["diversity"]


def _ask_following(asked: Questions, subjects: dict[str, Subject], folder: Path) -> None:
    swaps = word_swaps.find_swaps(next(iter(subjects.values())))
    if not swaps:
        return
    shown = _spread(np.arange(len(swaps)), EXAMPLES).tolist()
    files: dict[int, dict[str, str]] = {place: {} for place in shown}
    for side, subject in subjects.items():
        found = word_swaps.measure_following(subject, swaps, shown)
        asked.numbers.setdefault("following", {})[side] = found.numbers
        for place, pair in found.examples.items():
            files[place][side] = _save(pair, 2, folder, f"swap-{place:03d}-{side}")
    asked.examples = [
        Example(swaps[place].text, swaps[place].swapped, swaps[place].attribute, files[place])
        for place in shown
    ]
    asked.procedures["following"] = word_swaps.PROCEDURES["following"]


def _interpolate(asked: Questions, subjects: dict[str, Subject], captions: np.ndarray, folder: Path) -> None:
    ends = _spread(captions, 2 * STRIPS)
    for number, (first, second) in enumerate(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=False)):
        files = {
            side: _save(
                word_swaps.generate_interpolation(subject, first, second),
                word_swaps.STEPS,
                folder,
                f"interpolation-{number}-{side}",
            )
            for side, subject in subjects.items()
        }
        subject = next(iter(subjects.values()))
        asked.strips.append(Strip(_text(subject, first), _text(subject, second), files))
    if asked.strips:
        asked.procedures["interpolation"] = word_swaps.PROCEDURES["interpolation"]


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, from the first to the last."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).astype(int))]


def _text(subject: Subject, caption: int) -> str:
    return subject.pack.caption(caption).text or "(unwritten)"


def _save(images: Any, columns: int, folder: Path, name: str) -> str:
    path = f"images/{name}.png"
    save_png(grid(np.asarray(images), columns), folder / path)
    return path
