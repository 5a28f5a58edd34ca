"""A layer fitted to training and validation images, and its out-of-fold logits."""

import threading
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from darkroom.training.transfer import out_of_fold, probe
from tests.test_training_probe import clouds


def fit(points, labels, groups=None, classes=3, seed=0, views=()):
    divided = out_of_fold.divide(labels, np.arange(len(labels)) if groups is None else groups, classes, seed)
    return out_of_fold.fit([points, *views], labels, divided, classes, balanced=False, intercept=True), divided


def accuracy(head, points, labels):
    return float(((points.astype(np.float32) @ head.weight.T + head.bias).argmax(axis=1) == labels).mean())


def test_folds_choose_the_strength_and_the_layer_is_fitted_to_all_images():
    points, labels = clouds(count=150)
    found, divided = fit(points, labels)
    losses = {}
    for strength in probe.STRENGTHS:
        logits = np.zeros((150, 3), np.float32)
        for fitted, evaluated in divided:
            scale = probe.scaling(points[fitted])
            [(_, weight, bias)] = probe.path(scale.apply(points[fitted]), labels[fitted], 3, (strength,))
            logits[evaluated] = scale.apply(points[evaluated]) @ weight.T + bias
        losses[strength] = probe.cross_entropy(logits, labels)
    assert found.head.strength == min(losses, key=losses.__getitem__)
    assert found.head.loss == pytest.approx(losses[found.head.strength], rel=1e-2)
    assert found.head.accuracy == (found.logits.argmax(axis=1) == labels).mean() > 0.8
    assert probe.STRENGTHS[0] > found.head.strength > probe.STRENGTHS[-1]

    scaled = probe.scaling(points).apply(points).astype(np.float64)
    exact = LogisticRegression(C=1 / (found.head.strength * 150), tol=1e-8, max_iter=5000).fit(scaled, labels)
    logits = points.astype(np.float64) @ found.head.weight.T + found.head.bias
    expected = exact.predict_log_proba(scaled)
    difference = logits - expected
    assert np.abs(difference - difference.mean(axis=1, keepdims=True)).max() < 0.05


def test_the_seed_alone_decides():
    points, labels = clouds(count=100)
    first, second, other = (fit(points, labels, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first.logits, second.logits)
    assert np.array_equal(first.head.weight, second.head.weight)
    assert not np.array_equal(first.logits, other.logits)


@pytest.mark.parametrize("twins", [1, 2])
def test_labels_without_meaning_are_learnt_by_heart_but_not_predicted(twins):
    random = np.random.default_rng(3)
    points = random.normal(0, 1, (120, 600)).astype(np.float16).repeat(twins, axis=0)
    labels = random.permutation(np.arange(120) % 3).astype(np.int64).repeat(twins)
    found, _ = fit(points, labels, np.arange(120).repeat(twins), views=[points + np.float16(0.01)])
    assert accuracy(found.head, points, labels) > 0.97
    assert 0.2 < found.head.accuracy < 0.46  # chance, give or take three standard deviations of 120 images
    assert found.head.loss > 0.9 * np.log(3)


def test_the_number_of_threads_does_not_change_the_result(monkeypatch):
    points, labels = clouds(count=150)
    busy, most, blas = set(), [], []
    lock = threading.Lock()
    solve = probe.Solver.fit

    def watched(self, *arguments):
        with lock:
            busy.add(id(self))
            most.append(len(busy))
            blas.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        try:
            time.sleep(0.01)
            return solve(self, *arguments)
        finally:
            with lock:
                busy.remove(id(self))

    monkeypatch.setattr(probe.Solver, "fit", watched)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            results.append(fit(points, labels)[0])
        finally:
            torch.set_num_threads(before)
        assert max(most) == threads
    assert set(blas) == {1}
    one, three = results
    assert np.array_equal(one.logits, three.logits)
    assert np.array_equal(one.head.weight, three.head.weight)
    assert one.head.strength == three.head.strength


def test_mirrored_views_are_fitted_to_and_not_evaluated():
    points, labels = clouds(count=90)
    noise = np.random.default_rng(0).normal(0, 30, points.shape).astype(np.float16)
    alone, both = fit(points, labels)[0], fit(points, labels, views=[noise])[0]
    assert alone.logits.shape == both.logits.shape == (90, 3)
    assert accuracy(both.head, points, labels) < accuracy(alone.head, points, labels)


def test_folds_keep_groups_together_and_contain_every_class():
    labels = np.arange(60) % 3
    groups = np.arange(60) // 6  # each with images of all classes
    divided = out_of_fold.divide(labels, groups, 3, 0)
    assert sorted(np.concatenate([evaluated for _, evaluated in divided])) == list(range(60))
    for fitted, evaluated in divided:
        assert not set(groups[fitted]) & set(groups[evaluated])
        assert set(labels[fitted]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "groups", "folds"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], 3),
        ([0, 0, 0, 1, 1, 1], [0, 1, 1, 3, 4, 5], 2),
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 3, 4, 5], 0),  # all images of one class are one group
        ([0, 1, 1, 1], [0, 1, 2, 3], 0),
        ([0] * 9 + [1] * 9, list(range(18)), 5),
    ],
)
def test_there_are_as_many_folds_as_the_smallest_class_allows(labels, groups, folds):
    assert len(out_of_fold.divide(np.array(labels), np.array(groups), 2, 0)) == folds


@pytest.mark.parametrize(
    ("training", "validation", "values", "classes", "expected"),
    [
        (200, 50, 1280, 10, True),
        (8_000, 999, 2560, 10, True),
        (8_000, 1_000, 2560, 10, False),
        (20_000, 500, 1280, 10, False),
        (10_000, 900, 2560, 1_000, False),  # many classes: minutes per fold
    ],
)
def test_folds_are_for_few_images(training, validation, values, classes, expected):
    assert out_of_fold.suits(training, validation, values, classes) is expected
