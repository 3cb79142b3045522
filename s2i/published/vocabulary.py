"""AttnGAN's vocabulary: captions.pickle, or its words in a text file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2i.data.plain_pickle import read_plain_pickle
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.files.atomic import read_lines


def read_vocabulary(path: str | Path, rows: int) -> Vocabulary:
    """The words behind the rows of an embedding; row 0 ends a caption, and pads it.

    Args:
        path: captions.pickle (training and test captions, number -> word, word -> number), or a .txt file
            with one word a line, in the order of the rows, row 0 with a line of its own or left out.
        rows: of the embedding.

    Raises:
        InputError: the file is no vocabulary, or one of another size.
    """
    path = Path(path)
    words = _read_lines(path, rows) if path.suffix.lower() == ".txt" else _read_pickle(path)
    if len(words) + 1 != rows or len(set(words)) != len(words):
        raise InputError(
            f"expected {rows - 1} different words for the text encoder's embedding of {rows} rows,"
            f" found {len(set(words))} in {path}: it is the vocabulary of another model"
        )
    return Vocabulary(words, unknown=False)


def _read_lines(path: Path, rows: int) -> list[str]:
    words = [line.strip() for line in read_lines(path)]
    return words[1:] if len(words) == rows else words


def _read_pickle(path: Path) -> list[str]:
    content = read_plain_pickle(path)
    numbered: Any = content[2] if isinstance(content, (list, tuple)) and len(content) == 4 else None
    if (
        not isinstance(numbered, dict)
        or set(numbered) != set(range(len(numbered)))
        or not all(isinstance(word, str) for word in numbered.values())
    ):
        raise InputError(
            f"expected captions and their words in {path}, found something else:"
            " give AttnGAN's captions.pickle, or a .txt file with one word a line"
        )
    return [numbered[number] for number in range(1, len(numbered))]
