"""Time what a user waits for, in a fresh clone: `make run`, `dvc repro` forced and with nothing to do, `dvc status`.

    python benchmarks/timings.py                                   # the digits
    python benchmarks/timings.py --archive CIFAR.tar.gz            # data stages on an archive of class folders

Prints a Markdown table: wall seconds and the peak memory of the largest process.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def timed(folder: Path, *command: str) -> tuple[float, float]:
    """Run a command; return wall seconds and peak resident memory of its largest process in GB."""
    # A process of its own does the waiting, so that the peak is this command's and no earlier one's.
    code = (
        "import resource, subprocess, sys; status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PATH"] = f"{folder / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    environment.pop("VIRTUAL_ENV", None)
    begin = time.perf_counter()
    waiter = [sys.executable, "-c", code, *command]
    result = subprocess.run(waiter, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return seconds, int(result.stdout.split()[-1]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Time what a user waits for, in a fresh clone.")
    parser.add_argument("--archive", type=Path, help="time the data stages on this archive instead")
    parser.add_argument("--image-size", type=int, default=32)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "darkroom"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        print("\n| command | seconds | GB |\n|---|---|---|")
        for command in digits() if arguments.archive is None else archive(folder, arguments):
            seconds, memory = timed(folder, *command)
            print(f"| `{' '.join(command)}` | {seconds:.1f} | {memory:.2f} |", flush=True)


def digits() -> list[tuple[str, ...]]:
    """Return the commands for the bundled digits."""
    return [("make", "run"), ("dvc", "repro"), ("dvc", "repro", "--force"), ("dvc", "repro"), ("dvc", "status")]


def archive(folder: Path, arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """Point the clone at an archive and return the commands for its data stages."""
    path = folder / "params.yaml"
    text = path.read_text(encoding="utf-8").replace("dataset: digits", "dataset: folder")
    text = text.replace("path: null, url", f"path: {arguments.archive.resolve()}, url")
    text = text.replace("image_size: 64, limit", f"image_size: {arguments.image_size}, limit")
    path.write_text(text, encoding="utf-8")
    stages = [("dvc", "repro", "--single-item", name) for name in ("validate", "download", "pack", "split")]
    return [("make", "env"), *stages, ("dvc", "status", "download", "pack", "split")]


if __name__ == "__main__":
    main()
