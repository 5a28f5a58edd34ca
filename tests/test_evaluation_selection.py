import dataclasses
from functools import partial

import numpy as np
import pytest

from darkroom.candidate import Card, Folds, Predictions
from darkroom.evaluation import selection
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.scores.detail import Detailed, Uncalibrated
from darkroom.evaluation.scores.metrics import Scores
from darkroom.evaluation.selection import caution, decide
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import Split

choose = partial(selection.choose, labels=np.zeros(100, dtype=np.int64), seed=0)

SCORES = Scores(0.9, 0.8, 1.0, 0.9, 0.9, 0.9, 0.2, 0.01)


def network(name: str, parameters: int = 1000, test: float = 0.5, right: int = 90, **validation: float) -> Evaluated:
    card = Card(name, "scratch", "net", ["a", "b"], 8, parameters, "0" * 64, {}, 1.0)
    scores = dataclasses.replace(SCORES, **validation)
    detailed = Detailed(*dataclasses.astuple(dataclasses.replace(SCORES, accuracy=test)), *[0.5] * 9, {})
    empty = np.zeros((0, 2), dtype=np.float32)
    nothing = {"uncalibrated": Uncalibrated(0.2, 0.1, 0.01), "predictions": Predictions(empty, empty)}
    return Evaluated(
        card, 1.0, 0.0, scores, np.arange(100) < right, detailed, rankings=[None, None], probabilities=empty,
        predicted=empty.argmax(axis=1), history=[], **nothing,
    )  # fmt: skip


BAR = network("baseline", accuracy=0.05, macro_f1=0.05, log_loss=9.0)


@pytest.mark.parametrize(
    ("metric", "words"),
    [("accuracy", "accuracy (95.00%)"), ("macro_f1", "macro F1 (0.9500)"), ("log_loss", "log loss (0.1000)")],
)
def test_a_baseline_that_is_better_is_told(metric, words):
    better = network("baseline", accuracy=0.95, macro_f1=0.95, log_loss=0.1)
    reason = choose([network("a")], better, metric).reason
    assert f"On validation, the baseline has a better {words} than a (" in reason
    assert "baseline" not in choose([network("a")], network("baseline"), metric).reason  # equal is not better
    assert choose([network("a"), network("b")], better, metric).reason.endswith(f"a better {words} than every network.")


def test_a_baseline_between_the_networks_is_better_than_the_chosen_one_alone():
    bar = network("baseline", accuracy=0.93)
    chosen = choose(
        [evaluated(network("a", accuracy=0.90), 0.9), evaluated(network("b", accuracy=0.95), 0.8)], bar, "accuracy"
    )
    assert chosen.best.card.name == "a"
    assert chosen.reason.endswith("On validation, the baseline has a better accuracy (93.00%) than a (90.00%).")


@pytest.mark.parametrize(
    ("metric", "networks", "name", "reason"),
    [
        ("accuracy", [network("a")], "a", "a is the only network."),
        (
            "accuracy",
            [network("a", accuracy=0.9, test=0.99), network("b", accuracy=0.91, test=0.1)],
            "b",
            "Of the two networks, b has the higher validation accuracy (91.00%).",
        ),
        (
            "log_loss",
            [network("a", log_loss=0.3), network("b", log_loss=0.2), network("c", log_loss=0.4)],
            "b",
            "Of the three networks, b has the lowest validation log loss (0.2000).",
        ),
        (
            "macro_f1",
            [network("a", macro_f1=0.5), network("b", macro_f1=0.25)],
            "a",
            "Of the two networks, a has the higher validation macro F1 (0.5000).",
        ),
        (
            "accuracy",
            [network("a", log_loss=0.3), network("b", log_loss=0.1), network("c", accuracy=0.1)],
            "b",
            "Two of the three networks share the highest validation accuracy (90.00%); "
            "b is selected for its lower log loss (0.1000).",
        ),
        (
            "accuracy",
            [network("a", parameters=2000), network("b", parameters=1500)],
            "b",
            "Both networks have the same validation accuracy (90.00%); "
            "b is selected for having fewer parameters (1,500).",
        ),
        (
            "log_loss",
            [network("b"), network("a")],
            "a",
            "Both networks have the same validation log loss (0.2000); "
            "a is selected for the alphabetical order of the names.",
        ),
    ],
)
def test_validation_chooses_and_ties_are_broken(metric, networks, name, reason):
    for order in (networks, networks[::-1]):
        chosen = choose(order, BAR, metric)
        assert chosen.best.card.name == name
        assert chosen.reason == reason
        assert chosen.value == getattr(chosen.best.validation, metric)


def test_without_a_network_there_is_nothing_to_choose():
    with pytest.raises(DarkroomError, match="no network to select: add one to `scratch` or `transfer`"):
        choose([], BAR, "accuracy")


@pytest.mark.parametrize(
    ("metric", "counts", "expected"),
    [
        ("auto", (30, 45), "accuracy"),
        ("auto", (30, 46), "macro_f1"),
        ("accuracy", (30, 300), "accuracy"),
        ("log_loss", (30, 300), "log_loss"),
    ],
)
def test_uneven_classes_are_judged_by_macro_f1(metric, counts, expected):
    labels = np.repeat([0, 1], counts)
    split = Split(["a", "b"], labels, np.array(["train"] * sum(counts)), np.zeros(sum(counts), dtype=np.bool_), labels)
    assert decide(metric, split) == expected


def test_the_cheapest_of_those_within_noise_is_taken_where_it_is_preferred():
    top = network("top", 3000, accuracy=0.95, right=95)
    alike = network("alike", 2000, accuracy=0.92, right=92)
    small = network("small", 1000, accuracy=0.91, right=91)
    smaller = network("smaller", 10, accuracy=0.5, right=50)
    large = network("large", 9000, accuracy=0.94, right=94)
    for order in ([top, alike, small, smaller, large], [large, smaller, small, alike, top]):
        chosen = choose(order, BAR, "accuracy", "cheapest_within_noise")
        assert chosen.best is small
        assert chosen.value == 0.91
        assert "top has the highest validation accuracy (95.00%)" in chosen.reason
        assert "small is not significantly worse" in chosen.reason
        assert "(1,000 instead of 3,000)" in chosen.reason
        assert choose(order, BAR, "accuracy").best is top
    assert choose([top, smaller, large], BAR, "accuracy", "cheapest_within_noise").best is top
    assert choose([top], BAR, "accuracy", "cheapest_within_noise").reason == "top is the only network."


UNEVEN = np.repeat([0, 1], [380, 20])


def answering(name: str, parameters: int, hits: tuple[int, int], lead: float = 3.0, **validation: float) -> Evaluated:
    """Return a network that is right on the first so many images of each of the two classes."""
    right = np.concatenate([np.arange(380) < hits[0], np.arange(20) < hits[1]])
    logits = np.eye(2, dtype=np.float32)[np.where(right, UNEVEN, 1 - UNEVEN)] * np.float32(lead)
    evaluated = network(name, parameters, **validation)
    predictions = Predictions(logits, logits)
    return dataclasses.replace(evaluated, validation_right=right, predictions=predictions)


def test_another_metric_than_accuracy_is_compared_by_itself():
    able = answering("able", 3000, (372, 14), accuracy=0.965, macro_f1=0.824, log_loss=0.14)
    like = answering("like", 2000, (371, 14), accuracy=0.9625, macro_f1=0.816, log_loss=0.15)
    blind = answering("blind", 10, (380, 0), accuracy=0.95, macro_f1=0.487, log_loss=0.19)
    loud = answering("loud", 5, (372, 14), 30.0, accuracy=0.965, macro_f1=0.5, log_loss=1.05)
    decided = partial(choose, labels=UNEVEN, prefer="cheapest_within_noise")
    # McNemar's test cannot tell 386 right answers from 380 (p = 0.286), though one of them knows a single class.
    assert decided([able, like, blind], BAR, "accuracy").best is blind
    for seed in range(3):
        assert decided([able, like, blind], BAR, "macro_f1", seed=seed).best is like
        assert decided([able, like, loud], BAR, "log_loss", seed=seed).best is like


def evaluated(network: Evaluated, accuracy: float | None, method: str = "probe") -> Evaluated:
    """Return a network with the accuracy on folds, if there is one."""
    folds = Folds(5, 2, 500, accuracy, accuracy, 0.3, 0.02) if accuracy else None
    card = dataclasses.replace(network.card, training={"method": method})
    return dataclasses.replace(network, folds=folds, card=card)


def test_folds_choose_if_all_networks_were_evaluated_by_them():
    first, second = network("a", accuracy=0.95), network("b", accuracy=0.90)
    chosen = choose([evaluated(first, 0.85), evaluated(second, 0.88)], BAR, "accuracy")
    assert (chosen.best.card.name, chosen.value) == ("b", 0.88)
    assert chosen.reason == (
        "Of the two networks, b has the higher accuracy in 5-fold cross-validation, repeated twice (88.00%)."
    )
    chosen = choose([evaluated(first, 0.85), second], BAR, "accuracy")
    assert chosen.reason == "Of the two networks, a has the higher validation accuracy (95.00%)."


@pytest.mark.parametrize(
    ("networks", "sentence"),
    [
        ([network("a")], ""),
        ([evaluated(network("a"), 0.9), evaluated(network("b"), 0.9)], ""),
        ([evaluated(network("a"), None), evaluated(network("b"), None)], "select.folds: 5"),
        ([network("a"), network("b")], "A larger validation split"),
        ([network("a"), evaluated(network("b"), 0.9)], "unlike a."),
    ],
)
def test_a_choice_on_few_images_says_so(networks, sentence):
    warning = caution(networks)
    assert bool(warning) == bool(sentence)
    assert sentence in warning
    assert not warning or "100 validation images" in warning
    many = [dataclasses.replace(each, validation_right=np.ones(300, dtype=bool)) for each in networks]
    assert caution(many) == ""


def test_folds_that_choose_do_not_show_what_is_within_noise():
    networks = [evaluated(network("a"), 0.9), evaluated(network("b"), 0.9)]
    warning = caution(networks, "cheapest_within_noise")
    for fact in ("100 validation images", "Folds do not show", "split.validation", "select.prefer: best"):
        assert fact in warning
    many = [dataclasses.replace(each, validation_right=np.ones(300, dtype=bool)) for each in networks]
    assert caution(many, "cheapest_within_noise") == ""
