"""Images that users sent to the service, from its log: corrections, and those with an uncertain prediction.

They are not part of the data. A class that a person gives to one copies it to `data/inbox/`.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from darkroom import schema
from darkroom.commands import corrections, entries
from darkroom.commands.curate.cases import Case, Suspicion, Upload
from darkroom.data.split.decisions import Decision
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

LONGEST = 200
"""Bytes of the longest file name that is kept; file systems allow 255, and a hash or a temporary suffix is added."""
TO = re.compile(": give (a|the target) folder with --to$")
CORRECTION, UNCERTAIN = "correction by a user", "uncertain prediction"


def log_folder() -> Path | None:
    """Return the folder of the service's log, None if `serve.log` is not set or nothing was logged yet."""
    log = schema.load(corrections.PARAMS).serve.log
    return Path(log) if log and Path(log).is_dir() else None


def collect(log: Path, classes: Sequence[str], known: Collection[str], decided: Collection[Decision]) -> list[Case]:
    """Return the open cases of a log: corrections first, then uncertain predictions, the least probable first.

    known: SHA-256 of the images in the data, which are left out, and so are those with a decision.
    """
    done = {*known, *(each.sha256 for each in decided)}
    cases = [case for case in _corrections(log, classes) if case.upload and case.upload.sha256 not in done]
    done |= {case.upload.sha256 for case in cases if case.upload}
    return cases + [case for case in _uncertain(log, classes) if case.upload and case.upload.sha256 not in done]


def inbox() -> Path:
    """Return the folder of class folders to which images are copied. Raises DarkroomError when none is read."""
    try:
        return corrections.target(corrections.inbox())
    except DarkroomError as error:
        reason = TO.sub("", str(error))  # an option of another command
        remedy = f": move your labelled images to {corrections.INBOX}/ (docs/data.md)" * (reason != str(error))
        raise DarkroomError(f"images that get a class cannot be added to the data: {reason}{remedy}") from None


def place(upload: Upload, label: str) -> Path | None:
    """Copy an upload to the class folder of the inbox, and return the new file; None if the folder has it already.

    Another file of this name is kept: the new name then contains the hash. Raises DarkroomError when the class is not a
    valid folder name, and when the image is no longer the one that was shown.
    """
    if "/" in label or label in (".", ".."):
        raise DarkroomError(f"'{naming.shown(label)}' is not a valid folder name: add the image to the data manually")
    data = upload.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != upload.sha256:
        raise DarkroomError(f"{naming.shown(upload.path)} has changed since it was read: start darkroom curate again")
    folder, name = inbox() / label, upload.path.name
    if naming.unprintable(name) or "\\" in name or len(name.encode()) > LONGEST:  # the pipeline may refuse it
        name = f"{upload.sha256}{upload.path.suffix}"
    for path in (folder / name, folder / f"{Path(name).stem}-{upload.sha256[:12]}{upload.path.suffix}"):
        if not path.exists():
            with files.whole_file(path) as partial:
                partial.write_bytes(data)
            return path
        if path.is_file() and files.sha256(path) == upload.sha256:
            return None
    raise DarkroomError(f"{naming.shown(path)} is there already, with another content: rename it")


def _corrections(log: Path, classes: Sequence[str]) -> list[Case]:
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    paths: dict[str, Path] = {}
    folder = log / "corrections"
    for path, label, digest in corrections.find(folder) if folder.is_dir() else ():
        if label in classes and not path.name.startswith("."):
            labels[digest][label] += 1
            paths[digest] = path
    found = []
    for digest, given in labels.items():
        listed = naming.listed(sorted(given))
        why = f"A user of the service gave this image the class {listed}."
        if len(given) > 1:
            why = f"Users of the service gave this image different classes: {listed}."
        suspicion = Suspicion(-1, CORRECTION, why, min(given))
        found.append(Case(suspicion, (), Upload(digest, paths[digest], paths[digest].name)))
    return found


def _uncertain(log: Path, classes: Sequence[str]) -> list[Case]:
    pictures = {path.stem: path for path in sorted((log / "pictures").glob("*")) if not path.name.startswith(".")}
    latest = {str(row.get("sha256")): row for row in entries.rows(log)} if (log / "darkroom").is_dir() else {}
    found = []
    for digest, row in latest.items():
        if digest not in pictures or row.get("label") not in classes or row.get("confident") is not False:
            continue
        foreign = row.get("in_distribution") is False
        why = "The service's prediction was uncertain" + ", and it is unlike the training images" * foreign + "."
        suspicion = Suspicion(-1, UNCERTAIN, why, str(row["label"]), float(row["probability"]))
        found.append(Case(suspicion, (), Upload(digest, pictures[digest], pictures[digest].name)))
    return sorted(found, key=lambda case: case.suspicion.probability or 0)
