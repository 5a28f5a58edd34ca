"""The commit that a result was made at, and which tracked files differ from it."""

import subprocess
from pathlib import Path

DECIDING = ("src", "stages", "params.yaml", "dvc.yaml", "requirements.txt")
"""What decides results, beside the data."""
RESULTS = ("metrics", "plots")
"""What git keeps of the results. Not dvc.lock: it differs after each training, since cards hold the seconds it took."""


def commit() -> str:
    """Return the repository's commit, empty where there is none."""
    return _git("rev-parse", "HEAD")


def changed() -> list[str]:
    """Return the files that decide results and differ from the commit."""
    return _changed("--", *DECIDING)


def remade() -> list[str]:
    """Return the committed results that are different here."""
    return _changed("--untracked-files=no", "--", *RESULTS)


def committed(path: Path) -> str:
    """Return the text that the last commit has of a file in this folder, empty where it has none."""
    return _git("show", f"HEAD:./{path.as_posix()}")


def _changed(*arguments: str) -> list[str]:
    return [line[3:] for line in _git("status", "--porcelain", *arguments).splitlines()]


def _git(*arguments: str) -> str:
    """Return what git prints, nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return ""
    return done.stdout.rstrip() if done.returncode == 0 else ""
