"""What more images are expected to add to macro F1, from the learning curves in `plots/labels/growth.json`.

A learning curve is a power law, a - b n^(-c): its slope over the logarithm of the number of images n is measured. The
exponent c is fixed, because exponents fitted to the noisy curves gave larger errors on all sets that were tried
(`benchmarks/RESULTS.md`). It is 1 for a single class, as for the error of an estimated mean, and lower for all classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darkroom.foundations import files
from darkroom.markdown import rounded

PATH = Path("plots/labels/growth.json")
OF_CLASS, OF_ALL = 1.0, 0.75
"""Exponents."""
DOUBT = 2.0
"""The exponent may be lower or higher by this factor: half the difference of these forecasts is one standard deviation.
"""
QUANTILE = 1.2816
"""Of the normal distribution: 80% lie within as many standard deviations."""
NEGLIGIBLE = 0.0005
"""Gain of macro F1 below which 0.0 points would be printed."""
SHARE = 0.5
"""Images to add by default, as a share of those of the median class: enough for a gain that can be measured, and not
so many that the forecast reaches far beyond what was measured."""


@dataclass(frozen=True)
class Point:
    """Mean scores for one number of images, by cross-validation."""

    images: int
    macro_f1: float
    f1: float | None = None
    recall: float | None = None
    """Of the class; None for all classes together."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one class, with the other classes complete, or of all classes together."""

    name: str | None
    """The class, or None for all classes together."""
    images: int
    """Their present number."""
    points: tuple[Point, ...] = ()
    """By ascending number of images; empty if the class has too few images."""
    slope: float = 0.0
    """Gain of macro F1 per unit of the natural logarithm of the number of images, at the present number."""
    error: float = 0.0
    """Standard error of the slope: the images that it is measured on, and the random subsets."""
    choice: float = 0.0
    """Standard deviation that the choice of the images causes; that of the gain is `choice` / sqrt(2) if their number
    doubles."""

    @property
    def exponent(self) -> float:
        """That of the power law."""
        return OF_ALL if self.name is None else OF_CLASS


@dataclass(frozen=True)
class Forecast:
    """Expected gain of macro F1, as a fraction, with its 80% interval."""

    name: str | None
    images: int
    add: int
    gain: float
    low: float
    high: float

    @property
    def is_measurable(self) -> bool:
        """Whether the interval excludes that nothing is gained, and the gain is not negligible."""
        return self.low > 0 and self.gain >= NEGLIGIBLE


def forecast(curve: Curve, add: int) -> Forecast:
    """Return what `add` more images are expected to bring; curve: with points.

    The interval is for the gain that the same cross-validation measures with the new images. Its variance has three
    parts: the error of the slope, the exponent, which matters more the farther the forecast reaches, and the choice of
    the new images: the variance of a mean of n images falls from v / n to v / (n + add).
    """
    ratio = add / curve.images
    reached = reach(ratio, curve.exponent)
    slow, fast = reach(ratio, curve.exponent / DOUBT), reach(ratio, curve.exponent * DOUBT)
    slope = max(0.0, curve.slope)
    gain = slope * reached
    parts = (curve.error * reached, slope * (slow - fast) / 2, curve.choice * math.sqrt(ratio / (1 + ratio)))
    half = QUANTILE * math.hypot(*parts)
    return Forecast(curve.name, curve.images, add, gain, gain - half, gain + half)


def reach(ratio: float, exponent: float) -> float:
    """Return the gain for a slope of 1, if the number of images grows by `ratio`, which is above -1."""
    return float((1 - (1 + ratio) ** -exponent) / exponent)


def ranked(curves: Sequence[Curve], add: int) -> list[Forecast]:
    """Return the forecasts for all curves that have points, the largest gain first."""
    found = [forecast(curve, add) for curve in curves if curve.points]
    return sorted(found, key=lambda each: (-each.gain, -each.high, each.name or ""))


def usual(sizes: Sequence[int]) -> int:
    """Return how many images to add by default: `SHARE` of the median class, rounded to one digit. sizes: not empty."""
    wanted = max(1, round(SHARE * sorted(sizes)[len(sizes) // 2]))
    unit = 10 ** (len(str(wanted)) - 1)
    return int(max(5, round(wanted / unit) * unit))


def write(path: Path, curves: Sequence[Curve], features: str, measured: int, sizes: Sequence[int]) -> None:
    """Write `growth.json`.

    features: the network, or HOG features; measured: number of images that the curves are based on; sizes: present
    number of images of each class.
    """
    found = [_rounded(asdict(curve)) for curve in curves]
    facts = {"features": features, "classes": len(sizes), "measured": measured, "add": usual(sizes)}
    files.write_json(path, {**facts, "curves": found})


def read(path: Path) -> dict[str, Any]:
    """Return the content of `growth.json`, with `curves` as a list of `Curve`."""
    found: dict[str, Any] = files.read_json(path)
    curves = [
        Curve(**{**each, "points": tuple(Point(**point) for point in each["points"])}) for each in found["curves"]
    ]
    return {**found, "curves": curves}


def sentence(found: Forecast, shown: Callable[[str], str]) -> str:
    """Return the forecast in words; shown: how to write the name of a class."""
    images = f"{found.add:,} more images" + (" of all classes" if found.name is None else f" of {shown(found.name)}")
    interval = f"80% interval {points(found.low)} to {points(found.high)}"
    if found.is_measurable:
        return f"{images} are expected to add {points(found.gain)} points of macro F1 ({interval})."
    return f"{images}: no measurable gain ({points(found.gain)} points expected, {interval})."


def points(value: float) -> str:
    """Return a difference of fractions in points: "1.2", and "0.03" if one decimal would hide it."""
    share = 100 * value
    return rounded(share, 1 if abs(share) >= 0.05 or round(share, 2) == 0 else 2)


def _rounded(value: Any) -> Any:
    """Return a value with all its numbers rounded to six decimals: the others differ between processors."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value
