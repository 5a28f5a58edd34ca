"""Progress display and learning curves of a training run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvclive.live import Live

from darkroom.training.engine.loop import Callback, Epoch

FALL = 0.05
"""Drop in accuracy after the first epoch above which a note is printed."""


class Curves(Callback):
    """Writes DVCLive's curves and, on request, prints a line per epoch."""

    def __init__(self, live: Live, epochs: int, lines: bool, start: float | None = None) -> None:
        self.live, self.epochs, self.lines, self.start = live, epochs, lines, start

    def resume(self, progress: float, epochs: list[Epoch]) -> None:
        """Write the curves so far again, because DVC removed them with the other outputs of the interrupted stage."""
        for epoch in epochs:
            self._point(epoch)
        if self.lines:
            print(f"resuming from a checkpoint, {progress:.0%} done", flush=True)

    def epoch(self, epoch: Epoch) -> None:
        """Write the epoch's point of every curve, and print its line."""
        self._point(epoch)
        if self.lines:
            print(f"epoch {epoch.number:>3}/{self.epochs}  {describe(epoch)}", flush=True)
            if note := fallen(epoch, self.start):
                print(note, flush=True)

    def _point(self, epoch: Epoch) -> None:
        live = self.live
        live.step = epoch.number
        live.log_metric("train/loss", epoch.train_loss)
        live.log_metric("validation/loss", epoch.validation_loss)
        live.log_metric("validation/accuracy", epoch.validation_accuracy)
        live.log_metric("learning_rate", epoch.learning_rate)
        live.make_summary()


def describe(epoch: Epoch) -> str:
    """Return an epoch as one line of text."""
    return (
        f"loss {epoch.train_loss:.3f}  validation loss {epoch.validation_loss:.3f}, "
        f"accuracy {epoch.validation_accuracy:.1%}  {epoch.images_per_second:,.0f} images/s"
    )


def fallen(epoch: Epoch, start: float | None) -> str:
    """Return a note if the first epoch is clearly below the initial validation accuracy `start`."""
    if epoch.number != 1 or start is None or epoch.validation_accuracy >= start - FALL:
        return ""
    return (
        f"  below the {start:.1%} of the last layer alone, which may happen when training all layers starts; "
        "if later epochs do not recover, lower learning_rate or set method: probe"
    )


@contextmanager
def logged(name: str, folder: Path, epochs: int, quiet: bool, start: float | None = None) -> Iterator[Callback]:
    """Write the curves to `folder`; show a progress line on a terminal, a line per epoch elsewhere, or nothing.

    start: the validation accuracy before the first epoch, None for random weights.
    """
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None) as live:
        if quiet or not sys.stderr.isatty():
            yield Curves(live, epochs, not quiet, start)
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("epoch {task.fields[number]}/{task.fields[epochs]}"),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=1.0, number=1, epochs=epochs, words="")

            class Line(Curves):
                def epoch(self, epoch: Epoch) -> None:
                    super().epoch(epoch)
                    if note := fallen(epoch, start):
                        bar.console.print(note.strip(), soft_wrap=True)
                    words = describe(epoch).replace("validation loss", "validation")
                    bar.update(task, number=min(epoch.number + 1, epochs), words=words)

                def step(self, progress: float) -> None:
                    bar.update(task, completed=progress)

            yield Line(live, epochs, lines=False)
