"""The recorded test images, which stay the same when images are added."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from darkroom.data.settings import SplitSettings
from darkroom.data.split.splitting import Division
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.foundations.params import Section
from darkroom.packed import Record

FEW = 0.5
"""Fraction of the requested share below which the user is warned that a class has few test images."""


class Terms(Section):
    """The settings with which the test images were drawn; other settings draw others."""

    dataset: str
    """The entry of `datasets`."""
    seed: int
    test: float
    """The requested share."""
    limit_per_class: int | None


class _Written(Terms):
    """Content of the file."""

    images: list[str]


def read(path: Path, terms: Terms) -> tuple[frozenset[str], str]:
    """Return the SHA-256 of the recorded test images, and a sentence that explains why there are none despite `path`.

    Raises DarkroomError when the file was not written by `write`.
    """
    if not path.exists():
        return frozenset(), ""
    try:
        written = TypeAdapter(_Written).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        raise DarkroomError(
            f"{naming.shown(path)} is not as the split stage wrote it: restore it with `git checkout "
            f"{naming.shown(path)}`, or delete it to draw new test images"
        ) from None
    before, now = written.model_dump(exclude={"images"}), terms.model_dump()
    changed = [
        f"{name} {_shown(before[name])} instead of {_shown(now[name])}" for name in now if before[name] != now[name]
    ]
    if changed:
        return frozenset(), f"New test images are drawn, because those in {path} are for {naming.listed(changed)}."
    return frozenset(written.images), ""


def write(path: Path, terms: Terms, held: Collection[str], records: Sequence[Record], division: Division) -> None:
    """Record the test images; none if the source defines them.

    held: SHA-256 of those recorded before. They stay as long as they exist, even with a copy in another class.
    """
    images: set[str] = set()
    if all(record.split != "test" for record in records):
        pairs = zip(records, division.splits, strict=True)
        images = {record.sha256 for record, split in pairs if split == "test" or record.sha256 in held}
    files.write_json(path, {**terms.model_dump(), "images": sorted(images)})


def remarks(settings: SplitSettings, held: Collection[str], records: Sequence[Record], division: Division) -> list[str]:
    """Return lines about what happened to the recorded test images."""
    if not held or any(record.split == "test" for record in records):
        return []
    pairs = list(zip(records, division.splits, strict=True))
    there = {record.sha256 for record in records} & set(held)
    lines = ["The test images are unchanged (split.grow: train)."]
    if gone := len(held) - len(there):
        lines[0] = f"The test images are unchanged (split.grow: train), except for {gone:,} that no longer exist."
    tests = Counter(record.label for record, split in pairs if split == "test")
    kept = {record.label for record, split in pairs if split == "test" and record.sha256 in there}
    if new := sorted(set(tests) - kept):
        lines.append(f"New test images were drawn for classes without any: {naming.listed(new, most=5)}.")
    totals = Counter(record.label for record in records)
    shares = sorted((tests[label] / totals[label], label) for label in kept)
    if few := [f"{label} ({share:.1%})" for share, label in shares if share < FEW * settings.test]:
        lines.append(
            f"Because added images are used for training, less than half of the requested {settings.test:.0%} are test "
            f"images in {naming.listed(few, most=5)}. split.grow: all draws them from all images; scores before and "
            "after are then not comparable."
        )
    return lines


def _shown(value: Any) -> str:
    return naming.shown(json.dumps(value, ensure_ascii=False))
