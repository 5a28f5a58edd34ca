"""The facts in the report, collected from the results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import pandas as pd

from darkroom import balance, candidate, forecasts, frames, git, plot_labels, revision, test_uses
from darkroom.balance import Majority
from darkroom.candidate import Card, Epoch, Folds
from darkroom.foundations import files
from darkroom.reporting.architecture import Step, steps
from darkroom.reporting.settings import ReportSettings
from darkroom.test_uses import Uses

Row = TypeVar("Row")


@dataclass(frozen=True)
class Entry:
    """A candidate in the report; `validation` and `test` contain its scores by name."""

    card: Card
    history: list[Epoch]
    steps: list[Step]
    """The layers of the network; empty for the baseline."""
    temperature: float
    overconfidence: float
    """Mean confidence minus accuracy on validation, before calibration."""
    validation: dict[str, float]
    test: dict[str, float]
    without_leaks: dict[str, float] | None = None
    """Scores on the test images without leaks, and `leaks`, the number of leaks; None if there are none."""
    uncalibrated: dict[str, float] | None = None
    """Test scores before calibration."""
    versus_best: dict[str, Any] | None = None
    """Difference in test accuracy, p_value and verdict; None for the best itself."""
    thresholds: dict[str, Any] | None = None
    """Thresholds for confident predictions; None for the baseline."""
    folds: Folds | None = None
    """Cross-validation scores of a probe; None if not requested."""


@dataclass(frozen=True)
class Confusion:
    """Number of test images of one class that were classified as another."""

    actual: str
    predicted: str
    count: int


@dataclass(frozen=True)
class ClassRow:
    """Test scores of the best network for one class."""

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    p_value: float
    """Of the difference of its recall from that of the other test images."""


@dataclass(frozen=True)
class SliceRow:
    """Accuracy of the best network on one slice of the test images."""

    measure: str
    kind: str
    images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    majority: float
    """Accuracy of always predicting the largest class of the test split."""
    p_value: float
    """The p-value of the difference from the other test images."""


@dataclass(frozen=True)
class Cost:
    """Size and latency of a network."""

    megabytes: float
    """Size of `model.onnx` in 10⁶ bytes."""
    milliseconds: float
    """Median time per prediction on one thread."""


@dataclass(frozen=True)
class Facts:
    """All values for the report's template."""

    title: str
    author: str
    dataset: str
    """Its name in `params.yaml`."""
    data: dict[str, Any]
    """`metrics/data.json`."""
    card: str
    """The data card, as Markdown."""
    entries: list[Entry]
    """The baseline, followed by the networks."""
    best: Entry
    reason: str
    metric: str
    versus: dict[str, Any]
    """Comparison of the best network with the baseline: difference, p_value, verdict."""
    classes: list[ClassRow]
    """Classes that have test images."""
    absent: list[str]
    """Classes without test images."""
    confusions: list[Confusion]
    """Mistakes of the best network, the most frequent first."""
    selective: dict[str, Any] | None
    """Scores of selective prediction on the test images."""
    robustness: dict[str, Any] | None
    """`plots/robustness/summary.json`; None if the measurement was skipped."""
    slices: list[SliceRow]
    labels: dict[str, Any] | None
    """`plots/labels/summary.json`; None in documents about the model alone."""
    growth: dict[str, Any] | None
    """`plots/labels/growth.json`, see `forecasts.read`; None in documents about the model alone."""
    costs: dict[str, Cost]
    """By network; empty if times are omitted."""
    quantization: dict[str, Any] | None
    """`quantization.json` of the served model; None if int8 was not requested."""
    seed: int
    commit: str
    """The commit of the repository, or empty."""
    changed: list[str]
    """Files that determine the results and differ from the commit."""
    remade: list[str] = field(default_factory=list)
    """Tracked results that differ from the commit."""
    uses: Uses | None = None
    """How often the test images were used; None if git does not know."""

    @property
    def bar(self) -> Entry:
        """The baseline."""
        return self.entries[0]

    @property
    def single(self) -> bool:
        """Whether there is only one network, so that none was selected."""
        return len(self.networks) == 1

    @property
    def uneven(self) -> bool:
        """Whether the classes are so imbalanced that macro scores come first."""
        return balance.are_uneven(self.data["per_class"])

    @property
    def majority(self) -> Majority:
        """Scores of always predicting the largest class on test."""
        return balance.majority(self.data["per_class"])

    @property
    def validation_majority(self) -> Majority:
        """Scores of always predicting the largest class on validation."""
        return balance.majority(self.data["per_class"], "validation")

    @property
    def by_folds(self) -> bool:
        """Whether cross-validation selected the best network, as in `selection.choose`."""
        return all(entry.folds for entry in self.networks)

    @property
    def trained(self) -> list[Entry]:
        """The networks trained by epochs."""
        return [entry for entry in self.networks if entry.card.epochs]

    @property
    def probes(self) -> list[Entry]:
        """The networks of which only the last layer was fitted."""
        return [entry for entry in self.networks if not entry.card.epochs]

    @property
    def networks(self) -> list[Entry]:
        """All candidates except the baseline."""
        return self.entries[1:]

    @property
    def architectures(self) -> list[list[Entry]]:
        """The networks grouped by architecture."""
        alike: dict[str, list[Entry]] = {}
        for entry in self.networks:
            if entry.steps:
                alike.setdefault(repr(entry.steps), []).append(entry)
        return list(alike.values())


@dataclass(frozen=True)
class Sources:
    """Paths of the inputs: files and folders written by earlier stages."""

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
    """These two are omitted in documents without times."""
    labels: Path | None = None
    """Omitted in documents about the model alone."""


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
        labels=_labels(sources.labels / "summary.json") if sources.labels else None,
        growth=forecasts.read(sources.labels / forecasts.PATH.name) if sources.labels else None,
        costs=_costs(sources.cost / "cost.csv") if sources.cost else {},
        quantization=_quantization(sources.served / "quantization.json") if sources.served else None,
        seed=seed,
        commit=revision.commit(),
        changed=revision.changed(),
        remade=revision.remade(),
        uses=_uses(data, evaluation),
    )


def _uses(data: dict[str, Any], evaluation: dict[str, Any]) -> Uses | None:
    try:
        return test_uses.count(data, evaluation, git.commit())
    except git.GitError:
        return None


def _entry(folder: Path, evaluated: dict[str, Any]) -> Entry:
    card = candidate.read_card(folder)
    scores = {key: value for key, value in evaluated.items() if key in Entry.__dataclass_fields__}
    folds = candidate.read_folds(folder)
    return Entry(card, candidate.read_history(folder), steps(card.layers), **scores, folds=folds)


def _rows(frame: pd.DataFrame, kind: type[Row]) -> list[Row]:
    """Return the rows of a text table as objects of `kind`, whose fields are columns of the table."""
    columns = get_type_hints(kind)
    return [kind(*row) for row in frame[list(columns)].astype(columns).itertuples(index=False)]


def _costs(path: Path) -> dict[str, Cost]:
    frame = frames.read(path, escape=False)
    return dict(zip(frame["candidate"], _rows(frame, Cost), strict=True))


def _quantization(path: Path) -> dict[str, Any] | None:
    return files.read_json(path) if path.is_file() else None


def _labels(path: Path) -> dict[str, Any]:
    summary: dict[str, Any] = files.read_json(path)
    return summary


def _confusions(frame: pd.DataFrame) -> list[Confusion]:
    labels = frame.map(plot_labels.restore)
    pairs = labels[labels["actual"] != labels["predicted"]].value_counts().reset_index()
    return _rows(pairs.sort_values(["count", "actual", "predicted"], ascending=[False, True, True]), Confusion)
