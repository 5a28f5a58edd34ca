"""`darkroom sweep` in real git and DVC repositories, with a training that takes a moment."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dvc.api
import psutil
import pytest
from dvc.repo import Repo

from darkroom.commands.sweep import plan, study, sweep, trials
from darkroom.commands.sweep.plan import Plan
from darkroom.commands.sweep.study import Search
from darkroom.commands.workspaces import MARK
from darkroom.foundations.errors import DarkroomError
from tests import sweeping
from tests.reviewed import git

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, in DVC

RATE = "scratch.net.learning_rate"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Enter the project, and end with no process left in any workspace."""
    yield monkeypatch
    left = [each for each in psutil.process_iter() if _mark(each).startswith(str(Path.cwd()))]
    assert not left


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""


def _rows() -> dict[str, dict[str, Any]]:
    return {row["Experiment"]: row for row in dvc.api.exp_show() if (row["Experiment"] or "").startswith("sweep-")}


def test_every_trial_is_an_experiment(top: Path, patch: pytest.MonkeyPatch) -> None:
    sweeping.start(top, patch)
    before = (top / "params.yaml").read_text("utf-8")
    said: list[str] = []
    report = sweep.sweep(2, None, said.append)
    assert git(top, "status", "--porcelain") == ""
    assert (top / "params.yaml").read_text("utf-8") == before

    rows = _rows()
    assert len(rows) == 3
    first = next(row for name, row in rows.items() if name.endswith("-000"))
    assert first[RATE] == 0.2
    assert len({row[RATE] for row in rows.values()}) == 3
    assert {row["trial.state"] for row in rows.values()} == {"complete"}
    assert len({row["trial.validation_log_loss"] for row in rows.values()}) == 3
    # The committed metrics are those of other parameters, and trials are not evaluated on the test images.
    assert not any(isinstance(row.get("best.test_accuracy"), float) for row in rows.values())
    assert git(top, "show", "HEAD:metrics/evaluation.json") == '{"best": {"test_accuracy": 0.9}}'
    for commit in sweeping.experiments(top).values():
        assert json.loads(git(top, "show", f"{commit}:metrics/evaluation.json")).keys() == {"trial"}
        assert "confusion.csv" not in git(top, "ls-tree", "-r", "--name-only", commit)
        assert git(top, "rev-parse", f"{commit}^") == git(top, "rev-parse", "HEAD")
    assert len([line for line in said if line.startswith("trial ")]) == 3

    page = (top / "plots/sweep/sweep.html").read_text("utf-8")
    assert all(name in page for name in rows)
    assert 'src="http' not in page
    assert (top / "plots/sweep/history.png").read_bytes().startswith(b"\x89PNG")

    # The best can be applied without training again, and nothing is tried twice.
    started = len(sweeping.trainings(top))
    best = min(rows, key=lambda name: rows[name]["trial.validation_log_loss"])
    if not best.endswith("-000"):
        assert f"dvc exp apply {best} && dvc repro" in "\n".join(report)
    with Repo() as repo:
        repo.experiments.apply(best)
        repo.reproduce()
    assert json.loads((top / "metrics/evaluation.json").read_text("utf-8")) == {"best": {"test_accuracy": 0.9}}
    assert (top / "plots/confusion.csv").is_file()
    assert len(sweeping.trainings(top)) == started
    git(top, "reset", "--quiet", "--hard")
    sweep.sweep(2, None, said.append)
    assert len(sweeping.trainings(top)) == started
    assert set(_rows()) == set(rows)


def test_a_stopped_training_never_counts_as_a_finished_one(top: Path, patch: pytest.MonkeyPatch) -> None:
    space = {RATE: {"kind": "choice", "values": [0.1, 3.0, 13.0]}}
    sweeping.start(top, patch, {"space": space, "sampler": "grid", "trials": 9}, learning_rate=0.1)
    patch.setattr(study, "STARTUP", 1)
    said: list[str] = []
    report = sweep.sweep(1, None, said.append)
    rows = _rows()
    by_rate = {row[RATE]: (name.rpartition("-")[2], row) for name, row in rows.items()}
    assert [by_rate[rate][0] for rate in (0.1, 3.0, 13.0)] == ["000", "pruned", "failed"]
    pruned = by_rate[3.0][1]
    assert 1 <= pruned["trial.stopped_after_epochs"] < 4
    assert pruned["trial.epoch_validation_accuracy"] > 0
    assert not isinstance(pruned.get("trial.validation_accuracy"), float)
    assert "The current parameters are the best" in "\n".join(report)
    assert any("training diverged" in line for line in said)
    stopped = next(name for name in rows if name.endswith("pruned"))

    # Applied, it trains in full: neither dvc.lock nor the run cache has the stopped training.
    started = len(sweeping.trainings(top))
    with Repo() as repo:
        repo.experiments.apply(stopped)
        repo.reproduce()
    assert len(sweeping.trainings(top)) == started + 1
    assert (top / "models/candidates/net/predictions.npz").is_file()


def test_continues_after_a_kill_with_the_same_trials(top: Path, patch: pytest.MonkeyPatch) -> None:
    sweeping.start(top, patch)
    found = plan.plan()
    search = Search(found, None)
    killed = [search.ask() for _ in range(2)]  # trials 0 and 1 are running when the command is killed
    assert killed[0] is not None
    assert killed[1] is not None
    values = killed[1][1]
    with study.JOURNAL.open("a") as journal:
        journal.write('{"op_code": 4, "study')
    study.JOURNAL.with_name("journal.log.lock").symlink_to("gone")
    sweep.sweep(1, None, lambda line: None)
    rows = _rows()
    assert sorted(name[-3:] for name in rows) == ["000", "001", "002"]
    assert next(row for name, row in rows.items() if name.endswith("1"))[RATE] == pytest.approx(values[RATE])
    states = [trial.state.name for trial in Search(found, None).trials()]
    assert states == ["COMPLETE"] * 3

    # Killed after an experiment was saved, and before Optuna knew of it: it is not run again.
    study.JOURNAL.rename("before.log")
    search = Search(found, None)
    search.ask()
    started = len(sweeping.trainings(top))
    saved = trials.saved(found, 0)
    assert saved is not None
    assert saved["state"] == "complete"
    commits = sweeping.experiments(top)
    patch.setattr(Search, "ask", lambda self: None)
    sweep.sweep(1, None, lambda line: None)
    assert len(sweeping.trainings(top)) == started
    assert sweeping.experiments(top) == commits


def test_the_current_parameters_must_work(top: Path, patch: pytest.MonkeyPatch) -> None:
    sweeping.start(top, patch)
    (top / "train.py").write_text("import sys\nsys.exit('error: there is no such image')\n", "utf-8")
    with pytest.raises(DarkroomError, match=r"scratch@net fails with the current parameters: there is no such image"):
        sweep.sweep(1, None, lambda line: None)
    assert sweeping.experiments(top) == {}


WRONG = [
    ({"candidate": "nett"}, r"sweep.candidate: nett is no model of scratch or transfer. Did you mean 'net'\?"),
    ({"space": {}}, r"sweep.space is empty"),
    (
        {"space": {"seed": {"kind": "int", "low": 0, "high": 9}}},
        r"sweep.space.seed is not a parameter of this training",
    ),
    (
        {"space": {"datasets.digits.pack.image_size": {"kind": "int", "low": 8, "high": 32}}},
        r"changes the validation images by which trials are compared: use names that start with scratch.net.",
    ),
    (
        {"space": {RATE: {"kind": "float", "low": 0.3, "high": 1.0}}},
        r"does not contain the current value, 0.2, with which all trials are compared: extend the range",
    ),
    ({"sampler": "grid"}, r"a grid needs a list of values: write {kind: choice, values: \[0.05, 0.5\]}"),
    (
        {"space": {"scratch.net.learning_rat": {"kind": "float", "low": 0.3, "high": 1.0}}},
        r"there is no such parameter. Did you mean 'learning_rate'\?",
    ),
    (
        {"space": {"scratch.net.label_smoothing": {"kind": "float", "low": 0.0, "high": 1.0}}},
        r"sweep.space.scratch.net.label_smoothing: 1.0 is not allowed: Input should be less than 1",
    ),
    ({"space": {RATE: {"kind": "float", "low": 1.0, "high": 0.1}}}, r"low: 1.0 is not below high, 0.1"),
    ({"space": {RATE: {"kind": "float", "low": 0.0, "high": 0.1, "log": True}}}, r"low: 0.0 has no logarithm"),
    ({"space": {RATE: {"kind": "choice", "values": [1, 1]}}}, r"contains a value twice"),
    ({"space": {RATE: {"kind": "flaot", "low": 0.1, "high": 1.0}}}, r"'flaot' is not one of the choices"),
    ({"trials": 0}, r"sweep.trials: 0 is not allowed"),
]


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("wrong") / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "repro", lambda top: None)
        sweeping.start(top, patch)
    return top


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_searches(
    settings: dict[str, Any], message: str, parameters: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (parameters / "params.yaml").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    values = {f"sweep.{name}": value for name, value in settings.items()}
    Path("params.yaml").write_text(sweeping.editing.edit(text, values), "utf-8")
    with pytest.raises(DarkroomError, match=message):
        plan.plan()


def test_the_default_search_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(sweeping.ROOT)
    found = plan.plan()
    assert found.stage == "scratch@resnet9"
    assert found.epochs({}) == 8
    assert "split" in found.upstream
    assert "evaluate" in found.downstream
    assert "metrics/evaluation.json" in found.leftovers
    assert "data/inbox" in found.base.roots


@pytest.fixture
def search_plan(parameters: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(parameters)
    return plan.plan()


def test_machines_share_trials(search_plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = str(tmp_path / "shared.log")
    here, there = Search(search_plan, storage), Search(search_plan, storage)
    there.me = "other:/machine"
    asked = [each.ask() for each in (here, there, here, there, here)]
    assert [trial is not None for trial in asked] == [True, True, True, False, False]
    numbers = [trial[0].number for trial in asked if trial]
    assert numbers == [0, 1, 2]
    assert len({tuple(trial[1].values()) for trial in asked if trial}) == 3
    # After a kill, a machine continues its own trials, and those of another one only when that gives no sign of life.
    assert [trial.number for trial, _ in Search(search_plan, storage).adopt(frozenset())] == [0, 2]
    monkeypatch.setattr(study, "STALE", -1.0)
    assert [trial.number for trial, _ in Search(search_plan, storage).adopt(frozenset({0, 2}))] == [1]
    results = {"state": "complete", "validation_log_loss": 0.5}
    assert asked[1]
    here.tell(asked[1][0], results)
    there.tell(asked[1][0], {**results, "validation_log_loss": 0.1})  # ended meanwhile by the other machine
    assert [trial.value for trial in here.ended()] == [0.5]


@pytest.mark.parametrize("storage", ["sqlite:///{}/none/x.db", "nosuch://host/x"])
def test_a_storage_that_cannot_be_used(storage: str, search_plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"--storage .* cannot be used"):
        Search(search_plan, storage.format(tmp_path))


def test_a_database_as_storage(search_plan: Plan, tmp_path: Path) -> None:
    search = Search(search_plan, f"sqlite:///{tmp_path}/sweep.db")
    found = search.ask()
    assert found is not None
    search.tell(found[0], {"state": "complete", "validation_log_loss": 0.5})
    assert [trial.value for trial in search.ended()] == [0.5]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_survives_kills_at_random_moments(seed: int, top: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("EPOCH", "0.15")
    sweeping.start(top, patch, {"trials": 12})
    rng = random.Random(seed)
    for kind in ("command", "worker", "training", "command", "worker"):
        process = sweeping.run(top, "sweep", "-j", "2")
        deadline = time.monotonic() + 60
        while process.poll() is None and not _victims(process.pid, "training") and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 3))
        if victims := _victims(process.pid, kind):
            os.kill(rng.choice(victims), signal.SIGKILL)
        if kind == "command":
            process.communicate()
        else:
            time.sleep(2)  # it goes on; the next round kills what goes on then
            process.kill()
            process.communicate()
    process = sweeping.run(top, "sweep", "-j", "2")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    names = sorted(sweeping.experiments(top))
    assert [name.split("-")[2] for name in names] == [f"{number:03}" for number in range(12)]
    assert len({row[RATE] for row in _rows().values()}) == 12


def _victims(command: int, kind: str) -> list[int]:
    try:
        workers = psutil.Process(command).children()
        trainings = [each for worker in workers for each in worker.children(recursive=True)]
        chosen = {"command": [psutil.Process(command)], "worker": workers, "training": trainings}[kind]
        return [each.pid for each in chosen]
    except psutil.Error:
        return []
