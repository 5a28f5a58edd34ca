"""Selection of the best network, on validation only, with the reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from darkroom import candidate
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.scores.comparison import SIGNIFICANCE, compare_each
from darkroom.evaluation.scores.intervals import Bootstrap
from darkroom.evaluation.scores.macro import macro_draws
from darkroom.evaluation.scores.metrics import log_losses
from darkroom.foundations.errors import DarkroomError
from darkroom.markdown import numeral, percent, rounded
from darkroom.packed import UNEVEN, Split

Metric = Literal["accuracy", "macro_f1", "log_loss"]
Prefer = Literal["best", "cheapest_within_noise"]
FEW = 300
"""Number of validation images below which the selection may be due to chance: at 90%, an interval is over 7 points
wide."""
DRAWS = 2000
"""Resamples for the difference of two networks; corrected significance levels need well-sampled tails."""
WORDS: dict[Metric, str] = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}
COMPARED: dict[Metric, tuple[str, str]] = {
    "accuracy": ("higher", "highest"),
    "macro_f1": ("higher", "highest"),
    "log_loss": ("lower", "lowest"),
}
"""How the best metric of two networks, and of more, is called."""


@dataclass(frozen=True)
class Choice:
    """The best network and the reason."""

    best: Evaluated
    value: float
    """Its score on validation."""
    reason: str
    """One to three sentences for readers."""


def decide(metric: Literal["auto"] | Metric, split: Split) -> Metric:
    """Return the metric to select by: `metric` itself, or for auto the one that suits the class balance."""
    if metric == "auto":
        return "macro_f1" if split.imbalance() > UNEVEN else "accuracy"
    return metric


def choose(
    networks: Sequence[Evaluated],
    baseline: Evaluated,
    metric: Metric,
    prefer: Prefer = "best",
    *,
    labels: npt.NDArray[np.int64],
    seed: int,
) -> Choice:
    """Return the network with the best validation `metric`; the reason mentions a `baseline` that is better.

    labels: those of the validation rows, shape (rows,); seed: of the resamples.

    If every network was cross-validated, the folds decide instead of the single validation split. Ties are broken by
    lower log loss, then fewer parameters, then name. `cheapest_within_noise` selects the network with the fewest
    parameters among those within noise of the best on validation: for accuracy, McNemar's exact test with Holm's
    correction finds no significant difference; for other metrics, the bootstrap interval of the difference, with
    Bonferroni's correction, contains 0. Parameters stand for cost because, unlike measured times, they are the same on
    every machine.

    Raises DarkroomError if there is no network.
    """
    if not networks:
        raise DarkroomError("there is no network to select: add one to `scratch` or `transfer` in params.yaml")
    sign = 1 if metric == "log_loss" else -1
    by_folds = evaluated_by_folds(networks)

    def measured(network: Evaluated) -> float:
        return float(getattr(network.folds if by_folds else network.validation, metric))

    def keys(network: Evaluated) -> tuple[float, float, int, str]:
        return sign * measured(network), network.validation.log_loss, network.card.parameters, network.card.name

    ranked = sorted(networks, key=keys)
    best = ranked[0]
    value = measured(best)
    name, count = best.card.name, len(ranked)
    shown = _shown(value, metric)
    where = f"{WORDS[metric]} in {_cross_validation(best)}" if by_folds else f"validation {WORDS[metric]}"
    comparison = COMPARED[metric][0 if count == 2 else 1]
    tied = [network for network in ranked if measured(network) == value]
    if count == 1:
        reason = f"{name} is the only network."
    elif len(tied) == 1:
        reason = f"Of the {numeral(count)} networks, {name} has the {comparison} {where} ({shown})."
    else:
        share = f"have the same {where}" if len(tied) == count else f"share the {comparison} {where}"
        those = {2: "Both", 3: "All three"}.get(count, f"All {count}") if len(tied) == count else ""
        those = those or f"{numeral(len(tied)).capitalize()} of the {numeral(count)}"
        reason = f"{those} networks {share} ({shown}); {name} is selected for {_advantage(*tied[:2])}."
    if prefer == "cheapest_within_noise":
        cheapest = min([best, *_within_noise(ranked, metric, labels, seed)], key=lambda each: each.card.parameters)
        if cheapest is not best:
            reason += (
                f" {cheapest.card.name} is not significantly worse on validation and is preferred because it has fewer "
                f"parameters ({cheapest.card.parameters:,} instead of {best.card.parameters:,})."
            )
            best, value = cheapest, measured(cheapest)
    return Choice(best, value, reason + _baseline_remark(best, ranked, baseline, metric))


def _baseline_remark(best: Evaluated, networks: Sequence[Evaluated], baseline: Evaluated, metric: Metric) -> str:
    """Return a remark if the baseline has a better validation `metric` than the selected network, or than all."""
    sign = 1 if metric == "log_loss" else -1
    reached = float(getattr(baseline.validation, metric))
    worse = [each for each in networks if sign * reached < sign * float(getattr(each.validation, metric))]
    if not any(each is best for each in worse):
        return ""
    own = f"{best.card.name} ({_shown(float(getattr(best.validation, metric)), metric)})"
    others = "every network" if len(worse) == len(networks) > 1 else own
    return f" On validation, the baseline has a better {WORDS[metric]} ({_shown(reached, metric)}) than {others}."


def evaluated_by_folds(networks: Sequence[Evaluated]) -> bool:
    """Return whether folds can decide, which needs fold scores of every network."""
    return all(network.folds for network in networks)


def caution(networks: Sequence[Evaluated], prefer: Prefer = "best") -> str:
    """Return a warning if a small validation split chose among several networks, else an empty string."""
    images = len(networks[0].validation_right)
    by_folds = evaluated_by_folds(networks)
    if len(networks) == 1 or images >= FEW or (by_folds and prefer == "best"):
        return ""
    remedy = "A larger validation split would make it more reliable (split.validation)."
    if by_folds:
        remedy = (
            "Folds do not show what is within noise: use a larger validation split (split.validation), or "
            "select.prefer: best."
        )
    elif not (trained := [network.card.name for network in networks if network.card.training.get("method") != "probe"]):
        remedy = "Set select.folds: 5 to select by cross-validation."
    elif any(network.folds for network in networks):
        names = f"{', '.join(trained[:-1])} and {trained[-1]}".removeprefix(" and ")
        remedy += " Cross-validation could not be used: it is for networks of which only the last layer is trained, "
        remedy += f"unlike {names}."
    return f"With only {images} validation images, this selection may be due to chance. {remedy}"


def _cross_validation(network: Evaluated) -> str:
    """Return "5-fold cross-validation, repeated twice"."""
    assert network.folds is not None
    repeats = network.folds.repeats
    often = {1: "", 2: ", repeated twice"}.get(repeats, f", repeated {numeral(repeats)} times")
    return f"{network.folds.folds}-fold cross-validation{often}"


def _within_noise(
    ranked: Sequence[Evaluated], metric: Metric, labels: npt.NDArray[np.int64], seed: int
) -> list[Evaluated]:
    """Return the networks whose validation `metric` is within noise of that of the first."""
    top, *others = ranked
    if metric == "accuracy":
        compared = compare_each(top.validation_right, {each.card.name: each.validation_right for each in others})
        return [each for each in others if compared[each.card.name].verdict == "within noise"]
    bootstrap = Bootstrap(len(labels), seed, DRAWS)
    first, tail = _resampled(top, metric, labels, bootstrap), SIGNIFICANCE / 2 / max(1, len(others))

    def within_noise(other: Evaluated) -> bool:
        low, high = np.quantile(_resampled(other, metric, labels, bootstrap) - first, (tail, 1 - tail))
        return bool(low <= 0 <= high)

    return [each for each in others if within_noise(each)]


def _resampled(
    network: Evaluated, metric: Metric, labels: npt.NDArray[np.int64], bootstrap: Bootstrap
) -> npt.NDArray[np.float64]:
    """Return the validation macro F1 or log loss of each resample, shape (draws,)."""
    probabilities = candidate.softmax(network.predictions.validation, network.temperature)
    if metric == "macro_f1":
        predicted = probabilities.argmax(axis=1).astype(np.int64)
        return macro_draws(predicted, labels, probabilities.shape[1], bootstrap)[1]
    return bootstrap.sums(csc_array(log_losses(probabilities, labels)[:, np.newaxis]))[:, 0] / len(labels)


def _shown(value: float, metric: Metric) -> str:
    return percent(value, 2) if metric == "accuracy" else rounded(value, 4)


def _advantage(first: Evaluated, second: Evaluated) -> str:
    """Return the reason why `first` ranks before `second`, which has the same score."""
    if first.validation.log_loss != second.validation.log_loss:
        return f"its lower log loss ({rounded(first.validation.log_loss, 4)})"
    if first.card.parameters != second.card.parameters:
        return f"having fewer parameters ({first.card.parameters:,})"
    return "the alphabetical order of the names"
