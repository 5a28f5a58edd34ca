"""The diagram of a network: a box per step with its output shape and its number of parameters."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from darkroom import plotting
from darkroom.reporting.architecture import Step

COLOURS = {
    "convolution": plotting.BLUE,
    "depthwise": plotting.BLUE,
    "dense": plotting.ORANGE,
    "pooling": plotting.GREEN,
    "block": plotting.PURPLE,
}
"""Colour of a step by a word in its kind."""


def draw(rows: Sequence[Step], image_size: int) -> Figure:
    """Draw a network from its input down: a box per step with its output shape and its number of parameters."""
    boxes = [Step("image", "", 1, [3, image_size, image_size], 0), *rows]
    heights = [0.46 if box.detail else 0.33 for box in boxes]
    gap = 0.13
    total = sum(heights) + gap * (len(boxes) - 1)
    most = max(1, *(row.parameters for row in rows))
    with plotting.figure(7.2, total + 0.45) as drawing:
        axes = drawing.add_axes((0, 0, 1, 1))
        drawing.set_layout_engine("none")
        axes.set(xlim=(0, 7.2), ylim=(-total - 0.1, 0.35))
        axes.axis("off")
        heading: dict[str, Any] = {"color": plotting.MUTED, "fontsize": 8, "va": "center"}
        axes.text(4.98, 0.18, "output", ha="center", **heading)
        axes.text(5.6, 0.18, "parameters", ha="left", **heading)
        top = 0.0
        for box, height in zip(boxes, heights, strict=True):
            if top:
                axes.annotate("", (2.2, top), (2.2, top + gap), arrowprops={"arrowstyle": "-", "color": plotting.MUTED})
            _box(axes, box, top, height, most)
            top -= height + gap
    return drawing


def _box(axes: Axes, box: Step, top: float, height: float, most: int) -> None:
    """Draw one step with its upper edge at `top`; the bar shows its parameters relative to `most`."""
    colour = next((colour for word, colour in COLOURS.items() if word in box.kind.split(",")[0]), plotting.MUTED)
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch((0.1, top - height), 4.3, height, boxstyle=style, facecolor=f"{colour}1c", edgecolor=colour)
    )
    title = plotting.shorten(box.title, 58)
    middle = top - height / 2
    if box.detail:
        axes.text(0.25, middle + 0.09, title, va="center", fontweight="bold", fontsize=8.5)
        axes.text(0.25, middle - 0.1, box.detail, va="center", fontsize=6.5, color=plotting.MUTED)
    else:
        axes.text(0.25, middle, title, va="center", fontsize=8.5)
    axes.text(4.98, middle, box.shape, va="center", ha="center", fontsize=8)
    if box.parameters:
        width = 0.7 * box.parameters / most
        axes.barh(middle, width, 0.16, left=5.6, color=colour)
        axes.text(5.65 + width, middle, f"{box.parameters:,}", va="center", fontsize=8)
