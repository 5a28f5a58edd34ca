"""Experiments ranked by a metric, and those that do not differ significantly from the best."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from darkroom import candidate, packed
from darkroom.commands.review.revisions import Revision
from darkroom.evaluation.scores.comparison import SIGNIFICANCE, compare_each
from darkroom.evaluation.scores.intervals import Bootstrap, Interval, accuracy_interval, percentile_interval
from darkroom.evaluation.scores.macro import macro_draws
from darkroom.evaluation.scores.metrics import log_losses, score
from darkroom.foundations import files

ValidationMetric = Literal["accuracy", "macro_f1", "log_loss"]
METRICS: tuple[ValidationMetric, ...] = ("accuracy", "macro_f1", "log_loss")
Standing = Literal["best", "within noise", "worse", "not comparable"]
BEST, SCORES, SPLIT = "models/best.json", "plots/tables/scores.json", "data/split.csv"
PREDICTIONS = "models/candidates/{name}/predictions.npz"
SEED, DRAWS = 0, 2000
LOWER = ("log_loss", "ece", "brier", "loss", "milliseconds", "megabytes", "seconds", "parameters")
"""Last parts of metrics of which less is better."""


@dataclass(frozen=True)
class Experiment:
    """A DVC experiment, or the commit that it is based on."""

    name: str
    commit: str
    is_commit: bool
    """Whether it is a commit of the branch, so there is nothing to apply."""


@dataclass(frozen=True)
class Validation:
    """The predictions of the selected model on the validation images."""

    model: str
    selected_by: ValidationMetric
    split: str
    """Hash of the split: only predictions for the same images compare."""
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    """Calibrated, shape (rows, classes)."""


@dataclass(frozen=True)
class Row:
    """One experiment in the ranking."""

    experiment: Experiment
    model: str
    value: float
    interval: Interval | None
    standing: Standing
    p_value: float | None = None
    """Of McNemar's test against the best with Holm's correction; None where a bootstrap or intervals decide."""


def read_validation(revision: Revision, cache: Path) -> Validation | None:
    """Read the predictions of a revision from DVC's cache; None if the cache lacks them.

    Raises DarkroomError if `dvc.lock` has no such outputs.
    """
    best, scores, split = (revision.cached(path, cache) for path in (BEST, SCORES, SPLIT))
    if best is None or scores is None or split is None:
        return None
    chosen = files.read_json(best)
    temperature = files.read_json(scores)["candidates"][chosen["name"]]["temperature"]
    path = revision.cached(PREDICTIONS.format(name=chosen["name"]), cache)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        logits = arrays["validation"]
    found = packed.read_split(split)
    return Validation(
        model=str(chosen["name"]),
        selected_by=chosen["metric"],
        split=files.sha256(split),
        labels=found.labels[found.rows("validation")],
        probabilities=candidate.softmax(logits, float(temperature)),
    )


def on_validation(found: Mapping[Experiment, Validation], metric: ValidationMetric) -> list[Row]:
    """Rank experiments by a metric on validation, and compare each with the best on the same images.

    For accuracy by McNemar's test with Holm's correction; for other metrics by the bootstrap interval of the difference
    with Bonferroni's correction, as for the selection of a network. Experiments with another split than the best come
    last.
    """
    sign = 1 if metric == "log_loss" else -1
    values = {each: float(getattr(score(data.probabilities, data.labels), metric)) for each, data in found.items()}
    # Between equals, the commit: nothing has to be applied.
    ranked = sorted(found, key=lambda each: (sign * values[each], not each.is_commit, each.name))
    best = found[ranked[0]]
    same = [each for each in ranked if found[each].split == best.split]
    bootstrap = Bootstrap(len(best.labels), SEED, DRAWS)
    draws = {} if metric == "accuracy" else {each: _draws(found[each], metric, bootstrap) for each in same}
    p_values: dict[Experiment, float] = {}
    standings: dict[Experiment, Standing] = {ranked[0]: "best"}
    if metric == "accuracy":
        places = {str(place): _right(found[each]) for place, each in enumerate(same[1:])}
        compared = compare_each(_right(best), places)
        for place, each in enumerate(same[1:]):
            p_values[each] = compared[str(place)].p_value
            standings[each] = "worse" if compared[str(place)].verdict == "worse" else "within noise"
    else:
        tail = SIGNIFICANCE / 2 / max(1, len(same) - 1)
        for each in same[1:]:
            low, high = np.quantile(draws[each] - draws[ranked[0]], (tail, 1 - tail))
            standings[each] = "within noise" if low <= 0 <= high else "worse"
    rows = []
    for each in [*same, *(other for other in ranked if other not in same)]:
        standing = standings.get(each, "not comparable")
        interval = _interval(found[each], draws.get(each))
        rows.append(Row(each, found[each].model, values[each], interval, standing, p_values.get(each)))
    return rows


def by_value(
    found: Mapping[Experiment, tuple[float, Interval | None]], metric: str, *, lower: bool | None = None
) -> list[Row]:
    """Rank experiments by any metric; those whose interval contains the best value are within noise of it.

    lower: whether less is better; None decides by the metric's name.
    """
    if lower is None:
        lower = metric.rpartition(".")[2].removeprefix("test_") in LOWER
    ranked = sorted(found, key=lambda each: (found[each][0] * (1 if lower else -1), not each.is_commit, each.name))
    best = found[ranked[0]][0]
    rows = []
    for each in ranked:
        value, interval = found[each]
        tied = value == best or (interval is not None and interval[0] <= best <= interval[1])
        standing: Standing = "best" if each == ranked[0] else "within noise" if tied else "worse"
        rows.append(Row(each, "", value, interval, standing))
    return rows


def _right(data: Validation) -> npt.NDArray[np.bool_]:
    right: npt.NDArray[np.bool_] = data.probabilities.argmax(axis=1) == data.labels
    return right


def _draws(data: Validation, metric: ValidationMetric, bootstrap: Bootstrap) -> npt.NDArray[np.float64]:
    """Return the macro F1 or log loss of each resample, shape (draws,)."""
    if metric == "macro_f1":
        predicted = data.probabilities.argmax(axis=1).astype(np.int64)
        return macro_draws(predicted, data.labels, data.probabilities.shape[1], bootstrap)[1]
    losses = log_losses(data.probabilities, data.labels)[:, np.newaxis]
    return bootstrap.sums(csc_array(losses))[:, 0] / len(data.labels)


def _interval(data: Validation, draws: npt.NDArray[np.float64] | None) -> Interval | None:
    if draws is None:
        right = _right(data)
        return accuracy_interval(int(right.sum()), len(right))
    return percentile_interval(draws)
