"""What a person sees of a training, and the curves it leaves."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvclive.live import Live

from darkroom.training.loop import Epoch, Watch


class Curves(Watch):
    """Writes DVCLive's curves, and on request a line an epoch."""

    def __init__(self, live: Live, epochs: int, lines: bool) -> None:
        self.live, self.epochs, self.lines = live, epochs, lines

    def resume(self, way: float, epochs: list[Epoch]) -> None:
        """Write the curves so far again, as DVC has removed them with all that a broken-off stage left."""
        for epoch in epochs:
            self._point(epoch)
        if self.lines:
            print(f"goes on from a checkpoint, {way:.0%} done", flush=True)

    def epoch(self, epoch: Epoch) -> None:
        """Write the epoch's point of every curve, and its line."""
        self._point(epoch)
        if self.lines:
            print(f"epoch {epoch.number:>3}/{self.epochs}  {describe(epoch)}", flush=True)

    def _point(self, epoch: Epoch) -> None:
        live = self.live
        live.step = epoch.number
        live.log_metric("train/loss", epoch.train_loss)
        live.log_metric("validation/loss", epoch.validation_loss)
        live.log_metric("validation/accuracy", epoch.validation_accuracy)
        live.log_metric("learning_rate", epoch.learning_rate)
        live.make_summary()


def describe(epoch: Epoch) -> str:
    """Return an epoch in one line."""
    return (
        f"loss {epoch.train_loss:.3f}  validation loss {epoch.validation_loss:.3f}, "
        f"accuracy {epoch.validation_accuracy:.1%}  {epoch.images_per_second:,.0f} images/s"
    )


@contextmanager
def watch(name: str, folder: Path, epochs: int, quiet: bool) -> Iterator[Watch]:
    """Write the curves into `folder`; show a progress line on a terminal, a line an epoch elsewhere, or nothing."""
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None) as live:
        if quiet or not sys.stderr.isatty():
            yield Curves(live, epochs, lines=not quiet)
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
                    words = describe(epoch).replace("validation loss", "validation")
                    bar.update(task, number=min(epoch.number + 1, epochs), words=words)

                def step(self, way: float) -> None:
                    bar.update(task, completed=way)

            yield Line(live, epochs, lines=False)
