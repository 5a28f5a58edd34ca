"""Out-of-fold scores of every image."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from darkroom.training import held_out

RANDOM = np.random.default_rng(0)
LABELS = np.arange(60) % 3


def features(labels, values, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(0, 1, (int(labels.max()) + 1, values))
    return (centres[labels] + generator.normal(0, 1, (len(labels), values))).astype(np.float16)


@pytest.mark.parametrize("most", [10_000, 0])  # from which on groups are stratified instead of images
@pytest.mark.parametrize("size", [1, 4])
def test_groups_stay_together_in_stratified_folds(monkeypatch, most, size):
    monkeypatch.setattr(held_out, "MANY_GROUPS", most)
    labels = np.repeat(np.arange(60) % 3, size)
    groups = np.repeat(RANDOM.permutation(60), size)
    folds = held_out.divide(labels, groups, seed=0)
    assert sorted(np.unique(folds)) == list(range(held_out.FOLDS))
    assert all(len(np.unique(folds[groups == group])) == 1 for group in range(60))
    for label in range(3):
        counts = np.bincount(folds[labels == label])
        assert counts.min() > 0
        assert counts.max() - counts.min() <= size
    assert not np.array_equal(folds, held_out.divide(labels, groups, seed=1))


@pytest.mark.parametrize(
    ("labels", "groups", "folds"),
    [
        ([0, 1], [7, 7], 0),
        ([0, 1], [7, 8], 2),
        ([0, 0, 1, 1], [0, 0, 1, 2], 3),
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], 5),  # no class fills the folds
    ],
)
def test_few_groups_give_fewer_folds(labels, groups, folds):
    found = held_out.divide(np.array(labels), np.array(groups), seed=0)
    assert len(np.unique(found)) == folds if folds else found is None


@pytest.mark.parametrize("values", [8, 100])  # fewer and more than images
def test_scores_are_those_of_ridge_regression_without_the_fold(monkeypatch, values):
    monkeypatch.setattr(held_out, "AT_ONCE", 7)
    given = features(LABELS, values)
    folds = held_out.divide(LABELS, np.arange(60), seed=0)
    data, targets = held_out.scaled(given), held_out.one_hot(LABELS, 3)
    found = held_out.Probe(data, folds).scores(targets, 0.01)
    whole = data.take(np.arange(60))
    assert np.abs(whole.mean(axis=0)).max() < 1e-5
    assert (whole**2).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)
    for fold in range(5):
        rows, mean = folds != fold, targets[folds != fold].mean(axis=0)
        ridge = Ridge(alpha=0.01 * rows.sum(), fit_intercept=False).fit(whole[rows], targets[rows] - mean)
        assert found[~rows] == pytest.approx(ridge.predict(whole[~rows]) + mean, abs=1e-4)


def test_the_labels_of_an_image_and_its_copies_play_no_part_in_its_scores():
    given, groups = features(LABELS, 8), np.arange(60) // 2
    folds = held_out.divide(LABELS, groups, seed=0)
    probe = held_out.Probe(held_out.scaled(given), folds)
    changed = LABELS.copy()
    changed[:2] = (LABELS[:2] + 1) % 3
    before, after = (probe.scores(held_out.one_hot(each, 3), 0.01) for each in (LABELS, changed))
    assert np.array_equal(before[folds == folds[0]], after[folds == folds[0]])
    assert not np.allclose(before[folds != folds[0]], after[folds != folds[0]])


def test_the_penalty_follows_the_noise_and_other_labellings_cost_no_search():
    labels = np.arange(300) % 3
    given = features(labels, 50)
    swapped = np.roll(labels, 1)
    seen = []

    def plan(first):
        seen.append(first)
        return [swapped]

    ours, others = held_out.cross_validate(given, labels, np.arange(300), 3, 0, plan)
    assert (ours.scores.argmax(axis=1) == labels).mean() > 0.9
    assert (others.scores.argmax(axis=1) == swapped).mean() > 0.9
    assert ours.scores.sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert ours.known.all()
    assert len(seen) == 1
    noise = np.random.default_rng(1).normal(0, 1, given.shape).astype(np.float16)
    (poor,) = held_out.cross_validate(noise, labels, np.arange(300), 3, 0)
    assert poor.penalty > ours.penalty
    assert poor.error > ours.error


def test_a_class_with_a_single_group_is_not_known():
    labels, groups = LABELS.copy(), np.arange(60)
    labels[:4] = 3
    groups[:4] = 0
    found = held_out.cross_validate(features(labels, 8), labels, groups, 4, 0, lambda _: [])
    assert found[0].known.tolist() == [False] * 4 + [True] * 56


@pytest.mark.parametrize(("groups", "classes"), [([0] * 60, 3), (list(range(60)), 1)])
def test_nothing_to_compare_gives_no_scores(groups, classes):
    labels = LABELS if classes > 1 else LABELS * 0
    assert held_out.cross_validate(features(LABELS, 8), labels, np.array(groups), classes, 0) == []
