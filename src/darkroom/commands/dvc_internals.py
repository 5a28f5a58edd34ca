"""All imports of DVC's undocumented modules: check here first after updating DVC.

The methods of its repository class are also called in `best.py`, `promote.py` and `review/revisions.py`.

Imports are inside the functions: DVC's repository class takes most of a second to load, and not every command needs it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
