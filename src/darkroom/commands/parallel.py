"""`darkroom train`: the pipeline with several candidates in training at the same time.

Workers train candidates in their workspaces, which fills the project's run cache; one `dvc repro` then takes all of
them from there. Each training uses as many threads as without workers, because their number changes the last bits of
the weights, so the result is that of `dvc repro` alone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.commands import dvc_internals, workers, workspaces
from darkroom.commands.dvc_internals import Stage
from darkroom.commands.workers import Worker
from darkroom.commands.workspaces import LOCK, Baseline, Workspace
from darkroom.foundations import files, params
from darkroom.foundations.errors import DarkroomError

CANDIDATES = Path("models/candidates")
PAUSE = 0.2
"""Seconds between two looks at the workers."""
Say = Callable[[str], None]


def train(jobs: int | None = None, say: Say = print) -> None:
    """Run the pipeline of the current folder, and train up to `jobs` candidates at a time.

    jobs: None is one per GPU, or two without a GPU.

    Raises DarkroomError if a stage fails; the other candidates are trained and collected all the same.
    """
    with workspaces.reserved(Path.cwd(), "train"):
        with dvc_internals.repository("DVC cannot be used here") as repo:
            stages = dvc_internals.stages(repo)
            cache = Path(repo.cache.legacy.path)
        names = [name for name, stage in stages.items() if _is_candidate(stage)]
        first = [name for name in stages if any(name in stages[each].upstream for each in names)]
        _repro([name for name in first if name not in names])
        with dvc_internals.repository("DVC cannot be used here") as repo:
            changed = dvc_internals.changed(repo, names)
        todo = sorted(changed, key=_last_seconds(stages), reverse=True)
        jobs, graphics = workers.resources(params.read(workspaces.PARAMS), jobs)
        count = min(jobs or len(graphics) or 2, len(todo))
        failed: Mapping[str, str] = {}
        if count > 1:
            say(f"training {len(todo)} candidates, {count} at a time: {', '.join(todo)}")
            base = workspaces.baseline(dvc_internals.roots(stages))
            failed = _train(todo, stages, base, cache, workers.environments(count, graphics, None), say)
        if not failed:
            _repro([])
            return
        if kept := [name for name in names if name not in failed]:
            _repro(kept)
    lines = [f"{name}: {message}" for name, message in failed.items()]
    raise DarkroomError("\n".join([f"{len(failed)} of {len(names)} candidates could not be trained:", *lines]))


def _is_candidate(stage: Stage) -> bool:
    return any(Path(path).parent == CANDIDATES for path in stage.cached)


def _last_seconds(stages: Mapping[str, Stage]) -> Callable[[str], float]:
    """Return a key for stages: the time of the last training; the longest should start first, also unknown ones."""

    def seconds(name: str) -> float:
        try:
            card: dict[str, Any] = files.read_json(Path(stages[name].cached[0]) / "card.json")
            return float(card["seconds"])
        except (OSError, ValueError, KeyError):
            return float("inf")

    return seconds


def _repro(names: Sequence[str]) -> None:
    """Run `dvc repro` in the project. Raises DarkroomError if it fails; DVC has printed the reason."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", "repro", *names]
    if subprocess.run(command, env={**os.environ, "PATH": programs}).returncode:
        raise DarkroomError("dvc repro failed, for the reason above")


def _train(
    names: Sequence[str],
    stages: Mapping[str, Stage],
    base: Baseline,
    cache: Path,
    environments: Sequence[dict[str, str]],
    say: Say,
) -> dict[str, str]:
    """Train candidates in workspaces; return the message of each that failed."""
    team = [Worker(Workspace(Path.cwd(), number), each) for number, each in enumerate(environments)]
    lock = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else None
    upstream = sorted({each for name in names for each in stages[name].upstream})
    waiting, running, failed = list(names), dict[Worker, tuple[str, float]](), dict[str, str]()
    try:
        for worker in team:
            worker.workspace.prepare(base, cache)
        places = [worker.workspace for worker in team]
        workspaces.gather_checkpoints(places)
        fresh = set(team)
        while waiting or running:
            for worker in team:
                if worker in running and (outcome := worker.poll()) is not None:
                    name, began = running.pop(worker)
                    say(f"{name}  {'trained' if outcome.ok else 'failed'}, {time.monotonic() - began:.0f} s")
                    if outcome.ok:
                        _take(worker.workspace, name)
                    else:
                        failed[name] = worker.said() or outcome.message
                if worker not in running and waiting:
                    name = _next(waiting, worker.workspace, places)
                    waiting.remove(name)
                    running[worker] = (name, time.monotonic())
                    reset = partial(worker.workspace.reset, base, lock=lock)
                    worker.start([name], restore=upstream if worker in fresh else (), reset=reset)
                    fresh.discard(worker)
            time.sleep(PAUSE)
    finally:
        for worker in team:
            worker.close()
    return failed


def _next(waiting: Sequence[str], workspace: Workspace, others: Sequence[Workspace]) -> str:
    """Return the next candidate to train in a workspace.

    It is one whose training was interrupted there; else the first that was not interrupted elsewhere.
    """
    own = [name for name in waiting if workspace.has_checkpoint(_key(name))]
    free = [name for name in waiting if not any(other.has_checkpoint(_key(name)) for other in others)]
    return [*own, *free, *waiting][0]


def _key(name: str) -> str:
    return name.partition("@")[2]


def _take(workspace: Workspace, name: str) -> None:
    """Let the project's `dvc.lock` list what was trained, if it lists this candidate.

    DVC prefers its entry to the run cache, and in a fresh clone the outputs of that entry are not in the cache: it
    would train again. A new candidate comes from the run cache.
    """
    made = (workspace.folder / LOCK).read_text(encoding="utf-8")
    if LOCK.is_file():
        files.write_text(LOCK, dvc_internals.with_stage(LOCK.read_text(encoding="utf-8"), made, name))
