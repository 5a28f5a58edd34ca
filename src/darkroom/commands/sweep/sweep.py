"""The loop of `darkroom sweep`: gives trials to workers, stops the bad ones early, and saves all of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from darkroom.commands import workers, workspaces
from darkroom.commands.dvc_internals import Outcome
from darkroom.commands.sweep import plan as plans
from darkroom.commands.sweep import report, trials
from darkroom.commands.sweep.plan import Plan
from darkroom.commands.sweep.study import Search
from darkroom.commands.sweep.trials import Epoch
from darkroom.commands.workers import Worker
from darkroom.commands.workspaces import Workspace
from darkroom.foundations.errors import DarkroomError

PAUSE = 0.2
"""Seconds between two looks at the workers."""
MOST = 4
"""Most workers without -j on a machine without a GPU: each needs about a gigabyte of memory."""
MOST_FAILURES = 3
"""After so many failures in a row, the machine is probably at fault, such as its disk."""
DIVERGED = "training diverged"
"""How the message of a training begins whose loss is no number."""
Say = Callable[[str], None]


@dataclass
class Running:
    """A trial that a worker runs."""

    trial: Trial
    values: dict[str, Any]
    began: float = field(default_factory=time.monotonic)
    epochs: list[Epoch] = field(default_factory=list)
    """As last seen: a training that is stopped removes its curves."""
    pruned: bool = False


class Sweep:
    """A search in progress on this machine."""

    def __init__(self, plan: Plan, search: Search, team: Sequence[Worker], lock: str, say: Say) -> None:
        self.plan, self.search, self.team, self.lock, self.say = plan, search, list(team), lock, say
        self.running: dict[Worker, Running] = {}
        self.orphans = search.adopt(frozenset())
        self.failures = 0
        self.deadline = time.monotonic() + 60 * plan.settings.minutes if plan.settings.minutes else None

    def run(self) -> None:
        """Run trials until there are enough, or the time is up. Raises DarkroomError if the first or too many fail."""
        while True:
            for worker in self.team:
                if worker in self.running:
                    self._look(worker)
                if worker not in self.running and (following := self._next(worker.workspace.number)):
                    self._start(worker, *following)
            if not self.running:
                return
            for trial, _ in self.orphans:
                self.search.sign(trial)  # no other machine shall take it
            time.sleep(PAUSE)

    def _next(self, workspace: int) -> tuple[Trial, dict[str, Any]] | None:
        """Return the next trial to run in a workspace, those of a killed command first, None if there is none."""
        while self.orphans:
            places = [trial.user_attrs.get("workspace") for trial, _ in self.orphans]
            # Where it was running, its checkpoint is.
            trial, values = self.orphans.pop(places.index(workspace) if workspace in places else 0)
            if self.search.is_finished(trial):  # by another machine
                continue
            if (found := trials.saved(self.plan, trial.number)) is None:
                return trial, values
            self.search.tell(trial, found)  # the command was killed after its experiment was saved
            self.say(report.line(self.plan, self.search, found, values))
        if self.deadline is not None and time.monotonic() > self.deadline:
            return None
        self.orphans = self.search.adopt(frozenset(each.trial.number for each in self.running.values()))
        return self._next(workspace) if self.orphans else self.search.ask()

    def _start(self, worker: Worker, trial: Trial, values: dict[str, Any]) -> None:
        self.search.note(trial, "workspace", worker.workspace.number)
        self.running[worker] = Running(trial, values)

        def reset() -> None:
            worker.workspace.reset(self.plan.base, values, self.lock)
            trials.clear(worker.workspace, self.plan)

        worker.start([self.plan.stage], reset=reset)

    def _look(self, worker: Worker) -> None:
        """Stop a trial that the pruner gives up; save one that ended."""
        current = self.running[worker]
        self.search.sign(current.trial)
        outcome = worker.poll()
        if outcome is not None:
            self._save(worker, current, outcome)
            del self.running[worker]
        elif not current.pruned and self._is_hopeless(worker, current):
            current.pruned = True
            worker.stop()

    def _is_hopeless(self, worker: Worker, current: Running) -> bool:
        last = self.plan.epochs(current.values)
        if epochs := trials.curve(worker.workspace, self.plan):
            current.epochs = epochs
        return self._report(current, epochs) and epochs[-1].number < last

    def _report(self, current: Running, epochs: Sequence[Epoch]) -> bool:
        """Record scores after epochs; return whether the trial should be stopped."""
        by_loss = self.plan.settings.metric == "log_loss"
        verdicts = [
            self.search.report(current.trial, each.number, each.loss if by_loss else each.accuracy) for each in epochs
        ]
        return any(verdicts)

    def _save(self, worker: Worker, current: Running, outcome: Outcome) -> None:
        """Save a trial that ended as an experiment, then tell Optuna: a kill in between loses nothing."""
        number, workspace = current.trial.number, worker.workspace
        state: trials.State = "complete" if outcome.ok else "pruned" if current.pruned else "failed"
        reason = _reason(worker, outcome) if state == "failed" else None
        if reason is not None and number == 0:
            raise DarkroomError(f"{self.plan.stage} fails with the current parameters: {reason}")
        # A training that diverges says something about its parameters, not about the machine.
        self.failures = self.failures + 1 if reason is not None and DIVERGED not in reason else 0
        if self.failures == MOST_FAILURES:
            raise DarkroomError(
                f"{self.failures} trials in a row failed, the last one: {reason}\n"
                "mend the cause, or narrow sweep.space, and run `darkroom sweep` again: it continues with this trial"
            )
        epochs = trials.curve(workspace, self.plan, complete=True) if outcome.ok else current.epochs
        self._report(current, epochs)  # its last ones, which others are compared with
        found = trials.results(state, number, epochs, trials.scores(workspace, self.plan) if outcome.ok else {})
        name = trials.save(workspace, self.plan, found)
        self.search.tell(current.trial, found)
        if not outcome.ok:
            workspace.clear_checkpoints()
        seconds = time.monotonic() - current.began
        self.say(report.line(self.plan, self.search, found, current.values, seconds))
        if reason is not None:
            self.say(f"  {name}: {reason}")


def _reason(worker: Worker, outcome: Outcome) -> str:
    return (worker.said() or outcome.message) if not outcome.killed else "it was killed several times: is memory full?"


def sweep(jobs: int | None = None, storage: str | None = None, say: Say = print) -> list[str]:
    """Run the search that `params.yaml` describes; return the lines of its report.

    jobs: number of workers, None for one per GPU, or per core; storage: see `Search`.

    Raises DarkroomError if the search is not valid, another one is running here, or the current parameters fail.
    """
    plan = plans.plan()
    jobs, graphics = workers.resources(plan.document, jobs)
    count = jobs or len(graphics) or min(MOST, workers.cores())
    with workspaces.reserved(Path.cwd(), "sweep"):
        search = Search(plan, storage)
        left = search.wanted - len(search.ended())
        say(report.opening(plan, search, left, count))
        if left > 0:
            with _team(plan, min(count, left), graphics, say) as (team, lock):
                search.check(plan.hashes(lock))
                try:
                    Sweep(plan, search, team, lock, say).run()
                except KeyboardInterrupt:
                    say(report.interrupted(search))
                    raise
        return report.closing(plan, search)


@contextmanager
def _team(plan: Plan, count: int, graphics: Sequence[str], say: Say) -> Iterator[tuple[list[Worker], str]]:
    """Yield workers whose workspaces have the data, and the `dvc.lock` from which each trial starts."""
    threads = max(1, workers.cores() // count)
    team = [
        Worker(Workspace(Path.cwd(), number), environment)
        for number, environment in enumerate(workers.environments(count, graphics, threads))
    ]
    try:
        for worker in team:
            worker.workspace.prepare(plan.base, plan.cache)
        upstream = list(plan.upstream)
        # One worker prepares the data; the others then find it in the cache.
        team[0].start(upstream, restore=upstream)
        _check(team[0])
        lock = (team[0].workspace.folder / workspaces.LOCK).read_text(encoding="utf-8")
        for worker in team[1:]:
            worker.workspace.reset(plan.base, lock=lock)
            worker.start([], restore=upstream)
        for worker in team[1:]:
            _check(worker)
        yield team, lock
    finally:
        for worker in team:
            worker.close()


def _check(worker: Worker) -> None:
    outcome = worker.wait()
    if not outcome.ok:
        raise DarkroomError(
            f"the data could not be prepared: {_reason(worker, outcome)}\nrun `dvc repro` first, which shows more"
        )
