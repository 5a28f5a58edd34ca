"""Image data sets from Kaggle, downloaded by the official command line client.

The client runs as a command, because importing it may end the process. It reports some failures with exit status 0, so
success is determined by the archive; the client's output determines the message for the user.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from darkroom import fetching
from darkroom.data.archives import archive, layout, manifest
from darkroom.data.archives.origin import Origin
from darkroom.data.settings import KaggleSource
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

WAITS = (3.0, 10.0, 30.0)
"""Seconds before the second, third and fourth attempt, if retrying may help."""
STALLED = 400.0
"""Seconds without output after which the client is stopped: above its own timeout of 300 for one read."""
KEPT_LINES = 50
"""Number of last lines of the client's output that are examined."""
ADVICE = (
    "create a token at https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
)

FAILURES = (
    (r"\b429 Client Error|HTTP 429|too many requests|rate.?limit", "busy"),
    (r"\b401 Client Error|unauthenticated|unauthori[sz]ed|authentication required", "credentials"),
    (r"\b403 Client Error|forbidden|permission.* denied|access denied", "forbidden"),
    (r"\b404 Client Error|\bnot found\b", "unknown"),
    (r"\b5\d\d Server Error", "down"),
    (r"download failed after|does not match expected size|connection broken|incompleteread", "cut"),
    (r"max retries exceeded|connectionerror|connection aborted|timed out|proxyerror", "unreachable"),
)
"""Output of the client (case-insensitive) and its meaning; the first match is used."""


@dataclass(frozen=True)
class Ended:
    """Result of a client run: exit status, and the last lines of output without progress bars."""

    status: int
    lines: list[str]


def fetch(settings: KaggleSource, entry: str, downloads: Path, out: Path) -> Origin:
    """Download the archive of the data set to the folder `out`; partial downloads are kept in `downloads`.

    entry: its name in `datasets`, for messages.

    Raises DarkroomError when the client is missing, when Kaggle rejects the request, or when the archive is damaged or
    has no class folders.
    """
    name = settings.dataset.split("/")[1]
    path = downloads / settings.dataset.replace("/", "_") / f"{name}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    _download(settings, entry, path)
    # Report a wrong layout before any image is decoded.
    arrangement = manifest.arrange(path, classes=settings.classes)
    layout.rename(arrangement.items, settings.classes, path.name)
    layout.warn(arrangement.warnings)
    fetching.place(path, out / path.name)
    return Origin(settings.title or name, _page(settings.dataset), settings.licence, classes=settings.classes)


def _download(settings: KaggleSource, entry: str, path: Path) -> None:
    """Run the client until the archive at `path` is complete."""
    dataset = settings.dataset
    command = [_client(), "datasets", "download", dataset, "--path", str(path.parent)]
    # A killed run may have left the complete file; the client keeps a second file next to an incomplete one.
    if path.exists() and len(list(path.parent.iterdir())) == 1 and _fault(path) is None:
        return
    was_broken = False
    for wait in (*WAITS, None):
        ended = _run(command)
        fault = _fault(path)
        if ended.status == 0 and fault is None:
            return
        if ended.status == 0 and path.exists():
            shutil.rmtree(path.parent)  # nothing to resume: the next attempt starts over
            problem = f"the archive of {dataset} is damaged ({fault})"
            remedy = f"run again later, or {_by_hand(settings, entry)}"
            again, was_broken = not was_broken, True
        else:
            problem, remedy, again = _explain(settings, entry, path, ended)
        if not again or wait is None:
            raise DarkroomError(f"{problem}: {remedy}")
        print(f"{problem}; retrying in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)


def _client() -> str:
    """Return the client's path, preferably the one of this environment."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if found := shutil.which("kaggle", path=places):
        return found
    raise DarkroomError(
        "the kaggle command is missing: install the project's packages (make env) or run pip install kaggle"
    )


def _run(command: Sequence[str]) -> Ended:
    """Run the client to completion; its progress bar is shown on a terminal."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    # Through a pipe: if this process is killed, the client ends at its next output, and never writes at the same
    # time as the client of the next run.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        threading.Thread(target=_drain, args=(process.stdout, lines), daemon=True).start()
        try:
            while (line := lines.get(timeout=STALLED)) is not None:
                if "%|" not in line:
                    kept.append(line.strip())
                elif sys.stderr.isatty():
                    print(f"\r{naming.shown(line.rstrip())}", end="", file=sys.stderr)
            return Ended(process.wait(), [line for line in kept if line])
        except queue.Empty:
            raise DarkroomError(
                f"Kaggle's client printed nothing for {STALLED:.0f} s: run again; the download resumes"
            ) from None
        finally:
            process.kill()


def _drain(output: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    for line in output:
        lines.put(line)
    lines.put(None)


def _fault(path: Path) -> str | None:
    """Return the error in a zip archive, or None if all members that are not too large have the right checksum."""
    if not path.is_file():
        return "it is missing"
    try:
        for member in archive.walk(path, lambda name: True):
            if isinstance(member.data, str) and not member.too_large:
                return f"{naming.shown(member.name)}: {member.data}"
    except DarkroomError as error:
        return str(error).rpartition(": ")[0] or str(
            error
        )  # without its remedy, because the archive is downloaded again
    return None


def _explain(settings: KaggleSource, entry: str, path: Path, ended: Ended) -> tuple[str, str, bool]:
    """Return what went wrong, the remedy, and whether retrying may help."""
    dataset = settings.dataset
    text = "\n".join(ended.lines)
    kind = next((kind for pattern, kind in FAILURES if re.search(pattern, text, re.IGNORECASE)), "")
    place, by_hand = _credentials(), _by_hand(settings, entry)
    come = path.stat().st_size / 1e6 if path.exists() else 0
    match kind:
        case "busy":
            return "Kaggle's rate limit is reached (429)", "wait a few minutes and run again", True
        case "credentials" if place:
            return f"Kaggle rejects the credentials in {place} (401)", f"{ADVICE}, or {by_hand}", False
        case "credentials":
            problem = f"Kaggle requires credentials for {dataset} (401), and there are none"
            return problem, f"{ADVICE}, or {by_hand}", False
        case "forbidden":
            remedy = f"open {_page(dataset)} and accept its terms; " + (f"then check {place}" if place else ADVICE)
            return f"Kaggle denies access to {dataset} (403)", remedy, False
        case "unknown":
            remedy = "source.dataset must be OWNER/NAME as in its URL; a private data set needs its owner's credentials"
            return f"Kaggle has no data set {dataset} (404)", remedy, False
        case "down":
            return "Kaggle's server reports an internal error", "run again later", True
        case "cut":
            return f"the download of {dataset} was interrupted after {come:.1f} MB", "run again to resume it", False
        case "unreachable":
            return "Kaggle cannot be reached", f"check the network and the proxy, or {by_hand}", False
    last = naming.shown(_without_secrets(ended.lines[-1])) if ended.lines else "nothing"
    problem = f"the kaggle command downloaded no archive (status {ended.status}); its last output: {last}"
    return problem, f"try it manually: kaggle datasets download {dataset}", False


def _credentials() -> str:
    """Return where the client finds credentials, or an empty string; the credentials themselves are never read."""
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "KAGGLE_API_TOKEN"
    if os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    own = Path.home() / ".kaggle"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    folders = [Path(os.environ.get("KAGGLE_CONFIG_DIR") or own), config]
    places = [own / "access_token", own / "access_token.txt", *(folder / "kaggle.json" for folder in folders)]
    return next((str(place) for place in places if place.is_file()), "")


def _without_secrets(line: str) -> str:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"):
        if secret := os.environ.get(name):
            line = line.replace(secret, "***")
    return line


def _by_hand(settings: KaggleSource, entry: str) -> str:
    """Return instructions for copying the archive from another machine."""
    named = f" -S 'datasets.folder.source.classes=${{datasets.{entry}.source.classes}}'" if settings.classes else ""
    return (
        f"download the archive elsewhere from {_page(settings.dataset)}, put it into data/inbox/ and run "
        f"`dvc exp run -S dataset=folder{named}`"
    )


def _page(dataset: str) -> str:
    return "https://www.kaggle.com/datasets/" + "/".join(dataset.split("/")[:2])
