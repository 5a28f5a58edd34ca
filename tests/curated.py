"""A project with images to decide about, and the real `darkroom curate` on it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from darkroom import frames, packed
from darkroom.commands.curate import cases, curate, server, unlabelled
from darkroom.commands.curate.ledger import Ledger
from darkroom.commands.curate.pictures import Gallery, Originals
from darkroom.data.archives import origin
from darkroom.data.split import decisions
from darkroom.data.split.decisions import Decision
from stages import pack, split
from tests import factories
from tests.pictures import encode, pixels, write_zip
from tests.reviewed import git

CLASSES = ("cat", "dog", "frog")
ODD = ("#1 100% <b>&amp;?.png", "日本 🐈\u202e.png", "=cmd|' 'a.png", 'quo"te, comma.png')
"""Names of images that a page or a spreadsheet program could misread."""
TOKEN = "token"
ROOT = Path(__file__).parents[1]
STAGES = """\
seed: 0
datasets: {mine: {pack: {image_size: 16}, split: {validation: 0.15, test: 0.2}}}
"""


@dataclass(frozen=True)
class Project:
    """A git repository with packed data and a split."""

    top: Path
    records: Sequence[packed.Record]

    def decided(self) -> list[Decision]:
        """Return the decisions in the file."""
        return decisions.read(self.top / "data" / "labels.csv")

    def write_issues(self, rows: Sequence[int], proposed: str = "") -> None:
        """Write the list of the stage `labels` with these rows; the next class is proposed by default."""
        lines = [
            (self.records[row].name, self.records[row].sha256, "test", self.records[row].label, better, 0.01, 0.97)
            for row, better in self._proposals(rows, proposed)
        ]
        columns = ("image", "sha256", "split", "label", "proposed", "score", "precision")
        frames.write(self.top / "plots" / "labels" / "issues.csv", pd.DataFrame(lines, columns=columns))

    def write_mistakes(self, rows: Sequence[int]) -> None:
        """Write the table of `evaluate` with mistakes of the model on these rows, predicted as the next class."""
        lines = [
            (row, self.records[row].name, "test", self.records[row].label, 0.01, better, 0.97)
            for row, better in self._proposals(rows)
        ]
        columns = ("row", "picture", "split", "label", "label_probability", "predicted", "predicted_probability")
        frames.write(self.top / "plots" / "tables" / "mistakes.csv", pd.DataFrame(lines, columns=columns))

    def write_scenes(self, *scenes: Sequence[int]) -> None:
        """Write the list of the stage `split` with these rows as scenes."""
        lines = [
            (number, self.records[row].name, self.records[row].label, 0, "train")
            for number, rows in enumerate(scenes)
            for row in rows
        ]
        frames.write(
            self.top / "data" / "scenes.csv", pd.DataFrame(lines, columns=["scene", "name", "label", "leak", "split"])
        )

    def _proposals(self, rows: Sequence[int], proposed: str = "") -> list[tuple[int, str]]:
        following = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
        return [(row, proposed or following[self.records[row].label]) for row in rows]

    def write_model(self) -> None:
        """Write a linear model of the packed images as the served one."""
        folder = self.top / "models" / "served"
        factories.write_candidate(folder, self.top / "data" / "packed", self.top / "data" / "split.csv")

    def split(self) -> None:
        """Run the stage `split`."""
        outs = {"labels": "data/labels.csv", "test-images": "data/test_images.json", "out": "data/split.csv"}
        paths = {"params": "stages.yaml", "packed": "data/packed", "copies": "data/copies.csv", **outs}
        metrics = {"metrics": "metrics/data.json", "counts": "metrics/images.json"}
        options = [(f"--{name}", f"{self.top}/{path}") for name, path in {**paths, **metrics}.items()]
        split.main(["--dataset", "mine", *[part for option in options for part in option]])


def write_project(top: Path, per_class: int = 30, conflict: bool = False) -> Project:
    """Write a project with images of `CLASSES`, some of them with odd names, and one in two classes if asked for."""
    contents = {
        f"{label}/{ODD[number] if number < len(ODD) else f'{number:03}.png'}": encode(
            pixels(number * len(CLASSES) + place, 40, 30)
        )
        for place, label in enumerate(CLASSES)
        for number in range(per_class)
    }
    if conflict:
        contents["dog/twin.png"] = contents["frog/twin.png"] = contents["cat/010.png"]
    (top / "data" / "raw").mkdir(parents=True)
    write_zip(top / "data" / "raw" / "mine.zip", contents)
    origin.write_origin(top / "data" / "raw", origin.Origin("Mine", "here", "CC0"))
    (top / "stages.yaml").write_text(STAGES)
    whole = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("dataset: digits ", "dataset: folder ")
    (top / "params.yaml").write_text(whole.replace("  log:  ", "  log: logs  "), encoding="utf-8")
    decisions.write(top / "data" / "labels.csv", [])
    raw = ["--raw", f"{top}/data/raw", "--out", f"{top}/data/packed"]
    pack.main(["--params", f"{top}/stages.yaml", "--dataset", "mine", *raw])
    git(top, "init", "--quiet")
    git(top, "config", "user.name", "Ada")
    project = Project(top, packed.read_index(top / "data" / "packed"))
    project.split()
    return project


@contextlib.contextmanager
def serving(project: Project) -> Iterator[tuple[str, Ledger]]:
    """Serve the page of a project from a thread of this process; yield the address, and what decides."""
    with contextlib.chdir(project.top):
        opened = cases.open_project()
        found = curate.gather(opened, project.decided(), None, unlabelled.NEXT, print)
        ledger, gallery = (
            Ledger(opened, found, project.decided(), Path("data/labels.csv").resolve(), "Ada"),
            Gallery(opened, found),
        )
        originals = Originals(opened, found, gallery.side)
        originals.join()
    application = server.Pages(ledger, gallery, originals).application(TOKEN)
    with server.listen(None, 0) as listening:
        running = server.Server(application)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}/", ledger
        finally:
            running.should_exit = True
            thread.join()
            originals.close()


@contextlib.contextmanager
def curating(top: Path, *options: str, output: list[str] | None = None) -> Iterator[str]:
    """Run `darkroom curate` in a project and yield the address; what it prints at the end is added to `output`."""
    source = next(folder for folder in (top / "src", ROOT / "src") if folder.is_dir())  # a clone has its own
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONUNBUFFERED": "1"}
    command = [
        sys.executable,
        "-c",
        "from darkroom.commands.main import main; main()",
        "curate",
        "--no-browser",
        *options,
    ]
    process = subprocess.Popen(command, cwd=top, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://\S+", line):
                yield found[0]
                break
    finally:
        process.send_signal(signal.SIGINT)
        with process.stdout as pipe:
            rest = pipe.read()  # not `communicate`, which overlooks lines that are in the buffer
        process.wait(120)
        if output is not None:
            output += [*lines, rest]
        assert process.returncode == 0, (process.returncode, lines, rest)
