"""Compare the forecasts of `darkroom plan` with what more images brought.

    OMP_NUM_THREADS=1 python benchmarks/plan.py ../shared

A trial draws a set of images and divides it at random into two halves of each class. The forecast knows one half. Then
the other half's images of one class (or of all classes) are added to the first half, and the gain of macro F1 is
measured: by cross-validation over all images of both halves, with the same held-out images before and after, as a mean
over `DIVISIONS` divisions into folds. A second kind of trial adds a random half of these images.

What is measured is not the true gain: it depends on which images happened to be in the other half, and on the images
that it is measured on. The interval is for this measured gain and contains both: the variance between random subsets of
the known half, which are evaluated by cross-validation as well, includes them. The paired measurement removes what both
fits have in common, and several divisions average out the noise of a division, about which the forecast says nothing.
Trials of the same draw share images, so the share of intervals that hold the truth is less certain than the number of
trials suggests; hence many draws. All 320 sample animals are used in each draw, so their halves overlap.

Prints a Markdown table.
"""

import argparse
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import labels as wrong_labels
from darkroom import forecasts, images
from darkroom.evaluation.growth import curves
from darkroom.training import held_out, subsets
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer.cache import Features

DIVISIONS = 3
POOL = 600
"""CIFAR-10 training images per class from which each trial draws."""
EVEN, UNEVEN = 200, (300, 150, 75, 40, 20)
"""Drawn CIFAR-10 images per class: the same for all, or repeating these numbers."""
GENERATED = (400, 200, 100, 50, 30, 20)
"""Images per class of the generated set."""
NAMES = ("animals", "cifar", "cifar, uneven", "generated, uneven")
Labels = npt.NDArray[np.int64]
Row = tuple[bool, float, forecasts.Forecast]
"""Whether all images of the other half were added, the measured gain, and the forecast."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare forecasts with what more images brought.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    parser.add_argument("--cache", type=Path, help="cache folder of features")
    parser.add_argument("--seeds", type=int, default=10, help="draws per set (default: 10)")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    arguments = parser.parse_args()
    print(
        "| set | added | trials | in the interval | for all classes | mean gain | mean forecast | error | error of 0 |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    total: list[Row] = []
    for name in arguments.sets:
        rows: list[Row] = []
        for seed, (features, truth) in enumerate(draws(name, arguments)):
            begin = time.process_time()
            rows += trials(features, truth, seed)
            print(f"{name}, draw {seed}: {time.process_time() - begin:.1f} s", file=sys.stderr, flush=True)
        show(name, rows)
        total += rows
    show("total", total)


def draws(name: str, arguments: argparse.Namespace) -> Iterator[tuple[Features, Labels]]:
    """Yield features and labels of each draw."""
    if name.startswith("generated"):
        for seed in range(arguments.seeds):
            yield generate(np.random.default_rng([1, seed]))
        return
    with tempfile.TemporaryDirectory() as folder:
        cache = arguments.cache or Path(folder) / "features"
        (Path(folder) / "weights").mkdir()
        load = cifar if name.startswith("cifar") else animals
        features, truth = load(arguments.shared, Path(folder) / "weights", cache)
    classes = int(truth.max()) + 1
    for seed in range(arguments.seeds):
        generator = np.random.default_rng([2, seed])
        per_class = generator.permutation(np.resize(UNEVEN if "uneven" in name else EVEN, classes))
        rows = [generator.permutation(np.flatnonzero(truth == label))[: per_class[label]] for label in range(classes)]
        chosen = np.concatenate(rows)
        yield features[chosen], truth[chosen]


def animals(shared: Path, folder: Path, cache: Path) -> tuple[Features, Labels]:
    return wrong_labels.load("animals", shared, folder, cache)


def cifar(shared: Path, folder: Path, cache: Path) -> tuple[Features, Labels]:
    """Return features of `POOL` training images per class, at 96 pixels."""
    files = []
    with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
        for member in archive:
            part, _, file = member.name.split("/")[-3:] if member.isfile() else ("", "", "")
            if part == "train" and int(Path(file).stem) % 5000 < POOL:
                content = archive.extractfile(member)
                assert content is not None
                files.append((member.name, content.read()))
    files.sort()
    _, truth = np.unique([path.split("/")[-2] for path, _ in files], return_inverse=True)
    pixels = np.stack([images.decode(content, 32).pixels for _, content in files])
    settings = TransferSettings(architecture="efficientnet_lite0", input_size=96)
    return wrong_labels.extract(pixels, settings, folder, cache), truth.astype(np.int64)


def generate(generator: np.random.Generator) -> tuple[Features, Labels]:
    """Return normally distributed features around means of different distances, with 200 values."""
    truth = np.repeat(np.arange(len(GENERATED)), GENERATED)
    means = generator.normal(size=(len(GENERATED), 200)) * generator.uniform(0.08, 0.25, size=(len(GENERATED), 1))
    return (means[truth] + generator.normal(size=(len(truth), 200))).astype(np.float16), truth.astype(np.int64)


def trials(features: Features, truth: Labels, seed: int) -> list[Row]:
    """Return the forecasts from one half and the measured gains, for each class and for all."""
    generator, count, classes = np.random.default_rng([3, seed]), len(truth), int(truth.max()) + 1
    known = pick(truth, np.ones(count, dtype=np.bool_), range(classes), 0.5, generator)
    rows = np.flatnonzero(known)
    probes = probes_of(features[rows], truth[rows], classes, seed)
    sizes = np.bincount(truth[rows], minlength=classes)
    names = [str(label) for label in range(classes)]
    found = curves.measure(probes.predict, truth[rows], np.arange(len(rows)), names, seed, sizes)
    added = {
        (curve.name, share): known | pick(truth, ~known, range(classes) if curve.name is None else [int(curve.name)],
                                          share, generator)
        for curve in found for share in (1.0, 0.5)
    }  # fmt: skip
    gains: dict[tuple[str | None, float], list[float]] = {key: [] for key in added}
    for division in range(DIVISIONS):
        whole = probes_of(features, truth, classes, 1000 + seed * DIVISIONS + division)
        before = curves.score(whole.predict(known, None), truth, classes).macro_f1
        for key, chosen in added.items():
            gains[key].append(curves.score(whole.predict(chosen, None), truth, classes).macro_f1 - before)
    return [
        (share == 1, float(np.mean(gains[curve.name, share])), forecasts.forecast(curve, more))
        for curve in found
        for share in (1.0, 0.5)
        if (more := int((added[curve.name, share] & ~known).sum())) and curve.points
    ]


def probes_of(features: Features, truth: Labels, classes: int, seed: int) -> subsets.Probes:
    folds = held_out.divide(truth, np.arange(len(truth)), seed)
    assert folds is not None
    return subsets.Probes(features, truth, folds, classes)


def pick(
    truth: Labels,
    among: npt.NDArray[np.bool_],
    classes: range | list[int],
    share: float,
    generator: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Return a random `share` of each of the `classes` among some images."""
    result = np.zeros(len(truth), dtype=np.bool_)
    for label in classes:
        rows = generator.permutation(np.flatnonzero((truth == label) & among))
        result[rows[: round(share * len(rows))]] = True
    return result


def show(name: str, rows: list[Row]) -> None:
    for is_whole_half in (True, False):
        some = [(gain, each) for whole, gain, each in rows if whole == is_whole_half]
        inside = np.array([each.low <= gain <= each.high for gain, each in some])
        of_all = np.array([each.name is None for _, each in some])
        gains, expected = np.array([(gain, each.gain) for gain, each in some]).T * 100
        error, of_zero = (np.sqrt((values**2).mean()) for values in (gains - expected, gains))
        print(
            f"| {name} | {'all' if is_whole_half else 'half'} | {len(some)} | {inside.mean():.0%} | "
            f"{inside[of_all].mean():.0%} of {of_all.sum()} | {gains.mean():.2f} | {expected.mean():.2f} | "
            f"{error:.2f} | {of_zero:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
