"""Mending DVC's own files: it writes them in place, so when it is killed then it leaves half a file and refuses it."""

import json
import subprocess
from pathlib import Path

from darkroom import files
from darkroom.errors import DarkroomError

LOCK = Path("dvc.lock")
PATHS = Path(".dvc/tmp/rwlock")
"""Which process reads or writes which path; DVC itself removes those that are dead."""
GUARD = Path(".dvc/tmp/lock")
"""Held while DVC writes; the system releases it when a process dies."""


def mend() -> list[str]:
    """Mend the files of the repository in the current folder; returns what was done, in words.

    Raises DarkroomError while a DVC is writing.
    """
    # Imported here, since the environment of the service has no DVC.
    from dvc.lock import Lock, LockError

    if not GUARD.parent.is_dir():
        return []  # DVC has not run here
    try:
        with Lock(str(GUARD)):
            return [words for words in (_mend_paths(), _mend_lock()) if words]
    except LockError:
        raise DarkroomError(f"another DVC is at work here ({GUARD} is held): let it end, or end it") from None


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
    """Bring back the last committed `dvc.lock` for one that DVC refuses; what ran since then it takes from its cache.

    A cut that it can read stays: what is missing counts as not run.
    """
    if not LOCK.is_file() or _is_readable():
        return ""
    LOCK.unlink()
    committed = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, encoding="utf-8")
    if committed.returncode:
        return f"{LOCK} was cut short: removed"
    files.write_text(LOCK, committed.stdout)
    return f"{LOCK} was cut short: the last committed one is back"


def _is_readable() -> bool:
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        strictyaml.load(str(LOCK), COMPILED_LOCKFILE_SCHEMA)
    except DvcException:
        return False
    return True
