"""The commit at which results were produced, and the tracked files that differ from it."""

from pathlib import Path

from darkroom import git

INPUTS = ("src", "stages", "params.yaml", "dvc.yaml", "requirements.txt")
"""What determines the results, apart from the data."""
RESULTS = ("metrics", "plots")
"""Results tracked by git. dvc.lock is omitted: it changes with each training, since cards contain the training time."""


def commit() -> str:
    """Return the current commit, or an empty string if there is none."""
    return git.attempt("rev-parse", "--verify", "HEAD") or ""


def changed() -> list[str]:
    """Return the files that determine the results and differ from the commit."""
    return _changed(*INPUTS, untracked=True)


def remade() -> list[str]:
    """Return the tracked results that differ from the commit."""
    return _changed(*RESULTS)


def committed(path: Path) -> str:
    """Return the text of a file in this folder at the last commit, or an empty string if it has none."""
    try:
        return git.read("HEAD", path.as_posix()) or ""
    except git.GitError:
        return ""


def _changed(*paths: str, untracked: bool = False) -> list[str]:
    try:
        return git.changed(*paths, untracked=untracked)
    except git.GitError:
        return []
