"""Figure of the learning curves with their forecasts."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from darkroom import plotting
from darkroom.forecasts import Curve, forecast, ranked
from darkroom.plotting import BLUE, MUTED, ORANGE, shorten

SHOWN = 12
"""Largest number of curves: those with the largest expected gains."""
COLUMNS = 4


def curves(found: Sequence[Curve], add: int) -> Figure | None:
    """Draw macro F1 by number of images, measured, and forecast up to `add` more; None if there are no curves."""
    by_name = {curve.name: curve for curve in found}
    order = [each.name for each in ranked(found, add)]
    whole = [name for name in order if name is None]
    shown = [by_name[name] for name in [*whole, *(name for name in order if name is not None)][:SHOWN]]
    if not shown:
        return None
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    with plotting.figure(max(3.4, 2.4 * columns), 1.9 * rows + 0.4) as drawing:
        panels = drawing.subplots(rows, columns, squeeze=False).flatten()
        for axes, curve in zip(panels, shown, strict=False):
            _panel(axes, curve, add)
        for axes in panels[len(shown) :]:
            axes.remove()
        drawing.supxlabel("training images", fontsize=9)
        drawing.supylabel("macro F1", fontsize=9)
    return drawing


def _panel(axes: Axes, curve: Curve, add: int) -> None:
    axes.set_title("all classes" if curve.name is None else shorten(curve.name, 20))
    axes.plot([each.images for each in curve.points], [each.macro_f1 for each in curve.points], "o-", color=BLUE, ms=3)
    last = curve.points[-1].macro_f1
    steps = np.unique(np.linspace(0, add, 21).round().astype(int))
    forecasts = [forecast(curve, int(step)) for step in steps]
    numbers = curve.images + steps
    axes.plot(numbers, [last + each.gain for each in forecasts], "--", color=ORANGE)
    low, high = ([min(1, last + getattr(each, side)) for each in forecasts] for side in ("low", "high"))
    axes.fill_between(numbers, low, high, color=ORANGE, alpha=0.25, linewidth=0)
    axes.axvline(curve.images, color=MUTED, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
