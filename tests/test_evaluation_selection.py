import dataclasses

import numpy as np
import pytest

from darkroom.candidate import Card
from darkroom.evaluation.judging import Judged
from darkroom.evaluation.metrics import Scores
from darkroom.evaluation.selection import choose, decide
from darkroom.packed import Split

SCORES = Scores(0.9, 0.8, 1.0, 0.9, 0.9, 0.9, 0.2, 0.01)


def network(name: str, parameters: int = 1000, test: float = 0.5, **validation: float) -> Judged:
    card = Card(name, "scratch", "net", ["a", "b"], 8, parameters, "0" * 64, {}, 1.0)
    scores = dataclasses.replace(SCORES, **validation)
    empty = np.zeros((0, 2))
    return Judged(card, 1.0, scores, dataclasses.replace(SCORES, accuracy=test), empty, empty.argmax(axis=1), [])


BAR = network("baseline", accuracy=0.05, macro_f1=0.05, log_loss=9.0)


@pytest.mark.parametrize(("metric", "value"), [("accuracy", "95.00%"), ("macro_f1", "0.9500"), ("log_loss", "0.1000")])
def test_a_baseline_that_is_better_is_told(metric, value):
    better = network("baseline", accuracy=0.95, macro_f1=0.95, log_loss=0.1)
    reason = choose([network("a")], better, metric).reason
    assert reason.endswith(f"The baseline is better there ({value}): the networks learned too little.")
    assert "baseline" not in choose([network("a")], network("baseline"), metric).reason  # equal is not better


@pytest.mark.parametrize(
    ("metric", "networks", "name", "reason"),
    [
        ("accuracy", [network("a")], "a", "a is the only network."),
        (
            "accuracy",
            [network("a", accuracy=0.9, test=0.99), network("b", accuracy=0.91, test=0.1)],
            "b",
            "Of 2 networks, b has the highest validation accuracy (91.00%).",
        ),
        (
            "log_loss",
            [network("a", log_loss=0.3), network("b", log_loss=0.2), network("c", log_loss=0.4)],
            "b",
            "Of 3 networks, b has the lowest validation log loss (0.2000).",
        ),
        (
            "macro_f1",
            [network("a", macro_f1=0.5), network("b", macro_f1=0.25)],
            "a",
            "Of 2 networks, a has the highest validation macro F1 (0.5000).",
        ),
        (
            "accuracy",
            [network("a", log_loss=0.3), network("b", log_loss=0.1), network("c", accuracy=0.1)],
            "b",
            "2 of 3 networks share the highest validation accuracy (90.00%); b wins by its lower log loss (0.1000).",
        ),
        (
            "accuracy",
            [network("a", parameters=2000), network("b", parameters=1500)],
            "b",
            "2 of 2 networks share the highest validation accuracy (90.00%); "
            "b wins by having fewer parameters (1,500).",
        ),
        (
            "log_loss",
            [network("b"), network("a")],
            "a",
            "2 of 2 networks share the lowest validation log loss (0.2000); a wins by coming first by name.",
        ),
    ],
)
def test_validation_chooses_and_ties_are_broken(metric, networks, name, reason):
    for order in (networks, networks[::-1]):
        chosen = choose(order, BAR, metric)
        assert chosen.best.card.name == name
        assert chosen.reason == reason
        assert chosen.value == getattr(chosen.best.validation, metric)


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
    split = Split(["a", "b"], labels, np.array(["train"] * sum(counts)), np.zeros(sum(counts), dtype=np.bool_))
    assert decide(metric, split) == expected
