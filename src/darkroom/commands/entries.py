"""Predictions of a deployed model, from the service's prediction log or a CSV file of `darkroom predict`."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom import spreadsheets
from darkroom.data import tree
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

VERDICTS = {"true": True, "false": False}


@dataclass
class Entries:
    """The predictions, as lists with one value per image, and the number of ignored ones."""

    labels: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    """Of `labels`, calibrated, 0 to 1."""
    confident: list[bool] = field(default_factory=list)
    in_distribution: list[bool] = field(default_factory=list)
    """This and `confident` are empty if the model was evaluated without thresholds."""
    first: str = ""
    """Time of the earliest prediction, ISO 8601; empty for a CSV file."""
    last: str = ""
    again: int = 0
    """Predictions for images that were sent before; each image counts once."""
    other: int = 0
    """Predictions of other versions of the model."""
    unreadable: int = 0
    """Truncated or invalid lines, and images without a prediction."""


def read(path: Path, classes: Sequence[str], version: str) -> Entries:
    """Read all predictions of the model `version`.

    path: a log folder (the value of `serve.log`), one log file, or a CSV file of `darkroom predict`, which does not
    contain the version.

    Raises DarkroomError when `path` is none of these, or has no predictions of this version.
    """
    entries, known, seen = Entries(), set(classes), set[str]()
    for row in _rows(path):
        digest = str(row.get("sha256") or "")
        if row.get("version", version) != version:
            entries.other += 1
        elif str(row.get("label")) not in known or not _is_probability(row.get("probability")):
            entries.unreadable += 1
        elif digest in seen:
            entries.again += 1
        else:
            seen |= {digest} - {""}
            _add(entries, row)
    if not entries.labels:
        raise DarkroomError(
            f"{naming.shown(path)} has no predictions of the model {naming.shown(version)} "
            f"({entries.other:,} of other versions, {entries.unreadable:,} invalid lines): "
            "give the log of this model, or another model with --model"
        )
    return entries


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
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


def _is_probability(value: Any) -> bool:
    try:
        return 0 <= float(value) <= 1
    except (TypeError, ValueError, OverflowError):
        return False


def _add(entries: Entries, row: Mapping[str, Any]) -> None:
    entries.labels.append(str(row["label"]))
    entries.probabilities.append(float(row["probability"]))
    verdicts = [VERDICTS.get(str(row.get(name)).lower()) for name in ("confident", "in_distribution")]
    if verdicts[0] is not None and verdicts[1] is not None:
        entries.confident.append(verdicts[0])
        entries.in_distribution.append(verdicts[1])
    if time := str(row.get("time") or ""):
        entries.first = min(entries.first or time, time)
        entries.last = max(entries.last, time)
