from dataclasses import replace
from typing import Any

import pytest

from darkroom.candidate import Card, Epoch
from darkroom.reporting import advice, insights
from darkroom.reporting.facts import ClassRow, Confusion, Entry, Facts, SliceRow
from darkroom.reporting.numbering import Numbering

SCORES = {"accuracy": 0.9, "accuracy_low": 0.89, "accuracy_high": 0.91}


def entry(accuracies=(), losses=None, kept=0, temperature=1.0):
    accuracies = list(accuracies)
    losses = losses or [1.0] * len(accuracies)
    history = [
        Epoch(number, 1.0, loss, accuracy)
        for number, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    card = Card("net", "scratch", "net", ["a", "b"], 8, 1000, "0" * 64, {}, 1.0, len(history), kept or len(history))
    return Entry(card, history, [], temperature, 0.0, SCORES, SCORES)


def facts(best=None, confusions=(), classes=(), slices=()):
    best = best or entry()
    counts = {row.name: {"train": 50, "validation": 10, "test": 500} for row in classes}
    data: dict[str, Any] = {
        "train": 900, "test": 1000, "validation": 100, "image_size": 32, "per_class": counts, "conflicts": 0,
        "broken": 0, "imbalance": 1.0,
    }  # fmt: skip
    return Facts(
        "", "", "digits", data, "", [best, best], best, "", "accuracy", {}, list(classes), [], list(confusions), None,
        None, list(slices), None, None, {}, None, 0, "", [],
    )  # fmt: skip


def pairs(*counts):
    return [Confusion(f"a{place}", f"b{place}", count) for place, count in enumerate(counts)]


def kind(measure, name, images, right, p_value=1.0):
    return SliceRow(measure, name, images, right / images, 0.1, 0.2, 0.5, p_value)


OVER = [1.0, 0.5, 0.8, 0.9, 1.0]


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        (facts(entry([0.5, 0.6, 0.7, 0.8])), "Training: net was still improving", "after epoch 4 of 4."),
        (facts(entry([0.5, 0.8, 0.8, 0.8])), "Training", None),  # the last of equals is kept
        (facts(entry([0.5, 0.6, 0.8, 0.7])), "Training", None),
        (facts(entry([0.5, 0.6, 0.8, 0.9], kept=3)), "Training", None),
        (facts(entry([0.5, 0.6, 0.7])), "Training", None),
        (facts(entry([0.5] * 5, OVER, 2, 1.2)), "Training: the validation loss", "which calibration corrects."),
        (facts(entry([0.5] * 5, OVER, 2, 1.0)), "Training: the validation loss", "100.0% higher at the end."),
        (facts(confusions=pairs(9, 8, 2, *[1] * 5)), "Mistakes", "19 of 24 mistakes."),
        (facts(confusions=pairs(9, 8, 1, *[1] * 5)), "Mistakes", None),
        (facts(confusions=pairs(2, 2, 2, 2, 2, 2, 2)), "Mistakes", None),
        (facts(confusions=pairs(9, 8, 7)), "Mistakes", None),
        (facts(slices=[kind("size", "1 to 2", 300, 210, 1e-4), kind("size", "3", 700, 690)]), "Slices", "0.001)."),
        (facts(slices=[kind("size", "1 to 2", 20, 16, 0.27), kind("size", "3", 980, 884, 0.27)]), "Slices", None),
    ],
)  # fmt: skip
def test_a_finding_is_reported_only_if_the_results_support_it(given, start, end):
    found = [line for line in insights.findings(given) if line.startswith(start)]
    if end is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].endswith(end)


@pytest.mark.parametrize(
    ("measure", "name", "words"),
    [
        ("brightness", "0.1 to 0.3", "images with brightness 0.1 to 0.3"),
        ("leak", "no", "images without a copy or an image of the same scene among the training"),
        ("slice", "night", "images of the slice night"),
    ],
)
def test_a_weak_slice_is_named(measure, name, words):
    slices = [kind("size", "all", 1000, 900), kind(measure, name, 300, 210, 1e-4), kind(measure, "rest", 700, 690)]
    (line,) = insights.findings(facts(slices=slices))
    assert line.startswith("Slices")
    assert words in line
    assert "70.0% of 300 images" in line


@pytest.mark.parametrize(("p_value", "recall", "told"), [(0.01, 0.8, True), (0.2, 0.8, False), (0.01, 0.95, False)])
def test_a_class_is_named_as_hard_only_if_it_is_significantly_below_the_others(p_value, recall, told):
    classes = [ClassRow("a", 500, 0.9, recall, 0.8, p_value), ClassRow("b", 500, 0.9, 0.9, 0.9, 1.0)]
    lines = insights.findings(facts(confusions=pairs(3), classes=classes))
    lines = [line for line in lines if line.startswith("Classes")]
    assert len(lines) == told
    for line in lines:
        for fact in ("images of a ", "80.0% of 500 images", "compared with 100.0%", "0.01"):
            assert fact in line


@pytest.mark.parametrize(
    ("recalls", "expected"),
    [
        ((0.5, 0.9), ""),
        ((0.5, 0.6, 0.9), " The same is true of b (60.0%)."),
        ((0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.9), " The same is true of b (60.0%), c (70.0%), d (70.0%) and 2 more."),
    ],
)
def test_other_hard_classes_are_named_as_well(recalls, expected):
    names = "abcdefg"
    classes = [
        ClassRow(name, 500, 0.9, recall, 0.8, recall / 100) for name, recall in zip(names, recalls, strict=False)
    ]
    classes[-1] = replace(classes[-1], p_value=1.0)
    lines = insights.findings(facts(confusions=pairs(3), classes=classes))
    assert next(line for line in lines if line.startswith("Classes")).partition(").")[2] == expected


@pytest.mark.parametrize(
    ("network", "baseline", "uneven", "expected"),
    [
        ((0.9, 0.9), (0.9, 0.9), False, ()),
        (
            (0.9, 0.8),
            (0.8, 0.85),
            False,
            ("higher accuracy on test (80.0% on validation, compared with 90.0%; 85.0% on",),
        ),
        ((0.8, 0.9), (0.9, 0.8), False, ("higher accuracy on validation (90.0% on validation",)),
        (
            (0.8, 0.7),
            (0.9, 0.8),
            True,
            ("macro F1 (0.900", "0.900 on validation", "0.800 on test, compared with 0.700"),
        ),
    ],
)
def test_advice_is_given_where_the_baseline_leads(network, baseline, uneven, expected):
    def scores(pair):
        key = "macro_f1" if uneven else "accuracy"
        return {split: {key: value} for split, value in zip(("validation", "test"), pair, strict=True)}

    text = advice.behind("net", scores(network), scores(baseline), uneven)
    assert bool(text) == bool(expected)
    assert not text or "net" in text
    for fact in expected:
        assert fact in text


@pytest.mark.parametrize(("accuracies", "told"), [([0.5, 0.6, 0.7, 0.8], True), ([0.5, 0.8, 0.8, 0.8], False)])
def test_longer_training_is_advised_only_where_it_still_helped(accuracies, told):
    classes = [ClassRow(name, 500, 0.9, 0.9, 0.9, 1.0) for name in "ab"]
    steps = dict(insights.next_steps(facts(entry(accuracies), classes=classes)))
    assert ("Train longer" in steps) == told


def test_longer_training_counts_from_what_the_data_set_asked_for():
    best = entry([0.5, 0.6, 0.7, 0.8])
    best.card.training.update(epochs=40, epochs_factor=4)
    classes = [ClassRow(name, 500, 0.9, 0.9, 0.9, 1.0) for name in "ab"]
    assert dict(insights.next_steps(facts(best, classes=classes)))["Train longer"].endswith("training.epochs=20")


@pytest.mark.parametrize(("size", "tried", "installed", "expected"), [
    (32, [""], None, "dvc exp run -S 'scratch=${zoo}'"),
    (160, ["mobilenet_v2"], True, "dvc exp run -S '+transfer.efficientnet_lite0={architecture: efficientnet_lite0}'"),
    (224, ["efficientnet_lite0"], True,
     "dvc exp run -S '+transfer.efficientnet_lite1={architecture: efficientnet_lite1}'"),
    (224, [f"efficientnet_lite{number}" for number in range(3)], False,
     "dvc exp run -S '+transfer.mobilenet_v2={architecture: mobilenet_v2}'"),
])  # fmt: skip
def test_other_networks_suit_the_size_of_the_images(size, tried, installed, expected):
    networks = [entry() for _ in tried]
    for network, name in zip(networks, tried, strict=True):
        network.card.network["architecture"] = name
    given = facts(networks[0], classes=[ClassRow(name, 500, 0.9, 0.9, 0.9, 1.0) for name in "ab"])
    given.entries[1:] = networks
    given.data["image_size"] = size
    words, command = insights.next_steps(given)[-1]
    assert command == expected
    assert installed is None or words.endswith("already installed" if installed else "downloaded once")


def test_a_mention_keeps_its_verb_where_the_first_figure_is_missing():
    shown = [("samples", "images"), ("classes", "how many there are"), ("sizes", "their sizes")]
    number = Numbering("github", {"classes", "sizes"}, {"Figure classes": "1", "Figure sizes": "2"})
    assert number.mention(shown) == "Figure\u00a01 shows how many there are and Figure\u00a02 their sizes."
    assert Numbering("github", set()).mention(shown) == ""


def transferred(size=224, fit="pad", method="probe", **training):
    network = {"architecture": "efficientnet_lite0", "side": 224}
    card = replace(entry().card, kind="transfer", image_size=size, fit=fit, network=network)
    return replace(card, training={"method": method, **training})


@pytest.mark.parametrize(
    ("card", "images", "commands"),
    [
        (transferred(), 499, []),
        (transferred(), 500, ["transfer.net.method=probe+finetune"]),
        (transferred(fine_tuning={"kept": False}), 500, []),  # it was tried and is no better
        (transferred(method="probe+finetune"), 500, []),
        (transferred(96), 100, ["datasets.own.pack.image_size=224"]),
        (transferred(32), 100, []),  # probably no larger as files
        (transferred(fit="crop"), 100, ["datasets.own.pack.fit=pad"]),
        (transferred(64, "crop"), 900, ["datasets.own.pack.image_size=224", "datasets.own.pack.fit=pad", "transfer."]),
        (replace(transferred(96, "crop"), kind="scratch"), 900, []),
    ],
)
def test_what_may_improve_a_pretrained_network_is_advised(card, images, commands):
    found = [command for _, command in advice.transfer(card, "own", images)]
    assert len(found) == len(commands)
    for command, expected in zip(found, commands, strict=True):
        assert command.startswith(f"dvc exp run -S {expected}")


def test_longer_training_by_auto_needs_a_larger_budget():
    card = transferred(method="probe+finetune", epochs=4, epochs_factor=1.0, auto={"max_minutes": 7.5, "reason": "…"})
    command = "dvc exp run -S datasets.own.training.epochs=8 -S transfer.net.max_minutes=15"
    assert advice.longer(card, "own") == ("Train longer", command)


def test_the_report_advises_fine_tuning_of_a_probe():
    classes = [ClassRow(name, 500, 0.9, 0.9, 0.9, 1.0) for name in "ab"]
    best = replace(entry(), card=transferred(96))
    steps = dict(insights.next_steps(facts(best, classes=classes)))
    assert "dvc exp run -S transfer.net.method=probe+finetune" in steps.values()
    assert "dvc exp run -S datasets.digits.pack.image_size=224" in steps.values()
