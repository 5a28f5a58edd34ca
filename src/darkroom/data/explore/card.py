"""The data card: what the data set is, where it comes from and what was done to it, as Markdown for the report."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkroom import framing
from darkroom.foundations import naming
from darkroom.foundations.naming import count
from darkroom.markdown import rounded, text
from darkroom.packed import Broken, Packed, Record

MOST_BROKEN = 10
"""Largest number of broken files to list."""


def describe(packed: Packed, metrics: dict[str, Any], labels: Sequence[str] = ()) -> str:
    """Return the card of a packed data set; `metrics` is the content of `metrics/data.json`.

    labels: class of each image after the decisions about labels, by default that of the source.
    """
    size = metrics["image_size"]
    labels = labels or [record.label for record in packed.records]
    classes = count(metrics["classes"], "class", "classes")
    parts = [
        f"The data set is **{text(metrics['dataset'])}**: {count(metrics['images'], 'image')} of {classes}, "
        f"resized to {size} × {size} pixels. {_balance(labels)} Source: {text(metrics['source'])}."
        + (f" Licence: {text(metrics['licence'])}." if metrics["licence"] else ""),
        f"{_sizes(packed.records)} All images were rotated according to their EXIF orientation, converted to sRGB, "
        f"composited on white where transparent, {framing.framed(packed.fit)} and resized with an antialiased bicubic "
        "filter; animations are represented by their first frame.",
        _set_aside(packed.broken, metrics),
    ]
    return "\n\n".join(parts) + "\n"


def _balance(labels: Sequence[str]) -> str:
    counts = Counter(labels)
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    (smallest, least), (largest, most) = ranked[0], ranked[-1]
    if most == least:
        return f"Each class has {count(most, 'image')}."
    return (
        f"The largest class, {text(largest)}, has {count(most, 'image')}, the smallest, {text(smallest)}, "
        f"{least:,}: a ratio of {rounded(most / least, 1)} to 1."
    )


def _sizes(records: Sequence[Record]) -> str:
    pairs = [(record.width, record.height) for record in records]
    (width, height), same = Counter(pairs).most_common(1)[0]
    if same == len(pairs):
        return f"All originals have {width} × {height} pixels."
    low, middle, high = np.percentile([min(pair) for pair in pairs], [0, 50, 100])
    if low == high:
        return f"The shorter sides of the originals have {low:,.0f} pixels."
    return f"The shorter sides of the originals have {low:,.0f} to {high:,.0f} pixels, with a median of {middle:,.0f}."


def _set_aside(broken: Sequence[Broken], metrics: dict[str, Any]) -> str:
    lines = []
    if number := metrics["left_out"]:
        lines.append(f"- {count(number, 'image is', 'images are')} excluded: {_excluded(number == 1, metrics)}.")
    lines += _decided(metrics)
    if number := metrics["copies"]:
        lines.append(
            f"- {count(number, 'image is an exact duplicate', 'images are exact duplicates')} of another image; "
            "duplicates are always in the same split."
        )
    if number := metrics["near_copies"]:
        lines.append(
            f"- {count(number, 'image is a near duplicate', 'images are near duplicates')} of another image "
            "(re-encoded, resized or slightly changed); these are always in the same split as well."
        )
    if number := metrics["groups"]:
        lines.append(f"- {count(number, 'group')} of related images; each group is in a single split.")
    if number := metrics["leaks"]:
        lines.append(
            f"- {count(number, 'test image has', 'test images have')} a copy among the training images of the source. "
            "The official test split is kept unchanged, and the copies are excluded from training. Published results "
            "for this data set may not have excluded them."
        )
    if number := metrics.get("scenes"):
        lines.append(
            f"- {count(number, 'image shows', 'images show')} the same scene as another one (another crop or "
            "view, or a burst). Images of a scene are in the same split, unless the test images were fixed before."
        )
    if number := metrics.get("scene_leaks"):
        lines.append(
            f"- {count(number, 'test image shows', 'test images show')} a scene that is also among the training "
            "images. These images stay in use; accuracies are also reported without such test images."
        )
    if number := metrics["conflicts"]:
        lines.append(
            f"- {count(number, 'image has', 'images have')} a copy in another class. Because the correct class is "
            "unknown, only those in the source's own test split are used."
        )
    if number := sum(not item.label for item in broken):
        lines.append(f"- {count(number, 'image is', 'images are')} not in a class folder, and therefore excluded.")
    broken = [item for item in broken if item.label]
    if number := len(broken):
        first = "; the first ten are" if number > MOST_BROKEN else ""
        files = count(number, "file could not be read and is", "files could not be read and are")
        names = [f"  - {text(naming.shown(item.name))}: {text(item.reason)}" for item in broken[:MOST_BROKEN]]
        lines += [f"- {files} excluded{first}:", "", *names]
    return "\n".join(lines) or "All files could be read, and no duplicates were found."


def _decided(metrics: dict[str, Any]) -> list[str]:
    """Return what the decisions in `data/labels.csv` changed."""
    lines = []
    if number := metrics.get("relabelled"):
        lines.append(
            f"- {count(number, 'label of the source was', 'labels of the source were')} found to be wrong by a person, "
            "and corrected in `data/labels.csv`."
        )
    if number := metrics.get("excluded"):
        lines.append(f"- {count(number, 'image was', 'images were')} excluded by a person in `data/labels.csv`.")
    if number := metrics.get("confirmed"):
        lines.append(
            f"- {count(number, 'suspicious label was', 'suspicious labels were')} checked by a person and confirmed."
        )
    return lines


def _excluded(single: bool, metrics: dict[str, Any]) -> str:
    """Return why images are excluded."""
    text = "it has a copy in another class, or duplicates a test image"
    later = ", or was added later and belongs to the group of a test image"
    if not single:
        text = "they have a copy in another class, or duplicate a test image"
        later = ", or were added later and belong to the group of a test image"
    decided = (", or was" if single else ", or were") + " excluded by a person"
    return text + decided * bool(metrics.get("excluded")) + later * bool(metrics["groups"])
