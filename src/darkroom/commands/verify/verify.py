"""Verification of a commit: its files belong together, and a rebuild from raw data gives its results."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from darkroom import git
from darkroom.commands import dvc_internals
from darkroom.commands.review import revisions
from darkroom.commands.review.revisions import LOCK, SHORT, Revision
from darkroom.commands.review.snapshots import DATA, EVALUATION, FOREACH, PARAMETERS, SERVED
from darkroom.commands.verify import comparison, consistency, machine, rebuilding
from darkroom.foundations import experiments, files, naming, params
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import proofs

FORMAT = 1
"""Version of the proof's fields, which docs/verification.md describes."""


@dataclass(frozen=True)
class Verification:
    """The result, as the proof contains it."""

    proof: dict[str, Any]
    path: Path
    """Where the proof was written."""

    @property
    def verified(self) -> bool:
        """Whether the commit was verified."""
        return bool(self.proof["verdict"] == "verified")

    def lines(self) -> list[str]:
        """Return the result in words."""
        commit = self.proof["commit"][:SHORT]
        if not self.verified:
            listed = [f"  {each}" for each in self.proof["differences"]]
            return [f"{commit} differs:", *listed, f"proof: {self.path}"]
        how = "exactly equal" if self.proof["agreement"] == "exact" else f"within tolerances ({self.proof['reason']})"
        count = sum(each["tolerance"] is not None for part in self.proof["metrics"].values() for each in part.values())
        lines = [
            f"{commit} is verified: {count} metrics and {len(self.proof['outputs'])} outputs of the rebuild are {how}",
            f"proof: {self.path}",
        ]
        if not self.proof["model"]["version"]:
            lines.append(
                f"The proof names no model, since the cache lacks {SERVED}: dvc fetch {SERVED}, and verify again"
            )
        return lines


def verify(output: Path | None = None, *, download: bool = False) -> Verification:
    """Rebuild the last commit elsewhere, compare, and write the proof; report the progress on standard error.

    output: where to write the proof, by default `verification/proof.json`. download: download the raw data again
    instead of using those in DVC's cache.

    Raises DarkroomError if tracked files differ from the commit, which alone is verified, or if it cannot be rebuilt.
    """
    began = time.monotonic()
    path = output or proofs.FOLDER / proofs.NAME
    if path.is_dir():
        raise DarkroomError(f"--output {path} is a folder: name a file, such as {path / proofs.NAME}")
    revision = _revision()
    known = machine.recorded(revision)
    proof = _start(revision, known)
    _say("comparing the files with dvc.lock and the packages with requirements.txt")
    raw = revision.output(rebuilding.RAW)
    differences = consistency.examine(revision, has_inbox=_has_inbox()) + machine.packages()
    if not differences:
        with rebuilding.clone(revision) as folder:
            differences = _rebuild(revision, folder, proof, known, download=download or not raw)
    proof |= {
        "differences": differences,
        "verdict": "differs" if differences else "verified",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
    }
    files.write_json(path, proof)
    return Verification(proof, path)


def _rebuild(
    revision: Revision, folder: Path, proof: dict[str, Any], known: dict[str, str] | None, *, download: bool
) -> list[str]:
    """Rebuild in the clone `folder`, add the results to the proof, and return what differs."""
    from_cache = not download and not _is_bundled() and rebuilding.bring_raw(revision, folder)
    experiments.bring_ignored(Path.cwd(), folder)
    proof["data"]["origin"] = "DVC cache" if from_cache else "bundled" if _is_bundled() else "stage download"
    _say(f"rebuilding {revision.name} in {folder}; raw data: {proof['data']['origin']}")
    settings = machine.settings(known)
    expected = _stages(revision) - ({rebuilding.DOWNLOAD} if from_cache else set())
    ran = rebuilding.rebuild(folder, len(expected), settings, has_raw=from_cache)
    if left := expected - ran:
        return [f"{LOCK}: the stage {naming.shown(name)} did not run in the rebuild" for name in sorted(left)]
    now = machine.rebuilt(folder)
    exact, proof["reason"] = _agreement(known, now)
    proof |= {"agreement": "exact" if exact else "tolerances", "recorded": known, "rebuilt": now}
    stages = YAML(typ="safe").load(folder / LOCK)["stages"]
    bento = _proof_dependency(revision.stages) == _proof_dependency(stages)
    options = {"exact": exact, "bento": bento}
    found = comparison.compare(
        revision, folder, stages=_stages(revision), precision=now.get("precision", ""), **options
    )
    proof |= found.plain()
    if not proof["model"]["version"] and exact and found.outputs[SERVED].agrees:
        proof["model"]["version"] = files.read_json(folder / SERVED / "service.json")["version"]
    return found.differences()


def _agreement(known: dict[str, str] | None, now: dict[str, str]) -> tuple[bool, str]:
    """Return whether results must be exactly equal, and otherwise why not."""
    if known is None:
        return False, "the machine of the committed results is not known: their cards are not in DVC's cache"
    other = [f"{name} {now.get(name)} instead of {known.get(name)}" for name in now if now[name] != known.get(name)]
    return not other, ", ".join(map(naming.shown, other))


def _proof_dependency(stages: Mapping[str, Any]) -> str | None:
    """Return the MD5 of the proof's folder when the stage `package` ran, from the stages of a `dvc.lock`."""
    entries = stages.get("package", {}).get("deps", ())
    return next((str(each.get("md5")) for each in entries if each["path"] == proofs.FOLDER.as_posix()), None)


def _revision() -> Revision:
    if not Path("dvc.yaml").is_file():
        raise DarkroomError("dvc.yaml is missing: run from the project's top folder")
    commit = git.commit()
    if changed := git.changed(".", f":!{proofs.FOLDER}"):
        names = naming.listed(changed, most=5)
        raise DarkroomError(f"a commit is verified, and these files differ from it: {names}. Commit or restore them")
    return Revision(commit)


def _start(revision: Revision, known: dict[str, str] | None) -> dict[str, Any]:
    """Return the fields of the proof that do not depend on the rebuild."""
    data, evaluation = revision.read_json(DATA) or {}, revision.read_json(EVALUATION) or {}
    return {
        "format": FORMAT,
        "commit": revision.commit,
        "tree": git.run("rev-parse", f"{revision.commit}^{{tree}}"),
        "code": {name: _hash(revision, name) for name in ("src", "stages", "dvc.yaml")},
        "params": files.sha256(Path(PARAMETERS)),
        "dvc_lock": files.sha256(Path(LOCK)) if Path(LOCK).is_file() else None,
        "data": {
            "hash": data.get("hash"),
            "test_hash": data.get("test_hash"),
            "raw": (revision.output(rebuilding.RAW) or {}).get("md5"),
            "origin": None,
        },
        "model": {"name": evaluation.get("best", {}).get("name"), "version": _version(revision)},
        **machine.describe(),
        "agreement": None,
        "reason": "",
        "recorded": known,
        "rebuilt": None,
        "metrics": {},
        "outputs": {},
        "predictions": None,
    }


def _hash(revision: Revision, name: str) -> str:
    """Return git's hash of a file or folder in this folder at the commit."""
    return git.run("rev-parse", f"{revision.commit}:./{name}")


def _version(revision: Revision) -> str:
    """Return the version of the commit's served model, empty if DVC's cache lacks it."""
    path = f"{SERVED}/service.json"
    found = revision.cached(path, revisions.cache_folder()) if revision.output(path) else None
    return str(json.loads(found.read_text(encoding="utf-8"))["version"]) if found else ""


def _stages(revision: Revision) -> set[str]:
    """Return the stages in `dvc.lock` that dvc.yaml and the parameters still define."""
    document = params.read(Path(PARAMETERS))
    defined = dvc_internals.stage_names(Path("dvc.yaml").read_text(encoding="utf-8"))
    found = set()
    for stage in revision.stages:
        name, _, key = stage.partition("@")
        if name not in defined:
            continue
        if not key or key in (document.get(FOREACH.get(name, name)) or {}):
            found.add(stage)
    return found


def _is_bundled() -> bool:
    document = params.read(Path(PARAMETERS))
    return bool(document["datasets"][document["dataset"]]["source"]["kind"] == "digits")


def _has_inbox() -> bool:
    """Return whether the inbox contains files that git does not track."""
    return bool(git.run("ls-files", "--others", "--", consistency.INBOX))


def _say(text: str) -> None:
    print(text, file=sys.stderr)
