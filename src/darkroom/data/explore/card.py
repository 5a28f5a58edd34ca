"""The data card: what the data set is, where it comes from and what was done to it, as Markdown for the report."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkroom.foundations import naming
from darkroom.markdown import count, text
from darkroom.packed import Broken, Packed, Record

MOST_BROKEN = 10
"""Broken files that are named."""


def describe(packed: Packed, metrics: dict[str, Any]) -> str:
    """Return the card of a packed data set; `metrics` is what `metrics/data.json` says about it."""
    size = metrics["image_size"]
    classes = count(metrics["classes"], "class", "classes")
    parts = [
        f"The data set is **{text(metrics['dataset'])}**: {count(metrics['images'], 'image')} of {classes}, "
        f"resized to {size} × {size} pixels. {_balance(packed.records)} Source: {text(metrics['source'])}."
        + (f" Licence: {text(metrics['licence'])}." if metrics["licence"] else ""),
        f"{_sizes(packed.records)} Each was rotated according to its EXIF orientation, converted to sRGB, composited "
        "on white where it is transparent, cropped to its central square and resized with an antialiased bicubic "
        "filter; animations are represented by their first frame.",
        _set_aside(packed.broken, metrics),
    ]
    return "\n\n".join(parts) + "\n"


def _balance(records: Sequence[Record]) -> str:
    counts = Counter(record.label for record in records)
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    (smallest, least), (largest, most) = ranked[0], ranked[-1]
    if most == least:
        return f"Each class has {count(most, 'image')}."
    return (
        f"The largest class, {text(largest)}, has {count(most, 'image')}, the smallest, {text(smallest)}, "
        f"{least:,}: a ratio of {most / least:.1f} to 1."
    )


def _sizes(records: Sequence[Record]) -> str:
    pairs = [(record.width, record.height) for record in records]
    (width, height), same = Counter(pairs).most_common(1)[0]
    if same == len(pairs):
        return f"All originals have {width} × {height} pixels."
    low, middle, high = np.percentile([min(pair) for pair in pairs], [0, 50, 100])
    return f"The shorter sides of the originals have {low:,.0f} to {high:,.0f} pixels, with a median of {middle:,.0f}."


def _set_aside(broken: Sequence[Broken], metrics: dict[str, Any]) -> str:
    lines = []
    if number := metrics["left_out"]:
        groups = ", or are of one group with a test image and were added later" if metrics["groups"] else ""
        lines.append(
            f"- {count(number, 'image is', 'images are')} in no split: they conflict with another one, or "
            f"duplicate a test image{groups}."
        )
    if number := metrics["copies"]:
        lines.append(
            f"- {count(number, 'image is an exact duplicate', 'images are exact duplicates')} of another one; "
            "duplicates never fall into different splits."
        )
    if number := metrics["near_copies"]:
        lines.append(
            f"- {count(number, 'image is a near duplicate', 'images are near duplicates')} of another one (re-encoded, "
            "resized or slightly changed); these never fall into different splits either."
        )
    if number := metrics["groups"]:
        lines.append(f"- {count(number, 'group')} of images that belong together; no group is divided between splits.")
    if number := metrics["leaks"]:
        lines.append(
            f"- {count(number, 'test image has', 'test images have')} a copy among the images that the source gives "
            "for training. The test images stay as the source has them; the copies are not trained on, which published "
            "figures for this data set may not have avoided."
        )
    if number := metrics["conflicts"]:
        lines.append(
            f"- {count(number, 'image has', 'images have')} a copy under another class name; since it is unknown which "
            "name is right, only those of the source's own test split are used."
        )
    if number := sum(not item.label for item in broken):
        lines.append(f"- {count(number, 'image lies', 'images lie')} in no class folder and in no split.")
    broken = [item for item in broken if item.label]
    if number := len(broken):
        first = ", the first ten being" if number > MOST_BROKEN else ""
        are = "is" if number == 1 else "are"
        names = [f"  - {text(naming.shown(item.name))}: {text(item.reason)}" for item in broken[:MOST_BROKEN]]
        lines += [f"- {count(number, 'file')} could not be read and {are} set aside{first}:", "", *names]
    return "\n".join(lines) or "All files could be read, and no duplicates were found."
