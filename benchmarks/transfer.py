"""Time a finished model by transfer: this project's stages against the loop of PyTorch's tutorial, same weights.

    python benchmarks/transfer.py ../shared --set animals          # 320 photographs of ten animals at 160 pixels
    python benchmarks/transfer.py ../shared --set cifar            # 500 images a class of CIFAR-10 at 96 pixels
    python benchmarks/transfer.py ../shared --photos 5000          # 5,000 JPEG files at 160 pixels, probe alone

The tutorial's loop is written from its description: a frozen `mobilenet_v2` with a new last layer, ImageFolder, a
DataLoader with RandomResizedCrop and RandomHorizontalFlip, SGD with learning rate 0.001 and momentum 0.9, a tenth of it
every 7 epochs, batches of 4, 25 epochs, the best epoch on validation kept, float32; only batch norms keep their
statistics. Its best count of workers is not
searched: two, one a core. Both get the same pictures in the same split, and both are timed from class folders and the
file of weights to a model that has evaluated the test pictures, in processes of their own. Prints a Markdown table:
accuracy on the test pictures with Wilson's 95% interval, wall seconds, and how many times as fast the stages are.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
EPOCHS, BATCH, WORKERS = 25, 4, 2
WEIGHTS = "weights/mobilenet_v2-imagenet.pth"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time transfer against the loop of PyTorch's tutorial.")
    parser.add_argument("shared", type=Path, help="the folder with real images and weights")
    parser.add_argument("--set", choices=("animals", "cifar"), default="animals")
    parser.add_argument("--photos", type=int, help="time the stages alone on so many photographs")
    parser.add_argument("--size", type=int, help="side in pixels; 160, and 96 for cifar")
    parser.add_argument("--per-class", type=int, default=500, help="of cifar")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the tutorial's loop")
    parser.add_argument("--one", nargs=3, help="internal: run the tutorial's loop on FOLDER WEIGHTS SIZE")
    arguments = parser.parse_args()
    if arguments.one:
        folder, weights, size = arguments.one
        print(json.dumps(tutorial(Path(folder), Path(weights), int(size), arguments.epochs)))
        return
    size = arguments.size or (96 if arguments.set == "cifar" and not arguments.photos else 160)
    weights = (arguments.shared / WEIGHTS).resolve()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        if arguments.photos:
            photos(arguments.shared, top / "photos", arguments.photos, size)
        elif arguments.set == "cifar":
            unpack_cifar(arguments.shared, top / "photos", arguments.per_class)
        else:
            with zipfile.ZipFile(arguments.shared / "data" / "animals10-sample.zip") as archive:
                archive.extractall(top)
            (top / "raw-img").rename(top / "photos")
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.python_version()},",
            end=" ",
        )
        print(", ".join(f"{package} {version(package)}" for package in ("torch", "torchvision", "scikit-learn")) + "\n")
        print("| what | test accuracy | 95% interval | seconds | peak GB |\n|---|---|---|---|---|")
        project(top, weights, size)
        seconds, memory = 0.0, 0.0
        for command in stages(top):
            spent, peak = timed([sys.executable, *command], top)
            print(f"| `{Path(command[0]).stem}` | | | {spent:.1f} | {peak:.2f} |", flush=True)
            seconds, memory = seconds + spent, max(memory, peak)
        accuracy, count = evaluated(top)
        print(row(f"these stages, probe, {count} test images", accuracy, count, seconds, memory), flush=True)
        if arguments.photos:
            return
        arrange(top)
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            str(arguments.shared),
            "--epochs",
            str(arguments.epochs),
        ]
        command += ["--one", str(top / "arranged"), str(weights), str(size)]
        usual, peak = timed(command, top, log := top / "tutorial.json")
        found = json.loads(log.read_text().splitlines()[-1])
        print(row(f"the tutorial's loop, epochs: {arguments.epochs}", found["accuracy"], found["count"], usual, peak))
        print(f"\nThe stages are {usual / seconds:.1f} times as fast.")


def photos(shared: Path, folder: Path, count: int, size: int) -> None:
    """Write so many JPEG files of `size` pixels in class folders, enlarged from CIFAR-10."""
    from PIL import Image

    for name, data in cifar(shared, "train", -(-count // 10)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(BytesIO(data)).convert("RGB")
        picture.resize((size, size), Image.Resampling.BICUBIC).save(path, quality=90)


def unpack_cifar(shared: Path, folder: Path, per_class: int) -> None:
    """Write `per_class` training images of each class of CIFAR-10 as they are."""
    for name, data in cifar(shared, "train", per_class):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def cifar(shared: Path, part: str, per_class: int) -> list[tuple[str, bytes]]:
    """Return (class/file, bytes) of the first images of each class."""
    seen: dict[str, int] = {}
    result = []
    with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
        for item in archive:
            parts = Path(item.name).parts
            if not item.isfile() or part not in parts:
                continue
            seen[parts[-2]] = seen.get(parts[-2], 0) + 1
            if seen[parts[-2]] <= per_class:
                content = archive.extractfile(item)
                assert content is not None
                result.append((f"{parts[-2]}/{parts[-1]}", content.read()))
    return result


def project(top: Path, weights: Path, size: int) -> None:
    """Write the parameters of a project with one model, `mobilenet_v2` by a probe."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    document = {
        "seed": 0,
        "device": "auto",
        "deterministic": False,
        "datasets": {
            "photos": {
                "source": {"kind": "folder", "path": str(top / "photos")},
                "pack": {"image_size": size},
                "split": {"validation": 0.15, "test": 0.2},
                "augment": {"flip": True},
                "training": {},
            }
        },
        "transfer": {
            "mobilenet_v2": {
                "architecture": "mobilenet_v2",
                "weights": str(weights),
                "sha256": digest,
                "method": "probe",
            }
        },
        "select": {"folds": 0},
    }
    (top / "params.yaml").write_text(json.dumps(document))


def stages(top: Path) -> list[list[str]]:
    """Return the commands from pictures to a model that has evaluated the test pictures."""
    script, data = str(ROOT / "stages"), ["--dataset", "photos"]
    split = ["--packed", "packed", "--split", "split.csv", "--pretrained", "pretrained"]
    return [
        [f"{script}/download.py", *data, "--inbox", "inbox", "--downloads", "downloads", "--out", "raw"],
        [f"{script}/pack.py", *data, "--raw", "raw", "--out", "packed"],
        [
            *(f"{script}/split.py", *data, *split[:2], "--test-images", "test_images.json", "--out", "split.csv"),
            *("--copies", "copies.csv", "--metrics", "data.json"),
        ],
        [
            *(f"{script}/pretrained.py", "mobilenet_v2", "--backbones", "backbones", "--downloads", "weights"),
            *("--out", "pretrained"),
        ],
        [
            *(f"{script}/transfer.py", "mobilenet_v2", *data, *split, "--features", "features"),
            *("--checkpoints", "checkpoints", "--out", "candidate"),
        ],
    ]


def timed(command: list[str], folder: Path, log: Path | None = None) -> tuple[float, float]:
    """Run a command; return wall seconds and the largest resident memory of a process of it, in GB."""
    # A process of its own does the waiting, so that the peak is this command's and no earlier one's.
    code = (
        "import resource, subprocess, sys; status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    )
    begin = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code, *command], cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    if log:
        log.write_text(result.stderr)
    return seconds, int(result.stdout.split()[-1]) / 1e6


def evaluated(top: Path) -> tuple[float, int]:
    """Return accuracy and number of the test pictures."""
    from darkroom import candidate, packed

    split = packed.read_split(top / "split.csv")
    labels = split.labels[split.rows("test")]
    guesses = candidate.read_predictions(top / "candidate").test.argmax(axis=1)
    return float((guesses == labels).mean()), len(labels)


def row(what: str, accuracy: float, count: int, seconds: float, memory: float) -> str:
    """Return a row of the table."""
    from darkroom.evaluation.scores.intervals import accuracy_interval

    low, high = accuracy_interval(round(accuracy * count), count)
    return f"| {what} | {accuracy:.1%} | {low:.1%} to {high:.1%} | {seconds:.1f} | {memory:.2f} |"


def arrange(top: Path) -> None:
    """Lay the pictures out as the tutorial wants them, in folders by split and class: the same split."""
    from darkroom import packed

    split = packed.read_split(top / "split.csv")
    for record, part in zip(packed.read_index(top / "packed"), split.splits, strict=True):
        if part in packed.SPLITS:
            source = next(path for path in (top / "photos" / record.name, top / record.name) if path.is_file())
            target = top / "arranged" / str(part) / record.label / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def tutorial(folder: Path, weights: Path, size: int, epochs: int) -> dict[str, float]:
    """Train as the tutorial does; return accuracy and number of the test pictures."""
    import copy

    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, models, transforms

    torch.manual_seed(0)
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    changes = {
        "train": [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()],
        "validation": [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)],
    }
    changes["test"] = changes["validation"]
    sets = {
        part: datasets.ImageFolder(folder / part, transforms.Compose([*steps, transforms.ToTensor(), normalise]))
        for part, steps in changes.items()
    }
    loaders = {
        part: DataLoader(each, BATCH, shuffle=part == "train", num_workers=WORKERS) for part, each in sets.items()
    }
    model = models.mobilenet_v2(weights=None)
    model.load_state_dict(torch.load(weights, weights_only=True))
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.classifier[1] = nn.Linear(model.last_channel, len(sets["train"].classes))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.classifier[1].parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)

    def accuracy(part: str) -> float:
        model.eval()
        right = 0
        with torch.no_grad():
            for inputs, labels in loaders[part]:
                right += int((model(inputs).argmax(1) == labels).sum())
        return right / len(sets[part])

    best, state = 0.0, copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        # The weights have their batch norms folded into the convolutions: with the statistics of four pictures at a
        # time, which the loop would take, the features break, and the loop stays at one picture in ten right.
        model.features.eval()
        for inputs, labels in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
        schedule.step()
        found = accuracy("validation")
        print(f"epoch {epoch + 1}: validation {found:.1%}", file=sys.stderr, flush=True)
        if found > best:
            best, state = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return {"accuracy": accuracy("test"), "count": len(sets["test"])}


if __name__ == "__main__":
    main()
