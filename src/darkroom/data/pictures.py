"""Figures of a data set: what is in it, how much of it, how large, and which pictures came twice."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from darkroom import plotting
from darkroom.packed import SPLITS, Packed, Record, Split

MOST_CLASSES = 40
"""A figure shows at most this many classes, the largest ones."""
PER_CLASS = 10
"""Sample pictures a class."""
MOST_COPIES = 12
"""Groups of copies that are shown."""


def draw(packed: Packed, split: Split, seed: int, out: Path) -> list[str]:
    """Draw all figures into the existing folder `out`; returns their names."""
    figures = {
        "samples.png": samples(packed, split, seed),
        "classes.png": classes(split),
        "sizes.png": sizes(packed.records),
    }
    if groups := copies(packed.records):
        figures["duplicates.png"] = duplicates(packed, groups)
    for name, figure in figures.items():
        plotting.save(figure, out / name)
    return sorted(figures)


def samples(packed: Packed, split: Split, seed: int) -> Figure:
    """Return random training pictures of each class."""
    random = np.random.default_rng(seed)
    train = split.rows("train")
    rows = []
    for label in _largest(split):
        mine = train[split.labels[train] == label]
        chosen = np.sort(random.permutation(mine)[:PER_CLASS])
        rows.append((split.classes[label], np.asarray(packed.images[chosen])))
    return plotting.image_grid(rows)


def classes(split: Split) -> Figure:
    """Return the number of pictures of each class in each split."""
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
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("pictures")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper right", ncols=len(SPLITS))
    return figure


def sizes(records: list[Record]) -> Figure:
    """Return the stored sizes of the pictures, each distinct size as a disc whose area grows with its count."""
    pairs, counts = np.unique([(record.width, record.height) for record in records], axis=0, return_counts=True)
    with plotting.figure(5.5, 4.2) as figure:
        axes = figure.subplots()
        areas = 20 + 480 * counts / counts.max()
        axes.scatter(pairs[:, 0], pairs[:, 1], s=areas, alpha=0.5, linewidths=0, color=plotting.BLUE)
        top = 1.15 * float(pairs.max())
        axes.plot([0, top], [0, top], color=plotting.MUTED, linewidth=0.8, linestyle=":", zorder=0)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="width in pixels", ylabel="height in pixels")
        if len(pairs) == 1:
            (width, height), count = pairs[0], counts[0]
            note = f"{count:,} pictures, all {width} × {height}"
            axes.annotate(note, pairs[0], (-18, 0), textcoords="offset points", ha="right", va="center")
    return figure


def duplicates(packed: Packed, groups: list[list[int]]) -> Figure:
    """Return groups of identical files side by side, with their classes."""
    rows = []
    for group in groups[:MOST_COPIES]:
        labels = sorted({packed.records[row].label for row in group})
        title = f"{len(group)} × {', '.join(labels)}"
        rows.append((title, np.asarray(packed.images[group[:PER_CLASS]])))
    return plotting.image_grid(rows)


def copies(records: list[Record]) -> list[list[int]]:
    """Return the rows of each group of identical files, conflicts of class first, then the largest groups."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        groups[record.sha256].append(row)
    twice = [group for group in groups.values() if len(group) > 1]
    return sorted(twice, key=lambda group: (-len({records[row].label for row in group}), -len(group), group[0]))


def _largest(split: Split) -> list[int]:
    """Return up to `MOST_CLASSES` class positions, those with most pictures, in the order of the classes."""
    counts = np.bincount(split.labels, minlength=len(split.classes))
    return sorted(int(label) for label in np.argsort(-counts, kind="stable")[:MOST_CLASSES])
