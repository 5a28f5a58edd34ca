"""Confident learning, the probability that a label is wrong, and planted errors."""

import numpy as np
import pytest

from darkroom.evaluation.labels import confident, planted, results
from darkroom.evaluation.labels.confident import Issue, Noise
from darkroom.training import held_out


def simulated(share, count=4000, classes=5, spread=0.12, seed=0):
    """Return scores, labels of which `share` were changed, and which. Ambiguous images have their own frequency."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (count, classes))
    truth = np.array([generator.choice(classes, p=each) for each in confident.softmax(logits)])
    changed = generator.random(count) < share
    labels = np.where(changed, (truth + generator.integers(1, classes, count)) % classes, truth)
    return (logits * spread).astype(np.float32), labels, changed


@pytest.mark.parametrize("share", [0.0, 0.03, 0.2])
def test_the_share_of_wrong_labels_is_estimated(share):
    scores, labels, _ = simulated(share)
    noise = confident.fit(scores, labels)
    assert noise.temperature == pytest.approx(0.12, rel=0.1)
    assert noise.share * 4 / 5 == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("share", [0.03, 0.2])
def test_the_expected_precision_is_the_share_of_wrong_labels(share):
    scores, labels, changed = simulated(share, 20_000)
    noise = confident.fit(scores, labels)
    wrong = confident.wrong(confident.probabilities(scores, noise), labels, noise)
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (wrong >= low) & (wrong < high)
        error = 3 * np.sqrt(0.25 / inside.sum()) + 0.02
        assert changed[inside].mean() == pytest.approx(wrong[inside].mean(), abs=error)


def test_ambiguous_images_are_not_called_errors():
    scores, labels, _ = simulated(0)
    noise = confident.fit(scores, labels)
    likely = confident.probabilities(scores, noise)
    precision = confident.wrong(likely, labels, noise)
    found = confident.issues(likely, labels, precision, np.ones(len(labels), np.bool_))
    assert len(found) > 100  # the model contradicts them
    assert sum(issue.precision for issue in found) < 5


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_errors_in_one_class_are_found_although_the_probe_learns_them(share):
    """The scores of all images of the class then reflect the share of errors, which must not pass for ambiguity."""
    generator = np.random.default_rng(0)
    truth = np.arange(900) % 3
    features = (np.eye(3, 24)[truth] * 3 + generator.normal(0, 1, (900, 24))).astype(np.float16)
    changed = np.zeros(900, np.bool_)
    changed[generator.permutation(np.flatnonzero(truth == 0))[: round(share * 300)]] = True
    labels = np.where(changed, 1, truth)
    [scored] = held_out.cross_validate(features, labels, np.arange(900), 3, 0)
    noise = confident.fit(scored.scores, labels)
    likely = confident.probabilities(scored.scores, noise)
    wrong = confident.wrong(likely, labels, noise)
    assert wrong.sum() == pytest.approx(changed.sum(), rel=0.35)
    assert changed[wrong > 0.5].mean() > 0.8
    assert (wrong > 0.5)[changed].mean() > 0.6
    assert np.flatnonzero(noise.confused).tolist() == [1]
    assert noise.wrong_share(labels) == pytest.approx(changed.mean(), rel=0.45)  # a low estimate
    found = confident.issues(likely, labels, wrong, scored.known)
    assert [each.precision for each in found] == sorted((each.precision for each in found), reverse=True)


def test_swapped_labels_are_found_before_all_others():
    random = np.random.default_rng(0)
    truth = np.arange(300) % 3
    likely = random.dirichlet(np.ones(3), 300) * 0.3
    likely[np.arange(300), truth] += 0.7
    labels = truth.copy()
    swapped = [3, 50, 101, 200]
    labels[swapped] = (truth[swapped] + 1) % 3
    likely[swapped] = np.eye(3)[truth[swapped]] * 0.94 + 0.02
    known = np.ones(300, np.bool_)
    found = confident.issues(likely, labels, np.zeros(300), known)
    assert {each.row for each in found} == set(swapped)
    assert all(each.proposed == truth[each.row] for each in found)
    assert [each.score for each in found] == sorted(each.score for each in found)
    known[3] = False
    assert {each.row for each in confident.issues(likely, labels, np.zeros(300), known)} == set(swapped[1:])


def test_no_label_is_an_issue_where_all_agree_and_absent_classes_are_never_proposed():
    likely = np.array([[0.6, 0.1, 0.3], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    assert confident.issues(likely, np.array([0, 1, 0]), np.zeros(3), np.ones(3, np.bool_))[:1] == []


def test_a_label_that_is_probably_wrong_is_listed_even_if_no_class_is_likely():
    likely = np.array([[0.05, 0.5, 0.45], [0.9, 0.05, 0.05], [0.1, 0.9, 0.0], [0.1, 0.0, 0.9]])
    labels, known = np.array([0, 0, 1, 2]), np.ones(4, np.bool_)
    likely[1, 0], likely[1, 1] = 0.95, 0.0
    assert confident.issues(likely, labels, np.zeros(4), known) == []
    found = confident.issues(likely, labels, np.array([0.6, 0, 0, 0]), known)
    assert [(each.row, each.proposed, each.precision) for each in found] == [(0, 1, 0.6)]


def test_planted_errors_are_half_random_and_half_between_similar_classes():
    labels = np.arange(400) % 4
    scores = np.eye(4, dtype=np.float32)[labels]
    scores[labels == 0, 3] = 0.5  # 0 resembles 3
    known = np.arange(400) >= 40
    found = planted.plant(labels, scores, known, seed=0)
    assert len(found) == planted.TRIALS
    assert len({each.labels.tobytes() for each in found}) == planted.TRIALS
    for each in found:
        assert each.changed.sum() == 18
        assert np.array_equal(each.changed, each.labels != labels)
        assert not each.changed[:40].any()
    of_first = np.concatenate([each.labels[each.changed & (labels == 0)] for each in found])
    assert (of_first == 3).mean() > 0.5
    assert set(of_first) <= {1, 2, 3}
    assert all(
        np.array_equal(one.labels, other.labels)
        for one, other in zip(found, planted.plant(labels, scores, known, seed=0), strict=True)
    )


def test_lists_are_compared_with_what_was_planted():
    changed = np.array([True, True, True, True, False, False])
    trial = planted.Planted(np.zeros(6, np.int64), changed)
    listed = [Issue(row, 0, 1, 0.1, 0.8) for row in (0, 4, 2, 5, 1)]
    found = planted.compare([trial, trial], [listed, []])
    assert (found.images, found.precision, found.precision_half) == (4, 0.25, 0.25)
    assert (found.expected, found.recall) == (0.4, 0.375)


def test_two_classes_and_a_certain_label():
    noise = Noise(0.1, 0.1, np.zeros((2, 2)))
    likely = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    wrong = confident.wrong(likely, np.array([0, 0, 0]), noise)
    assert wrong[:2].tolist() == [0, 1]
    assert 0 < wrong[2] < 0.1


def test_nothing_is_drawn_without_issues():
    assert results.figure(np.zeros((0, 8, 8, 3), np.uint8), [], []) is None
