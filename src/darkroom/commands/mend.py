"""Repair of DVC's own files, which may be incomplete after DVC was killed, because DVC writes them in place."""

import json
from pathlib import Path

from darkroom import git, revision
from darkroom.commands import dvc_internals
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError

LOCK = Path("dvc.lock")
PIPELINE = Path("dvc.yaml")
PATHS = Path(".dvc/tmp/rwlock")
"""The paths that each process reads or writes; DVC itself removes the entries of dead processes."""
GUARD = Path(".dvc/tmp/lock")
"""Held while DVC writes; the operating system releases it when the process dies."""


def mend() -> list[str]:
    """Repair DVC's files of the repository in the current folder; return a report.

    Raises DarkroomError while another DVC process is writing, and if DVC cannot run because git is missing.
    """
    _refuse_without_git()
    if not GUARD.parent.is_dir():
        return []  # DVC has not run here
    with dvc_internals.locked(GUARD):
        return [words for words in (_mend_paths(), _mend_lock()) if words]


def _refuse_without_git() -> None:
    """Raise DarkroomError for a source tree without git, such as an unpacked archive; DVC's own message is terse."""
    try:
        git.run("rev-parse", "--git-dir")
    except git.GitMissingError:
        raise
    except git.NotARepositoryError as error:
        if PIPELINE.is_file() and not dvc_internals.config().get("core", {}).get("no_scm"):
            raise DarkroomError(f"{error}; or turn git off: dvc config --local core.no_scm true") from None
    except git.GitError:
        return  # git's own objections, such as to a folder of another user, are not DVC's


def _mend_paths() -> str:
    try:
        files.read_json(PATHS)
    except FileNotFoundError:
        return ""
    except json.JSONDecodeError:
        PATHS.unlink()
        return f"{PATHS} was incomplete: removed"
    return ""


def _mend_lock() -> str:
    """Replace a truncated `dvc.lock` by the last committed one; DVC restores later runs from its run cache."""
    if not LOCK.is_file():
        return ""
    committed = revision.committed(LOCK)
    if is_whole(committed):
        return ""
    LOCK.unlink()
    if not committed:
        return f"{LOCK} was incomplete: removed"
    files.write_text(LOCK, committed)
    return f"{LOCK} was incomplete: the last committed version is restored"


def is_whole(committed: str) -> bool:
    """Return whether `dvc.lock` is complete.

    Three of four truncated files are still valid YAML. DVC would accept them and lose the stages that are missing. A
    file therefore also counts as truncated if its last line has no newline, or if it lacks a committed stage that is
    still in `dvc.yaml`.
    """
    if not LOCK.read_bytes().endswith(b"\n"):
        return False
    stages = dvc_internals.locked_stages(LOCK)
    if stages is None:
        return False
    names = dvc_internals.stage_names
    defined = names(PIPELINE.read_text(encoding="utf-8")) if PIPELINE.is_file() else set()
    return not {name for name in names(committed) - stages if name.partition("@")[0] in defined}
