"""Compare the speed recipe with the published script on one GPU, with the same images.

    python benchmarks/gpu.py data/packed data/split.csv airbench94_muon.py [--runs 5]

The script is the one that the author of arXiv 2404.00498 keeps in the repository cifar10-airbench; it is run as it is,
in a folder where it finds these images instead of those it would download. Both train a network of width 64 for
8 epochs in batches of 2,000, whole images, shifts of 2 pixels, alternating flips. Its seconds are its own: without
start, compilation and looks at the test images, with its test-time tricks at the end. Ours are the training's, with a
look at the validation images after each epoch. Prints a Markdown table; says so and ends where no GPU is.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.accuracy import train
from darkroom import packed

SETTINGS = {"batch_size": 2000, "learning_rate": 0.24, "small_start": 1.0, "epochs_factor": 0.5}
"""Of the recipe `airbench`, as the published script has them; the data set's epochs are 16."""
BAR = 1.25


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the speed recipe with the published script on one GPU.")
    parser.add_argument("packed", type=Path, help="CIFAR-10 at 32 pixels")
    parser.add_argument("split", type=Path)
    parser.add_argument("published", type=Path, help="airbench94_muon.py")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this comparison needs a GPU that torch can use (CUDA), and there is none here: nothing was measured")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write_images(arguments.packed, arguments.split, top / "cifar10")
        theirs = published(arguments.published.resolve(), top, arguments.runs)
        count = len(packed.read_split(arguments.split).rows("train"))
        columns = ("who", "seconds, median", "least to most", "test accuracy, mean", "against the script")
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        middle = statistics.median(seconds for seconds, _ in theirs)
        print(row("the published script", theirs, middle))
        told = []
        for compiled in (False, True):
            name = f"`airbench`{', compiled' * compiled}"
            with watched() as uses:
                ours = [own(arguments, top / f"{compiled}-{seed}", seed, compiled) for seed in range(arguments.runs)]
            print(row(name, ours, middle), flush=True)
            speed = 8 * count / statistics.median(seconds for seconds, _ in ours)
            told.append(
                f"{name}: {speed:,.0f} images/s, GPU in use {statistics.median(uses):.0f}% (median, start included)"
            )
        print("", *told, sep="\n")


def row(name: str, runs: list[tuple[float, float]], theirs: float) -> str:
    """Return a row of the table for runs of (seconds, accuracy)."""
    times = [seconds for seconds, _ in runs]
    middle = statistics.median(times)
    mean = statistics.mean(accuracy for _, accuracy in runs)
    spread = f"{min(times):.2f} to {max(times):.2f}"
    return f"| {name} | {middle:.2f} | {spread} | {mean:.2%} | {middle / theirs:.2f} (bar: ≤ {BAR}) |"


def own(arguments: argparse.Namespace, top: Path, seed: int, compiled: bool) -> tuple[float, float]:
    """Train our recipe; return seconds and accuracy."""
    top.mkdir()
    settings = SETTINGS | {"compile": str(compiled).lower()}
    changes = [f"scratch.airbench.{name}={value}" for name, value in settings.items()]
    result = train("airbench", seed, arguments.packed, arguments.split, top, "cifar10", changes)
    return result.seconds, result.test


def write_images(folder: Path, split_path: Path, out: Path) -> None:
    """Write the training and test images as the published script keeps its own."""
    out.mkdir()
    images, split = packed.open_packed(folder), packed.read_split(split_path)
    for part, name in (("train", "train.pt"), ("test", "test.pt")):
        rows = split.rows(part)
        data = {"images": torch.tensor(images.images[rows]), "labels": torch.tensor(split.labels[rows])}
        torch.save(data | {"classes": split.classes}, out / name)


def published(script: Path, top: Path, runs: int) -> list[tuple[float, float]]:
    """Run the published script until it has trained `runs` networks after its warm-up; return seconds and accuracies.

    It prints `| run | epoch | train | val | with tricks | seconds |`, and `eval` as the last epoch of a run.
    """
    found: list[tuple[float, float]] = []
    accuracy, warm = 0.0, False
    with subprocess.Popen([sys.executable, "-u", script], cwd=top, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) != 6 or not re.fullmatch(r"\d+|eval", cells[1]):
                continue
            if cells[1] != "eval":
                accuracy = float(cells[3])
            elif warm:
                found.append((float(cells[5]), accuracy))
                print(f"published: {found[-1]}", file=sys.stderr, flush=True)
            warm = warm or cells[1] == "eval"
            if len(found) == runs:
                process.kill()
                break
    if len(found) < runs:
        sys.exit(f"{script} ended after {len(found)} of {runs} runs")
    return found


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
