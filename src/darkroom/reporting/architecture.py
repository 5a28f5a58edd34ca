"""Networks as a sequence of steps: layers grouped the way people draw them, for `diagram`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from darkroom.candidate import Layer

ATTACHED = ("batch norm", "layer norm", "dropout", "ReLU", "GELU", "SiLU", "Hardswish", "Sigmoid", "Hardsigmoid")
"""Prefixes of layers that are shown together with the layer before them."""
ROOM = 76
"""Largest number of characters in the small print of a step."""
RESIDUAL = ("Residual block", "Basic block", "Bottleneck block")
"""Blocks that add their input to the output of their layers."""


@dataclass(frozen=True)
class Step:
    """One box of a diagram: a layer with its normalisation and activation, or a block; repeated in a row."""

    kind: str
    detail: str
    """The layers of a block; empty for a plain layer."""
    repeats: int
    output: list[int]
    """Output shape of the last repeat for one image."""
    parameters: int
    """Number of parameters of all repeats."""

    @property
    def title(self) -> str:
        """The kind and the number of repeats: "convolution 3×3, ReLU (2×)"."""
        return f"{self.kind} ({self.repeats}×)" if self.repeats > 1 else self.kind

    @property
    def shape(self) -> str:
        """Height × width × channels, or the number of values."""
        return shape(self.output)


def shape(output: Sequence[int]) -> str:
    """Format a shape without its batch axis: "32 × 32 × 64" for (64, 32, 32), "10" for (10,)."""
    ordered = (*output[1:], output[0]) if len(output) == 3 else output
    return "\u00a0×\u00a0".join(f"{size:,}" for size in ordered)


def steps(layers: Sequence[Layer]) -> list[Step]:
    """Return the steps of a network: normalisation, activation and dropout join the layer before, repeats are merged.

    Blocks of the same kind are repeats if their outputs have the same height and width; channels may differ.
    """
    merged: list[Step] = []
    for step in _single(layers):
        last = merged[-1] if merged else None
        if last and _are_repeats(last, step):
            parameters = last.parameters + step.parameters
            merged[-1] = replace(last, repeats=last.repeats + 1, output=step.output, parameters=parameters)
        else:
            merged.append(step)
    return merged


def _are_repeats(first: Step, second: Step) -> bool:
    if first.kind != second.kind or "flatten" in first.kind:
        return False
    if first.kind.endswith("block"):
        return first.output[1:] == second.output[1:]
    return first.output == second.output


def _single(layers: Sequence[Layer]) -> list[Step]:
    """Return the steps before merging: blocks with their layers, and plain layers with the attached ones."""
    blocks = {layer.name for layer in layers if layer.kind.endswith(" block")}

    def owner(layer: Layer) -> str:
        """Return the name of the block that a layer belongs to, or an empty string."""
        return next((name for name in blocks if f"{layer.name}.".startswith(f"{name}.")), "")

    found: list[Step] = []
    for name, group in groupby(layers, owner):
        rows = list(group)
        if name:
            total = sum(row.parameters for row in rows)
            found.append(Step(rows[-1].kind, _describe_block(rows), 1, rows[-1].output, total))
        else:
            found += _gather(rows)
    return found


def _describe_block(rows: Sequence[Layer]) -> str:
    """List the layers of a block, without normalisation and activation if the list would be too long."""
    parts = _gather(rows[:-1])
    text = ""
    for kinds in ([part.kind for part in parts], [part.kind.split(",")[0] for part in parts]):
        counted = [(kind, len(list(group))) for kind, group in groupby(kinds)]
        words = [f"{kind} ({count}×)" if count > 1 else kind for kind, count in counted]
        text = " → ".join([*words, *(["plus the input"] if rows[-1].kind in RESIDUAL else [])])
        if len(text) <= ROOM:
            return text
    from darkroom import plotting  # imports matplotlib, which the model card does not need

    return plotting.shorten(text, ROOM)


def _gather(rows: Sequence[Layer]) -> list[Step]:
    """Return plain layers, each with the attached layers after it."""
    found: list[Step] = []
    for row in rows:
        flat = row.kind == "flatten" and bool(found) and "global" in found[-1].kind
        if found and (flat or row.kind.startswith(ATTACHED)):
            last = found[-1]
            kind = last.kind if flat else f"{last.kind}, {row.kind}"
            found[-1] = replace(last, kind=kind, output=row.output, parameters=last.parameters + row.parameters)
        else:
            found.append(Step(row.kind, "", 1, row.output, row.parameters))
    return found
