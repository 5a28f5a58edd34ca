"""Compare the pipeline's probe on the 320 sample photographs with the best of a sweep that an expert would run.

    OMP_NUM_THREADS=1 python benchmarks/reference_sweep.py ../shared

The sweep: features of `mobilenet_v2` and of the three networks that are installed with the environment, at 160 and 224
pixels, for each `pack.fit`, of the plain image or averaged over it and its mirror image; standardised, then
scikit-learn's logistic regression for each C in `STRENGTHS`. The pipeline: `efficientnet_lite0` at 224 pixels as `init`
proposes it, its last layer fitted to plain and mirrored images with the penalty chosen by inner folds.

All are evaluated in the same five repetitions of five stratified folds. For each row of the sweep, the best C is chosen
by the accuracy that is reported, and the best row likewise, so the sweep's accuracy is optimistic; the pipeline's is
not. Prints a Markdown table, best first, with the difference from the pipeline, paired over the images, and its 95%
interval from 10,000 bootstrap samples of images.
"""

import argparse
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fit import MOBILENET, SAMPLES, Right, decode, extract, open_network, read
from darkroom.framing import FITS
from darkroom.training.transfer import out_of_fold

NETWORKS = ("mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
SIDES = (160, 224)
PIPELINE = "efficientnet_lite0", 224, "crop"
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Values of C, the inverse penalty on standardised features."""
REPEATS, FOLDS = 5, 5
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the pipeline's probe with the best of a sweep.")
    parser.add_argument("shared", type=Path, help="the folder with real images and weights")
    shared = parser.parse_args().shared
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "timm", "scikit-learn"))
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {packages}\n")
    photos, labels = read(shared / "data" / "animals10-sample.zip", None)
    rows: dict[str, tuple[Right, str]] = {}
    pipeline: Right | None = None
    for name in NETWORKS:
        if name == "mobilenet_v2" and not (shared / MOBILENET).is_file():
            continue
        for side in SIDES:
            network = open_network(shared, name, side)
            for fit in FITS:
                pixels = decode(photos, side, fit)
                plain, mirrored = extract(network, pixels), extract(network, pixels[:, :, ::-1])
                for views, features in (("plain", plain), ("averaged", (plain + mirrored) / 2)):
                    rows[f"`{name}` | {side} | {fit} | {views}"] = evaluate(features, labels)
                if (name, side, fit) == PIPELINE:
                    pipeline = evaluate_pipeline([plain, mirrored], labels)
                print(f"{name} {side} {fit}", file=sys.stderr, flush=True)
    assert pipeline is not None
    print("| network | pixels | fit | views | C | accuracy | minus the pipeline's, points |")
    print("|---|---|---|---|---|---|---|")
    name, side, fit = PIPELINE
    print(f"| **the pipeline: `{name}`** | {side} | {fit} | both | by inner folds | **{pipeline.mean():.1%}** | |")
    for row, (right, strength) in sorted(rows.items(), key=lambda item: -item[1][0].mean()):
        print(f"| {row} | {strength} | {right.mean():.1%} | {difference(right, pipeline)} |")


def divisions(labels: Labels) -> list[tuple[int, Labels, Labels]]:
    """Return the repetition, and the positions that a layer is fitted to and evaluated on, of each fold."""
    return [
        (repeat, *fold)
        for repeat in range(REPEATS)
        for fold in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(labels, labels)
    ]


def evaluate(features: Floats, labels: Labels) -> tuple[Right, str]:
    """Return how often each image was right when it was left out, with the best C, and that C."""
    right = np.zeros((len(STRENGTHS), REPEATS, len(labels)))
    for repeat, fitted, evaluated in divisions(labels):
        mean, deviation = features[fitted].mean(axis=0), features[fitted].std(axis=0) + 1e-6
        scaled = (features - mean) / deviation
        # A layer is a combination of the images it is fitted to, so their span has it all, in a fifth of the time.
        scaled = scaled @ np.linalg.qr(scaled[fitted].T)[0]
        for place, strength in enumerate(STRENGTHS):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model = LogisticRegression(C=strength, max_iter=200).fit(scaled[fitted], labels[fitted])
            right[place, repeat, evaluated] = model.predict(scaled[evaluated]) == labels[evaluated]
    best = int(right.mean(axis=(1, 2)).argmax())
    return right[best].mean(axis=0), f"{STRENGTHS[best]:g}"


def evaluate_pipeline(views: list[Floats], labels: Labels) -> Right:
    """Return how often each image was right when it was left out, for the pipeline's layer."""
    right = np.zeros((REPEATS, len(labels)))
    classes = int(labels.max()) + 1
    stored = [view.astype(np.float16) for view in views]
    for repeat, known, evaluated in divisions(labels):
        folds = out_of_fold.divide(labels[known], np.arange(len(known)), classes, repeat)
        head = out_of_fold.fit([view[known] for view in stored], labels[known], folds, classes, False, True).head
        logits = stored[0][evaluated].astype(np.float32) @ head.weight.T + head.bias
        right[repeat, evaluated] = logits.argmax(axis=1) == labels[evaluated]
    found: Right = right.mean(axis=0)
    return found


def difference(right: Right, reference: Right) -> str:
    """Return the difference of two accuracies in points with its interval."""
    gap = 100 * (right - reference)
    random = np.random.default_rng(0)
    low, high = np.percentile(gap[random.integers(len(gap), size=(SAMPLES, len(gap)))].mean(axis=1), [2.5, 97.5])
    return f"{gap.mean():+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
