"""Networks as people draw them: layers gathered into steps, as a table's rows and as a diagram."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from darkroom import plotting
from darkroom.candidate import Layer

FOLLOWERS = ("batch norm", "layer norm", "dropout", "ReLU", "GELU", "SiLU", "Hardswish", "Sigmoid", "Hardsigmoid")
"""Beginnings of the layers that are told with the one before them."""
COLOURS = {
    "convolution": plotting.BLUE,
    "depthwise": plotting.BLUE,
    "dense": plotting.ORANGE,
    "pooling": plotting.GREEN,
    "block": plotting.PURPLE,
}
"""Colour of a step, by a word in it."""
ROOM = 76
"""Characters of small print that a step has room for."""
ADDING = ("Residual block", "Basic block", "Bottleneck block")
"""Blocks that add what comes in to what their layers make of it."""


@dataclass(frozen=True)
class Step:
    """One box of a diagram: a layer with what follows it, or a block, so many times in a row."""

    kind: str
    detail: str
    """What is inside a block; empty otherwise."""
    repeats: int
    output: list[int]
    """Shape of what the last of them makes of one image."""
    parameters: int
    """Of all of them together."""

    @property
    def title(self) -> str:
        """What it is and how often: "convolution 3×3, ReLU, twice" as "convolution 3×3, ReLU (2×)"."""
        return f"{self.kind} ({self.repeats}×)" if self.repeats > 1 else self.kind

    @property
    def shape(self) -> str:
        """Height × width × channels, or the number of values."""
        return shape(self.output)


def shape(output: Sequence[int]) -> str:
    """Return a shape without the images' axis in words: "32 × 32 × 64" for (64, 32, 32), "10" for (10,)."""
    ordered = (*output[1:], output[0]) if len(output) == 3 else output
    return "\u00a0×\u00a0".join(f"{size:,}" for size in ordered)


def steps(layers: Sequence[Layer]) -> list[Step]:
    """Return the steps of a network: norms, rectifiers and dropout with the layer before, equal neighbours as one.

    Blocks of one kind count as equal as long as they make images of one size, whatever their channels.
    """
    merged: list[Step] = []
    for step in _single(layers):
        last = merged[-1] if merged else None
        if last and _alike(last, step):
            parameters = last.parameters + step.parameters
            merged[-1] = replace(last, repeats=last.repeats + 1, output=step.output, parameters=parameters)
        else:
            merged.append(step)
    return merged


def _alike(first: Step, second: Step) -> bool:
    if first.kind != second.kind or "flatten" in first.kind:
        return False
    if first.kind.endswith("block"):
        return first.output[1:] == second.output[1:]
    return first.output == second.output


def _single(layers: Sequence[Layer]) -> list[Step]:
    """Return the steps one by one: blocks with their layers inside, layers with their followers."""
    blocks = {layer.name for layer in layers if layer.kind.endswith(" block")}

    def owner(layer: Layer) -> str:
        """Return the name of the block that a layer belongs to, or nothing."""
        return next((name for name in blocks if f"{layer.name}.".startswith(f"{name}.")), "")

    found: list[Step] = []
    for name, group in groupby(layers, owner):
        rows = list(group)
        if name:
            total = sum(row.parameters for row in rows)
            found.append(Step(rows[-1].kind, _inside(rows), 1, rows[-1].output, total))
        else:
            found += _gather(rows)
    return found


def _inside(rows: Sequence[Layer]) -> str:
    """Return what a block consists of, without norms and rectifiers where that would be too long."""
    parts = _gather(rows[:-1])
    text = ""
    for kinds in ([part.kind for part in parts], [part.kind.split(",")[0] for part in parts]):
        counted = [(kind, len(list(group))) for kind, group in groupby(kinds)]
        words = [f"{kind} ({count}×)" if count > 1 else kind for kind, count in counted]
        text = " → ".join([*words, *(["plus the input"] if rows[-1].kind in ADDING else [])])
        if len(text) <= ROOM:
            break
    return plotting.shorten(text, ROOM)


def _gather(rows: Sequence[Layer]) -> list[Step]:
    """Return plain layers with their followers."""
    found: list[Step] = []
    for row in rows:
        flat = row.kind == "flatten" and bool(found) and "global" in found[-1].kind
        if found and (flat or row.kind.startswith(FOLLOWERS)):
            last = found[-1]
            kind = last.kind if flat else f"{last.kind}, {row.kind}"
            found[-1] = replace(last, kind=kind, output=row.output, parameters=last.parameters + row.parameters)
        else:
            found.append(Step(row.kind, "", 1, row.output, row.parameters))
    return found


def draw(rows: Sequence[Step], image_size: int) -> Figure:
    """Draw a network from its input down: a box a step, what comes out of it, and where its parameters lie."""
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
    """Draw one step with its upper edge at `top`, and its parameters as a bar beside those of the largest."""
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
