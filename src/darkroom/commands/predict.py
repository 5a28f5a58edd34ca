"""`darkroom predict PATH…`: answers for pictures in files, folders and archives, by the served model, without a server."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from darkroom import files, images
from darkroom.data import archive, layout
from darkroom.errors import DarkroomError
from darkroom.predictor import Predictor
from darkroom.progress import progress

FEW = 25
"""Up to this many pictures are shown as a table on a terminal."""
SHARE = 32
"""Pictures that a thread decodes and answers at once, at most."""


@dataclass(frozen=True)
class Answer:
    """What the model says to one picture, or why it says nothing."""

    name: str
    labels: list[tuple[str, float]]
    """Classes and their calibrated probabilities, the most probable first; empty where there is an `error`."""
    confident: bool | None = None
    """None where the model was judged without that, and where there is an `error`."""
    in_distribution: bool | None = None
    error: str = ""


def predict(paths: Sequence[Path], table: Path | None, top_k: int, model: Path) -> None:
    """Print the answers for all pictures in `paths`, or write them to the CSV file `table`.

    Memory is bounded however many pictures there are. Raises DarkroomError when none could be answered, or there is
    none, or no model.
    """
    predictor = Predictor(model, threads=1)
    top_k = min(top_k, len(predictor.card.classes))
    count = sum(1 for _ in find(paths))
    if not count:
        listed = ", ".join(map(str, paths))
        raise DarkroomError(f"{listed}: no pictures there ({', '.join(sorted(images.SUFFIXES))}): give another path")
    tally = _Tally()
    with progress("predict", count, "images") as advance:
        answers = tally.watch(answer(predictor, find(paths), top_k), advance)
        if table:
            with files.whole_file(table) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                write_csv(answers, top_k, file)
        elif count <= FEW and sys.stdout.isatty():
            show(list(answers), Console(highlight=False))
        else:
            write_csv(answers, top_k, sys.stdout)
    print(tally.words() + (f", in {table}" if table else ""), file=sys.stderr)
    if not tally.answered:
        raise DarkroomError(f"none of {count:,} pictures could be answered; the first: {tally.first_error}")


def find(paths: Iterable[Path]) -> Iterator[tuple[str, Path, str]]:
    """Yield (name to show, file, member of that file when it is an archive, else nothing) for each picture.

    Folders are searched for pictures, by name; a file that is given itself counts as one, whatever it is called.
    Raises DarkroomError for a path that does not exist and for a damaged archive.
    """
    for path in paths:
        if path.is_dir():
            yield from ((str(file), file, "") for file in _walk(path))
        elif not path.exists():
            raise DarkroomError(f"{path} does not exist: give pictures, or folders or archives of them")
        elif archive.is_archive(path):
            yield from ((f"{path}/{name}", path, name) for name in archive.names(path) if _is_picture(Path(name)))
        else:
            yield str(path), path, ""


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if _is_picture(Path(name)))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES | layout.UNREAD and not layout.is_hidden(path)
