"""Each form of `dvc exp run` in a real repository: what git ignores is there, and the workspace stays as it was."""

import contextlib
import csv
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from darkroom.foundations import files
from tests.clones import GIT, clone, environment, ran, run
from tests.pictures import class_folders, write_folder

pytestmark = pytest.mark.slow

STAGES = ("validate", "download", "pack", "split", "pretrained")
WEIGHTS = b"weights that git ignores"
VALIDATION = "datasets.folder.split.validation"
METRIC = Path("metrics/data.json")


def parameters(values):
    values["dataset"] = "folder"
    values["datasets"]["folder"]["pack"]["image_size"] = 16
    values["datasets"]["folder"]["split"]["validation"] = 0.15
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    values["transfer"] = {"mine": {"architecture": "resnet18", "weights": "backbones/mine.pth", "sha256": digest}}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Return a clone with the stages that need no training, images and weights that git ignores, and results."""
    folder = clone(tmp_path_factory.mktemp("forms") / "project", parameters)
    yaml = YAML()
    pipeline = yaml.load(folder / "dvc.yaml")
    yaml.dump({"stages": {name: pipeline["stages"][name] for name in STAGES}}, folder / "dvc.yaml")
    for name in ("dvc.lock", "metrics/cost.json", "metrics/evaluation.json", "metrics/robustness.json"):
        (folder / name).unlink(missing_ok=True)
    write_folder(folder / "data" / "inbox", class_folders({"cat": 20, "dog": 20}))
    (folder / "backbones" / "mine.pth").write_bytes(WEIGHTS)
    run(folder, "dvc", "repro")
    for key, value in (("user.name", "test"), ("user.email", "test@localhost")):
        run(folder, "git", "config", key, value)
    run(folder, "git", "add", ".")
    run(folder, *GIT, "commit", "--quiet", "--message", "results")
    return folder


@pytest.fixture
def project(template):
    """Return the clone in the state of its commit, without experiments."""
    yield template
    run(template, "git", "checkout", "--quiet", ".")
    run(template, "dvc", "checkout", "--force")
    run(template, "dvc", "exp", "remove", "--all-commits")


def rows(folder):
    """Return what `dvc exp show` lists of each experiment."""
    table = run(folder, "dvc", "exp", "show", "--csv")
    found = list(csv.DictReader(io.StringIO(table[table.index("Experiment,") :])))
    return {row["Experiment"]: row for row in found if row["typ"] != "baseline" and row["Experiment"]}


@contextlib.contextmanager
def queue_workers(folder, count):
    """Start workers of the queue and kill those that are left at the end, yield a function that returns their logs.

    Workers keep the standard output that `dvc queue start` had, so a pipe would only end when the last of them does,
    and a worker that misses the message to shut down stays, idle.
    """
    state = folder / ".dvc" / "tmp" / "exps" / "celery"
    command = ("dvc", "queue", "start", "--jobs", str(count))
    subprocess.run(command, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL, check=True)
    try:
        yield lambda: "\n".join(path.read_text() for path in sorted(state.glob("dvc-exp-worker-*.out")))
    finally:
        for path in state.glob("dvc-exp-worker-*.json"):
            worker = files.read_json(path)
            if worker["returncode"] is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker["pid"], signal.SIGKILL)


def queue_status(folder):
    """Return what `dvc queue status` prints.

    Asks again when it reads a message that a worker has not completely written: DVC calls that an unexpected error.
    """
    command = ("dvc", "queue", "status")
    for _ in range(5):
        result = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
        if "Expecting value" not in result.stderr:
            break
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def validation(folder):
    return files.read_json(folder / METRIC)["validation"]


def test_a_parameter_is_changed_and_the_workspace_restored(project):
    before = validation(project)
    output = run(project, "dvc", "exp", "run", "--name", "more", "-S", f"{VALIDATION}=0.3", "-S", "seed=3")
    assert ran(output) == {"validate", "split"}
    assert validation(project) > before
    assert rows(project)["more"][VALIDATION] == "0.3"
    run(project, "git", "checkout", ".")
    run(project, "dvc", "checkout")
    assert validation(project) == before
    assert "up to date" in run(project, "dvc", "status")
    added = "{architecture: resnet34, weights: backbones/mine.pth, sha256: " + hashlib.sha256(WEIGHTS).hexdigest() + "}"
    assert "pretrained@other" in ran(run(project, "dvc", "exp", "run", "-S", f"+transfer.other={added}"))


def test_an_experiment_in_a_folder_of_its_own_finds_what_git_ignores(project):
    before = validation(project)
    parts = (
        "-S",
        f"{VALIDATION}=0.3",
        "-S",
        "+datasets.folder.source.classes.cat=lion",
        "-S",
        "+transfer.mine.method=probe",
    )
    output = run(project, "dvc", "exp", "run", "--temp", "--name", "apart", *parts)
    assert {"download", "pack", "split", "pretrained@mine"} <= ran(output)
    assert validation(project) == before
    assert run(project, "git", "status", "--porcelain") == ""
    assert not list((project / ".dvc" / "tmp" / "exps" / "standalone").glob("tmp*"))
    assert len(list((project / "data" / "inbox" / "cat").iterdir())) == 20  # the links are gone, the images are not
    run(project, "dvc", "exp", "apply", "apart")
    assert validation(project) > before
    assert "lion" in files.read_json(project / METRIC)["per_class"]
    assert "up to date" in run(project, "dvc", "status")  # also the inbox is recorded as it is here


def test_a_grid_is_queued_run_by_two_workers_applied_and_made_a_branch(project):
    grid = ("-S", f"{VALIDATION}=0.2,0.3", "-S", "seed=1,2")
    output = run(project, "dvc", "exp", "run", "--queue", *grid)
    assert len(re.findall(r"Queued experiment", output)) == 4
    with queue_workers(project, 2) as logs:
        deadline = time.monotonic() + 600
        while re.search(r"Queued|Running", status := queue_status(project)):
            assert time.monotonic() < deadline, status + logs()
            time.sleep(1)
    assert len(re.findall(r"Success", status)) == 4, status
    found = rows(project)
    assert sorted((row[VALIDATION], row["seed"]) for row in found.values()) == [
        ("0.2", "1"), ("0.2", "2"), ("0.3", "1"), ("0.3", "2"),
    ]  # fmt: skip
    name = next(name for name, row in found.items() if (row[VALIDATION], row["seed"]) == ("0.3", "2"))
    assert "split" in run(project, "dvc", "queue", "logs", name)
    run(project, "dvc", "exp", "apply", name)
    assert validation(project) == int(found[name]["validation"])
    assert "up to date" in run(project, "dvc", "status")
    run(project, "git", "checkout", "--quiet", ".")
    run(project, "dvc", "exp", "branch", name, "tuned")
    assert "validation: 0.3" in run(project, "git", "show", "tuned:params.yaml")
    run(project, "git", "branch", "--delete", "--force", "tuned")


def test_an_experiment_is_pushed_and_pulled_by_another_clone(project, tmp_path):
    origin, other = tmp_path / "origin.git", tmp_path / "other"
    run(project, "git", "init", "--quiet", "--bare", str(origin))
    run(project, "git", "remote", "add", "shared", str(origin))
    run(project, "dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    run(project, "git", "push", "--quiet", "shared", "HEAD")
    run(project, "dvc", "exp", "run", "--name", "mine", "-S", f"{VALIDATION}=0.3")
    expected = validation(project)
    run(project, "dvc", "exp", "push", "shared", "mine")
    run(tmp_path, "git", "clone", "--quiet", str(origin), str(other))
    run(other, "dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    assert "mine" in run(other, "dvc", "exp", "list", "origin")
    run(other, "dvc", "exp", "pull", "origin", "mine")
    run(other, "dvc", "exp", "apply", "mine")
    assert validation(other) == expected
    split = (other / "data" / "split.csv").read_bytes()
    assert split == (project / "data" / "split.csv").read_bytes()
    assert "split" not in ran(run(other, "dvc", "repro", "--single-item", "split"))
    shutil.rmtree(other)
    run(project, "git", "remote", "remove", "shared")
    run(project, "dvc", "remote", "remove", "--local", "store")
