"""What needs a person's decision, collected from the results of the pipeline."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from darkroom import frames, packed
from darkroom.data.split.decisions import Decision
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

PACKED, SPLIT = Path("data/packed"), Path("data/split.csv")
COPIES, SCENES = Path("data/copies.csv"), Path("data/scenes.csv")
ISSUES = Path("plots/labels/issues.csv")
"""Probable label errors among all images, as the stage `labels` writes them."""
TABLES = Path("plots/tables")
CONFIDENT = 0.9
"""Probability from which on a mistake of the model on a test image is shown to a person."""
LABEL_ERROR, CONFLICT, MISTAKE = "probable label error", "copies in two classes", "confident mistake"
SCENE = "images of one scene"

Key = tuple[str, str]
"""SHA-256 and class of an image in the packed data: what a decision is about."""


@dataclass(frozen=True)
class Suspicion:
    """A reason to look at one packed row."""

    row: int
    reason: str
    why: str
    """The reason in a sentence."""
    proposed: str = ""
    """The class that is probably right, or empty."""
    probability: float | None = None
    """Probability of `proposed`."""


@dataclass(frozen=True)
class Upload:
    """An image that is not part of the data: from the service's log, or without a label."""

    sha256: str
    path: Path
    name: str
    """For people: its path in its folder."""
    origin: str = "sent to the service"
    """Where it comes from, in words."""


@dataclass(frozen=True)
class Case:
    """One decision: an image with all its copies, or the images of a scene."""

    suspicion: Suspicion
    rows: tuple[int, ...]
    """Packed rows that the decision is about; the first one is shown. None for an upload."""
    upload: Upload | None = None
    scene: tuple[tuple[int, ...], ...] = ()
    """For a scene, the rows of each of its images: the one that is shown, and its copies."""

    @property
    def row(self) -> int:
        """The packed row that is shown."""
        return self.rows[0]


@dataclass(frozen=True)
class Project:
    """The data of the last run."""

    records: Sequence[packed.Record]
    """With the classes of the source."""
    split: packed.Split
    clusters: dict[int, tuple[int, ...]]
    """Rows of all copies of a row, itself included; only for rows that have copies."""
    conflicts: set[int]
    """Rows in whose cluster a copy has another class."""
    scenes: Sequence[tuple[int, ...]] = ()
    """Rows of each scene, those with leaks first."""

    def key(self, row: int) -> Key:
        """Return what a decision about a row refers to."""
        return self.records[row].sha256, self.records[row].label


def open_project() -> Project:
    """Read the data of the last run. Raises DarkroomError before the first run."""
    for path in (PACKED / "index.csv", SPLIT, COPIES):
        if not path.is_file():
            raise DarkroomError(
                f"{path} is missing, so there is nothing to show yet: run `dvc repro`, or fetch the results of others "
                "with `dvc pull`, then start `darkroom curate` again"
            )
    records, split = packed.read_index(PACKED), packed.read_split(SPLIT)
    if len(records) != len(split.labels):
        raise DarkroomError(f"{SPLIT} does not belong to {PACKED}: run `dvc repro`, then start `darkroom curate` again")
    places = {record.name: row for row, record in enumerate(records)}
    clusters: dict[str, list[int]] = defaultdict(list)
    marked = []
    for entry in packed.read_sheet(COPIES):
        if (row := places.get(entry["name"])) is not None:
            clusters[entry["cluster"]].append(row)
            marked += [row] * (entry["conflict"] == "1")
    by_row = {row: tuple(rows) for rows in clusters.values() for row in rows}
    conflicts = {row for place in marked for row in by_row[place]}
    return Project(records, split, by_row, conflicts, _read_scenes(places))


def _read_scenes(places: Mapping[str, int]) -> list[tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for entry in packed.read_sheet(SCENES) if SCENES.is_file() else ():
        if (row := places.get(entry["name"])) is not None:
            found[entry["scene"]].append(row)
    return [tuple(rows) for rows in found.values()]


def collect(project: Project, decided: Iterable[Decision]) -> list[Case]:
    """Return the open cases, one for each image with its copies: label errors first, then conflicts and mistakes.

    Images are not shown again after a decision about them, which may confirm their label.
    """
    known = {(each.sha256, each.old): each.new for each in decided}
    found: list[Case] = []
    seen: set[int] = set()
    for suspicion in [*_label_errors(project), *_conflicts(project), *_mistakes(project)]:
        if suspicion.row in seen:
            continue
        rows = _together(project, suspicion.row)
        seen.update(rows)
        if suspicion.row in project.conflicts and suspicion.reason != CONFLICT:
            suspicion = replace(suspicion, reason=CONFLICT, why=_conflict(project, rows))
        before = {new for row in rows if (new := known.get(project.key(row))) is not None}
        if all(project.key(row) in known for row in rows):
            continue
        if len(before) == 1 and suspicion.reason != LABEL_ERROR:  # a copy that was added later
            suspicion = replace(suspicion, proposed=before.pop(), probability=None)
        found.append(Case(suspicion, rows))
    return found


def collect_scenes(project: Project, decided: Iterable[Decision], shown: Collection[int]) -> list[Case]:
    """Return the open scenes, those with leaks first. `shown` are the rows of other cases, whose scenes can wait.

    Excluded images are left out, and a scene is not shown again after a decision about all of its other images.
    """
    known = {(each.sha256, each.old): each.new for each in decided}
    found, waiting = [], set(shown)
    for scene in project.scenes:
        images: dict[int, tuple[int, ...]] = {}
        for row in scene:
            used = project.split.splits[row] != packed.LEFT_OUT and known.get(project.key(row)) != ""
            if used and not any(row in rows for rows in images.values()):
                images[row] = _together(project, row)
        rows = tuple(row for copies in images.values() for row in copies)
        is_open = any(project.key(row) not in known for row in rows)
        if len(images) > 1 and is_open and waiting.isdisjoint(rows):
            found.append(
                Case(Suspicion(rows[0], SCENE, _scene(project, list(images))), rows, scene=(*images.values(),))
            )
    return found


def _scene(project: Project, rows: Sequence[int]) -> str:
    splits = {str(project.split.splits[row]) for row in rows}
    label = naming.shown(project.records[rows[0]].label)
    why = f"These {len(rows)} images of the class {label} seem to show one scene."
    if "test" in splits and len(splits) > 1:
        return f"{why} It is in the test split and in another one, so accuracies are also reported without it."
    return f"{why} It is in {naming.listed(sorted(splits))} only, so keep them unless there are too many."


def _together(project: Project, row: int) -> tuple[int, ...]:
    """Return a row and its copies: all of them if they are in conflict, otherwise those of the same class."""
    label, conflict = project.records[row].label, row in project.conflicts
    copies = (each for each in project.clusters.get(row, ()) if conflict or project.records[each].label == label)
    return (row, *(each for each in copies if each != row))


def _label_errors(project: Project) -> list[Suspicion]:
    if not ISSUES.is_file():
        return []
    rows = {project.key(row): row for row in range(len(project.records) - 1, -1, -1)}
    by_hash = {sha256: row for (sha256, _), row in rows.items()}
    found = []
    for entry in frames.read(ISSUES).to_dict("records"):
        row = rows.get((entry["sha256"], entry["label"]), by_hash.get(entry["sha256"]))
        if row is not None and entry["proposed"] in project.split.classes:
            chance = _number(entry["precision"])
            how = "" if chance is None else f" (probability {chance:.0%})"
            why = f"This label may be wrong{how}, according to a model that was fitted without this image."
            found.append(Suspicion(row, LABEL_ERROR, why, entry["proposed"]))
    return found


def _mistakes(project: Project) -> list[Suspicion]:
    found = _table(project, "mistakes", MISTAKE, "The best model predicts another class with high confidence.")
    return [each for each in found if (each.probability or 0) >= CONFIDENT]


def _table(project: Project, name: str, reason: str, why: str) -> list[Suspicion]:
    """Return the images of a table of `evaluate`, in its order; rows that no longer match the data are left out."""
    path = TABLES / f"{name}.csv"
    if not path.is_file():
        return []
    found = []
    for entry in frames.read(path).to_dict("records"):
        row = int(entry["row"])
        matches = row < len(project.records) and project.records[row].name == entry["picture"]
        if matches and entry["predicted"] in project.split.classes:
            probability = _number(entry["predicted_probability"])
            found.append(Suspicion(row, reason, why, entry["predicted"], probability))
    return found


def _conflicts(project: Project) -> list[Suspicion]:
    """Return one row of each cluster of copies in several classes; the class of most of its images is proposed."""
    found = []
    for rows in dict.fromkeys(project.clusters.values()):
        labels = [project.records[row].label for row in rows]
        if rows[0] in project.conflicts and len(set(labels)) > 1:
            # The first image is shown with the label that is in doubt, so the proposal is another one if it is in the
            # majority.
            most = max(sorted(set(labels)), key=labels.count)
            shown = next(row for row in rows if project.records[row].label != most)
            found.append(Suspicion(shown, CONFLICT, _conflict(project, rows), most))
    return found


def _conflict(project: Project, rows: Sequence[int]) -> str:
    listed = naming.listed(sorted({project.records[row].label for row in rows}))
    return f"Copies of this image are in several classes ({listed}). Until one is chosen, all of them are excluded."


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
