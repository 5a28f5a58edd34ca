"""The exception for user errors, and its conversion to a message."""

import errno
import inspect
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from darkroom.foundations import naming, terminal

LIBRARY = Path(__file__).resolve().parents[1]
OWN = ("darkroom", "stages", "tests")
"""Packages of this repository; if one of their modules is missing, it is a bug."""
FULL = (errno.ENOSPC, errno.EDQUOT)
FIXABLE = {
    errno.EACCES: "permission denied: change its permissions, or use another folder",
    errno.EPERM: "the system does not permit this: change its permissions, or use another folder",
    errno.EROFS: "its file system is read-only: use another folder",
    errno.ENOENT: "it is missing, or was removed in the meantime: restore it and start again",
    errno.ENOTDIR: "there is a file where a folder is needed: move the file",
    errno.EISDIR: "there is a folder where a file is needed: move the folder",
    errno.EEXIST: "it already exists: move it",
    errno.ENOTEMPTY: "the folder is not empty, or is in use: close the programs that use it, and move its contents",
    errno.EBUSY: "it is in use: close the programs that use it and start again",
    errno.ELOOP: "its symbolic links form a loop: remove them",
    errno.ENAMETOOLONG: "the name is too long for the file system: shorten it",
    errno.EFBIG: "the file system does not support files of that size: use another disk",
    errno.EIO: "the disk or the network reports an error: check it, then start again",
    errno.ESTALE: "the network folder was replaced in the meantime: mount it again, then start again",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: end other programs",
}
"""Meaning of the operating system's error numbers for a user, with the remedy."""
NUMBERED = re.compile(r"\bos error (\d+)\)|\bsystem error number (\d+)")
"""How libraries written in Rust, and ONNX Runtime, include an error of the operating system in theirs."""
PARTIAL = re.compile(r"\.([^/\\]+)\.partial(?=[/\\]|$)")
"""Temporary name of a file that `files` has not completed, around its real name."""


class DarkroomError(Exception):
    """An error that the user can fix: the message gives the value, what is allowed, and what to do.

    The message is one or a few lines: the value first, the remedy last.
    """


def run(main: Callable[[Sequence[str] | None], None]) -> NoReturn:
    """Run `main` on the command line's arguments and end the process.

    The exit status is 0 when it returns, 1 with a message on standard error when it raises a `DarkroomError` or an
    error of the operating system that a user can fix, 130 when it is interrupted, 143 when it is terminated, and
    129 when its terminal is closed (after cleaning up as for any failure). Any other exception is a bug and keeps its
    traceback.

    Characters that the encoding of standard output or error lacks, and escape sequences in messages, are escaped. A
    library that is not from the checkout of `main` and of the current folder is an error.
    """
    terminal.print_anything()
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # the latter if a terminal is closed
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        for folder in (Path(inspect.getfile(main)).resolve().parent.parent, Path.cwd()):
            check_checkout(folder)
        main(None)
        sys.stdout.flush()  # inside the block, so that a full disk becomes a message
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # only those that a user can fix become a message; a bug keeps its traceback
        if (message := explain(error)) is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def explain(error: BaseException) -> str | None:
    """Return the printable message for an error that a user can fix, None for any other exception."""
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in OWN:
        message: str | None = (
            f"`python` is {sys.executable}, which has no package {error.name}: run `source .venv/bin/activate` and "
            "start again, or use `make run`"
        )
    else:
        message = str(error) if isinstance(error, DarkroomError) else fixable(error)
    return None if message is None else _safe(message)


def _safe(message: str) -> str:
    """Return a message without escape sequences, its lines indented from the second on."""
    first, *others = naming.escape_lines(message).split("\n")
    return "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in others)])


def check_checkout(folder: Path) -> None:
    """Raise DarkroomError when `folder` is a checkout with its own library, and the running library is another one.

    Clones, worktrees and queued experiments can share an environment in which the library of only one of them is
    installed. DVC would then record results under the hashes of code that did not run.
    """
    own = folder / "src" / "darkroom"
    if (own / "__init__.py").is_file() and not own.samefile(LIBRARY):
        raise DarkroomError(
            f"{folder} is a separate checkout, and this would run the library in {LIBRARY}: run `make env` there and "
            "`source .venv/bin/activate`; to share this environment instead, start stages with `python stages NAME` "
            "and other commands with PYTHONPATH=src"
        )


def fixable(error: BaseException) -> str | None:
    """Return the message for an error of the operating system that a user can fix, None for any other exception."""
    number, path = system_number(error), _path(error)
    if number in FULL:
        what = "the disk is full" if number == errno.ENOSPC else "your disk quota is exceeded"
        return (
            f"{path or 'a file'} could not be written, because {what}: free some space there or in the folder for "
            f"temporary files ({_temporary()}), then start again"
        )
    if number == errno.ENOENT and not path:
        if "temporary directory" in str(error):
            return "there is no writable folder for temporary files: set TMPDIR to one with free space"
        return None if _has_current_folder() else "the current folder was removed: change to another one"
    if number == errno.ENOTDIR:
        path = next((str(above) for above in Path(path).parents if above.is_file()), path)
    return f"{path}: {FIXABLE[number]}" if number in FIXABLE and path else None


def _path(error: BaseException) -> str:
    """Return the path in an error, the target if there are two; otherwise the error's text."""
    if not isinstance(error, OSError):
        return str(error)
    path = error.filename2 or error.filename or ""
    return PARTIAL.sub(r"\1", path.decode(errors="replace") if isinstance(path, bytes) else str(path))


def system_number(error: BaseException) -> int | None:
    """Return the number of an error of the operating system, None for any other exception."""
    if isinstance(error, OSError):
        return error.errno
    found = NUMBERED.search(str(error))
    return int(found[1] or found[2]) if found else None


def _has_current_folder() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "TMPDIR"
