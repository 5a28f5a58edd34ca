"""Predictions of a deployed model, from the service's prediction log or a CSV file of `darkroom predict`."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from darkroom import spreadsheets
from darkroom.data import tree
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

COLUMNS = ["label", "probability", "confident", "in_distribution", "version", "sha256", "time"]
VERDICTS = ["confident", "in_distribution"]


@dataclass(frozen=True)
class Entries:
    """The predictions, and the number of ignored lines."""

    answers: pd.DataFrame
    """One row per image: `label`, its calibrated `probability` (0 to 1), and the nullable booleans `confident` and
    `in_distribution`, which are missing if the model was evaluated without thresholds."""
    first: str = ""
    """Time of the earliest prediction, ISO 8601; empty for a CSV file."""
    last: str = ""
    again: int = 0
    """Predictions for images that were sent before; each image counts once."""
    other: int = 0
    """Predictions of other versions of the model."""
    unreadable: int = 0
    """Truncated or invalid lines, and images without a prediction."""

    @property
    def verdicts(self) -> pd.DataFrame:
        """`confident` and `in_distribution` of the answers that have both."""
        return self.answers[VERDICTS].dropna().astype(bool)


def read(path: Path, classes: Sequence[str], version: str) -> Entries:
    """Read all predictions of the model `version`.

    path: a log folder (the value of `serve.log`), one log file, or a CSV file of `darkroom predict`, which does not
    contain the version.

    Raises DarkroomError when `path` is none of these, or has no predictions of this version.
    """
    # Most cells repeat those of other lines, and are kept once.
    cells = (["" if row.get(name) is None else sys.intern(str(row[name])) for name in COLUMNS] for row in rows(path))
    lines = pd.DataFrame(cells, columns=COLUMNS, dtype=object)
    ours = lines[lines["version"].isin(["", version])]
    probabilities = pd.to_numeric(ours["probability"], errors="coerce")
    answers = ours[ours["label"].isin(classes) & probabilities.between(0, 1)]
    once = answers[(answers["sha256"] == "") | ~answers["sha256"].duplicated()]
    other, unreadable = len(lines) - len(ours), len(ours) - len(answers)
    if once.empty:
        raise DarkroomError(
            f"{naming.shown(path)} has no predictions of the model {naming.shown(version)} "
            f"({other:,} of other versions, {naming.count(unreadable, 'invalid line')}): "
            "give the log of this model, or another model with --model"
        )
    given = {name: once[name].str.lower().map({"true": True, "false": False}).astype("boolean") for name in VERDICTS}
    times = once["time"][once["time"] != ""]
    return Entries(
        answers=once[["label"]].assign(probability=probabilities, **given),
        first=times.min() if len(times) else "",
        last=times.max() if len(times) else "",
        again=len(answers) - len(once),
        other=other,
        unreadable=unreadable,
    )


def rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield each line as a mapping, which is empty for an invalid line."""
    if path.suffix.lower() == ".csv" and path.is_file():
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            try:
                for row in csv.DictReader(file):
                    yield row | {"label": spreadsheets.original(row.get("label") or "")}
            except csv.Error as error:
                raise DarkroomError(
                    f"{naming.shown(path)} is not a CSV file of `darkroom predict` ({error}): give another file"
                ) from None
        return
    for file_path in _logs(path):
        with file_path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    row = {}  # truncated by a full disk or a kill
                yield row if isinstance(row, dict) else {}


def _logs(path: Path) -> list[Path]:
    """Return the files of a log; BentoML starts a new one each day."""
    if path.is_file():
        return [path]
    found = tree.walk(path) if path.is_dir() else ()
    logs = [file for name, file in found if file.parent.name == "data" and ".log" in file.name and name[-1] != "/"]
    if not logs:
        there = "contains no log (data/*.log)" if path.is_dir() else "does not exist"
        raise DarkroomError(
            f"{naming.shown(path)} {there}: give the folder set as serve.log, a log file, or a CSV file of "
            "`darkroom predict`"
        )
    return logs
