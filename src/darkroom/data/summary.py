"""What `metrics/data.json` says about a data set."""

from collections import Counter
from pathlib import Path
from typing import Any

from darkroom.data.splitting import LEFT_OUT, Division
from darkroom.packed import SPLITS, Packed, fingerprint


def summarise(packed: Packed, division: Division, folder: Path, split: Path) -> dict[str, Any]:
    """Return counts by split and class, what was set aside, and the data's fingerprint."""
    pairs = Counter(zip((record.label for record in packed.records), division.splits, strict=True))
    classes = sorted({record.label for record in packed.records})
    totals = Counter(division.splits)
    return {
        "dataset": packed.source["title"],
        "source": packed.source["source"],
        "licence": packed.source["licence"],
        "images": len(packed.records),
        "image_size": int(packed.images.shape[1]),
        "classes": len(classes),
        "broken": len(packed.broken),
        "copies": division.copies,
        "conflicts": division.conflicts,
        "left_out": totals[LEFT_OUT],
        **{name: totals[name] for name in SPLITS},
        "per_class": {label: {name: pairs[label, name] for name in SPLITS} for label in classes},
        "hash": fingerprint(folder, split),
    }
