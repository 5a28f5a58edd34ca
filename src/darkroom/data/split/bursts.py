"""Pairs of images that were taken or numbered one after the other, as in a burst or a video."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from darkroom.packed import Record

SECONDS = 10
"""Largest time between two shots of a burst."""
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)

Key = TypeVar("Key")


def shots(records: Sequence[Record], cameras: Sequence[str], taken: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of rows taken by one camera within `SECONDS`, one directly after the other.

    cameras, taken: the columns of `files.csv`, an item per record; images without a camera or a time are in no pair.
    """
    found = []
    for row, (record, camera, time) in enumerate(zip(records, cameras, taken, strict=True)):
        if camera and (second := _seconds(time)) is not None:
            found.append(((record.label, camera), second, row))
    return _successive(found, SECONDS)


def numbered(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Return pairs of rows with successive file numbers and the same pixel size, such as IMG_0017.jpg and IMG_0018.jpg.

    Nothing else in the names, including the folder, may differ.
    """
    found = []
    for row, record in enumerate(records):
        if parts := _NUMBERED.fullmatch(record.name):
            key = (record.label, parts[1], parts[3], record.width, record.height)
            found.append((key, int(parts[2]), row))
    return _successive(found, 1)


def _successive(found: Iterable[tuple[Key, int, int]], most: int) -> list[tuple[int, int]]:
    """Return neighbouring rows, in the order of the positions, with the same key and positions at most `most` apart."""
    of: dict[Key, list[tuple[int, int]]] = defaultdict(list)
    for key, position, row in found:
        of[key].append((position, row))
    pairs = []
    for places in of.values():
        places.sort()
        for (before, first), (after, second) in pairwise(places):
            if after - before <= most:
                pairs.append((first, second))
    return pairs


def _seconds(time: str) -> int | None:
    """Return the seconds since year 1 of a time in ISO format; None if it is empty or not one."""
    try:
        return int((datetime.fromisoformat(time).replace(tzinfo=None) - datetime.min).total_seconds())
    except ValueError:
        return None
