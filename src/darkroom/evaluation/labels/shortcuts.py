"""Shortcuts: what predicts the class without looking at the object, such as the file size or the camera.

A network may learn such a difference between the classes instead of what the classes are (Geirhos et al., Shortcut
Learning in Deep Neural Networks, 2020). Test images of the same source have it too, so the test accuracy does not show
it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import laplace
from scipy.stats import rankdata

from darkroom.evaluation.labels.confident import Labels, Scores
from darkroom.packed import Record

MOST, LIMIT = 5_000, 5_000_000
"""Largest number of images that are compared, a random selection, and of these times classes times labellings."""
PERMUTATIONS = 19
"""Number of random labellings: a measure must be better than all of them, which has a probability of 1 in 20."""
BINS, CATEGORIES = 10, 20
"""Quantiles of a number; most frequent values of a text. Linear models on them need not be linear in the number."""
FEW = 5
"""Number of images below which a class is not compared."""
FILE, CONTENT = 0.75, 0.95
"""Bounds of the area under the ROC curve. Colours and sharpness may be part of what a class is, while the size of a
file or the camera is not. A source that exactly half of the classes come from gives at least 0.75."""
LOSSY = ("JPEG", "MPO", "WEBP")
"""Formats whose file size depends more on the encoder than on the content."""
TINY = 32
"""Side in pixels below which the border and the edges of an image are the object itself."""
AT_ONCE = 1024
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measure:
    """A property of the images, as features for a linear model."""

    name: str
    features: npt.NDArray[np.float16]
    """Shape (N, values), 0 or 1."""
    bound: float
    """`FILE` or `CONTENT`."""


@dataclass(frozen=True)
class Result:
    """How well one measure alone separates one class from the others: the class that it separates best."""

    measure: str
    label: int
    auc: float
    """Area under the ROC curve, out-of-fold, 0 to 1."""
    chance: float
    """That of the best class in the best of `PERMUTATIONS` random labellings."""
    bound: float
    """The area above which the measure is reported."""

    @property
    def is_shortcut(self) -> bool:
        """Whether the measure separates the class better than it should."""
        return self.auc > max(self.bound, self.chance)


def choose(count: int, classes: int, seed: int) -> Rows:
    """Return the rows to compare, ascending: all, or a random selection; fewer for many classes, to bound memory."""
    most = min(MOST, LIMIT // (classes * (PERMUTATIONS + 1)))
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def measures(
    images: npt.NDArray[np.uint8], records: Sequence[Record], files: pd.DataFrame, rows: Rows
) -> Iterator[Measure]:
    """Yield the measures of the packed `rows` that are not the same for all.

    images: the packed ones, uint8 (N, S, S, 3), on which colours and sharpness are measured; files: `files.csv`.
    """
    sizes = np.array([(records[row].width, records[row].height) for row in rows], dtype=np.float64)
    chosen = files.iloc[rows]
    pixels = _pixels(images, rows)
    shown = pixels if images.shape[1] >= TINY else np.zeros_like(pixels)
    lossy = chosen["format"].isin(LOSSY).mean() > 0.5
    for name, values, bound in (
        ("the file size", _binned(chosen[["bytes"]].to_numpy().astype(np.float64)), FILE if lossy else CONTENT),
        ("the image size", _binned(sizes), FILE),
        ("the aspect ratio", _binned(sizes[:, :1] / sizes[:, 1:]), FILE),
        ("the file format", _categories(chosen["format"]), FILE),
        ("the JPEG quantisation tables", _categories(chosen["quantization"]), FILE),
        ("the camera", _categories(chosen["camera"]), FILE),
        ("the hour of the day", _categories(chosen["hour"]), FILE),
        ("the border colour", _binned(shown[:, :4]), CONTENT),
        ("the mean colour", _binned(pixels[:, 4:7]), CONTENT),
        ("the sharpness", _binned(shown[:, 7:]), CONTENT),
    ):
        if values.shape[1] > 1:
            yield Measure(name, values, bound)


def permuted(labels: Labels, groups: Labels, seed: int) -> list[Labels]:
    """Return `PERMUTATIONS` labellings in which each group has the label of another one. Shapes: (N,)."""
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    generator = np.random.default_rng(seed)
    return [labels[first][generator.permutation(len(first))][place] for _ in range(PERMUTATIONS)]


def separation(scores: Scores, labels: Labels) -> npt.NDArray[np.float64]:
    """Return the area under the ROC curve of each class against all others, shape (classes,); NaN for small classes.

    scores: regressions of the one-hot labels, shape (N, classes).
    """
    ranks = rankdata(scores, axis=0)
    counts = np.bincount(labels, minlength=scores.shape[1]).astype(np.float64)
    sums = np.bincount(labels, ranks[np.arange(len(labels)), labels], scores.shape[1])
    others = len(labels) - counts
    pairs = np.where((counts >= FEW) & (others >= FEW), counts * others, np.nan)
    result: npt.NDArray[np.float64] = (sums - counts * (counts + 1) / 2) / pairs
    return result


def compare(measure: Measure, scores: Sequence[Scores], labellings: Sequence[Labels]) -> Result | None:
    """Return how well a measure separates a class, for the labels, which come first, and for the permuted ones.

    None if all classes are small.
    """
    areas, *others = (separation(each, labels) for each, labels in zip(scores, labellings, strict=True))
    if np.isnan(areas).all():
        return None
    label = int(np.nanargmax(areas))
    chance = max(float(np.nanmax(each)) for each in others)
    return Result(measure.name, label, round(float(areas[label]), 4), round(chance, 4), measure.bound)


def examples(scores: Scores, labels: Labels, label: int, images: int = 8) -> tuple[Rows, Rows]:
    """Return positions of images of a class with the highest scores, and of others with the lowest."""
    order = np.argsort(-scores[:, label], kind="stable")
    own = labels[order] == label
    return order[own][:images], order[~own][::-1][:images]


def summarise(results: Sequence[Result], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the results for `plots/labels/summary.json`, the strongest first."""
    ranked = sorted(results, key=lambda each: (-(each.auc - each.bound), each.measure))
    return [vars(each) | {"label": classes[each.label], "is_shortcut": each.is_shortcut} for each in ranked]


def _pixels(images: npt.NDArray[np.uint8], rows: Rows) -> npt.NDArray[np.float64]:
    """Return border colour (red, green, blue) and its spread, mean colour, and sharpness, shape (rows, 8)."""
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        part = images[rows[start : start + AT_ONCE]].astype(np.float32)
        border = np.concatenate([part[:, 0], part[:, -1], part[:, :, 0], part[:, :, -1]], axis=1)
        edges = laplace(part @ GREY, axes=(1, 2)).std(axis=(1, 2))
        spread = border.std(axis=1).mean(axis=1)
        parts.append(np.column_stack([border.mean(axis=1), spread, part.mean(axis=(1, 2)), edges]))
    return np.concatenate(parts).astype(np.float64)


def _binned(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    """Return one-hot codes of the quantiles of each column, shape (N, codes)."""
    codes = []
    for column in values.T:
        edges = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]))
        codes.append(_one_hot(np.searchsorted(edges, column, side="right")))
    kept = [code for code in codes if code.shape[1] > 1]
    return np.concatenate(kept, axis=1) if kept else np.zeros((len(values), 1), np.float16)


def _categories(values: pd.Series) -> npt.NDArray[np.float16]:
    """Return one-hot codes of the most frequent texts, shape (N, codes); the others share one code."""
    counts = values.value_counts().reset_index()
    counts.columns = pd.Index(["text", "count"])
    ranked = counts.sort_values(["count", "text"], ascending=[False, True])["text"].to_list()
    places = {text: place for place, text in enumerate(ranked)}
    return _one_hot(np.array([min(places[text], CATEGORIES) for text in values], dtype=np.int64))


def _one_hot(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    found, places = np.unique(codes, return_inverse=True)
    return np.eye(len(found), dtype=np.float16)[places]
