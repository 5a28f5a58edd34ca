"""Which network is the best: decided on validation alone, with the reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from darkroom.evaluation.judging import Judged
from darkroom.packed import UNEVEN, Split

Metric = Literal["accuracy", "macro_f1", "log_loss"]
WORDS: dict[Metric, str] = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}


@dataclass(frozen=True)
class Choice:
    """The best network and why it is."""

    best: Judged
    value: float
    """Its score on validation."""
    reason: str
    """One sentence for people."""


def decide(metric: Literal["auto"] | Metric, split: Split) -> Metric:
    """Return what to choose by: `metric`, or for auto the one that the sizes of the classes ask for."""
    if metric == "auto":
        return "macro_f1" if split.imbalance() > UNEVEN else "accuracy"
    return metric


def choose(networks: Sequence[Judged], bar: Judged, metric: Metric) -> Choice:
    """Return the network with the best validation `metric`; the reason says so where the baseline `bar` is better.

    A tie goes to the lower log loss, then to fewer parameters, then to the first name.
    """
    sign = 1 if metric == "log_loss" else -1

    def keys(network: Judged) -> tuple[float, float, int, str]:
        value: float = getattr(network.validation, metric)
        return sign * value, network.validation.log_loss, network.card.parameters, network.card.name

    ranked = sorted(networks, key=keys)
    best = ranked[0]
    value: float = getattr(best.validation, metric)
    name, count = best.card.name, len(ranked)
    shown = _shown(value, metric)
    score = f"the {'lowest' if metric == 'log_loss' else 'highest'} validation {WORDS[metric]} ({shown})"
    tied = [network for network in ranked if getattr(network.validation, metric) == value]
    if count == 1:
        reason = f"{name} is the only network."
    elif len(tied) == 1:
        reason = f"Of {count} networks, {name} has {score}."
    else:
        reason = f"{len(tied)} of {count} networks share {score}; {name} wins by {_advantage(*tied[:2])}."
    reached: float = getattr(bar.validation, metric)
    if sign * reached < sign * value:
        reason += f" The baseline is better there ({_shown(reached, metric)}): the networks learned too little."
    return Choice(best, value, reason)


def _shown(value: float, metric: Metric) -> str:
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4f}"


def _advantage(first: Judged, second: Judged) -> str:
    """Say what puts `first` before `second`, which has the same score."""
    if first.validation.log_loss != second.validation.log_loss:
        return f"its lower log loss ({first.validation.log_loss:.4f})"
    if first.card.parameters != second.card.parameters:
        return f"having fewer parameters ({first.card.parameters:,})"
    return "coming first by name"
