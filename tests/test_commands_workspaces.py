"""Workspaces, workers, and `darkroom train`, in real git and DVC repositories."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo

from darkroom.commands import dvc_internals, parallel, workers, workspaces
from darkroom.commands.workers import Worker
from darkroom.commands.workspaces import MARK, Workspace
from darkroom.foundations.errors import DarkroomError
from tests import sweeping
from tests.reviewed import commit, git

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, in DVC

TWO = {
    "good": {"architecture": "lab_cnn", "learning_rate": 0.1},
    "fair": {"architecture": "lab_cnn", "learning_rate": 0.3},
}


def _set(top: Path, name: str, value: object) -> None:
    path = top / "params.yaml"
    path.write_text(sweeping.editing.edit(path.read_text("utf-8"), {name: value}), "utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sweeping.start(tmp_path / "project", monkeypatch)
    return tmp_path / "project"


def test_a_workspace_has_what_stages_read(project: Path) -> None:
    (project / "source.csv").write_text("changed", "utf-8")  # not committed
    (project / "new.txt").write_text("untracked", "utf-8")
    (project / "photos").mkdir()
    (project / "photos" / "README").write_text("", "utf-8")
    git(project, "add", "photos")
    git(project, "commit", "--quiet", "--message", "photos", "photos")
    with (project / ".gitignore").open("a") as ignored:
        ignored.write("/photos/*\n")
    for name in ("one.jpg", "two.jpg"):
        (project / "photos" / name).write_text(name, "utf-8")
    workspace = Workspace(project, 0)
    (workspace.folder / ".darkroom" / "features").mkdir(parents=True)  # of an earlier version, which did not share it
    cache = project / ".dvc" / "cache"
    base = workspaces.baseline(["photos"])
    workspace.prepare(base, cache)
    assert (workspace.folder / ".darkroom/features").resolve() == project.resolve() / ".darkroom/features"
    assert (workspace.folder / "source.csv").read_text("utf-8") == "changed"
    assert (workspace.folder / "new.txt").read_text("utf-8") == "untracked"
    assert (workspace.folder / "photos/one.jpg").samefile(project / "photos/one.jpg")
    assert base.commit == git(project, "rev-parse", "HEAD") != base.content

    (project / "photos" / "one.jpg").unlink()
    (workspace.folder / ".git" / "index.lock").touch()  # of a killed git
    workspace.prepare(workspaces.baseline(["photos"]), cache)
    assert [path.name for path in sorted((workspace.folder / "photos").iterdir())] == ["README", "two.jpg"]

    workspace.reset(base, {"seed": 7})
    found = workspace.commit(base, "an experiment")
    workspace.publish(found, dvc_internals.experiment_reference(base.commit, "mine"))
    assert "seed: 7" in git(project, "show", f"{found}:params.yaml")
    assert "mine" in {name for names in Repo(str(project)).experiments.ls().values() for name, _ in names}
    (workspace.folder / ".git" / "HEAD").write_text("gone")  # a damaged clone is made again
    workspace.prepare(workspaces.baseline(["photos"]), cache)
    assert git(workspace.folder, "rev-parse", "HEAD")


def test_processes_of_a_killed_command_are_ended(project: Path) -> None:
    folder = workspaces.FOLDER.absolute() / "0"
    left = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(99)"], env={**os.environ, MARK: str(folder)}
    )
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"], env={**os.environ, MARK: "other"})
    time.sleep(0.2)
    Workspace(project, 0).prepare(workspaces.baseline([]), project / ".dvc" / "cache")
    assert left.wait(60) in (0, -signal.SIGTERM)  # 0: psutil waited for it
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_killed_worker_or_stage_is_started_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCH", "0.3")
    _set(project, "scratch.net.learning_rate", 0.15)
    base = workspaces.baseline([])
    workspace = Workspace(project, 0)
    workspace.prepare(base, project / ".dvc" / "cache")
    worker = Worker(workspace, workers.environments(1, [], 3)[0])
    worker.start(["scratch@net"], restore=["split"], reset=lambda: workspace.reset(base))
    try:
        for count, kind in enumerate(("stage", "worker"), start=2):
            stages = _stages(worker, count)
            assert worker._process is not None
            os.kill(stages[-1].pid if kind == "stage" else worker._process.pid, signal.SIGKILL)
            time.sleep(0.5)
            assert worker.poll() is None
        assert worker.wait().ok
        assert len(sweeping.trainings(project)) == 1 + 3
        assert sweeping.trainings(project)[-1] == "net 0.15 3"

        workspace.reset(base, {"scratch.net.learning_rate": 0.12})
        worker.start(["scratch@net"])
        _stages(worker, 5)
        worker.stop()
        outcome = worker.wait()
        assert (outcome.ok, outcome.killed) == (False, True)

        workspace.reset(base, {"scratch.net.learning_rate": 13.0})
        worker.start(["scratch@net"])
        outcome = worker.wait()
        assert (outcome.ok, outcome.killed) == (False, False)
        assert worker.said().startswith("training diverged: the loss of epoch 1 is nan")
    finally:
        worker.close()


def _stages(worker: Worker, count: int) -> list[psutil.Process]:
    """Wait until so many trainings were started in total, return the processes of the last one."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert worker.poll() is None
        if len(sweeping.trainings(worker.workspace.project)) == count and worker._process is not None:
            return psutil.Process(worker._process.pid).children(recursive=True)
        time.sleep(0.05)
    raise AssertionError("no stage was started")


def test_only_one_command_at_a_time(project: Path) -> None:
    with (
        workspaces.reserved(project, "sweep"),
        pytest.raises(DarkroomError, match="another `darkroom sweep` or `darkroom train` is running"),
        workspaces.reserved(project, "train"),
    ):
        pass


@pytest.mark.parametrize(("named", "expected"), [("0,2", ["0", "2"]), ("", []), ("-1", []), ("GPU-1f2e", ["GPU-1f2e"])])
def test_each_worker_has_its_gpu(named: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert workers.gpus() == expected
    shown = [each.get("CUDA_VISIBLE_DEVICES") for each in workers.environments(3, expected, 2)]
    assert shown == ([expected[place % len(expected)] for place in range(3)] if expected else [None] * 3)


def test_trains_like_dvc_repro(project: Path) -> None:
    _set(project, "scratch", TWO)
    commit(project, "two")
    subprocess.run(["rm", "-rf", "models"], check=True, cwd=project)
    sweeping.repro(project)
    serial = {
        path: (project / path).read_bytes() for path in ("dvc.lock", "models/best.json", "metrics/evaluation.json")
    }
    assert len(sweeping.trainings(project)) == 3

    # As on another machine: no results, no run cache.
    git(project, "reset", "--quiet", "--hard")
    # Its entry for `good` names outputs that are nowhere, as those of another machine.
    head, name, rest = serial["dvc.lock"].partition(b"  scratch@good:")
    found = re.search(rb"path: models/candidates/good\n      hash: md5\n      md5: (\w+)", rest)
    assert found
    (project / "dvc.lock").write_bytes(head + name + rest.replace(found[1], b"0" * 32, 1))
    for folder in (".dvc/cache", "models", "data/split.csv"):
        subprocess.run(["rm", "-rf", folder], check=True, cwd=project)
    said: list[str] = []
    parallel.train(2, said.append)
    assert said[0].startswith("training 2 candidates, 2 at a time: ")
    assert {path: (project / path).read_bytes() for path in serial} == serial
    assert len(sweeping.trainings(project)) == 5  # dvc repro trained nothing again
    parallel.train(2, said.append)
    assert len(sweeping.trainings(project)) == 5


def test_a_failing_candidate_does_not_stop_the_others(project: Path) -> None:
    _set(project, "scratch", {**TWO, "bad": {"architecture": "lab_cnn", "learning_rate": 13.0}})
    said: list[str] = []
    with pytest.raises(DarkroomError, match=r"(?s)1 of 3 candidates .*\nscratch@bad: training diverged") as error:
        parallel.train(2, said.append)
    assert str(error.value).count("training diverged") == 1
    assert not any("diverged" in line for line in said)
    assert (project / "models/candidates/good/predictions.npz").is_file()
    assert (project / "models/candidates/fair/predictions.npz").is_file()
    assert not (project / "models/candidates/bad").exists()


def test_what_a_run_linked_goes_with_its_source(project: Path) -> None:
    cache = project / ".dvc" / "cache"
    (project / "old name.py").write_text("untracked", "utf-8")
    workspace = Workspace(project, 0)
    workspace.prepare(workspaces.baseline([]), cache)
    (project / "old name.py").rename(project / "new name.py")
    git(project, "init", "--quiet", "inner")  # a repository of its own is no input
    (project / "inner" / "file").touch()
    workspace.prepare(workspaces.baseline([]), cache)
    assert not (workspace.folder / "old name.py").exists()
    assert (workspace.folder / "new name.py").exists()
    assert not (workspace.folder / "inner").exists()


def test_a_shallow_clone_has_workspaces(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "second").touch()
    commit(project, "second")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", project.as_uri(), str(shallow))
    monkeypatch.chdir(shallow)
    workspace = Workspace(shallow, 0)
    workspace.prepare(workspaces.baseline([]), shallow / ".dvc" / "cache")
    (shallow / "source.csv").write_text("changed", "utf-8")
    base = workspaces.baseline([])
    workspace.prepare(base, shallow / ".dvc" / "cache")
    assert (workspace.folder / "source.csv").read_text("utf-8") == "changed"
    found = workspace.commit(base, "an experiment")
    workspace.publish(found, dvc_internals.experiment_reference(base.commit, "mine"))
    assert git(shallow, "show", f"{found}:source.csv") == "changed"


def test_a_project_in_a_larger_repository_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "inner").mkdir()
    monkeypatch.chdir(project / "inner")
    with pytest.raises(DarkroomError, match=r"in the folder inner/ of a larger git repository"):
        workspaces.baseline([])


def test_checkpoints_of_unused_workspaces_are_found(project: Path) -> None:
    places = [Workspace(project, number) for number in range(3)]
    for place, name in zip(places, ("a", "b", "c"), strict=True):
        (place.folder / workspaces.CHECKPOINTS).mkdir(parents=True)
        (place.folder / workspaces.CHECKPOINTS / f"{name}.pt").write_text(name, "utf-8")
    team = places[:2]
    assert parallel._next(["scratch@b", "scratch@d", "scratch@a"], team[0], team) == "scratch@a"
    assert parallel._next(["scratch@b", "scratch@d"], team[0], team) == "scratch@d"
    assert parallel._next(["scratch@b"], team[0], team) == "scratch@b"
    workspaces.gather_checkpoints(team)
    assert [place.has_checkpoint("c") for place in places] == [True, False, False]
    assert [place.has_checkpoint("b") for place in places] == [False, True, False]


def test_one_training_that_starts_several_processes_has_all_gpus(project: Path) -> None:
    _set(project, "launch", "torchrun --nproc-per-node=2")
    with pytest.raises(DarkroomError, match=r"-j 2: launch in params\.yaml .*: omit -j, or set launch: python"):
        parallel.train(2)
