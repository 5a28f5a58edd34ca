"""Figure of accuracy by strength of each corruption."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from darkroom import plotting


def strengths(accuracies: Mapping[str, Sequence[float]], clean: float) -> Figure:
    """Draw accuracy by strength of each corruption; 0 is the uncorrupted image.

    accuracies: by corruption, one value per strength from 1.
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
