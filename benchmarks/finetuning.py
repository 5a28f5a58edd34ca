"""Compare a probe with fine-tuning by `auto` on a processor, over several sets.

    python benchmarks/finetuning.py ../shared --work /tmp/finetuning                       # all sets
    python benchmarks/finetuning.py ../shared --work /tmp/finetuning --sets shapes animals
    python benchmarks/finetuning.py ../shared --work /tmp/finetuning --sets cifar200 --method finetune --epochs 6

Sets, all with `efficientnet_lite0`: photographs of animals (320 at 160 pixels), CIFAR-10 at 96 pixels with 200 or 500
training images per class, uneven (CIFAR-10 with 20 to 400 per class), and two generated ones at 64 pixels: polygons and
stars by their number of corners, and gratings by their orientation. The generated sets and CIFAR-10 have 1,000 test
images of their own. Prepared sets, features and results are kept in `--work`, so that an interrupted run continues.
Prints a Markdown table of test accuracies; the interval is that of the paired difference (normal approximation), p is
McNemar's exact test, and the time is processor seconds per core: wall seconds on an otherwise idle machine.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
SETS = ("animals", "cifar200", "cifar500", "uneven", "shapes", "gratings")
SIZES = {"animals": 160, "cifar200": 96, "cifar500": 96, "uneven": 96, "shapes": 64, "gratings": 64}
UNEVEN = (400, 300, 220, 160, 120, 90, 70, 50, 30, 20)
TEST = 100
"""Test images per class, except for the animals."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a probe with fine-tuning on a processor.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    parser.add_argument("--work", type=Path, required=True, help="folder for sets, features and results")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--method", choices=("auto", "finetune", "probe+finetune"), default="auto")
    parser.add_argument("--epochs", type=int, default=6, help="the data set's number of epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the split and of training")
    parser.add_argument("--size", type=int, help="image side in pixels, instead of that of the set")
    parser.add_argument("--recipe", type=json.loads, default={}, help="other parameters of the entry, as JSON")
    parser.add_argument("--augment", type=json.loads, default={}, help="augmentation, as JSON; by default flips")
    arguments = parser.parse_args()
    print("| set | training images | probe | tuned | difference, 95% | p | kept | seconds, probe | seconds, tuned |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.sets:
        for seed in arguments.seeds:
            print(compare(name, seed, arguments), flush=True)


def compare(name: str, seed: int, arguments: argparse.Namespace) -> str:
    """Train both candidates on a set and return a row of the table."""
    size = arguments.size or SIZES[name]
    top = arguments.work.resolve() / f"{name}-{size}-{seed}"
    write_images(name, arguments.shared, top / "photos")
    flip = name != "gratings"  # a mirrored grating has another orientation
    document = {
        "seed": seed,
        "device": "cpu",
        "deterministic": False,
        "datasets": {
            "photos": {
                "source": {"kind": "folder", "path": str(top / "photos")},
                "pack": {"image_size": size},
                "split": {"validation": 0.15} | ({"test": 0.2} if name == "animals" else {}),
                "augment": {"flip": flip, **arguments.augment},
                "training": {"epochs": arguments.epochs},
            }
        },
        "transfer": {
            key: {"architecture": "efficientnet_lite0", "input_size": size, "method": method, **recipe}
            for key, method, recipe in (("probe", "probe", {}), ("tuned", arguments.method, arguments.recipe))
        },
        "select": {"folds": 0},
    }
    (top / "params.yaml").write_text(json.dumps(document))
    data, split = ["--dataset", "photos"], ["--packed", "packed", "--split", "split.csv"]
    if not (top / "split.csv").is_file():
        run(top, "download", *data, "--inbox", "inbox", "--downloads", "downloads", "--out", "raw")
        run(top, "pack", *data, "--raw", "raw", "--out", "packed")
        run(
            top,
            "split",
            *data,
            *split[:2],
            "--out",
            "split.csv",
            "--copies",
            "copies.csv",
            "--metrics",
            "data.json",
            "--test-images",
            "test_images.json",
        )
        outs = ("--backbones", "backbones", "--downloads", "weights", "--out", "pretrained")
        run(top, "pretrained", "probe", *outs)
    work = [*data, *split, "--pretrained", "pretrained", "--features", "features", "--checkpoints", "checkpoints"]
    seconds = {}
    for key in ("probe", "tuned"):
        if key == "tuned" or not (top / "probe" / "card.json").is_file():
            (top / f"{key}.seconds").write_text(str(run(top, "transfer", key, *work, "--out", key)))
        seconds[key] = float((top / f"{key}.seconds").read_text())
    return row(f"{name}, seed {seed}", top, seconds)


def row(words: str, top: Path, seconds: dict[str, float]) -> str:
    from scipy.stats import binomtest

    from darkroom import candidate, packed

    split = packed.read_split(top / "split.csv")
    labels = split.labels[split.rows("test")]
    right = {key: candidate.read_predictions(top / key).test.argmax(axis=1) == labels for key in seconds}
    gains = right["tuned"].astype(int) - right["probe"].astype(int)
    wins, losses, count = int((gains > 0).sum()), int((gains < 0).sum()), len(labels)
    half = 1.96 * math.sqrt(max(wins + losses - (wins - losses) ** 2 / count, 0)) / count
    p = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    training = json.loads((top / "tuned" / "card.json").read_text())["training"]
    kept = training["method"]
    mean = float(gains.mean())
    return (
        f"| {words} | {len(split.rows('train')):,} | {right['probe'].mean():.1%} | {right['tuned'].mean():.1%} "
        f"| {100 * mean:+.1f} ({100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}) | {p:.3f} | {kept} "
        f"| {seconds['probe']:.0f} | {seconds['tuned']:.0f} |"
    )


def run(top: Path, stage: str, *options: str) -> float:
    """Run a stage; return its processor seconds per core."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(ROOT / "stages" / f"{stage}.py"), *options]
    log = top / f"{stage}-{options[0].strip('-')}.log"
    with log.open("w") as file:
        # Threads that wait without spinning cost no processor time while other programs run.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        status = subprocess.run(command, cwd=top, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{top.name} {stage} {options[0]}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return spent / (os.cpu_count() or 1)


def write_images(name: str, shared: Path, folder: Path) -> None:
    """Write the images of a set in class folders, unless they are there."""
    if folder.is_dir():
        return
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if name == "animals":
        with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
            archive.extractall(partial)
        (partial / "raw-img").rename(folder)
    elif name in ("shapes", "gratings"):
        draw = {"shapes": shape, "gratings": grating}[name]
        for part, count in (("train", 150), ("test", TEST)):
            generator = np.random.default_rng((part == "test", 17))
            for number in range(10):
                target = partial / part / f"class_{number}"
                target.mkdir(parents=True)
                for place in range(count):
                    draw(number, generator).save(target / f"{place:04}.png")
        partial.rename(folder)
    else:
        counts = {"cifar200": (200,) * 10, "cifar500": (500,) * 10, "uneven": UNEVEN}[name]
        write_cifar(shared, partial, counts)
        partial.rename(folder)


def write_cifar(shared: Path, folder: Path, counts: tuple[int, ...]) -> None:
    """Write the first training images of each class of CIFAR-10, and `TEST` test images each."""
    seen: dict[tuple[str, str], int] = {}
    classes: dict[str, int] = {}
    with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
        for item in archive:
            if not item.isfile():
                continue
            part, label, file = Path(item.name).parts[-3:]
            most = TEST if part == "test" else counts[classes.setdefault(label, len(classes))]
            seen[part, label] = seen.get((part, label), 0) + 1
            if seen[part, label] <= most:
                content = archive.extractfile(item)
                assert content is not None
                target = folder / part / label / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def shape(number: int, generator: np.random.Generator) -> Image.Image:
    """Return a polygon with 3 to 7 corners, or a star with so many, at any place, size, angle and colours."""
    corners, star, side = 3 + number % 5, number >= 5, 256
    noise = generator.normal(0, 25, (16, 16, 3)) + generator.integers(40, 216, 3)
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    radius, turn = generator.uniform(50, 90), generator.uniform(0, 2 * np.pi)
    centre = generator.uniform(radius, side - radius, 2)
    angles = turn + np.arange(2 * corners) * np.pi / corners
    # A polygon is a star whose inner corners lie on its sides.
    inner = generator.uniform(0.45, 0.7) * np.cos(np.pi / corners) if star else np.cos(np.pi / corners)
    radii = radius * np.where(np.arange(2 * corners) % 2, inner, 1)
    points = [(centre[0] + r * np.cos(a), centre[1] + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    ImageDraw.Draw(image).polygon(points, fill=tuple(int(value) for value in generator.integers(0, 256, 3)))
    return image.resize((64, 64), Image.Resampling.BOX)


def grating(number: int, generator: np.random.Generator) -> Image.Image:
    """Return stripes in one of ten orientations, 18 degrees apart, of any width and colours, with noise."""
    angle = np.pi * (number + generator.normal(0, 0.2)) / 10
    y, x = np.mgrid[:64, :64]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * generator.uniform(0.3, 1.2) + generator.uniform(0, 6.3))
    low, high = generator.integers(0, 256, 3), generator.integers(0, 256, 3)
    pixels = low + (high - low) * (wave[..., None] + 1) / 2 + generator.normal(0, 40, (64, 64, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
