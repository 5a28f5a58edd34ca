"""What `metrics/data.json` says about a data set, and `data/copies.csv` about the copies in it."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.data.split.duplicates import Copies
from darkroom.data.split.splitting import Division
from darkroom.packed import LEFT_OUT, SPLITS, Packed, fingerprint, read_split

COPIES = ("cluster", "name", "label", "copy", "conflict", "split")


def summarise(packed: Packed, copies: Copies, division: Division, folder: Path, split: Path) -> dict[str, Any]:
    """Return counts by split and class, what was found and set aside, and the data's fingerprint.

    `copies` and `near_copies` count pictures beyond the first of their kind, `conflicts` those with a copy under
    another class, `leaks` the source's test pictures that it gives for training or validation as well.
    """
    pairs = Counter(zip((record.label for record in packed.records), division.splits, strict=True))
    classes = sorted({record.label for record in packed.records})
    totals = Counter(division.splits)
    different, clusters = len(np.unique(copies.exact)), len(np.unique(copies.clusters))
    return {
        "dataset": packed.source["title"],
        "source": packed.source["source"],
        "licence": packed.source["licence"],
        "images": len(packed.records),
        "image_size": int(packed.images.shape[1]),
        "classes": len(classes),
        "groups": len({record.group for record in packed.records} - {""}),
        "broken": sum(bool(item.label) for item in packed.broken),
        "unlabelled": sum(not item.label for item in packed.broken),
        "copies": len(packed.records) - different,
        "near_copies": different - clusters,
        "conflicts": int(copies.conflicts.sum()),
        "leaks": sum(division.leaks),
        "left_out": totals[LEFT_OUT],
        "imbalance": round(read_split(split).imbalance(), 2),
        **{name: totals[name] for name in SPLITS},
        "per_class": {label: {name: pairs[label, name] for name in SPLITS} for label in classes},
        "hash": fingerprint(folder, split),
        "test_hash": _test_hash(packed, division),
    }


def _test_hash(packed: Packed, division: Division) -> str:
    """Return a hash of which images are scored and of their classes: while it is the same, accuracies compare."""
    pairs = zip(packed.records, division.splits, strict=True)
    lines = sorted(f"{record.sha256} {record.label}" for record, split in pairs if split == "test")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_copies(packed: Packed, copies: Copies, division: Division) -> list[tuple[int, str, str, str, int, str]]:
    """Return the rows of `data/copies.csv`: every picture that has a copy, cluster by cluster, conflicts first.

    `copy` is exact for a picture whose bytes another one has, else near; `conflict` is 1 where a copy has another
    class; `split` is where the picture went.
    """
    sizes, same = np.bincount(copies.clusters), np.bincount(copies.exact)
    in_conflict = set(copies.clusters[copies.conflicts].tolist())
    clusters: dict[int, list[int]] = {}
    for row, cluster in enumerate(copies.clusters.tolist()):
        if sizes[cluster] > 1:
            clusters.setdefault(cluster, []).append(row)
    ordered = sorted(clusters, key=lambda cluster: (cluster not in in_conflict, clusters[cluster][0]))
    return [
        (
            number,
            packed.records[row].name,
            packed.records[row].label,
            "exact" if same[copies.exact[row]] > 1 else "near",
            int(copies.conflicts[row]),
            division.splits[row],
        )
        for number, cluster in enumerate(ordered)
        for row in clusters[cluster]
    ]
