"""Figures of how precision, risk and accuracy change along a threshold, a strength or a price."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from darkroom import plotting
from darkroom.evaluation.ranking import RECALLS
from darkroom.plotting import shorten

NAMED = 6
"""Classes with a line of their own colour: the hardest."""

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
        low, high = min(prices.values()), max(prices.values())
        for name, price in prices.items():
            accuracy, least, most = scores[name]
            color = plotting.BLUE if name == best else plotting.MUTED
            axes.errorbar(
                price, accuracy, [[accuracy - least], [most - accuracy]], color=color, marker="o", linestyle=""
            )
            label = f"{shorten(name, 20)} (best)" if name == best else shorten(name, 20)
            offset, side = ((6, 5), "left") if price**2 <= low * high else ((-6, 5), "right")
            axes.annotate(
                label, (price, accuracy), offset, textcoords="offset points", ha=side, fontsize=8, color=color
            )
        axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="Milliseconds an image, one thread (logarithmic)", ylabel="Test accuracy, 95% interval")
        if high < 10 * low:  # no power of ten need lie between them
            axes.set_xticks(sorted({float(f"{value:.2g}") for value in np.geomspace(low, high, 3)}))
            axes.set_xticks([], minor=True)
    return drawing


def _short(area: float) -> str:
    """Return three digits after the point, rounded down: only a perfect area is 1.000."""
    return f"{math.floor(area * 1000 + 1e-9) / 1000:.3f}"
