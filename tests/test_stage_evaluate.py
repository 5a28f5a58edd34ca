import csv
import json
import shutil

import numpy as np
import pytest

from darkroom.candidate import Predictions, read_predictions, softmax, write_predictions
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import read_split
from stages import evaluate
from tests import factories


def run(top):
    arguments = {
        "params": "params.yaml",
        "candidates": "models/candidates",
        "packed": "data/packed",
        "split": "data/split.csv",
        "metrics": "metrics/evaluation.json",
        "curves": "plots/learning_curves.csv",
        "confusion": "plots/confusion.csv",
        "per-class": "plots/per_class.csv",
        "tables": "plots/tables",
        "figures": "plots/evaluation",
        "best": "models/best.json",
    }
    evaluate.main([part for name, path in arguments.items() for part in (f"--{name}", str(top / path))])
    return read(top / "plots" / "tables" / "scores.json"), read(top / "models" / "best.json")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def leaves(value):
    return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]


def outputs(top):
    names = ["metrics/evaluation.json", "models/best.json"]
    return {name: (top / name).read_bytes() for name in names} | {
        str(path): path.read_bytes()
        for path in sorted((top / "plots").rglob("*.*"))
        if not {"data", "cost", "robustness"} & set(path.parts)  # which others write
    }


def test_everything_is_evaluated_and_written(tmp_path, capsys):
    top = factories.write_project(tmp_path, noise=120)
    evaluation, best = run(top)
    assert list(evaluation["candidates"]) == ["baseline", "large", "small"]
    assert all(isinstance(leaf, (int, float, str)) for leaf in leaves(evaluation))
    assert best["name"] == evaluation["best"]["name"] == "small"
    assert best["value"] == evaluation["candidates"]["small"]["validation"]["accuracy"]
    assert set(best) == {"name", "metric", "value", "reason"}
    assert best["reason"] in capsys.readouterr().out

    split = read_split(top / "data" / "split.csv")
    labels = split.labels[split.rows("test")]
    confusion = rows(top / "plots" / "confusion.csv")
    assert [row["actual"] for row in confusion] == [split.classes[label] for label in labels]
    predicted = read_predictions(top / "models" / "candidates" / "small").test.argmax(axis=1)
    assert [row["predicted"] for row in confusion] == [split.classes[label] for label in predicted]
    right = sum(row["actual"] == row["predicted"] for row in confusion)
    assert evaluation["best"]["test_accuracy"] == round(right / len(confusion), 10) < 1

    curves = rows(top / "plots" / "learning_curves.csv")
    assert [(row["candidate"], row["epoch"]) for row in curves[7:9]] == [("small", "8"), ("large", "1")]
    assert len(rows(top / "plots" / "per_class.csv")) == 3 * 3
    pictures = sorted(path.name for path in (top / "plots" / "evaluation").iterdir())
    assert pictures == [
        "accuracy.png", "confusion.png", "learning_curves.png", "mistakes.png", "precision_recall.png",
        "reliability.png", "risk_coverage.png",
    ]  # fmt: skip
    lists = {path.stem: rows(path) for path in sorted((top / "plots" / "tables").iterdir())}
    assert len(lists["mistakes"]) == len(labels) - right == sum(int(row["images"]) for row in lists["confused"])
    wrong = lists["mistakes"][0]
    assert wrong["picture"] == f"{wrong['label']}/{wrong['row']}.png"
    for name in ("reliability", "precision_recall", "risk_coverage"):
        assert {row["candidate"] for row in lists[name]} == {"baseline", "small", "large"}
    full = [row for row in lists["risk_coverage"] if row["candidate"] == "small"][-1]
    assert (float(full["coverage"]), float(full["risk"])) == pytest.approx((1, 1 - right / len(labels)), abs=1e-6)
    assert {row["measure"] for row in lists["slices"]} == {"brightness", "contrast", "sharpness"}


def test_thresholds_are_fitted_for_each_network_and_evaluated_for_the_best(tmp_path):
    evaluation, _ = run(factories.write_project(tmp_path, networks=("small",)))
    assert "thresholds" not in evaluation["candidates"]["baseline"]
    thresholds = evaluation["candidates"]["small"]["thresholds"]
    assert set(thresholds) == {"score", "known", "confident", "coverage", "energy_weight"}
    assert thresholds["coverage"] >= 0.85
    selective = evaluation["best"]["selective_prediction"]
    assert set(selective["out_of_distribution"]) == {"noise", "plain", "shuffled", "photographs", "digits"}
    assert selective["confident"] <= selective["in_distribution"] <= 1


def test_each_is_compared_with_the_best(tmp_path):
    top = factories.write_project(tmp_path)
    write_right(top, "small", np.arange(24) < 24)
    write_right(top, "large", np.arange(24) < 20)
    write_right(top, "baseline", np.arange(24) < 12)
    evaluation, best = run(top)
    assert best["name"] == "small"
    assert "versus_best" not in evaluation["candidates"]["small"]
    assert evaluation["candidates"]["large"]["versus_best"]["verdict"] == "within noise"
    # Twelve rows of twelve: 2 / 2^12, times two comparisons.
    assert evaluation["candidates"]["baseline"]["versus_best"] == {
        "difference": -0.5, "p_value": pytest.approx(2 * 2 / 2**12, abs=1e-9), "verdict": "worse"
    }  # fmt: skip
    assert evaluation["best"]["versus_baseline"] == {
        "difference": 0.5, "p_value": pytest.approx(2 * 2 / 2**12, abs=1e-9), "verdict": "better"
    }  # fmt: skip
    assert evaluation["candidates"]["small"]["test"]["macro_f1_low"] == pytest.approx(0.862, abs=1e-3)


def test_a_candidate_that_always_predicts_one_class_has_correct_scores(tmp_path):
    top = factories.write_project(tmp_path, ("no", "yes"), ("only",))
    folder = top / "models" / "candidates" / "only"
    found = read_predictions(folder)
    same = [np.tile(np.float32([3, 0]), (len(part), 1)) for part in (found.validation, found.test)]
    write_predictions(folder, Predictions(*same))
    test = run(top)[0]["candidates"]["only"]["test"]
    assert (test["accuracy"], test["kappa"], test["mcc"]) == (0.5, 0, 0)
    assert (test["roc_auc"], test["roc_auc_low"], test["roc_auc_high"]) == (0.5, 0.5, 0.5)
    assert test["macro_recall_low"] < test["macro_recall"] == 0.5 < test["macro_recall_high"]
    assert "top_3" not in test


def test_a_test_split_of_one_class_has_no_ranking(tmp_path):
    top = factories.write_project(tmp_path, ("no", "yes"), ("only",), lacking="no")
    test = run(top)[0]["candidates"]["only"]["test"]
    assert "roc_auc" not in test
    assert "average_precision" not in test
    assert test["kappa"] == test["mcc"] == 0
    assert not (top / "plots" / "evaluation" / "precision_recall.png").exists()


def test_equal_inputs_give_equal_bytes(tmp_path):
    top = factories.write_project(tmp_path)
    run(top)
    first = outputs(top)
    run(top)
    assert outputs(top) == first
    assert len(first) == 20


def test_a_folder_that_the_parameters_do_not_name_is_not_evaluated(tmp_path):
    top = factories.write_project(tmp_path, networks=("small",))
    shutil.copytree(top / "models" / "candidates" / "small", top / "models" / "candidates" / "left_behind")
    evaluation, best = run(top)
    assert list(evaluation["candidates"]) == ["baseline", "small"]
    assert best["reason"] == "small is the only network."


def test_the_baseline_is_never_the_best_and_the_run_says_when_it_wins(tmp_path):
    top = factories.write_project(tmp_path, networks=("small",))
    split = read_split(top / "data" / "split.csv")
    perfect = [np.eye(3, dtype=np.float32)[split.labels[split.rows(name)]] * 9 for name in ("validation", "test")]
    write_predictions(top / "models" / "candidates" / "baseline", Predictions(*perfect))
    wrong = [np.roll(logits, 1, axis=1) for logits in perfect]
    write_predictions(top / "models" / "candidates" / "small", Predictions(*wrong))
    evaluation, best = run(top)
    assert best["name"] == "small"
    assert evaluation["best"]["versus_baseline"]["verdict"] == "worse"
    assert evaluation["best"]["versus_baseline"]["difference"] == -1.0


def write_right(top, name, right):
    """Replace a candidate's test predictions: those of the rows where `right` is true are right, the others wrong."""
    folder, split = top / "models" / "candidates" / name, read_split(top / "data" / "split.csv")
    perfect = np.eye(3, dtype=np.float32)[split.labels[split.rows("test")]] * 9
    logits = np.where(right[:, np.newaxis], perfect, np.roll(perfect, 1, axis=1))
    write_predictions(folder, Predictions(read_predictions(folder).validation, logits))


def test_accuracy_without_leaks_stands_beside_the_one_with_them(tmp_path, capsys):
    top = factories.write_project(tmp_path, networks=("small",), leaks=18)  # of 24
    leaks = np.arange(24) < 18
    write_right(top, "small", leaks)
    write_right(top, "baseline", ~leaks)
    candidates = run(top)[0]["candidates"]
    assert candidates["small"]["test"]["accuracy"] == 0.75
    clean = candidates["small"]["without_leaks"]
    few = {"macro_f1_low", "macro_f1_high"}  # no intervals for two images of each class
    assert clean.keys() == (candidates["small"]["test"].keys() - few) | {"leaks"}
    assert [clean[name] for name in ("leaks", "accuracy", "accuracy_low", "macro_recall")] == [18, 0, 0, 0]
    assert clean["accuracy_high"] == pytest.approx(0.390334, abs=1e-6)
    assert candidates["baseline"]["test"]["accuracy"] == 0.25
    assert candidates["baseline"]["without_leaks"]["accuracy"] == 1.0
    assert "without 18 leaked images: 0.00%." in capsys.readouterr().out


@pytest.mark.parametrize("leaks", [0, 24])
def test_without_leaks_or_without_others_there_is_no_second_accuracy(tmp_path, leaks):
    evaluation, _ = run(factories.write_project(tmp_path, networks=("small",), leaks=leaks))
    assert "without_leaks" not in evaluation["candidates"]["small"]


@pytest.mark.parametrize("classes", [("no", "yes"), tuple(f"class {number}" for number in range(30))])
def test_two_classes_or_thirty(tmp_path, classes):
    evaluation, _ = run(factories.write_project(tmp_path, classes, ("only",), per_class=10))
    only, split = evaluation["candidates"]["only"], read_split(tmp_path / "data" / "split.csv")
    logits = read_predictions(tmp_path / "models" / "candidates" / "only").test
    probabilities = softmax(logits, only["temperature"])
    right = probabilities.argmax(axis=1) == split.labels[split.rows("test")]
    confidence = probabilities.max(axis=1)
    bins = [(confidence >= low / 10) & ((confidence < (low + 1) / 10) | (low == 9)) for low in range(10)]
    expected = sum(abs(right[inside].sum() - confidence[inside].sum()) for inside in bins) / len(right)
    assert only["test"]["ece"] == pytest.approx(expected, abs=1e-9)
    assert len(rows(tmp_path / "plots" / "per_class.csv")) == 2 * len(classes)


def test_a_class_that_the_test_split_lacks(tmp_path):
    top = factories.write_project(tmp_path, networks=("only",), lacking="dog")
    run(top)
    dog = next(row for row in rows(top / "plots" / "per_class.csv") if row["class"] == "dog")
    assert dog == {
        "candidate": "baseline", "class": "dog", "support": "0", "precision": "", "recall": "", "f1": "",
        "roc_auc": "", "average_precision": "", "p_value": "",
    }  # fmt: skip


def test_if_a_candidate_cannot_be_evaluated_nothing_is_written(tmp_path):
    top = factories.write_project(tmp_path)
    (top / "models" / "candidates" / "large" / "card.json").unlink()
    with pytest.raises(DarkroomError, match="large contains no candidate"):
        run(top)
    assert not (top / "models" / "best.json").exists()
    assert not (top / "plots" / "evaluation").exists()
