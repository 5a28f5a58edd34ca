"""Compare ways to fit and calibrate a probe's last layer on the 320 sample photographs.

    OMP_NUM_THREADS=1 python benchmarks/heads.py ../shared

Two repetitions of five stratified folds. Of the four fifths that are not evaluated, 48 images are the validation split.
Prints a Markdown table: accuracy, and log loss without a temperature and with one, fitted to the predictions named.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold, train_test_split

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.backbones import prepare
from darkroom import candidate, packed
from darkroom.evaluation.scores.calibration import fit_temperature
from darkroom.training.engine import batches, device
from darkroom.training.transfer import features, out_of_fold, probe, weights
from darkroom.training.transfer.cache import FeatureCache, Features
from darkroom.training.transfer.features import Extractor

NETWORK, SIDE = "efficientnet_lite0", 224
VALIDATION, REPEATS, CLASSES = 48, 2, 10
Labels = npt.NDArray[np.int64]
Scores = dict[str, list[tuple[float, float, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to fit and calibrate a probe's last layer.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    plain, mirrored, labels = extract(parser.parse_args().shared)
    averaged = ((plain.astype(np.float32) + mirrored.astype(np.float32)) / 2).astype(np.float16)
    rows: Scores = {}
    for repeat in range(REPEATS):
        for known, test in StratifiedKFold(5, shuffle=True, random_state=repeat).split(plain, labels):
            compare("training and validation, by folds", [plain, mirrored], labels, known, test, repeat, rows)
            compare("the same, without mirrored views", [plain], labels, known, test, repeat, rows)
            compare("the same, views averaged in both", [averaged], labels, known, test, repeat, rows)
            small(plain, mirrored, labels, known, test, repeat, rows)
    print("| last layer fitted to | temperature from | accuracy | log loss | without temperature |")
    print("|---|---|---|---|---|")
    for name, found in rows.items():
        accuracy, loss, uncalibrated = np.mean(found, axis=0)
        print(f"| {name} | {accuracy:.1%} | {loss:.3f} | {uncalibrated:.3f} |")


def extract(shared: Path) -> tuple[Features, Features, Labels]:
    """Return features of all images and of their mirrored views, and their labels."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        top = Path(folder)
        settings, _ = prepare(top, shared, NETWORK, SIDE, SIDE, 0)
        network, description, _ = weights.read(top / "pretrained", settings, CLASSES, SIDE, 0)
        split, images = packed.read_split(top / "split.csv"), packed.open_images(top / "packed")
        compute = device.choose("cpu", deterministic=False)
        extractor = Extractor(network, description["architecture"], FeatureCache(top / "features"), compute)
        parts = [batches.load(images, split, name, compute.device) for name in packed.SPLITS]
        plain, mirrored = (
            np.concatenate([extractor.extract(part, features.hashes(part), view) for part in parts])
            for view in ("plain", "mirrored")
        )
        return plain, mirrored, np.concatenate([part.labels.numpy() for part in parts])


def small(
    plain: Features, mirrored: Features, labels: Labels, known: Labels, test: Labels, seed: int, rows: Scores
) -> None:
    """Fit to the training images only: the validation images choose penalty and temperature."""
    training, validation = train_test_split(known, test_size=VALIDATION, stratify=labels[known], random_state=seed)
    both = np.concatenate([plain[training], mirrored[training]]), np.tile(labels[training], 2)
    head = probe.fit(both, (plain[validation], labels[validation]), CLASSES)
    temperature = fit_temperature(answers(head, plain[validation]), labels[validation])
    add(rows, f"training | {VALIDATION} validation images", answers(head, plain[test]), labels[test], temperature)


def compare(
    name: str, views: list[Features], labels: Labels, known: Labels, test: Labels, seed: int, rows: Scores
) -> None:
    """Fit to training and validation images, with a temperature from out-of-fold logits of all or of some of them."""
    folds = out_of_fold.divide(labels[known], np.arange(len(known)), CLASSES, seed)
    fitted = out_of_fold.fit([view[known] for view in views], labels[known], folds, CLASSES, False, True)
    logits = answers(fitted.head, views[0][test])
    for where, part in (("all out-of-fold", slice(None)), (f"{VALIDATION} out-of-fold", slice(VALIDATION))):
        order = np.random.default_rng(seed).permutation(len(known))[part]
        temperature = fit_temperature(fitted.logits[order], labels[known][order])
        add(rows, f"{name} | {where} images", logits, labels[test], temperature)


def answers(head: probe.Head, points: Features) -> npt.NDArray[np.float32]:
    """Return the logits of a head."""
    logits: npt.NDArray[np.float32] = points.astype(np.float32) @ head.weight.T + head.bias
    return logits


def add(rows: Scores, name: str, logits: npt.NDArray[np.float32], labels: Labels, temperature: float) -> None:
    """Add accuracy, log loss and log loss without a temperature."""
    losses = [
        -float(np.log(candidate.softmax(logits, value)[np.arange(len(labels)), labels] + 1e-12).mean())
        for value in (temperature, 1.0)
    ]
    rows.setdefault(name, []).append((float((logits.argmax(axis=1) == labels).mean()), losses[0], losses[1]))


if __name__ == "__main__":
    main()
