"""Figure of accuracy against latency."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter
from matplotlib.transforms import Bbox

from darkroom import plotting
from darkroom.plotting import shorten

PLACES = (4, -11, 15, -22, 26, -33, 37, -44, 48, -55, 59, -66)
"""Possible vertical offsets of a label from its point, nearest first."""

Point = tuple[float, float, float]


def accuracy_by_cost(latencies: Mapping[str, float], scores: Mapping[str, Point], best: str) -> Figure:
    """Draw test accuracy with its 95% interval against milliseconds per image.

    latencies: milliseconds by network; scores: accuracy and its two bounds by network.
    """
    with plotting.figure(6.2, 3.8) as drawing:
        axes = drawing.subplots()
        labels = []
        # The best comes first, so that its label is placed first and lies on top.
        for name, latency in sorted(latencies.items(), key=lambda item: (item[0] != best, -scores[item[0]][0])):
            accuracy, least, most = scores[name]
            color, order = (plotting.BLUE, 4) if name == best else (plotting.MUTED, 3)
            bounds = [[accuracy - least], [most - accuracy]]
            axes.errorbar(latency, accuracy, bounds, color=color, marker="o", linestyle="", zorder=order)
            label = f"{shorten(name, 20)} (selected)" if name == best else shorten(name, 20)
            point = (latency, accuracy)
            labels.append(axes.annotate(label, point, (0, 0), textcoords="offset points", fontsize=8, color=color))
        low, high = min(latencies.values()), max(latencies.values())
        room = max(1.5, (high / low) ** 0.25)
        axes.set(xscale="log", xlim=(low / room, high * room))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        if high < 4 * low:  # too few round numbers lie between them
            axes.set_xticks(sorted({float(f"{value:.2g}") for value in np.geomspace(low, high, 3)}))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="Latency (ms per image on one thread, log scale)", ylabel="Test accuracy, 95% interval")
        _place(drawing, axes, labels)
    return drawing


def _place(drawing: Figure, axes: Axes, labels: Sequence[Annotation]) -> None:
    """Move each label to the nearest position beside its point where it overlaps nothing, if there is one."""
    for label in labels:
        label.set_in_layout(False)
    drawing.draw_without_rendering()  # determines all positions
    inside = axes.get_window_extent()
    points = axes.transData.transform([label.xy for label in labels])
    taken = [Bbox.from_extents(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    for label in labels:
        for (x, side), y in product(((7, "left"), (-7, "right")), PLACES):
            label.set(position=(x, y), horizontalalignment=side)
            box = label.get_window_extent()
            if box.count_overlaps(taken) == 0 and inside.containsx(box.x0) and inside.containsx(box.x1):
                break
        taken.append(label.get_window_extent())
