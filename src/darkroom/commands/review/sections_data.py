"""The sections of a review about parameters, code and data."""

from typing import Any

import pandas as pd

from darkroom.commands.review.blocks import Gallery, Section, Table, Thumbnail
from darkroom.commands.review.changes import Changed, DataChanges
from darkroom.commands.review.sections import MOST_CLASSES, MOST_IMAGES
from darkroom.commands.review.snapshots import Snapshot
from darkroom.foundations import naming
from darkroom.foundations.naming import count
from darkroom.packed import SPLITS

MOST_PARAMETERS = 40
"""Rows of the table of parameters."""


def parameters(changed: list[Changed], code: list[str]) -> Section:
    """Return the parameters and the files of code that differ."""
    section = Section("Parameters and code")
    if changed:
        rows = [(each.name, _value(each.before), _value(each.after)) for each in changed]
        more = f"and {len(rows) - MOST_PARAMETERS:,} more" if len(rows) > MOST_PARAMETERS else ""
        section.blocks.append(Table(("parameter", "before", "after"), rows[:MOST_PARAMETERS], text=3, left_out=more))
    else:
        section.blocks.append("No parameter differs.")
    if code:
        section.blocks.append(
            f"{count(len(code), 'file of code differs', 'files of code differ')}: {naming.listed(code)}."
        )
    return section


def data(found: DataChanges, base: Snapshot, head: Snapshot) -> Section:
    """Return what differs between the data: counts, classes, images, copies and leaks."""
    section = Section("Data")
    if not found.any:
        section.blocks.append("The images, their classes and the split are the same.")
        return section
    if found.image_size:
        section.blocks.append(
            f"Images are packed at {found.image_size.after} pixels instead of {found.image_size.before}."
        )
    rows = [
        (each.name, f"{each.before:,}", f"{each.after:,}", f"{each.after - each.before:+,}") for each in found.counts
    ]
    if rows:
        section.blocks.append(Table(("", "before", "after", "change"), rows))
    if found.classes:
        columns = ("class", *(f"{split} {when}" for split in SPLITS for when in ("before", "after")))
        lines = [(name, *(f"{value:,}" for pair in counts for value in pair)) for name, counts in found.classes]
        left = len(lines) - MOST_CLASSES
        more = f"and {count(left, 'class', 'classes')} that changed less" if left > 0 else ""
        section.blocks.append(Table(columns, lines[:MOST_CLASSES], left_out=more))
    if found.moved:
        section.blocks.append(_moved(found))
    section.blocks.extend(_galleries(found, base, head))
    return section


def _moved(found: DataChanges) -> str:
    text = ", ".join(f"{number:,} from {old} to {new}" for old, new, number in found.moved)
    warning = ""
    if any(old == "test" and new in ("train", "validation") for old, new, _ in found.moved):
        warning = " The base's model was evaluated on images that this one has seen, which are not compared."
    return f"Images in another split than before: {text}.{warning}"


def _galleries(found: DataChanges, base: Snapshot, head: Snapshot) -> list[str | Gallery | Table]:
    galleries: list[str | Gallery | Table] = []
    tables = (
        ("Added images", head, found.added, ("split",)),
        ("Removed images", base, found.removed, ("split",)),
        ("Images with another class than before", head, found.relabelled, ("was",)),
        ("New copies", head, found.copies.assign(kind=_kinds(found.copies)), ("kind", "split")),
        ("New leaks: test images with a copy among the training images", head, found.leaks, ()),
    )
    for title, snapshot, images, more in tables:
        if len(images):
            spread = _spread(images)
            rows = [tuple(str(row[name]) for name in ("name", "label", *more)) for row in spread.to_dict("records")]
            thumbnails = [
                Thumbnail(snapshot, int(number), cells) for number, cells in zip(spread["row"], rows, strict=True)
            ]
            galleries.append(Gallery(title, ("image", "class", *more), thumbnails, len(images)))
    return galleries


def _spread(images: pd.DataFrame) -> pd.DataFrame:
    """Return some images, as many of each class as the others leave room for, in their order."""
    turn = images.groupby("label").cumcount()
    chosen = images.assign(turn=turn).sort_values("turn", kind="stable").head(MOST_IMAGES)
    return chosen.sort_index()


def _kinds(copies: pd.DataFrame) -> pd.Series:
    return copies["copy"].where(copies["conflict"] != "1", "copy under another class")


def _value(value: Any) -> str:
    return "–" if value is None else naming.shown(value)
