"""Compare the speed recipe with the published script on one GPU: same images, epochs and batches, both warm.

    python benchmarks/gpu.py data/packed data/split.csv airbench94_muon.py [--runs 5]

The script is the one that the author of arXiv 2404.00498 keeps in the repository cifar10-airbench; it is run as it is,
in a folder where it finds these images instead of those it would download. Both train a network of width 64 for
8 epochs in batches of 2,000, of which each epoch has the same whole number, with shifts of 2 pixels and alternating
flips. Each first trains one network as a warm-up, in which kernels are compiled and cuDNN chooses among its own; that
time is reported separately. Seconds are those of training alone, evaluation is reported separately, and accuracy is
that on the test images without test-time augmentation. Prints a Markdown table. Without a GPU it checks its inputs and
says what it would run.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from darkroom import packed
from darkroom.packed import Split
from darkroom.training.engine import batches, device, optimizer, scoring
from darkroom.training.engine.batches import Data
from darkroom.training.engine.device import Compute
from darkroom.training.engine.loop import Callback, Plan, Trainer
from darkroom.training.networks import network
from darkroom.training.networks.network import Network
from darkroom.training.settings import AugmentSettings, ScratchSettings, TrainingSettings

EPOCHS, BATCH, WIDTH = 8, 2000, 64
BAR = 1.25


@dataclass(frozen=True)
class Run:
    """One network trained."""

    seconds: float
    """Of training."""
    evaluation: float
    """Seconds of all looks at validation or test images until the end of training."""
    accuracy: float
    """On test, 0 to 1."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the speed recipe with the published script on one GPU.")
    parser.add_argument("packed", type=Path, help="CIFAR-10 at 32 pixels")
    parser.add_argument("split", type=Path)
    parser.add_argument("published", type=Path, help="airbench94_muon.py")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    split = whole_batches(packed.read_split(arguments.split))
    if not torch.cuda.is_available():
        packed.open_images(arguments.packed)
        print(f"no GPU that PyTorch can use: {arguments.published} and the recipe would train on these images")
        print(", ".join(f"{name}: {len(split.rows(name)):,}" for name in packed.SPLITS))
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {arguments.runs} runs each\n")
    columns = ("who", "training, s, median", "least to most", "evaluation, s", "first run, s", "test accuracy", "ratio")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    with tempfile.TemporaryDirectory() as name:
        write_images(arguments.packed, split, Path(name) / "cifar10")
        first, theirs = published(arguments.published.resolve(), Path(name), arguments.runs)
    middle = statistics.median(run.seconds for run in theirs)
    print(row("the published script", first, theirs, middle), flush=True)
    told = []
    for compiled in (False, True):
        name = f"`airbench`{', compiled' * compiled}"
        first, ours, uses = own(arguments.packed, split, arguments.runs, compiled)
        print(row(name, first, ours, middle), flush=True)
        speed = EPOCHS * len(split.rows("train")) / statistics.median(run.seconds for run in ours)
        told.append(f"{name}: {speed:,.0f} images/s in training, GPU in use {statistics.median(uses):.0f}%")
    print("", *told, sep="\n")


def row(name: str, first: float, runs: list[Run], theirs: float) -> str:
    """Return a row of the table."""
    times = [run.seconds for run in runs]
    accuracy = statistics.mean(run.accuracy for run in runs)
    apart = statistics.median(run.evaluation for run in runs)
    middle = statistics.median(times)
    spread = f"{min(times):.2f} to {max(times):.2f}"
    ratio = f"{middle / theirs:.2f} (bar: ≤ {BAR})"
    return f"| {name} | {middle:.2f} | {spread} | {apart:.2f} | {first:.1f} | {accuracy:.2%} | {ratio} |"


def whole_batches(split: Split) -> Split:
    """Return a split whose training images make a whole number of batches: the published script drops the rest."""
    rows = split.rows("train")
    splits = split.splits.copy()
    splits[rows[len(rows) // BATCH * BATCH :]] = packed.LEFT_OUT
    return Split(split.classes, split.labels, splits, split.leaks, split.groups)


def own(folder: Path, split: Split, runs: int, compiled: bool) -> tuple[float, list[Run], list[float]]:
    """Train our recipe in this process; return the seconds of a first run, the runs, and the GPU's use in percent."""
    compute = device.choose("cuda")
    images = packed.open_images(folder)
    data = [batches.load(images, split, name, compute.device) for name in packed.SPLITS]
    channels = packed.channel_statistics(folder, split.rows("train"))
    begin = time.perf_counter()
    train(data, channels, compute, 10**6, compiled)
    first = time.perf_counter() - begin
    with watched() as uses:
        found = [train(data, channels, compute, seed, compiled) for seed in range(runs)]
    return first, found, uses


def train(
    data: list[Data], channels: tuple[list[float], list[float]], compute: Compute, seed: int, compiled: bool
) -> Run:
    """Train one network as the stage does."""
    training, validation, test = data
    settings = ScratchSettings(
        architecture="airbench",
        width=WIDTH,
        optimizer="muon",
        learning_rate=0.24,
        weight_decay=0.01,
        label_smoothing=0.2,
        warmup=0,
        compile=compiled,
    )
    changes = AugmentSettings(flip="alternating", shift=2)
    plan = Plan(settings, changes, TrainingSettings(), EPOCHS, BATCH, seed)
    whole = Network(network.build({"architecture": "airbench", "width": WIDTH}, 10, training.size, seed), *channels)
    network.prepare(whole, training.take(torch.randperm(len(training))[:1000]).cpu())
    whole.to(compute.device)
    trainer = Trainer(whole, optimizer.groups([(whole, 1.0)], settings), (training, validation), plan, compute)
    trainer.run(Callback())
    seconds = sum(len(training) / epoch.images_per_second for epoch in trainer.history)
    _, accuracy = scoring.score(whole, test, compute)
    return Run(seconds, trainer.seconds - seconds, accuracy)


def write_images(folder: Path, split: Split, out: Path) -> None:
    """Write the training and test images as the published script keeps its own."""
    out.mkdir()
    images = packed.open_images(folder)
    for part, name in (("train", "train.pt"), ("test", "test.pt")):
        rows = split.rows(part)
        data = {"images": torch.tensor(np.array(images[rows])), "labels": torch.tensor(split.labels[rows])}
        torch.save(data | {"classes": split.classes}, out / name)


def published(script: Path, top: Path, runs: int) -> tuple[float, list[Run]]:
    """Run the published script until it has trained `runs` networks; return the seconds of its first run, and the rest.

    It prints `| run | epoch | train | val | with tricks | seconds |` after each epoch, the seconds being those of
    training so far, and `eval` as the last epoch of a run.
    """
    found: list[Run] = []
    begin = clock = time.perf_counter()
    first = seconds = accuracy = 0.0
    with subprocess.Popen([sys.executable, "-u", script], cwd=top, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) != 6 or not re.fullmatch(r"\d+|eval", cells[1]):
                continue
            if cells[1] != "eval":
                accuracy, seconds = float(cells[3]), float(cells[5])
                ended = time.perf_counter()
                continue
            if first:
                found.append(Run(seconds, ended - clock - seconds, accuracy))
                print(f"published: {found[-1]}", file=sys.stderr, flush=True)
            first, clock = first or time.perf_counter() - begin, time.perf_counter()
            if len(found) == runs:
                process.kill()
                break
    if len(found) < runs:
        sys.exit(f"{script} ended after {len(found)} of {runs} runs")
    return first, found


@contextmanager
def watched() -> Iterator[list[float]]:
    """Gather the share of time, in percent, in which the GPU works, five times a second, until the block ends."""
    uses: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield uses
        process.terminate()
        assert process.stdout is not None
        uses += [float(line) for line in process.stdout if line.strip().isdigit()]


if __name__ == "__main__":
    main()
