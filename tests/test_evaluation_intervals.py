import numpy as np
import pytest
from scipy.sparse import csc_array
from scipy.stats import binomtest

from darkroom.candidate import softmax
from darkroom.evaluation.scores.detail import score_in_detail, score_intervals
from darkroom.evaluation.scores.intervals import (
    Bootstrap,
    accuracy_interval,
    effective_rows,
    jackknife_interval,
    unless_perfect,
)
from darkroom.evaluation.scores.macro import macro_intervals
from darkroom.evaluation.scores.ranking import rank_classes

TRIALS, ROWS, CLASSES = 1000, 250, 3


def population(rows, seed):
    """Draw images of a model that is sometimes wrong: (calibrated probabilities, labels)."""
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, rows, p=(0.5, 0.3, 0.2))
    logits = random.normal(0, 1, (rows, CLASSES)).astype(np.float32)
    logits[np.arange(rows), labels] += 1.5
    return softmax(logits), labels.astype(np.int64)


def test_intervals_hold_the_truth_in_93_to_97_of_100_draws():
    whole, answers = population(200_000, seed=1)
    bootstrap = Bootstrap(ROWS, seed=2, draws=400)
    rankings = rank_classes(whole, answers)
    truth = score_in_detail(whole, answers, rankings, Bootstrap(len(answers), 0, draws=1))
    draws, labels = population(TRIALS * ROWS, seed=3)
    held = dict.fromkeys([*truth.intervals, "accuracy"], 0)
    for start in range(0, len(labels), ROWS):
        part = slice(start, start + ROWS)
        intervals = score_intervals(draws[part], labels[part], rank_classes(draws[part], labels[part]), bootstrap)
        right = int((draws[part].argmax(axis=1) == labels[part]).sum())
        intervals["accuracy"] = accuracy_interval(right, ROWS)
        for name, (low, high) in intervals.items():
            held[name] += low <= getattr(truth, name) <= high
    assert len(held) == 7
    assert {name: count / TRIALS for name, count in held.items() if not 0.93 <= count / TRIALS <= 0.97} == {}


def test_a_resample_sums_what_it_drew():
    bootstrap = Bootstrap(7, seed=0, draws=130)
    assert [block.shape for block in bootstrap.blocks] == [(7, 100), (7, 30)]
    assert all((block.sum(axis=0) == 7).all() for block in bootstrap.blocks)
    columns = np.arange(14.0).reshape(7, 2)
    expected = np.concatenate([block.T.astype(float) @ columns for block in bootstrap.blocks])
    np.testing.assert_allclose(bootstrap.sums(csc_array(columns)), expected)
    again = Bootstrap(7, seed=0, draws=130)
    assert all((one == other).all() for one, other in zip(bootstrap.blocks, again.blocks, strict=True))
    assert any((one != other).any() for one, other in zip(bootstrap.blocks, Bootstrap(7, 1, 130).blocks, strict=True))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).random(400)
    without = (values.sum() - values) / 399
    low, high = jackknife_interval(float(values.mean()), without)
    error = values.std(ddof=1) / 20
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.01)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_perfect_score_is_no_certainty(value):
    interval = unless_perfect(jackknife_interval(value, np.full(50, value)), 50)
    assert interval == accuracy_interval(int(50 * value), 50)


@pytest.mark.parametrize(("counts", "rows"), [((50, 50), 100), ((980, 20), 78), ((1, 400), 4), ((0, 7), 7), ((1,), 1)])
def test_a_mean_over_classes_counts_as_many_rows_as_its_small_classes_bear(counts, rows):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert effective_rows(labels) == rows
    perfect = np.eye(max(2, len(counts)))[labels]
    scores = score_in_detail(perfect, labels, rank_classes(perfect, labels), Bootstrap(len(labels), 0, draws=5))
    assert ("macro_f1" in scores.intervals) == (np.median([count for count in counts if count]) >= 5)
    for name in {"macro_recall", "macro_f1", "roc_auc", "average_precision"} & set(scores.intervals):
        assert scores.intervals[name] == accuracy_interval(rows, rows)


def test_an_area_next_to_one_stays_below_it():
    without = np.full(1000, 1 - 1e-9)
    without[0] = 1 - 1e-3
    low, high = jackknife_interval(1 - 1e-9, without)
    assert 0 <= low < high <= 1


def test_areas_have_no_interval_where_a_class_has_a_single_image():
    probabilities, labels = population(30, seed=4)
    counts = np.bincount(labels)
    assert {"roc_auc", "average_precision"} <= set(
        score_intervals(probabilities, labels, rank_classes(probabilities, labels), Bootstrap(30, 0, draws=20))
    )
    kept = (labels != 2) | (np.cumsum(labels == 2) == 1)
    probabilities, labels = probabilities[kept], labels[kept]
    assert counts[2] > 1
    assert np.bincount(labels)[2] == 1
    rankings = rank_classes(probabilities, labels)
    names = set(score_intervals(probabilities, labels, rankings, Bootstrap(len(labels), 0, draws=20)))
    assert names == {"macro_recall", "macro_f1", "log_loss", "brier"}


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 40), (40, 40), (1, 40), (355, 356), (5000, 10_000)])
def test_the_interval_of_a_share_is_wilsons(right, total):
    low, high = accuracy_interval(right, total)
    truth = binomtest(right, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert (low, high) == (pytest.approx(truth.low, abs=1e-14), pytest.approx(truth.high, abs=1e-14))
    assert 0 <= low <= right / total <= high <= 1


@pytest.mark.parametrize(
    ("counts", "f1"), [((1,) * 60, False), ((3, 3, 3), False), ((5,) * 60, True), ((80, 12, 4), True), ((40, 8), True)]
)
def test_macro_intervals_hold_the_truth_for_classes_with_few_images(counts, f1):
    """Bootstrap intervals of the last two hold it in less than 80 of 100 draws."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    share = np.array(counts) / sum(counts)
    mistakes = (1 - np.eye(len(counts))) * share
    mistakes /= mistakes.sum(axis=1, keepdims=True)
    held = {"macro_recall": 0, "macro_f1": 0}
    for _ in range(300):
        rates = random.beta(5, 0.6, len(counts))  # the true recall of each class
        matrix = mistakes * (1 - rates[:, np.newaxis]) + np.diag(rates)
        truth = {"macro_recall": rates.mean(), "macro_f1": (2 * share * rates / (share + share @ matrix)).mean()}
        predicted = (random.random((len(labels), 1)) > matrix.cumsum(axis=1)[labels][:, :-1]).sum(axis=1)
        found = macro_intervals(predicted, labels, len(counts))
        assert ("macro_f1" in found) == f1
        for name, (low, high) in found.items():
            held[name] += low <= truth[name] <= high
    assert held["macro_recall"] >= 0.88 * 300
    assert held["macro_f1"] >= 0.88 * 300 or not f1


def test_a_class_that_is_only_predicted_changes_no_interval():
    labels = np.repeat([0, 1], [30, 10])
    predicted = np.where(np.arange(40) % 7 == 0, 2, labels)
    few, many = (macro_intervals(predicted, labels, classes) for classes in (3, 9))
    assert few == many
