"""Several runs a side: means, intervals over classes and runs, permutation tests against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from s2i.analysis.seeds import by_class, difference, pool
from s2i.evaluation.score import Score
from s2i.metrics.statistics import exchange_test, label_test, paired_difference

CLASSES, EACH = 9, 5


def score(values: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None) -> Score:
    value = float(np.average(values, weights=weights))
    return Score(
        "accuracy", value, {"captions": len(values)}, values=values, clusters=clusters, weights=weights
    )


@pytest.fixture
def runs() -> dict[str, list[Score]]:
    """Three runs from speech, two from text: .1 apart, with luck of classes, captions and runs."""
    random = np.random.default_rng(3)
    clusters = np.repeat(np.arange(CLASSES), EACH)
    base = random.normal(0.5, 0.1, CLASSES)[clusters]
    weights = random.integers(1, 4, len(clusters)).astype(float)

    def run(mean: float) -> Score:
        return score(base + mean + random.normal(0, 0.05, len(base)), clusters, weights)

    return {"speech": [run(luck) for luck in (-0.02, 0.0, 0.03)], "text": [run(0.1), run(0.12)]}


def test_the_exchange_of_pairs_is_scipys():
    values = np.random.default_rng(0).normal(0.3, 1.0, 11)
    scipy_test = stats.permutation_test(
        (values, np.zeros(11)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert exchange_test(values, np.arange(11)) == pytest.approx(scipy_test.pvalue)
    assert exchange_test(np.abs(values), np.arange(11)) == pytest.approx(2 / 2**11)
    assert exchange_test(np.zeros(5), np.arange(5)) == 1.0


def test_captions_of_a_class_are_exchanged_together_and_by_weight():
    clusters, weights = np.array([4, 4, 7]), np.array([1.0, 3.0, 2.0])
    # Sums by class 1 + 3 = 4 and -2: of the four sign patterns two are as far from 0 as 2, all of them.
    assert exchange_test(np.array([1.0, 1.0, -1.0]), clusters, weights) == 1.0
    # Sums 4 and 2: only the two patterns of equal signs reach 6.
    assert exchange_test(np.array([1.0, 1.0, 1.0]), clusters, weights) == 0.5


def test_many_classes_are_sampled_near_the_exact_p():
    values = np.random.default_rng(1).normal(0.25, 1.0, 40)
    by_normal = 2 * stats.norm.sf(abs(values.sum()) / np.sqrt((values**2).sum()))
    assert exchange_test(values, np.arange(40)) == pytest.approx(by_normal, abs=0.03)
    assert exchange_test(np.ones(40), np.arange(40)) == pytest.approx(1e-4)  # 1 of 9,999 + 1


def test_the_exchange_of_runs_is_scipys():
    first, second = [0.5, 0.52, 0.49], [0.55, 0.56, 0.51, 0.6]
    scipy_test = stats.permutation_test(
        (first, second), lambda a, b: abs(np.mean(a) - np.mean(b)), alternative="greater"
    )
    assert label_test(first, second) == pytest.approx(scipy_test.pvalue)
    assert label_test([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)  # the least that three and three can give


def test_one_run_a_side_is_the_paired_difference(runs):
    speech, text = runs["speech"][0], runs["text"][0]
    comparison = difference([speech], [text], CLASSES)
    expected = paired_difference(speech.values, text.values, speech.clusters, speech.weights)
    assert comparison["speech_minus_text"] == pytest.approx(expected.value)
    assert comparison["interval95"] == pytest.approx(list(expected.interval95))
    assert comparison["n"] == expected.n == CLASSES * EACH
    assert comparison["permutation_p"] < 0.05 and "permutation_p_runs" not in comparison


def test_several_runs_widen_the_interval_by_their_own_luck(runs):
    means = {side: np.mean([run.values for run in scores], 0) for side, scores in runs.items()}
    first = runs["speech"][0]
    narrow = paired_difference(means["speech"], means["text"], first.clusters, first.weights)
    comparison = difference(runs["speech"], runs["text"], CLASSES)
    assert comparison["speech_minus_text"] == pytest.approx(narrow.value)
    low, high = comparison["interval95"]
    assert low < narrow.interval95[0] and narrow.interval95[1] < high < 0
    assert comparison["permutation_p_runs"] == label_test(
        [run.value for run in runs["speech"]], [run.value for run in runs["text"]]
    )


def test_pooled_scores_are_means_and_name_their_runs(runs):
    sides = [{"accuracy": [run, Score("accuracy", 0.1, {}, of="chance")]} for run in runs["speech"]]
    assert pool(sides[:1], CLASSES) is sides[0]
    pooled, chance = pool(sides, CLASSES)["accuracy"]
    assert pooled.value == pytest.approx(np.mean([run.value for run in runs["speech"]]))
    assert pooled.values == pytest.approx(np.mean([run.values for run in runs["speech"]], 0))
    assert pooled.interval95[0] < pooled.value < pooled.interval95[1]
    assert pooled.note.startswith("mean of 3 runs: ") and f"{runs['speech'][1].value:.3f}" in pooled.note
    assert (chance.value, chance.of, chance.note) == (0.1, "chance", "")


def test_a_distance_has_its_interval_through_its_statistic():
    def made(scale: float) -> Score:
        def statistic(multiplicities: np.ndarray) -> np.ndarray:
            return scale * (multiplicities @ np.arange(CLASSES)) / CLASSES

        return Score("kid", scale * 4.0, {"generated": 45}, interval95=(0.0, 1.0), statistic=statistic)

    comparison = difference([made(2.0), made(2.0)], [made(1.0)], CLASSES)
    assert comparison["speech_minus_text"] == pytest.approx(4.0) and comparison["n"] == 45
    low, high = comparison["interval95"]
    assert 0 < low < 4 < high and "permutation_p" not in comparison
    assert (
        difference([Score("fid", 3.0, {"generated": 4})], [Score("fid", 2.0, {"generated": 4})], CLASSES)
        is None
    )


def test_classes_stand_in_the_order_of_their_difference():
    clusters = np.array([0, 0, 1, 2])
    weights = np.array([1.0, 3.0, 1.0, 0.0])
    speech = score(np.array([1.0, 0.0, 0.5, 0.9]), clusters, weights)
    text = score(np.array([0.0, 0.0, 0.9, 0.9]), clusters, weights)
    rows = by_class(speech, text, ["wren", "owl", "gull"])
    assert [row["class"] for row in rows] == ["owl", "wren"]  # the gull has no weight
    assert rows[1] == {"class": "wren", "speech": 0.25, "text": 0.0, "captions": 2}
