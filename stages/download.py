"""Download the data set's archive and record its origin.

python stages download --dataset digits --inbox data/inbox --downloads .darkroom/downloads --out data/raw
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from darkroom.data.archives.origin import find_archive, write_origin
from darkroom.data.settings import CifarSource, DigitsSource, FolderSource, KaggleSource, Source
from darkroom.data.sources import cifar10, digits, folder, kaggle
from darkroom.foundations import files, naming, params
from darkroom.foundations.errors import DarkroomError, run


def main(argv: Sequence[str] | None = None) -> None:
    """Download and verify the archive; the output folder appears complete or not at all."""
    parser = argparse.ArgumentParser(description="Download the data set's archive and verify it.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--inbox", type=Path, required=True)
    parser.add_argument(
        "--downloads", type=Path, required=True, help="folder for partial downloads, which the next run resumes"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        _download(arguments)
    except DarkroomError as error:
        raise DarkroomError(f"{error}{_restorable(arguments.out)}") from None
    archive = find_archive(arguments.out)
    print(f"{naming.shown(archive.name)}: {archive.stat().st_size / 1e6:.1f} MB")


def _download(arguments: argparse.Namespace) -> None:
    source: Source = params.load(arguments.params, Source, f"datasets.{arguments.dataset}.source")
    with files.whole_directory(arguments.out) as out:
        match source:
            case DigitsSource():
                origin = digits.fetch(out)
            case FolderSource():
                origin = folder.fetch(source, arguments.inbox, arguments.downloads, out)
            case CifarSource():
                origin = cifar10.fetch(source, arguments.downloads, out)
            case KaggleSource():
                origin = kaggle.fetch(source, arguments.dataset, arguments.downloads, out)
        write_origin(out, origin)
    shutil.rmtree(arguments.downloads, ignore_errors=True)


def _restorable(out: Path) -> str:
    """Return how to restore the images of the last run, which DVC removed before it started this stage."""
    lock = Path("dvc.lock")
    if out.exists() or not lock.is_file() or f"path: {out.as_posix()}\n" not in lock.read_text(encoding="utf-8"):
        return ""
    return "\nThe images of the last run are not lost: `dvc checkout download` restores them."


if __name__ == "__main__":
    run(main)
