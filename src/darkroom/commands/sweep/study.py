"""The search with Optuna: which parameters to try next, which trials to stop, and what survives a kill.

Only the command talks to Optuna, never its workers. A trial that was running when the command was killed is still
marked as running; the next command adopts it and continues it under the same number.
"""

import contextlib
import itertools
import os
import platform
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from darkroom.commands.settings import Choice, Dimension, IntRange, SweepSettings
from darkroom.commands.sweep.plan import Plan
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

JOURNAL = Path(".darkroom/sweep/journal.log")
ALIVE, STALE = 60.0, 900.0
"""Seconds between two signs of life of a trial, and after which another machine continues a trial without one."""
STARTUP = 5
"""Trials that are never stopped early, because the median of fewer says little."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Search:
    """The trials of one plan. `storage`: a journal file on a shared disk or a database URL; None is this project's."""

    def __init__(self, plan: Plan, storage: str | None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan, self.local = plan, storage is None
        self.me = f"{platform.node()}:{Path.cwd()}"
        self.wanted = min(plan.settings.trials, _grid_size(plan.settings) or plan.settings.trials)
        if storage is None:
            _repair(JOURNAL)
        self.study = optuna.create_study(
            storage=_storage(storage),
            study_name=f"darkroom-{plan.key}",
            direction="minimize" if plan.settings.metric == "log_loss" else "maximize",
            pruner=_pruner(plan.settings, plan.epochs({})),
            load_if_exists=True,
        )
        self.space = {name: _distribution(dimension) for name, dimension in plan.settings.space.items()}
        self._signs: dict[int, float] = {}
        for values in [plan.defaults, *_grid(plan.settings, plan.defaults)]:
            self.study.enqueue_trial(values, skip_if_exists=True)

    def check(self, data: Mapping[str, str]) -> None:
        """Record what all trials are trained on, by path: hashes. Raises DarkroomError if earlier ones had others."""
        before = self.study.user_attrs.get("data")
        if before is None:
            self.study.set_user_attr("data", dict(data))
        elif before != data:
            paths = sorted(path for path in {*before, *data} if before.get(path) != data.get(path))
            raise DarkroomError(
                f"the images or weights are not those with which this search began: {naming.listed(paths)}\n"
                "run `dvc repro` and commit dvc.lock, and a new search begins; or restore the former files"
            )

    def trials(self) -> list[FrozenTrial]:
        """Return all trials that are waiting, running or ended, by number."""
        states = (*ENDED, TrialState.RUNNING, TrialState.WAITING)
        return self.study.get_trials(deepcopy=False, states=states)

    def ended(self) -> list[FrozenTrial]:
        """Return the trials that ended."""
        return [trial for trial in self.trials() if trial.state in ENDED]

    def ask(self) -> tuple[Trial, dict[str, Any]] | None:
        """Return a trial to run with its parameters by dotted name, None if there are enough."""
        if len([trial for trial in self.trials() if trial.state != TrialState.WAITING]) >= self.wanted:
            return None
        self.study.sampler = _sampler(self.plan, len(self.trials()), self.me)
        trial = self.study.ask()
        # Two machines may ask at the same time: the storage numbers the trials, so they agree on which is too many.
        if sum(each.number < trial.number for each in self.trials()) >= self.wanted:
            self.withdraw(trial)
            return None
        return trial, self._claim(trial)

    def adopt(self, running: frozenset[int]) -> list[tuple[Trial, dict[str, Any]]]:
        """Return the trials that a killed command left running, besides those that this one runs."""
        found = []
        for each in self.trials():
            owner, sign = each.user_attrs.get("owner"), each.user_attrs.get("alive")
            if sign is None and each.datetime_start is not None:
                sign = each.datetime_start.timestamp()
            alive = sign is not None and time.time() - sign < STALE
            ours = owner == self.me or self.local or not alive
            if ours and each.state == TrialState.RUNNING and each.number not in running:
                trial = Trial(self.study, each._trial_id)
                with contextlib.suppress(UpdateFinishedTrialError):  # another machine ended it meanwhile
                    found.append((trial, self._claim(trial)))
        return found

    def _claim(self, trial: Trial) -> dict[str, Any]:
        trial.set_user_attr("owner", self.me)
        self.sign(trial)
        return {name: _suggest(trial, name, distribution) for name, distribution in self.space.items()}

    def sign(self, trial: Trial) -> None:
        """Record that a trial still runs or waits here, once a minute."""
        last = self._signs.get(trial.number)
        if last is None or time.monotonic() - last >= ALIVE:
            self.note(trial, "alive", time.time())
            self._signs[trial.number] = time.monotonic()

    def note(self, trial: Trial, name: str, value: Any) -> None:
        """Record an attribute of a trial, unless another machine ended it meanwhile."""
        if not self.is_finished(trial):
            with contextlib.suppress(UpdateFinishedTrialError):
                trial.set_user_attr(name, value)

    def is_finished(self, trial: Trial) -> bool:
        """Return whether a trial ended, perhaps on another machine."""
        return self.study._storage.get_trial(trial._trial_id).state.is_finished()

    def withdraw(self, trial: Trial) -> None:
        """Drop a trial that was not run."""
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Record a validation score after an epoch; return whether the trial should be stopped.

        The epochs of a trial that is run again are recorded once.
        """
        current = self.study._storage.get_trial(trial._trial_id)
        if current.state.is_finished() or epoch in current.intermediate_values:
            return False
        try:
            trial.report(value, epoch)
        except UpdateFinishedTrialError:  # by another machine, meanwhile
            return False
        return trial.should_prune()

    def tell(self, trial: Trial, results: Mapping[str, Any]) -> None:
        """Record how a trial ended; a trial that another machine ended meanwhile stays as it is."""
        if self.is_finished(trial):
            return
        self.note(trial, "results", dict(results))
        if results["state"] == "complete":
            self.study.tell(trial, results[f"validation_{self.plan.settings.metric}"], skip_if_finished=True)
        else:
            self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)


def _storage(given: str | None) -> BaseStorage:
    """Open the storage. Raises DarkroomError if it cannot be opened."""
    if given is not None and "://" in given:
        try:
            return RDBStorage(given)
        except Exception as error:  # of SQLAlchemy and of any database's driver
            raise DarkroomError(
                f"--storage {naming.shown_address(given)} cannot be used: {naming.shown(str(error).splitlines()[0])}"
            ) from None
    path = Path(given) if given is not None else JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _repair(path: Path) -> None:
    """Remove what a killed command left: a lock, and half a line at the end. No other command may be running."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n") and content:
        os.truncate(path, content.rfind(b"\n") + 1)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(tuple(dimension.values))
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Return the value of a parameter, chosen now if it was not yet."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _sampler(plan: Plan, count: int, machine: str) -> BaseSampler:
    """Return a sampler for the next trial: its random numbers differ from those before a kill, and between machines."""
    seed = zlib.crc32(f"{plan.seed} {count} {machine}".encode())
    if plan.settings.sampler == "tpe":
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)
    return RandomSampler(seed=seed)


def _pruner(settings: SweepSettings, epochs: int) -> BasePruner:
    """Return the pruner; the first third of the epochs, while the learning rate warms up, decides nothing."""
    first = max(1, epochs // 3)
    if settings.pruner == "median":
        return MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=first)
    if settings.pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=max(epochs, first + 1), reduction_factor=3)
    return NopPruner()


def _values(dimension: Dimension) -> list[Any]:
    if isinstance(dimension, Choice):
        return list(dimension.values)
    return list(range(int(dimension.low), int(dimension.high) + 1))


def _grid_size(settings: SweepSettings) -> int:
    """Return the number of combinations, 0 if it is no grid."""
    if settings.sampler != "grid":
        return 0
    size = 1
    for dimension in settings.space.values():
        size *= len(_values(dimension))
    return size


def _grid(settings: SweepSettings, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the combinations to try in addition to the current values, up to the number of trials; none else."""
    if settings.sampler != "grid":
        return []
    names = list(settings.space)
    rows = itertools.product(*(_values(settings.space[name]) for name in names))
    others = (row for row in rows if list(row) != [defaults[name] for name in names])
    return [dict(zip(names, row, strict=True)) for row in itertools.islice(others, settings.trials - 1)]
