"""The open cases of one session, and their decisions, which are written to `data/labels.csv` at once."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darkroom.commands.curate import uploads
from darkroom.commands.curate.cases import Case, Project, Suspicion, Upload
from darkroom.data.split import decisions
from darkroom.data.split.decisions import Decision
from darkroom.foundations.errors import DarkroomError

Action = Literal["label", "keep", "exclude", "skip"]


class TakenError(DarkroomError):
    """The case was decided in another window, or there is nothing to undo."""


@dataclass(frozen=True)
class Counts:
    """How the cases of a session were decided."""

    changed: int
    kept: int
    excluded: int
    skipped: int
    open: int

    @property
    def decided(self) -> int:
        """Number of decisions."""
        return self.changed + self.kept + self.excluded


class Ledger:
    """Decides cases; safe to call from several threads. A killed process loses nothing that was decided."""

    def __init__(self, project: Project, cases: Sequence[Case], path: Path, by: str) -> None:
        self.project = project
        self.cases = cases
        self._path = path
        self._by = by
        self._lock = threading.Lock()
        self._actions: dict[int, Action] = {}
        self._before: dict[int, list[Decision]] = {}
        self._placed: dict[int, Path] = {}

    def upcoming(self, most: int) -> list[int]:
        """Return the numbers of the next open cases."""
        with self._lock:
            return [number for number in range(len(self.cases)) if number not in self._actions][:most]

    def counts(self) -> Counts:
        """Return the counts of this session."""
        with self._lock:
            found = Counter(self._actions.values())
        left = len(self.cases) - found.total()
        return Counts(found["label"], found["keep"], found["exclude"], found["skip"], left)

    def decide(self, number: int, action: Action, label: str = "") -> None:
        """Decide a case and write the decision; label is the class for the action `label`.

        Raises TakenError when the case was decided before, DarkroomError when the file is malformed, and OSError when
        it cannot be written; the case then stays open.
        """
        with self._lock:
            if number in self._actions:
                raise TakenError("this image was decided in another window")
            if action == "skip":
                self._actions[number] = action
                return
            case = self.cases[number]
            made = [self._decision(row, action, label, case.suspicion.reason) for row in case.rows]
            if case.upload:
                made = [self._received(case.upload, case.suspicion, "" if action == "exclude" else label)]
            images = {each.sha256 for each in made}
            present = decisions.read(self._path)
            placed = uploads.place(case.upload, made[0].new) if case.upload and made[0].new else None
            try:
                # All earlier decisions about these images are replaced, also those for a class they no longer have.
                decisions.write(self._path, [*(each for each in present if each.sha256 not in images), *made])
            except OSError:
                if placed:
                    placed.unlink(missing_ok=True)
                raise
            if placed:
                self._placed[number] = placed
            self._before[number] = [each for each in present if each.sha256 in images]
            self._actions[number] = "keep" if case.rows and all(each.kept for each in made) else action

    def _decision(self, row: int, action: Action, label: str, reason: str) -> Decision:
        record = self.project.records[row]
        new = {"label": label, "keep": record.label, "exclude": ""}[action]
        return Decision(record.sha256, record.name, record.label, new, reason, self._by)

    def _received(self, upload: Upload, suspicion: Suspicion, label: str) -> Decision:
        # The data get the image with the class that it is given here, so the split has nothing to change.
        return Decision(upload.sha256, upload.name, suspicion.proposed, label, suspicion.reason, self._by)

    def undo(self, number: int) -> None:
        """Open a case again, with the decisions in the file as they were before. Raises as `decide`."""
        with self._lock:
            if number not in self._actions:
                raise TakenError("this decision was already undone")
            if self._actions[number] != "skip":
                case = self.cases[number]
                images = {self.project.records[row].sha256 for row in case.rows}
                if case.upload:
                    images.add(case.upload.sha256)
                    if number in self._placed:
                        self._placed.pop(number).unlink(missing_ok=True)
                others = [each for each in decisions.read(self._path) if each.sha256 not in images]
                decisions.write(self._path, [*others, *self._before.pop(number)])
            del self._actions[number]

    def unskip(self) -> None:
        """Open all skipped cases again."""
        with self._lock:
            self._actions = {number: action for number, action in self._actions.items() if action != "skip"}
