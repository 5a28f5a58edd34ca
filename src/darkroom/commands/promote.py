"""The model registry: versions and stages of the artifacts in `dvc.yaml`, as git tags of the GTO standard.

`model@v1.2.0` is a version of an artifact and `model#prod#3` the third assignment to a stage
(https://dvc.org/doc/gto); `dvc artifacts get` resolves both.
"""

import contextlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom import git
from darkroom.commands import dvc_internals
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

PIPELINE = "dvc.yaml"
VERSION = re.compile(r"v?((?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)")
"""https://semver.org without build metadata, which a tag of GTO may have but which orders nothing."""
STAGE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


def promote(version: str, stage: str) -> str:
    """Assign a version of all artifacts to a stage; return what was done and the next commands.

    A version that does not exist yet is registered at the current commit first. All tags are made, or none.

    Raises DarkroomError for an invalid name, and when the current commit cannot be registered: changed files, a model
    that is missing, that this commit does not build or that is not on the remote.
    """
    number, stage = _check_names(version, stage)
    _check_repository()
    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # its report on every stage that did not change
    with dvc_internals.repository("DVC reports an error, and `darkroom doctor` checks the project") as repo:
        paths = {name: artifact.path for name, artifact in repo.artifacts.read().get(PIPELINE, {}).items()}
        if not paths:
            raise DarkroomError(f"{PIPELINE} has no artifacts: add the section, see docs/registry.md")
        local = not repo.config["core"].get("remote")
        if fresh := _is_new(list(paths), number):
            _check_unregistered(list(paths), stage)
            _check_commit(repo, paths, local)
    return "\n".join(_tag(list(paths), number, stage, fresh) + _next_steps(local, fresh, stage))


def _check_names(version: str, stage: str) -> tuple[str, str]:
    """Return the version as in tags (v1.2.0) and the stage."""
    found = VERSION.fullmatch(version)
    if not found:
        raise DarkroomError(f"{naming.shown(version)!r} is no version: use three numbers, such as 1.2.0 or 2.0.0-rc.1")
    if not STAGE.fullmatch(stage):
        raise DarkroomError(f"{naming.shown(stage)!r} is no stage: use lower-case letters, digits and -, such as prod")
    return f"v{found[1]}", stage


def _check_repository() -> None:
    if not Path(PIPELINE).is_file():
        raise DarkroomError(f"{PIPELINE} is missing: run from the project's top folder")
    git.commit()
    if not (git.attempt("config", "user.name") and git.attempt("config", "user.email")):
        raise DarkroomError(
            "a tag has an author, and git knows none: git config user.name NAME && git config user.email ADDRESS"
        )


def _is_new(names: Sequence[str], version: str) -> bool:
    """Return whether no artifact has this version; raises DarkroomError if only some have it."""
    tags = [f"{name}@{version}" for name in names]
    there = [tag for tag in tags if git.exists(f"refs/tags/{tag}")]
    if there and there != tags:
        raise DarkroomError(
            f"only {naming.listed(there)} of {naming.listed(tags)} exists: git fetch --tags, or remove it "
            f"(git tag --delete {' '.join(there)}) and start again"
        )
    return not there


def _check_unregistered(names: Sequence[str], stage: str) -> None:
    """Raise DarkroomError if the current commit is a version already: GTO allows one per commit."""
    for name in names:
        if found := git.run("tag", "--points-at", "HEAD", "--list", f"{name}@v*"):
            number = found.splitlines()[0].partition("@v")[2]
            raise DarkroomError(f"this commit is version {number} already: darkroom promote {number} {stage}")


def _check_commit(repo: Any, paths: dict[str, str], local: bool) -> None:
    """Raise DarkroomError if the current commit is not what the model was built from, or others could not get it."""
    if changed := git.changed():
        files = naming.listed(changed, most=5)
        raise DarkroomError(f"a version is a commit, and these files differ from it: {files}. Commit or restore them")
    outs = {name: repo.find_outs_by_path(str(Path(path).absolute())) for name, path in paths.items()}
    if absent := [paths[name] for name, found in outs.items() if not all(out.hash_info for out in found)]:
        raise DarkroomError(f"dvc.lock has no {naming.listed(absent)}: make run, then commit dvc.lock")
    builders = sorted({out.stage.addressing for found in outs.values() for out in found})
    with contextlib.redirect_stdout(None):
        stale = repo.reproduce(targets=builders, dry=True, allow_missing=True)
    if stale:
        names = naming.listed([stage.addressing for stage in stale], most=5)
        raise DarkroomError(f"this commit does not build the model in dvc.lock, since {names} must run again: make run")
    _check_files(repo, paths, outs, local)


def _check_files(repo: Any, paths: dict[str, str], outs: dict[str, list[Any]], local: bool) -> None:
    """Raise DarkroomError if the default remote lacks an artifact; without a remote, if DVC's cache lacks it."""
    lost = [paths[name] for name, found in outs.items() if any(out.changed_cache() for out in found)]
    if not local:
        try:
            pushed = dvc_internals.is_pushed
            absent = [paths[name] for name, found in outs.items() if not all(pushed(repo, out) for out in found)]
        except Exception as error:  # each kind of storage has its own for no network, a wrong key or a missing bucket
            remote = naming.shown(repo.config["core"]["remote"])
            raise DarkroomError(
                f"the DVC remote {remote} cannot be used ({naming.shown(error)}): darkroom doctor checks its settings"
            ) from error
        if not absent:
            return
        if not lost:
            raise DarkroomError(f"the DVC remote lacks {naming.listed(absent)} of this commit: dvc push")
    if lost:
        remedy = "make run builds it again" + ("" if local else ", then dvc push")
        raise DarkroomError(f"DVC's cache {'' if local else 'and remote '}lack {naming.listed(lost)}: {remedy}")


def _tag(names: Sequence[str], version: str, stage: str, fresh: bool) -> list[str]:
    """Make the tags; return what was done. If one fails, the others are removed again."""
    from gto import api
    from gto.exceptions import GTOException
    from scmrepo.exceptions import SCMError

    made: list[str] = []
    before = {name: _in_stage(name, stage) for name in names}
    try:
        for name in names if fresh else ():
            registration = api.register(".", name, "HEAD", version=version)
            made.append(registration.tag)  # at once, so that a failure of the next one removes it
        for name in names:
            if before[name] != version:
                # With force, because for GTO an earlier version is still in the stage, and going back must be possible.
                assignment = api.assign(".", name, stage, version=version, skip_registration=True, force=True)
                made.append(assignment.tag)
    except (GTOException, SCMError) as error:
        for tag in made:
            git.attempt("tag", "--delete", tag)
        raise DarkroomError(
            f"{version} cannot be tagged: {naming.shown(str(error.__cause__ or error).strip())}"
        ) from None
    commit = git.run("rev-parse", "--short", f"{names[0]}@{version}^{{commit}}")
    listed = " and ".join(names)
    lines = [f"{listed} {version}: registered at commit {commit}"] if fresh else []
    if not made:
        return [f"{listed} {version} (commit {commit}): already in {stage}"]
    replaced = sorted({old for old in before.values() if old and old != version})
    suffix = f", which had {naming.listed(replaced)}" if replaced else ""
    return [*lines, f"{listed} {version}: now in {stage}{suffix}", f"tags: {', '.join(made)}"]


def _in_stage(name: str, stage: str) -> str:
    """Return the version of an artifact that is in a stage now, or nothing."""
    from gto import api
    from gto.exceptions import ArtifactNotFound

    try:
        found = api.find_versions_in_stage(".", name, stage, versions_per_stage=1)
    except ArtifactNotFound:
        return ""
    return str(found[0].version) if found else ""


def _next_steps(local: bool, fresh: bool, stage: str) -> list[str]:
    origin = git.attempt("remote", "get-url", "origin")
    lines = [""]
    if local and fresh:
        lines += [
            "No DVC remote is set, so only this clone has the files: dvc remote add --default NAME URL && dvc push"
        ]
    publish = "git push && git push --tags" if origin else "git remote add origin URL && git push origin HEAD --tags"
    where = naming.shown_address(origin) if origin else str(Path.cwd())
    fetch = f"dvc artifacts get {where} bento --stage {stage} --out darkroom.bento"
    return [*lines, f"  Publish  {publish}", f"  Fetch    {fetch}"]
