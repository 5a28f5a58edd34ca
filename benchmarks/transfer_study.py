"""Digits by transfer against the same network from scratch, with 5, 20 and all training images a class.

    dvc repro split pretrained@cifar10_backbone
    python benchmarks/transfer_study.py --seeds 5            # writes docs/studies/transfer_digits.csv and .png

`resnet9` learns from random weights and from `cifar10_backbone` (a probe, and a probe that is then fine-tuned), each by
its recipe in params.yaml, on the same images: validation and test split stay whole. A seed decides which images a class
keeps and all that training draws. Few images get more epochs, so that no network is told to stop before it has learned:
8 times as many for 5 a class, 4 times for 20.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkroom import candidate, frames, packed, plotting
from darkroom.data.split import summary
from darkroom.foundations import params

ROOT = Path(__file__).parents[1]
FACTORS = {5: 8.0, 20: 4.0, 0: 1.0}
"""Images a class, 0 being all, and how many times the epochs."""
NAMES = {"scratch": "from scratch", "probe": "transfer, probe", "finetune": "transfer, fine-tuned"}
HEADER = ("images_per_class", "training_images", "method", "seed", "test_accuracy", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description="Digits by transfer against the same network from scratch.")
    parser.add_argument("--packed", type=Path, default=ROOT / "data" / "packed")
    parser.add_argument("--split", type=Path, default=ROOT / "data" / "split.csv")
    parser.add_argument("--pretrained", type=Path, default=ROOT / "models" / "pretrained" / "cifar10_backbone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "studies" / "transfer_digits")
    parser.add_argument("--per-class", type=int, nargs="+", default=list(FACTORS))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    rows: list[tuple[Any, ...]] = []
    for per_class in arguments.per_class:
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as name:
                top = Path(name)
                count = keep(arguments.split, top / "split.csv", per_class, seed)
                project(top, seed, FACTORS.get(per_class, 1.0))
                for method in NAMES:
                    accuracy, seconds = train(method, top, arguments)
                    rows.append((per_class or "all", count, method, seed, round(accuracy, 4), seconds))
                    print(*rows[-1], flush=True)
    frames.write(arguments.out.with_suffix(".csv"), pd.DataFrame(rows, columns=HEADER), escape=False)
    draw(rows, arguments.out.with_suffix(".png"))


def keep(source: Path, target: Path, per_class: int, seed: int) -> int:
    """Write a split that keeps `per_class` training images of each class, 0 being all; return how many it keeps."""
    split = packed.read_split(source)
    parts = split.splits.astype(object)
    training = np.random.default_rng(seed).permutation(split.rows("train"))
    for label in range(len(split.classes)):
        rows = training[split.labels[training] == label]
        parts[rows[per_class or len(rows) :]] = packed.LEFT_OUT
    summary.write_split(
        target, split.classes, split.labels.tolist(), parts.tolist(), split.leaks.tolist(), split.groups
    )
    return int((parts == "train").sum())


def project(top: Path, seed: int, factor: float) -> None:
    """Write the parameters: the recipes of params.yaml with `factor` times the epochs."""
    document = params.read(ROOT / "params.yaml")
    recipe = document["transfer"]["cifar10_backbone"]
    factors = {"epochs_factor": factor}
    document["seed"] = seed
    document["scratch"] = {"scratch": document["scratch"]["resnet9"] | factors}
    document["transfer"] = {
        "probe": recipe | {"method": "probe"},
        "finetune": recipe | {"method": "finetune"} | factors,
    }
    document["select"]["folds"] = 0
    (top / "params.yaml").write_text(json.dumps(document))


def train(method: str, top: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return (accuracy on the test images, seconds of training)."""
    command = [sys.executable, ROOT / "stages" / ("scratch.py" if method == "scratch" else "transfer.py"), method]
    command += ["--dataset", "digits", "--params", top / "params.yaml", "--split", top / "split.csv", "--quiet"]
    command += ["--packed", arguments.packed, "--checkpoints", top / "checkpoints", "--out", top / method]
    if method != "scratch":
        command += ["--pretrained", arguments.pretrained, "--features", top / "features"]
    result = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{method} failed:\n{result.stderr}")
    split = packed.read_split(top / "split.csv")
    labels = split.labels[split.rows("test")]
    guesses = candidate.read_predictions(top / method).test.argmax(axis=1)
    return float((guesses == labels).mean()), candidate.read_card(top / method).seconds


def draw(rows: list[tuple[Any, ...]], path: Path) -> None:
    """Draw accuracy by training images, the mean of all seeds with a dot for each."""
    counts = sorted({row[1] for row in rows})
    with plotting.figure(6.4, 3.8) as drawing:
        axes = drawing.subplots()
        for method, words in NAMES.items():
            found = {count: [row[4] for row in rows if row[1] == count and row[2] == method] for count in counts}
            [line] = axes.plot(counts, [np.mean(found[count]) for count in counts], label=words)
            dots = [(count, value) for count in counts for value in found[count]]
            axes.scatter(*zip(*dots, strict=True), s=10, color=line.get_color(), alpha=0.6)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("Training images of ten digits")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_ylabel("Test accuracy")
        axes.legend(loc="lower right")
        path.parent.mkdir(parents=True, exist_ok=True)
        plotting.save(drawing, path)


if __name__ == "__main__":
    main()
