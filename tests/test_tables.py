"""Tables as Markdown, HTML and text: one form of numbers, one name a metric."""

from __future__ import annotations

import pytest

from s2i.tables import Cell, Heading, filled, html, markdown, metric_label, number, prose, terminal

ROWS = [
    {"": "FID", "value": number(12.345, [11, 13.5], "fid")},
    {"": "a|b <c>", "n": Cell(remarks=("1,200 images",)), "value": ""},
]


@pytest.mark.parametrize(
    "metric, label",
    [
        ("recall@5", "Recall@5"),
        ("mAP", "mAP"),
        ("kid", "KID"),
        ("r_precision", "R-precision"),
        ("attribute_accuracy/wing_colour", "Attribute accuracy: wing colour"),
    ],
)
def test_metrics_are_named_as_the_field_writes_them(metric, label):
    assert metric_label(metric) == label


@pytest.mark.parametrize(
    "value, options, text",
    [
        (0.12345, {}, "0.123"),
        (0.12345, {"metric": "kid"}, "0.1235"),
        (0.5, {"metric": "kid/red", "interval95": [0, 1]}, "0.5000 [0.0000, 1.0000]"),
        (45.346, {"metric": "fid"}, "45.35"),
        (3.0, {"metric": "median_rank"}, "3"),
        (0.05, {"signed": True, "interval95": (-0.01, 0.11)}, "+0.050 [-0.010, +0.110]"),
        (None, {"interval95": [0, 1]}, ""),
    ],
)
def test_a_number_has_the_digits_of_its_metric_and_its_interval(value, options, text):
    assert str(number(value, **options)) == text


def test_code_in_prose_has_no_backticks():
    assert prose("the `a<b>` of c, `d`") == "the <code>a&lt;b&gt;</code> of c, <code>d</code>"
    assert "<p>see <code>x</code></p>" in html(["a"], [Heading("title", ("see `x`",))])


def test_only_columns_with_something_in_them_are_filled():
    assert filled([{"a": "", "b": Cell()}, {"c": "x", "a": "y"}]) == ["a", "c"]


def test_markdown_keeps_its_columns_whatever_a_cell_holds():
    assert markdown(["", "value", "n"], ROWS) == [
        "|  | value | n |",
        "|---|---|---|",
        "| FID | 12.35 [11.00, 13.50] |  |",
        r"| a\|b <c> |  | 1,200 images |",
    ]


def test_a_terminal_sees_columns_aligned():
    assert terminal(["", "value", "n"], ROWS) == [
        "         value                 n",
        "FID      12.35 [11.00, 13.50]",
        "a|b <c>                        1,200 images",
    ]


def test_html_escapes_text_and_a_missing_cell_keeps_its_place():
    markup = html(["", "value", "n"], [Heading("a & b", ("how <it> went",)), *ROWS], "compact")
    assert markup.startswith(
        '<table class="compact"><thead><tr><th></th><th>value</th><th>n</th></tr></thead>'
    )
    assert (
        '<th colspan="3"><details><summary>a &amp; b</summary><p>how &lt;it&gt; went</p></details>' in markup
    )
    rows = markup.split("<tr>")[-2:]
    assert rows[0].startswith(
        '<td data-column="">FID</td>'
        '<td data-column="value"><span>12.35<small>[11.00, 13.50]</small></span></td>'
        '<td data-column="n"></td></tr>'
    )
    assert rows[1].startswith(
        '<td data-column="">a|b &lt;c&gt;</td><td data-column="value"></td>'
        '<td data-column="n"><span><small>1,200 images</small></span></td></tr>'
    )
