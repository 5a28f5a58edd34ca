"""The figure of copies: clusters of exact and near ones side by side, and in another colour those under two classes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from darkroom import plotting
from darkroom.packed import Packed

Row = Mapping[str, str]
"""A line of `data/copies.csv`."""
MOST_CLUSTERS = 9
"""Clusters that are shown: three rows of pairs."""
PER_CLUSTER = 3
"""Pictures of a cluster that are shown."""
COLOURS = {"conflict": plotting.ORANGE, "near": plotting.GREEN, "exact": plotting.BLUE}
TITLES = {"conflict": "under two classes", "near": "near copies", "exact": "exact copies"}
# Inches. A row holds six pictures, so three pairs.
WIDTH, SIDE, BETWEEN, GAP, ABOVE, BELOW, LINE = 7.2, 0.98, 0.12, 0.28, 0.24, 0.44, 0.13
SMALL = 7.0
"""Points of the words under a picture."""


def draw(packed: Packed, rows: Sequence[Row], seed: int) -> Figure | None:
    """Return a random choice of the clusters that `rows` of `data/copies.csv` list; None where there are none."""
    clusters = choose(rows, seed)
    if not clusters:
        return None
    places = {record.name: row for row, record in enumerate(packed.records)}
    lines = _lines(clusters)
    width = max(sum(map(_breadth, line)) + GAP * (len(line) - 1) for line in lines) + 0.24
    height = len(lines) * (ABOVE + SIDE + BELOW) + 0.08
    with plotting.figure(width, height) as figure:
        figure.set_layout_engine("none")  # every place is given here
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        for number, line in enumerate(lines):
            left, top = 0.12, 0.08 + number * (ABOVE + SIDE + BELOW)
            for cluster in line:
                _draw_cluster(axes, packed, places, cluster, (left, top))
                left += _breadth(cluster) + GAP
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def choose(rows: Sequence[Row], seed: int) -> list[list[Row]]:
    """Return some clusters of `rows`, as many of each kind as the others leave room for, conflicts first."""
    clusters: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        clusters[row["cluster"]].append(row)
    random = np.random.default_rng(seed)
    kinds: dict[str, list[list[Row]]] = {kind: [] for kind in COLOURS}
    for place in random.permutation(len(clusters)):
        cluster = list(clusters.values())[place]
        kinds[kind_of(cluster)].append(cluster)
    turns = zip_longest(*kinds.values())
    chosen = [cluster for turn in turns for cluster in turn if cluster][:MOST_CLUSTERS]
    order = list(COLOURS)
    return sorted(chosen, key=lambda cluster: (order.index(kind_of(cluster)), int(cluster[0]["cluster"])))


def kind_of(cluster: Sequence[Row]) -> str:
    """Return conflict for a cluster under two classes, exact where all its pictures have the same bytes, else near."""
    if any(row["conflict"] == "1" for row in cluster):
        return "conflict"
    return "near" if any(row["copy"] == "near" for row in cluster) else "exact"


def shown(cluster: Sequence[Row]) -> list[Row]:
    """Return the first pictures of a cluster; of a conflict, those that conflict, one of each class in turn."""
    seen: Counter[tuple[str, str]] = Counter()
    keys = []
    for row in cluster:
        sort = (row["conflict"], row["label"])
        keys.append((row["conflict"] != "1", seen[sort]))
        seen[sort] += 1
    order = sorted(range(len(cluster)), key=keys.__getitem__)
    return [cluster[place] for place in order[:PER_CLUSTER]]


def _lines(clusters: Sequence[Sequence[Row]]) -> list[list[Sequence[Row]]]:
    """Return the clusters in lines as words stand on a page."""
    lines: list[list[Sequence[Row]]] = [[]]
    left = 0.0
    for cluster in clusters:
        if lines[-1] and left + _breadth(cluster) > WIDTH:
            lines.append([])
            left = 0.0
        lines[-1].append(cluster)
        left += _breadth(cluster) + GAP
    return lines


def _breadth(cluster: Sequence[Row]) -> float:
    count = min(len(cluster), PER_CLUSTER)
    return count * SIDE + (count - 1) * BETWEEN


def _draw_cluster(
    axes: Axes, packed: Packed, places: Mapping[str, int], cluster: Sequence[Row], corner: tuple[float, float]
) -> None:
    kind, (left, top) = kind_of(cluster), corner
    few = shown(cluster)
    count = f", {len(few)} of {len(cluster)}" if len(few) < len(cluster) else ""
    axes.text(left, top + ABOVE - 0.07, TITLES[kind] + count, color=COLOURS[kind], fontsize=8, fontweight="bold")
    top += ABOVE
    for row in few:
        colour = COLOURS["conflict" if row["conflict"] == "1" else row["copy"]]
        image = packed.images[places[row["name"]]]
        style = "nearest" if len(image) < 100 else "antialiased"
        axes.imshow(image, extent=(left, left + SIDE, top + SIDE, top), interpolation=style)
        axes.add_patch(Rectangle((left, top), SIDE, SIDE, fill=False, edgecolor=colour, linewidth=2.2))
        words = ((plotting.shorten(row["label"], 15), plotting.INK), (f"{row['copy']}, {row['split']}", plotting.MUTED))
        for line, (text, ink) in enumerate(words, 1):
            axes.text(left, top + SIDE + 0.04 + line * LINE, text, color=ink, fontsize=SMALL)
        left += SIDE + BETWEEN
