"""The project: git, DVC's files, cache and remote, and parameters."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from darkroom import git, revision
from darkroom.commands import dvc_internals, mend
from darkroom.commands.doctor.finding import Finding, error, ok, warning
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

PARAMS = Path("params.yaml")
SERVED = Path("models/served/service.json")
"""An output of the stage package; a test compares it with dvc.yaml."""


def is_here() -> bool:
    """Return whether the current folder is a project; one of its files may be missing."""
    return mend.PIPELINE.is_file() or PARAMS.is_file()


def command() -> str:
    """Return the command that runs the pipeline, as the README and `darkroom init` name it."""
    try:
        from darkroom.foundations import params  # a Python without pydantic is examined as well

        return "make run" if params.read(PARAMS).get("dataset") == "digits" else "dvc repro"
    except (DarkroomError, ImportError):
        return "make run"


def repository() -> Iterator[Finding]:
    """Yield whether this is a git repository with a commit and an author's name, as DVC's experiments need."""
    try:
        head = git.run("rev-parse", "--short", git.commit())
        changed = git.changed()
    except git.GitError as failed:
        yield error("git", failed.problem, failed.remedy)
        return
    edited = f", {naming.count(len(changed), 'tracked file')} changed" if changed else ""
    yield ok("git", f"commit {head}{edited}")
    if absent := [name for name in ("user.name", "user.email") if not _author(name)]:
        yield warning(
            "git author",
            f"{' and '.join(absent)} not set, and dvc exp run commits experiments",
            " && ".join(f"git config {name} {'NAME' if name == 'user.name' else 'ADDRESS'}" for name in absent),
        )


def _author(name: str) -> bool:
    variable = {"user.name": "GIT_AUTHOR_NAME", "user.email": "GIT_AUTHOR_EMAIL"}[name]
    return bool(os.environ.get(variable) or git.attempt("config", "--get", name))


def parameters() -> Iterator[Finding]:
    """Yield whether `params.yaml` is valid."""
    from darkroom import schema  # here, because it needs pydantic and ruamel.yaml

    try:
        document = schema.load(PARAMS)
    except DarkroomError as problem:
        first, *others = str(problem).splitlines()
        lines = "; ".join(line.strip() for line in others[:3])
        text = f"{first} {lines}" if others else first
        remedy = (schema.how_to_undo(PARAMS) if PARAMS.is_file() else "").strip(" \n;:")
        yield error("params.yaml", text, remedy or "python stages validate --schema params.schema.json lists all")
    else:
        models = 1 + len(document.scratch) + len(document.transfer)
        yield ok("params.yaml", f"valid: data set {document.dataset}, {naming.count(models, 'candidate')}")


def pipeline() -> Iterator[Finding]:
    """Yield DVC's state: its cache, a running or killed process, and results that are not committed or not there."""
    if not Path(".dvc").is_dir() or not mend.PIPELINE.is_file():
        yield error("DVC", "there is no .dvc folder or no dvc.yaml", "run from the project's top folder")
        return
    config = dvc_internals.config()
    cache = Path(config.get("cache", {}).get("dir") or ".dvc/cache")
    if cache.is_dir() and not os.access(cache, os.W_OK):
        yield error("DVC cache", f"{naming.shown(cache)} cannot be written", "get write access, or: dvc cache dir PATH")
    else:
        room = (
            f", {shutil.disk_usage(cache).free / 1024**3:.1f} GiB free" if cache.is_dir() else ", made by the first run"
        )
        yield ok("DVC cache", f"{naming.shown(cache)}{room}")
    yield from _processes()
    yield from _lock()
    if SERVED.is_file():
        yield ok("model", f"{SERVED.parent} is there: make serve")
    else:
        yield ok("model", f"{SERVED.parent} is not there yet: {command()} builds it, dvc pull fetches it from a remote")


def _processes() -> Iterator[Finding]:
    """Yield whether a DVC process is running here, or was killed."""
    if _is_locked(mend.GUARD):
        yield warning("DVC lock", f"another DVC process is running here ({mend.GUARD})", "wait for it, or stop it")
        return
    try:
        entries = files.read_json(mend.PATHS)
    except FileNotFoundError:
        return
    except json.JSONDecodeError:
        yield error("DVC lock", f"{mend.PATHS} is incomplete: DVC was killed", "darkroom mend")
        return
    users = [*entries.get("write", {}).values(), *(user for each in entries.get("read", {}).values() for user in each)]
    alive = sorted({user["pid"] for user in users if _is_alive(user["pid"])})
    if alive:
        numbers = naming.listed(alive)
        yield warning("DVC lock", f"DVC is running stages here (process {numbers})", f"wait, or: kill {alive[0]}")


def _is_locked(path: Path) -> bool:
    """Return whether another process holds DVC's lock, without DVC's own class, whose import takes most of a second."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released with the file
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock() -> Iterator[Finding]:
    """Yield whether `dvc.lock` is complete and committed."""
    if not mend.LOCK.is_file():
        yield ok("dvc.lock", "not there yet: the first run writes it")
        return
    committed = revision.committed(mend.LOCK)
    if committed and not git.changed(str(mend.LOCK)):
        yield ok("dvc.lock", "complete and committed")
    elif not mend.is_whole(committed):  # takes a second: DVC's schema is loaded
        yield error("dvc.lock", "incomplete: DVC was killed while writing it", "darkroom mend")
    elif not committed:
        yield warning("dvc.lock", "not in git, so no commit says which results it has", "git add dvc.lock, and commit")
    else:
        remedy = "git commit -a keeps the results; git checkout . && dvc checkout goes back to the committed ones"
        yield warning("dvc.lock", "differs from the commit: a run has not been committed", remedy)
