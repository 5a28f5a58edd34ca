"""The prediction log, kept only if `serve.log` is set, and the corrections that users send.

| in the folder | content |
|---|---|
| `darkroom/data/*.log*` | one line of JSON per predicted image, by BentoML's monitoring; one file per worker and day |
| `pictures/SHA256.png` | the images, if `serve.log_pictures` is set |
| `corrections/LABEL/SHA256.png` | images with the class given by a user, as class folders |
"""

import hashlib
import logging
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path

import bentoml

from darkroom import avif
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Answer
from darkroom.serving import internals
from darkroom.serving.decoding import Failure
from darkroom.serving.uploads import Upload

NAME = "darkroom"
"""Name of the monitor and of its folder."""
QUIET = 60.0
"""Seconds between two messages about an unwritable log."""

_SUFFIXES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II": ".tif",
    b"MM": ".tif",
}
"""File suffixes by the first bytes of a file, for all of `images.FORMATS` except AVIF, which begins with a length."""
_log = logging.getLogger("bentoml.darkroom")


class Journal:
    """Writes into one folder; safe to call from several threads."""

    def __init__(self, folder: Path, version: str, classes: Sequence[str], keep_pictures: bool) -> None:
        self.folder = folder
        self._version = version
        self._classes = classes
        self._keep_pictures = keep_pictures
        self._lock = threading.Lock()
        self._told = float("-inf")
        self._monitor = internals.monitor_class()

    def check(self) -> None:
        """Create the folder and check that it is writable. Raises DarkroomError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            reason = f"{self.folder} cannot be written ({error.strerror})"
            raise DarkroomError(f"serve.log: {reason}: give a writable folder, or null") from None

    def write(self, uploads: Sequence[Upload], answers: Sequence[Answer | Failure]) -> None:
        """Log each prediction. A full disk is reported to the operator, not to the client."""
        try:
            for upload, answer in zip(uploads, answers, strict=True):
                if isinstance(answer, Failure):
                    continue
                digest = hashlib.sha256(upload.data).hexdigest()
                if self._keep_pictures:
                    _store(self.folder / "pictures", digest, upload.data)
                with self._lock:
                    # In a separate context, in which BentoML's monitor finds no state left by an earlier failure.
                    Context().run(self._note, answer, digest)
        except (OSError, ValueError) as error:  # ValueError: raised by the logging configuration for an unwritable file
            self._tell(error)

    def correct(self, upload: Upload, label: str) -> None:
        """Store an image with the class given by a user; repeating it changes nothing. Raises OSError."""
        folder = self.folder / "corrections" / folder_name(label)
        try:
            _store(folder, hashlib.sha256(upload.data).hexdigest(), upload.data)
        except OSError as error:
            self._tell(error)
            raise

    def _tell(self, error: Exception) -> None:
        """Report an error in the service's own log, unless one was reported recently."""
        if (now := time.monotonic()) - self._told >= QUIET:
            self._told = now
            _log.error("the log in %s is not writable (reported once a minute): %s", self.folder, error)

    def _note(self, answer: Answer, digest: str) -> None:
        best = int(answer.probabilities.argmax())
        options = {"log_path": str(self.folder)}
        with bentoml.monitor(NAME, monitor_class=self._monitor, monitor_options=options) as monitor:
            monitor.log(datetime.now(UTC).isoformat(timespec="milliseconds"), "time", "feature", "categorical")
            monitor.log(self._version, "version", "feature", "categorical")
            monitor.log(digest, "sha256", "feature", "categorical")
            monitor.log(self._classes[best], "label", "prediction", "categorical")
            monitor.log(float(answer.probabilities[best]), "probability", "prediction", "numerical")
            monitor.log(answer.confident, "confident", "prediction", "categorical")
            monitor.log(answer.in_distribution, "in_distribution", "prediction", "categorical")
            monitor.log(answer.probabilities.tolist(), "probabilities", "prediction", "numerical_sequence")


def folder_name(label: str) -> str:
    """Return a name that is valid on every file system; `urllib.parse.unquote` restores the label."""
    forbidden = re.sub(r'[\x00-\x1f%/\\:*?"<>|]', lambda found: f"%{ord(found[0]):02X}", label)
    # Dots and spaces at the ends have a special meaning on some of them.
    return re.sub(r"^[. ]|[. ]$", lambda found: f"%{ord(found[0]):02X}", forbidden)


def _store(folder: Path, digest: str, data: bytes) -> None:
    found = (suffix for start, suffix in _SUFFIXES.items() if data.startswith(start))
    suffix = ".avif" if avif.is_avif(data) else next(found, "")
    path = folder / f"{digest}{suffix}"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{digest}.{secrets.token_hex(4)}"  # unique, because other workers may write the same file
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
