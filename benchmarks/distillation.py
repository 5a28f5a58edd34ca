"""Measure whether a large network should teach a small one: distillation against hard labels, on 1,000 photographs.

    OMP_NUM_THREADS=1 PYTHONPATH=. nice python benchmarks/distillation.py ../shared --work /tmp/distillation

The photographs are 100 images per class of CIFAR-10, of which the pipeline takes 150 for validation, and 1,000 test
images. The teacher is a probe of `efficientnet_lite2` that computes at a larger size; its out-of-fold logits are the
soft targets, so none of them is of an image that it was fitted to. The students are `efficientnet_lite0` at 96 pixels,
fine-tuned by the default recipe, and `resnet9` from random weights at the images' own 32 pixels, by the recipe of
params.yaml. Each is trained by its stage with the labels, and again with the same seed, batches and augmentation, but
with the loss of Hinton, Vinyals and Dean (Distilling the Knowledge in a Neural Network, arXiv 1503.02531): the
cross-entropy with soft targets at a temperature, times its square, and half as much weight on the labels.

Candidates are kept in --work, so that an interrupted run continues. Prints a Markdown table; times are processor time,
latency that of onnxruntime with one thread; differences are paired over the test images (95%, normal approximation).
"""

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional

from benchmarks.finetuning import write_cifar
from darkroom import candidate, packed
from darkroom.foundations import params
from darkroom.predictor import Predictor
from darkroom.training.augmentation.mixing import Targets
from darkroom.training.engine import session
from darkroom.training.engine.loop import Trainer
from stages import download, pack, pretrained, scratch, split, transfer

ROOT = Path(__file__).parents[1]
PER_CLASS = 100
STUDENTS = ("resnet9", "efficientnet_lite0")
SIDES = {"teacher": 96, "efficientnet_lite0": 96, "resnet9": 32}
"""Side in pixels of the packed images."""
LABEL_WEIGHT = 1 / 3
"""Weight of the labels in the loss: half as much as that of the soft targets (section 4 of the paper)."""


@dataclass(frozen=True)
class SoftTargets(Targets):
    """Labels, and the teacher's probabilities at `temperature`, shape (N, classes)."""

    soft: Tensor
    temperature: float

    def loss(self, logits: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
        """Return the weighted sum of both cross-entropies."""
        softened = functional.cross_entropy(logits / self.temperature, self.soft) * self.temperature**2
        return LABEL_WEIGHT * super().loss(logits, weight, smoothing) + (1 - LABEL_WEIGHT) * softened

    def part(self, rows: slice) -> "SoftTargets":
        """Return the targets of some images of the batch."""
        given = super().part(rows)
        return SoftTargets(given.first, given.second, given.share, self.soft[rows], self.temperature)


def distilled(soft: Tensor, temperature: float) -> type[Trainer]:
    """Return a trainer with the soft targets of its training images, shape (images, classes)."""

    class Distilled(Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            compute = self.gradients.compute_all

            def compute_all(images: Tensor, targets: Targets, factor: float) -> Tensor:
                given = SoftTargets(targets.first, targets.second, targets.share, soft[self.positions], temperature)
                return compute(images, given, factor)

            self.gradients.compute_all = compute_all

        def _step(self, images: Tensor, positions: Tensor, count: int, epoch: int) -> None:
            self.positions = positions
            super()._step(images, positions, count, epoch)

    return Distilled


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare distillation with hard labels.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    parser.add_argument("--work", type=Path, required=True, help="folder for sets, features and candidates")
    parser.add_argument("--teacher-side", type=int, default=160, help="side in pixels at which the teacher computes")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--epochs", type=json.loads, default={"efficientnet_lite0": 4, "resnet9": 20}, help="as JSON")
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=STUDENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work.resolve()
    if not (work / "photos").is_dir():
        write_cifar(arguments.shared, work / "part", (PER_CLASS,) * 10)
        (work / "part").rename(work / "photos")
    for side in set(SIDES.values()):
        prepare(work, side, arguments)
    rows: dict[str, tuple[npt.NDArray[np.bool_], str]] = {}
    teacher = train(work, "teacher", arguments, 0)
    rows["teacher"] = right(teacher), describe(teacher)
    for name in arguments.students:
        for seed in arguments.seeds:
            for kind in ("labels", "distilled"):
                folder = train(work, name, arguments, seed, soft=kind == "distilled")
                rows[f"{name}, {kind}, seed {seed}"] = right(folder), describe(folder)
    print("| network | test accuracy | difference, 95% | p | MB | ms per image | processor minutes |")
    print("|---|---|---|---|---|---|---|")
    for name, (found, words) in rows.items():
        other = rows[name.replace("distilled", "labels")][0]
        print(
            f"| {name} | {found.mean():.1%} | {difference(found, other) if 'distilled' in name else ' | '} | {words} |"
        )


def prepare(work: Path, side: int, arguments: argparse.Namespace) -> None:
    """Run the stages up to the split, and write the parameters."""
    top = work / str(side)
    top.mkdir(exist_ok=True)
    recipe = params.read(ROOT / "params.yaml")["scratch"]["resnet9"]
    data: dict[str, Any] = {
        "source": {"kind": "folder", "path": str(work / "photos")},
        "pack": {"image_size": side},
        "split": {"validation": 0.15},
        "augment": {"flip": True, "shift": side // 16},
    }
    for name, epochs in {**arguments.epochs, "teacher": 1}.items():
        for seed in arguments.seeds:
            document = {
                "seed": seed, "device": "cpu", "deterministic": False, "select": {"folds": 0},
                "datasets": {"photos": {**data, "training": {"epochs": epochs}}},
                "scratch": {"resnet9": {**recipe, "width": 16}},
                "transfer": {
                    "teacher": {
                        "architecture": "efficientnet_lite2", "input_size": arguments.teacher_side, "method": "probe",
                    },
                    "efficientnet_lite0": {
                        "architecture": "efficientnet_lite0", "input_size": 96, "method": "finetune", "batch_size": 32,
                    },
                },
            }  # fmt: skip
            (top / f"{name}-{seed}.json").write_text(json.dumps(document))
    given = ["--dataset", "photos", "--params", f"{top}/teacher-0.json"]
    if (top / "split.csv").exists():
        return
    download.main([*given, "--inbox", f"{top}/inbox", "--downloads", f"{top}/downloads", "--out", f"{top}/raw"])
    pack.main([*given, "--raw", f"{top}/raw", "--out", f"{top}/packed"])
    split.main([
        *given, "--packed", f"{top}/packed", "--test-images", f"{top}/test.json", "--out", f"{top}/split.csv",
        "--copies", f"{top}/copies.csv", "--metrics", f"{top}/data.json",
    ])  # fmt: skip


def train(work: Path, name: str, arguments: argparse.Namespace, seed: int, soft: bool = False) -> Path:
    """Train a network by its stage, unless it is there, and return the candidate."""
    top = work / str(SIDES[name])
    out = top / f"{name}-{seed}{'-distilled' if soft else ''}"
    if (out / "minutes.json").exists():
        return out
    settings = ["--params", f"{top}/{name}-{seed}.json"]
    given = [name, "--dataset", "photos", *settings, "--packed", f"{top}/packed", "--split", f"{top}/split.csv"]
    given += ["--checkpoints", f"{out}-checkpoints", "--out", str(out)]
    stage: Callable[[Sequence[str]], None] = scratch.main
    if name != "resnet9":
        if not (work / name).exists():
            outs = ["--backbones", f"{work}/none", "--downloads", f"{work}/weights", "--out", f"{work}/{name}"]
            pretrained.main([name, *settings, *outs])
        given += ["--pretrained", f"{work}/{name}", "--features", f"{work}/features"]
        stage = transfer.main
    used = resource.getrusage(resource.RUSAGE_SELF)
    original = session.Trainer
    session.Trainer = distilled(soft_targets(work, top, arguments), arguments.temperature) if soft else original
    try:
        stage(given)
    finally:
        session.Trainer = original
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    (out / "minutes.json").write_text(json.dumps(seconds / 60))
    print(f"{out.name}: {seconds:.0f} s, test accuracy {right(out).mean():.1%}", flush=True)
    return out


def soft_targets(work: Path, top: Path, arguments: argparse.Namespace) -> Tensor:
    """Return the teacher's probabilities for the training images of a project, float32, shape (images, classes)."""
    large = work / str(SIDES["teacher"])
    records, divided = packed.read_index(large / "packed"), packed.read_split(large / "split.csv")
    predictions = candidate.read_predictions(large / "teacher-0")
    known = {
        records[row].name: logits
        for part, found in predictions.held_out.items()
        for row, logits in zip(divided.rows(part), found, strict=True)
    }
    records, rows = packed.read_index(top / "packed"), packed.read_split(top / "split.csv").rows("train")
    logits = np.stack([known[records[row].name] for row in rows])
    return torch.from_numpy(logits / arguments.temperature).softmax(1)


def right(folder: Path) -> npt.NDArray[np.bool_]:
    """Return for each test image whether a candidate classifies it correctly."""
    divided = packed.read_split(folder.parent / "split.csv")
    guesses = candidate.read_predictions(folder).test.argmax(axis=1)
    correct: npt.NDArray[np.bool_] = guesses == divided.labels[divided.rows("test")]
    return correct


def describe(folder: Path) -> str:
    """Return the cells for size, latency and processor time of a candidate."""
    image = np.asarray(packed.open_images(folder.parent / "packed")[:1])
    predictor, seconds = Predictor(folder, threads=1), []
    for _ in range(30):
        before = time.process_time()
        predictor.logits(image)
        seconds.append(time.process_time() - before)
    size = (folder / "model.onnx").stat().st_size / 1e6
    minutes = json.loads((folder / "minutes.json").read_text())
    return f"{size:.1f} | {1000 * float(np.median(seconds)):.1f} | {minutes:.1f}"


def difference(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> str:
    """Return the cells for the paired difference in points and McNemar's exact test."""
    wins, losses, count = int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    mean = (wins - losses) / count
    half = 1.96 * math.sqrt(max(wins + losses - count * mean**2, 0)) / count
    p = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    return f"{100 * mean:+.1f} ({100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}) | {p:.2f}"


if __name__ == "__main__":
    main()
