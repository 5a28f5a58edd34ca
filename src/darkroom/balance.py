"""Class balance, from the counts in `metrics/data.json`, and what it means for the scores."""

from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.packed import SPLITS, UNEVEN, Split, SplitName

FEW = 30
"""Minimum number of test images for the scores of a class to be reliable."""

Counts = Mapping[str, Mapping[str, int]]
"""Number of images by class and split: `per_class` in `metrics/data.json`."""


@dataclass(frozen=True)
class Majority:
    """Scores of always predicting the largest class of a split."""

    name: str
    accuracy: float
    macro_recall: float
    macro_f1: float


def count(split: Split) -> dict[str, dict[str, int]]:
    """Return the number of images by class and split; images in no split are not counted."""
    labels = {part: split.labels[split.rows(part)] for part in SPLITS}
    return {
        name: {part: int((labels[part] == number).sum()) for part in SPLITS}
        for number, name in enumerate(split.classes)
    }


def are_uneven(counts: Counts) -> bool:
    """Return whether the classes are so imbalanced that macro scores come first."""
    sizes = [sum(splits.values()) for splits in counts.values()]
    return max(sizes) / max(1, min(sizes)) > UNEVEN  # not rounded, consistent with the choice of the metric


def majority(counts: Counts, split: SplitName = "test") -> Majority:
    """Return the scores of always predicting the largest class of `split`; macro averages as for a model."""
    sizes = {name: splits[split] for name, splits in counts.items() if splits[split]}
    name = max(sizes, key=lambda each: sizes[each])
    share = sizes[name] / sum(sizes.values())
    return Majority(name, share, 1 / len(sizes), 2 * share / (1 + share) / len(sizes))


def with_few_tests(counts: Counts) -> list[tuple[str, int]]:
    """Return the classes with fewer than `FEW` test images and their counts, the smallest first."""
    tests = [(name, splits["test"]) for name, splits in counts.items() if splits["test"] < FEW]
    return sorted(tests, key=lambda each: (each[1], each[0]))
