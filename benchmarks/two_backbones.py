"""Compare probes on the features of two networks, concatenated, with probes on those of either one.

    OMP_NUM_THREADS=1 PYTHONPATH=. nice python benchmarks/two_backbones.py ../shared

Sets: the 320 sample photographs of ten animals at 224 pixels (two repeats of five stratified folds), and CIFAR-10 at 96
pixels with 200 training and 100 test images per class. Each feature is scaled by its standard deviation, so networks
have equal weight. The head is fitted as by the pipeline on few images: five folds of the training images choose the
penalty. Only plain images are used, not mirrored ones.

Prints a Markdown table. "Better one" is the single network with the higher accuracy on the evaluated images, a choice
in favour of single networks. Differences are paired over images: 95% intervals of 10,000 bootstrap samples of images.
"""

import argparse
import tarfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedKFold

from benchmarks import fit
from benchmarks.fit import SAMPLES, Right
from darkroom import images
from darkroom.training.transfer import out_of_fold

NETWORKS = ("efficientnet_lite0", "efficientnet_lite2", "mobilenet_v2")
PAIRS = [pair for pair in combinations(NETWORKS, 2) if "efficientnet_lite0" in pair]
REPEATS, FOLDS = 2, 5
TRAIN, TEST = 200, 100
"""Images per class of CIFAR-10."""
Labels = npt.NDArray[np.int64]
Division = tuple[Labels, Labels]
"""Positions of images to fit to, and of images to evaluate."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare features of two networks with those of one.")
    parser.add_argument("shared", type=Path, help="the folder with real images and weights")
    parser.add_argument("--sets", nargs="+", choices=("animals", "cifar"), default=("animals", "cifar"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| set | features | accuracy | better one | difference, 95% |\n|---|---|---|---|---|", flush=True)
    for name in arguments.sets:
        if name == "animals":
            photos, labels = fit.read(arguments.shared / "data" / "animals10-sample.zip", None)
            side, divisions = 224, list(repeated(labels))
        else:
            photos, labels, divisions = read_cifar(arguments.shared)
            side = 96
        pixels = np.stack([images.decode(photo, side).pixels for photo in photos])
        features = {
            network: fit.extract(fit.open_network(arguments.shared, network, side), pixels) for network in NETWORKS
        }
        right = {(network,): evaluate(found, labels, divisions) for network, found in features.items()}
        for network in NETWORKS:
            print(f"| {name} | `{network}` | {right[network,].mean():.1%} | | |", flush=True)
        for pair in PAIRS:
            both = evaluate(np.concatenate([features[network] for network in pair], axis=1), labels, divisions)
            better = max(pair, key=lambda network: right[network,].mean())
            gap = interval(both - right[better,])
            print(f"| {name} | {' + '.join(pair)} | {both.mean():.1%} | `{better}` | {gap} |", flush=True)


def repeated(labels: Labels) -> Iterator[Division]:
    """Yield the folds of each repeat."""
    for repeat in range(REPEATS):
        yield from StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(labels, labels)


def read_cifar(shared: Path) -> tuple[list[bytes], Labels, list[Division]]:
    """Return the first images of each class of both splits as files, the numbers of their classes, and the division."""
    seen: dict[tuple[str, str], int] = {}
    rows = []
    with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
        for item in archive:
            part, label = Path(item.name).parts[-3:-1] if item.isfile() else ("", "")
            seen[part, label] = seen.get((part, label), 0) + 1
            if part and seen[part, label] <= (TRAIN if part == "train" else TEST):
                content = archive.extractfile(item)
                assert content is not None
                rows.append((part, label, content.read()))
    labels = np.unique([label for _, label, _ in rows], return_inverse=True)[1].astype(np.int64)
    is_test = np.array([part != "train" for part, _, _ in rows])
    return [data for _, _, data in rows], labels, [(np.flatnonzero(~is_test), np.flatnonzero(is_test))]


def evaluate(features: npt.NDArray[np.float32], labels: Labels, divisions: list[Division]) -> Right:
    """Return how often each evaluated image was classified correctly, 0 to 1, in the order of the images."""
    classes = int(labels.max()) + 1
    right, count = np.zeros(len(labels)), np.zeros(len(labels))
    for number, (known, evaluated) in enumerate(divisions):
        folds = out_of_fold.divide(labels[known], np.arange(len(known)), classes, number)
        given = features[known].astype(np.float16)
        head = out_of_fold.fit([given], labels[known], folds, classes, balanced=False, intercept=True).head
        logits = features[evaluated] @ head.weight.T + head.bias
        right[evaluated] += logits.argmax(axis=1) == labels[evaluated]
        count[evaluated] += 1
    rates: Right = right[count > 0] / count[count > 0]
    return rates


def interval(gap: Right) -> str:
    """Return the mean difference in points with its interval."""
    random = np.random.default_rng(0)
    means = gap[random.integers(len(gap), size=(SAMPLES, len(gap)))].mean(axis=1)
    low, high = np.percentile(100 * means, [2.5, 97.5])
    return f"{100 * gap.mean():+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
