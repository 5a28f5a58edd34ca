"""The open cases of one session, and their decisions, which are written to `data/labels.csv` at once.

The file is read again for each decision, so decisions that others make meanwhile (a second `darkroom curate`, an
editor, `git pull`) are kept, and their cases are not shown any more.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from darkroom.commands.curate import uploads
from darkroom.commands.curate.cases import SCENE, Case, Project, Suspicion, Upload
from darkroom.data.split import decisions
from darkroom.data.split.decisions import Decision
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

Action = Literal["label", "keep", "exclude", "apart", "skip"]
Outcome = Action | Literal["elsewhere"]
LOCK = Path(".darkroom/labels.lock")
"""In the project: held while decisions are read and written, so that two processes do not overwrite each other's."""
PATIENCE = 10.0
"""Seconds to wait for another process to write its decision."""


class TakenError(DarkroomError):
    """The case was decided elsewhere, or there is nothing to undo."""


@dataclass(frozen=True)
class Counts:
    """How the cases of a session were decided."""

    changed: int
    kept: int
    excluded: int
    skipped: int
    open: int
    elsewhere: int = 0
    """Number of cases that others decided meanwhile."""

    @property
    def decided(self) -> int:
        """Number of decisions."""
        return self.changed + self.kept + self.excluded


class Ledger:
    """Decides cases; safe to call from several threads. A killed process loses nothing that was decided."""

    def __init__(
        self, project: Project, cases: Sequence[Case], decided: Iterable[Decision], path: Path, by: str
    ) -> None:
        """Start with the cases that are open after the decisions `decided` in the file `path`, TOP/data/labels.csv."""
        self.project = project
        self.cases = cases
        self._path = path
        self._by = by
        self._lock = threading.Lock()
        self._outcomes: dict[int, Outcome] = {}
        self._known = _by_image(decided)
        self._before: dict[int, list[Decision]] = {}
        self._made: dict[int, list[Decision]] = {}
        self._placed: dict[int, Path] = {}
        self._images = [self._of(case) for case in cases]

    def upcoming(self, most: int) -> list[int]:
        """Return the numbers of the next open cases."""
        with self._lock:
            return [number for number in range(len(self.cases)) if number not in self._outcomes][:most]

    def counts(self) -> Counts:
        """Return the counts of this session."""
        with self._lock:
            found = Counter(self._outcomes.values())
        left = len(self.cases) - found.total()
        kept = found["keep"] + found["apart"]
        return Counts(found["label"], kept, found["exclude"], found["skip"], left, found["elsewhere"])

    def decide(self, number: int, action: Action, label: str = "", marked: Collection[int] = ()) -> None:
        """Decide a case and write the decision; label is the class for the action `label`.

        marked: places of the images of a scene that are excluded, or taken out of it (`apart`); all of them if empty.

        Raises TakenError when the case was decided before, DarkroomError when the file is malformed, and OSError when
        it cannot be written; the case then stays open.
        """
        with self._lock:
            self._refuse_decided(number)
            if action == "skip":
                self._outcomes[number] = action
                return
            with self._decisions() as present:
                self._refuse_decided(number)
                before = [each for each in present if each.sha256 in self._images[number]]
                made = self._made_for(self.cases[number], action, label, marked, before)
                self._write(number, made, before, present)
            kept = all(each.kept for each in made) and not self.cases[number].upload
            self._outcomes[number] = "keep" if kept else action

    def _write(self, number: int, made: list[Decision], before: list[Decision], present: list[Decision]) -> None:
        upload = self.cases[number].upload
        placed = uploads.place(upload, made[0].new) if upload and made[0].new else None
        try:
            # All earlier decisions about these images are replaced, also those for a class they no longer have.
            decisions.write(self._path, [*(each for each in present if each not in before), *made])
        except OSError:
            if placed:
                placed.unlink(missing_ok=True)
            raise
        if placed:
            self._placed[number] = placed
        self._before[number], self._made[number] = before, sorted(set(made))
        self._known |= _by_image(made)

    def _made_for(
        self, case: Case, action: Action, label: str, marked: Collection[int], before: Sequence[Decision]
    ) -> list[Decision]:
        if case.upload:
            return [self._received(case.upload, case.suspicion, "" if action == "exclude" else label)]
        earlier = {(each.sha256, each.old): each for each in before}
        if not case.scene:
            made = [self._decision(row, action, label, case.suspicion.reason) for row in case.rows]
            alone = {key for key, each in earlier.items() if each.alone}
            return [_apart(each) if (each.sha256, each.old) in alone else each for each in made]
        keys = {self.project.key(row) for row in case.rows}
        made = [each for each in before if (each.sha256, each.old) not in keys]
        for place, rows in enumerate(case.scene):
            meant = action != "keep" and (not marked or place in marked)
            for row in rows:
                if meant and action == "exclude":
                    made.append(self._decision(row, "exclude", "", case.suspicion.reason))
                    continue
                # A class that was decided before is not given up because the image stays.
                found = earlier.get(self.project.key(row)) or self._decision(row, "keep", "", case.suspicion.reason)
                made.append(_apart(found) if meant else found)
        return made

    def _decision(self, row: int, action: Action, label: str, reason: str) -> Decision:
        record = self.project.records[row]
        new = label if action == "label" else record.label if action == "keep" else ""
        return Decision(record.sha256, record.name, record.label, new, reason, self._by)

    def _received(self, upload: Upload, suspicion: Suspicion, label: str) -> Decision:
        # The data get the image with the class that it is given here, so the split has nothing to change.
        return Decision(upload.sha256, upload.name, suspicion.proposed, label, suspicion.reason, self._by)

    def undo(self, number: int) -> None:
        """Open a case again, with the decisions in the file as they were before. Raises as `decide`."""
        with self._lock:
            if self._outcomes.get(number, "elsewhere") == "elsewhere":
                raise TakenError("this decision was already undone")
            if self._outcomes[number] != "skip":
                with self._decisions() as present:
                    images = self._images[number]
                    if [each for each in present if each.sha256 in images] != self._made[number]:
                        name = naming.shown(self._path.name)
                        raise TakenError(f"{name} has another decision about this image now, which is not undone")
                    before = self._before[number]
                    decisions.write(self._path, [*(each for each in present if each.sha256 not in images), *before])
                    self._known = {image: each for image, each in self._known.items() if image not in images}
                    self._known |= _by_image(before)
                if number in self._placed:
                    self._placed.pop(number).unlink(missing_ok=True)
            del self._outcomes[number]

    def unskip(self) -> None:
        """Open all skipped cases again."""
        with self._lock:
            self._outcomes = {number: outcome for number, outcome in self._outcomes.items() if outcome != "skip"}

    @contextmanager
    def _decisions(self) -> Iterator[list[Decision]]:
        """Yield the decisions in the file, which no other session changes meanwhile; close what others decided."""
        path = self._path.parents[1] / LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path, timeout=PATIENCE):
                present = decisions.read(self._path)
                now = _by_image(present)
                changed = {image for image, found in now.items() if self._known.get(image) != found}
                for number, images in enumerate(self._images):
                    if self._outcomes.get(number, "skip") == "skip" and not images.isdisjoint(changed):
                        self._outcomes[number] = "elsewhere"
                self._known = now
                yield present
        except Timeout:
            raise DarkroomError(
                f"another process has been writing {naming.shown(self._path.name)} for {PATIENCE:.0f} seconds: end it, "
                "or wait, and decide again"
            ) from None

    def _of(self, case: Case) -> frozenset[str]:
        """Return the SHA-256 of the images that a decision is about."""
        sent = [case.upload.sha256] if case.upload else []
        return frozenset([*sent, *(self.project.records[row].sha256 for row in case.rows)])

    def _refuse_decided(self, number: int) -> None:
        if number not in self._outcomes:
            return
        found = [each for image in self._images[number] for each in self._known.get(image, ())]
        if self._outcomes[number] != "elsewhere" or not found:
            raise TakenError("this image was decided in another window")
        listed = naming.listed(sorted({f"{each.new or 'excluded'} (by {each.by})" for each in found}))
        raise TakenError(f"this image was decided elsewhere meanwhile, and that decision is kept: {listed}")


def _by_image(found: Iterable[Decision]) -> dict[str, list[Decision]]:
    images: dict[str, list[Decision]] = defaultdict(list)
    for each in sorted(set(found)):
        images[each.sha256].append(each)
    return dict(images)


def _apart(found: Decision) -> Decision:
    """Return a decision that also takes its image out of its scene."""
    if found.alone:
        return found
    earlier = found.reason if found.reason != SCENE else ""
    return replace(found, reason=decisions.AND.join(filter(None, (earlier, decisions.NOT_ONE_SCENE))))
