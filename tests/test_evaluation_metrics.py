import numpy as np
import pytest
from sklearn import metrics as oracle

from darkroom.candidate import softmax
from darkroom.evaluation.scores.detail import score_in_detail, score_uncalibrated
from darkroom.evaluation.scores.intervals import Bootstrap, accuracy_interval
from darkroom.evaluation.scores.metrics import score, score_classes
from darkroom.evaluation.scores.ranking import rank_classes


def predictions(rows: int = 200, classes: int = 4, seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    logits = generator.normal(0, 1, (rows, classes)).astype(np.float32)
    logits[np.arange(rows), labels] += 1
    return softmax(logits), labels


def test_scores_are_those_of_scikit_learn():
    probabilities, labels = predictions()
    predicted = probabilities.argmax(axis=1)
    scores = score(probabilities, labels)
    expected = {
        "accuracy": oracle.accuracy_score(labels, predicted),
        "macro_precision": oracle.precision_score(labels, predicted, average="macro"),
        "macro_recall": oracle.balanced_accuracy_score(labels, predicted),
        "macro_f1": oracle.f1_score(labels, predicted, average="macro"),
        "log_loss": oracle.log_loss(labels, probabilities),
    }
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, abs=1e-9)
    assert scores.accuracy_low < scores.accuracy < scores.accuracy_high


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0)],
)
def test_the_interval_is_wilsons(right, total, low, high):
    assert accuracy_interval(right, total) == pytest.approx((low, high), abs=1e-4)


def test_a_class_that_the_split_lacks_does_not_count():
    probabilities, labels = predictions()
    here = labels != 2
    probabilities, labels = probabilities[here], labels[here]
    scores = score(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    recalls = [(predicted[labels == label] == label).mean() for label in (0, 1, 3)]
    assert scores.macro_recall == pytest.approx(np.mean(recalls))
    by_class = score_classes(predicted, labels, "abcd", rank_classes(probabilities, labels))
    assert [row.support > 0 for row in by_class] == [True, True, False, True]
    assert (by_class[2].precision, by_class[2].recall, by_class[2].f1) == (None, None, None)
    assert [row.recall for row in by_class if row.support] == pytest.approx(recalls)


def test_one_sure_mistake_costs_much_but_not_infinitely():
    scores = score(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert 40 < scores.log_loss < 50
    assert scores.accuracy == 0.5
    assert scores.ece == pytest.approx(0.5)


def detail(probabilities, labels, draws=50):
    return score_in_detail(probabilities, labels, rank_classes(probabilities, labels), Bootstrap(len(labels), 0, draws))


@pytest.mark.parametrize("classes", [2, 4, 7])
def test_detailed_scores_are_those_of_scikit_learn(classes):
    probabilities, labels = predictions(classes=classes)
    predicted, every = probabilities.argmax(axis=1), np.arange(classes)
    scores = detail(probabilities, labels)
    hot = labels[:, np.newaxis] == every
    expected = {
        "weighted_precision": oracle.precision_score(labels, predicted, average="weighted"),
        "weighted_f1": oracle.f1_score(labels, predicted, average="weighted"),
        "kappa": oracle.cohen_kappa_score(labels, predicted),
        "mcc": oracle.matthews_corrcoef(labels, predicted),
        "brier": ((probabilities - hot) ** 2).sum(axis=1).mean(),
        "roc_auc": oracle.roc_auc_score(hot, probabilities, average="macro"),
        "average_precision": oracle.average_precision_score(hot, probabilities, average="macro"),
    }
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, abs=1e-9)
    for k in (3, 5):
        found = getattr(scores, f"top_{k}")
        if classes > k:
            assert found == oracle.top_k_accuracy_score(labels, probabilities, k=k, labels=every)
        else:
            assert found is None
    for name, (low, high) in scores.intervals.items():
        assert low < getattr(scores, name) < high
    assert score_uncalibrated(probabilities, labels).brier == scores.brier


def test_a_class_that_the_split_lacks_has_no_part_in_the_areas():
    probabilities, labels = predictions()
    here = labels != 2
    scores = detail(probabilities[here], labels[here])
    areas = [oracle.roc_auc_score(labels[here] == label, probabilities[here, label]) for label in (0, 1, 3)]
    assert scores.roc_auc == pytest.approx(np.mean(areas), abs=1e-9)


def test_a_split_of_one_class_has_no_areas_and_perfect_scores_no_false_certainty():
    scores = detail(np.array([[0.9, 0.1]] * 10), np.zeros(10, dtype=np.int64))
    assert (scores.roc_auc, scores.average_precision, scores.kappa, scores.mcc) == (None, None, 0.0, 0.0)
    assert scores.intervals["macro_f1"] == accuracy_interval(10, 10)
    assert "roc_auc" not in scores.intervals
