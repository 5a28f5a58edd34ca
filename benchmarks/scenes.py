"""Find images of CIFAR-10's test and training sets that show one scene, and compare with the published list.

    OMP_NUM_THREADS=1 python benchmarks/scenes.py ../shared --figure /tmp/scenes.png --mosaic /tmp/found.png

The list (ciFAIR: Barz and Denzler, Do We Train on Test Data?, 2020) contains half of the 286 published pairs. Prints a
Markdown table by threshold: test images with a scene in the training set, how many of the list are found, in all and in
each half of it (odd and even lines), and how many images found are not on the list. Half of the published pairs are
not on it by construction. `--mosaic` draws a random sample of those, to be judged by eye, with the most similar
training image. `--near` gives the same for near copies only.
"""

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from darkroom.data.archives import origin
from darkroom.data.pack import packing
from darkroom.data.settings import PackSettings
from darkroom.data.split import duplicates, scenes
from darkroom.data.split.descriptors import Descriptors
from darkroom.packed import Packed, open_packed

Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
THRESHOLDS = (1.3, 1.25, 1.2, 1.16, 1.14, 1.12, 1.1, 1.07, 1.04)
PUBLISHED = 286


def main() -> None:
    """Print the table, and draw what was asked for."""
    parser = argparse.ArgumentParser(description="Compare scenes found in CIFAR-10 with the published list.")
    parser.add_argument("shared", type=Path, help="the folder with cases/cifair-half.csv and the images")
    parser.add_argument("--packed", type=Path, help="the images packed at 32 pixels before, to save time")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--near", action="store_true", help="give the result of near copies as well")
    parser.add_argument("--figure", type=Path, help="draw the trade-off into this file")
    parser.add_argument("--mosaic", type=Path, help="draw a sample of those not on the list into this file")
    parser.add_argument("--sample", type=int, default=100, help="number of pairs in the mosaic")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = open_packed(arguments.packed or pack(arguments.shared, Path(folder)))
        report(source, arguments)


def pack(shared: Path, folder: Path) -> Path:
    """Pack the images; return the folder."""
    raw, out = folder / "raw", folder / "packed"
    raw.mkdir()
    out.mkdir()
    (raw / "cifar10-images.tar.gz").symlink_to((shared / "data" / "cifar10-images.tar.gz").resolve())
    origin.write_origin(raw, origin.Origin("CIFAR-10", "", ""))
    packing.pack(raw, PackSettings(image_size=32), out)
    return out


def report(source: Packed, arguments: argparse.Namespace) -> None:
    """Search with each threshold, and print and draw the results."""
    names = {record.name: row for row, record in enumerate(source.records)}
    with (arguments.shared / "cases" / "cifair-half.csv").open(encoding="utf-8") as file:
        listed = np.array([names[row["test_image"]] for row in csv.DictReader(file)], dtype=np.int64)
    test = np.array([record.split == "test" for record in source.records])
    alone = np.arange(len(test))
    print("| threshold | test images found | on the list | odd lines | even lines | not on the list | CPU s |")
    print("|---|---|---|---|---|---|---|")
    if arguments.near:
        begin = time.process_time()
        copies = duplicates.find(source.records, source.images, 8)
        line("near copies", crossing(copies.clusters, test), listed, time.process_time() - begin)
    points = []
    for least in arguments.thresholds:
        begin = time.process_time()
        numbers = scenes.find(source.records, source.images, alone, least=least)
        found = crossing(numbers, test)
        points.append((least, *line(f"{least:.2f}", found, listed, time.process_time() - begin)))
        if least == scenes.SURE and arguments.mosaic:
            draw_sample(source, numbers, np.setdiff1d(np.flatnonzero(found), listed), test, arguments)
    if arguments.figure:
        draw(points, arguments.figure)


def crossing(numbers: Rows, test: Flags) -> Flags:
    """Return whether each image is a test image with its scene in the training set. Shapes: (N,)."""
    return test & np.isin(numbers, numbers[~test])


def line(name: str, found: Flags, listed: Rows, seconds: float) -> tuple[float, int]:
    """Print a row of the table; return the recall, and the number of images found that are probably not published."""
    hits = found[listed]
    recall, others = hits.mean(), int(found.sum()) - int(hits.sum())
    halves = " | ".join(f"{part.sum()} of {len(part)}" for part in (hits[::2], hits[1::2]))
    total = found.sum()
    print(
        f"| {name} | {total} | {hits.sum()} of {len(hits)} ({recall:.1%}) | {halves} | {others} | {seconds:.1f} |",
        flush=True,
    )
    return float(recall), int(found.sum() - recall * PUBLISHED)


def draw_sample(source: Packed, numbers: Rows, rows: Rows, test: Flags, arguments: argparse.Namespace) -> None:
    """Draw some test images in `rows`, each beside the most similar training image of its scene."""
    chosen = np.random.default_rng(arguments.seed).permutation(rows)[: arguments.sample]
    described, pairs = Descriptors(source.images, np.arange(len(test))), []
    for row in chosen:
        others = np.flatnonzero((numbers == numbers[row]) & ~test)
        upright, mirror = (part[others] @ described.upright[row] for part in (described.upright, described.mirror))
        other = int(np.maximum(upright, mirror).argmax())
        image = source.images[others[other]]
        pairs.append(np.hstack([source.images[row], image[:, ::-1] if mirror[other] > upright[other] else image]))
    tiles = np.stack(pairs).repeat(2, axis=1).repeat(2, axis=2)
    side = np.pad(tiles, ((0, 0), (2, 2), (4, 4), (0, 0)), constant_values=255)
    columns = 10
    side = np.concatenate([side, np.full_like(side, 255)[: -len(side) % columns]])
    grid = side.reshape(-1, columns, *side.shape[1:]).swapaxes(1, 2)
    Image.fromarray(grid.reshape(-1, columns * side.shape[2], 3)).save(arguments.mosaic)


def draw(points: list[tuple[float, float, int]], path: Path) -> None:
    """Draw recall against the number of images found that are not among the published ones, by threshold.

    points: threshold, recall and number of images.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([others for _, _, others in points], [recall for _, recall, _ in points], marker="o", color="tab:blue")
    for least, recall, others in points:
        axes.annotate(f"{least:.2f}", (others, recall), (0, 7), textcoords="offset points", ha="center")
        if least == scenes.SURE:
            axes.plot(others, recall, marker="o", markersize=11, markerfacecolor="none", color="black")
            axes.annotate("default", (others, recall), (0, -24), textcoords="offset points", ha="center", weight="bold")
    axes.axhline(240 / PUBLISHED, color="grey", linestyle=":", zorder=0)
    axes.text(2, 240 / PUBLISHED, f"240 of {PUBLISHED}", color="dimgrey", va="bottom", size="small")
    axes.set_title("Scenes across the split of CIFAR-10, by threshold", size="medium")
    axes.set_xlabel("test images found that are not published (estimate)")
    axes.set_ylabel("published pairs found")
    axes.set_xlim(0, 1.13 * max(others for _, _, others in points))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
