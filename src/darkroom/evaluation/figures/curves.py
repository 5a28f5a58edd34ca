"""Precision-recall and risk-coverage curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from darkroom import plotting
from darkroom.evaluation.scores.ranking import RECALLS
from darkroom.markdown import score
from darkroom.plotting import shorten

HARDEST = 6
"""Number of classes, those with the lowest average precision, that are drawn in colour."""

Point = tuple[float, float, float]
Floats = npt.NDArray[np.float64]


def precision_recall(curves: Mapping[str, Floats], areas: Mapping[str, float]) -> Figure:
    """Draw interpolated precision by recall: the mean over the classes and the `HARDEST` with the lowest areas.

    curves: precision at `ranking.RECALLS` by class; areas: the average precision by class.
    """
    hardest = sorted(curves, key=lambda name: (areas[name], name))[:HARDEST]
    if len(curves) > HARDEST:  # of many classes, perfect ones are not worth a colour
        hardest = [name for name in hardest if areas[name] < 1]
    with plotting.figure(6.2, 4.2) as drawing:
        axes = drawing.subplots()
        for name in [name for name in curves if name not in hardest]:
            axes.plot(RECALLS, curves[name], color=plotting.FAINT, linestyle="-", linewidth=1)
        for name in hardest if len(curves) > 1 else ():
            axes.plot(RECALLS, curves[name], label=f"{shorten(name, 18)} ({score(areas[name])})", linewidth=1.2)
        mean = np.mean(list(curves.values()), axis=0)
        area = float(np.mean(list(areas.values())))
        named = f"mean of {len(curves):,} classes" if len(curves) > 1 else shorten(next(iter(curves)), 18)
        axes.plot(RECALLS, mean, color=plotting.INK, linestyle="-", label=f"{named} ({score(area)})")
        if rest := len(curves) - len(hardest):
            other = f"{rest:,} other {'class' if rest == 1 else 'classes'}" if hardest else "each class"
            axes.plot([], [], color=plotting.FAINT, linestyle="-", linewidth=1, label=other)
        lowest = min(float(curve.min()) for curve in curves.values())
        bottom = max(0.0, lowest - 0.05)
        axes.set(xlim=(0, 1.01), ylim=(bottom, 1 + 0.03 * (1 - bottom)), xlabel="Recall", ylabel="Precision")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        drawing.legend(loc="outside right upper", title="Average precision", fontsize=8)
    return drawing


def risk_coverage(points: Sequence[Point], confident: float, risk: float | None) -> Figure:
    """Draw the error rate of the most confident predictions against coverage.

    points: (coverage, risk, threshold); confident, risk: the fraction of test images with confident predictions, and
    the error rate on them; None if there are none.
    """
    coverage, risks, _ = np.array(points).T
    with plotting.figure(5.2, 3.6) as drawing:
        axes = drawing.subplots()
        axes.plot(coverage, risks, color=plotting.BLUE, drawstyle="steps-post" if len(points) < 30 else "default")
        if risk is not None:
            axes.plot(
                confident, risk, "o", color=plotting.ORANGE, label="confident predictions (threshold set on validation)"
            )
            axes.legend(loc="upper left")
        top = max(float(risks.max()), risk or 0.0, 0.002)
        axes.set(xlim=(0, 1.02), ylim=(-0.03 * top, 1.25 * top))
        axes.set(xlabel="Coverage (fraction of test images, most confident first)", ylabel="Error rate")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=2 if top < 0.01 else 1 if top < 0.1 else 0))
    return drawing
