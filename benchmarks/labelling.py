"""Simulate labelling: accuracy by number of labels, for the images that `darkroom curate` selects and for others.

    OMP_NUM_THREADS=1 python benchmarks/labelling.py ../shared --figure /tmp/labelling.png

| set | images | features |
|---|---|---|
| `animals` | 320 photographs of 10 classes, in 5 folds: 256 to label, 64 to test | `efficientnet_lite0` at 224 pixels |
| `cifar` | 5,000 test images of CIFAR-10: 3,000 to label, 2,000 to test | `efficientnet_lite0` at 96 pixels |
| `uneven` | the same, but of a class, only 5 to 100% can be labelled, about 1,000 images in total | the same |
| `bursts` | the same 2,000 to test, 600 to label in five versions each | the same, with noise of 15% for the versions |
| `own` | as `cifar` | `cifar10_backbone`, which was trained with these classes |

Each seed draws another division and other first labels, the same for all strategies. In each round, a strategy selects
a batch among the images without labels, their true labels are added, and a new last layer is fitted: ridge regression
of the one-hot labels on the standardised features, its penalty chosen by leave-one-out. Accuracy is the mean recall of
the classes.

Prints a Markdown table per set: the means of all seeds, and the difference from random choice with a 90% interval
(Student's t over the seeds).
"""

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.labels import BACKBONE, extract, load
from darkroom import images, neighbors, plotting
from darkroom.commands.curate import selection
from darkroom.training import held_out
from darkroom.training.settings import TransferSettings

SETS = {"animals": (20, 20), "cifar": (100, 50), "uneven": (100, 50), "bursts": (100, 50), "own": (100, 50)}
"""First labels, and labels per round."""
ROUNDS = 8
STRATEGIES = ("random", "selected", "margin in turn", "margin", "k-center")
PER_CLASS, TEST = 500, 2_000
RAREST = 0.05
"""Fraction of the rarest class that can be labelled in the uneven set."""
BURSTS, VERSIONS, NOISE = 600, 5, 0.15
"""Images, near copies of each, and their noise as a fraction of each feature's deviation."""
PENALTIES = (1, 0.3, 0.1, 0.03, 0.01, 0.003)
CONFIDENCE = 0.9

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Accuracies = npt.NDArray[np.float64]
"""Shape (seeds, rounds + 1)."""


@dataclass(frozen=True)
class Points:
    """Images by their features."""

    products: Floats
    """Products of the standardised features, shape (images, images)."""
    reduced: Floats
    """What the index of labelled images is built from."""
    labels: Labels


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate labelling.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    parser.add_argument("--cache", type=Path, help="cache folder of features")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--figure", type=Path, help="draw accuracy by labels into this file")
    arguments = parser.parse_args()
    results: dict[str, dict[str, Accuracies]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sets:
            points = read(name, arguments.shared, Path(folder), arguments.cache or Path(folder) / "features")
            results[name] = {
                strategy: np.array([simulate(name, points, strategy, seed) for seed in range(arguments.seeds)])
                for strategy in STRATEGIES
            }
            show(name, results[name])
    if arguments.figure:
        draw(results, arguments.figure)


def read(name: str, shared: Path, folder: Path, cache: Path) -> Points:
    """Return the images of a set."""
    if name == "animals":
        features, labels = load("animals", shared, folder, cache)
    else:
        files = []
        with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
            for member in archive:
                part, label, file = member.name.split("/")[-3:] if member.isfile() else ("", "", "")
                if part == "test" and int(Path(file).stem) % 1000 < PER_CLASS:
                    content = archive.extractfile(member)
                    assert content is not None
                    files.append((label, file, content.read()))
        files.sort()
        settings = TransferSettings(architecture="efficientnet_lite0", input_size=96)
        if name.startswith("own"):
            settings = TransferSettings(weights=str(BACKBONE))
        pixels = np.stack([images.decode(content, 32).pixels for *_, content in files])
        features = extract(pixels, settings, folder, cache)
        labels = np.unique([label for label, *_ in files], return_inverse=True)[1].astype(np.int64)
    if name == "bursts":
        features, labels = bursts(features.astype(np.float32), labels)
    data = held_out.scaled(features)
    standard = data.take(np.arange(len(features)))
    return Points(standard @ standard.T, neighbors.reduce(features), labels)


def bursts(features: Floats, labels: Labels) -> tuple[Floats, Labels]:
    """Return the test images and several noisy versions of others."""
    generator = np.random.default_rng(0)
    rows = generator.permutation(len(labels))
    versions = np.repeat(rows[TEST : TEST + BURSTS], VERSIONS)
    noise = generator.normal(0, NOISE, (len(versions), features.shape[1])).astype(np.float32) * features.std(axis=0)
    rows = np.concatenate([rows[:TEST], versions])
    return np.concatenate([features[rows[:TEST]], features[versions] + noise]), labels[rows]


def simulate(name: str, points: Points, strategy: str, seed: int) -> list[float]:
    """Return the accuracy after each round, means over the divisions of a seed."""
    return np.mean(
        [label(points, pool, test, strategy, *SETS[name], seed) for pool, test in divisions(name, points.labels, seed)],
        axis=0,
    ).tolist()


def divisions(name: str, labels: Labels, seed: int) -> Iterator[tuple[Labels, Labels]]:
    """Yield rows to label and rows to test."""
    generator = np.random.default_rng(seed)
    if name == "animals":
        yield from StratifiedKFold(5, shuffle=True, random_state=seed).split(labels, labels)
        return
    rows = np.arange(len(labels)) if name == "bursts" else generator.permutation(len(labels))
    pool, test = rows[TEST:], rows[:TEST]
    if name == "uneven":
        shares = RAREST ** (generator.permutation(10) / 9)
        classes = [pool[labels[pool] == label] for label in range(10)]
        pool = np.concatenate(
            [found[: round(share * len(found))] for found, share in zip(classes, shares, strict=True)]
        )
    yield np.sort(pool), test


def label(points: Points, pool: Labels, test: Labels, strategy: str, first: int, batch: int, seed: int) -> list[float]:
    """Return the accuracy for the test rows with the first labels and after each round."""
    generator, classes = np.random.default_rng(seed), int(points.labels.max()) + 1
    rows = generator.permutation(pool)
    one_each = np.unique(points.labels[rows], return_index=True)[1]  # no class is unknown
    order = np.concatenate([one_each, np.setdiff1d(np.arange(len(rows)), one_each)])
    known, found = rows[order][:first], []
    for _ in range(ROUNDS + 1):
        left = np.setdiff1d(pool, known)
        scores = fit(points, known, classes, np.concatenate([test, left]))
        guesses, truth = scores[: len(test)].argmax(axis=1), points.labels[test]
        found.append(float(np.mean([(guesses == truth)[truth == label].mean() for label in range(classes)])))
        known = np.concatenate(
            [known, left[choose(strategy, points, left, known, scores[len(test) :], batch, generator)]]
        )
    return found


def fit(points: Points, known: Labels, classes: int, wanted: Labels) -> Floats:
    """Return the scores of the wanted rows, shape (wanted, classes), by ridge regression on the known ones."""
    targets = held_out.one_hot(points.labels[known], classes)
    mean = targets.mean(axis=0)
    energies, directions = np.linalg.eigh(points.products[np.ix_(known, known)].astype(np.float64))
    rotated, best, lowest = directions.T @ (targets - mean), np.zeros_like(targets), np.inf
    for penalty in PENALTIES:
        inverse = 1 / (np.maximum(energies, 0) + penalty * len(known))
        weights = directions @ (inverse[:, np.newaxis] * rotated)
        # The error without the image itself (Allen's PRESS).
        error = ((weights / ((directions**2) * inverse).sum(axis=1)[:, np.newaxis]) ** 2).mean()
        if error < lowest:
            lowest, best = error, weights.astype(np.float32)
    scores: Floats = points.products[np.ix_(wanted, known)] @ best + mean
    return scores


def choose(
    strategy: str,
    points: Points,
    left: Labels,
    known: Labels,
    scores: Floats,
    batch: int,
    generator: np.random.Generator,
) -> Labels:
    """Return positions in `left`."""
    batch, predicted = min(batch, len(left)), scores.argmax(axis=1)
    margins = selection.margins(scores.astype(np.float64))
    if strategy == "random":
        return generator.permutation(len(left))[:batch]
    if strategy == "margin":
        return np.argsort(margins, kind="stable")[:batch]
    if strategy == "k-center":
        candidates, predicted = np.arange(len(left)), np.zeros_like(predicted)
    else:
        candidates = selection.in_turn(margins, predicted)
        if strategy == "margin in turn":
            return candidates[:batch]
        candidates = candidates[: selection.POOL * batch]
    index = neighbors.build(points.reduced[known], points.labels[known], known)
    embedded, labelled = index.embed(points.reduced[left[candidates]]), index.vectors.astype(np.float32)
    return candidates[selection.spread_out(embedded, labelled, predicted[candidates], batch)]


def show(name: str, found: dict[str, Accuracies]) -> None:
    """Print the table of a set."""
    first, batch = SETS[name]
    print(f"\n| `{name}`: labels | random | {' | '.join(STRATEGIES[1:])} |")
    print("|--:|--:|" + "--:|" * (len(STRATEGIES) - 1))
    for place in range(ROUNDS + 1):
        cells = [f"{100 * found['random'][:, place].mean():.1f}%"]
        for strategy in STRATEGIES[1:]:
            difference = 100 * (found[strategy] - found["random"])[:, place]
            cells.append(f"{100 * found[strategy][:, place].mean():.1f}% ({words(difference)})" if place else "")
        print(f"| {first + place * batch} | {' | '.join(cells)} |")
    means = [words(100 * (found[strategy] - found["random"])[:, 1:].mean(axis=1)) for strategy in STRATEGIES[1:]]
    print(f"| mean difference | | {' | '.join(means)} |", flush=True)


def words(differences: npt.NDArray[np.float64]) -> str:
    """Return mean and half of the interval in points."""
    spread = differences.std(ddof=1) / np.sqrt(len(differences))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * spread
    return f"{differences.mean():+.1f} ± {half:.1f}"


def draw(results: dict[str, dict[str, Accuracies]], path: Path) -> None:
    """Draw the mean accuracy with the interval of the mean."""
    with plotting.figure(3.2 * len(results), 3.2) as drawing:
        for axes, (name, found) in zip(
            drawing.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
        ):
            first, batch = SETS[name]
            labels = first + batch * np.arange(ROUNDS + 1)
            for strategy, rows in found.items():
                mean = rows.mean(axis=0)
                half = stats.t.ppf((1 + CONFIDENCE) / 2, len(rows) - 1) * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
                [line] = axes.plot(labels, mean, label=strategy)
                axes.fill_between(labels, mean - half, mean + half, alpha=0.2, color=line.get_color())
            axes.set_title(name)
            axes.set_xlabel("Labels")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.legend(loc="lower right")
        path.parent.mkdir(parents=True, exist_ok=True)
        plotting.save(drawing, path)


if __name__ == "__main__":
    main()
