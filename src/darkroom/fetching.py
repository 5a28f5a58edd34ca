"""Checked downloads over HTTP(S) that continue after a cut, also one that ended the process.

What has come waits in a folder of its own until the stage has succeeded, named by its checksum: bytes from one
address are continued from the next, and whatever went wrong on the way, the checksum decides in the end.
"""

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.progress import progress

if TYPE_CHECKING:
    import requests

ATTEMPTS = 5
"""Tries at one address when the connection fails or the server is busy."""
BACKOFF = 1.0
"""Seconds before the second try; each later wait is twice as long."""
LONGEST_WAIT = 60.0
"""Seconds that a server's Retry-After may ask for at most."""
TIMEOUT = (10, 30)
"""Seconds to connect, and between two pieces of the answer."""
REACH_TIMEOUT = 5
"""Seconds to wait when a person only wants to know whether an address answers."""
PIECE = 1 << 14
"""Bytes written at once, the most that a cut loses."""
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes must add up to; `digest` in lower-case hexadecimal digits, or the first of them."""

    algorithm: Literal["md5", "sha256"]
    digest: str

    def of(self, path: Path) -> bool:
        """Return whether the file at `path` has this checksum."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest().startswith(self.digest)

    def __str__(self) -> str:
        return f"{'MD5' if self.algorithm == 'md5' else 'SHA-256'} {self.digest}"


class _RefusedError(Exception):
    """This address will not give the file, however often it is asked."""


class _CutError(Exception):
    """It may go better the next time, after `wait` seconds when the server said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(urls: Sequence[str], checksum: Checksum, downloads: Path, target: Path, limit: int, remedy: str) -> None:
    """Fetch one file of at most `limit` bytes from the first of `urls` that gives it, and place it at `target`.

    `downloads` is the folder where unfinished downloads wait; the next call with the same checksum continues.

    Raises DarkroomError that names every address with its reason and ends with the `remedy`.
    """
    for url in urls:
        if not re.match("https?://", url):
            raise DarkroomError(f"url '{naming.shown_address(url)}' must begin with http:// or https://")
    downloads.mkdir(parents=True, exist_ok=True)
    part = downloads / checksum.digest
    reasons = []
    for url in urls:
        try:
            _complete(url, checksum, part, limit)
        except _RefusedError as error:
            reasons.append(f"{naming.shown_address(url)} {naming.escape(str(error))}")
            if url != urls[-1]:
                print(f"{reasons[-1]}; trying the next address", file=sys.stderr)
        else:
            place(part, target)
            return
    if part.exists() and part.stat().st_size:
        remedy += f" ({part.stat().st_size / MEGABYTE:.1f} MB are downloaded: the next run resumes)"
    raise DarkroomError("\n  ".join(reasons) + (": " if len(reasons) == 1 else "\n") + remedy)


def unreachable(urls: Sequence[str]) -> list[str]:
    """Return why none of `urls` can be fetched, a reason for each, or nothing when one of them answers."""
    import requests

    reasons = []
    for url in urls:
        try:
            with requests.head(url, allow_redirects=True, timeout=REACH_TIMEOUT) as answer:
                if answer.ok:
                    return []
                reason = f"{answer.status_code} {answer.reason}"
        except requests.RequestException as error:
            reason = _words(_cause(error))
        reasons.append(f"{naming.shown_address(url)} could not be reached ({naming.escape(reason)})")
    return reasons


def place(path: Path, target: Path) -> None:
    """Let `target` be the same file as `path`, without a copy where the file system can."""
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)


def _complete(url: str, checksum: Checksum, part: Path, limit: int) -> None:
    """Bring `part` to the bytes that the checksum asks for."""
    reason = ""
    for attempt in range(ATTEMPTS):
        # A run that was killed may have left all of it.
        if part.exists() and part.stat().st_size and checksum.of(part):
            return
        try:
            certain = _receive(url, part, limit)
            if checksum.of(part):
                return
            part.unlink()
            if certain:
                raise _RefusedError(f"does not have {checksum}")
            reason, wait = f"does not have {checksum}", None
        except _CutError as error:
            reason, wait = f"could not be fetched ({error})", error.wait
        if attempt + 1 < ATTEMPTS:
            time.sleep(wait if wait is not None else BACKOFF * 2**attempt)
    raise _RefusedError(f"{reason}, tried {ATTEMPTS} times")


def _receive(url: str, part: Path, limit: int) -> bool:
    """Append what is missing to `part`; return whether all of it came from this one answer, known to be whole."""
    import requests  # a fifth of a second that other sources need not pay
    import urllib3

    have = part.stat().st_size if part.exists() else 0
    # Without transparent compression: some servers would unpack a .tar.gz on the way.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            start = _start(answer, have)
            if start is None:
                part.unlink()
                raise _CutError("the server cannot continue where it was cut")
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else None
            _refuse_too_large(total or 0, start, limit, part.parent)
            with (
                part.open("ab" if start else "wb") as file,
                progress("download", (total or 0) // MEGABYTE, "MB") as bar,
            ):
                bar(start // MEGABYTE)
                done = start
                for piece in answer.raw.stream(PIECE, decode_content=False):
                    file.write(piece)
                    bar((done + len(piece)) // MEGABYTE - done // MEGABYTE)
                    done += len(piece)
                    if done > limit:
                        raise _RefusedError(_too_large(limit))
            return not start and total is not None
    except requests.exceptions.SSLError as error:
        raise _RefusedError(f"could not be fetched ({_words(_cause(error))})") from None
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        cause = _cause(error)
        if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            raise _RefusedError(f"could not be reached ({_words(cause)})") from None  # no use in waiting
        cut = isinstance(error, urllib3.exceptions.ProtocolError)  # as urllib3 calls an answer without its end
        raise _CutError("the connection was cut" if cut else _words(cause)) from None
    except requests.RequestException as error:  # an address that is none, too many redirects
        raise _RefusedError(f"could not be fetched ({_words(_cause(error))})") from None
    except OSError as error:
        raise DarkroomError(f"{part} could not be written ({error.strerror}): make room, then run again") from None


def _start(answer: "requests.Response", have: int) -> int | None:
    """Return the place of the answer's first byte in the file, None when the file is shorter than what is there."""
    status = answer.status_code
    if status == 200:
        return 0
    if status == 206:
        return have  # a server that begins elsewhere is found out by the checksum
    if have and status == 416:
        return None
    reason = f"{status} {answer.reason}"
    if status in (408, 429) or status >= 500:
        seconds = answer.headers.get("Retry-After", "")
        raise _CutError(reason, min(float(seconds), LONGEST_WAIT) if seconds.isdecimal() else None)
    raise _RefusedError(f"could not be fetched ({reason})")


def _refuse_too_large(size: int, have: int, limit: int, folder: Path) -> None:
    if size > limit:
        raise _RefusedError(_too_large(limit))
    if size - have > (free := shutil.disk_usage(folder).free):
        raise DarkroomError(f"the download needs {size - have:,} bytes, and the disk has {free:,} left: make room")


def _too_large(limit: int) -> str:
    return f"gives more than the {limit:,} bytes allowed"


def _cause(error: Exception) -> Exception:
    """Return the innermost of nested errors: the outer ones repeat addresses, queries included."""
    inner = [getattr(error, "reason", None), *error.args]
    return next((_cause(part) for part in inner if isinstance(part, Exception)), error)


def _words(error: Exception) -> str:
    text = re.sub(r"HTTPS?Connection(Pool)?\([^)]*\): *", "", str(error))
    return " ".join(text.split()) or type(error).__name__
