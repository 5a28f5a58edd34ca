"""Time `pack` on photographs against torchvision's ImageFolder and DataLoader, and against itself with one worker.

    python benchmarks/packing.py ../shared/data/animals10-sample.zip

The pictures of the archive are repeated to 5,000 files, once as a folder and once as a zip. In each round every
reader goes over all of them once, starting its own workers, in turn, so that a busy machine disturbs all alike.
Prints a Markdown table: medians, spread, and the speed against torchvision with the same (bicubic) filter.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from darkroom.data.archives import archive, layout, origin
from darkroom.data.pack import packing
from darkroom.data.settings import PackSettings

FILES = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Time pack against torchvision's loader.")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    size = arguments.image_size
    with tempfile.TemporaryDirectory() as top:
        folder, raw = Path(top) / "folder", Path(top) / "raw"
        repeat(arguments.archive, folder, raw)
        readers: dict[str, Callable[[], int]] = {
            "torchvision, 2 workers, bicubic": lambda: load(folder, size, "bicubic"),
            "torchvision, 2 workers, bilinear": lambda: load(folder, size, "bilinear"),
            "`pack`": lambda: pack(raw, size, Path(top) / "packed", None),
            "`pack`, 1 process": lambda: pack(raw, size, Path(top) / "packed", 1),
        }
        load(folder, size, "bicubic")  # imports torch, fills the disk's cache
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(arguments.rounds):
            for name, reader in readers.items():
                begin = time.perf_counter()
                assert reader() == FILES
                seconds[name].append(time.perf_counter() - begin)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pillow"))
    print(f"{versions}; {FILES:,} files at {size} pixels\n")
    print("| reader | images/s, median | least to most | against torchvision |\n|---|---|---|---|")
    bar = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        middle = statistics.median(values)
        spread = f"{FILES / max(values):,.0f} to {FILES / min(values):,.0f}"
        print(f"| {name} | {FILES / middle:,.0f} | {spread} | {bar / middle:.2f} |")


def repeat(source: Path, folder: Path, raw: Path) -> None:
    """Write the pictures of an archive, repeated to `FILES`, as class folders and as a zip in a raw folder."""
    items = layout.arrange(archive.names(source), source.name).items
    found = dict(archive.read(source, {item.name for item in items}))
    raw.mkdir()
    with zipfile.ZipFile(raw / "set.zip", "w") as target:
        for number in range(FILES):
            item = items[number % len(items)]
            name = f"{item.label}/{number:05}{Path(item.name).suffix}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(found[item.name])
            target.writestr(name, found[item.name])
    origin.write_origin(raw, origin.Origin("Repeated", str(source.name), "unknown"))


def load(folder: Path, size: int, mode: str) -> int:
    """Read everything as its users do: decode, resize, crop, to tensors, in batches."""
    # Not above: pack's workers import the script that starts them, and torch takes seconds.
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [
        transforms.Resize(size, transforms.InterpolationMode(mode)),
        transforms.CenterCrop(size),
        transforms.PILToTensor(),
    ]
    loader = DataLoader(ImageFolder(folder, transforms.Compose(steps)), batch_size=128, num_workers=2)
    return sum(len(labels) for _, labels in loader)


def pack(raw: Path, size: int, out: Path, workers: int | None) -> int:
    """Pack everything: the same, and hashes, and the array written to disk."""
    out.mkdir(exist_ok=True)
    return packing.pack(raw, PackSettings(image_size=size), out, workers)[0]


if __name__ == "__main__":
    main()
