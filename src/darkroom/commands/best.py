"""`darkroom best`: the best experiment, by validation unless a metric is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from darkroom import git
from darkroom.commands import dvc_internals, ranking
from darkroom.commands.ranking import METRICS, Experiment, Row, Validation, ValidationMetric
from darkroom.commands.review import revisions
from darkroom.commands.review.revisions import Revision
from darkroom.evaluation.scores.intervals import Interval
from darkroom.foundations import naming, params
from darkroom.foundations.errors import DarkroomError

NAMES: dict[str, str] = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}


@dataclass(frozen=True)
class Ranking:
    """The experiments, the best first."""

    metric: str
    """For display."""
    rows: list[Row]
    skipped: list[str]
    """Experiments without results here."""
    remarks: list[str]

    def lines(self) -> list[str]:
        """Return the ranking as lines for a terminal."""
        cells = [("experiment", self.metric, "95% interval", "compared with the best")]
        for row in self.rows:
            interval = f"{_shown(row.interval[0])} to {_shown(row.interval[1])}" if row.interval else ""
            p_value = "" if row.p_value is None else f" (p = {row.p_value:.3f})"
            cells.append((naming.shown(row.experiment.name), _shown(row.value), interval, f"{row.standing}{p_value}"))
        widths = [max(len(line[place]) for line in cells) for place in range(len(cells[0]))]
        table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in cells]
        return ["", *(f"  {line.rstrip()}" for line in table), "", *self.remarks]

    def plain(self) -> dict[str, Any]:
        """Return the ranking as plain values."""
        rows = [
            {
                "experiment": row.experiment.name,
                "commit": row.experiment.commit,
                "model": row.model or None,
                "value": row.value,
                "interval": list(row.interval) if row.interval else None,
                "standing": row.standing,
                "p_value": row.p_value,
            }
            for row in self.rows
        ]
        return {"metric": self.metric, "experiments": rows, "skipped": self.skipped}


def best(metric: str | None = None, *, lower: bool | None = None, commits: int = 1) -> Ranking:
    """Rank the experiments of the last `commits` commits, and these commits.

    metric: accuracy, macro_f1 or log_loss on validation; None is the one that selects networks. Or any metric of
    `dvc exp show`, such as best.test_accuracy. lower: whether less is better, for the latter only.

    Raises DarkroomError if there are no experiments, or none has such a metric.
    """
    shown = _experiments(commits)
    if metric is None or metric in METRICS:
        trials = [each for each, row in shown.items() if isinstance(row.get("trial.number"), int)]
        found = _by_validation([each for each in shown if each not in trials], metric)
        if trials:  # they have a candidate, but no results of the evaluation, which selects one
            found.remarks.append(f"{len(trials)} trials of `darkroom sweep` are not in this list: it compares them.")
        return found
    return _by_metric(shown, metric, lower)


def apply(found: Ranking) -> str:
    """Apply the best experiment to the workspace; return what was done.

    Raises DarkroomError if there are uncommitted changes, which would be lost, or DVC fails.
    """
    winner = found.rows[0].experiment
    name = naming.shown(winner.name)
    if winner.is_commit:
        return f"{name} is a commit, not an experiment: nothing is applied."
    if changed := git.changed():
        raise DarkroomError(
            f"{naming.listed(changed, most=5)} have uncommitted changes: commit or stash them before {name} is applied"
        )
    with dvc_internals.repository(f"DVC cannot apply {name}") as repo:
        repo.experiments.apply(winner.name)
    return f"{name} is in the workspace: commit it to keep it (git add --update && git commit)."


def _experiments(commits: int) -> dict[Experiment, dict[str, Any]]:
    """Return the experiments with what `dvc exp show` says about them."""
    import dvc.api

    with dvc_internals.reported("DVC cannot list the experiments"):
        rows = dvc.api.exp_show(num=commits)
    found: dict[Experiment, dict[str, Any]] = {}
    for row in rows:
        if row["rev"] == "workspace" or row["State"] in ("Queued", "Running", "Failed"):
            continue
        is_commit = row["typ"] == "baseline"
        commit = git.commit(row["rev"])
        found[Experiment(str(row["Experiment"] or row["rev"]), commit, is_commit)] = row
    if all(experiment.is_commit for experiment in found):
        raise DarkroomError("there are no finished experiments of the last commit: run some with `dvc exp run -S …`")
    return found


def _by_validation(experiments: Sequence[Experiment], metric: str | None) -> Ranking:
    cache = revisions.cache_folder()
    found: dict[Experiment, Validation] = {}
    skipped = []
    for experiment in experiments:
        try:
            data = ranking.read_validation(Revision(experiment.commit), cache)
        except DarkroomError as error:
            data, reason = None, str(error)
        else:
            reason = "its predictions are not in the cache"
        if data:
            found[experiment] = data
        else:
            skipped.append(f"{experiment.name}: {reason}")
    if not found:
        raise DarkroomError(
            f"no experiment has predictions here ({naming.shown(skipped[0])}): `dvc exp pull` gets those of others, "
            "and `dvc exp run` makes them"
        )
    chosen: ValidationMetric = next((name for name in METRICS if name == metric), found[next(iter(found))].selected_by)
    rows = ranking.on_validation(found, chosen)
    images = len(found[rows[0].experiment].labels)
    remarks = _remarks(rows, f"on {naming.count(images, 'validation image')}", skipped)
    if any(row.standing == "not comparable" for row in rows):
        remarks.append("Not comparable: experiments with another split than the best.")
    return Ranking(f"validation {NAMES[chosen]}", rows, skipped, remarks)


def _by_metric(shown: dict[Experiment, dict[str, Any]], metric: str, lower: bool | None) -> Ranking:
    numbers = {each: row for each, row in shown.items() if isinstance(row.get(metric), int | float)}
    if not numbers:
        known = {
            key
            for row in shown.values()
            for key, value in row.items()
            if isinstance(value, int | float) and not key.startswith("per_class.")
        }
        raise DarkroomError(
            f"no experiment has the metric {naming.shown(metric)}. {params.choices(metric, [*METRICS, *known])}"
        )
    values = {each: (float(row[metric]), _bounds(row, metric)) for each, row in numbers.items()}
    skipped = [f"{each.name}: it has no {metric}" for each in shown if each not in numbers]
    rows = ranking.by_value(values, metric, lower=lower)
    remarks = _remarks(rows, "by interval", skipped)
    if "test_" in metric:
        remarks.append(
            "This metric is on the test images: who chooses by it gets scores that are too good. Without --metric, "
            "validation decides."
        )
    return Ranking(metric, rows, skipped, remarks)


def _bounds(row: dict[str, Any], metric: str) -> Interval | None:
    low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
    return (float(low), float(high)) if low is not None and high is not None else None


def _remarks(rows: Sequence[Row], where: str, skipped: Sequence[str]) -> list[str]:
    tied = [row.experiment.name for row in rows if row.standing == "within noise"]
    name = naming.shown(rows[0].experiment.name)
    if tied:
        lines = [f"{name} is the best {where}, but within noise of {naming.listed(tied)}."]
    else:
        lines = [f"{name} is the best {where}." if len(rows) > 1 else f"{name} is the only one with results."]
    if skipped:
        lines.append(f"Left out: {naming.listed(skipped, most=5)}.")
    if not rows[0].experiment.is_commit:
        lines.append(f"Apply it: darkroom best --apply, or dvc exp apply {name}")
    return lines


def _shown(value: float) -> str:
    return f"{value:.4f}"
