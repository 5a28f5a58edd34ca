"""Several processes that run stages, each in its own workspace and with its share of the machine."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from darkroom.commands import worker, workspaces
from darkroom.commands.dvc_internals import Outcome
from darkroom.commands.workspaces import MARK, Workspace
from darkroom.foundations import errors, naming
from darkroom.foundations.errors import DarkroomError

ATTEMPTS = 5
"""How often a stage that is killed from outside is started: more often, and memory is probably too small for it."""
LINES = 12
"""Most lines of a failed stage to show."""


class Worker:
    """A process that runs stages in a workspace, and is replaced when it is killed."""

    def __init__(self, workspace: Workspace, environment: dict[str, str]) -> None:
        self.workspace = workspace
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._request = b""
        self._reset: Callable[[], None] | None = None
        self._attempts = 0
        self._stopped = False

    def start(self, run: Sequence[str], restore: Sequence[str] = (), reset: Callable[[], None] | None = None) -> None:
        """Run stages, after restoring the outputs of others from the cache; returns at once.

        reset: called before each attempt, because a killed process may leave half a file.
        """
        self._reset = reset
        self._request = json.dumps({"run": list(run), "restore": list(restore)}).encode() + b"\n"
        self._attempts, self._stopped = 0, False
        self._send()

    def poll(self) -> Outcome | None:
        """Return how the stages ended, None while they run.

        If this worker's process or a stage was killed, they are started again.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout=0):
                return None
        line = self._process.stdout.readline()
        outcome = Outcome(**json.loads(line)) if line.endswith(b"\n") else None
        if outcome is None:
            self.close()
            outcome = Outcome(False, True, "its process was killed")
        if outcome.killed and not self._stopped and self._attempts < ATTEMPTS:
            self._send()
            return None
        return outcome

    def wait(self) -> Outcome:
        """Return how the stages ended."""
        while (outcome := self.poll()) is None:
            time.sleep(0.05)
        return outcome

    def stop(self) -> None:
        """End the stages, but not this worker's process. `poll` then returns an outcome that says killed."""
        self._stopped = True
        if self._process is not None:
            try:
                workspaces.end(psutil.Process(self._process.pid).children(recursive=True))
            except psutil.NoSuchProcess:
                return

    def close(self) -> None:
        """End this worker's process and all that it started."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a request that it was sent when it was already dead
                    stream.close()
        self._process = None
        workspaces.end_processes(self.workspace.folder)

    def said(self) -> str:
        """Return the error message of the stage that failed last, or the last lines that were printed."""
        path = self.workspace.folder / worker.LOG
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        marked = [place for place, line in enumerate(lines) if line.startswith("error: ")]
        if not marked:
            return naming.escape_lines("\n".join(lines[-LINES:]))
        message = [lines[marked[-1]].removeprefix("error: ")]
        for line in lines[marked[-1] + 1 :]:
            if not line.startswith("  "):
                break
            message.append(line)
        return naming.escape_lines("\n".join(message))

    def _send(self) -> None:
        self._attempts += 1
        if self._reset is not None:
            self._reset()
        if self._process is None:
            self._process = self._started()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(self._request)
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it was killed while idle: `poll` notices, and starts another one

    def _started(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(errors.LIBRARY.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        folder = str(self.workspace.folder)
        (self.workspace.folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # incomplete if DVC was killed
        return subprocess.Popen(
            [sys.executable, "-m", "darkroom.commands.worker", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is for the command, which then ends its workers
            env={**os.environ, "PYTHONPATH": path, "PATH": programs, MARK: folder, **self._environment},
        )


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, int(limit)) if limit.isdecimal() and int(limit) else there


def resources(document: Mapping[str, Any], jobs: int | None) -> tuple[int | None, list[str]]:
    """Return how many workers are wanted, None for the default, and the GPUs to share among them.

    document: the content of params.yaml. Raises DarkroomError if one training uses all GPUs, and several are wanted.
    """
    if document.get("launch", "python") != "python":
        if (jobs or 1) > 1:
            raise DarkroomError(
                f"-j {jobs}: launch in params.yaml starts several processes per training, so one training runs at a "
                "time: omit -j, or set launch: python"
            )
        return 1, []
    return jobs, [] if document.get("device") == "cpu" else gpus()


def gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, as for CUDA_VISIBLE_DEVICES."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    try:
        import pynvml

        pynvml.nvmlInit()
        return [str(place) for place in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # no driver, or none that answers, or the package is missing: there are none to use
        return []


def environments(count: int, graphics: Sequence[str], threads: int | None) -> list[dict[str, str]]:
    """Return the environment variables of `count` workers.

    graphics: GPUs, which the workers take in turn; threads: for each worker, None for as many as without workers.
    """
    found = []
    for place in range(count):
        # Threads that wait must not spin: other workers need the core.
        values = {"OMP_WAIT_POLICY": "passive"}
        if threads is not None:
            values["OMP_NUM_THREADS"] = str(threads)
        if graphics:
            values["CUDA_VISIBLE_DEVICES"] = graphics[place % len(graphics)]
        found.append(values)
    return found
