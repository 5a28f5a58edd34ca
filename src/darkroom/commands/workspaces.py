"""Persistent clones in which training stages run beside the user's workspace, several at once.

DVC lets one process at a time work in a repository (dvc#755, #7419). A workspace is a clone that shares git's objects
and DVC's cache with the project, so stages that did not change come from the cache, and what it trains is in the run
cache of the project. It is kept, so that a killed training finds its checkpoint.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from darkroom import git
from darkroom.commands import dvc_internals, editing
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

FOLDER = Path(".darkroom/workspaces")
"""Where the workspaces of a project are."""
MARK = "DARKROOM_WORKSPACE"
"""Environment variable that all processes of a workspace inherit, by which those of a killed command are found."""
PARAMS, LOCK = Path("params.yaml"), Path("dvc.lock")
CHECKPOINTS = Path(".darkroom/checkpoints")
SHARED = ("downloads", "weights", "features", "packed")
"""Folders in .darkroom that all workspaces use. The first two are only written while data are prepared, by one of them;
the caches of features and of decoded images are made for several processes."""
IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "darkroom"), ("EMAIL", "darkroom@localhost"))
}
"""Author of experiments, because git may not know who the user is."""


@dataclass(frozen=True)
class Baseline:
    """What every workspace starts from: the last commit with the uncommitted changes of tracked files."""

    commit: str
    """The last commit; experiments belong to it."""
    content: str
    """A commit with the uncommitted changes as well; `commit` itself if there are none."""
    roots: tuple[str, ...]
    """Paths that stages read and no stage writes, relative to the project."""
    inputs: tuple[str, ...]
    """Files that git does not track: the new ones, and those in `roots`."""


def baseline(roots: Sequence[str]) -> Baseline:
    """Return the state of the project in the current folder.

    roots: paths that stages read and no stage writes; what git ignores in them is made available as well.

    Raises GitError if there is no commit, and DarkroomError if the current folder is not the repository's top.
    """
    top = Path.cwd()
    if inner := git.run("rev-parse", "--show-prefix"):
        raise DarkroomError(
            f"the project is in the folder {naming.shown(inner)} of a larger git repository, which is not supported "
            "here: give it a repository of its own, or use `dvc repro` and `dvc exp run`"
        )
    commit = git.commit()
    # Without uncommitted changes, `git stash create` fails if a file has a new time (git 2.39).
    changes = git.changed(folder=top)
    content = git.run("stash", "create", identity=IDENTITY, folder=top) if changes else ""
    found = [*_untracked(top), *_ignored(top, roots)]
    return Baseline(commit, content or commit, tuple(roots), tuple(found))


def _untracked(top: Path) -> list[str]:
    found = git.run("ls-files", "--others", "--exclude-standard", "-z", folder=top)
    return _files(found)


def _ignored(top: Path, roots: Sequence[str]) -> list[str]:
    there = [path for path in roots if (top / path).exists()]
    options = ("--others", "--ignored", "--exclude-standard", "-z", "--")
    return _files(git.run("ls-files", *options, *there, folder=top)) if there else []


def _files(listed: str) -> list[str]:
    """Return the files that `git ls-files -z` lists; a path that ends in / is a repository of its own."""
    return [path for path in listed.split("\0") if path and not path.endswith("/") and "__pycache__" not in path]


class Workspace:
    """One clone of the project in the current folder."""

    def __init__(self, project: Path, number: int) -> None:
        self.project, self.number = project, number
        self.folder = project / FOLDER / str(number)

    def prepare(self, base: Baseline, cache: Path) -> None:
        """Make the clone if it does not exist, end what a killed command left running in it, and fill it.

        cache: folder of the project's DVC cache.
        """
        end_processes(self.folder)
        if not (self.folder / ".git" / "HEAD").is_file() or not self._is_usable():
            shutil.rmtree(self.folder, ignore_errors=True)
            with files.whole_directory(self.folder) as partial:
                options = ("--quiet", "--shared", "--no-checkout", "--no-tags")
                git.run("clone", *options, ".", str(partial), folder=self.project)
        self._share_objects()
        own = self.folder / ".darkroom"
        own.mkdir(exist_ok=True)
        for name in SHARED:
            target = self.project / ".darkroom" / name
            target.mkdir(parents=True, exist_ok=True)
            if not (own / name).is_symlink():
                shutil.rmtree(own / name, ignore_errors=True)  # of a workspace made when this folder was not shared
                (own / name).symlink_to(target)
        self.reset(base)
        dvc_internals.share_cache(self.project, self.folder, cache)
        self._link(base)

    def _is_usable(self) -> bool:
        """Return whether git works in the clone; its objects are those of the project, which may have moved."""
        try:
            git.run("rev-parse", "--git-dir", folder=self.folder)
            return bool(git.run("cat-file", "-t", "HEAD", folder=self.folder))
        except DarkroomError:
            return False

    def _share_objects(self) -> None:
        """Let the clone read the project's objects; git ignores `--shared` if the project is a shallow clone."""
        for name, target in (("objects", "objects/info/alternates"), ("shallow", "shallow")):
            path = Path(git.run("rev-parse", "--path-format=absolute", "--git-path", name, folder=self.project))
            if name == "objects":
                files.write_text(self.folder / ".git" / target, f"{path}\n")
            elif path.is_file():
                shutil.copyfile(path, self.folder / ".git" / target)

    def reset(self, base: Baseline, values: Mapping[str, object] | None = None, lock: str | None = None) -> None:
        """Return to the baseline, and set parameters (dotted name to value) and `dvc.lock` in it.

        Outputs stay in place. Only one process may use a workspace, so locks in it are those of killed ones.
        """
        for path in [*(self.folder / ".git").glob("*.lock"), *(self.folder / ".git" / "refs").rglob("*.lock")]:
            path.unlink(missing_ok=True)
        git.run("reset", "--quiet", "--hard", base.content, folder=self.folder)
        if values:
            path = self.folder / PARAMS
            files.write_text(path, editing.edit(path.read_text(encoding="utf-8"), values))
        if lock is not None:
            files.write_text(self.folder / LOCK, lock)

    def commit(self, base: Baseline, message: str) -> str:
        """Return a new commit on the baseline with all changes of tracked files."""
        git.run("add", "--update", folder=self.folder)
        tree = git.run("write-tree", folder=self.folder)
        return git.run("commit-tree", tree, "-p", base.commit, "-m", message, identity=IDENTITY, folder=self.folder)

    def publish(self, commit: str, reference: str) -> None:
        """Copy a commit to the project, under a git reference."""
        git.run("update-ref", reference, commit, folder=self.folder)
        lock = self.project / git.run("rev-parse", "--git-path", f"{reference}.lock", folder=self.project)
        lock.unlink(missing_ok=True)  # of a killed command: nobody else writes this reference
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules")
        git.run("fetch", *options, str(self.folder), f"+{reference}:{reference}", folder=self.project)

    def has_checkpoint(self, name: str) -> bool:
        """Return whether a training of this candidate was interrupted here."""
        return (self.folder / CHECKPOINTS / f"{name}.pt").is_file()

    def clear_checkpoints(self) -> None:
        """Remove the checkpoints, because what is trained here next has other parameters."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)

    def _link(self, base: Baseline) -> None:
        """Make the inputs available under their names: as hard links, because stages refuse symbolic links."""
        record = self.folder / ".darkroom" / "linked.json"
        linked = files.read_json(record) if record.is_file() else []
        for path in {*linked, *_ignored(self.folder, base.roots)} - set(base.inputs):
            (self.folder / path).unlink(missing_ok=True)
        files.write_json(record, sorted(base.inputs))
        for path in base.inputs:
            source, target = self.project / path, self.folder / path
            try:
                if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                try:
                    os.link(source, target)
                except OSError:  # another disk, or a file system without links
                    shutil.copy2(source, target)
            except FileNotFoundError:  # removed meanwhile, such as the swap file of an editor
                continue


def gather_checkpoints(team: Sequence[Workspace]) -> None:
    """Move the checkpoints in workspaces that are not used now, because fewer run at a time, to those of `team`."""
    used = {workspace.folder for workspace in team}
    for position, folder in enumerate(sorted(team[0].folder.parent.glob("[0-9]*"))):
        if folder in used:
            continue
        end_processes(folder)
        target = team[position % len(team)].folder / CHECKPOINTS
        for path in (folder / CHECKPOINTS).glob("*.pt"):
            if not (target / path.name).exists():
                target.mkdir(parents=True, exist_ok=True)
                path.replace(target / path.name)


def end_processes(folder: Path, patience: float = 5.0) -> int:
    """End all processes of the workspace in `folder` but this one, those of a killed command as well.

    Return how many there were. They are asked first, and killed after `patience` seconds.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                found.append(process)
        except psutil.Error:
            continue  # ended meanwhile, or another user's
    end(found, patience)
    return len(found)


def end(processes: Sequence[psutil.Process], patience: float = 5.0) -> None:
    """Terminate processes, and kill those that still run after `patience` seconds."""
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    for process in psutil.wait_procs(processes, timeout=patience)[1]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=patience)


@contextmanager
def reserved(project: Path, command: str) -> Iterator[None]:
    """Hold the workspaces of a project. Raises DarkroomError if another command uses them.

    The operating system releases them when the process dies.
    """
    path = project / FOLDER / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DarkroomError(
            f"another `darkroom sweep` or `darkroom train` is running in {naming.shown(project)}: wait for it before "
            f"you start `darkroom {command}`, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()
