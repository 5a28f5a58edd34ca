"""Which images to collect next: the forecasts of the stage `labels`, as sentences and a table."""

from typing import Any

from darkroom import forecasts
from darkroom.forecasts import PATH, Curve, Forecast
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

HOG = "HOG features"
"""What `growth.json` contains instead of the name of a network."""
SENTENCES = 3
"""Number of classes with a sentence of their own; the table lists all."""
SCOPE = (
    "These are forecasts for a linear model on {features}, by cross-validation, "
    "not for the trained network, which may gain more or less."
)


def plan(add: int | None = None) -> str:
    """Return what `add` more images of each class are expected to bring, for people.

    Raises DarkroomError when the stage `labels` has not run yet, or measured nothing.
    """
    found = _read()
    curves: list[Curve] = found["curves"]
    ranking, few = _forecasts(curves, add or found["add"])
    whole = [each for each in ranking if each.name is None]
    classes = [each for each in ranking if each.name is not None]
    lines = ["", *(forecasts.sentence(each, naming.shown) for each in classes[:SENTENCES])]
    lines += [forecasts.sentence(each, naming.shown) for each in whole]
    lines += ["", *_table([*classes, *whole])]
    if few:
        lines += ["", f"Too few images for a forecast: {naming.listed(few, most=10)}"]
    if dropped := found["classes"] - sum(curve.name is not None for curve in curves):
        lines += ["", f"Not measured: {naming.count(dropped, 'class', 'classes')} with a higher F1 than these"]
    source = HOG if found["features"] == HOG else f"the frozen features of {naming.shown(found['features'])}"
    return "\n".join([*lines, "", SCOPE.format(features=source), "Curves: plots/labels/growth.png", ""])


def document(add: int | None = None) -> dict[str, Any]:
    """Return the same for JSON, the largest expected gain first; gains are fractions, and intervals contain 80%.

    Raises DarkroomError like `plan`.
    """
    found = _read()
    ranking, few = _forecasts(found["curves"], add or found["add"])
    rows = [
        {
            "class": each.name,
            "images": each.images,
            "add": each.add,
            "gain": round(each.gain, 6),
            "low": round(each.low, 6),
            "high": round(each.high, 6),
            "measurable": each.is_measurable,
        }
        for each in ranking
    ]
    return {"metric": "macro_f1", "features": found["features"], "forecasts": rows, "too_few_images": few}


def _read() -> dict[str, Any]:
    if not PATH.is_file():
        raise DarkroomError(f"{PATH} is missing: run `dvc repro labels` or `make run` first")
    found = forecasts.read(PATH)
    if not any(curve.points for curve in found["curves"]):
        raise DarkroomError(
            f"{PATH} contains no learning curve: at least two classes are needed, one of them with three images or "
            "groups; add images and run `make run`"
        )
    return found


def _forecasts(curves: list[Curve], add: int) -> tuple[list[Forecast], list[str]]:
    """Return the forecasts, and the classes that have too few images."""
    few = [curve.name for curve in curves if curve.name is not None and not curve.points]
    return forecasts.ranked(curves, add), few


def _table(rows: list[Forecast]) -> list[str]:
    names = ["all classes" if each.name is None else naming.shown(each.name) for each in rows]
    width = max(5, *map(len, names))
    lines = [f"  {'class':<{width}}  {'images':>7}  {'more':>6}  {'macro F1, points':>16}   80% interval"]
    for name, each in zip(names, rows, strict=True):
        interval = f"{forecasts.points(each.low)} to {forecasts.points(each.high)}"
        noise = "" if each.is_measurable else "  within noise"
        gain = f"+{forecasts.points(each.gain)}"
        lines.append(
            f"  {name:<{width}}  {each.images:>7,}  {each.add:>6,}  {gain:>16}   {interval:<13}{noise}".rstrip()
        )
    return lines
