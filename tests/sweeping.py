"""A git and DVC project whose training takes a moment, for tests of what runs stages in workspaces.

Its scores depend on the learning rate: the nearer to 0.1, the better. 13 diverges.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from darkroom.commands import editing
from darkroom.foundations import files
from tests.imports import ROOT
from tests.reviewed import commit, git

PIPELINE = """
stages:
  split:
    cmd: python split.py
    deps: [source.csv, split.py]
    outs: [data/split.csv, data/test_images.json: {cache: false, persist: true}]
  scratch:
    foreach: ${scratch}
    do:
      cmd: python train.py ${key}
      params: [seed, 'scratch.${key}', datasets.digits.training]
      deps: [data/split.csv, train.py]
      outs: ['models/candidates/${key}']
  evaluate:
    cmd: python evaluate.py
    params: [scratch]
    deps: [models/candidates, evaluate.py]
    outs: [models/best.json, plots/confusion.csv: {cache: false}]
    metrics: [metrics/evaluation.json: {cache: false}]
"""
SPLIT = """
from pathlib import Path
Path("data").mkdir(exist_ok=True)
Path("data/split.csv").write_text(Path("source.csv").read_text())
Path("data/test_images.json").write_text("[]\\n")
"""
TRAIN = """
import math, os, shutil, signal, sys, time
from pathlib import Path
from ruamel.yaml import YAML
import numpy as np

name = sys.argv[1]
document = YAML(typ="safe").load(Path("params.yaml"))
rate = document["scratch"][name]["learning_rate"]
with open(os.environ["TRAININGS"], "a") as log:
    log.write(f"{name} {rate} {os.environ.get('OMP_NUM_THREADS')}\\n")
far = abs(math.log10(rate / 0.1))
partial = Path(f"models/candidates/.{name}.partial")
curves = partial / "history/plots/metrics/validation"
curves.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: (shutil.rmtree(partial), os._exit(143)))
if rate == 13:
    print("error: training diverged: the loss of epoch 1 is nan. Lower learning_rate", file=sys.stderr)
    sys.exit(1)
for epoch in range(1, document["datasets"]["digits"]["training"]["epochs"] + 1):
    time.sleep(float(os.environ.get("EPOCH", "0.02")) * (1 + 20 * (far > 1)))
    for key, value in (("loss", far + 1 / epoch), ("accuracy", 1 - far / 10)):
        path = curves / f"{key}.tsv"
        if epoch == 1:
            path.write_text(f"step\\t{key}\\n")
        with path.open("a") as file:
            file.write(f"{epoch}\\t{value}\\n")
labels = np.arange(90) % 3
logits = np.eye(3, dtype=np.float32)[labels] * (4 - far)
logits[: int(10 * far)] = logits[: int(10 * far), ::-1]
np.savez(partial / "predictions.npz", validation=logits, test=logits)
(partial / "card.json").write_text('{"seconds": 1.0}')
partial.rename(f"models/candidates/{name}")
"""
EVALUATE = """
import json, pathlib
names = sorted(path.name for path in pathlib.Path("models/candidates").iterdir())
for folder in ("metrics", "plots"):
    pathlib.Path(folder).mkdir(exist_ok=True)
pathlib.Path("metrics/evaluation.json").write_text(json.dumps({"best": {"test_accuracy": 0.9}}))
pathlib.Path("models/best.json").write_text(json.dumps(names))
pathlib.Path("plots/confusion.csv").write_text("actual,predicted\\n")
"""
SPACE = {"scratch.net.learning_rate": {"kind": "float", "low": 0.05, "high": 0.5, "log": True}}


def environment(top: Path) -> dict[str, str]:
    """Return the variables that a command in the project needs."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"TRAININGS": str(top.parent / "trainings.log"), "PATH": programs, "CUDA_VISIBLE_DEVICES": ""}


def start(
    top: Path,
    patch: pytest.MonkeyPatch,
    sweep: Mapping[str, Any] | None = None,
    learning_rate: float = 0.2,
    *,
    runs: bool = True,
) -> None:
    """Make the project with one commit, whose pipeline ran if `runs`, and enter it.

    The pipeline runs once per session for each learning rate; the other projects are copies of that one.
    """
    for name, value in environment(top).items():
        patch.setenv(name, value)
    if runs:
        template = top.parent.parent / f"sweeping-{learning_rate}" / "project"
        if not template.is_dir():
            _write(template, learning_rate)
            with pytest.MonkeyPatch.context() as own:
                own.setenv("TRAININGS", environment(template)["TRAININGS"])
                repro(template)
        shutil.copytree(template.parent, top.parent, symlinks=True, dirs_exist_ok=True)
    else:
        _write(top, learning_rate)
    text = (top / "params.yaml").read_text(encoding="utf-8")
    values = {"sweep": {"candidate": "net", "space": SPACE, "trials": 3, **(sweep or {})}}
    files.write_text(top / "params.yaml", editing.edit(text, values))
    patch.chdir(top)
    commit(top, "start")


def _write(top: Path, learning_rate: float) -> None:
    """Write the project, in a repository without a commit."""
    top.mkdir(parents=True)
    git(top, "init", "--quiet", "--initial-branch", "main")
    Repo.init(str(top)).close()
    scripts = {"dvc.yaml": PIPELINE, "split.py": SPLIT, "train.py": TRAIN, "evaluate.py": EVALUATE}
    for name, text in scripts.items():
        files.write_text(top / name, text)
    rows = [f"{'abc'[place % 3]},{'validation' if place < 90 else 'train'},0,{place}" for place in range(120)]
    files.write_text(top / "source.csv", "\n".join(["label,split,leak,group", *rows, ""]))
    values = {
        "scratch": {"net": {"architecture": "lab_cnn", "learning_rate": learning_rate}},
        "transfer": {},
        "datasets.digits.training.epochs": 4,
    }
    files.write_text(top / "params.yaml", editing.edit((ROOT / "params.yaml").read_text(encoding="utf-8"), values))
    ignored = "/data/*\n!/data/test_images.json\n/models\n/.darkroom\n/plots/sweep\n__pycache__\n"
    files.write_text(top / ".gitignore", ignored)


def repro(top: Path) -> None:
    """Run the pipeline."""
    with contextlib.chdir(top), Repo() as repo:
        repo.reproduce()


def trainings(top: Path) -> list[str]:
    """Return a line for each training that was started: candidate, learning rate, threads."""
    return (top.parent / "trainings.log").read_text(encoding="utf-8").splitlines()


def experiments(top: Path) -> dict[str, str]:
    """Return the experiments by name, with their commits."""
    lines = git(top, "for-each-ref", "--format=%(refname:lstrip=4) %(objectname)", "refs/exps").splitlines()
    return dict(line.split() for line in lines if line.startswith("sweep-"))


def run(top: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `darkroom` in the project."""
    command = [sys.executable, "-c", "from darkroom.commands.main import main; main()", *arguments]
    path = str(ROOT / "src")
    return subprocess.Popen(
        command,
        cwd=top,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment(top), "PYTHONPATH": path},
    )
