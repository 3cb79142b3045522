"""What was measured, as people read it: on the terminal and on a model's card."""

from __future__ import annotations

from s2i.reports.model_card import table
from s2i.reports.rows import cells, interval_forms, lines, rows

WHEN = {"split": "test", "seed": 0, "weights": "ema", "modality": "speech", "step": 7, "classifier": "77"}
WHO = {"extractor": "a classifier", "extractor_hash": "77", "resize": "none", "reference": "real images"}


def record(metric: str, value: float, of: str = "run", protocol: str = "generated", **more) -> dict:
    counts = {"generated_images": 1200, "classes": 3}
    score = {"metric": metric, "value": value, "interval95": None, "of": of, "protocol": protocol}
    return score | {"counts": counts} | WHEN | WHO | more


def test_a_metric_is_a_row_with_what_it_is_held_against():
    table_rows = rows(
        [
            record("mAP", 0.25, interval95=[0.17571, 0.349]),
            record("fid", 45.3456, spread=0.51234, note="read KID"),
            record("mAP", 0.3, "real"),
            record("mAP", 0.0912345, "chance"),
        ]
    )
    assert [{name: str(cell) for name, cell in cells(row).items()} for row in table_rows] == [
        {
            "value": "0.250 [0.176, 0.349]",
            "real": "0.300",
            "chance": "0.091",
            "majority": "",
            "spread": "",
            "n": "1,200 generated images, 3 classes",
            "note": "",
        },
        {
            "value": "45.35",
            "real": "",
            "chance": "",
            "majority": "",
            "spread": "0.51",
            "n": "1,200 generated images, 3 classes",
            "note": "read KID",
        },
    ]


def test_of_two_measurings_of_the_same_the_later_counts_and_another_split_has_its_own_row():
    table_rows = rows([record("mAP", 0.1), record("mAP", 0.2, split="val"), record("mAP", 0.3, step=9)])
    assert [(row["run"]["split"], row["run"]["value"]) for row in table_rows] == [("test", 0.3), ("val", 0.2)]


def test_a_value_without_a_run_is_shown_too():
    real_record = record(
        "mAP", 0.5, "real", left_out={"without a known word": 1200}, read_in_part={"long": 3}
    )
    printed_lines = lines([real_record], {"generated": "GENERATED"})
    assert printed_lines == [
        "# generated: GENERATED",
        "# from speech, test split, step 7, seed 0, ema weights; left out: 1,200 without a known word;"
        " read in part: 3 long",
        "# extractor: a classifier (77), resize: none; reference: real images",
        "     real   n",
        "mAP  0.500  1,200 generated images, 3 classes",
    ]


def test_the_card_names_a_protocol_once_and_shares_what_all_rows_share():
    card = table(
        [
            record("mAP", 0.25),
            record("mAP", 0.1, "chance"),
            record("kid", 0.5),
            record("kid/red", 0.5),
            record("mAP", 0.75, protocol="heard", seed=1),
        ]
    )
    assert card == [
        "",
        "Of all that follows: step 7, split test, weights ema, classifier 77.",
        "",
        "| protocol | metric | value | chance | n | seed | extractor |",
        "|---|---|---|---|---|---|---|",
        "| generated | mAP | 0.250 | 0.100 | 1,200 generated images, 3 classes | 0 | 77 |",
        "|  | KID | 0.5000 |  | 1,200 generated images, 3 classes | 0 | 77 |",
        "| heard | mAP | 0.750 |  | 1,200 generated images, 3 classes | 1 | 77 |",
    ]
    assert "Of all that follows: step 7, split test, seed 0, weights ema, classifier 77." in table(
        [record("kid", 0)]
    )
    assert table([]) == table([record("kid/red", 0.5)]) == []


def test_intervals_say_how_they_were_made_and_former_ones_that_they_were_percentiles():
    former = record("kid", 0.5, interval95=[0.4, 0.6])
    ours = record("mAP", 0.25, interval95=[0.2, 0.3], interval_form="t over classes")
    bare = record("fid", 3.0)
    assert interval_forms(rows([bare])) == "" and interval_forms(rows([bare, ours])) == "t over classes"
    both = "percentile bootstrap over classes and t over classes"
    assert interval_forms(rows([former, ours])) == both
    [facts] = [line for line in table([former, ours, bare]) if line.startswith("Of all")]
    assert facts.endswith(f"classifier 77, 95 % intervals by {both}.")
