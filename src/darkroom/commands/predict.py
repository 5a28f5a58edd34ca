"""`darkroom predict PATH…`: predictions of the served model for any number of images, without a server."""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

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


def predict(paths: Sequence[Path], table: Path | None, top_k: int, model: Path) -> None:
    """Print the predictions for all images in `paths`, or write them to the CSV file `table`.

    Memory use does not grow with the number of images. Raises DarkroomError when there are no images, no image can be
    read, or there is no model.
    """
    predictor = Predictor(model, threads=1)
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
        answers = tally.watch(answering.answer(predictor, answering.read(paths), top_k), advance)
        if table:
            try:
                with files.whole_file(table) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                    write_csv(answers, top_k, file)
            except OSError as error:
                reason = error.strerror or error
                raise DarkroomError(
                    f"{naming.shown(table)} cannot be written ({reason}): give another path to --csv"
                ) from None
        elif rows_move and count <= FEW:
            show(answers, Console(file=out, highlight=False))
        else:
            write_csv(answers, top_k, out)
    print(tally.words() + (f"; see {naming.shown(table)}" if table else ""), file=sys.stderr)
    if not tally.answered:
        raise DarkroomError(f"none of the images can be read ({tally.first_error}): give other images")


def write_csv(answers: Iterable[Answer], top_k: int, file: TextIO) -> None:
    """Write one line per prediction: name, labels with probabilities, confident, in_distribution, error.

    Control characters in names are escaped, because the output may be a terminal, and no cell is a formula.
    """
    labels = [f"{part}{number}" for number in ("", *range(2, top_k + 1)) for part in ("label", "probability")]
    labels = [re.sub(r"(\d+)$", r"_\1", name) for name in labels]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", *labels, "confident", "in_distribution", "error"])
    for item in answers:
        found = [part for label, probability in item.labels for part in (label, f"{probability:.6f}")]
        verdicts = [
            "" if verdict is None else str(verdict).lower() for verdict in (item.confident, item.in_distribution)
        ]
        cells = [naming.escape(item.name), *(found or [""] * len(labels)), *verdicts, naming.escape(item.error)]
        writer.writerow(map(spreadsheets.neutral, cells))


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
