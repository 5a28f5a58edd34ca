"""`darkroom curate`: decide about labels on a local page."""

import os
import secrets
import webbrowser
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from darkroom import git
from darkroom.commands.curate import cases, server, unlabelled, uploads
from darkroom.commands.curate.ledger import Counts, Ledger
from darkroom.commands.curate.pictures import Gallery, Originals
from darkroom.data.split import decisions
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

LABELS = Path("data/labels.csv")
PORT = 8787
"""Port if it is free, so that an SSH tunnel can be reused."""


def curate(port: int | None, *, browser: bool, folder: Path | None, count: int, say: Callable[[str], None]) -> None:
    """Show everything that needs a decision on a local page, until the process is interrupted.

    port: by default `PORT` or a free one; browser: whether to open the page in a browser, which is never done in an SSH
    session; folder, count: as for `gather`. Decisions are written to `data/labels.csv`.

    Raises DarkroomError before the first run, for a malformed `data/labels.csv`, without a name in git, when the port
    is in use, and when the images of `folder` cannot be shown.
    """
    project = cases.open_project()
    decided = decisions.read(LABELS)
    found = gather(project, decided, folder, count, say)
    if not found:
        say(
            "Nothing to decide: no probable label errors, no copies in two classes, no confident mistakes, no "
            "unlabelled images and no scenes are left."
        )
        say("After new images or another model, run `dvc repro` and then `darkroom curate` again.")
        return
    ledger = Ledger(project, found, decided, LABELS, _person())
    gallery = Gallery(project, found)
    token = secrets.token_urlsafe(32)
    with server.listen(port, PORT) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
        for line in _introduction(found, address):
            say(line)
        if browser and not _is_remote():
            webbrowser.open(address)
        originals = Originals(project, found, gallery.side)
        try:
            server.Server(server.Pages(ledger, gallery, originals).application(token)).run([listening])
        except KeyboardInterrupt:
            pass
        finally:
            originals.close()
            for line in summary(ledger.counts()):
                say(line)


def gather(
    project: cases.Project,
    decided: Sequence[decisions.Decision],
    folder: Path | None,
    count: int,
    say: Callable[[str], None],
) -> list[cases.Case]:
    """Return all open cases, in the order in which they are shown.

    folder: of unlabelled images, `unlabelled.FOLDER` if None; count: how many of them to select.
    """
    received = sent(project, decided, say)
    uploaded = {case.upload.sha256 for case in received if case.upload}
    found = worth_labelling(project, decided, uploaded, folder, count, say)
    suspicious = cases.collect(project, decided)
    shown = {row for case in suspicious for row in case.rows}
    return [*suspicious, *received, *found, *cases.collect_scenes(project, decided, shown)]


def worth_labelling(
    project: cases.Project,
    decided: Sequence[decisions.Decision],
    uploaded: Collection[str],
    folder: Path | None,
    count: int,
    say: Callable[[str], None],
) -> list[cases.Case]:
    """Return the cases of unlabelled images. `uploaded` are the SHA-256 of images that are shown anyway.

    If the images of the default folder cannot be shown, the reason is printed. Raises DarkroomError if those of another
    `folder` cannot.
    """
    place = folder or unlabelled.FOLDER
    if not place.is_dir():
        if folder is None:
            return []
        raise DarkroomError(f"{naming.shown(place)} is not a folder: give the folder of the images to --unlabelled")
    try:
        known = {*uploaded, *(record.sha256 for record in project.records)}
        found = unlabelled.collect(place, project.split.classes, known, {each.sha256 for each in decided}, count)
    except DarkroomError as error:
        if folder:
            raise
        say(f"The images in {naming.shown(place)} are not shown: {error}")
        return []
    if folder and not found.images:
        say(f"There are no images in {naming.shown(place)}")
    for line in found.lines(place):
        say(line)
    return found.cases


def sent(project: cases.Project, decided: Sequence[decisions.Decision], say: Callable[[str], None]) -> list[cases.Case]:
    """Return the cases of the service's log, if their images can be added to the data."""
    if (log := uploads.log_folder()) is None:
        return []
    known = {record.sha256 for record in project.records}
    found = uploads.collect(log, project.split.classes, known, decided)
    if found:
        try:
            uploads.inbox()
        except DarkroomError as error:
            say(f"{naming.count(len(found), 'image')} in {naming.shown(log)} left out: {error}")
            return []
    return found


def _person() -> str:
    name = git.attempt("config", "user.name")
    if not name:
        raise DarkroomError(
            f"git has no name for you, which {LABELS} gives with each decision: run `git config user.name 'YOUR NAME'`"
        )
    return name


def _introduction(found: list[cases.Case], address: str) -> list[str]:
    reasons = [each.suspicion.reason for each in found]
    listed = ", ".join(f"{reasons.count(reason):,} × {reason}" for reason in dict.fromkeys(reasons))
    lines = [f"{naming.count(len(found), 'case')} to decide: {listed}", f"Open {address}"]
    if _is_remote():
        port = address.split(":")[2].partition("/")[0]
        lines.append(f"On your own machine, first run: ssh -L {port}:127.0.0.1:{port} {_host()}")
    return [*lines, "Every decision is stored at once. Press Ctrl-C to stop."]


def _is_remote() -> bool:
    return "SSH_CONNECTION" in os.environ


def _host() -> str:
    """Return this machine as the SSH client reached it."""
    address = os.environ["SSH_CONNECTION"].split()
    return naming.shown(address[2]) if len(address) == 4 else "THIS_MACHINE"


def summary(counts: Counts) -> list[str]:
    """Return what was decided, and what to run next."""
    others = f" {naming.count(counts.elsewhere, 'case was', 'cases were')} decided elsewhere." * bool(counts.elsewhere)
    if not counts.decided:
        return [f"No decisions were made here.{others}"]
    parts = f"{counts.changed:,} changed, {counts.kept:,} confirmed, {counts.excluded:,} excluded"
    left = counts.open + counts.skipped
    return [
        f"{naming.count(counts.decided, 'decision')} in {LABELS}: {parts}; {left:,} left.{others}",
        "Next: `dvc repro` trains with the new labels, `darkroom review` shows what they changed.",
    ]
