"""Trials as DVC experiments: what a workspace contains after a training becomes a commit under DVC's reference."""

import csv
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from darkroom import candidate, git, packed
from darkroom.candidate import Predictions
from darkroom.commands import dvc_internals
from darkroom.commands.sweep.plan import RESULTS, Plan
from darkroom.commands.workspaces import Workspace
from darkroom.evaluation.scores import calibration, metrics
from darkroom.foundations import files
from darkroom.packed import Split

State = Literal["complete", "pruned", "failed"]
SPLIT = Path("data/split.csv")
CURVES = Path("history/plots/metrics/validation")
DIGITS = 6


@dataclass(frozen=True)
class Epoch:
    """Scores on validation after one epoch."""

    number: int
    """From 1."""
    loss: float
    accuracy: float


def curve(workspace: Workspace, plan: Plan, *, complete: bool = False) -> list[Epoch]:
    """Return the epochs of the training in a workspace: those so far, or all of one that is complete."""
    folder = workspace.folder / (plan.folder if complete else files.partial_of(plan.folder)) / CURVES
    losses, accuracies = _column(folder / "loss.tsv"), _column(folder / "accuracy.tsv")
    both = sorted(losses.keys() & accuracies.keys())
    found = [Epoch(number, losses[number], accuracies[number]) for number in both]
    return [epoch for epoch in found if math.isfinite(epoch.loss)]


def _column(path: Path) -> dict[int, float]:
    """Return the values of a curve by epoch; its last line may be incomplete, because it is being written."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    whole = text[: text.rfind("\n") + 1].splitlines()
    return {int(row["step"]): float(row[path.stem]) for row in csv.DictReader(whole, delimiter="\t")}


def scores(workspace: Workspace, plan: Plan) -> dict[str, float]:
    """Return the scores of a trained candidate on the validation images, calibrated as the evaluation does."""
    split = packed.read_split(workspace.folder / SPLIT)
    score = metrics.score(*calibrated(workspace.folder / plan.folder / "predictions.npz", split))
    names = ("log_loss", "accuracy", "macro_f1")
    return {f"validation_{name}": round(float(getattr(score, name)), DIGITS) for name in names}


def calibrated(path: Path, split: Split) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the probabilities of the validation images, shape (rows, classes), and their labels.

    path: predictions of a candidate, also in DVC's cache. The temperature is that of the evaluation.
    """
    with np.load(path, allow_pickle=False) as arrays:
        predictions = Predictions(**arrays)
    held_out = predictions.held_out
    labels = {name: split.labels[split.rows(name)] for name in held_out}
    temperature = calibration.fit_temperature(
        np.concatenate(list(held_out.values())), np.concatenate(list(labels.values()))
    )
    return candidate.softmax(predictions.validation, temperature), labels["validation"]


def results(state: State, number: int, epochs: list[Epoch], found: Mapping[str, float]) -> dict[str, Any]:
    """Return the metrics of a trial; those of a stopped one have other names than those of a complete one."""
    last = {}
    if state != "complete" and epochs:
        last = {"epoch_validation_loss": epochs[-1].loss, "epoch_validation_accuracy": epochs[-1].accuracy}
    stopped = {"stopped_after_epochs": len(epochs)} if state != "complete" else {}
    return {"number": number, "state": state, **found, **stopped, **last}


def name_of(plan: Plan, number: int, state: State) -> str:
    """Return the name of a trial's experiment."""
    return f"sweep-{plan.key}-{number:03}" + ("" if state == "complete" else f"-{state}")


def clear(workspace: Workspace, plan: Plan) -> None:
    """Remove the curves of a training that was killed, which would count as those of the next one."""
    shutil.rmtree(workspace.folder / files.partial_of(plan.folder), ignore_errors=True)


def save(workspace: Workspace, plan: Plan, found: Mapping[str, Any]) -> str:
    """Make an experiment of the workspace's parameters, `dvc.lock` and the metrics `found`; return its name.

    No metrics or plots are left over from the last commit. `dvc.lock` keeps its entries for stages that did not run, as
    after `dvc exp run STAGE`: `dvc exp apply` needs them, and their other parameters and inputs make `dvc repro` run
    these stages; among them is the training that was stopped.
    """
    for path in plan.leftovers:
        if path.endswith(".json"):  # DVC warns of metrics files that are missing
            files.write_json(workspace.folder / path, {})
        else:
            (workspace.folder / path).unlink(missing_ok=True)
    files.write_json(workspace.folder / RESULTS, {"trial": dict(found)})
    name = name_of(plan, found["number"], found["state"])
    commit = workspace.commit(plan.base, f"darkroom sweep: trial {found['number']}, {found['state']}")
    workspace.publish(commit, dvc_internals.experiment_reference(plan.base.commit, name))
    return name


def saved(plan: Plan, number: int) -> dict[str, Any] | None:
    """Return the metrics of a trial whose experiment exists in the project, None if it does not."""
    top = Path.cwd()
    pattern = dvc_internals.experiment_reference(plan.base.commit, f"{name_of(plan, number, 'complete')}*")
    for reference in git.run("for-each-ref", "--format=%(refname)", pattern, folder=top).split():
        return dict(json.loads(git.run("show", f"{reference}:{RESULTS}", folder=top))["trial"])
    return None
