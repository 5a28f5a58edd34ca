"""Networks as people draw them: layers gathered into steps, which `diagram` draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from darkroom.candidate import Layer

FOLLOWERS = ("batch norm", "layer norm", "dropout", "ReLU", "GELU", "SiLU", "Hardswish", "Sigmoid", "Hardsigmoid")
"""Beginnings of the layers that are told with the one before them."""
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
            return text
    from darkroom import plotting  # and so matplotlib, which the model card need not pay

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
