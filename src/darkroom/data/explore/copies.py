"""The figure of copies: clusters of exact and near copies, with those in different classes in another colour."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from darkroom import plotting
from darkroom.packed import Packed

MOST_CLUSTERS = 9
"""Number of clusters shown: three rows of pairs."""
PER_CLUSTER = 3
"""Largest number of images shown per cluster."""
COLOURS = {"conflict": plotting.ORANGE, "near": plotting.GREEN, "exact": plotting.BLUE}
TITLES = {"conflict": "in two classes", "near": "near copies", "exact": "exact copies"}
# In inches. A row contains six images, or three pairs.
WIDTH, SIDE, BETWEEN, GAP, ABOVE, BELOW, LINE = 7.2, 0.98, 0.12, 0.28, 0.24, 0.44, 0.13
SMALL = 7.0
"""Font size in points of the text below an image."""


def draw(packed: Packed, rows: pd.DataFrame, seed: int) -> Figure | None:
    """Return a random selection of the clusters in `rows` of `data/copies.csv`; None if there are none."""
    clusters = choose(rows, seed)
    if not clusters:
        return None
    places = {record.name: row for row, record in enumerate(packed.records)}
    lines = _lines(clusters)
    width = max(sum(map(_breadth, line)) + GAP * (len(line) - 1) for line in lines) + 0.24
    height = len(lines) * (ABOVE + SIDE + BELOW) + 0.08
    with plotting.inches(width, height) as (figure, axes):
        for number, line in enumerate(lines):
            left, top = 0.12, 0.08 + number * (ABOVE + SIDE + BELOW)
            for cluster in line:
                _draw_cluster(axes, packed, places, cluster, (left, top))
                left += _breadth(cluster) + GAP
    return figure


def choose(rows: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Return some clusters of `rows`: conflicts first, then as many of each kind as there is room for.

    A column `kind` is added: conflict for a cluster with several classes, exact if all its images have the same
    bytes, otherwise near.
    """
    marks = pd.DataFrame({"conflict": rows["conflict"] == "1", "near": rows["copy"] == "near"})
    clusters = marks.groupby(rows["cluster"], sort=False).any()
    kinds = np.select([clusters["conflict"], clusters["near"]], ["conflict", "near"], "exact")
    clusters["kind"] = pd.Categorical(kinds, categories=list(COLOURS))
    shuffled = clusters.iloc[np.random.default_rng(seed).permutation(len(clusters))].copy()
    shuffled["turn"] = shuffled.groupby("kind", observed=True).cumcount()
    chosen = shuffled.sort_values(["turn", "kind"]).head(MOST_CLUSTERS)
    chosen["number"] = chosen.index.astype(int)
    chosen = chosen.sort_values(["kind", "number"])
    return [rows[rows["cluster"] == cluster].assign(kind=kind) for cluster, kind in chosen["kind"].items()]


def shown(cluster: pd.DataFrame) -> pd.DataFrame:
    """Return the first images of a cluster; for a conflict, the conflicting ones, alternating between the classes."""
    turn = cluster.groupby(["conflict", "label"]).cumcount()
    ordered = cluster.assign(turn=turn).sort_values(["conflict", "turn"], ascending=[False, True], kind="stable")
    return ordered.head(PER_CLUSTER)


def _lines(clusters: Sequence[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Return the clusters arranged in rows, like words on a page."""
    lines: list[list[pd.DataFrame]] = [[]]
    left = 0.0
    for cluster in clusters:
        if lines[-1] and left + _breadth(cluster) > WIDTH:
            lines.append([])
            left = 0.0
        lines[-1].append(cluster)
        left += _breadth(cluster) + GAP
    return lines


def _breadth(cluster: pd.DataFrame) -> float:
    count = min(len(cluster), PER_CLUSTER)
    return count * SIDE + (count - 1) * BETWEEN


def _draw_cluster(
    axes: Axes, packed: Packed, places: Mapping[str, int], cluster: pd.DataFrame, corner: tuple[float, float]
) -> None:
    kind, (left, top) = cluster["kind"].iloc[0], corner
    few = shown(cluster)
    count = f", {len(few)} of {len(cluster)}" if len(few) < len(cluster) else ""
    axes.text(left, top + ABOVE - 0.07, TITLES[kind] + count, color=COLOURS[kind], fontsize=8, fontweight="bold")
    top += ABOVE
    for row in few.to_dict("records"):
        colour = COLOURS["conflict" if row["conflict"] == "1" else row["copy"]]
        plotting.place(axes, packed.images[places[row["name"]]], left, top, SIDE)
        axes.add_patch(Rectangle((left, top), SIDE, SIDE, fill=False, edgecolor=colour, linewidth=2.2))
        words = ((plotting.shorten(row["label"], 15), plotting.INK), (f"{row['copy']}, {row['split']}", plotting.MUTED))
        for line, (text, ink) in enumerate(words, 1):
            axes.text(left, top + SIDE + 0.04 + line * LINE, text, color=ink, fontsize=SMALL)
        left += SIDE + BETWEEN
