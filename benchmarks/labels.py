"""Plant wrong labels in real sets, and count how many the stage `labels` finds, beside the package cleanlab.

    OMP_NUM_THREADS=1 python benchmarks/labels.py ../shared --cleanlab /tmp/cleanlab/bin/python

`--cleanlab` is the Python of another environment with cleanlab, which the project does not need. cleanlab gets our
out-of-fold probabilities, and those of its documentation's usual recipe (cross_val_predict with logistic regression).
Prints a Markdown table: precision and recall of the first k listed images, k being the number of planted errors, and
precision of the first k/2; then the expected and the actual precision of each kind, by range of the expected one.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parents[1]))

from darkroom import images
from darkroom.evaluation.labels import confident
from darkroom.training import held_out, pretrained
from darkroom.training.engine import device
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import frozen
from darkroom.training.transfer.cache import Features

ROOT = Path(__file__).parents[1]
BACKBONE = ROOT / "backbones" / "cifar10_backbone"
KINDS = {"random": (0.05, 0.1, 0.2), "similar": (0.05, 0.1, 0.2), "one class": (0.1, 0.2, 0.3)}
"""Kinds of planted errors, with the shares of changed labels: of all images, or of those of one class."""
ONE_CLASS = 3, 5
"""Class whose images get the label of another one, and that class."""
PER_CLASS = 150
"""CIFAR-10 training images per class."""
RANGES = ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01))
Labels = npt.NDArray[np.int64]

ORACLE = """
import json, sys
import numpy as np
from cleanlab.filter import find_label_issues
given = np.load(sys.argv[1])
names = sorted({name[:-7] for name in given.files if name.endswith(".labels")})
found = {name: find_label_issues(given[name + ".labels"], given[name + ".probabilities"], n_jobs=1,
         return_indices_ranked_by="self_confidence").tolist() for name in names}
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant wrong labels and count how many are found.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    parser.add_argument("--cleanlab", type=Path, help="the Python of an environment that has cleanlab")
    parser.add_argument("--cache", type=Path, help="cache folder of features")
    parser.add_argument(
        "--sets", nargs="+", choices=["digits", "animals", "cifar"], default=["digits", "animals", "cifar"]
    )
    parser.add_argument("--without-usual", action="store_true", help="omit cleanlab's usual recipe, the slowest part")
    arguments = parser.parse_args()
    lists: dict[str, list[int]] = {}
    changes: dict[str, npt.NDArray[np.bool_]] = {}
    given: dict[str, npt.NDArray[Any]] = {}
    judged: dict[str, list[tuple[float, bool]]] = {}
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            features, labels = load(name, arguments.shared, Path(folder), arguments.cache or Path(folder) / "features")
        for kind, shares in KINDS.items():
            for share in shares:
                planted, changed = flip(features, labels, share, kind)
                begin = time.process_time()
                ours, likely, precision = check(features, planted)
                key = f"{name}, {kind}, {share:.0%}"
                print(f"{key}: {time.process_time() - begin:.1f} s", file=sys.stderr, flush=True)
                lists[f"{key}|ours"], changes[key] = ours, changed
                judged.setdefault(kind, []).extend(zip(precision.tolist(), changed.tolist(), strict=True))
                given |= {f"{key}|cleanlab.labels": planted, f"{key}|cleanlab.probabilities": likely}
                if arguments.cleanlab and kind == "random" and not arguments.without_usual:
                    name_of = f"{key}|cleanlab, usual recipe"
                    given |= {f"{name_of}.labels": planted, f"{name_of}.probabilities": usual(features, planted)}
    if arguments.cleanlab:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "given.npz"
            np.savez(path, **given)
            command = [str(arguments.cleanlab), "-c", ORACLE, str(path)]
            lists |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    show(lists, changes)
    for kind, pairs in judged.items():
        print(f"\n{kind}:")
        show_precision(pairs)


def load(name: str, shared: Path, folder: Path, cache: Path) -> tuple[Features, Labels]:
    """Return the features that the stage would use for a set, and its labels."""
    if name == "digits":
        pixels, target = load_digits(return_X_y=True)
        grey = np.clip(pixels.reshape(-1, 8, 8) * 16, 0, 255).astype(np.uint8)
        enlarged = grey.repeat(2, 1).repeat(2, 2)[..., None].repeat(3, 3)
        return extract(enlarged, TransferSettings(weights=str(BACKBONE)), folder, cache), target.astype(np.int64)
    files: list[tuple[str, bytes]] = []
    if name == "animals":
        with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
            names = [each for each in archive.namelist() if "raw-img/" in each and not each.endswith("/")]
            files = [(each, archive.read(each)) for each in names]
    else:
        with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
            for member in archive:
                part, _, file = member.name.split("/")[-3:] if member.isfile() else ("", "", "")
                if part == "train" and int(Path(file).stem) % 5000 < PER_CLASS:
                    content = archive.extractfile(member)
                    assert content is not None
                    files.append((member.name, content.read()))
    files.sort()
    side, settings = 224, TransferSettings(architecture="efficientnet_lite0")
    if name == "cifar":
        side, settings = 32, TransferSettings(architecture="efficientnet_lite0", input_size=96)
    decoded = [images.decode(content, side).pixels for _, content in files]
    _, labels = np.unique([path.split("/")[-2] for path, _ in files], return_inverse=True)
    return extract(np.stack(decoded), settings, folder, cache), labels.astype(np.int64)


def extract(pixels: npt.NDArray[np.uint8], settings: TransferSettings, folder: Path, cache: Path) -> Features:
    """Return the features of images by a network, whose weights are copied to `folder`."""
    pretrained.fetch(settings, ROOT / "backbones", folder / "downloads", folder)
    return frozen.extract(pixels, settings, folder, cache, device.choose("cpu"))


def flip(features: Features, labels: Labels, share: float, kind: str) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """Return labels of which `share` were changed: at random, to a similar class, or one class to another."""
    generator, classes = np.random.default_rng(round(1000 * share)), int(labels.max()) + 1
    rows = generator.permutation(len(labels))[: round(share * len(labels))]
    changed = labels.copy()
    if kind == "one class":
        true, wrong = ONE_CLASS
        rows = generator.permutation(np.flatnonzero(labels == true))
        changed[rows[: round(share * len(rows))]] = wrong
    elif kind == "random":
        changed[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
    else:  # in proportion to the mean probability of each other class
        likely = check(features, labels)[1]
        confused = np.stack([likely[labels == label].mean(axis=0) for label in range(classes)])
        np.fill_diagonal(confused, 0)
        confused /= confused.sum(axis=1, keepdims=True)
        changed[rows] = [generator.choice(classes, p=confused[labels[row]]) for row in rows]
    return changed, changed != labels


def check(features: Features, labels: Labels) -> tuple[list[int], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the listed rows, the probabilities and the expected precision, as the stage computes them."""
    classes = int(labels.max()) + 1
    [found] = held_out.cross_validate(features, labels, np.arange(len(labels)), classes, 0, lambda _: [])
    noise = confident.fit(found.scores, labels)
    likely = confident.probabilities(found.scores, noise)
    precision = confident.wrong(likely, labels, noise)
    return [each.row for each in confident.issues(likely, labels, precision, found.known)], likely, precision


def usual(features: Features, labels: Labels) -> npt.NDArray[np.float64]:
    """Return out-of-fold probabilities of logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=400, tol=1e-3))
    result: npt.NDArray[np.float64] = cross_val_predict(
        model, features.astype(np.float32), labels, cv=5, method="predict_proba"
    )
    return result


def show(lists: dict[str, list[int]], changes: dict[str, npt.NDArray[np.bool_]]) -> None:
    print("| set, errors, share | list | listed | precision of k | recall of k | precision of k/2 |")
    print("|---|---|--:|--:|--:|--:|")
    for key, changed in changes.items():
        count = int(changed.sum())
        for name in [each for each in lists if each.startswith(f"{key}|")]:
            right = changed[lists[name]]
            first, half = right[:count], right[: count // 2]
            print(
                f"| {key} ({count}) | {name.partition('|')[2]} | {len(right)} | {first.mean():.1%} | "
                f"{first.sum() / count:.1%} | {half.mean():.1%} |"
            )


def show_precision(judged: list[tuple[float, bool]]) -> None:
    expected, actual = (np.array(column) for column in zip(*judged, strict=True))
    print("\n| expected precision | images | mean expected | actual |")
    print("|---|--:|--:|--:|")
    for low, high in RANGES:
        inside = (expected >= low) & (expected < high)
        print(
            f"| {low:.0%} to {min(high, 1):.0%} | {inside.sum():,} | {expected[inside].mean():.1%} | "
            f"{actual[inside].mean():.1%} |"
        )


if __name__ == "__main__":
    main()
