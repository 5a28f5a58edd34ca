"""Verified downloads over HTTP(S) that resume after an interruption, also in a new process.

Partial files stay in a separate folder, named by their checksum, until the stage has succeeded. The next URL resumes
what another one began, because the checksum verifies the result in any case.
"""

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.progress import progress

if TYPE_CHECKING:
    import requests

ATTEMPTS = 5
"""Attempts per URL when the connection fails or the server is busy."""
BACKOFF = 1.0
"""Seconds before the second attempt; each later delay is twice as long."""
LONGEST_WAIT = 60.0
"""Upper limit in seconds for a server's Retry-After."""
TIMEOUT = (10, 30)
"""Seconds to connect, and between two chunks of the response."""
REACH_TIMEOUT = 5
"""Timeout in seconds of a mere check whether a URL is reachable."""
PIECE = 1 << 14
"""Bytes written at once, the most that an interruption loses."""
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Checksum:
    """The expected checksum of a file; `digest` is in lower-case hexadecimal and may be a prefix."""

    algorithm: Literal["md5", "sha256"]
    digest: str

    def of(self, path: Path) -> bool:
        """Return whether the file at `path` has this checksum."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest().startswith(self.digest)

    def __str__(self) -> str:
        return f"{'MD5' if self.algorithm == 'md5' else 'SHA-256'} {self.digest}"


class _RefusedError(Exception):
    """The download from this URL failed, and retrying would not help."""


class _CutError(Exception):
    """The download was interrupted and can be retried, after `wait` seconds if the server asked for a delay."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    urls: Sequence[str],
    checksum: Checksum,
    downloads: Path,
    target: Path,
    limit: int,
    remedy: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Download one file of at most `limit` bytes from the first of `urls` that works, and place it at `target`.

    `downloads` is the folder for partial files; the next call with the same checksum resumes them. `headers` are sent
    with each request, an Authorization only to the host of the URL and not where it redirects to.

    Raises DarkroomError that lists every URL with its reason and ends with the `remedy`.
    """
    for url in urls:
        if not re.match("https?://", url):
            raise DarkroomError(f"url '{naming.shown_address(url)}' must begin with http:// or https://")
    downloads.mkdir(parents=True, exist_ok=True)
    part = downloads / checksum.digest
    reasons = []
    for url in urls:
        try:
            _complete(url, checksum, part, limit, headers or {})
        except _RefusedError as error:
            reasons.append(f"{naming.shown_address(url)} {naming.escape(str(error))}")
            if url != urls[-1]:
                print(f"{reasons[-1]}; trying the next URL", file=sys.stderr)
        else:
            place(part, target)
            return
    if part.exists() and part.stat().st_size:
        remedy += f" ({part.stat().st_size / MEGABYTE:.1f} MB have been downloaded: the next run resumes)"
    raise DarkroomError("\n  ".join(reasons) + (": " if len(reasons) == 1 else "\n") + remedy)


def unreachable(urls: Sequence[str]) -> list[str]:
    """Return why none of `urls` is reachable, one reason per URL, or an empty list if one of them is."""
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
    """Link `target` to the file `path`, or copy it where the file system has no hard links."""
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)


def _complete(url: str, checksum: Checksum, part: Path, limit: int, headers: Mapping[str, str]) -> None:
    """Download the rest of `part` until its checksum is right."""
    reason = ""
    for attempt in range(ATTEMPTS):
        # A killed run may have left the complete file.
        if part.exists() and part.stat().st_size and checksum.of(part):
            return
        try:
            certain = _receive(url, part, limit, headers)
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


def _receive(url: str, part: Path, limit: int, given: Mapping[str, str]) -> bool:
    """Append the missing bytes to `part`; return whether this response contained the whole file, of known length."""
    import requests  # takes 0.2 s, which other sources do not need
    import urllib3

    have = part.stat().st_size if part.exists() else 0
    # Without transparent compression: some servers would decompress a .tar.gz.
    headers = {**given, "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    # A function that changes nothing, because ~/.netrc would otherwise replace a given Authorization.
    auth = (lambda request: request) if "authorization" in map(str.lower, given) else None
    try:
        with requests.get(url, headers=headers, auth=auth, stream=True, timeout=TIMEOUT) as answer:
            start = _start(answer, have)
            if start is None:
                part.unlink()
                raise _CutError("the server cannot resume the download")
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
            raise _RefusedError(f"could not be reached ({_words(cause)})") from None  # retrying would not help
        cut = isinstance(error, urllib3.exceptions.ProtocolError)  # urllib3's error for an incomplete response
        raise _CutError("the connection was interrupted" if cut else _words(cause)) from None
    except requests.RequestException as error:  # an invalid URL, too many redirects
        raise _RefusedError(f"could not be fetched ({_words(_cause(error))})") from None
    except OSError as error:
        raise DarkroomError(
            f"{part} could not be written ({error.strerror}): free some space, then run again"
        ) from None


def _start(answer: "requests.Response", have: int) -> int | None:
    """Return the offset of the response in the file, None when the file is shorter than the partial download."""
    status = answer.status_code
    if status == 200:
        return 0
    if status == 206:
        return have  # if the server starts elsewhere, the checksum fails
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
        raise DarkroomError(
            f"the download needs {size - have:,} bytes, and the disk has {free:,} left: free some space"
        )


def _too_large(limit: int) -> str:
    return f"is larger than the {limit:,} bytes allowed"


def _cause(error: Exception) -> Exception:
    """Return the innermost of nested errors: the outer ones repeat URLs with their queries."""
    inner = [getattr(error, "reason", None), *error.args]
    return next((_cause(part) for part in inner if isinstance(part, Exception)), error)


def _words(error: Exception) -> str:
    text = re.sub(r"HTTPS?Connection(Pool)?\([^)]*\): *", "", str(error))
    return " ".join(text.split()) or type(error).__name__
