"""How the images divide among the classes, from the counts in `metrics/data.json`, and what that means for scores."""

from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.packed import SPLITS, UNEVEN, Split, SplitName

FEW = 30
"""Test images below which the scores of one class say little."""

Counts = Mapping[str, Mapping[str, int]]
"""Images by class and split, `per_class` of `metrics/data.json`."""


@dataclass(frozen=True)
class Majority:
    """What always answering the largest class of a split would score."""

    name: str
    accuracy: float
    macro_recall: float
    macro_f1: float


def count(split: Split) -> dict[str, dict[str, int]]:
    """Return the images by class and split, without those that are in none."""
    labels = {part: split.labels[split.rows(part)] for part in SPLITS}
    return {
        name: {part: int((labels[part] == number).sum()) for part in SPLITS}
        for number, name in enumerate(split.classes)
    }


def are_uneven(counts: Counts) -> bool:
    """Return whether classes differ so much in size that macro figures come first."""
    sizes = [sum(splits.values()) for splits in counts.values()]
    return max(sizes) / max(1, min(sizes)) > UNEVEN  # not rounded, as the choice of the metric has it


def majority(counts: Counts, split: SplitName = "test") -> Majority:
    """Return the scores of always answering the class with the most images of `split`; macro scores as for a model."""
    sizes = {name: splits[split] for name, splits in counts.items() if splits[split]}
    name = max(sizes, key=lambda each: sizes[each])
    share = sizes[name] / sum(sizes.values())
    return Majority(name, share, 1 / len(sizes), 2 * share / (1 + share) / len(sizes))


def with_few_tests(counts: Counts) -> list[tuple[str, int]]:
    """Return the classes with fewer than `FEW` test images, and how many they have, the smallest first."""
    tests = [(name, splits["test"]) for name, splits in counts.items() if splits["test"] < FEW]
    return sorted(tests, key=lambda each: (each[1], each[0]))
