"""Split the packed images into train, validation and test.

python stages split --dataset digits --packed data/packed --labels data/labels.csv
    --test-images data/test_images.json --out data/split.csv --copies data/copies.csv
    --scenes data/scenes.csv --metrics metrics/data.json --counts metrics/images.json
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from darkroom import frames
from darkroom.data.settings import PackSettings, SplitSettings
from darkroom.data.split import decisions, duplicates, holdout, scenes, splitting, summary
from darkroom.data.split.thumbnails import Rows
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.packed import Packed, open_packed, read_sheet

FOUND = {
    "copies": "exact copies",
    "near_copies": "near copies",
    "conflicts": "images with a copy in another class, excluded",
    "leaks": "test images with a copy among the other images of the source, which is excluded",
    "scenes": "images of a scene with other images",
    "scene_leaks": "test images whose scene is also among the other images, listed first in data/scenes.csv",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Find copies, split the images, write the split and its counts."""
    parser = argparse.ArgumentParser(description="Split the images into train, validation and test.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--labels", type=Path, help="decisions about labels (default: none)")
    parser.add_argument("--test-images", type=Path, required=True, help="file that keeps them between runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--copies", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, help="where to list scenes (default: nowhere)")
    parser.add_argument("--metrics", type=Path, required=True, help="all facts about the data")
    parser.add_argument("--counts", type=Path, help="the few that `dvc metrics diff` compares")
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, SplitSettings, f"datasets.{arguments.dataset}.split")
    seed = params.load(arguments.params, int, "seed")
    limit = params.load(arguments.params, PackSettings, f"datasets.{arguments.dataset}.pack").limit_per_class
    terms = holdout.Terms(dataset=arguments.dataset, seed=seed, test=settings.test, limit_per_class=limit)
    keeps = settings.grow == "train"
    held, reason = holdout.read(arguments.test_images, terms) if keeps else (frozenset[str](), "")
    source = open_packed(arguments.packed)
    decided = decisions.read(arguments.labels) if arguments.labels else []
    applied = decisions.apply(source.records, decided, arguments.labels)
    packed = replace(source, records=applied.records)
    copies = duplicates.find(source.records, source.images, settings.near_copies, applied)
    together = _scenes(source, copies, arguments.packed, applied) if settings.scenes else None
    division = splitting.divide(source.records, copies, settings, seed, held, applied, together)
    classes = sorted({record.label for record in packed.records})
    labels = [classes.index(record.label) for record in packed.records]
    groups = splitting.together(packed.records, copies, together)
    leaks = [one or other for one, other in zip_longest(division.leaks, division.scene_leaks, fillvalue=False)]
    summary.write_split(arguments.out, classes, labels, division.splits, leaks, groups)
    frames.write(arguments.copies, summary.list_copies(packed, copies, division))
    if arguments.scenes:
        frames.write(arguments.scenes, summary.list_scenes(packed, copies, division, together))
    metrics = summary.summarise(packed, copies, division, arguments.packed, arguments.out, applied, together)
    files.write_json(arguments.metrics, metrics)
    if arguments.counts:
        files.write_json(arguments.counts, {name: metrics[name] for name in summary.COMPARED})
    # Last, so that the previous test images are still known if anything fails.
    holdout.write(arguments.test_images, terms, held, source.records, division)
    print(", ".join(f"{metrics[split]:,} {split}" for split in ("train", "validation", "test")))
    told = [reason] * bool(reason) + holdout.remarks(settings, held, source.records, division)
    told += decisions.remarks(applied, arguments.labels)
    print("".join(f"{line}\n" for line in told), end="")
    if found := [f"{words}: {metrics[key]:,}" for key, words in FOUND.items() if metrics[key]]:
        print("\n".join([*found, f"all listed in {arguments.copies}"]))


def _scenes(source: Packed, copies: duplicates.Copies, folder: Path, applied: decisions.Applied) -> Rows:
    """Return equal numbers for images of one scene, shape (N,)."""
    cameras, taken = _shots(folder / "files.csv")
    found = scenes.find(source.records, source.images, copies.clusters, cameras, taken)
    return scenes.without(found, copies.clusters, applied.alone)


def _shots(path: Path) -> tuple[list[str], list[str]]:
    """Return camera and time of each image; all columns would need about 1 KB per image during the search."""
    traits = read_sheet(path) if path.exists() else []
    return [row.get("camera", "") for row in traits], [row.get("taken", "") for row in traits]


if __name__ == "__main__":
    run(main)
