"""The split into training, validation and test images."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.data.settings import SplitSettings
from darkroom.data.split.decisions import Applied, undecided
from darkroom.data.split.duplicates import Copies, connect
from darkroom.data.split.thumbnails import Rows
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import LEFT_OUT, SPLITS, Record, SplitName

SLACK = 0.1
"""Relative deviation of a split's size from the requested one. A larger value moves fewer images when others are added:
with a fifth more, on average 1.7% and 0.06% of a class of 100 or 1,000, compared with 2.6% and 0.9% at 0."""

STRICTNESS = {split: number for number, split in enumerate(("", *SPLITS))}
"""Of copies in several splits, those in the one with the highest number stay."""


@dataclass(frozen=True)
class Division:
    """The split of each record, and whether it is a test image that leaks into the source's training split."""

    splits: list[str]
    """One of `SPLITS`, or `LEFT_OUT`."""
    leaks: list[bool]
    """Whether the source has a copy of this test image among its training or validation images (which is excluded)."""
    scene_leaks: Sequence[bool] = ()
    """Whether it is another test image whose scene is also among the training or validation images; empty if none is.
    This happens if the source defines the test images or they were recorded before. Nothing is excluded for it."""


@dataclass(frozen=True)
class _Unit:
    """Images that stay together: copies of one another, and those of one group."""

    place: float
    """A hash of seed and content, 0 to 1, which does not depend on the rest of the data set."""
    rows: list[int]
    key: str = ""
    """Group or content that determines the place."""
    held: bool = False
    """Whether one of them is a recorded test image."""


def divide(
    records: Sequence[Record],
    copies: Copies,
    settings: SplitSettings,
    seed: int,
    held: Collection[str] = frozenset(),
    applied: Applied | None = None,
    scenes: Rows | None = None,
) -> Division:
    """Split records into train, validation and test: seeded, stratified by class, with copies and groups kept together.

    Each unit of images that stay together has a position between 0 and 1, a hash of the seed and of its group or its
    content. Within each class, the lowest positions are the test split, the next ones validation. The borders are at
    the requested fractions, and move only if a split would otherwise deviate by more than `SLACK`. Images that are
    added later therefore move others only when a border has to move.

    held: SHA-256 of the recorded test images. A class that has some of them keeps these and gets no others; copies of
    them, and images of their groups, are excluded.

    A split that the source defines is kept. What it lacks is taken from its training images, including the validation
    images of single classes. Of copies in several splits, those in the strictest one stay, and the others are excluded.
    An image with a copy in another class is excluded, unless it is in the source's own test split.

    applied: decisions about labels. The split is stratified by the classes that `records` had before them, so that a
    decision moves no image; excluded images are left out at the end, so that they move no other image either.

    scenes: equal numbers for images of one scene, shape (N,), as `scenes.find` returns them. They stay together among
    the images that are distributed here, but no image is excluded because of its scene, and no test image moves.

    Raises DarkroomError that names the classes that are too small.
    """
    applied = applied or undecided(records)
    splits = [LEFT_OUT] * len(records)
    strata: dict[str, list[_Unit]] = defaultdict(list)
    units, conflicts = _units(records, copies, seed), copies.conflicts.tolist()
    given = {record.split for record in records}
    held = frozenset() if "test" in given else frozenset(held)
    for unit in units:
        # The strictest split wins, so that test images are never trained on.
        strictest = max([records[row].split for row in unit.rows], key=STRICTNESS.__getitem__)
        usable = [row for row in unit.rows if not conflicts[row]]
        is_held = any(records[row].sha256 in held for row in unit.rows)
        if strictest in ("validation", "test"):
            stay = unit.rows if strictest == "test" else usable
            for row in stay:
                splits[row] = strictest if records[row].split == strictest and not applied.excluded[row] else LEFT_OUT
        elif usable and (not is_held or any(records[row].sha256 in held for row in usable)):
            strata[_main_class(records, usable)].append(_Unit(unit.place, usable, unit.key, is_held))
    validated = {record.label for record, split in zip(records, splits, strict=True) if split == "validation"}
    for label, separate in strata.items():
        stratum = separate if scenes is None else _with_scenes(separate, scenes)
        # Without a validation image of the class, model selection would ignore it.
        drawn = _draw(stratum, settings, given if label in validated else given - {"validation"})
        for unit, split in zip(stratum, drawn, strict=True):
            rows = [row for row in unit.rows if records[row].sha256 in held] if unit.held else unit.rows
            for row, chosen in _evaluated_once([row for row in rows if not applied.excluded[row]], split, copies):
                splits[row] = chosen
    _refuse_small(applied, units, splits)
    leaks = _leaking(records, copies)
    return Division(splits, leaks, [] if scenes is None else _crossing(splits, leaks, scenes))


def _evaluated_once(rows: Sequence[int], split: str, copies: Copies) -> Iterator[tuple[int, str]]:
    """Yield each row of a unit with its split.

    Only one of several copies is a test or validation image: the others would not be independent, and narrow the
    intervals.
    """
    evaluated: set[int] = set()
    for row in rows:
        cluster = int(copies.clusters[row])
        yield row, LEFT_OUT if split != "train" and cluster in evaluated else split
        evaluated.add(cluster)


def _units(records: Sequence[Record], copies: Copies, seed: int) -> list[_Unit]:
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(together(records, copies).tolist()):
        rows_of[number].append(row)
    units = []
    for rows in rows_of.values():
        # The first of its groups or contents by name determines the position, so that a large unit is placed as
        # randomly as a small one, and a group can grow without moving.
        groups = [records[row].group for row in rows if records[row].group]
        key = f"group {min(groups)}" if groups else min([records[row].sha256 for row in rows])
        digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
        units.append(_Unit(int.from_bytes(digest[:8]) / 2**64, rows, key))
    return units


def _with_scenes(units: Sequence[_Unit], scenes: Rows) -> list[_Unit]:
    """Return the units of a class after merging those with images of one scene; recorded test images stay apart."""
    free = [unit for unit in units if not unit.held]
    left = [scenes[row] for unit in free for row in unit.rows]
    right = [scenes[unit.rows[0]] for unit in free for _ in unit.rows]
    numbers = connect(np.arange(int(scenes.max()) + 1), np.array(left, np.int64), np.array(right, np.int64))
    of: dict[int, list[_Unit]] = defaultdict(list)
    for unit in free:
        of[int(numbers[scenes[unit.rows[0]]])].append(unit)
    merged = [unit for unit in units if unit.held]
    for mates in of.values():
        first = min(mates, key=lambda unit: unit.key)
        merged.append(_Unit(first.place, sorted(row for unit in mates for row in unit.rows), first.key))
    return merged


def _crossing(splits: Sequence[str], leaks: Sequence[bool], scenes: Rows) -> list[bool]:
    """Return whether each record is a test image, but no leak, with its scene among training or validation images."""
    elsewhere = {scenes[row] for row, split in enumerate(splits) if split in ("train", "validation")}
    pairs = enumerate(zip(splits, leaks, strict=True))
    return [split == "test" and not leak and scenes[row] in elsewhere for row, (split, leak) in pairs]


def together(records: Sequence[Record], copies: Copies, scenes: Rows | None = None) -> Rows:
    """Return equal numbers for the records that are connected by copies, groups or scenes (numbers, shape (N,))."""
    if scenes is not None:
        numbers = together(records, copies)
        first_of = np.unique(scenes, return_index=True, return_inverse=True)
        return connect(numbers, numbers, numbers[first_of[1][first_of[2]]])
    first: dict[str, int] = {}
    rows = [row for row, record in enumerate(records) if record.group]
    mates = [first.setdefault(records[row].group, row) for row in rows]
    left, right = copies.clusters[np.array(rows, dtype=np.int64)], copies.clusters[np.array(mates, dtype=np.int64)]
    return connect(copies.clusters, left, right)


def _leaking(records: Sequence[Record], copies: Copies) -> list[bool]:
    """Return for each row whether it is of the source's own test split and has a copy in its other splits."""
    elsewhere = {copies.clusters[row] for row, record in enumerate(records) if record.split != "test"}
    return [record.split == "test" and copies.clusters[row] in elsewhere for row, record in enumerate(records)]


def _main_class(records: Sequence[Record], rows: Sequence[int]) -> str:
    if len(rows) == 1:  # as most units, and counting takes longer
        return records[rows[0]].label
    counts = Counter(records[row].label for row in rows)
    return min(counts, key=lambda label: (-counts[label], label))


def _draw(stratum: Sequence[_Unit], settings: SplitSettings, given: set[str]) -> list[SplitName]:
    """Return the split of each unit of a class; splits in `given` need no units from here."""
    total = sum(len(unit.rows) for unit in stratum)
    validates = "validation" not in given
    tests = {number for number, unit in enumerate(stratum) if unit.held}
    if not tests and "test" not in given:
        places = [unit.place for unit in stratum]
        tests = _lowest(stratum, places, settings.test, total, 1 + validates)
    drawn: list[SplitName] = ["test" if number in tests else "train" for number in range(len(stratum))]
    if validates:
        # Starts where the test split ends. Units before that which are not test images were added later or when the
        # border moved. They come last, so that the validation images stay the same while the class grows.
        begin = 0.0 if "test" in given else settings.test
        rest = [number for number in range(len(stratum)) if number not in tests]
        places = [(stratum[number].place - begin) % 1 for number in rest]
        chosen = _lowest([stratum[number] for number in rest], places, settings.validation, total, 1)
        for number in chosen:
            drawn[rest[number]] = "validation"
    return drawn


def _lowest(units: Sequence[_Unit], places: Sequence[float], share: float, total: int, needed: int) -> set[int]:
    """Return which units have the lowest positions, up to about `share` of `total` images.

    At least one, and at least `needed` are left for other splits if there are enough.
    """
    order = sorted(range(len(units)), key=places.__getitem__)
    natural = sum(place < share for place in places)
    sizes = np.concatenate([[0], np.cumsum([len(units[number].rows) for number in order], dtype=np.int64)])
    near = _near_share(sizes, natural, total * share)
    return set(order[: max(1, min(near, len(units) - needed))])


def _near_share(sizes: Rows, natural: int, target: float) -> int:
    """Return the border nearest to `natural` up to which there are about `target` images.

    sizes: shape (units + 1,), the number of images before each border.
    """
    low, high = math.ceil(target * (1 - SLACK)), math.floor(target * (1 + SLACK))
    least, most = int(np.searchsorted(sizes, low)), int(np.searchsorted(sizes, high, side="right")) - 1
    if least <= most:
        return min(max(natural, least), most)
    # No border is within the slack, because units are large or few.
    return min((most, min(least, len(sizes) - 1)), key=lambda border: abs(float(sizes[border]) - target))


def _refuse_small(applied: Applied, units: Sequence[_Unit], splits: Sequence[str]) -> None:
    records = applied.records
    counts = Counter(record.label for record in records)
    trained = {record.label for record, split in zip(records, splits, strict=True) if split == "train"}
    small = sorted(set(counts) - trained)
    given = Counter(record.label for record in records if record.split in ("validation", "test"))
    if small and all(given[label] == counts[label] for label in small):
        listed = naming.listed([f"{label} ({counts[label]})" for label in small])
        raise DarkroomError(
            f"no training images in {listed}: the source assigns all of them to validation or test; add some for "
            "training, or remove the class"
        )
    if small:
        apart = Counter(label for unit in units for label in {records[row].label for row in unit.rows})
        of = {label: f" of {counts[label]}" if counts[label] > apart[label] else "" for label in small}
        listed = naming.listed([f"{label} ({apart[label]}{of[label]})" for label in small])
        decided = ", undo decisions in data/labels.csv" if applied.relabelled or applied.excluded.any() else ""
        raise DarkroomError(
            f"too few distinct images to train on in {listed}: a class needs at least 3, better 30, and copies or "
            "images of one group count as one; add images, remove the class"
            f"{decided}, or lower split.near_copies if they are not copies (split.scenes: false if they are not scenes)"
        )
