"""Time `evaluate` with many candidates and test images: made-up pictures and predictions, a real network's model.onnx.

    python benchmarks/judging.py models/candidates/resnet9                     # 12 candidates, 10,000 test images
    python benchmarks/judging.py models/candidates/resnet9 --stage robustness

Prints wall and processor seconds of the stage's process; the project must have its packages installed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom import candidate, frames
from darkroom.candidate import Predictions
from darkroom.data.split import summary
from darkroom.foundations import files

ROOT = Path(__file__).parents[1]
TRAIN, VALIDATION = 1_000, 5_000


def write(top: Path, network: Path, candidates: int, test: int) -> None:
    """Write the project that the stage finds, in `top`."""
    random = np.random.default_rng(0)
    card = candidate.read_card(network)
    rows, classes = TRAIN + VALIDATION + test, len(card.classes)
    labels = random.integers(0, classes, rows)
    (top / "packed").mkdir()
    side = card.image_size
    np.save(top / "packed" / "images.npy", random.integers(0, 256, (rows, side, side, 3), dtype=np.uint8))
    lines = [
        (f"{row}.png", card.classes[label], "", side, side, f"{row:064x}", "0" * 16, "", "")
        for row, label in enumerate(labels)
    ]
    header = ("name", "label", "split", "width", "height", "sha256", "phash", "group", "slice")
    frames.write(top / "packed" / "index.csv", pd.DataFrame(lines, columns=header), escape=False)
    frames.write(top / "packed" / "broken.csv", pd.DataFrame(columns=("name", "label", "reason")))
    files.write_json(top / "packed" / "source.json", {})
    splits = ["train"] * TRAIN + ["validation"] * VALIDATION + ["test"] * test
    summary.write_split(top / "split.csv", card.classes, labels.tolist(), splits)
    names = ["baseline", *(f"net_{number}" for number in range(1, candidates))]
    for name in names:
        shutil.copytree(network, top / "candidates" / name)
        candidate.write_card(top / "candidates" / name, replace(card, name=name))
        logits = random.normal(0, 1, (rows, classes)).astype(np.float32)
        logits[np.arange(rows), labels] += 3  # right about nine times in ten
        split = Predictions(logits[TRAIN : TRAIN + VALIDATION], logits[TRAIN + VALIDATION :])
        candidate.write_predictions(top / "candidates" / name, split)
    listed = "".join(f"  {name}: {{}}\n" for name in names[1:])
    settings = "select: {}\nrobustness: {images: 1000}\n"
    files.write_text(top / "params.yaml", f"seed: 0\nscratch:\n{listed}transfer: {{}}\n{settings}")
    files.write_json(top / "best.json", {"name": "net_1", "temperature": 1.0})


def main() -> None:
    parser = argparse.ArgumentParser(description="Time evaluate with many candidates and test images.")
    parser.add_argument("network", type=Path, help="a candidate's folder, whose model.onnx is asked")
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--stage", choices=("evaluate", "robustness"), default="evaluate")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        write(top, arguments.network.resolve(), arguments.candidates, arguments.test)
        places = {"params": "params.yaml", "candidates": "candidates", "packed": "packed", "split": "split.csv"}
        if arguments.stage == "evaluate":
            places |= {"metrics": "evaluation.json", "curves": "curves.csv", "confusion": "confusion.csv"}
            places |= {"per-class": "per_class.csv", "tables": "tables", "figures": "figures", "best": "best.json"}
        else:
            places |= {"metrics": "robustness.json", "best": "best.json", "out": "robustness"}
        options = [part for name, place in places.items() for part in (f"--{name}", str(top / place))]
        before, start = os.times(), time.perf_counter()
        subprocess.run([sys.executable, ROOT / "stages" / f"{arguments.stage}.py", *options], check=True)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"{arguments.stage}: {time.perf_counter() - start:.1f} s, {spent:.1f} s of processor time")


if __name__ == "__main__":
    main()
