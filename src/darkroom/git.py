"""Git, run as a program: one environment, one time limit, and one error for each thing that can be missing."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

TIMEOUT = 60
"""Seconds after which a command is ended, such as one on a network folder that does not answer."""
ENVIRONMENT = {
    "LC_ALL": "C",  # errors are recognised by their English text
    "GIT_OPTIONAL_LOCKS": "0",  # `git status` must not block a commit that the user makes meanwhile
    "GIT_TERMINAL_PROMPT": "0",
}
_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
_NO_REPOSITORY = re.compile("not a git repository")
_NO_REVISION = re.compile("Needed a single revision|unknown revision|bad revision|invalid object name")
_OBJECT = re.compile(rb"[0-9a-f]+ (blob|tree|commit|tag) (\d+)")
"""What `git cat-file --batch` prints before the content of a file or folder."""
_MOVED = ("R", "C")
"""States of renamed and copied files, whose former name follows."""


class GitError(DarkroomError):
    """A command of git failed."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        self.remedy = remedy


class GitMissingError(GitError):
    """The program is not installed."""


class NotARepositoryError(GitError):
    """The folder is in no git repository."""


class NoRevisionError(GitError):
    """There is no such commit, branch or tag."""


def run(*arguments: str, folder: Path | None = None, identity: Mapping[str, str] | None = None) -> str:
    """Return what `git ARGUMENTS` prints, without the last line end.

    folder: where it runs, by default the current folder. identity: environment variables that name author and
    committer, by default those whom git knows.

    Raises GitMissingError, NotARepositoryError, NoRevisionError, or GitError with git's own message.
    """
    return _run(arguments, folder, identity=identity).decode(errors="replace").rstrip("\n")


def attempt(*arguments: str, folder: Path | None = None) -> str | None:
    """Return what `run` returns, None if it fails for any reason."""
    try:
        return run(*arguments, folder=folder)
    except GitError:
        return None


def commit(name: str = "HEAD") -> str:
    """Return the commit (40 hexadecimal digits) that a commit, branch or tag stands for; raises as `run`."""
    try:
        return run("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    except NoRevisionError:
        if name == "HEAD":
            raise NoRevisionError("the repository has no commit yet", "git add . && git commit -m start") from None
        raise NoRevisionError(f"git knows no revision {naming.shown(name)}", "name a commit, branch or tag") from None


def exists(name: str) -> bool:
    """Return whether there is such a commit, branch or tag. Raises GitMissingError or NotARepositoryError."""
    try:
        return bool(commit(name))
    except NoRevisionError:
        return False


def is_shallow() -> bool:
    """Return whether the clone lacks older commits; raises as `run`."""
    return run("rev-parse", "--is-shallow-repository") == "true"


def changed(*paths: str, untracked: bool = False, folder: Path | None = None) -> list[str]:
    """Return the files that differ from the last commit, relative to the repository's top; raises as `run`.

    paths: files and folders to look at, relative to `folder`; none for the whole repository.
    untracked: whether files that git neither tracks nor ignores count.
    """
    options = [] if untracked else ["--untracked-files=no"]
    listed = iter(run("status", "--porcelain", "-z", *options, "--", *paths, folder=folder).split("\0"))
    found = []
    for entry in filter(None, listed):
        found.append(entry[3:])
        if entry.startswith(_MOVED):
            next(listed)
    return found


def read(name: str, path: str) -> str | None:
    """Return the text of a file at a revision, None if it has none; `path` is relative to the current folder."""
    return next(read_all([f"{name}:./{path}"]))


def read_all(names: Iterable[str]) -> Iterator[str | None]:
    """Yield the text of each `REVISION:./PATH`, None for those that are missing; one process reads them all.

    Raises GitMissingError or NotARepositoryError.
    """
    names = list(names)
    rest = _run(("cat-file", "--batch"), data="".join(f"{name}\n" for name in names).encode())
    for _ in names:
        header, _, rest = rest.partition(b"\n")
        found = _OBJECT.fullmatch(header)
        if found is None:  # "NAME missing"
            yield None
            continue
        size = int(found[2])
        yield rest[:size].decode(errors="replace") if found[1] == b"blob" else None
        rest = rest[size + 1 :]


def _run(
    arguments: tuple[str, ...],
    folder: Path | None = None,
    data: bytes = b"",
    identity: Mapping[str, str] | None = None,
) -> bytes:
    # Git's hooks, and DVC, name the repository of the calling command, which is not that of another folder.
    inherited = {name: value for name, value in os.environ.items() if folder is None or name not in _REPOSITORY}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=data,
            capture_output=True,
            env={**inherited, **ENVIRONMENT, **(identity or {})},
            timeout=TIMEOUT,
            check=False,
        )
    except OSError as error:
        if error.filename == "git":
            raise GitMissingError("git is not installed, and this needs it", "install git") from None
        raise GitError(f"git cannot run in {naming.shown(folder)} ({error.strerror})", "use another folder") from None
    except subprocess.TimeoutExpired:
        problem = f"git {arguments[0]} did not end within {TIMEOUT} seconds"
        raise GitError(problem, "check the disk or the network folder of the project") from None
    if done.returncode == 0:
        return done.stdout
    message = done.stderr.decode(errors="replace").strip()
    if _NO_REPOSITORY.search(message):
        raise NotARepositoryError(
            f"{naming.shown(folder or Path.cwd())} is not a git repository",
            "clone the project with git, or create one here: git init && git add . && git commit -m start",
        )
    if _NO_REVISION.search(message):
        raise NoRevisionError(f"git {arguments[0]} knows no such revision", message)
    raise GitError(f"git {arguments[0]} failed", message or f"status {done.returncode}")
