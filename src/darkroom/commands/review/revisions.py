"""Two revisions to compare: their files from git, and their outputs from DVC's cache."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from darkroom import git
from darkroom.commands import dvc_internals
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

MAINS = ("main", "origin/main", "master", "origin/master")
"""Where a pull request usually goes, unless the remote names another branch."""
SHORT = 8
"""Hexadecimal digits of a commit in messages."""
LOCK = "dvc.lock"


class Revision:
    """A commit, or the workspace with its uncommitted changes."""

    def __init__(self, commit: str, *, workspace: bool = False) -> None:
        self.commit = commit
        self.workspace = workspace
        self.name = f"the workspace on {commit[:SHORT]}" if workspace else commit[:SHORT]

    def read(self, path: str) -> str | None:
        """Return the text of a file that git tracks, None if there is none; `path` is relative to this folder."""
        if self.workspace:
            return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None
        return git.read(self.commit, path)

    def read_json(self, path: str) -> Any:
        """Return the content of a JSON file, None if there is none.

        Raises DarkroomError if it is not valid, such as after a merge with conflict markers.
        """
        text = self.read(path)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise DarkroomError(f"{path} of {self.name} is not valid JSON ({error}): repair and commit it") from None

    @cached_property
    def stages(self) -> Mapping[str, Any]:
        """The stages in `dvc.lock` by name."""
        text = self.read(LOCK)
        if text is None:
            raise DarkroomError(f"{self.name} has no {LOCK}, so no results: run `dvc repro` there and commit {LOCK}")
        try:
            return dict(YAML(typ="safe").load(text)["stages"])
        except (YAMLError, TypeError, KeyError, ValueError):
            raise DarkroomError(f"{LOCK} of {self.name} is not valid: run `dvc repro` there and commit it") from None

    def output(self, path: str) -> Mapping[str, Any] | None:
        """Return the entry in `dvc.lock` of an output, or of the folder that holds it: its hash and size."""
        for stage in self.stages.values():
            for entry in stage.get("outs", ()):
                if path == entry["path"] or path.startswith(f"{entry['path']}/"):
                    return dict(entry)
        return None

    def cached(self, path: str, cache: Path) -> Path | None:
        """Return the cache's file of an output, None if the cache lacks it.

        Raises DarkroomError if `dvc.lock` has no such output.
        """
        entry = self.output(path)
        if entry is None:
            raise DarkroomError(f"{LOCK} of {self.name} lists no {path}: run `dvc repro` there and commit {LOCK}")
        found = _object(cache, entry["md5"])
        if found and entry["md5"].endswith(".dir"):
            inside = path.removeprefix(f"{entry['path']}/")
            members = {member["relpath"]: member["md5"] for member in json.loads(found.read_text(encoding="utf-8"))}
            return _object(cache, members[inside]) if inside in members else None
        return found


@dataclass(frozen=True)
class Pair:
    """What is compared."""

    base: Revision
    head: Revision
    described: str
    """How the base was found, in words."""
    uncommitted: list[str]
    """Tracked files of the workspace that differ from the last commit."""


def resolve(base: str | None) -> Pair:
    """Return the workspace, or the last commit if nothing differs from it, and what to compare it with.

    base: a commit, branch or tag: its merge base with the last commit is used. None is the main branch.

    Raises DarkroomError if there is no such revision, no common history with the main branch, or nothing to compare.
    """
    head = git.commit()
    name = base or _main_branch()
    try:
        commit = git.commit(name)
    except git.NoRevisionError as error:
        fetch = f"git fetch origin {shlex.quote(naming.shown(name)).removeprefix('origin/')}"
        raise DarkroomError(f"{error}; in a fresh clone, `{fetch}` first") from None
    found = git.attempt("merge-base", commit, head)
    described = f"the merge base with {name}"
    if found is None:
        if base is None or git.is_shallow():
            remedy = "`git fetch --unshallow`" if git.is_shallow() else "name the revision to compare with"
            raise DarkroomError(f"{name} and {head[:SHORT]} have no common history here: {remedy}")
        described = f"{name}, which has no common history with it"
    else:
        described = name if found == commit and base else described
        commit = found
    uncommitted = git.changed(".")
    if commit == head and not uncommitted:
        raise DarkroomError(
            f"there is nothing to review: the last commit ({head[:SHORT]}) is part of {naming.shown(name)}. "
            "Name an older revision, such as `darkroom review HEAD~1`"
        )
    return Pair(Revision(commit), Revision(head, workspace=bool(uncommitted)), naming.shown(described), uncommitted)


def cache_folder() -> Path:
    """Return the folder of DVC's cache. Raises DarkroomError outside a DVC repository."""
    with dvc_internals.repository("DVC cannot be used here") as repo:
        return Path(repo.cache.local.path)


def locate(
    revisions: Sequence[Revision], paths: Sequence[str], rerun: str, *, download: bool = False
) -> list[dict[str, Path]]:
    """Return for each revision where the cache holds the outputs `paths`.

    rerun: the command that fetches what is missing; download: fetch it from the DVC remote.

    Raises DarkroomError that gives the exact commands to fetch all that is missing.
    """
    cache = cache_folder()
    found = [{path: revision.cached(path, cache) for path in paths} for revision in revisions]
    if download and any(None in places.values() for places in found):
        fetch(revisions, paths)
        found = [{path: revision.cached(path, cache) for path in paths} for revision in revisions]
    lines = []
    for revision, places in zip(revisions, found, strict=True):
        if missing := [path for path, place in places.items() if place is None]:
            command = f"dvc fetch {' '.join(missing)}"
            if not revision.workspace and revision.commit != git.commit():
                command = f"git switch --detach {revision.commit[:SHORT]} && {command} && git switch -"
            lines.append(f"  {revision.name}: {command}")
    if lines:
        raise DarkroomError(
            "\n".join([f"the cache lacks outputs: download them with `{rerun}`, or with DVC alone:", *lines])
        )
    return [{path: place for path, place in places.items() if place} for places in found]


def fetch(revisions: Sequence[Revision], paths: Sequence[str]) -> None:
    """Download the outputs `paths` of each revision, and nothing else, from the DVC remote into the cache.

    Raises DarkroomError if there is no remote, it cannot be reached, or it lacks a file.
    """
    commits = [revision.commit for revision in revisions if not revision.workspace]
    with dvc_internals.repository(f"DVC could not download {', '.join(paths)}") as repo:
        workspace = any(revision.workspace for revision in revisions)
        repo.fetch(targets=list(paths), revs=commits or None, workspace=workspace)


def _object(cache: Path, digest: str) -> Path | None:
    path = cache / digest[:2] / digest[2:]
    return path if path.is_file() else None


def _main_branch() -> str:
    """Return `main` if it exists, else the default branch of the remote, else another usual name that exists."""
    named = git.attempt("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    for name in (*MAINS[:1], *([named] if named else []), *MAINS[1:]):
        if git.exists(name):
            return name
    raise DarkroomError(
        f"there is no branch to compare with (tried {', '.join(MAINS)}): name a revision, such as "
        "`darkroom review HEAD~1`"
    )
