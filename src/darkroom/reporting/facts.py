"""What the report says: every fact of it, gathered from the results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import pandas as pd

from darkroom import balance, candidate, frames, plot_labels, revision
from darkroom.balance import Majority
from darkroom.candidate import Card, Epoch, Folds
from darkroom.foundations import files
from darkroom.reporting.architecture import Step, steps
from darkroom.reporting.settings import ReportSettings

Row = TypeVar("Row")


@dataclass(frozen=True)
class Entry:
    """A candidate as the report lists it; `validation` and `test` hold its scores by name."""

    card: Card
    history: list[Epoch]
    steps: list[Step]
    """The network, empty for the baseline."""
    temperature: float
    overconfidence: float
    """Mean confidence before calibration less the accuracy, on validation."""
    validation: dict[str, float]
    test: dict[str, float]
    without_leaks: dict[str, float] | None = None
    """Scores on the test images that are no leaks, and `leaks`, how many are; None where that is no other figure."""
    uncalibrated: dict[str, float] | None = None
    """Scores on test before calibration."""
    versus_best: dict[str, Any] | None = None
    """Difference in test accuracy, p_value and verdict; None for the best itself."""
    thresholds: dict[str, Any] | None = None
    """When its answers are unsure; None for the baseline."""
    folds: Folds | None = None
    """How a probe does on repeated folds; None where none were asked for."""


@dataclass(frozen=True)
class Confusion:
    """How many test images of one class were taken for another."""

    actual: str
    predicted: str
    count: int


@dataclass(frozen=True)
class ClassRow:
    """How good the best network is at one class, on test."""

    name: str
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class SliceRow:
    """How good the best network is at one kind of test images."""

    measure: str
    kind: str
    images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    majority: float
    """What always answering the largest class of the test split would score on them."""
    p_value: float
    """Of its difference from the other test images."""


@dataclass(frozen=True)
class Cost:
    """What a network costs to keep and to ask."""

    megabytes: float
    """Of `model.onnx`, 10⁶ bytes."""
    milliseconds: float
    """Median time of one answer on one thread."""


@dataclass(frozen=True)
class Facts:
    """All that the report's template is filled with."""

    title: str
    author: str
    dataset: str
    """Its name in `params.yaml`."""
    data: dict[str, Any]
    """`metrics/data.json`."""
    card: str
    """The data card, as Markdown."""
    entries: list[Entry]
    """The baseline, then the networks."""
    best: Entry
    reason: str
    metric: str
    versus: dict[str, Any]
    """The best network against the baseline: difference, p_value, verdict."""
    classes: list[ClassRow]
    """Those that the test split has images of."""
    absent: list[str]
    """Those that it has not."""
    confusions: list[Confusion]
    """The best network's mistakes, the most frequent first."""
    selective: dict[str, Any] | None
    """What doubting is worth on test."""
    robustness: dict[str, Any] | None
    """`plots/robustness/summary.json`; None where the trial was left out."""
    slices: list[SliceRow]
    label_issues: int
    """Validation and test images whose label may be wrong."""
    listed_issues: int
    """How many of them, the likeliest, the list holds."""
    costs: dict[str, Cost]
    """By network; empty where times are not told."""
    quantization: dict[str, Any] | None
    """`quantization.json` of what is served; None where no int8 was asked for."""
    seed: int
    commit: str
    """The repository's commit, empty where there is none."""
    changed: list[str]
    """What decides results and differs from the commit."""
    remade: list[str] = field(default_factory=list)
    """Results that are tracked and differ from the commit."""

    @property
    def bar(self) -> Entry:
        """The baseline."""
        return self.entries[0]

    @property
    def uneven(self) -> bool:
        """Whether classes differ so much in size that macro figures come first."""
        return balance.are_uneven(self.data["per_class"])

    @property
    def majority(self) -> Majority:
        """What always answering the largest class would score on test."""
        return balance.majority(self.data["per_class"])

    @property
    def validation_majority(self) -> Majority:
        """What always answering the largest class would score on validation."""
        return balance.majority(self.data["per_class"], "validation")

    @property
    def by_folds(self) -> bool:
        """Whether repeated folds chose the best network, as `selection.choose` has it."""
        return all(entry.folds for entry in self.networks)

    @property
    def trained(self) -> list[Entry]:
        """The networks that were trained by epochs."""
        return [entry for entry in self.networks if entry.card.epochs]

    @property
    def probes(self) -> list[Entry]:
        """The networks of which the last layer alone was fitted."""
        return [entry for entry in self.networks if not entry.card.epochs]

    @property
    def networks(self) -> list[Entry]:
        """All but the baseline."""
        return self.entries[1:]

    @property
    def architectures(self) -> list[list[Entry]]:
        """The networks by what they consist of; those that are built alike stand together."""
        alike: dict[str, list[Entry]] = {}
        for entry in self.networks:
            if entry.steps:
                alike.setdefault(repr(entry.steps), []).append(entry)
        return list(alike.values())


@dataclass(frozen=True)
class Sources:
    """Where the facts stand: the files and folders that earlier stages made."""

    candidates: Path
    best: Path
    data: Path
    evaluation: Path
    card: Path
    per_class: Path
    confusion: Path
    tables: Path
    robustness: Path
    cost: Path | None = None
    served: Path | None = None
    """These two are left out where times are not told."""


def gather(sources: Sources, names: Sequence[str], settings: ReportSettings, dataset: str, seed: int) -> Facts:
    """Read the facts about the candidates `names`, of which the first is the baseline."""
    evaluation = files.read_json(sources.evaluation)
    choice = files.read_json(sources.best)
    data = files.read_json(sources.data)
    robustness = files.read_json(sources.robustness)
    entries = [_entry(sources.candidates / name, evaluation["candidates"][name]) for name in names]
    best = next(entry for entry in entries if entry.card.name == choice["name"])
    by_class = frames.read(sources.per_class).astype({"support": int})
    by_class = by_class[by_class["candidate"] == choice["name"]]
    return Facts(
        title=settings.title or f"Image classification: {data['dataset']}",
        author=settings.author,
        dataset=dataset,
        data=data,
        card=sources.card.read_text(encoding="utf-8"),
        entries=entries,
        best=best,
        reason=choice["reason"],
        metric=choice["metric"],
        versus=evaluation["best"]["versus_baseline"],
        classes=_rows(by_class[by_class["support"] > 0].rename(columns={"class": "name"}), ClassRow),
        absent=by_class.loc[by_class["support"] == 0, "class"].to_list(),
        confusions=_confusions(frames.read(sources.confusion, escape=False)),
        selective=evaluation["best"].get("selective_prediction"),
        robustness=robustness if robustness["images"] else None,
        slices=_rows(frames.read(sources.tables / "slices.csv"), SliceRow),
        label_issues=evaluation["best"]["label_issues"],
        listed_issues=len(frames.read(sources.tables / "label_issues.csv")),
        costs=_costs(sources.cost / "cost.csv") if sources.cost else {},
        quantization=_quantization(sources.served / "quantization.json") if sources.served else None,
        seed=seed,
        commit=revision.commit(),
        changed=revision.changed(),
        remade=revision.remade(),
    )


def _entry(folder: Path, evaluated: dict[str, Any]) -> Entry:
    card = candidate.read_card(folder)
    scores = {key: value for key, value in evaluated.items() if key in Entry.__dataclass_fields__}
    folds = candidate.read_folds(folder)
    return Entry(card, candidate.read_history(folder), steps(card.layers), **scores, folds=folds)


def _rows(frame: pd.DataFrame, kind: type[Row]) -> list[Row]:
    """Return each row of a table of text as a `kind`, whose fields are columns of it."""
    columns = get_type_hints(kind)
    return [kind(*row) for row in frame[list(columns)].astype(columns).itertuples(index=False)]


def _costs(path: Path) -> dict[str, Cost]:
    frame = frames.read(path, escape=False)
    return dict(zip(frame["candidate"], _rows(frame, Cost), strict=True))


def _quantization(path: Path) -> dict[str, Any] | None:
    return files.read_json(path) if path.is_file() else None


def _confusions(frame: pd.DataFrame) -> list[Confusion]:
    labels = frame.map(plot_labels.restore)
    pairs = labels[labels["actual"] != labels["predicted"]].value_counts().reset_index()
    return _rows(pairs.sort_values(["count", "actual", "predicted"], ascending=[False, True, True]), Confusion)
