"""What a sweep prints, and its page with a table and two figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from darkroom import git, packed, plotting
from darkroom.commands import dvc_internals, ranking
from darkroom.commands.ranking import Experiment, Row, Validation
from darkroom.commands.review import page
from darkroom.commands.review.blocks import Section, SideBySide, Table
from darkroom.commands.review.revisions import Revision
from darkroom.commands.sweep import trials
from darkroom.commands.sweep.plan import Plan
from darkroom.commands.sweep.study import Search
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

FOLDER = Path("plots/sweep")
WORDS = {"log_loss": "log loss", "accuracy": "accuracy", "macro_f1": "macro F1"}
ENDINGS = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
SHOWN = 10
"""Most trials in the printed table; the page has all."""
NEEDED = 4
"""Fewer complete trials give no importance."""


def opening(plan: Plan, search: Search, left: int, jobs: int) -> str:
    """Return the line with which a sweep starts."""
    ended = len(search.ended())
    before = f", {ended} of them done" if ended else ""
    workers = "" if left <= 0 else f", {min(jobs, left)} at a time"
    names = naming.listed(short_names(list(plan.settings.space)), most=20)
    return f"{search.wanted} trials of {plan.settings.candidate}{before}{workers}; searched: {names}"


def short_names(names: list[str]) -> list[str]:
    """Return the last part of each dotted name where that is clear, else the whole name."""
    last = [name.rpartition(".")[2] for name in names]
    return [short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)]


def line(
    plan: Plan, search: Search, found: Mapping[str, Any], values: Mapping[str, Any], seconds: float | None = None
) -> str:
    """Return the line for a trial that ended; its seconds are not known if an earlier command ran it."""
    best = best_trial(search)
    mark = "  best so far" if best is not None and best.number == found["number"] else ""
    time = "" if seconds is None else f"{seconds:.0f} s"
    return f"trial {found['number']:>3}  {_score(plan, found)}  {time:>6}  {_shown(values)}{mark}"


def _score(plan: Plan, found: Mapping[str, Any]) -> str:
    if found["state"] == "complete":
        return f"{WORDS[plan.settings.metric]} {found[f'validation_{plan.settings.metric}']:.4f}"
    return f"{ENDINGS[found['state']]} after epoch {found['stopped_after_epochs']}"


def _shown(values: Mapping[str, Any]) -> str:
    names = short_names(list(values))
    pairs = zip(names, values.values(), strict=True)
    return ", ".join(f"{name} {_value(value)}" for name, value in pairs)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else naming.shown(str(value))


def best_trial(search: Search) -> FrozenTrial | None:
    """Return the complete trial with the best score; the earliest of equal ones. None if there is none."""
    ranked = ordered(search)
    return ranked[0] if ranked and ranked[0].state == TrialState.COMPLETE else None


def ordered(search: Search) -> list[FrozenTrial]:
    """Return the trials that ended: complete ones, the best first, then the others."""
    sign = -1 if search.study.direction == optuna.study.StudyDirection.MAXIMIZE else 1

    def place(trial: FrozenTrial) -> tuple[bool, float, int]:
        complete = trial.state == TrialState.COMPLETE
        return not complete, sign * trial.value if complete and trial.value is not None else 0.0, trial.number

    return sorted(search.ended(), key=place)


def interrupted(search: Search) -> str:
    """Return what to do after an interruption."""
    return (
        f"\ninterrupted: {len(search.ended())} of {search.wanted} trials are done. `darkroom sweep` continues, "
        "first with the trials that were running"
    )


def closing(plan: Plan, search: Search) -> list[str]:
    """Write the figures and the page; return the lines of the report."""
    best = best_trial(search)
    if best is None:
        return ["no trial is complete: continue with `darkroom sweep`"]
    rows = [_row(plan, trial) for trial in ordered(search)]
    columns = ("experiment", WORDS[plan.settings.metric], *short_names(list(plan.settings.space)))
    table = Table(columns, rows)
    verdict = _verdict(plan, best, search)
    written = _write(plan, search, table, verdict)
    left = search.wanted - len(search.ended())
    more = [f"{left} more trials: `darkroom sweep` continues"] if left > 0 else []
    name = trials.name_of(plan, best.number, "complete")
    apply = f"Apply it: dvc exp apply {name} {plan.apply} dvc repro" if best.number else ""
    return ["", *_lines(table), "", *verdict, *([apply] if apply else []), *more, f"Page: {written}"]


def _row(plan: Plan, trial: FrozenTrial) -> tuple[str, ...]:
    found = trial.user_attrs["results"]
    score = f"{trial.value:.4f}" if found["state"] == "complete" else _score(plan, found)
    name = trials.name_of(plan, trial.number, found["state"])
    return (name, score, *(_value(trial.params[key]) for key in plan.settings.space))


def _lines(table: Table) -> list[str]:
    cells = [table.columns, *table.rows[:SHOWN]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(table.columns))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
    more = [f"… and {len(table.rows) - SHOWN} more, see the page"] if len(table.rows) > SHOWN else []
    return [f"  {line}".rstrip() for line in [*lines, *more]]


def _verdict(plan: Plan, best: FrozenTrial, search: Search) -> list[str]:
    """Return whether the best trial beats the current parameters, trial 0, on the validation images."""
    metric, name = WORDS[plan.settings.metric], trials.name_of(plan, best.number, "complete")
    first = next((trial for trial in search.ended() if trial.number == 0), None)
    if best.number == 0:
        return [f"The current parameters are the best on validation ({metric} {best.value:.4f}): nothing to apply."]
    if first is None or first.value is None:
        return [f"{name} is the best on validation ({metric} {best.value:.4f}); trial 0 has not ended."]
    values = f"{metric} {best.value:.4f}, with the current parameters {first.value:.4f}"
    if best.value == first.value:
        return [f"No trial beats the current parameters on validation ({metric} {best.value:.4f})."]
    compared = _compared(plan, best.number)
    if compared is None:
        return [f"{name} is the best on validation ({values}); its predictions are not here to test the difference."]
    if compared.standing == "not comparable":
        return [f"{name} has the best score ({values}), but was made with other images: the two do not compare."]
    if compared.standing == "within noise":
        return [f"{name} is the best on validation, but within noise of the current parameters ({values})."]
    return [
        f"{name} beats the current parameters on validation ({values}); the difference is significant, but "
        f"the best of {len(search.ended())} trials looks better than it is."
    ]


def _compared(plan: Plan, number: int) -> Row | None:
    """Return how the current parameters compare with a trial on the same images; None if predictions are missing."""
    found = {}
    for each in (number, 0):
        name = trials.name_of(plan, each, "complete")
        try:
            data = _validation(plan, name)
        except DarkroomError:
            data = None  # made on another machine
        if data is None:
            return None
        found[Experiment(name, name, is_commit=False)] = data
    rows = ranking.on_validation(found, plan.settings.metric)
    return next(row for row in rows if row.experiment.name == trials.name_of(plan, 0, "complete"))


def _validation(plan: Plan, name: str) -> Validation | None:
    reference = dvc_internals.experiment_reference(plan.base.commit, name)
    revision = Revision(git.run("rev-parse", "--verify", reference))
    cache = plan.cache / "files" / "md5"
    predictions = revision.cached(f"{plan.folder}/predictions.npz", cache)
    split = revision.cached(str(trials.SPLIT), cache)
    if predictions is None or split is None:
        return None
    probabilities, labels = trials.calibrated(predictions, packed.read_split(split))
    return Validation(plan.settings.candidate, plan.settings.metric, files.sha256(split), labels, probabilities)


def _write(plan: Plan, search: Search, table: Table, verdict: list[str]) -> Path:
    """Write the page and its figures; return the page's path."""
    figures = [("Score of each trial", _history(plan, search))]
    if shares := _importance(search):
        figures.append(("Importance of the parameters (PED-ANOVA)", _bars(shares)))
    names = ("history.png", "importance.png")
    for (_, figure), name in zip(figures, names, strict=False):
        plotting.save(figure, FOLDER / name)
    sections = [Section("Search", [SideBySide(figures)]), Section("Trials", [table])]
    path = FOLDER / "sweep.html"
    title = f"Sweep of {plan.settings.candidate}, validation {WORDS[plan.settings.metric]}"
    page.write(path, title, "passes", verdict, sections)
    return path


def _history(plan: Plan, search: Search) -> Figure:
    """Draw the score of each complete trial, and the best so far; ticks below mark trials that were stopped."""
    complete = [trial for trial in search.ended() if trial.state == TrialState.COMPLETE]
    stopped = [trial.number for trial in search.ended() if trial.state != TrialState.COMPLETE]
    better = min if plan.settings.metric == "log_loss" else max
    scores = [float(trial.value) for trial in complete if trial.value is not None]
    best = [better(scores[: place + 1]) for place in range(len(scores))]
    with plotting.figure(6.2, 3.8) as drawing:
        axes = drawing.subplots()
        numbers = [trial.number for trial in complete]
        axes.plot(numbers, best, color=plotting.BLUE, drawstyle="steps-post", label="best so far")
        axes.plot(numbers, scores, "o", color=plotting.MUTED, markersize=5, label="trial")
        if stopped:
            low = axes.get_ylim()[0]
            axes.plot(stopped, [low] * len(stopped), "|", color=plotting.MUTED, markersize=9, label="stopped early")
        if plan.settings.metric == "log_loss" and max(scores) > 4 * min(scores) > 0:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="Trial", ylabel=f"Validation {WORDS[plan.settings.metric]}")
        axes.legend()
    return drawing


def _importance(search: Search) -> dict[str, float]:
    """Return the share of each parameter, the largest first; empty if there are too few trials to say."""
    complete = [trial for trial in search.ended() if trial.state == TrialState.COMPLETE]
    if len(complete) < NEEDED or len({trial.value for trial in complete}) < 2:
        return {}
    return dict(optuna.importance.get_param_importances(search.study))


def _bars(shares: Mapping[str, float]) -> Figure:
    names = short_names(list(shares))
    with plotting.figure(6.2, 0.9 + 0.4 * len(names)) as drawing:
        axes = drawing.subplots()
        axes.barh(names, list(shares.values()), color=plotting.BLUE, height=0.6)
        axes.invert_yaxis()
        axes.set(xlabel="Importance", xlim=(0, 1))
    return drawing
