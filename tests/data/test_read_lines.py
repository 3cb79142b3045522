"""Lines end where a text file has them end, and at nothing else that Unicode knows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.cub_tables import read_photographs
from s2i.errors import InputError
from s2i.files.atomic import read_lines
from s2i.inference import generate_many
from s2i.published.vocabulary import read_vocabulary
from tests.fixtures.cub import write_cub

SEPARATORS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab \ufeff" + SEPARATORS), min_size=1)),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_every_line_comes_back_letter_by_letter(tmp_path_factory, lines, end):
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    for mark, last in ((b"", ""), (b"\xef\xbb\xbf", end)):
        if not mark and lines and lines[0].startswith("\ufeff"):
            continue  # which is a mark
        path.write_bytes(mark + (end.join(lines) + (last if lines else "")).encode())
        assert read_lines(path) == lines


def test_numbers_of_sentences_are_those_of_their_lines(tmp_path):
    sentences = [f"a red{separator}bird" for separator in SEPARATORS] + ["a green bird"]
    (tmp_path / "a.txt").write_bytes("\r\n".join([*sentences, ""]).encode())
    parsed_sentences = generate_many._read(tmp_path / "a.txt", tmp_path, {"text"})
    assert [(sentence.name, sentence.text) for sentence in parsed_sentences] == [
        (str(number), text) for number, text in enumerate(sentences, 1)
    ]


def test_a_row_of_a_vocabulary_is_a_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeff<end>\na\nre\u2028d\nbird\n".encode())
    assert len(read_vocabulary(tmp_path / "a.txt", 4)) == 4


def test_a_separator_ends_no_row_of_a_table(tmp_path):
    write_cub(tmp_path)
    table = tmp_path / "CUB_200_2011" / "classes.txt"
    table.write_text(table.read_text(encoding="utf-8").replace("\n", "\u2028", 1), encoding="utf-8")
    with pytest.raises(InputError, match="classes.txt, line 1: expected an id and 1 more words"):
        read_photographs(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb".encode("utf-16"), "UTF-8, found other bytes at byte 0 in .*a.txt"),
        (None, "a text at .*a.txt, found"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_lines(tmp_path / "a.txt")
