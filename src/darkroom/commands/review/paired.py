"""Two models on the same test images: scores, tests, classes and images that changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from darkroom.commands.review.snapshots import Snapshot
from darkroom.evaluation.scores import comparison
from darkroom.evaluation.scores.comparison import Verdict
from darkroom.evaluation.scores.intervals import Bootstrap, Interval, accuracy_interval, percentile_interval
from darkroom.evaluation.scores.macro import macro_draws
from darkroom.foundations.errors import DarkroomError

Metric = Literal["accuracy", "macro_f1"]
KEY = ["sha256", "copy", "label"]
"""What makes two test images the same: their bytes and their class."""
SEED = 0
DRAWS = 2000
"""Resamples for the difference of two models."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Compared:
    """One metric of both models on the same test images."""

    before: float
    after: float
    before_interval: Interval
    after_interval: Interval
    verdict: Verdict
    evidence: str
    """What the paired test found, in words."""

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True)
class Mover:
    """The recall of one class on the same test images."""

    name: str
    images: int
    before: float
    after: float
    fixed: int
    """Images that only the later model classifies correctly."""
    broken: int
    verdict: Verdict
    """Of McNemar's test, corrected for the number of classes."""


@dataclass(frozen=True)
class Common:
    """The test images that both revisions share."""

    images: pd.DataFrame
    """name, label, before and after (the predicted classes), row_before and row_after (in the packed data)."""
    classes: list[str]
    """All labels and predictions, sorted."""
    metrics: Mapping[Metric, Compared]
    """Empty if no test image is shared."""
    only_before: int
    """Test images of the base alone, or with another class there."""
    only_after: int

    @property
    def same_tests(self) -> bool:
        """Whether both revisions have exactly the same test images."""
        return not (self.only_before or self.only_after)

    def confusion(self, which: Literal["before", "after"]) -> Labels:
        """Return the counts of (actual, predicted), shape (classes, classes)."""
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counts, (self.codes("label"), self.codes(which)), 1)
        return counts

    def codes(self, column: str) -> Labels:
        """Return a column of class names as positions in `classes`, shape (images,)."""
        return np.searchsorted(np.array(self.classes, dtype=object), self.images[column].to_numpy(object)).astype(
            np.int64
        )

    def flipped(self, *, fixed: bool) -> pd.DataFrame:
        """Return the images that only the later model classifies correctly, or only the earlier one."""
        images = self.images
        was, is_now = images["before"] == images["label"], images["after"] == images["label"]
        return images[is_now & ~was] if fixed else images[was & ~is_now]


def compare(base: Snapshot, head: Snapshot) -> Common:
    """Compare the selected models of two revisions on the test images that both have."""
    before, after = (each.images.reset_index(names="row")[each.images["split"] == "test"] for each in (base, head))
    columns = [*KEY, "name", "predicted", "row"]
    merged = after[columns].merge(before[[*KEY, "predicted", "row"]], on=KEY, suffixes=("_after", "_before"))
    images = merged.rename(columns={"predicted_after": "after", "predicted_before": "before"})
    classes = sorted({*images["label"], *images["before"], *images["after"]})
    common = Common(images, classes, {}, len(before) - len(images), len(after) - len(images))
    if images.empty:
        return common
    metrics: dict[Metric, Compared] = {"accuracy": _accuracy(images), "macro_f1": _macro_f1(common)}
    return Common(images, classes, metrics, common.only_before, common.only_after)


def movers(common: Common) -> list[Mover]:
    """Return each class with its recall, those whose recall changed most first."""
    found = []
    for name, images in common.images.groupby("label"):
        was, is_now = images["before"] == name, images["after"] == name
        compared = comparison.compare(is_now.to_numpy(), was.to_numpy())
        found.append((str(name), was.to_numpy(), is_now.to_numpy(), compared))
    adjusted = comparison.holm([compared.p_value for *_, compared in found])
    rows = [
        Mover(
            name,
            len(was),
            float(was.mean()),
            float(is_now.mean()),
            int((is_now & ~was).sum()),
            int((was & ~is_now).sum()),
            compared.verdict if p_value < comparison.SIGNIFICANCE else "within noise",
        )
        for (name, was, is_now, compared), p_value in zip(found, adjusted, strict=True)
    ]
    return sorted(rows, key=lambda row: (-abs(row.after - row.before), -(row.fixed + row.broken), row.name))


def _accuracy(images: pd.DataFrame) -> Compared:
    was, is_now = ((images[name] == images["label"]).to_numpy() for name in ("before", "after"))
    found = comparison.compare(is_now, was)
    total, fixed, broken = len(images), int((is_now & ~was).sum()), int((was & ~is_now).sum())
    p_value = "p < 0.001" if found.p_value < 0.001 else f"p = {found.p_value:.3f}"
    return Compared(
        before=float(was.mean()),
        after=float(is_now.mean()),
        before_interval=accuracy_interval(int(was.sum()), total),
        after_interval=accuracy_interval(int(is_now.sum()), total),
        verdict=found.verdict,
        evidence=f"{fixed:,} newly right, {broken:,} newly wrong; McNemar's test: {p_value}",
    )


def _macro_f1(common: Common) -> Compared:
    """Compare macro F1: a difference is significant if its bootstrap interval does not contain 0."""
    labels, bootstrap = common.codes("label"), Bootstrap(len(common.images), SEED, DRAWS)
    sides: tuple[Literal["before", "after"], ...] = ("before", "after")
    draws = {side: macro_draws(common.codes(side), labels, len(common.classes), bootstrap)[1] for side in sides}
    values = {side: macro_f1(common.confusion(side)) for side in sides}
    low, high = percentile_interval(draws["after"] - draws["before"])
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "within noise"
    return Compared(
        before=values["before"],
        after=values["after"],
        before_interval=percentile_interval(draws["before"]),
        after_interval=percentile_interval(draws["after"]),
        verdict=verdict,
        evidence=f"95% interval of the difference: {low:+.3f} to {high:+.3f}",
    )


def macro_f1(confusion: Labels) -> float:
    """Return the mean F1 over the classes that have images: counts of (actual, predicted), shape (classes, classes)."""
    support, answers = confusion.sum(axis=1), confusion.sum(axis=0)
    scores = 2 * np.diag(confusion) / np.maximum(support + answers, 1)
    if not support.any():
        raise DarkroomError("there are no test images to score")
    return float(scores[support > 0].mean())
