"""Whether the files of a commit belong together: what `dvc.lock` records, compared with the files themselves.

This needs no rebuild. It detects a file that was edited after the run, whether git or DVC tracks it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from darkroom.commands import dvc_internals
from darkroom.commands.review.revisions import LOCK, Revision
from darkroom.commands.review.snapshots import PARAMETERS, flatten
from darkroom.foundations import naming
from darkroom.serving import proofs

INBOX = "data/inbox"
"""The images of a user, which git ignores, so that a clone may lack them."""


def examine(revision: Revision, *, has_inbox: bool) -> list[str]:
    """Return what does not belong together in the checkout in the current folder, each in words that name the file.

    revision: its commit. has_inbox: whether the images in `data/inbox/` are here.

    Files that are missing are no finding: in a clone they are rebuilt. Raises DarkroomError with DVC's message if it
    cannot read the project.
    """
    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # its progress
    parameters = YAML(typ="safe", pure=True).load(Path(PARAMETERS).read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    with dvc_internals.repository(f"DVC cannot compare the files with {LOCK}") as repo:
        for stage in repo.index.stages:
            name = naming.shown(stage.addressing)
            if stage.addressing not in revision.stages:
                found[name] = f"{LOCK} has no results of the stage {name}"
                continue
            if stage.changed_stage():
                found[name] = f"dvc.yaml: the stage {name} has another command than in {LOCK}"
            for section in dvc_internals.changed_params(stage, PARAMETERS):
                locked = revision.stages[stage.addressing].get("params", {}).get(PARAMETERS, {}).get(section)
                found |= dict(_parameters(section, locked, _lookup(parameters, section)))
            found |= dict(_files(stage, has_inbox))
    return [found[key] for key in sorted(found)]


def _files(stage: Any, has_inbox: bool) -> Iterator[tuple[str, str]]:
    """Yield path and finding for each dependency and output of a stage that differs from the record."""
    for kind, entries in (("input", stage.deps), ("result", stage.outs)):
        for entry in entries:
            path = str(entry)
            ignored = path == proofs.FOLDER.as_posix() or (path == INBOX and not has_inbox)
            if not ignored and dvc_internals.is_changed(entry):
                yield f"{path} {kind}", f"{naming.shown(path)} is not the {kind} that {LOCK} records"


def _parameters(section: str, locked: Any, now: Any) -> Iterator[tuple[str, str]]:
    """Yield name and finding for each parameter that differs from the one with which a stage ran."""
    before, after = flatten(locked, section), flatten(now, section)
    for leaf in sorted(before.keys() | after.keys()):
        if before.get(leaf) != after.get(leaf):
            name = f"{PARAMETERS}: {naming.shown(leaf)}"
            values = naming.shown(after.get(leaf)), naming.shown(before.get(leaf))
            yield name, f"{name} is {values[0]}, and the results were made with {values[1]}"


def _lookup(parameters: Any, name: str) -> Any:
    for part in name.split("."):
        parameters = parameters.get(part) if isinstance(parameters, dict) else None
    return parameters
