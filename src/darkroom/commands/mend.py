"""Mending DVC's own files: it writes them in place, so when it is killed then it leaves half a file."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError

LOCK = Path("dvc.lock")
PIPELINE = Path("dvc.yaml")
PATHS = Path(".dvc/tmp/rwlock")
"""Which process reads or writes which path; DVC itself removes those that are dead."""
GUARD = Path(".dvc/tmp/lock")
"""Held while DVC writes; the system releases it when a process dies."""


def mend() -> list[str]:
    """Mend the files of the repository in the current folder; returns what was done, in words.

    Raises DarkroomError while a DVC is writing, and where DVC could not run, for want of git.
    """
    _refuse_without_git()
    # Imported here, since the environment of the service has no DVC.
    from dvc.lock import Lock, LockError

    if not GUARD.parent.is_dir():
        return []  # DVC has not run here
    try:
        with Lock(str(GUARD)):
            return [words for words in (_mend_paths(), _mend_lock()) if words]
    except LockError:
        raise DarkroomError(f"another DVC is at work here ({GUARD} is held): let it end, or end it") from None


def _refuse_without_git() -> None:
    """Refuse sources that came as an archive: DVC says only that they are no git repository."""
    from dvc.config import Config

    command = ["git", "rev-parse", "--git-dir"]
    if shutil.which("git") is None:
        raise DarkroomError("git is not installed: install it, DVC needs it")
    environment = {**os.environ, "LC_ALL": "C"}
    found = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    if not PIPELINE.is_file() or "not a git repository" not in found.stderr:
        return
    if not Config(".dvc", validate=False).get("core", {}).get("no_scm"):
        raise DarkroomError(
            f"{Path.cwd()} is not a git repository, which DVC needs: clone the project with git, or start a repository "
            "here (git init && git add . && git commit -m start), or do without (dvc config --local core.no_scm true)"
        )


def _mend_paths() -> str:
    try:
        files.read_json(PATHS)
    except FileNotFoundError:
        return ""
    except json.JSONDecodeError:
        PATHS.unlink()
        return f"{PATHS} was cut short: removed"
    return ""


def _mend_lock() -> str:
    """Bring back the last committed `dvc.lock` for one that was cut; what ran since then DVC takes from its cache."""
    if not LOCK.is_file():
        return ""
    committed = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, encoding="utf-8")
    if _is_whole(committed.stdout):
        return ""
    LOCK.unlink()
    if committed.returncode:
        return f"{LOCK} was cut short: removed"
    files.write_text(LOCK, committed.stdout)
    return f"{LOCK} was cut short: the last committed one is back"


def _is_whole(committed: str) -> bool:
    """Tell whether the whole of `dvc.lock` was written.

    Three of four cuts are YAML that DVC takes for a whole file, and it would forget the stages behind them. So a file
    is cut, too, where its last line does not end, or where it lacks a stage that was committed: DVC takes one out of it
    only together with the stage's place in `dvc.yaml`.
    """
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    if not LOCK.read_bytes().endswith(b"\n"):
        return False
    try:
        stages = strictyaml.load(str(LOCK), COMPILED_LOCKFILE_SCHEMA)[0]["stages"]
    except DvcException:
        return False
    defined = _stages(PIPELINE.read_text(encoding="utf-8")) if PIPELINE.is_file() else set()
    return not {name for name in _stages(committed) - set(stages) if name.partition("@")[0] in defined}


def _stages(text: str) -> set[str]:
    """Return the names of the stages in the text of a `dvc.yaml` or `dvc.lock`; of one that is no YAML, none."""
    from dvc.utils.serialize import YAMLError, parse_yaml

    try:
        return set(parse_yaml(text, path="")["stages"])
    except (YAMLError, KeyError, TypeError):
        return set()
