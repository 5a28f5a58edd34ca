"""The results of a commit, compared with those of its rebuild."""

import io
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from darkroom.commands.review.revisions import LOCK, Revision
from darkroom.commands.review.snapshots import CONFUSION, COST, DATA, EVALUATION, ROBUSTNESS, flatten
from darkroom.foundations import files, naming

METRICS = (DATA, EVALUATION, ROBUSTNESS, COST)
MEASURED = {"milliseconds"}
"""Metrics that are times, so that no two runs agree."""
EVERYWHERE = re.compile(
    r"data/(raw|packed|split\.csv|copies\.csv|test_images\.json)|metrics/data\.json|params\.schema\.json"
    r"|models/pretrained/.+"
)
"""Outputs that are the same on every machine: nothing in them is a sum of rounded numbers."""
ON_ONE_KIND = re.compile(
    r"models/(best\.json|served)|metrics/(evaluation|robustness)\.json|plots/(tables|\w+\.csv)|dist/.+"
)
"""Outputs that are the same on the same kind of processor with the same versions."""
BENTO = re.compile(r"dist/.+")

MULTIPLE = 3
"""How many times the largest measured difference is allowed. The range of three runs is 1.7 standard deviations wide on
average, so this is 3.6 standard deviations of the difference of two runs."""
LARGEST = {
    "accuracy": 0.0096,
    "log_loss": 0.0115,
    "ece": 0.0032,
    "confident": 0.0254,
    "corrupted": 0.0233,
    "predictions": 0.0056,
}
"""Largest differences of the digits' results in float32 between oneDNN's AVX2 and SSE4.1 code and between one and two
threads: benchmarks/RESULTS.md. In one of the runs, another network was selected, within noise of the first."""
SCORES = (
    (re.compile(r"log_loss$"), "log_loss"),
    (re.compile(r"ece$"), "ece"),
    (re.compile(r"confident$"), "confident"),
    (re.compile(r"corruption_accuracy$"), "corrupted"),
    (re.compile(r"(accuracy|macro_f1)(_low|_high)?$"), "accuracy"),
)
"""Metrics that depend on rounding, by the end of their names, and the tolerance that they have."""
SELECTED = "best.name"
"""Another network may be selected on another processor, if it is one of the commit's candidates."""
LOW_PRECISION = 2
"""Factor for training in bfloat16 or float16, whose numbers are less precise; chosen, not measured."""


@dataclass(frozen=True)
class Compared:
    """One value of the commit and of the rebuild."""

    expected: Any
    found: Any
    tolerance: float | None
    """Largest absolute difference that is allowed; None if the value is not compared."""
    agrees: bool


@dataclass(frozen=True)
class Comparison:
    """All values."""

    metrics: dict[str, dict[str, Compared]]
    """By file and dotted name."""
    outputs: dict[str, Compared]
    """MD5 of outputs as in `dvc.lock`, by path."""
    predictions: Compared
    """Fraction of the test images with another prediction."""

    def differences(self) -> list[str]:
        """Return what does not agree, in words that name the file."""
        found = [
            f"{path}: {naming.shown(name)} is {naming.shown(each.expected)}, and the rebuild gives "
            f"{naming.shown(each.found)}{_allowed(each)}"
            for path, values in self.metrics.items()
            for name, each in values.items()
            if not each.agrees
        ]
        if not self.predictions.agrees:
            found.append(
                f"{CONFUSION}: {self.predictions.found:.2%} of the predictions differ{_allowed(self.predictions)}"
            )
        return found + [
            f"{naming.shown(path)}: {LOCK} has MD5 {naming.shown(each.expected)}, and the rebuild gives {each.found}"
            for path, each in self.outputs.items()
            if not each.agrees
        ]

    def plain(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {
            "metrics": {
                path: {name: asdict(each) for name, each in values.items()} for path, values in self.metrics.items()
            },
            "outputs": {path: asdict(each) for path, each in self.outputs.items()},
            "predictions": asdict(self.predictions),
        }


def _allowed(each: Compared) -> str:
    return f" (tolerance: {each.tolerance:.4g})" if each.tolerance else ""


def tolerance(name: str, precision: str) -> float:
    """Return the largest difference of a metric that is allowed between kinds of processors; 0 for one that is exact.

    name: the end of a metric's name, or `predictions`. precision: of training, such as float32.
    """
    kind = next((kind for pattern, kind in SCORES if pattern.search(name)), name)
    return MULTIPLE * LARGEST.get(kind, 0.0) * (1 if precision == "float32" else LOW_PRECISION)


def compare(
    revision: Revision, rebuilt: Path, *, stages: Collection[str], exact: bool, precision: str, bento: bool
) -> Comparison:
    """Compare the results of a commit with those of its rebuild in the folder `rebuilt`.

    stages: those of the pipeline; `dvc.lock` also keeps former ones, which are not rebuilt. exact: both are from the
    same kind of processor and the same versions. precision: of training. bento: the Bento was built from the committed
    proof, so that it is the same as well.
    """
    metrics: dict[str, dict[str, Compared]] = {}
    for path in METRICS:
        expected = flatten(revision.read_json(path) or {})
        there = flatten(files.read_json(rebuilt / path)) if (rebuilt / path).is_file() else {}
        names = sorted(expected.keys() | there.keys())
        metrics[path] = {name: _value(name, expected.get(name), there.get(name), exact, precision) for name in names}
    _allow_selection(metrics, exact)
    after_stages = YAML(typ="safe").load(rebuilt / LOCK)["stages"]
    before, after = _outputs(revision.stages, stages), _outputs(after_stages, stages)
    outputs = {
        path: Compared(before.get(path), after.get(path), 0.0, before.get(path) == after.get(path))
        for path in sorted(before.keys() | after.keys())
        if _is_compared(path, exact, bento)
    }
    return Comparison(metrics, outputs, _predictions(revision, rebuilt, exact, precision))


def _allow_selection(metrics: dict[str, dict[str, Compared]], exact: bool) -> None:
    """Accept another selected network, whose size then differs as well, if the processor may have changed it."""
    evaluation = metrics[EVALUATION]
    name = evaluation.get(SELECTED)
    if exact or name is None or name.agrees:
        return
    if f"candidates.{name.found}.test_accuracy" in evaluation:
        evaluation[SELECTED] = Compared(name.expected, name.found, None, True)
        metrics[COST] = {key: Compared(each.expected, each.found, None, True) for key, each in metrics[COST].items()}


def _is_compared(path: str, exact: bool, bento: bool) -> bool:
    if EVERYWHERE.fullmatch(path):
        return True
    return exact and bool(ON_ONE_KIND.fullmatch(path)) and (bento or not BENTO.fullmatch(path))


def _value(name: str, expected: Any, found: Any, exact: bool, precision: str) -> Compared:
    if name.rpartition(".")[2] in MEASURED:
        return Compared(expected, found, None, True)
    allowed = 0.0 if exact else tolerance(name, precision)
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (expected, found))
    # Rounded to more digits than metrics have: 0.9944 - 0.9916 is a little more than 0.0028.
    close = numbers and math.isfinite(expected - found) and round(abs(expected - found), 9) <= round(allowed, 9)
    return Compared(expected, found, allowed, close if numbers else expected == found)


def _outputs(recorded: Mapping[str, Any], stages: Collection[str]) -> dict[str, str]:
    return {entry["path"]: str(entry.get("md5")) for name in stages for entry in recorded.get(name, {}).get("outs", ())}


def _predictions(revision: Revision, rebuilt: Path, exact: bool, precision: str) -> Compared:
    frames = [
        pd.read_csv(io.StringIO(text or ""), dtype=str, na_filter=False) if text else pd.DataFrame()
        for text in (revision.read(CONFUSION), _text(rebuilt / CONFUSION))
    ]
    share = 1.0
    if len(frames[0]) == len(frames[1]) > 0:
        share = float((frames[0].to_numpy() != frames[1].to_numpy()).any(axis=1).mean())
    allowed = 0.0 if exact else tolerance("predictions", precision)
    return Compared(0.0, share, allowed, share <= allowed)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
