"""Time training `wic_cnn` against the usual PyTorch loop and against Keras, on the same images on the same machine.

    python benchmarks/training.py data/packed data/split.csv
    python benchmarks/training.py data/packed data/split.csv --keras PYTHON   # one that has tensorflow

Each trains the same network (187,402 numbers) with Adam in batches of 128, with crops (shifts of 4 pixels, the border
reflected) and mirroring. The usual loop is a Dataset of PIL images with torchvision's transforms, a DataLoader and
float32; the best of 0, 1, 2 and 4 workers counts. Keras reads from memory, with its own preprocessing layers.
Rounds go over all in turn, so that a busy machine disturbs all alike, each in a process of its own; the first steps,
in which graphs are built, do not count. Prints a Markdown table.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

BATCH, WARM, STEPS = 128, 20, 100
"""Images a step; steps before the clock starts, and on the clock."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training against the usual loop and Keras.")
    parser.add_argument("packed", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--keras", type=Path, help="a Python with tensorflow")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], help="of the usual loop")
    parser.add_argument("--one", help="internal: run this contender and print its images/s")
    arguments = parser.parse_args()
    if arguments.one:
        print(run(arguments.one, arguments.packed, arguments.split))
        return
    here = Path(__file__)
    contenders = {"this loop": "ours"}
    contenders |= {f"usual loop, {count} workers": f"usual-{count}" for count in arguments.workers}
    commands = {
        name: [sys.executable, here, arguments.packed, arguments.split, "--one", key]
        for name, key in contenders.items()
    }
    if arguments.keras:
        commands["Keras on TensorFlow"] = [
            arguments.keras,
            here.with_name("keras_loop.py"),
            arguments.packed,
            arguments.split,
        ]
    speeds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(arguments.rounds):
        for name, command in commands.items():
            result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if result.returncode:
                sys.exit(f"{name} failed:\n{result.stderr}")
            speeds[name].append(float(result.stdout.split()[-1]))
            print(f"round {number + 1}: {name} {speeds[name][-1]:,.0f} images/s", file=sys.stderr, flush=True)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},",
        end=" ",
    )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pillow")) + "\n")
    print("| loop | images/s, median | least to most | this loop against it |\n|---|---|---|---|")
    ours = statistics.median(speeds["this loop"])
    for name, values in speeds.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:,.0f} | {min(values):,.0f} to {max(values):,.0f} | {ours / middle:.2f} |")


def run(contender: str, packed: Path, split: Path) -> float:
    """Return the images/s of one contender."""
    return ours(packed, split) if contender == "ours" else usual(packed, split, int(contender.split("-")[1]))


def ours(folder: Path, split_path: Path) -> float:
    """Train with this project's loop: the recipe of params.yaml for wic_cnn."""
    import time

    import torch

    from darkroom import packed
    from darkroom.training.engine import batches, device, optimizer
    from darkroom.training.engine.batches import Data
    from darkroom.training.engine.loop import Callback, Plan, Trainer
    from darkroom.training.networks import network
    from darkroom.training.networks.network import Network
    from darkroom.training.settings import AugmentSettings, RecipeSettings, TrainingSettings

    compute = device.choose("cpu")
    split = packed.read_split(split_path)
    training = batches.load(packed.open_images(folder), split, "train", compute.device)
    some = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))[: BATCH * (WARM + STEPS)]
    training = Data(training.images[some], None, training.labels[some])
    few = Data(training.images[:256], None, training.labels[:256])
    model = network.build({"architecture": "wic_cnn", "width": 32}, 10, 32, 0)
    whole = Network(model, *packed.channel_statistics(folder, split.rows("train")))
    settings = RecipeSettings(optimizer="adam", learning_rate=0.001, schedule="constant")
    plan = Plan(settings, AugmentSettings(flip=True, shift=4), TrainingSettings(), 1, BATCH, 0)
    clock: list[float] = []

    class Clock(Callback):
        def step(self, progress: float) -> None:
            clock.append(time.perf_counter())

    Trainer(whole, optimizer.groups([(whole, 1.0)], settings), (training, few), plan, compute).run(Clock())
    return BATCH * STEPS / (clock[-1] - clock[WARM - 1])


def usual(folder: Path, split_path: Path, workers: int) -> float:
    """Train as most PyTorch scripts do: PIL images, torchvision's transforms, a DataLoader, float32."""
    import time

    import numpy as np
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from darkroom import packed
    from darkroom.training.networks import network

    split = packed.read_split(split_path)
    rows = split.rows("train")
    images = np.asarray(packed.open_packed(folder).images)[rows]

    class Images(Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            steps = [
                transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
            ]
            self.transform = transforms.Compose(steps)

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
            return self.transform(Image.fromarray(images[place])), int(split.labels[rows[place]])

    loader = DataLoader(Images(), BATCH, shuffle=True, num_workers=workers)
    model = network.build({"architecture": "wic_cnn", "width": 32}, 10, 32, 0).to(memory_format=torch.contiguous_format)
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss()
    model.train()
    begin = 0.0
    for step, (inputs, labels) in enumerate(loader):
        if step == WARM:
            begin = time.perf_counter()
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        if step == WARM + STEPS - 1:
            break
    return BATCH * STEPS / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
