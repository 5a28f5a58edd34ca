"""Image data sets from Kaggle, downloaded by the official command line client.

The client is run as a command, since importing it may end the process. It prints some failures and still ends with
status 0, so the archive is believed and not the status; what the client prints decides what the user is told.
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
    "make a token at https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
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
    """How a run of the client ended: its status and the last lines it printed, without progress bars."""

    status: int
    lines: list[str]


def fetch(settings: KaggleSource, entry: str, downloads: Path, out: Path) -> Origin:
    """Bring the set's archive into the folder `out`; `downloads` keeps what has come of it until then.

    entry: that of `datasets` which names the set, for messages.

    Raises DarkroomError when there is no client, when Kaggle refuses, or when the archive is broken or has no
    class folders.
    """
    name = settings.dataset.split("/")[1]
    path = downloads / settings.dataset.replace("/", "_") / f"{name}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    _download(settings, entry, path)
    # A wrong layout is reported now, before any image is decoded.
    arrangement = manifest.arrange(path)
    layout.rename(arrangement.items, settings.classes, path.name)
    layout.warn(arrangement.warnings)
    fetching.place(path, out / path.name)
    return Origin(settings.title or name, _page(settings.dataset), settings.licence, classes=settings.classes)


def _download(settings: KaggleSource, entry: str, path: Path) -> None:
    """Run the client until the archive at `path` is whole."""
    dataset = settings.dataset
    command = [_client(), "datasets", "download", dataset, "--path", str(path.parent)]
    # A run that was killed may have left all of it; the client keeps a second file beside one that is not whole.
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
    """Return the client's path: the one of this environment before any other."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if found := shutil.which("kaggle", path=places):
        return found
    raise DarkroomError(
        "the kaggle command is not here: install the project's packages (make env) or pip install kaggle"
    )


def _run(command: Sequence[str]) -> Ended:
    """Run the client to its end; its progress bar is passed on to a terminal."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    # Through a pipe: should this process be killed, the client ends with its next word, and never writes beside
    # the client of the next run.
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
                f"Kaggle's client said nothing for {STALLED:.0f} s: run again, what has come is continued"
            ) from None
        finally:
            process.kill()


def _drain(output: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    for line in output:
        lines.put(line)
    lines.put(None)


def _fault(path: Path) -> str | None:
    """Return what is wrong with a zip archive, None when every member that is not too large has its checksum."""
    if not path.is_file():
        return "it is missing"
    try:
        for member in archive.walk(path, lambda name: True):
            if isinstance(member.data, str) and not member.too_large:
                return f"{naming.shown(member.name)}: {member.data}"
    except DarkroomError as error:
        return str(error).rpartition(": ")[0] or str(error)  # without its remedy: Kaggle's archives are fetched again
    return None


def _explain(settings: KaggleSource, entry: str, path: Path, ended: Ended) -> tuple[str, str, bool]:
    """Return what went wrong, the remedy, and whether another try may help."""
    dataset = settings.dataset
    text = "\n".join(ended.lines)
    kind = next((kind for pattern, kind in FAILURES if re.search(pattern, text, re.IGNORECASE)), "")
    place, by_hand = _credentials(), _by_hand(settings, entry)
    come = path.stat().st_size / 1e6 if path.exists() else 0
    match kind:
        case "busy":
            return "Kaggle's rate limit is reached (429)", "wait some minutes and run again", True
        case "credentials" if place:
            return f"Kaggle refuses the credentials in {place} (401)", f"{ADVICE}, or {by_hand}", False
        case "credentials":
            problem = f"Kaggle wants credentials for {dataset} (401) and there are none"
            return problem, f"{ADVICE}, or {by_hand}", False
        case "forbidden":
            remedy = f"open {_page(dataset)} and accept its terms; " + (f"then check {place}" if place else ADVICE)
            return f"Kaggle does not let you have {dataset} (403)", remedy, False
        case "unknown":
            remedy = "source.dataset must be OWNER/NAME as in its address; a private set needs its owner's credentials"
            return f"Kaggle has no data set {dataset} (404)", remedy, False
        case "down":
            return "Kaggle's server has a failure of its own", "run again later", True
        case "cut":
            return f"the download of {dataset} was cut after {come:.1f} MB", "run again, and it continues there", False
        case "unreachable":
            return "Kaggle cannot be reached", f"check the network and the proxy, or {by_hand}", False
    last = naming.shown(_without_secrets(ended.lines[-1])) if ended.lines else "nothing"
    problem = f"the kaggle command brought no archive (status {ended.status}); its last words: {last}"
    return problem, f"try it by hand: kaggle datasets download {dataset}", False


def _credentials() -> str:
    """Return where the client finds credentials, or nothing; they themselves are never read."""
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
    """Return how a person brings the archive here from another machine."""
    named = f" -S 'datasets.folder.source.classes=${{datasets.{entry}.source.classes}}'" if settings.classes else ""
    return (
        f"fetch the archive elsewhere from {_page(settings.dataset)}, put it into data/inbox/ and run "
        f"`dvc exp run -S dataset=folder{named}`"
    )


def _page(dataset: str) -> str:
    return "https://www.kaggle.com/datasets/" + "/".join(dataset.split("/")[:2])
