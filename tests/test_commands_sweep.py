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
import numpy as np
import psutil
import pytest
from dvc.repo import Repo

from darkroom import candidate
from darkroom.candidate import Card, Predictions
from darkroom.commands import dvc_internals, ranking, workspaces
from darkroom.commands.dvc_internals import Outcome
from darkroom.commands.settings import SweepSettings
from darkroom.commands.sweep import plan, report, study, sweep, trials
from darkroom.commands.sweep.plan import Plan
from darkroom.commands.sweep.study import Search
from darkroom.commands.workers import Worker
from darkroom.commands.workspaces import MARK, Workspace
from darkroom.evaluation import evaluate
from darkroom.evaluation.scores import metrics
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import SPLITS, Split
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
    lines = sweep.sweep(2, None, said.append)
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
        assert f"dvc exp apply {best} && dvc repro" in "\n".join(lines)
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
    lines = sweep.sweep(1, None, said.append)
    rows = _rows()
    by_rate = {row[RATE]: (name.rpartition("-")[2], row) for name, row in rows.items()}
    assert [by_rate[rate][0] for rate in (0.1, 3.0, 13.0)] == ["000", "pruned", "failed"]
    pruned = by_rate[3.0][1]
    assert 1 <= pruned["trial.stopped_after_epochs"] < 4
    assert pruned["trial.epoch_validation_accuracy"] > 0
    assert not isinstance(pruned.get("trial.validation_accuracy"), float)
    assert "The current parameters are the best" in "\n".join(lines)
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


@pytest.fixture
def worker(parameters: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.chdir(parameters)
    found = Worker(Workspace(parameters, 0), {})
    with dvc_internals.repository("") as repo:
        cache = Path(repo.cache.legacy.path)
    found.workspace.prepare(workspaces.baseline([]), cache)
    yield found
    found.close()


def test_a_worker_that_is_killed_while_idle_is_replaced(worker: Worker) -> None:
    worker.start([])
    assert worker.wait().ok
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    worker.start([])
    assert worker.wait().ok


def test_a_worker_reports_any_error_and_goes_on(worker: Worker) -> None:
    targets: list[Any] = [7]  # an error that is none of DVC's, like a full disk
    worker.start([], restore=targets)
    outcome = worker.wait()
    assert (outcome.ok, outcome.killed) == (False, False)
    assert "Error: " in outcome.message
    assert worker.said() == outcome.message
    worker.start([])
    assert worker.wait().ok


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
        sweeping.start(top, patch, runs=False)
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


def test_the_code_identifies_a_search(parameters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(parameters)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "true")
    keys = [plan.plan().key]
    new, pipeline = parameters / "src" / "new.py", parameters / "dvc.yaml"
    before = pipeline.read_text("utf-8")
    try:
        for text in ("a = 1\n", "a = 2\n"):
            sweeping.files.write_text(new, text)
            keys.append(plan.plan().key)
        new.unlink()
        sweeping.files.write_text(pipeline, f"{before}# changed\n")
        keys.append(plan.plan().key)
    finally:
        new.unlink(missing_ok=True)
        sweeping.files.write_text(pipeline, before)
    assert len(set(keys)) == 4
    assert plan.plan().key == keys[0]


def test_the_folds_identify_the_search_of_a_probe(search_plan: Plan) -> None:
    document = {"seed": 0, "device": "cpu", "deterministic": True, "dataset": "folder", "datasets": {"folder": {}}}
    settings = SweepSettings(candidate="net", space={})

    def key(section: str, folds: int) -> str:
        document[section] = {"net": {}}
        return plan._key(settings, {**document, "select": {"folds": folds}}, section, search_plan.base)

    assert key("transfer", 0) != key("transfer", 5)
    assert key("scratch", 0) == key("scratch", 5)


def test_images_that_change_during_a_search(search_plan: Plan, tmp_path: Path) -> None:
    def hashes(split: str) -> dict[str, str]:
        outs = f"[{{path: data/split.csv, md5: {split}}}, {{path: data/test_images.json, md5: {split}}}]"
        return search_plan.hashes(f"stages: {{split: {{cmd: x, outs: {outs}}}, scratch@net: {{cmd: y}}}}")

    assert hashes("a1") == {"data/split.csv": "a1"}
    storage = str(tmp_path / "shared.log")
    for _ in range(2):
        Search(search_plan, storage).check(hashes("a1"))
    with pytest.raises(DarkroomError, match=r"not those with which this search began: data/split.csv\nrun `dvc repro`"):
        Search(search_plan, storage).check(hashes("b2"))


def test_scores_are_calibrated_as_in_the_evaluation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    splits = np.repeat(["train", "validation", "test"], 20)
    zeros = np.zeros(60, dtype=np.int64)
    split = Split(["a", "b", "c"], labels, splits, zeros.astype(bool), zeros)
    logits = (3 * np.eye(3)[labels] + 2 * rng.standard_normal((60, 3))).astype(np.float32)
    rows = {name: logits[split.rows(name)] for name in SPLITS}
    predictions = Predictions(rows["validation"], rows["test"], rows["train"] / 3)
    candidate.write_predictions(tmp_path, predictions)
    card = Card("net", "transfer", "", split.classes, 8, 0, "", {}, 0.0)
    candidate.write_card(tmp_path, card)
    evaluated = evaluate.evaluate(tmp_path, split, evaluate.resample(split, 0, 10))
    probabilities, actual = trials.calibrated(tmp_path / "predictions.npz", split)
    assert metrics.score(probabilities, actual) == evaluated.validation


@pytest.mark.parametrize(
    ("standing", "said"),
    [("not comparable", "made with other images"), ("within noise", "within noise"), ("worse", "is significant")],
)
def test_a_verdict(
    standing: ranking.Standing, said: str, search_plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    search = Search(search_plan, str(tmp_path / "shared.log"))
    for score in (0.5, 0.4):
        asked = search.ask()
        assert asked
        search.tell(asked[0], {"state": "complete", "validation_log_loss": score})
    row = ranking.Row(ranking.Experiment("x", "x", is_commit=False), "net", 0.5, None, standing)
    monkeypatch.setattr(report, "_compared", lambda *_: row)
    best = report.best_trial(search)
    assert best
    verdict = "\n".join(report._verdict(search_plan, best, search))
    assert said in verdict
    assert ("significant" in verdict) == (standing == "worse")


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
    there._signs.clear()
    there.sign(asked[1][0])
    assert not there.report(asked[1][0], 4, 0.1)
    assert there.is_finished(asked[1][0])


def test_a_machine_at_fault_does_not_use_up_the_trials(
    search_plan: Plan, worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage, said = str(tmp_path / "shared.log"), list[str]()
    search = Search(search_plan, storage)
    search.wanted = 9
    running = sweep.Sweep(search_plan, search, [worker], "", said.append)
    monkeypatch.setattr(Workspace, "publish", lambda *_: None)
    asked = [search.ask() for _ in range(7)]
    assert asked[0]
    search.tell(asked[0][0], {"state": "complete", "validation_log_loss": 0.5})
    diverged, full = "training diverged: the loss of epoch 1 is nan", "the disk is full"
    for reason, trial in zip([diverged, diverged, diverged, full, full], asked[1:6], strict=True):
        assert trial
        running._save(worker, sweep.Running(*trial), Outcome(False, message=reason))
    assert asked[6]
    with pytest.raises(DarkroomError, match=r"3 trials in a row failed, the last one: the disk is full\nmend"):
        running._save(worker, sweep.Running(*asked[6]), Outcome(False, message=full))
    assert [trial.number for trial, _ in Search(search_plan, storage).adopt(frozenset())] == [6]  # runs again later


def test_a_trial_that_another_machine_ended_is_not_run_again(search_plan: Plan, tmp_path: Path) -> None:
    storage = str(tmp_path / "shared.log")
    here, there = Search(search_plan, storage), Search(search_plan, storage)
    killed = [here.ask() for _ in range(2)]
    here = Search(search_plan, storage)
    running = sweep.Sweep(search_plan, here, [], "", lambda line: None)
    assert [trial.number for trial, _ in running.orphans] == [0, 1]
    assert killed[0]
    there.tell(killed[0][0], {"state": "complete", "validation_log_loss": 0.5})
    here._signs.clear()
    for trial, _ in running.orphans:
        here.sign(trial)
    found = running._next(0)
    assert found
    assert found[0].number == 1


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
        deadline = time.monotonic() + 300
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
    said = process.communicate(timeout=600)[0]
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
