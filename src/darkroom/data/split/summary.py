"""Outputs of the split: `data/split.csv`, `data/copies.csv`, `data/scenes.csv` and the counts in `metrics/`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from darkroom import frames
from darkroom.data.split.decisions import Applied, undecided
from darkroom.data.split.duplicates import Copies
from darkroom.data.split.splitting import Division
from darkroom.data.split.thumbnails import Rows
from darkroom.packed import LEFT_OUT, SPLITS, Packed, fingerprint, read_split

COMPARED = ("images", "classes", *SPLITS, "left_out", "relabelled", "excluded")
"""The counts that `dvc metrics diff` compares: those that say whether scores rest on the same images and labels."""


def write_split(
    path: Path,
    classes: Sequence[str],
    labels: Sequence[int],
    splits: Sequence[str],
    leaks: Sequence[bool] = (),
    groups: Rows | None = None,
) -> None:
    """Write `split.csv`: one line per packed row, with its number, class name, split, leak (1 or 0) and group.

    groups: equal numbers for rows that stay in the same split, shape (N,); they are written as numbers from 0 in the
    order of the rows. Empty `leaks` mean none; without `groups`, each row is a group of its own.
    """
    names = [classes[label] for label in labels]
    leak = np.array(leaks or [False] * len(names), dtype=int)
    group = np.arange(len(names)) if groups is None else pd.factorize(groups)[0]
    frame = pd.DataFrame({"row": range(len(names)), "label": names, "split": splits, "leak": leak, "group": group})
    frames.write(path, frame, escape=False)


def summarise(
    packed: Packed,
    copies: Copies,
    division: Division,
    folder: Path,
    split: Path,
    applied: Applied | None = None,
    scenes: Rows | None = None,
) -> dict[str, Any]:
    """Return counts by split and class, the numbers of copies and excluded images, and the hash of the data.

    `copies` and `near_copies` count images beyond the first of each cluster, `conflicts` those with a copy in another
    class, `leaks` the source's test images with a copy among its training or validation images, `scenes` images of a
    scene with others that are not their copies, `scene_leaks` see `Division`. `packed` contains the
    labels after the decisions `applied`: `relabelled` and `excluded` count images, `decisions_…` those not applied.
    """
    applied = applied or undecided(packed.records)
    labels = [record.label for record in packed.records]
    counts = pd.crosstab(np.array(labels, dtype=object), np.array(division.splits, dtype=object))
    counts = counts.reindex(columns=[*SPLITS, LEFT_OUT], fill_value=0).sort_index()
    totals = counts.sum()
    different, clusters = len(np.unique(copies.exact)), len(np.unique(copies.clusters))
    return {
        "dataset": packed.source["title"],
        "source": packed.source["source"],
        "licence": packed.source["licence"],
        "images": len(packed.records),
        "image_size": int(packed.images.shape[1]),
        "classes": len(counts),
        "groups": len({record.group for record in packed.records} - {""}),
        "broken": sum(bool(item.label) for item in packed.broken),
        "unlabelled": sum(not item.label for item in packed.broken),
        "copies": len(packed.records) - different,
        "near_copies": different - clusters,
        "conflicts": int(copies.conflicts.sum()),
        "leaks": sum(division.leaks),
        "scenes": 0 if scenes is None else int(_in_scenes(copies, scenes).sum()),
        "scene_leaks": sum(division.scene_leaks),
        "left_out": int(totals[LEFT_OUT]),
        "relabelled": applied.relabelled,
        "excluded": int(applied.excluded.sum()),
        "confirmed": applied.kept,
        "decisions_missing": len(applied.missing),
        "decisions_outdated": len(applied.outdated),
        "decisions_contradictory": len(applied.contradictory),
        "imbalance": round(read_split(split).imbalance(), 2),
        **{name: int(totals[name]) for name in SPLITS},
        "per_class": counts[list(SPLITS)].to_dict("index"),
        "hash": fingerprint(folder, split),
        "test_hash": _test_hash(packed, division),
    }


def _test_hash(packed: Packed, division: Division) -> str:
    """Return a hash of the test images and their classes: while it is the same, scores are comparable."""
    pairs = zip(packed.records, division.splits, strict=True)
    lines = sorted(f"{record.sha256} {record.label}" for record, split in pairs if split == "test")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_copies(packed: Packed, copies: Copies, division: Division) -> pd.DataFrame:
    """Return `data/copies.csv`: every image that has a copy, cluster by cluster, conflicts first.

    `copy` is exact for an image whose bytes occur again, otherwise near; `conflict` is 1 if a copy has another class;
    `split` is the split of the image.
    """
    same = np.bincount(copies.exact)[copies.exact]
    frame = pd.DataFrame({
        "cluster": copies.clusters,
        "name": [record.name for record in packed.records],
        "label": [record.label for record in packed.records],
        "copy": np.where(same > 1, "exact", "near"),
        "conflict": copies.conflicts.astype(int),
        "split": division.splits,
    })  # fmt: skip
    frame = frame[frame.groupby("cluster")["cluster"].transform("size") > 1].reset_index(names="row")
    clusters = frame.groupby("cluster")
    frame["calm"] = 1 - clusters["conflict"].transform("max")
    frame["first"] = clusters["row"].transform("min")
    frame = frame.sort_values(["calm", "first", "row"], ignore_index=True)
    frame["cluster"] = pd.factorize(frame["cluster"])[0]
    return frame.drop(columns=["row", "calm", "first"])


def list_scenes(packed: Packed, copies: Copies, division: Division, scenes: Rows | None) -> pd.DataFrame:
    """Return `data/scenes.csv`: every image of a scene with others that are not its copies, scene by scene.

    `leak` is 1 for a test image whose scene is also among the training or validation images; those scenes come first.
    scenes: equal numbers for images of one scene, shape (N,); None if they were not searched.
    """
    rows = np.empty(0, dtype=np.int64) if scenes is None else np.flatnonzero(_in_scenes(copies, scenes))
    leaks = np.array(division.leaks, dtype=int)
    if division.scene_leaks:
        leaks |= np.array(division.scene_leaks, dtype=int)
    frame = pd.DataFrame({
        "scene": np.empty(0, dtype=np.int64) if scenes is None else scenes[rows],
        "name": [packed.records[row].name for row in rows],
        "label": [packed.records[row].label for row in rows],
        "leak": leaks[rows],
        "split": [division.splits[row] for row in rows],
        "row": rows,
    })  # fmt: skip
    of = frame.groupby("scene")
    frame["calm"], frame["first"] = 1 - of["leak"].transform("max"), of["row"].transform("min")
    frame = frame.sort_values(["calm", "first", "row"], ignore_index=True)
    frame["scene"] = pd.factorize(frame["scene"])[0]
    return frame.drop(columns=["row", "calm", "first"])


def _in_scenes(copies: Copies, scenes: Rows) -> npt.NDArray[np.bool_]:
    """Return for each row whether its scene contains more than its copies, shape (N,)."""
    pairs = np.unique(np.stack([scenes, copies.clusters]), axis=1)
    result: npt.NDArray[np.bool_] = (np.bincount(pairs[0], minlength=len(scenes)) > 1)[scenes]
    return result
