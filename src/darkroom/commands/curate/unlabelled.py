"""Unlabelled images that are worth labelling, from a folder, with the classes that the best model predicts.

They are not part of the data. A class that a person gives to one copies it to `data/inbox/`, as for the images of the
service's log.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from darkroom import candidate
from darkroom.candidate import Card
from darkroom.commands.curate import selection, uploads
from darkroom.commands.curate.cases import Case, Suspicion, Upload
from darkroom.commands.curate.scoring import Scored, Scorer
from darkroom.commands.curate.selection import Floats
from darkroom.data import tree
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Answer, interpret
from darkroom.progress import progress
from darkroom.thresholds import Outputs

FOLDER, MODEL, CACHE = Path("data/unlabelled"), Path("models/served"), Path(".darkroom/unlabelled")
NEXT = 50
"""Number of images that are selected by default."""
UNLABELLED = "unlabelled image worth labelling"
SHOWN = 5
"""Number of unreadable files whose names are printed."""


@dataclass
class Found:
    """The images of a folder."""

    cases: list[Case] = field(default_factory=list)
    """Those worth labelling, the most useful first."""
    images: int = 0
    """Number of image files."""
    copies: int = 0
    """Number of those with the same bytes as an image of the data or as an earlier file."""
    decided: int = 0
    """Number of those with a decision, for example because they were labelled or excluded before."""
    unreadable: list[str] = field(default_factory=list)
    """Names of the unreadable ones, with reasons."""

    def lines(self, folder: Path) -> list[str]:
        """Return what to print about the folder; nothing if it has no images."""
        if not self.images:
            return []
        parts = [f"{naming.count(self.images, 'image')} in {naming.shown(folder)}"]
        parts += [f"{naming.count(self.copies, 'exact copy', 'exact copies')} left out"] * bool(self.copies)
        parts += [f"{self.decided:,} decided before"] * bool(self.decided)
        lines = [", ".join(parts)]
        if self.unreadable:
            names = naming.listed(self.unreadable, most=SHOWN)
            lines.append(f"{naming.count(len(self.unreadable), 'image')} cannot be read: {names}")
        return lines


def collect(
    folder: Path, classes: Sequence[str], known: Collection[str], decided: Collection[str], count: int
) -> Found:
    """Return the `count` images of a folder and its subfolders that are most worth labelling.

    known: SHA-256 of the images in the data; decided: of images with a decision. Neither they nor copies are selected.
    The outputs of at most `selection.POOL` times `count` images are in memory. Raises DarkroomError when the folder
    cannot be read or contains links, when there is no model, and when labelled images could not be added to the data.
    """
    found = Found(images=sum(1 for _ in tree.images(folder)))
    if not found.images:
        return found
    uploads.inbox()
    scorer = Scorer(MODEL, CACHE)
    card, index = scorer.predictor.card, scorer.predictor.index
    if not set(card.classes) & set(classes):
        raise DarkroomError(f"{MODEL} has none of the classes of the data: run `dvc repro` first")
    undecided = _Undecided(card, selection.POOL * count)
    seen: set[str] = set()
    earlier: list[Floats] = []
    with progress("unlabelled", found.images, "images") as advance:
        for each in scorer.score(tree.images(folder), known):
            advance(1)
            if each.error:
                found.unreadable.append(f"{each.name} ({each.error})")
            elif each.sha256 in seen or each.sha256 in known:
                found.copies += 1
            elif each.sha256 in decided:
                found.decided += 1
                # They are like labelled images, although the model was not trained with them yet.
                earlier += [each.embedded] if each.embedded is not None else []
            else:
                undecided.add(each)
            seen.add(each.sha256)
    candidates = undecided.first()
    chosen = candidates[:count]
    if index is not None:
        labelled = np.concatenate([index.vectors.astype(np.float32), *(row[np.newaxis] for row in earlier)])
        predicted = _logits(candidates).argmax(axis=1) if candidates else np.zeros(0, dtype=np.int64)
        places = selection.spread_out(_embedded(candidates), labelled, predicted, min(count, len(candidates)))
        chosen = [candidates[place] for place in places]
    if chosen:
        similarity = None if index is None else index.score(_embedded(chosen))
        answers = interpret(Outputs(_logits(chosen), similarity), card)
        found.cases = [_case(each, answer, card, classes) for each, answer in zip(chosen, answers, strict=True)]
    return found


class _Undecided:
    """The images with the smallest margins of each predicted class so far, up to `most` of all classes together."""

    def __init__(self, card: Card, most: int) -> None:
        self._temperature, self._most = card.temperature, most
        self._found: list[Scored] = []

    def add(self, each: Scored) -> None:
        """Add an image with outputs."""
        self._found.append(each)
        if len(self._found) > 2 * self._most:
            self._found = self.first()

    def first(self) -> list[Scored]:
        """Return the images, each class in turn. Those that `add` dropped would not be among them."""
        if not self._found:
            return []
        logits = _logits(self._found)
        order = selection.in_turn(
            selection.margins(candidate.softmax(logits, self._temperature)), logits.argmax(axis=1)
        )
        return [self._found[place] for place in order[: self._most]]


def _logits(scored: Sequence[Scored]) -> Floats:
    return np.array([each.logits for each in scored], dtype=np.float32)


def _embedded(scored: Sequence[Scored]) -> Floats:
    return np.array([each.embedded for each in scored], dtype=np.float32)


def _case(each: Scored, answer: Answer, card: Card, classes: Sequence[str]) -> Case:
    (first, largest), (second, next_largest) = answer.top(card.classes, 2)
    why = f"Unlabelled. Most probable classes: {first} ({largest:.0%}) and {second} ({next_largest:.0%})."
    why += " The image is unlike the training images." * (answer.in_distribution is False)
    # The model may be older than the classes.
    ranked = answer.top(card.classes, len(card.classes))
    proposed, probability = next((label, value) for label, value in ranked if label in classes)
    suspicion = Suspicion(-1, UNLABELLED, why, proposed, probability)
    return Case(suspicion, (), Upload(each.sha256, each.path, each.name, "unlabelled"))
