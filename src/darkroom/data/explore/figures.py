"""Figures of a data set: samples, class balance, image sizes, brightness and copies."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from darkroom import plotting
from darkroom.data.explore import copies
from darkroom.packed import SPLITS, Packed, Record, Split

MOST_CLASSES = 40
"""Largest number of classes in a figure; the largest classes are shown."""
PER_CLASS = 10
"""Number of sample images per class."""
SHAPES = {
    3.0: ((1, 2), (2, 3), (1, 1), (3, 2), (2, 1)),
    12.0: ((1, 8), (1, 4), (1, 2), (1, 1), (2, 1), (4, 1), (8, 1)),
    math.inf: ((1, 100), (1, 10), (1, 1), (10, 1), (100, 1)),
}
"""Labelled aspect ratios on the axis of shapes, by its range."""
AT_ONCE = 1024
"""Number of packed images in memory at a time."""
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""


def draw(packed: Packed, split: Split, found: pd.DataFrame, seed: int, out: Path) -> list[str]:
    """Draw all figures into the folder `out`; return their names. `found` is `data/copies.csv`."""
    figures = {
        "samples.png": samples(packed, split, seed),
        "classes.png": classes(split),
        "brightness.png": brightness(packed, split),
    }
    if len({(record.width, record.height) for record in packed.records}) > 1:  # a single size is given in the text
        figures["sizes.png"] = sizes(packed.records)
    if duplicates := copies.draw(packed, found, seed):
        figures["duplicates.png"] = duplicates
    for name, figure in figures.items():
        plotting.save(figure, out / name)
    return sorted(figures)


def samples(packed: Packed, split: Split, seed: int) -> Figure:
    """Return random training images of each class."""
    random = np.random.default_rng(seed)
    train = split.rows("train")
    rows = []
    for label in _largest(split):
        mine = train[split.labels[train] == label]
        chosen = np.sort(random.permutation(mine)[:PER_CLASS])
        rows.append((split.classes[label], np.asarray(packed.images[chosen])))
    return plotting.image_grid(rows)


def classes(split: Split) -> Figure:
    """Return the number of images of each class in each split."""
    shown = _largest(split)
    with plotting.figure(7, max(1.8, 0.27 * len(shown) + 1)) as figure:
        axes = figure.subplots()
        left = np.zeros(len(shown))
        for name in SPLITS:
            labels = split.labels[split.rows(name)]
            counts = np.bincount(labels, minlength=len(split.classes))[shown]
            axes.barh(np.arange(len(shown)), counts, left=left, label=name)
            left += counts
        axes.set_yticks(np.arange(len(shown)), [plotting.shorten(split.classes[label]) for label in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("images")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper right", ncols=len(SPLITS))
    return figure


def sizes(records: list[Record]) -> Figure:
    """Return a figure of the original image sizes and aspect ratios.

    Each distinct size is a disc whose area grows with its count; aspect ratios are shown as a histogram.
    """
    pairs, counts = np.unique([(record.width, record.height) for record in records], axis=0, return_counts=True)
    with plotting.figure(8, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        areas = (20 if len(pairs) < 200 else 8) + 480 * counts / counts.max() * min(1, 20 / len(pairs))
        left.scatter(pairs[:, 0], pairs[:, 1], s=areas, alpha=0.5, linewidths=0, color=plotting.BLUE)
        top = 1.15 * float(pairs.max())
        left.plot([0, top], [0, top], color=plotting.MUTED, linewidth=0.8, linestyle=":", zorder=0)
        left.set(xlim=(0, top), ylim=(0, top), xlabel="width in pixels", ylabel="height in pixels")
        _shapes(right, pairs[:, 0] / pairs[:, 1], counts)
    return figure


def _shapes(axes: Axes, ratios: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> None:
    """Draw a histogram of the aspect ratios on a symmetric logarithmic axis."""
    reach = max(2.0, 1.05 * float(np.maximum(ratios, 1 / ratios).max()))
    axes.hist(ratios, bins=list(np.geomspace(1 / reach, reach, 42)), weights=counts, color=plotting.BLUE)
    axes.set_xscale("log")
    named = next(shapes for most, shapes in SHAPES.items() if reach <= most)
    ticks = [(width, height) for width, height in named if max(width / height, height / width) <= reach]
    axes.set_xticks([width / height for width, height in ticks], [f"{width}:{height}" for width, height in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="width : height", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def brightness(packed: Packed, split: Split) -> Figure:
    """Return the brightness of the images of each class: median, central 50% and central 90%."""
    shown = _largest(split)
    means = np.concatenate([
        (packed.images[start : start + AT_ONCE].mean(axis=(1, 2), dtype=np.float32) @ GREY) / 255
        for start in range(0, len(packed.images), AT_ONCE)
    ])  # fmt: skip
    with plotting.figure(7, max(1.8, 0.27 * len(shown) + 1)) as figure:
        axes = figure.subplots()
        rows = np.arange(len(shown))
        lines = np.array([np.percentile(means[split.labels == label], [5, 25, 50, 75, 95]) for label in shown])
        axes.hlines(rows, lines[:, 0], lines[:, 4], color=plotting.SKY, linewidth=2, label="central 90%")
        axes.hlines(rows, lines[:, 1], lines[:, 3], color=plotting.BLUE, linewidth=6, label="central 50%")
        axes.plot(lines[:, 2], rows, "o", color="white", markeredgecolor=plotting.INK, markersize=6, label="median")
        axes.set_yticks(rows, [plotting.shorten(split.classes[label]) for label in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 1), xlabel="mean brightness, from 0 (black) to 1 (white)")
        figure.legend(loc="outside upper right", ncols=3)
    return figure


def _largest(split: Split) -> list[int]:
    """Return up to `MOST_CLASSES` class positions, those with most images, in the order of the classes."""
    counts = np.bincount(split.labels, minlength=len(split.classes))
    return sorted(int(label) for label in np.argsort(-counts, kind="stable")[:MOST_CLASSES])
