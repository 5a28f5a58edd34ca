"""Accuracy on slices of the test images: by image measures, by leaks and by slices that the source defines."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import laplace

from darkroom.evaluation.scores.comparison import fisher, holm
from darkroom.evaluation.scores.intervals import accuracy_interval
from darkroom.packed import Record

PARTS = 3
"""Largest number of slices per measure, of about equal size."""
LEAST = 10
"""Smallest number of images of a slice of a measure: on fewer, the interval of the accuracy is over 50 points wide."""
BATCH = 1024
"""Images in memory at a time."""
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """Accuracy on one slice of the test images."""

    measure: str
    kind: str
    images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    """Wilson's 95% interval."""
    majority: float
    """Accuracy of always predicting the largest class of the test split."""
    p_value: float = 1.0
    """Of Fisher's exact test against the other test images, with Holm's correction."""


def measures(
    images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], records: Sequence[Record]
) -> dict[str, Floats]:
    """Return the measures of the packed `rows`, shape (rows,) each.

    Size is the square root of the number of pixels of the original image. The others are computed on the packed image:
    brightness is the mean grey value, from 0 (black) to 1 (white); contrast is the standard deviation of the grey
    values; sharpness is that of their Laplacian, as in autofocus (Pech-Pacheco et al., Diatom Autofocusing in
    Brightfield Microscopy, 2000).
    """
    parts = []
    for start in range(0, len(rows), BATCH):
        grey = images[rows[start : start + BATCH]].astype(np.float32) @ GREY / 255
        edges = laplace(grey, axes=(1, 2))
        parts.append([grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), edges.std(axis=(1, 2))])
    brightness, contrast, sharpness = np.concatenate(parts, axis=1).astype(np.float64)
    sizes = np.array([records[row].width * records[row].height for row in rows], dtype=np.float64) ** 0.5
    return {"size": sizes, "brightness": brightness, "contrast": contrast, "sharpness": sharpness}


def slices(
    measured: dict[str, Floats],
    right: npt.NDArray[np.bool_],
    largest: npt.NDArray[np.bool_],
    leaks: npt.NDArray[np.bool_],
    names: Sequence[str] = (),
) -> list[Slice]:
    """Return the accuracy of each slice, by measure and from low to high.

    A measure has fewer than `PARTS` slices if they would have fewer than `LEAST` images, and none if it is constant.

    measured: what `measures` returns; right, leaks: shape (rows,); largest: whether each row is of the largest class,
    shape (rows,); names: the source's slice of each row, empty for rows without one, or an empty sequence.
    """
    found = []
    for measure, values in measured.items():
        # Split by the rounded values that readers see, and keep equal values together.
        shown = values.round(0 if measure == "size" else 4)
        parts = max(1, min(PARTS, len(shown) // LEAST))
        edges = np.unique(np.quantile(shown, np.linspace(0, 1, parts + 1)[1:-1], method="inverted_cdf"))
        places = np.searchsorted(edges, shown, side="left")
        groups = [places == place for place in range(len(edges) + 1)]
        groups = [group for group in groups if group.sum() >= LEAST]
        for group in groups if len(groups) > 1 else ():
            low, high = shown[group].min(), shown[group].max()
            kind = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            found.append(_slice(measure, kind, right[group], largest[group]))
    if leaks.any() and not leaks.all():
        groups = [~leaks, leaks]
        found += [
            _slice("leak", name, right[group], largest[group])
            for name, group in zip(("no", "yes"), groups, strict=True)
        ]
    if len(names):
        kinds, places = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
        columns = [np.bincount(places, flags).astype(int).tolist() for flags in (right, largest, None)]
        counted = zip(kinds.tolist(), *columns, strict=True)
        found += [_from_counts("slice", kind, *counts) for kind, *counts in counted if kind]
    return _with_p_values(found, right)


def _with_p_values(found: Sequence[Slice], right: npt.NDArray[np.bool_]) -> list[Slice]:
    hits = int(right.sum())
    p_values = [fisher(round(each.accuracy * each.images), each.images, hits, len(right)) for each in found]
    return [replace(each, p_value=p_value) for each, p_value in zip(found, holm(p_values), strict=True)]


def _slice(measure: str, kind: str, right: npt.NDArray[np.bool_], largest: npt.NDArray[np.bool_]) -> Slice:
    return _from_counts(measure, kind, int(right.sum()), int(largest.sum()), len(right))


def _from_counts(measure: str, kind: str, hits: int, largest: int, total: int) -> Slice:
    return Slice(measure, kind, total, hits / total, *accuracy_interval(hits, total), largest / total)
