"""The section about which images to collect next."""

from typing import Any

from darkroom import forecasts
from darkroom.reporting.wording import count, listing, text

HOG = "HOG features"
SHOWN = 10
"""Largest number of classes in the table."""


def paragraph(growth: dict[str, Any]) -> list[str]:
    """Return the sentences about `plots/labels/growth.json`, as Markdown."""
    ranking = forecasts.ranked(growth["curves"], growth["add"])
    features = HOG if growth["features"] == HOG else f"the frozen features of {text(growth['features'])}"
    lines = [
        f"A linear model on {features}, in which all classes have equal weight, was fitted to random subsets of the "
        "images and evaluated by cross-validation. The resulting learning curves, extrapolated as power laws, forecast "
        f"what {growth['add']:,} more images would add. The forecasts are for this linear model; the trained network "
        "may gain more or less."
    ]
    classes = [each for each in ranking if each.name is not None]
    measurable = [each for each in classes if each.is_measurable]
    if measurable:
        lines.append(forecasts.sentence(measurable[0], text))
    elif classes:
        lines.append("For no single class is there a measurable gain.")
    lines += [forecasts.sentence(each, text) for each in ranking if each.name is None]
    few = [text(curve.name) for curve in growth["curves"] if curve.name is not None and not curve.points]
    if few:
        more = [count(len(few) - 5, "other class", "other classes")] if len(few) > 5 else []
        lines.append(f"There are too few images for a forecast of {listing([*few[:5], *more])}.")
    lines.append("`darkroom plan --add N` shows the forecasts for another number of images.")
    return lines


def rows(growth: dict[str, Any]) -> list[tuple[str, int, str, str]]:
    """Return class, present images, gain in points of macro F1 and its interval, the largest gain first."""
    ranking = [each for each in forecasts.ranked(growth["curves"], growth["add"]) if each.name is not None]
    return [
        (
            each.name or "",
            each.images,
            forecasts.points(each.gain),
            f"{forecasts.points(each.low)} to {forecasts.points(each.high)}"
            + (", within noise" if not each.is_measurable else ""),
        )
        for each in ranking[:SHOWN]
    ]
