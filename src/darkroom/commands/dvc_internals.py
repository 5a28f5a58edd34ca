"""All imports of DVC's undocumented modules: check here first after updating DVC.

The methods of its repository class are also called in `best.py`, `promote.py` and `review/revisions.py`.

Imports are inside the functions: DVC's repository class takes most of a second to load, and not every command needs it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo


@contextmanager
def reported(failure: str) -> Iterator[None]:
    """Turn DVC's errors into a DarkroomError that begins with `failure`."""
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        yield
    except (DvcException, SCMError) as error:
        raise DarkroomError(f"{failure}: {naming.shown(error)}") from None


@contextmanager
def repository(failure: str) -> Iterator["Repo"]:
    """Open DVC's repository of the current folder. Raises DarkroomError that begins with `failure` if DVC fails."""
    from dvc.repo import Repo

    with reported(failure), Repo() as repo:
        yield repo


def config() -> Mapping[str, Any]:
    """Return DVC's configuration of the current folder, including that of the user and the system."""
    from dvc.config import Config

    found: Mapping[str, Any] = Config(".dvc", validate=False)
    return found


def remote_package(kind: str) -> str:
    """Return the package for a kind of remote, such as dvc_s3; empty for one that DVC does not know."""
    from dvc_objects.fs import known_implementations

    return str(known_implementations.get(kind, {}).get("class", "")).partition(".")[0]


def is_pushed(repo: "Repo", out: "Output") -> bool:
    """Return whether all files of an output are on the default remote.

    `dvc status --cloud` would rely on its own list of pushed files, even if the remote was emptied since.
    """
    from dvc_data.hashfile.tree import Tree

    remote = repo.cloud.get_remote_odb()
    if not remote.exists(out.hash_info.value):
        return False
    if not out.hash_info.isdir:
        return True
    files = {entry.value for _, _, entry in Tree.load(remote, out.hash_info)}
    return files <= set(remote.oids_exist(list(files)))


def changed_params(stage: Any, path: str) -> list[str]:
    """Return the parameters in the file `path` that differ from those with which a stage ran."""
    from dvc.dependency.param import ParamsDependency

    entries = [entry for entry in stage.deps if isinstance(entry, ParamsDependency)]
    changes = [entry.workspace_status().get(path) for entry in entries]
    return [name for change in changes if isinstance(change, dict) for name in change]


def is_changed(entry: "Output") -> bool:
    """Return whether a dependency or output exists and is not what `dvc.lock` records.

    `dvc status` would report one that the cache lacks as such, and not whether it has changed.
    """
    from dvc.dependency.param import ParamsDependency

    if isinstance(entry, ParamsDependency) or not entry.exists:
        return False
    return not entry.hash_info or bool(entry.changed_checksum())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that DVC holds while it writes. Raises DarkroomError if another process holds it."""
    from dvc.lock import Lock, LockError

    lock = Lock(str(path))
    try:
        lock.lock()
    except LockError:
        raise DarkroomError(
            f"another DVC process is running here ({path} is locked): wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.unlock()


def locked_stages(path: Path) -> set[str] | None:
    """Return the names of the stages in a file like `dvc.lock`; None if it does not have DVC's schema."""
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        return set(strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)[0]["stages"])
    except DvcException:
        return None


def stage_names(text: str) -> set[str]:
    """Return the names of the stages in the text of a `dvc.yaml` or `dvc.lock`; none if it is not valid."""
    from dvc.utils.serialize import YAMLError, parse_yaml

    try:
        return set(parse_yaml(text, path="")["stages"])
    except (YAMLError, KeyError, TypeError):
        return set()


@dataclass(frozen=True)
class Stage:
    """A stage of `dvc.yaml`; paths are relative to the project."""

    name: str
    upstream: tuple[str, ...]
    """Names of all stages that it depends on, directly or not."""
    inputs: tuple[str, ...]
    cached: tuple[str, ...]
    """Outputs in DVC's cache."""
    tracked: tuple[str, ...]
    """Outputs that git tracks."""
    kept: bool
    """Whether an output outlives a rerun (persist), so that DVC keeps no run cache."""


def stages(repo: "Repo") -> dict[str, Stage]:
    """Return the stages by name, in the order in which they could run."""
    import networkx

    graph = repo.index.graph
    found = {}
    for stage in networkx.dfs_postorder_nodes(graph):
        outs = [(out.def_path, out.use_cache) for out in stage.outs]
        found[stage.addressing] = Stage(
            stage.addressing,
            tuple(each.addressing for each in networkx.descendants(graph, stage)),
            tuple(dep.def_path for dep in stage.deps),
            tuple(path for path, cached in outs if cached),
            tuple(path for path, cached in outs if not cached),
            any(out.persist for out in stage.outs),
        )
    return found


def roots(found: Mapping[str, Stage]) -> list[str]:
    """Return the paths that stages read and no stage writes, except code."""
    made = [Path(path) for stage in found.values() for path in (*stage.cached, *stage.tracked)]
    read = {Path(path) for stage in found.values() for path in stage.inputs}
    own = [path for path in read if not any(path.is_relative_to(out) or out.is_relative_to(path) for out in made)]
    return sorted(str(path) for path in own if path.parts[0] not in ("src", "stages"))


def changed(repo: "Repo", names: list[str]) -> set[str]:
    """Return those of the stages that differ from `dvc.lock`, or whose outputs are missing."""
    return set(repo.status(targets=names))


def share_cache(project: Path, clone: Path, cache: Path) -> None:
    """Let a clone use the DVC cache of the project, in the same way."""
    from dvc.config import Config

    own = Config(str(project / ".dvc"), validate=False)
    with Config(str(clone / ".dvc"), validate=False).edit("local", validate=False) as settings:
        settings["cache"] = {**own.get("cache", {}), "dir": str(cache)}


def restore(repo: "Repo", names: list[str]) -> None:
    """Put the outputs of the stages that `dvc.lock` lists into the workspace, as far as they are in the cache."""
    repo.checkout(targets=names, force=True, allow_missing=True)


@dataclass(frozen=True)
class Outcome:
    """How a run of stages ended."""

    ok: bool
    killed: bool = False
    """Whether a stage was ended by a signal, so that running it again may succeed."""
    message: str = ""
    """What DVC said, if it failed."""


def reproduce(repo: "Repo", names: list[str]) -> Outcome:
    """Run stages and what they depend on, as `dvc repro` does."""
    from dvc.exceptions import DvcException
    from dvc.stage.exceptions import StageCmdFailedError

    try:
        repo.reproduce(targets=names)
    except DvcException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, StageCmdFailedError):
            cause = cause.__cause__
        # "failed to run: COMMAND, exited with STATUS": a shell adds 128 to the number of a signal.
        status = str(cause).rpartition(" ")[2] if cause else ""
        number = int(status) if status.lstrip("-").isdecimal() else 0
        return Outcome(False, number < 0 or number > 128, str(error))
    return Outcome(True)


def reset(repo: "Repo") -> None:
    """Forget what was read from the workspace."""
    repo._reset()


def experiment_reference(commit: str, name: str) -> str:
    """Return the git reference of an experiment on a commit."""
    from dvc.repo.experiments.refs import ExpRefInfo

    return str(ExpRefInfo(commit, name))


def with_stage(text: str, other: str, name: str) -> str:
    """Return the text of a `dvc.lock` with a stage's entry, if it has one, replaced by that of another `dvc.lock`."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    document, source = (parse_yaml_for_update(each, path="") for each in (text, other))
    if name not in document["stages"]:
        return text
    document["stages"][name] = source["stages"][name]
    return str(dumps_yaml(document))
