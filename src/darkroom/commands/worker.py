"""The process that runs stages in one workspace, started by `workers.py`: `python -m darkroom.commands.worker FOLDER`.

It reads one JSON object per line, {"restore": [stage, …], "run": [stage, …]}, and answers each with one line. It
imports DVC once, which takes a second or two. What stages print goes to a file, `LOG` in the workspace.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import IO

from darkroom.commands import dvc_internals, workspaces
from darkroom.commands.dvc_internals import Outcome
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

LOG = ".darkroom/worker.log"


def main() -> None:
    """Answer requests until standard input ends."""
    folder = Path(sys.argv[1])
    os.chdir(folder)
    requests, answers = _own_streams()
    threading.Thread(target=_end_with, args=(os.getppid(), folder), daemon=True).start()
    with dvc_internals.repository("DVC failed") as repo:
        for line in requests:
            request = json.loads(line)
            os.truncate(LOG, 0)
            dvc_internals.reset(repo)
            try:
                with dvc_internals.reported("DVC failed"):
                    if request["restore"]:
                        dvc_internals.restore(repo, request["restore"])
                    outcome = dvc_internals.reproduce(repo, request["run"]) if request["run"] else Outcome(True)
            except DarkroomError as error:
                outcome = Outcome(False, message=str(error))
            except Exception as error:  # such as a full disk: the command must learn of it, and this process goes on
                message = f"{type(error).__name__}: {naming.shown(error)}"
                with contextlib.suppress(OSError):
                    traceback.print_exc()
                    print(f"error: {message}", file=sys.stderr, flush=True)
                outcome = Outcome(False, message=message)
            print(json.dumps(asdict(outcome)), file=answers, flush=True)


def _own_streams() -> tuple[IO[str], IO[str]]:
    """Return the streams of requests and answers, and let all else print to the log and read nothing."""
    requests, answers = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "r"), (1, "w")))
    with Path(LOG).open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    return requests, answers


def _end_with(parent: int, folder: Path) -> None:
    """End this process and the stages that it runs when the parent is gone: the next command continues here."""
    while os.getppid() == parent:
        time.sleep(0.5)
    with contextlib.suppress(Exception):  # whatever happens, this process must not go on
        workspaces.end_processes(folder)
    os._exit(1)


if __name__ == "__main__":
    main()
