"""The rebuild: a clone of the commit in a temporary folder, in which DVC runs every stage."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ruamel.yaml import YAML

from darkroom import git
from darkroom.commands.review import revisions
from darkroom.commands.review.revisions import LOCK, Revision
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

RAW = "data/raw"
"""What the stage `download` writes; a test compares it with dvc.yaml, like the next two."""
DOWNLOAD = "download"
PREVIOUS = "data/test_images.json"
"""The output that is also an input: the previous test images are kept."""
STARTED = re.compile(r"Running stage '([^']+)'")
PATIENCE = 10.0
"""Seconds for the processes of an interrupted rebuild to end."""


@contextmanager
def clone(revision: Revision) -> Iterator[Path]:
    """Yield the project's folder in a clone of the commit, which is removed afterwards.

    Its DVC cache is empty and its own, whatever the configuration of the user or the project is.
    """
    top = Path(git.run("rev-parse", "--show-toplevel"))
    prefix = git.run("rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix="darkroom-verify-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary, "clone")
        git.run("clone", "--quiet", "--no-checkout", "--no-tags", str(top), str(place))
        git.run("-C", str(place), "checkout", "--quiet", "--detach", revision.commit)
        folder = place / prefix
        cache = Path(temporary, "cache")
        files.write_text(
            folder / ".dvc" / "config.local", f"[core]\n    autostage = false\n[cache]\n    dir = {cache}\n"
        )
        for name in _uncached(folder / "dvc.yaml"):
            (folder / name).unlink(missing_ok=True)  # what git tracks is rebuilt as well
        yield folder


def _uncached(pipeline: Path) -> Iterator[str]:
    """Yield the outputs that git tracks, apart from the one that is also an input."""
    for stage in YAML(typ="safe").load(pipeline)["stages"].values():
        body = stage.get("do", stage)
        for entry in [*body.get("outs", ()), *body.get("metrics", ())]:
            for name, flags in entry.items() if isinstance(entry, dict) else ():
                if not flags.get("cache", True) and name != PREVIOUS:
                    yield name


def bring_raw(revision: Revision, folder: Path) -> bool:
    """Copy the raw data that the commit records from DVC's cache into the clone; return whether it has them.

    Raises DarkroomError if a file in the cache is not the recorded one.
    """
    entry = revision.output(RAW)
    if not entry or not str(entry.get("md5", "")).endswith(".dir"):
        return False
    cache = revisions.cache_folder()
    listing = cache / entry["md5"][:2] / entry["md5"][2:]
    if not listing.is_file():
        return False
    members = json.loads(_intact(listing, entry["md5"].removesuffix(".dir"), RAW))
    objects = {each["relpath"]: (cache / each["md5"][:2] / each["md5"][2:], each["md5"]) for each in members}
    if not all(path.is_file() for path, _ in objects.values()):
        return False
    for name, (path, digest) in objects.items():
        _intact(path, digest, f"{RAW}/{name}")
        (folder / RAW / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / RAW / name)
    return True


def _intact(path: Path, digest: str, name: str) -> bytes:
    """Return a small file of the cache, and nothing for one above a megabyte, after comparing its hash."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "md5").hexdigest() != digest:
            raise DarkroomError(
                f"{naming.shown(name)} in DVC's cache is not the file that {LOCK} records (MD5 {digest}): delete "
                f"{naming.shown(path)}, then `dvc fetch {RAW}`, or use --download"
            )
    return path.read_bytes() if path.stat().st_size < 1_000_000 else b""


def rebuild(folder: Path, stages: int, settings: Mapping[str, str], *, has_raw: bool) -> set[str]:
    """Run every stage in the clone and report each on standard error; return the names of those that ran.

    stages: how many are expected. settings: environment variables. has_raw: the raw data are there, so that the
    stage `download` does not run.

    Raises DarkroomError with the end of the output if a stage fails. If it is interrupted, no process remains.
    """
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore", **settings}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / ".dvc" / "tmp" / "torchinductor")  # PyTorch leaves it
    environment["DVC_SITE_CACHE_DIR"] = str(folder / ".dvc" / "tmp" / "site")
    for name in ("PYTHONPATH", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    if has_raw:
        _freeze(folder / "dvc.yaml")
    command = [sys.executable, "-m", "dvc", "repro", "--no-run-cache"]
    ran: list[str] = []
    output: list[str] = []
    began = time.monotonic()
    with _running(command, folder, environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output = [*output[-199:], line.rstrip()]
            if started := STARTED.search(line):
                ran.append(started[1])
                seconds = time.monotonic() - began
                print(f"[{len(ran)}/{stages}] {naming.shown(started[1])} ({seconds:.0f} s)", file=sys.stderr)
        if process.wait():
            raise DarkroomError(_failure(ran, output))
    return set(ran)


def _freeze(pipeline: Path) -> None:
    """Mark the stage `download` as frozen, which `dvc freeze` cannot do, because its parameters depend on others."""
    yaml = YAML()
    content = yaml.load(pipeline)
    content["stages"][DOWNLOAD]["frozen"] = True
    with files.whole_file(pipeline) as partial:
        yaml.dump(content, partial)


@contextmanager
def _running(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Yield a process, and end it and all that it started if the block is left before it ends."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process only, which then ends the group in order
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)
        if process.stdout:
            process.stdout.close()


def _end(process: "subprocess.Popen[str]") -> None:
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    process.wait()


def _failure(ran: list[str], output: list[str]) -> str:
    stage = f"in the stage {naming.shown(ran[-1])}" if ran else "before the first stage"
    lines = [line for line in output if line.strip() and not line.startswith(("> ", "Running stage"))]
    ends = [line for line in lines if line.startswith(("error:", "ERROR:"))]
    shown = "\n".join(naming.escape(line) for line in (ends or lines)[-5:])
    return f"the commit cannot be rebuilt, it fails {stage}:\n{shown}"
