"""Decisions about labels: the file `data/labels.csv`, which people edit, alone or with `darkroom curate`.

A decision is about the bytes of a file, so it also holds for exact copies. Raw and packed data stay as they are: the
split applies the decisions, and all later stages read the labels from the split.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom import spreadsheets
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import Record

COLUMNS = ("sha256", "image", "old", "new", "reason", "by")
MOST = 5
"""Number of decisions that a message lists."""
NOT_ONE_SCENE, AND = "not one scene", "; "
"""Reason of a decision that an image shows another scene than those it was found with, and what separates reasons."""

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Decision:
    """One row of the file."""

    sha256: str
    """SHA-256 of the image's bytes, 64 hexadecimal digits, as in `index.csv`."""
    image: str
    """Name of the image, for people."""
    old: str
    """Class in the packed data. The decision is applied only while the image has this class there."""
    new: str
    """The right class, the same as `old` if that is right, or empty to exclude the image."""
    reason: str = ""
    by: str = ""
    """Name of the person, as git has it."""
    line: int = field(default=0, compare=False)
    """Line in the file, for messages."""

    @property
    def kept(self) -> bool:
        """Whether the label was confirmed."""
        return self.new == self.old

    @property
    def alone(self) -> bool:
        """Whether the image is in no scene."""
        return NOT_ONE_SCENE in self.reason.split(AND)


@dataclass(frozen=True)
class Applied:
    """Records with the decided labels, and the decisions that could not be applied."""

    records: list[Record]
    """All records; those with another class are replaced. Excluded ones keep their class."""
    excluded: npt.NDArray[np.bool_]
    """Shape (N,): whether a decision excludes the record."""
    alone: npt.NDArray[np.bool_]
    """Shape (N,): whether a decision takes the record out of its scene."""
    relabelled: int = 0
    """Number of records with another class than before."""
    kept: int = 0
    """Number of records whose class was confirmed."""
    missing: Sequence[Decision] = ()
    """Their images are not in the data."""
    outdated: Sequence[Decision] = ()
    """Their images have another class than the decision assumes."""
    contradictory: Sequence[Decision] = ()
    """They give different classes to the same image, so none of them is applied."""


def undecided(records: Sequence[Record]) -> Applied:
    """Return `records` without any decision."""
    return Applied(list(records), *np.zeros((2, len(records)), dtype=np.bool_))


def read(path: Path) -> list[Decision]:
    """Return the decisions in a file, sorted.

    Raises DarkroomError when it is not a CSV file with the columns `COLUMNS`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheet programs write a byte order mark
    except FileNotFoundError:
        raise DarkroomError(f"{naming.shown(path)} is missing: restore it with {_restore(path)}") from None
    except UnicodeDecodeError:
        raise DarkroomError(f"{naming.shown(path)} is not UTF-8: save it as CSV UTF-8, or {_restore(path)}") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise DarkroomError(
                f"{naming.shown(path)} has the first line '{naming.shown(','.join(header))}' instead of "
                f"'{','.join(COLUMNS)}': write that line, or {_restore(path)}"
            )
        return sorted({_decision(path, cells, reader.line_num) for cells in reader if cells})
    except csv.Error as error:
        raise DarkroomError(
            f"{naming.shown(path)}, line {reader.line_num}, is not CSV ({error}): correct it, or {_restore(path)}"
        ) from None


def _decision(path: Path, cells: list[str], line: int) -> Decision:
    place = f"{naming.shown(path)}, line {line}"
    if len(cells) != len(COLUMNS):
        merge = " (the line comes from a merge conflict)" * cells[0].startswith(("<<<<<<<", "=======", ">>>>>>>"))
        raise DarkroomError(
            f"{place}, has {naming.count(len(cells), 'cell')} instead of {len(COLUMNS)}{merge}: correct it, or "
            f"{_restore(path)}"
        )
    sha256, image, old, new, reason, by = map(spreadsheets.original, cells)
    found = Decision(sha256, image, old, new, reason, by, line)
    if not _SHA256.fullmatch(found.sha256):
        raise DarkroomError(
            f"{place}: sha256 is '{naming.shown(found.sha256)}', not 64 hexadecimal digits: copy it from "
            "data/packed/index.csv"
        )
    if not found.old:
        raise DarkroomError(f"{place}: old is empty: give the class that the image has in data/packed/index.csv")
    return found


def _restore(path: Path) -> str:
    return f"`git checkout {naming.shown(path)}`"


def write(path: Path, decisions: Iterable[Decision]) -> None:
    """Write the decisions atomically and sorted, so that equal decisions are equal bytes."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for each in sorted(set(decisions)):
        # Python before 3.13 does not quote carriage returns if the line end has none.
        cells = [spreadsheets.neutral(getattr(each, name)) for name in COLUMNS]
        if any("\r" in cell for cell in cells):
            csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
        else:
            rows.writerow(cells)
    files.write_text(path, text.getvalue())


def apply(records: Sequence[Record], decisions: Iterable[Decision], path: Path) -> Applied:
    """Return the records with the decided labels; `path` is the decisions' file, for messages.

    A decision that is not needed any more, because the data already have the new class, is neither applied nor
    reported.

    Raises DarkroomError when a decision to be applied gives a class that the data do not have.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        rows_of[record.sha256].append(row)
    by_image: dict[str, list[Decision]] = defaultdict(list)
    missing, outdated, contradictory = [], [], []
    for each in sorted(set(decisions)):
        labels = {records[row].label for row in rows_of.get(each.sha256, ())}
        if not labels:
            missing += [each] * bool(each.new)  # an excluded image need not be in the data
        elif each.old in labels:
            by_image[each.sha256].append(each)
        elif labels != {each.new}:
            outdated.append(each)
    classes = {record.label for record in records}
    changed, kept = list(records), 0
    excluded, alone = np.zeros((2, len(records)), dtype=np.bool_)
    for sha256, found in by_image.items():
        if len({each.new for each in found}) > 1 and not all(each.kept for each in found):
            contradictory += found
            continue
        new = {each.old: each.new for each in found}
        apart = {each.old for each in found if each.alone}
        _refuse_unknown(found, classes, path)
        for row in rows_of[sha256]:
            if (label := new.get(records[row].label)) is None:
                continue
            excluded[row] = not label
            alone[row] = records[row].label in apart
            kept += label == records[row].label
            if label and label != records[row].label:
                changed[row] = replace(records[row], label=label)
    relabelled = sum(one is not other for one, other in zip(records, changed, strict=True))
    return Applied(changed, excluded, alone, relabelled, kept, missing, outdated, contradictory)


def _refuse_unknown(found: Sequence[Decision], classes: set[str], path: Path) -> None:
    for each in found:
        if each.new and each.new not in classes:
            raise DarkroomError(
                f"{naming.shown(path)}, line {each.line}: new is '{naming.shown(each.new)}', which is not a class: "
                f"give one of {naming.listed(sorted(classes))}, or nothing to exclude the image"
            )


def remarks(applied: Applied, path: Path) -> list[str]:
    """Return lines about what was applied and what was not."""
    name, lines = naming.shown(path), []
    excluded = int(applied.excluded.sum())
    if applied.relabelled or excluded or applied.kept:
        lines.append(
            f"{name}: {naming.count(applied.relabelled, 'label')} changed, {naming.count(excluded, 'image')} excluded, "
            f"{naming.count(applied.kept, 'label')} confirmed"
        )
    for found, reason in (
        (applied.missing, "not applied, because the image is not in the data"),
        (applied.outdated, "not applied, because the image no longer has the old class"),
        (applied.contradictory, "not applied, because they contradict each other"),
    ):
        if found:
            listed = naming.listed([f"{each.image} ({each.old} → {each.new or 'excluded'})" for each in found], MOST)
            lines.append(f"{name}: {naming.count(len(found), 'decision')} {reason}: {listed}")
    return lines
