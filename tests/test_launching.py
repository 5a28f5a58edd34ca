"""What stages start with: names from params.yaml, the launcher of a training, and the library of their own checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

from darkroom.candidate_names import read_names
from darkroom.foundations import launching, params
from darkroom.foundations.errors import DarkroomError
from tests.clones import clone, run
from tests.imports import ROOT

MARK = "the library of this checkout runs"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a second checkout, whose library says that it runs; the environment has the first one's installed."""
    folder = clone(tmp_path_factory.mktemp("other"), lambda parameters: None)
    with (folder / "src" / "darkroom" / "foundations" / "params.py").open("a") as file:
        file.write(f"\nprint({MARK!r}, flush=True)\n")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    run(folder, *git, "commit", "--quiet", "--all", "--message", "mark")
    return folder


def start(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the environment of the first checkout, as clones and queued experiments do."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_a_stage_imports_the_library_of_its_own_checkout(other):
    result = start(other, "python", "stages", "validate", "--schema", "params.schema.json")
    assert (result.returncode, MARK in result.stdout) == (0, True), result.stdout


@pytest.mark.slow
def test_an_experiment_in_a_folder_of_its_own_runs_the_code_that_is_hashed(other):
    result = start(other, "dvc", "exp", "run", "--temp", "--set-param", "seed=7", "validate")
    assert (result.returncode, MARK in result.stdout) == (0, True), result.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("python", "stages/validate.py", "--schema", "params.schema.json"),
        ("python", "-c", "from darkroom.commands.main import main; main()", "summary"),
        ("bentoml", "serve"),
    ],
    ids=["stage", "command", "service"],
)
def test_what_would_run_the_library_of_another_checkout_is_refused(other, command):
    result = start(other, *command)
    assert result.returncode == 1
    *_, line = result.stdout.splitlines()
    assert "Traceback" not in result.stdout
    assert line.startswith(f"error: {other} is a separate checkout, and this would run the library in {ROOT}")
    assert line.index("run `make env` there") < line.index("python stages NAME") < line.index("PYTHONPATH=src")


def test_an_unknown_stage_is_refused(other):
    result = start(other, "python", "stages", "validat")
    assert result.returncode == 1
    assert "error: there is no stage 'validat'. Allowed: baseline, cost, " in result.stdout


INJECTED = "x$(touch hacked); touch hacked"


def poison(folder: Path, section: str, like: str) -> None:
    """Add to a section of params.yaml a copy of an entry under a name that a shell would run."""
    yaml = YAML()
    document = yaml.load(folder / "params.yaml")
    document[section][INJECTED] = document[section][like]
    if section == "datasets":
        document["dataset"] = INJECTED
    yaml.dump(document, folder / "params.yaml")


@pytest.mark.parametrize(
    ("section", "like", "stage"),
    [("datasets", "digits", "download"), ("transfer", "cifar10_backbone", f"pretrained@{INJECTED}")],
)
def test_a_name_never_reaches_the_shell_when_a_stage_runs_alone(tmp_path, section, like, stage):
    """`dvc repro --single-item` passes over `validate`."""
    folder = clone(tmp_path / "clone", lambda parameters: None)
    poison(folder, section, like)
    result = start(folder, "dvc", "repro", "--single-item", stage)
    assert result.returncode != 0
    assert f"name '{INJECTED}' is not allowed: use letters, digits" in result.stdout
    assert not list(folder.rglob("hacked"))


@pytest.mark.parametrize(
    "launch",
    [
        "python",
        "torchrun",
        "torchrun --nproc-per-node=8",
        "torchrun --standalone --nproc_per_node=gpu",
        "torchrun --nnodes=1:4 --rdzv-backend=c10d --rdzv-endpoint=[::1]:29400 --rdzv-id=7",
    ],
)
def test_known_launchers(launch):
    assert TypeAdapter(launching.Launch).validate_python(launch) == launch


@pytest.mark.parametrize(
    "launch",
    [
        "",
        " ",
        "rm -rf data",
        "python -c pass",
        "python; touch hacked",
        "torchrun; touch hacked",
        "torchrun --no-python touch hacked",
        "torchrun --no-python",
        "torchrun --nproc-per-node 8",
        "torchrun evil.py",
        "torchrun -m evil",
        "torchrun --logs-specs=evil",
        "/tmp/torchrun",
        "OMP_NUM_THREADS=4 python",
        "python\ntouch hacked",
    ],
)
def test_other_launchers_are_refused(launch, tmp_path):
    with pytest.raises(ValidationError, match="use python, or torchrun with options such as --nproc-per-node=2"):
        TypeAdapter(launching.Launch).validate_python(launch)
    YAML().dump({"launch": launch}, tmp_path / "params.yaml")
    with pytest.raises(DarkroomError, match=r"launch: .* is not allowed"):
        launching.torchrun_options(tmp_path / "params.yaml")


def test_names_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "scratch@resnet9")
    path = tmp_path / "params.yaml"
    path.write_text("dataset: pets")
    filled = launching.fill(["scratch", "{key}", "--dataset", "{dataset}", "--out", "models/{key}"], path)
    assert filled == ["scratch", "resnet9", "--dataset", "pets", "--out", "models/resnet9"]
    assert launching.fill(["pack"], tmp_path / "missing.yaml") == ["pack"]


@pytest.mark.parametrize("name", ["", "../x", "a b", "a;b", "a.b", "-x", "a\n", "$(x)", "é"])
def test_what_is_no_name_is_not_filled_in(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", f"scratch@{name}")
    YAML().dump({"dataset": name}, tmp_path / "params.yaml")
    for argument in ("{dataset}", "{key}"):
        with pytest.raises(DarkroomError, match="is not allowed: use letters, digits"):
            launching.fill([argument], tmp_path / "params.yaml")


def test_the_names_of_candidates_are_checked_where_they_become_paths(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("scratch: {small: {}}\ntransfer: null\n")
    assert read_names(path) == ["baseline", "small"]
    path.write_text("scratch: {small: {}, ../../src: {}}\ntransfer: null\n")
    with pytest.raises(DarkroomError, match=r"name '../../src' is not allowed: use letters, digits"):
        read_names(path)


def test_torchrun_starts_the_stage_of_this_checkout(other, tmp_path):
    stand_in = tmp_path / "torch" / "distributed" / "run.py"
    stand_in.parent.mkdir(parents=True)
    for package in (stand_in.parent, stand_in.parent.parent):
        (package / "__init__.py").touch()
    stand_in.write_text("def main(arguments): print(*arguments, sep='|')\n")
    text = (other / "params.yaml").read_text().replace("launch: python ", "launch: torchrun --nproc-per-node=2 ")
    (tmp_path / "params.yaml").write_text(text)
    command = ("python", str(other / "stages"), "--launch", "scratch", "{key}", "--dataset", "{dataset}")
    found = {"PYTHONPATH": str(tmp_path), "DVC_STAGE": "scratch@resnet9"}
    result = start(tmp_path, *command, **found)
    assert f"--nproc-per-node=2|{other / 'stages'}|scratch|resnet9|--dataset|digits" in result.stdout
    child = start(tmp_path, *command, **found, RANK="0")  # one of its processes runs the stage itself
    assert "--nproc-per-node" not in child.stdout


def test_a_stage_parses_its_parameters_once(tmp_path, monkeypatch, capsys):
    """A training stage takes nine values from them, two before its own file runs."""
    parsed, load = [], YAML.load
    monkeypatch.setattr(YAML, "load", lambda self, stream: parsed.append(stream.name) or load(self, stream))
    params._parse.cache_clear()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    places = ["--packed", "packed", "--split", "split.csv", "--checkpoints", "checkpoints", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["stages", "--launch", "scratch", "lab_cnn", "--dataset", "{dataset}", *places])
    with pytest.raises(SystemExit):
        launching.start(str(ROOT / "stages"))
    assert "packed" in capsys.readouterr().err, "the stage had its parameters, and then found no images"
    assert parsed == ["params.yaml"]


def test_changed_parameters_are_parsed_again_and_what_a_caller_changes_stays_with_it(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 1\nscratch: {a: 1}\n")
    params.read(path)["scratch"]["b"] = 2
    assert params.read(path) == {"seed": 1, "scratch": {"a": 1}}
    path.write_text("seed: 2\nscratch: {a: 1}\n")
    assert params.load(path, int, "seed") == 2
