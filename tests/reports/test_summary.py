"""The handful of numbers at the end of a recipe and at the head of an evaluation."""

from __future__ import annotations

import json
import subprocess
import sys

from s2i.reports.summary import of_report, summary


def record(protocol, metric, value, of="run", modality="speech", interval=None):
    return {
        "protocol": protocol,
        "metric": metric,
        "value": value,
        "of": of,
        "modality": modality,
        "interval95": interval,
    }


RECORDS = [
    record("retrieval_by_caption", "recall@1", 0.5, interval=[0.4, 0.6]),
    record("retrieval_by_caption", "recall@1", 0.02, of="chance"),
    record("retrieval_by_caption", "recall@10", 0.9),
    record("attribute_accuracy", "attribute_accuracy", 0.75, interval=[0.7, 0.8]),
    record("attribute_accuracy", "attribute_accuracy", 0.99, of="real", interval=[0.98, 1.0]),
    record("classifier_distances", "kid", 0.5772),
]


def test_a_run_has_a_row_a_leading_metric_under_its_modality():
    lines = summary(RECORDS)
    assert lines[0].split() == ["speech", "real", "chance", "measured"]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "Attribute accuracy of generated images",
        "Recall@1 of retrieval by caption",
        "KID of generated images",
    ]
    assert "0.750 [0.700, 0.800]  0.990" in lines[1] and "[0.980" not in lines[1]
    assert "0.500 [0.400, 0.600]" in lines[2] and "0.020" in lines[2] and "0.5772" in lines[3]
    assert summary([record("by_class", "mAP", 0.5)]) == [] == summary([])


def test_at_most_five_rows():
    names = (
        ("attribute_accuracy", "attribute_accuracy"),
        ("class_retrieval_by_generated", "mAP"),
        ("r_precision", "r_precision"),
        ("retrieval_by_caption", "recall@1"),
        ("classifier_distances", "kid"),
        ("retrieval_by_caption", "mAP"),
        ("classifier_distances", "fid"),
    )
    assert len(summary([record(*name, 0.1) for name in names])) == 6


def test_a_comparison_shows_both_sides_and_their_difference(tmp_path):
    other = [record("attribute_accuracy", "attribute_accuracy", 0.8, modality="text")]
    results = {
        "records": {"speech": RECORDS, "text": other},
        "retrieval": {"speech": {"recall@1": 0.5}},
        "difference": {"attribute_accuracy": {"speech_minus_text": -0.05, "interval95": [-0.1, 0.0]}},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    page, head, first, *_ = of_report(tmp_path)
    assert page == f"report: {tmp_path / 'index.html'}"
    assert head.split() == ["speech", "text", "difference", "real", "chance", "measured"]
    assert "0.800" in first and "-0.050 [-0.100, +0.000]" in first
    done = subprocess.run(
        [sys.executable, "-m", "s2i.reports.summary", tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == of_report(tmp_path)


def test_a_report_of_one_run_has_a_summary_too(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"records": RECORDS}))
    assert of_report(tmp_path)[1:] == summary(RECORDS)
