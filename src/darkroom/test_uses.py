"""How often the test split has been used: the number of models that were scored on its present images."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from darkroom import git

DATA = "metrics/data.json"
EVALUATION = "metrics/evaluation.json"
LIMIT = 25
"""Number of models from which on a fresh test set is due.

The expected maximum of 25 independent standard normal values is 1.965, and a 95% interval reaches 1.960 standard
errors: of 25 equally good models, the one that scores highest is expected to lie as far above its true accuracy as its
own interval reaches. Models that agree on most images need many more (Mania et al., Model Similarity Mitigates Test Set
Overuse, 2019).
"""
DIGITS = 4
"""Digits of the metrics that distinguish two models; rounding on another processor must not count as a new model."""


@dataclass(frozen=True)
class Uses:
    """The models scored on the present test images."""

    models: int
    """Distinct models by name and rounded test scores, in the history and in the present results."""
    commits: int
    """Commits with scores on these images."""
    in_experiments: int
    """Further models in DVC experiments of this clone."""
    is_shallow: bool
    """Whether older commits are missing, so that the numbers are lower bounds."""

    @property
    def due(self) -> bool:
        """Whether a fresh test set is due."""
        return self.models + self.in_experiments >= LIMIT


def count(data: Mapping[str, Any], evaluation: Mapping[str, Any], commit: str) -> Uses:
    """Count the models that were scored on the present test images.

    data, evaluation: contents of `metrics/data.json`, and of `metrics/evaluation.json` or `plots/tables/scores.json`.
    commit: the history to count in.

    Raises GitError if there is no repository, or no such commit.
    """
    wanted = data.get("test_hash")
    models = set(_models(evaluation))
    commits = 0
    for scores in _scored(wanted, commit):
        models |= set(_models(scores))
        commits += 1
    others: set[tuple[Any, ...]] = set()
    for scores in _scored(wanted, "--glob=refs/exps/[0-9a-f][0-9a-f]/*", f"^{commit}"):
        others |= set(_models(scores))
    return Uses(len(models), commits, len(others - models), git.is_shallow())


def _models(evaluation: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield name, accuracy and macro F1 of each candidate; nothing for those that another version wrote otherwise."""
    candidates = evaluation.get("candidates")
    for name, scores in candidates.items() if isinstance(candidates, dict) else ():
        if isinstance(scores, dict):
            nested = scores.get("test")
            earlier = nested if isinstance(nested, dict) else {}  # before scores were flat
            values = [scores.get(f"test_{metric}", earlier.get(metric)) for metric in ("accuracy", "macro_f1")]
            numbers = [round(value, DIGITS) for value in values if isinstance(value, int | float)]
            if numbers:
                yield name, *numbers


def _scored(test_hash: str | None, *start: str) -> Iterator[dict[str, Any]]:
    """Yield the scores of each commit that changed them and whose test images have this hash."""
    if test_hash is None:
        return
    commits = git.run("rev-list", "--full-history", *start, "--", EVALUATION, DATA).split()
    names = [f"{commit}:./{path}" for commit in commits for path in (DATA, EVALUATION)]
    texts = list(_contents(names))
    for data, evaluation in zip(texts[::2], texts[1::2], strict=True):
        if data.get("test_hash") == test_hash and evaluation:
            yield evaluation


def _contents(names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the content of JSON files in git; empty for those that are missing or not valid."""
    for text in git.read_all(names):
        try:
            found = json.loads(text or "")
        except ValueError:
            found = {}
        yield found if isinstance(found, dict) else {}
