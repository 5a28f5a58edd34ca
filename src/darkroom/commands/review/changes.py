"""What differs between the parameters, the code and the data of two revisions."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from darkroom import git
from darkroom.commands.review.revisions import Pair
from darkroom.commands.review.snapshots import Snapshot, flatten
from darkroom.packed import SPLITS

CODE = ("src", "stages", "dvc.yaml", "requirements.txt", "backbones")
"""What determines the results, apart from parameters and data."""
FOUND = {
    "broken": "broken images",
    "unlabelled": "images without a class",
    "copies": "exact copies",
    "near_copies": "near copies",
    "conflicts": "images with a copy under another class",
    "leaks": "test images with a copy among the training images",
    "scenes": "images of a scene with others",
    "scene_leaks": "test images with their scene among the training images",
    "left_out": "images left out",
    "relabelled": "labels changed by decisions",
    "excluded": "images excluded by decisions",
    "confirmed": "labels confirmed by decisions",
    "decisions_missing": "decisions about images that are not in the data",
    "decisions_outdated": "decisions about images that no longer have the old class",
    "decisions_contradictory": "decisions that contradict each other",
}
"""Counts in `metrics/data.json`."""


@dataclass(frozen=True)
class Changed:
    """A value before and after; None if there is none."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class DataChanges:
    """What differs between the data of two revisions; the tables have columns name, label, split and row."""

    counts: list[Changed]
    """Counts of `FOUND` and of the splits that differ."""
    classes: list[tuple[str, list[tuple[int, int]]]]
    """Each class whose counts differ, with (before, after) for each of `SPLITS`."""
    added: pd.DataFrame
    """Images whose bytes the base does not have; rows of the head."""
    removed: pd.DataFrame
    """Rows of the base."""
    relabelled: pd.DataFrame
    """Images with another class than before, which is in the column `was`; rows of the head."""
    moved: list[tuple[str, str, int]]
    """Images in another split than before: (from, to, number)."""
    copies: pd.DataFrame
    """Images that have a copy now and had none before: name, label, split, row, `copy` (exact or near), `conflict`."""
    leaks: pd.DataFrame
    """Test images that have a copy among the source's training images now, and did not before."""
    image_size: Changed | None

    @property
    def any(self) -> bool:
        """Whether anything differs."""
        tables = (self.added, self.removed, self.relabelled, self.copies, self.leaks)
        return bool(self.counts or self.classes or self.moved or self.image_size or any(len(each) for each in tables))


def parameters(base: Snapshot, head: Snapshot) -> list[Changed]:
    """Return the parameters that differ, by dotted name."""
    before, after = flatten(base.params), flatten(head.params)
    names = sorted(before.keys() | after.keys(), key=str)
    return [Changed(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def code(pair: Pair) -> list[str]:
    """Return the files of code that differ."""
    head = [] if pair.head.workspace else [pair.head.commit]
    return git.run("diff", "--name-only", "--relative", pair.base.commit, *head, "--", *CODE).splitlines()


def data(base: Snapshot, head: Snapshot) -> DataChanges:
    """Compare the images of two revisions by their bytes."""
    before, after = (each.images.reset_index(names="row") for each in (base, head))
    key = ["sha256", "copy"]
    merged = after.merge(before, on=key, how="outer", suffixes=("", "_before"), indicator=True)
    added = merged[merged["_merge"] == "left_only"]
    kept = merged[merged["_merge"] == "both"]
    gone = merged.loc[merged["_merge"] == "right_only", key]
    moved = kept[kept["split"] != kept["split_before"]].groupby(["split_before", "split"]).size().reset_index()
    leaks = merged["leak"].eq(True) & ~merged["leak_before"].eq(True)
    return DataChanges(
        counts=_counts(base, head),
        classes=_classes(base, head),
        added=_listed(added),
        removed=_listed(before.merge(gone, on=key)),
        relabelled=_listed(kept.assign(was=kept["label_before"])[kept["label"] != kept["label_before"]], "was"),
        moved=[(str(old), str(new), int(count)) for old, new, count in moved.itertuples(index=False)],
        copies=_copies(base, head),
        leaks=_listed(merged[leaks]),
        image_size=next(
            iter(_differing(base.data, head.data, {"image_size": "side of the packed images in pixels"})), None
        ),
    )


def _listed(images: pd.DataFrame, *more: str) -> pd.DataFrame:
    """Return images by class and name."""
    found = images[["name", "label", "split", "row", *more]].sort_values(["label", "name"], ignore_index=True)
    return found.assign(row=found["row"].astype(int))


def _differing(before: dict[str, Any], after: dict[str, Any], names: dict[str, str]) -> list[Changed]:
    pairs = [(words, before.get(name, 0), after.get(name, 0)) for name, words in names.items()]
    return [Changed(words, old, new) for words, old, new in pairs if old != new]


def _counts(base: Snapshot, head: Snapshot) -> list[Changed]:
    splits: dict[str, str] = {name: f"{name} images" for name in SPLITS}
    return _differing(base.data, head.data, {"images": "images in all", "classes": "classes", **splits, **FOUND})


def _classes(base: Snapshot, head: Snapshot) -> list[tuple[str, list[tuple[int, int]]]]:
    before, after = base.data["per_class"], head.data["per_class"]
    rows = []
    for name in sorted(before.keys() | after.keys()):
        counts = [(before.get(name, {}).get(split, 0), after.get(name, {}).get(split, 0)) for split in SPLITS]
        if any(old != new for old, new in counts):
            rows.append((name, counts))
    return sorted(rows, key=lambda row: (-sum(abs(new - old) for old, new in row[1]), row[0]))


def _copies(base: Snapshot, head: Snapshot) -> pd.DataFrame:
    """Return the images that have a copy now and had none before, those under two classes first."""
    known = set(zip(base.copies["name"], base.copies["conflict"], strict=True))
    new = [pair not in known for pair in zip(head.copies["name"], head.copies["conflict"], strict=True)]
    rows = head.images.reset_index(names="row")[["name", "row"]]
    found = head.copies[pd.Series(new, index=head.copies.index, dtype=bool)].merge(rows, on="name")
    return _listed(found, "copy", "conflict").sort_values("conflict", ascending=False, kind="stable", ignore_index=True)
