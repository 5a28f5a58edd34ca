"""Features, the last layer that is fitted to them, and folds."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from darkroom.foundations.errors import DarkroomError
from darkroom.training.transfer import folds, probe


def clouds(count=300, classes=3, values=20, spread=1.5, seed=0):
    """Return float16 features in overlapping clouds, of very different scales and far from zero, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(9).normal(0, 1, (classes, values))
    points = centres[labels] + random.normal(0, spread, (count, values))
    return (points * np.logspace(-2, 1, values) + 5).astype(np.float16), labels.astype(np.int64)


def test_the_head_is_the_optimum_that_scikit_learn_finds_on_scaled_features():
    training, validation = clouds(), clouds(seed=1)
    head = probe.fit(training, validation, 3)
    scale = probe.scaling(training[0])
    exact = LogisticRegression(C=1 / (head.strength * 300), tol=1e-8, max_iter=5000)
    exact.fit(scale.apply(training[0]).astype(np.float64), training[1])
    expected = exact.predict_proba(scale.apply(validation[0]).astype(np.float64))
    logits = validation[0].astype(np.float64) @ head.weight.T + head.bias
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 0.01
    assert head.accuracy == (logits.argmax(axis=1) == validation[1]).mean()
    assert head.loss == pytest.approx(probe.cross_entropy(logits, validation[1]), abs=1e-4)


def test_validation_chooses_the_strength():
    head = probe.fit(clouds(), clouds(seed=1), 3)
    losses = {}
    for strength, weight, bias in probe.path(
        probe.scaling(clouds()[0]).apply(clouds()[0]), clouds()[1], 3, probe.STRENGTHS
    ):
        logits = probe.scaling(clouds()[0]).apply(clouds(seed=1)[0]) @ weight.T + bias
        losses[strength] = probe.cross_entropy(logits, clouds(seed=1)[1])
    assert head.strength == min(losses, key=losses.__getitem__)
    assert probe.STRENGTHS[0] > head.strength > probe.STRENGTHS[-1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_layer_answers_as_the_head(bias, classes):
    training, validation = clouds(classes=classes), clouds(classes=classes, seed=1)
    head = probe.fit(training, validation, classes, intercept=bias)
    layer = torch.nn.Linear(20, classes, bias=bias)
    head.write(layer, scale=1 / 8)
    logits = layer(torch.from_numpy(validation[0].astype(np.float32))).detach().numpy() / 8
    assert (logits.argmax(1) == validation[1]).mean() == pytest.approx(head.accuracy, abs=0.004)
    assert head.accuracy > 0.8
    assert bias or not head.bias.any()


def test_balance_gives_a_rare_class_its_say():
    points, labels = clouds(count=600)
    rare = (labels != 2) | (np.arange(600) % 20 == 2)
    uneven, evaluated = (points[rare], labels[rare]), clouds(seed=1)
    found = []
    for balanced in (False, True):
        head = probe.fit(uneven, evaluated, 3, balanced)
        guesses = (evaluated[0].astype(np.float32) @ head.weight.T + head.bias).argmax(axis=1)
        found.append((guesses[evaluated[1] == 2] == 2).mean())
    assert found[1] > found[0]


def test_a_head_for_very_many_images_is_fitted_to_the_same_share_of_each_class():
    labels = np.array([0] * 1000 + [1] * 100 + [2] * 6)
    chosen = probe.sample(labels, 300, 0)
    assert np.bincount(labels[chosen]).tolist() == [271, 27, 6]
    assert (np.diff(chosen) > 0).all()
    assert chosen.tolist() == probe.sample(labels, 300, 0).tolist()
    assert probe.sample(labels, 300, 1).tolist() != chosen.tolist()
    assert probe.sample(labels, 2000, 0).tolist() == list(range(1106))
    assert probe.most_images(1280, 10) == 2**28 // 1280
    assert probe.most_images(1280, 1000) == 2**35 // 1_280_000


def test_folds_tell_what_is_learnable_and_keep_families_together():
    points, labels = clouds(count=120)
    head = probe.fit((points, labels), clouds(seed=1), 3)
    alone = np.arange(120)
    told = folds.evaluate(points, [], labels, alone, 3, head, 5, 0)
    assert (told.folds, told.repeats, told.images) == (5, 2, 120)
    assert told.accuracy > 0.8
    assert told.macro_f1 == pytest.approx(told.accuracy, abs=0.02)
    assert 0 < told.log_loss < 1
    assert 0 < told.spread < 0.2
    assert told == folds.evaluate(points, [], labels, alone, 3, head, 5, 0)
    # Noise with every image twice: a fold that split the twins would be as good as certain.
    noise = np.random.default_rng(0).normal(0, 1, (60, 40)).astype(np.float16).repeat(2, axis=0)
    classes = (np.arange(120) // 2 % 3).astype(np.int64)
    loose = probe.Head(head.weight, head.bias, 1e-3, math.inf, 0.0)
    apart, together = (folds.evaluate(noise, [], classes, family, 3, loose, 5, 0) for family in (alone, alone // 2))
    assert apart.accuracy > 0.8
    assert together.accuracy < 0.6


@pytest.mark.parametrize(
    ("together", "fewest", "remedy"),
    [
        (lambda labels: np.arange(9), 3, 3),
        (lambda labels: np.arange(9) % 3, 1, 0),  # three groups, each a class
        (lambda labels: np.where(labels == 1, 9, np.arange(9)), 1, 0),  # one class is one family
    ],
)
def test_more_folds_than_families_of_a_class_are_refused(together, fewest, remedy):
    points, labels = clouds(count=9)
    head = probe.fit(clouds(), clouds(seed=1), 3)
    message = rf"select\.folds: 5 needs as many .* and one class has {fewest}: set it to {remedy}$"
    with pytest.raises(DarkroomError, match=message):
        folds.evaluate(points, [], labels, together(labels), 3, head, 5, 0)


def test_a_fold_that_takes_a_whole_class_is_refused():
    # Scikit-learn puts both families of class 0 into one of two folds.
    sizes = {0: (1, 5, 5), 1: (0, 1, 5), 2: (5, 0, 0), 3: (0, 1, 0), 4: (0, 6, 5)}
    labels = np.concatenate([np.repeat([0, 1, 2], counts) for counts in sizes.values()])
    families = np.repeat(list(sizes), [sum(counts) for counts in sizes.values()])
    points = np.random.default_rng(0).normal(0, 1, (len(labels), 4)).astype(np.float16)
    head = probe.fit(clouds(), clouds(seed=1), 3)
    with pytest.raises(
        DarkroomError, match=r"select\.folds: 2 leaves a class without training images in one fold.* 0 for"
    ):
        folds.evaluate(points, [], labels, families, 3, head, 2, 0)


def test_folds_judge_heads_without_bias_for_layers_without_bias():
    # Far from the origin only one side of the line tells the classes apart, which takes a bias.
    labels = np.arange(200) % 2
    points = (10 + labels[:, None] + np.random.default_rng(0).normal(0, 0.05, (200, 1))).astype(np.float16)
    head = probe.Head(np.zeros((2, 1), np.float32), np.zeros(2, np.float32), 1e-4, math.inf, 0.0)
    options = (points, [], labels, np.arange(200), 2, head, 5, 0, False)
    assert folds.evaluate(*options, intercept=True).accuracy > 0.95
    assert folds.evaluate(*options, intercept=False).accuracy < 0.6
