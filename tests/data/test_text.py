"""Words and vocabularies."""

from __future__ import annotations

import pytest

from s2i.data.text import PADDING, UNKNOWN, Vocabulary, tokenise
from s2i.errors import InputError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A small, RED bird.", ["a", "small", "red", "bird"]),
        ("black-and-white", ["black", "and", "white"]),
        ("the bird's 'long' wings'", ["the", "bird's", "long", "wings"]),
        ("the bird\u2019s bill", ["the", "bird's", "bill"]),
        ("2 wings, 3.5 cm", ["2", "wings", "3", "5", "cm"]),
        ("Ein GRÜNER Vogel", ["ein", "grüner", "vogel"]),
        ("gru\u0308n", ["grün"]),
        ("Красная птица", ["красная", "птица"]),
        ("लाल पक्षी", ["लाल", "पक्षी"]),
        ("红鸟", ["红", "鸟"]),
        ("under_score", ["under", "score"]),
        (" ... ' -", []),
    ],
)
def test_a_text_becomes_words(text, words):
    assert tokenise(text) == words


@pytest.fixture
def vocabulary():
    return Vocabulary.build(["a red bird", "A small bird's wing"])


def test_words_are_numbered_after_padding_and_unknown(vocabulary):
    entries = vocabulary.to_list()
    assert len(vocabulary) == len(entries) == 2 + 6
    assert entries[2:] == ["a", "bird", "bird's", "red", "small", "wing"]
    assert vocabulary.encode("Red green BIRD", 18) == [entries.index("red"), UNKNOWN, entries.index("bird")]
    assert PADDING not in vocabulary.encode("<padding> a bird", 18)
    assert "red" in vocabulary and "green" not in vocabulary


def test_a_vocabulary_does_not_depend_on_the_order_of_its_texts(vocabulary):
    assert Vocabulary.build(["A small bird's wing", "a red bird"]).to_list() == vocabulary.to_list()


def test_a_long_text_is_cut(vocabulary):
    assert len(vocabulary.encode("a red bird a red bird", 4)) == 4


def test_what_is_not_read_is_told(vocabulary):
    unread = vocabulary.unread("a purpel red elefant, purpel red bird's wing", 4)
    assert unread.unknown == ("purpel", "elefant")
    assert unread.beyond == ("purpel", "red", "bird's", "wing")
    message = "the model never learnt purpel, elefant; it reads 4 words, so not: purpel red bird's wing"
    assert str(unread) == message
    assert str(vocabulary.unread("a red bird", 3)) == ""
    assert "(3 more)" in str(vocabulary.unread("bird " * 27, 4))
    texts = ["a red bird", "a red elefant bird", "red " * 5, "elefant " * 5]
    assert vocabulary.count_unread(texts, 4) == {
        "with words that the model never learnt": 2,
        "of more than 4 words": 2,
    }
    assert vocabulary.count_unread(texts[:1], 4) == {}


def test_a_published_vocabulary_knows_a_word_by_its_parts():
    published = Vocabulary(["bird", "s", "red"], unknown=False)
    unread = published.unread("the red bird's bird", 3)
    assert unread.unknown == ("the",) and unread.beyond == ("bird",)


def test_a_vocabulary_returns_from_its_list(vocabulary):
    again = Vocabulary.from_list(vocabulary.to_list())
    assert again.encode("a small green bird", 18) == vocabulary.encode("a small green bird", 18)


@pytest.mark.parametrize("entries", [[], ["a", "red", "bird"], ["<padding>", "<unknown>", "a", "a"]])
def test_another_list_is_no_vocabulary(entries):
    with pytest.raises(InputError, match="vocabulary"):
        Vocabulary.from_list(entries)


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_an_empty_text_is_refused(vocabulary, text):
    with pytest.raises(InputError, match="expected a sentence"):
        vocabulary.encode(text, 18)


def test_a_text_without_a_known_word_is_refused_with_examples(vocabulary):
    with pytest.raises(InputError, match="bird's.*'quick brown fox'"):
        vocabulary.encode("quick brown fox", 18)


def test_a_vocabulary_without_words_is_refused():
    with pytest.raises(InputError, match="written captions"):
        Vocabulary.build(["", "..."])
