"""What the report says: every fact of it, gathered from the results."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom import balance, candidate, packed, plot_labels, revision
from darkroom.balance import Majority
from darkroom.candidate import Card, Epoch, Folds
from darkroom.foundations import files
from darkroom.reporting.architecture import Step, steps
from darkroom.reporting.settings import ReportSettings


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
    by_class = [row for row in packed.read_sheet(sources.per_class) if row["candidate"] == choice["name"]]
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
        classes=[_class_row(row) for row in by_class if row["support"] != "0"],
        absent=[row["class"] for row in by_class if row["support"] == "0"],
        confusions=_confusions(packed.read_rows(sources.confusion)),
        selective=evaluation["best"].get("selective_prediction"),
        robustness=robustness if robustness["images"] else None,
        slices=[_slice_row(row) for row in packed.read_sheet(sources.tables / "slices.csv")],
        label_issues=evaluation["best"]["label_issues"],
        listed_issues=len(packed.read_sheet(sources.tables / "label_issues.csv")),
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


def _class_row(row: dict[str, str]) -> ClassRow:
    numbers = {name: float(row[name]) for name in ("precision", "recall", "f1")}
    return ClassRow(row["class"], int(row["support"]), **numbers)


def _costs(path: Path) -> dict[str, Cost]:
    rows = packed.read_rows(path)
    return {row["candidate"]: Cost(float(row["megabytes"]), float(row["milliseconds"])) for row in rows}


def _quantization(path: Path) -> dict[str, Any] | None:
    return files.read_json(path) if path.is_file() else None


def _slice_row(row: dict[str, str]) -> SliceRow:
    shares = {name: float(row[name]) for name in ("accuracy", "accuracy_low", "accuracy_high", "majority", "p_value")}
    return SliceRow(row["measure"], row["kind"], int(row["images"]), **shares)


def _confusions(rows: Sequence[dict[str, str]]) -> list[Confusion]:
    labels = [(plot_labels.restore(row["actual"]), plot_labels.restore(row["predicted"])) for row in rows]
    pairs = Counter((actual, predicted) for actual, predicted in labels if actual != predicted)
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(actual, predicted, count) for (actual, predicted), count in ranked]
