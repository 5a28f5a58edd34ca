"""The check of labels as a table, a summary and a figure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from darkroom.evaluation.figures import mosaics
from darkroom.evaluation.labels.confident import Issue, Labels, Noise
from darkroom.evaluation.labels.planted import Found
from darkroom.packed import SPLITS, Record, Split

MOST = 5_000
"""Largest number of listed images."""
SHOWN = 24
"""Number of images in the figure."""
COLUMNS = ("image", "sha256", "split", "label", "proposed", "score", "precision")


def table(issues: Sequence[Issue], records: Sequence[Record], split: Split) -> pd.DataFrame:
    """Return `plots/labels/issues.csv`: the first `MOST` issues, with the names of images and classes."""
    rows = [
        (
            records[each.row].name,
            records[each.row].sha256,
            str(split.splits[each.row]),
            split.classes[each.label],
            split.classes[each.proposed],
            round(each.score, 6),
            round(each.precision, 4),
        )
        for each in issues[:MOST]
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(
    issues: Sequence[Issue],
    noise: Noise,
    found: Found,
    known: npt.NDArray[np.bool_],
    predicted: Labels,
    split: Split,
) -> dict[str, Any]:
    """Return the measured part of `plots/labels/summary.json`.

    known: whether a label was checked, shape (N,); predicted: the most probable class of each image, shape (N,).
    """
    counts = {name: sum(split.splits[each.row] == name for each in issues) for name in SPLITS}
    return {
        "images": len(known),
        "unchecked": int((~known).sum()),
        "accuracy": round(float((predicted == split.labels)[known].mean()), 4),
        "issues": len(issues),
        "listed": min(len(issues), MOST),
        "probable": sum(each.precision >= 0.5 for each in issues),
        "expected": round(sum(each.precision for each in issues), 2),
        "wrong_share": round(noise.wrong_share(split.labels[known]), 4),
        "confused": _confused(issues, noise, split),
        **{f"{name}_issues": count for name, count in counts.items()},
        "planted": asdict(found),
    }


def _confused(issues: Sequence[Issue], noise: Noise, split: Split) -> list[dict[str, Any]]:
    """Return the pairs of classes whose labels are confused, and how many errors are expected, most first."""
    rows = []
    for truth, label in np.argwhere(noise.confused > 0):
        expected = sum(each.precision for each in issues if (each.proposed, each.label) == (truth, label))
        if round(expected):
            rows.append({"label": split.classes[label], "class": split.classes[truth], "expected": round(expected, 2)})
    return sorted(rows, key=lambda row: -row["expected"])


def figure(images: npt.NDArray[np.uint8], issues: Sequence[Issue], classes: Sequence[str]) -> Figure | None:
    """Draw the first issues above their labels; None if there are none. images: the packed ones, shape (N, S, S, 3)."""
    shown = issues[:SHOWN]
    if not shown:
        return None
    captions = [
        (
            mosaics.fit(classes[each.label]),
            f"or {mosaics.fit(classes[each.proposed], 3)}?",
            f"wrong: {mosaics.percent(each.precision)}",
        )
        for each in shown
    ]
    return mosaics.captioned([np.asarray(images[each.row]) for each in shown], captions)
