"""The commit at which results were produced, and the tracked files that differ from it."""

import subprocess
from pathlib import Path

INPUTS = ("src", "stages", "params.yaml", "dvc.yaml", "requirements.txt")
"""What determines the results, apart from the data."""
RESULTS = ("metrics", "plots")
"""Results tracked by git. dvc.lock is omitted: it changes with each training, since cards contain the training time."""


def commit() -> str:
    """Return the current commit, or an empty string if there is none."""
    return _git("rev-parse", "HEAD")


def changed() -> list[str]:
    """Return the files that determine the results and differ from the commit."""
    return _changed("--", *INPUTS)


def remade() -> list[str]:
    """Return the tracked results that differ from the commit."""
    return _changed("--untracked-files=no", "--", *RESULTS)


def committed(path: Path) -> str:
    """Return the text of a file in this folder at the last commit, or an empty string if it has none."""
    return _git("show", f"HEAD:./{path.as_posix()}")


def _changed(*arguments: str) -> list[str]:
    return [line[3:] for line in _git("status", "--porcelain", *arguments).splitlines()]


def _git(*arguments: str) -> str:
    """Return the output of git, or an empty string if there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return ""
    return done.stdout.rstrip() if done.returncode == 0 else ""
