"""Time download, pack and split of 60,000 JPEGs, and again after 1% more were added, against a run from scratch.

    python benchmarks/growing.py ../shared

The JPEGs of ../shared/data/cifar10-images.tar.gz become a folder source; its images 61 to 660 of the training split are
added in the second run under new names with another quality. Prints a Markdown table of processor seconds, including
those of worker processes and of the imports, since other programs may use the machine. DVC's own time is not included.
Fails if the outputs differ from those of a run from scratch.
"""

import argparse
import io
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
STAGES = ("download", "pack", "split")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a data set that grows by 1%.")
    parser.add_argument("shared", type=Path)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--added", type=float, default=0.01, help="fraction of the images")
    arguments = parser.parse_args()
    for stage in STAGES:  # so that no run compiles the modules
        help_ = [sys.executable, ROOT / "stages", stage, "--help"]
        subprocess.run(help_, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        with tarfile.open(arguments.shared / "data" / "cifar10-images.tar.gz") as archive:
            archive.extractall(top / "photos", filter="data")
        source = f"{{kind: folder, path: {top / 'photos'}}}"
        own = f"{{source: {source}, pack: {{image_size: {arguments.image_size}}}, split: {{}}}}"
        (top / "params.yaml").write_text(f"seed: 0\ndatasets: {{own: {own}}}\n")
        files = sorted((top / "photos").rglob("*.jpg"))
        full = run(top, "full", top / "cache")
        held = (top / "full" / "test.json").read_bytes()
        trained = [path for path in files if "train" in path.parts]
        count = round(len(files) * arguments.added)
        for path in trained[:: len(trained) // count][:count]:
            add(path)
        (top / "grown").mkdir()
        (top / "grown" / "test.json").write_bytes(held)
        grown = run(top, "grown", top / "cache")
        (top / "scratch").mkdir()
        (top / "scratch" / "test.json").write_bytes(held)
        scratch = run(top, "scratch", None)
        assert outputs(top / "grown") == outputs(top / "scratch"), "the outputs differ from those of a run from scratch"
    print(f"{platform.machine()}, {os.cpu_count()} cores; {len(files):,} images, {count:,} added, same outputs\n")
    print(
        "| processor seconds | first run | from scratch, grown | grown | grown / from scratch |\n|---|---|---|---|---|"
    )
    for name in (*STAGES, "sum"):
        first, again, fresh = (
            sum(used[stage] for stage in STAGES if name in (stage, "sum")) for used in (full, grown, scratch)
        )
        print(f"| {name} | {first:.1f} | {fresh:.1f} | {again:.1f} | {again / fresh:.0%} |")


def add(path: Path) -> None:
    """Write the same image, turned and with another quality, next to it."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(path.with_name(f"{path.stem}-new.jpg"), quality=90)


def run(top: Path, name: str, cache: Path | None) -> dict[str, float]:
    """Run the stages in the folder `name`; return the processor seconds of each."""
    out = top / name
    out.mkdir(exist_ok=True)
    options = {
        "download": ["--inbox", top / "inbox", "--downloads", out / "downloads", "--out", out / "raw"],
        "pack": ["--raw", out / "raw", "--out", out / "packed", *(["--decoded", cache] if cache else [])],
        "split": [
            "--packed", out / "packed", "--test-images", out / "test.json", "--out", out / "split.csv",
            "--copies", out / "copies.csv", "--metrics", out / "data.json",
        ],
    }  # fmt: skip
    seconds = {}
    for stage in STAGES:
        begin, used = time.perf_counter(), children()
        command = [sys.executable, ROOT / "stages", stage, "--params", top / "params.yaml", "--dataset", "own"]
        command += options[stage]
        subprocess.run([*map(str, command)], check=True, stdout=sys.stderr, env=ENVIRONMENT)
        seconds[stage] = children() - used
        print(f"{name} {stage}: {seconds[stage]:.1f} s, {time.perf_counter() - begin:.1f} s wall", file=sys.stderr)
    return seconds


def children() -> float:
    """Return the processor seconds of all child processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, large arrays included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
