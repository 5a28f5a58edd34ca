"""The test images that git remembers, so that images added later change nothing about what is scored."""

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
"""Part of the share asked for below which a class has so few test images that the user should know."""


class Terms(Section):
    """What the test images were drawn from; drawn from anything else they are others."""

    dataset: str
    """The entry of `datasets`."""
    seed: int
    test: float
    """The share asked for."""
    limit_per_class: int | None


class _Written(Terms):
    """The file's content."""

    images: list[str]


def read(path: Path, terms: Terms) -> tuple[frozenset[str], str]:
    """Return the SHA-256 of the test images from before, and in a sentence why there are none although `path` is there.

    Raises DarkroomError when the file is not what `write` makes.
    """
    if not path.exists():
        return frozenset(), ""
    try:
        written = TypeAdapter(_Written).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        raise DarkroomError(
            f"{naming.shown(path)} is not as the split stage writes it: get it back with `git checkout "
            f"{naming.shown(path)}`, or remove it to draw the test images again"
        ) from None
    before, now = written.model_dump(exclude={"images"}), terms.model_dump()
    changed = [f"{name} {_shown(before[name])} (now {_shown(now[name])})" for name in now if before[name] != now[name]]
    if changed:
        return frozenset(), f"The test images are drawn again: those in {path} are for {naming.listed(changed)}."
    return frozenset(written.images), ""


def write(path: Path, terms: Terms, held: Collection[str], records: Sequence[Record], division: Division) -> None:
    """Write which images are for testing from now on; none where the source itself says it.

    held: those of before. One of them that is still there stays, also while it has a copy under another class.
    """
    images: set[str] = set()
    if all(record.split != "test" for record in records):
        pairs = zip(records, division.splits, strict=True)
        images = {record.sha256 for record, split in pairs if split == "test" or record.sha256 in held}
    files.write_json(path, {**terms.model_dump(), "images": sorted(images)})


def remarks(settings: SplitSettings, held: Collection[str], records: Sequence[Record], division: Division) -> list[str]:
    """Return, line by line, what became of the test images from before."""
    if not held or any(record.split == "test" for record in records):
        return []
    pairs = list(zip(records, division.splits, strict=True))
    there = {record.sha256 for record in records} & set(held)
    lines = ["The test images are those from before (split.grow: train)."]
    if gone := len(held) - len(there):
        lines[0] = (
            f"The test images are those from before (split.grow: train) without {gone:,} that are no longer there."
        )
    tests = Counter(record.label for record, split in pairs if split == "test")
    kept = {record.label for record, split in pairs if split == "test" and record.sha256 in there}
    if new := sorted(set(tests) - kept):
        lines.append(f"Drawn now, since there were none from before: those of {naming.listed(new, most=5)}.")
    totals = Counter(record.label for record in records)
    shares = sorted((tests[label] / totals[label], label) for label in kept)
    if few := [f"{label} ({share:.1%})" for share, label in shares if share < FEW * settings.test]:
        lines.append(
            f"Since added images go to training, less than half of the {settings.test:.0%} asked for is for testing in "
            f"{naming.listed(few, most=5)}. split.grow: all draws from all images; scores before and after do not "
            "compare."
        )
    return lines


def _shown(value: Any) -> str:
    return naming.shown(json.dumps(value, ensure_ascii=False))
