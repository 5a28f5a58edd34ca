"""`darkroom predict PATH…`: predictions of the served model for any number of images, without a server."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from rich.bar import Bar
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from darkroom import images, spreadsheets
from darkroom.commands import answering
from darkroom.commands.answering import Answer
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Predictor
from darkroom.progress import progress

FEW = 25
"""Largest number of images that are shown as a table on a terminal."""


def predict(
    paths: Sequence[Path], table: Path | None, top_k: int, model: Path, neighbors: int = 0, *, as_json: bool = False
) -> None:
    """Print the predictions for all images in `paths`, or write them to the CSV file `table`.

    With `as_json`, each prediction is printed as a JSON object. `neighbors` is the number of most similar training
    images in each line of CSV or JSON. Memory use does not grow with the number of images. Raises DarkroomError when
    there are no images, no image can be read, there is no model, or it does not have the names of its training images.
    """
    predictor = Predictor(model, threads=1)
    if neighbors and not (predictor.index and predictor.index.names):
        raise DarkroomError(
            f"{naming.shown(model)} does not have the names of its training images: set package.neighbors to names and "
            "run `dvc repro`, or omit --neighbors"
        )
    neighbors = min(neighbors, len(predictor.index.names) if predictor.index else 0)
    top_k = min(top_k, len(predictor.card.classes))
    if table and table.is_dir():
        raise DarkroomError(f"{naming.shown(table)} is a folder: give the name of a file to --csv")
    count = sum(answering.count(path) for path in paths)
    if not count:
        raise DarkroomError(
            f"{naming.listed(paths)}: no images found ({', '.join(sorted(images.SUFFIXES))}): give another path"
        )
    out = sys.stdout  # bound now, because a progress bar on stderr replaces sys.stdout
    tally = Tally()
    rows_move = not table and out.isatty()  # rows printed to a terminal show the progress themselves
    with nullcontext(lambda _: None) if rows_move else progress("predict", count, "images") as advance:
        answers = tally.watch(answering.answer(predictor, answering.read(paths), top_k, neighbors), advance)
        if table:
            try:
                with files.whole_file(table) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                    write_csv(answers, top_k, file, neighbors)
            except OSError as error:
                reason = error.strerror or error
                raise DarkroomError(
                    f"{naming.shown(table)} cannot be written ({reason}): give another path to --csv"
                ) from None
        elif as_json:
            write_json(answers, out, bool(neighbors))
        elif rows_move and count <= FEW and not neighbors:
            show(answers, Console(file=out, highlight=False))
        else:
            write_csv(answers, top_k, out, neighbors)
    print(tally.words() + (f"; see {naming.shown(table)}" if table else ""), file=sys.stderr)
    if not tally.answered:
        raise DarkroomError(f"none of the images can be read ({tally.first_error}): give other images")


def write_csv(answers: Iterable[Answer], top_k: int, file: TextIO, neighbors: int = 0) -> None:
    """Write one line per prediction: name, labels with probabilities, confident, in_distribution, error, neighbors.

    Control characters in names are escaped, because the output may be a terminal, and no cell is a formula.
    """
    labels = _columns(("label", "probability"), top_k)
    writer = csv.writer(file, lineterminator="\n")
    similar = _columns(("neighbor", "neighbor_label", "similarity"), neighbors)
    writer.writerow(["name", *labels, "confident", "in_distribution", "error", *similar])
    for item in answers:
        found = [part for label, probability in item.labels for part in (label, f"{probability:.6f}")]
        verdicts = [
            "" if verdict is None else str(verdict).lower() for verdict in (item.confident, item.in_distribution)
        ]
        cells = [naming.escape(item.name), *(found or [""] * len(labels)), *verdicts, naming.escape(item.error)]
        nearest = [
            part for each in item.neighbors for part in (naming.escape(each.name), each.label, f"{each.similarity:.4f}")
        ]
        writer.writerow(map(spreadsheets.neutral, [*cells, *(nearest or [""] * len(similar))]))


def write_json(answers: Iterable[Answer], file: TextIO, with_neighbors: bool) -> None:
    """Write one JSON object per line and prediction, with the keys of the service's `/predict`.

    JSON escapes control characters, and here all others that are not ASCII, so that a terminal shows every name safely.
    """
    for item in answers:
        file.write(f"{json.dumps(_plain(item, with_neighbors))}\n")


def _plain(item: Answer, with_neighbors: bool) -> dict[str, Any]:
    if item.error:
        return {"name": item.name, "error": {"code": item.code, "message": item.error}}
    labels = [{"label": label, "probability": probability} for label, probability in item.labels]
    plain: dict[str, Any] = {"name": item.name, "labels": labels}
    plain |= {"confident": item.confident, "in_distribution": item.in_distribution}
    if not with_neighbors:
        return plain
    nearest = [{"name": each.name, "label": each.label, "similarity": each.similarity} for each in item.neighbors]
    return plain | {"neighbors": nearest}


def _columns(parts: Sequence[str], count: int) -> list[str]:
    """Return the names of columns that are repeated: `label`, `probability`, `label_2`, `probability_2`, …"""
    return [f"{part}_{number}" if number > 1 else part for number in range(1, count + 1) for part in parts]


def show(answers: Iterable[Answer], console: Console) -> None:
    """Print a table of predictions, followed by the errors."""
    table = Table("image", "label", Column("probability", justify="right"), "", "", box=None, pad_edge=False)
    errors = []
    for item in answers:
        if item.error:
            errors.append(Text.assemble(f"{naming.shown(item.name)}: ", (naming.shown(item.error), "red")))
        for place, (label, probability) in enumerate(item.labels):
            name, remark = (naming.shown(item.name), _remark(item)) if place == 0 else ("", "")
            table.add_row(
                Text(name), Text(naming.shown(label)), f"{probability:.1%}", Bar(1, 0, probability, width=20), remark
            )
    console.print(table)
    for line in errors:
        console.print(line, soft_wrap=True)


def _remark(item: Answer) -> str:
    if item.in_distribution is False:
        return "out of distribution"
    return "low confidence" if item.confident is False else ""


class Tally:
    """Counts predictions as they are made."""

    def __init__(self) -> None:
        self.answered = self.failed = self.unsure = self.unknown = 0
        self.first_error = ""

    def watch(self, answers: Iterable[Answer], advance: Callable[[int], None]) -> Iterator[Answer]:
        """Yield `answers` unchanged, and count them."""
        for item in answers:
            self.answered += not item.error
            self.failed += bool(item.error)
            self.unknown += item.in_distribution is False
            self.unsure += item.confident is False and item.in_distribution is not False
            self.first_error = self.first_error or (item.error and f"{naming.shown(item.name)}: {item.error}")
            advance(1)
            yield item

    def words(self) -> str:
        """Return the counts as one line."""
        parts = [f"{self.answered:,} of {naming.count(self.answered + self.failed, 'image')} predicted"]
        parts += [f"{self.unsure:,} of them with low confidence"] * bool(self.unsure)
        parts += [f"{self.unknown:,} out of distribution"] * bool(self.unknown)
        parts += [f"{self.failed:,} cannot be read"] * bool(self.failed)
        return ", ".join(parts)
