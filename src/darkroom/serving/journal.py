"""The log of answers, which is kept only where `serve.log` names a folder, and the corrections that users send.

| in the folder | what |
|---|---|
| `darkroom/data/*.log*` | an answered picture a line of JSON, by BentoML's monitoring; a file a worker and day |
| `pictures/SHA256.png` | the pictures, where `serve.log_pictures` asks for them |
| `corrections/LABEL/SHA256.png` | pictures with the class that a user gave them, as class folders |
"""

import hashlib
import logging
import re
import secrets
import threading
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path

import bentoml

from darkroom.serving.model import Answer, Failure
from darkroom.serving.uploads import Upload

NAME = "darkroom"
"""Of the monitor, and of its folder."""

_SUFFIXES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II": ".tif",
    b"MM": ".tif",
}
"""By how a file begins; each of `images.FORMATS` has one."""
_log = logging.getLogger("bentoml.darkroom")


class Journal:
    """Writes into one folder; safe to call from several threads."""

    def __init__(self, folder: Path, version: str, classes: Sequence[str], keep_pictures: bool) -> None:
        self.folder = folder
        self._version = version
        self._classes = classes
        self._keep_pictures = keep_pictures
        self._lock = threading.Lock()

    def write(self, uploads: Sequence[Upload], answers: Sequence[Answer | Failure]) -> None:
        """Note each answered upload. A disk that is full is told to the operator, not to who asked."""
        try:
            for upload, answer in zip(uploads, answers, strict=True):
                if isinstance(answer, Failure):
                    continue
                digest = hashlib.sha256(upload.data).hexdigest()
                if self._keep_pictures:
                    _store(self.folder / "pictures", digest, upload.data)
                with self._lock:
                    # A context of its own, in which BentoML's monitor finds nothing that an earlier failure left.
                    Context().run(self._note, answer, digest)
        except (OSError, ValueError) as error:  # ValueError: from the configuration of logging, for a file refused
            _log.error("the log in %s cannot be written: %s", self.folder, error)

    def correct(self, upload: Upload, label: str) -> None:
        """Keep a picture under the class that a user gave it; the same again changes nothing. Raises OSError."""
        folder = folder_name(label)
        _store(self.folder / "corrections" / folder, hashlib.sha256(upload.data).hexdigest(), upload.data)

    def _note(self, answer: Answer, digest: str) -> None:
        best = int(answer.probabilities.argmax())
        with bentoml.monitor(NAME, monitor_options={"log_path": str(self.folder)}) as monitor:
            monitor.log(datetime.now(UTC).isoformat(timespec="milliseconds"), "time", "feature", "categorical")
            monitor.log(self._version, "version", "feature", "categorical")
            monitor.log(digest, "sha256", "feature", "categorical")
            monitor.log(self._classes[best], "label", "prediction", "categorical")
            monitor.log(float(answer.probabilities[best]), "probability", "prediction", "numerical")
            monitor.log(answer.confident, "confident", "prediction", "categorical")
            monitor.log(answer.in_distribution, "in_distribution", "prediction", "categorical")
            monitor.log(answer.probabilities.tolist(), "probabilities", "prediction", "numerical_sequence")


def folder_name(label: str) -> str:
    """Return a name that every file system takes as it is, and from which `urllib.parse.unquote` gives the label."""
    forbidden = re.sub(r'[\x00-\x1f%/\\:*?"<>|]', lambda found: f"%{ord(found[0]):02X}", label)
    # At the ends, dots and spaces mean something else to some.
    return re.sub(r"^[. ]|[. ]$", lambda found: f"%{ord(found[0]):02X}", forbidden)


def _store(folder: Path, digest: str, data: bytes) -> None:
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if data.startswith(start)), "")
    path = folder / f"{digest}{suffix}"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{digest}.{secrets.token_hex(4)}"  # of this call alone: other workers may write it, too
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
