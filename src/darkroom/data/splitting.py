"""Which picture trains, which chooses and which is only scored."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.data.settings import SplitSettings
from darkroom.errors import DarkroomError
from darkroom.packed import SPLITS, Record

LEFT_OUT = "left out"


@dataclass(frozen=True)
class Division:
    """A split and what had to be decided for it."""

    splits: list[str]
    """One of `SPLITS` or `LEFT_OUT` for each record."""
    copies: int
    """Records whose file is byte for byte one that came before."""
    conflicts: int
    """Copies whose original has another class; original and copies are left out."""


def divide(records: Sequence[Record], settings: SplitSettings, seed: int) -> Division:
    """Divide records into train, validation and test: seeded, stratified by class, copies kept together.

    Files are ranked within their class by a hash of seed and content, and the first ones become the test
    split, the next validation: the order of the files does not matter, and adding some moves only those at
    the borders. A split that the source brings along is kept; what it lacks is taken from its training
    images. A training or validation copy of a picture that the source put elsewhere is left out.

    Raises DarkroomError that names the classes that are too small.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        groups[record.sha256].append(row)
    splits = [LEFT_OUT] * len(records)
    free: dict[str, list[str]] = defaultdict(list)  # class -> contents that the seed may place
    given: Counter[tuple[str, str]] = Counter()
    for content, rows in groups.items():
        if len({records[row].label for row in rows}) > 1:
            continue
        # The strictest split wins: the exam is never seen before.
        strictest = max((records[row].split for row in rows), key=("", "train", "validation", "test").index)
        if strictest in ("validation", "test"):
            given[records[rows[0]].label, strictest] += 1
            for row in rows:
                splits[row] = strictest if records[row].split == strictest else LEFT_OUT
        else:
            free[records[rows[0]].label].append(content)
    has = {split: any(name == split for _, name in given) for split in SPLITS}
    for label, contents in free.items():
        contents.sort(key=lambda content: hashlib.sha256(f"{seed} {content}".encode()).digest())
        tests = 0 if has["test"] else max(1, round(settings.test * len(contents)))
        validations = 0 if has["validation"] else max(1, round(settings.validation * len(contents)))
        for place, content in enumerate(contents):
            split = "test" if place < tests else "validation" if place < tests + validations else "train"
            for row in groups[content]:
                splits[row] = split
        given[label, "train"] = len(contents) - tests - validations
    _refuse_small(records, given)
    copies = len(records) - len(groups)
    conflicts = sum(len(rows) for rows in groups.values() if len({records[row].label for row in rows}) > 1)
    return Division(splits, copies, conflicts)


def _refuse_small(records: Sequence[Record], given: Counter[tuple[str, str]]) -> None:
    counts = Counter(record.label for record in records)
    small = [label for label in sorted(counts) if given[label, "train"] < 1]
    if small:
        listed = ", ".join(f"{label} ({counts[label]})" for label in small)
        raise DarkroomError(
            f"too few different pictures to train on in {listed}: a class needs at least 3, "
            "better 30; add pictures or remove the folder"
        )
