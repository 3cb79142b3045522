"""Written captions: words, and their numbers in a vocabulary."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from s2i.errors import InputError

PADDING, UNKNOWN = 0, 1
_SPECIAL = ["<padding>", "<unknown>"]
_MOST_TOLD = 20  # words
_APOSTROPHES = "'\u2019"


def tokenise(text: str) -> list[str]:
    """Lower-case words of a text in any script.

    Letters, their marks and digits make words; an apostrophe inside a word stays, a hyphen divides.
    Han and kana, which are written without spaces, are a word a character.

    >>> tokenise("A black-and-white bird, 2 of the robin's wings")
    ['a', 'black', 'and', 'white', 'bird', '2', 'of', 'the', "robin's", 'wings']
    """
    spaced = "".join(map(_spaced, unicodedata.normalize("NFC", text).lower()))
    return [word for word in (token.strip("'") for token in spaced.split()) if word]


def has_word(text: str) -> bool:
    """Whether a text says anything: an emoji alone, or dots, don't."""
    return bool(tokenise(text))


def _spaced(character: str) -> str:
    if "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff":
        return f" {character} "
    if character in _APOSTROPHES:
        return "'"
    kind = unicodedata.category(character)
    if kind == "Cf":  # soft hyphens and joiners are inside words
        return ""
    return character if kind[0] in "LMN" else " "


@dataclass(frozen=True)
class Unread:
    """What a text encoder passes over in a sentence: `unknown` words, each once, and those `beyond` the
    `longest` number that it reads."""

    unknown: tuple[str, ...]
    beyond: tuple[str, ...]
    longest: int
    units: str = "words"

    def __str__(self) -> str:
        """In words, for a person; "" where it passes over nothing."""
        reasons = []
        if self.unknown:
            reasons.append(f"the model never learnt {_some(', ', self.unknown)}")
        if self.beyond:
            reasons.append(f"it reads {self.longest} {self.units}, so not: {_some(' ', self.beyond)}")
        return "; ".join(reasons)


def _some(between: str, words: tuple[str, ...]) -> str:
    more = len(words) - _MOST_TOLD
    return between.join(words[:_MOST_TOLD]) + (f" ... ({more} more)" if more > 0 else "")


class Vocabulary:
    """The words of the training captions, numbered from 2 on; 0 is padding, 1 any other word.

    Published vocabularies (AttnGAN's) have no number for other words: theirs count from 1 on, and other words
    are left out of a caption.
    """

    units = "words"

    def __init__(self, words: Iterable[str], unknown: bool = True) -> None:
        """`words` without the special entries, each once; `unknown`: other words have a number."""
        self._words = list(words)
        self._special = _SPECIAL if unknown else _SPECIAL[:UNKNOWN]
        self._numbers = {word: number for number, word in enumerate(self._words, len(self._special))}

    @classmethod
    def build(cls, texts: Iterable[str]) -> Vocabulary:
        """From the captions of the training split, and of no other. Raises InputError without any word."""
        words = sorted({word for text in texts for word in tokenise(text)})
        if not words:
            raise InputError(
                "expected written captions in the training split, found none:"
                " train with modality=speech or add text to the manifest"
            )
        return cls(words)

    @classmethod
    def from_list(cls, entries: list[str]) -> Vocabulary:
        """From what `to_list` gave. Raises InputError for anything else."""
        if entries == Alphabet().to_list():
            return Alphabet()
        unknown = entries[: len(_SPECIAL)] == _SPECIAL
        words = entries[len(_SPECIAL) if unknown else UNKNOWN :]
        if entries[:UNKNOWN] != _SPECIAL[:UNKNOWN] or len(set(words)) != len(words):
            raise InputError(
                f"expected a vocabulary that starts with {_SPECIAL[PADDING]} and names each word once,"
                f" found {' '.join(map(str, entries[:3]))} ...: export or import the model again"
            )
        return cls(words, unknown)

    def to_list(self) -> list[str]:
        """Every entry at the place of its number, the special ones first."""
        return self._special + self._words

    def __len__(self) -> int:
        """Entries, the special ones included: the rows of an embedding."""
        return len(self._special) + len(self._words)

    def __contains__(self, word: str) -> bool:
        return word in self._numbers

    def encode(self, text: str, words: int) -> list[int]:
        """Numbers of the first `words` words. Raises InputError for an empty text or one of unknown words."""
        if not has_word(text):
            raise InputError(f"expected a sentence, found {text[:60]!r} without a word: say what to generate")
        kept = self.read(text)[:words]
        if not any(word in self for word in kept):
            raise InputError(
                f"expected {self.units} of the training captions, such as {self._example()}, found none of"
                f" them in {text[:60]!r}: use other {self.units}"
            )
        return [self._numbers.get(word, UNKNOWN) for word in kept]

    def unread(self, text: str, words: int) -> Unread:
        """What an encoder of at most `words` words passes over in a text."""
        unknown = (word for word in tokenise(text) if not any(token in self for token in self.read(word)))
        beyond = tuple(self.read(text)[words:])
        return Unread(tuple(dict.fromkeys(unknown)), beyond, words, self.units)

    def count_unread(self, texts: Iterable[str], words: int) -> dict[str, int]:
        """How many texts an encoder of at most `words` words reads in part alone: {why: texts}."""
        counts: Counter[str] = Counter()
        for text in texts:
            unread = self.unread(text, words)
            counts["with words that the model never learnt"] += bool(unread.unknown)
            counts[f"of more than {words} {self.units}"] += bool(unread.beyond)
        return {why: count for why, count in counts.items() if count}

    def read(self, text: str) -> list[str]:
        """The words of a text that have a number, in its order."""
        words = tokenise(text)
        if UNKNOWN < len(self._special):
            return words
        # Published tokenisers divide at an apostrophe: bird's is bird and s.
        tokens = (token for word in words for token in ([word] if word in self else word.split("'")))
        return [token for token in tokens if token in self]

    def _example(self) -> str:
        longest = sorted(self._words, key=len)[-3:]
        return ", ".join(longest)


class Alphabet(Vocabulary):
    """The characters that Reed et al. read captions in, numbered from 1 on; any other one is left out.

    The same 69 whatever the training captions are; their list of 70 has the hyphen twice.
    """

    units = "characters"

    def __init__(self) -> None:
        super().__init__(
            "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} ", unknown=False
        )

    def read(self, text: str) -> list[str]:
        """The characters of a text that have a number, in its order; small letters, one space for many."""
        plain = " ".join(unicodedata.normalize("NFC", text).lower().replace("\u2019", "'").split())
        return [character for character in plain if character in self]


def vocabulary_of(units: str, texts: Iterable[str]) -> Vocabulary:
    """What a text encoder reads captions by: the words of the training split's, or all characters.

    Raises InputError where no caption has a word.
    """
    words = Vocabulary.build(texts)
    return words if units == "words" else Alphabet()
