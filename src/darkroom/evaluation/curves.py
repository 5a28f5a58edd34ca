"""Figures of how precision, risk and accuracy change along a threshold, a strength or a price."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter
from matplotlib.transforms import Bbox

from darkroom import plotting
from darkroom.evaluation.ranking import RECALLS
from darkroom.plotting import shorten

NAMED = 6
"""Classes with a line of their own colour: the hardest."""
PLACES = (4, -11, 15, -22, 26, -33, 37, -44, 48, -55, 59, -66)
"""Heights at which a point's label may stand, from nearest to furthest."""

Point = tuple[float, float, float]
Floats = npt.NDArray[np.float64]


def precision_recall(curves: Mapping[str, Floats], areas: Mapping[str, float]) -> Figure:
    """Draw interpolated precision by recall: the mean of the classes, and those with the least average precision.

    curves: precision at `ranking.RECALLS` by class; areas: the average precision by class.
    """
    hardest = sorted(curves, key=lambda name: (areas[name], name))[:NAMED]
    with plotting.figure(6.2, 4.2) as drawing:
        axes = drawing.subplots()
        for name in [name for name in curves if name not in hardest]:
            axes.plot(RECALLS, curves[name], color=plotting.FAINT, linestyle="-", linewidth=1)
        for name in hardest if len(curves) > 1 else ():
            axes.plot(RECALLS, curves[name], label=f"{shorten(name, 18)} ({_short(areas[name])})", linewidth=1.2)
        mean = np.mean(list(curves.values()), axis=0)
        area = float(np.mean(list(areas.values())))
        axes.plot(RECALLS, mean, color=plotting.INK, linestyle="-", label=f"mean of classes ({_short(area)})")
        lowest = min(float(curve.min()) for curve in curves.values())
        bottom = max(0.0, lowest - 0.05)
        axes.set(xlim=(0, 1.01), ylim=(bottom, 1 + 0.03 * (1 - bottom)), xlabel="Recall", ylabel="Precision")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        drawing.legend(loc="outside right upper", title="Average precision", fontsize=8)
    return drawing


def risk_coverage(points: Sequence[Point], confident: float, risk: float | None) -> Figure:
    """Draw the share of errors among the surest answers, by how many of them are given.

    points: (coverage, risk, threshold); confident, risk: the share of test images that get a confident answer, and
    the errors among those; None where there are none.
    """
    coverage, risks, _ = np.array(points).T
    with plotting.figure(5.2, 3.6) as drawing:
        axes = drawing.subplots()
        axes.plot(coverage, risks, color=plotting.BLUE, drawstyle="steps-post" if len(points) < 30 else "default")
        if risk is not None:
            axes.plot(confident, risk, "o", color=plotting.ORANGE, label="confident answers, threshold of validation")
            axes.legend(loc="upper left")
        top = max(float(risks.max()), risk or 0.0, 0.002)
        axes.set(xlim=(0, 1.02), ylim=(-0.03 * top, 1.25 * top))
        axes.set(xlabel="Share of the test images that are answered, the surest first", ylabel="Errors among them")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=2 if top < 0.01 else 1 if top < 0.1 else 0))
    return drawing


def strengths(accuracies: Mapping[str, Sequence[float]], clean: float) -> Figure:
    """Draw accuracy by strength of each corruption: 0 is the picture as it is.

    accuracies: by corruption, one a strength from 1.
    """
    with plotting.figure(6.2, 3.8) as drawing:
        axes = drawing.subplots()
        for name, values in accuracies.items():
            axes.plot(range(len(values) + 1), [clean, *values], label=name, marker="o", markersize=4)
        axes.set(xlabel="Strength", ylabel="Accuracy", ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        drawing.legend(loc="outside right upper")
    return drawing


def accuracy_by_cost(prices: Mapping[str, float], scores: Mapping[str, Point], best: str) -> Figure:
    """Draw test accuracy with its 95% interval by the milliseconds that one image takes.

    prices: milliseconds by network; scores: accuracy and its two bounds by network.
    """
    with plotting.figure(6.2, 3.8) as drawing:
        axes = drawing.subplots()
        labels = []
        # The best comes first, so that its label has the first choice of a place, and lies on top.
        for name, price in sorted(prices.items(), key=lambda item: (item[0] != best, -scores[item[0]][0])):
            accuracy, least, most = scores[name]
            color, order = (plotting.BLUE, 4) if name == best else (plotting.MUTED, 3)
            bounds = [[accuracy - least], [most - accuracy]]
            axes.errorbar(price, accuracy, bounds, color=color, marker="o", linestyle="", zorder=order)
            label = f"{shorten(name, 20)} (best)" if name == best else shorten(name, 20)
            point = (price, accuracy)
            labels.append(axes.annotate(label, point, (0, 0), textcoords="offset points", fontsize=8, color=color))
        low, high = min(prices.values()), max(prices.values())
        room = max(1.5, (high / low) ** 0.25)
        axes.set(xscale="log", xlim=(low / room, high * room))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        if high < 4 * low:  # too few round figures lie between them
            axes.set_xticks(sorted({float(f"{value:.2g}") for value in np.geomspace(low, high, 3)}))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="Milliseconds an image, one thread (logarithmic)", ylabel="Test accuracy, 95% interval")
        _place(drawing, axes, labels)
    return drawing


def _place(drawing: Figure, axes: Axes, labels: Sequence[Annotation]) -> None:
    """Move each label to the nearest place beside its point where it hides no other, as far as there is one."""
    for label in labels:
        label.set_in_layout(False)
    drawing.draw_without_rendering()  # only then is known where anything lies
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


def _short(area: float) -> str:
    """Return three digits after the point, rounded down: only a perfect area is 1.000."""
    return f"{math.floor(area * 1000 + 1e-9) / 1000:.3f}"
