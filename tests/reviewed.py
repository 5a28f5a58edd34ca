"""A git and DVC repository with results to review, made without training.

Its data come from the split stage; predictions are written as evaluate writes them, wrong where a test asks for it.
"""

import contextlib
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from dvc.repo import Repo

from darkroom import candidate, frames, packed, plot_labels
from darkroom.evaluation.scores.intervals import accuracy_interval
from darkroom.foundations import files
from stages import split
from tests import factories

CLASSES = ("cat", "</script><b>dog|@you", "frog")
PER_CLASS = 120
PIPELINE = """
stages:
  pack: {cmd: 'true', outs: [data/packed]}
  split:
    cmd: 'true'
    outs: [data/split.csv, data/copies.csv, data/test_images.json: {cache: false}]
    metrics: [metrics/data.json: {cache: false}]
  scratch:
    foreach: ${scratch}
    do:
      cmd: 'true'
      params: ['scratch.${key}']
      outs: ['models/candidates/${key}']
  evaluate:
    cmd: 'true'
    params: [seed, scratch]
    outs: [models/best.json, plots/tables, plots/confusion.csv: {cache: false}]
    metrics: [metrics/evaluation.json: {cache: false}]
"""
PARAMETERS = """
dataset: patterns
seed: 0
datasets:
  patterns:
    pack: {image_size: 16}
    split: {validation: 0.15, test: 0.25, near_copies: 0}
scratch:
  net: {architecture: lab_cnn, learning_rate: 0.1}
"""


def git(top: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", *identity, *arguments], cwd=top, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_data(top: Path) -> None:
    """Write `dvc.lock`, and the outputs into the cache."""
    with contextlib.chdir(top), Repo() as repo:
        repo.commit(force=True)


def start(top: Path) -> None:
    """Make the repository, with data and no results."""
    git(top, "init", "--quiet", "--initial-branch", "main")
    git(top, "config", "user.name", "a")
    git(top, "config", "user.email", "a@localhost")
    Repo.init(str(top)).close()
    files.write_text(top / "dvc.yaml", PIPELINE)
    files.write_text(top / "params.yaml", PARAMETERS)
    files.write_text(top / ".gitignore", "/data/packed\n/data/split.csv\n/data/copies.csv\n/models\n/plots/tables\n")


def write_data(top: Path, per_class: int = PER_CLASS) -> None:
    """Pack the first images of an endless series and split them."""
    folder = factories.write_packed(top / "data" / "packed", CLASSES, per_class)
    places = {name: top / "data" / f"{name}.csv" for name in ("split", "copies")}
    arguments = {
        "params": top / "params.yaml",
        "dataset": "patterns",
        "packed": folder,
        "test-images": top / "data" / "test_images.json",
        "out": places["split"],
        "copies": places["copies"],
        "metrics": top / "metrics" / "data.json",
    }
    if (labels := top / "data" / "labels.csv").is_file():
        arguments["labels"] = labels
    split.main([part for name, value in arguments.items() for part in (f"--{name}", str(value))])


def write_results(top: Path, wrong: Collection[int], milliseconds: float = 0.5, invalid: Collection[int] = ()) -> None:
    """Write the results of a model that takes these images, by place in test and validation, for the next class."""
    found = packed.read_split(top / "data" / "split.csv")
    labels = found.labels[found.rows("test")]
    predicted = [(label + (place in wrong)) % len(CLASSES) for place, label in enumerate(labels.tolist())]
    names = [plot_labels.defuse(name) for name in found.classes]
    frame = pd.DataFrame({"actual": [names[label] for label in labels], "predicted": [names[p] for p in predicted]})
    frames.write(top / "plots" / "confusion.csv", frame, escape=False)
    right, total = sum(predicted == labels), len(labels)
    accuracy, (low, high) = round(right / total, 4), accuracy_interval(right, total)
    best = {
        "name": "net",
        "confident": 0.9,
        **{f"test_{name}": accuracy for name in ("accuracy", "macro_f1")},
        **{f"test_{name}_low": round(low, 4) for name in ("accuracy", "macro_f1")},
        **{f"test_{name}_high": round(high, 4) for name in ("accuracy", "macro_f1")},
        "test_log_loss": round(1.1 - accuracy, 4),
        "test_ece": 0.01,
    }
    scores = {"test_accuracy": accuracy, "test_macro_f1": accuracy}
    candidates = {"baseline": {"test_accuracy": 0.5, "test_macro_f1": 0.5}, "net": scores}
    files.write_json(top / "metrics" / "evaluation.json", {"best": best, "candidates": candidates})
    write_candidate(top, predicted, invalid)
    files.write_json(top / "metrics" / "cost.json", {"megabytes": 1.5, "milliseconds": milliseconds})
    files.write_json(top / "metrics" / "robustness.json", {"images": 20, "mean_corruption_accuracy": 0.8})


def write_candidate(top: Path, test: Sequence[int], wrong: Collection[int]) -> None:
    """Write the predictions and `models/best.json` of a model that is wrong on these validation images."""
    found = packed.read_split(top / "data" / "split.csv")
    labels = found.labels[found.rows("validation")]
    answers = [(label + (place in wrong)) % len(CLASSES) for place, label in enumerate(labels.tolist())]
    folder = top / "models" / "candidates" / "net"
    folder.mkdir(parents=True, exist_ok=True)
    logits = [3 * np.eye(len(CLASSES), dtype=np.float32)[np.array(each)] for each in (answers, test)]
    candidate.write_predictions(folder, candidate.Predictions(*logits))
    accuracy = float((np.array(answers) == labels).mean())
    best = {
        "name": "net",
        "metric": "accuracy",
        "value": accuracy,
        "reason": "It is the only network.",
    }
    files.write_json(top / "models" / "best.json", best)
    files.write_json(top / "plots" / "tables" / "scores.json", {"candidates": {"net": {"temperature": 1.0}}})


def set_learning_rate(top: Path, value: float) -> None:
    """Change a parameter and `dvc.lock`, as a run with it would."""
    for name in ("params.yaml", "dvc.lock"):
        path = top / name
        path.write_text(path.read_text("utf-8").replace("learning_rate: 0.1", f"learning_rate: {value}"), "utf-8")


def commit(top: Path, message: str) -> str:
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", message)
    return git(top, "rev-parse", "HEAD")


def save_experiment(top: Path, name: str) -> None:
    """Turn the workspace into a DVC experiment, and go back to the last commit."""
    commit_data(top)
    with contextlib.chdir(top), Repo() as repo:
        repo.experiments.save(name=name, force=True)
    git(top, "reset", "--quiet", "--hard")
