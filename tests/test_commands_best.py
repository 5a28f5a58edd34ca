"""`darkroom best` on real DVC experiments."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from darkroom.commands import best, main, ranking
from darkroom.commands.ranking import Experiment, Validation
from darkroom.foundations.errors import DarkroomError
from tests import reviewed

WRONG = {"close": range(4), "good": range(2), "poor": range(20)}
"""Validation images, of 56, on which the model of each experiment is wrong; on main it is wrong on 30."""
TESTS = {"close": range(1), "good": range(9), "poor": range(9)}
"""And test images, of 85."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a repository with three experiments."""
    top = tmp_path_factory.mktemp("project")
    reviewed.start(top)
    reviewed.write_data(top)
    reviewed.write_results(top, range(12), invalid=range(30))
    reviewed.commit_data(top)
    reviewed.commit(top, "base")
    for place, (name, wrong) in enumerate(WRONG.items()):
        reviewed.set_learning_rate(top, 0.2 + place)
        reviewed.write_results(top, TESTS[name], milliseconds=1 + place, invalid=wrong)
        reviewed.save_experiment(top, name)
    return top


@pytest.fixture(autouse=True)
def _there(project, monkeypatch):
    monkeypatch.chdir(project)


def test_validation_decides_and_what_cannot_be_told_apart_is_named(capsys):
    main.run(["best"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[2:6]]
    assert [row[:2] for row in rows] == [
        ["good", "0.9643"],
        ["close", "0.9286"],
        ["poor", "0.6429"],
        ["main", "0.4643"],
    ]
    assert [" ".join(row[5:]) for row in rows[:2]] == ["best", "within noise (p = 0.500)"]
    assert [row[5] for row in rows[2:]] == ["worse", "worse"]
    assert "good is the best on 56 validation images, but within noise of close." in lines
    assert lines[-1] == "Apply it: darkroom best --apply, or dvc exp apply good"


def test_a_metric_on_test_is_ranked_with_a_warning(capsys):
    main.run(["best", "--metric", "best.test_accuracy", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["experiments"][0]["experiment"] == "close"
    assert found["experiments"][0]["interval"] == [0.9363, 0.9979]
    assert [row["standing"] for row in found["experiments"]] == ["best", "worse", "worse", "worse"]
    assert "Without --metric, validation decides." in " ".join(best.best("best.test_accuracy").remarks)


@pytest.mark.parametrize(("metric", "lower", "first"), [
    ("best.test_log_loss", None, "close"),
    ("best.test_log_loss", False, "main"),
    ("macro_f1", None, "good"),
    ("log_loss", None, "good"),
])  # fmt: skip
def test_the_direction_is_that_of_the_metric_or_the_one_asked_for(metric, lower, first):
    assert best.best(metric, lower=lower).rows[0].experiment.name == first


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(
        DarkroomError, match=r"no experiment has the metric best\.test_acuracy\. Did you mean 'best.test_a"
    ):
        best.best("best.test_acuracy")


def test_apply_brings_the_best_into_the_workspace_and_spares_uncommitted_changes(project):
    found = best.best()
    path = Path("params.yaml")
    before = path.read_text("utf-8")
    path.write_text(f"{before}# mine\n", "utf-8")
    with pytest.raises(DarkroomError, match=r"params\.yaml have uncommitted changes: commit or stash them before good"):
        best.apply(found)
    path.write_text(before, "utf-8")
    try:
        assert best.apply(found).startswith("good is in the workspace")
        assert "learning_rate: 1.2" in path.read_text("utf-8")
    finally:
        reviewed.git(project, "reset", "--quiet", "--hard")


def test_experiments_without_predictions_here_are_left_out_and_named(project):
    shutil.move(".dvc/cache", ".dvc/away")
    try:
        with pytest.raises(
            DarkroomError, match=r"no experiment has predictions here \(main: its predictions are not in"
        ):
            best.best()
    finally:
        shutil.move(".dvc/away", ".dvc/cache")


def test_without_experiments_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkroomError, match="DVC cannot list the experiments"):
        best.best()
    reviewed.start(tmp_path)
    reviewed.commit(tmp_path, "start")
    with pytest.raises(DarkroomError, match="there are no finished experiments of the last commit"):
        best.best()


def test_predictions_of_another_split_do_not_compare():
    labels = np.arange(40) % 2
    right, wrong = (np.eye(2)[labels] * 0.8 + 0.1, np.eye(2)[1 - labels] * 0.8 + 0.1)
    mixed = np.where((np.arange(40) < 3)[:, None], wrong, right)
    names = [Experiment(name, name, is_commit=name == "main") for name in ("main", "same", "other", "mixed")]
    split = ("a", "a", "b", "a")
    found = {
        each: Validation("net", "accuracy", hashed, labels, probabilities)
        for each, hashed, probabilities in zip(names, split, (right, right, wrong, mixed), strict=True)
    }
    rows = ranking.on_validation(found, "accuracy")
    assert [(row.experiment.name, row.standing) for row in rows] == [
        ("main", "best"), ("same", "within noise"), ("mixed", "within noise"), ("other", "not comparable"),
    ]  # fmt: skip
    assert rows[2].p_value == 0.5  # 2 × 0.25, by Holm
    assert [row.standing for row in ranking.on_validation(found, "log_loss")] == [
        "best", "within noise", "within noise", "not comparable",
    ]  # fmt: skip
