"""Figures of scores: confusion matrix, learning curves, accuracies and reliability diagram."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from darkroom import plotting
from darkroom.candidate import Epoch
from darkroom.evaluation.scores.calibration import Bin
from darkroom.evaluation.scores.intervals import accuracy_interval
from darkroom.evaluation.scores.metrics import Scores
from darkroom.markdown import percent
from darkroom.plotting import shorten

READABLE = 50
"""Largest number of classes for which a confusion matrix shows counts and names."""


def confusion(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw counts of (actual, predicted), shape (classes, classes): correct ones blue, mistakes orange.

    Colour shows the square root of the share of the actual class, so that single mistakes remain visible. With more
    than `READABLE` classes, counts and names are omitted.
    """
    count = len(classes)
    cell = float(np.clip(9 / count, 0.2, 0.55))  # inches: three digits still fit into 0.2
    share = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    right = np.eye(count, dtype=bool)[..., np.newaxis]
    shown = np.where(right, colormaps["Blues"](share * 0.9), colormaps["Oranges"](share * 0.8))
    shown[matrix == 0] = 1.0
    names = [shorten(name, 18) for name in classes]
    margin = 0.6 + 0.085 * max(map(len, names))
    readable = count <= READABLE
    side = max(2.4, count * cell) + margin if readable else 7.0
    with plotting.figure(side, side) as drawing:
        axes = drawing.subplots()
        axes.imshow(shown, interpolation="nearest")
        size = cell * 72 / 2.9
        for row, column in zip(*np.nonzero(matrix), strict=True) if readable else ():
            color = "white" if share[row, column] > 0.7 else plotting.INK
            text = f"{matrix[row, column]}"
            fit = min(1.0, 3 / len(text))
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=min(10, size * fit))
        label_size = min(9, cell * 72 * 0.7)
        named = range(count) if readable else ()
        names = names if readable else []
        axes.set_xticks(named, names, rotation=90 if max(map(len, names), default=0) > 2 else 0, fontsize=label_size)
        axes.set_yticks(named, names, fontsize=label_size)
        axes.set_xlabel("Predicted")
        axes.set_ylabel("Actual")
        lines = np.arange(count + 1) - 0.5 if readable else ()
        axes.set_xticks(lines, minor=True)
        axes.set_yticks(lines, minor=True)
        axes.tick_params(which="both", length=0)
        axes.grid(visible=False)
        axes.grid(which="minor")
        axes.set_axisbelow(False)
        axes.spines[:].set_visible(not readable)
    return drawing


def learning_curves(histories: Mapping[str, Sequence[Epoch]], kept: Mapping[str, int]) -> Figure:
    """Draw loss and accuracy by epoch, one line per network; a dot marks the epoch whose weights were kept."""
    panels = (
        ("Training loss", "train_loss"),
        ("Validation loss", "validation_loss"),
        ("Validation accuracy", "validation_accuracy"),
    )
    with plotting.figure(7.2, 5.4) as drawing:
        *plots, rest = drawing.subplots(2, 2).flat
        for axes, (title, field) in zip(plots, panels, strict=True):
            for name, epochs in histories.items():
                marks = [place for place, epoch in enumerate(epochs) if epoch.epoch == kept[name]]
                values = [getattr(epoch, field) for epoch in epochs]
                axes.plot([epoch.epoch for epoch in epochs], values, label=name, marker="o", markevery=marks)
            axes.set_title(title)
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            if field == "validation_accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            else:
                axes.set_ylim(bottom=0)
        rest.axis("off")
        if histories:
            rest.legend(*plots[0].get_legend_handles_labels(), loc="center", ncols=1 + (len(histories) > 10))
    return drawing


def accuracies(scores: Mapping[str, Scores], best: str, baseline: str, majority: float | None = None) -> Figure:
    """Draw each candidate's test accuracy with its 95% interval, the highest on top.

    majority: the accuracy of always predicting the largest class, drawn as a line if given.
    """
    ordered = sorted(scores.items(), key=lambda item: (item[1].accuracy, item[0] == best))
    with plotting.figure(7.2, 0.9 + 0.36 * len(ordered)) as drawing:
        axes = drawing.subplots()
        reference = scores[baseline]
        axes.axvspan(reference.accuracy_low, reference.accuracy_high, color=plotting.ORANGE, alpha=0.08, linewidth=0)
        label = "Test accuracy with 95% confidence interval (band: baseline)"
        if majority is not None:
            axes.axvline(majority, color=plotting.MUTED, linestyle="--", linewidth=1)
            label += "\nDashed line: always predicting the largest class"
        for row, (name, score) in enumerate(ordered):
            color = {best: plotting.BLUE, baseline: plotting.ORANGE}.get(name, plotting.MUTED)
            axes.plot([score.accuracy_low, score.accuracy_high], [row, row], color=color, linestyle="-")
            axes.plot(score.accuracy, row, marker="o", color=color)
            axes.annotate(
                percent(score.accuracy),
                (score.accuracy, row),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        several = len(ordered) > 2  # so that one was selected
        names = [f"{name} (selected)" if name == best and several else name for name, _ in ordered]
        axes.set_yticks(range(len(ordered)), names)
        axes.set_ylim(-0.6, len(ordered) - 0.2)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel(label)
    return drawing


def reliability(before: Sequence[Bin], after: Sequence[Bin]) -> Figure:
    """Draw the reliability diagram before and after calibration, and the number of images per bin.

    Error bars are 95% confidence intervals after calibration.
    """
    confidence = [each.confidence for each in after]
    accuracy = np.array([each.right / each.count for each in after])
    intervals = np.array([accuracy_interval(each.right, each.count) for each in after])
    reach = np.abs(intervals.T - accuracy)
    with plotting.figure(4.6, 4.8) as drawing:
        upper, lower = drawing.subplots(2, 1, height_ratios=[3, 1], sharex=True)
        upper.plot([0, 1], [0, 1], color=plotting.MUTED, linestyle="--", linewidth=1, label="perfect calibration")
        raw = [each.right / each.count for each in before]
        upper.plot(
            [each.confidence for each in before], raw, color=plotting.ORANGE, linestyle="-", linewidth=1, marker="s",
            markersize=4, markerfacecolor="white", label="before calibration",
        )  # fmt: skip
        upper.errorbar(
            confidence, accuracy, reach, label="after calibration", color=plotting.BLUE, linestyle="", marker="o"
        )
        upper.set(xlim=(0, 1.02), ylim=(-0.03, 1.03), ylabel="Accuracy")
        drawing.legend(loc="outside upper center", ncols=2, fontsize=8)
        lower.bar(confidence, [each.count for each in after], width=0.05, color=plotting.BLUE)
        lower.set(xlabel="Confidence", ylabel="Images")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
    return drawing
