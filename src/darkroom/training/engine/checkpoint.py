"""Checkpoints of the training state, so that an interruption costs seconds instead of hours."""

import hashlib
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darkroom.foundations import files

EVERY = 30.0
"""Seconds between two checkpoints."""
SHARE = 20
"""Minimum time between checkpoints, as a multiple of the time that the last one took, so that large networks on slow
disks do not spend their time on writing."""


@dataclass(frozen=True)
class Key:
    """Identifies what a checkpoint belongs to. Training resumes only with the same parameters, data and code."""

    parameters: str
    """SHA-256, as are those of data and code."""
    data: str
    code: str
    machine: str
    """Device, precision, number of processes and threads, and torch's version, which affect rounding."""


def digest(value: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(value.encode()).hexdigest()


def code() -> str:
    """Return the SHA-256 over all modules of the training package."""
    modules = sorted(Path(__file__).parents[1].rglob("*.py"))
    return digest("".join(files.sha256(path) for path in modules))


class Checkpointer:
    """Writes the state of one training run to a file, atomically, and reads it."""

    def __init__(self, path: Path, key: Key, every: float = EVERY) -> None:
        self.path, self.key, self.every = path, key, every
        self._last, self._cost = time.perf_counter(), 0.0

    def due(self) -> bool:
        """Return whether `every` seconds have passed since the last checkpoint, or more if writing it took long."""
        return time.perf_counter() - self._last >= max(self.every, SHARE * self._cost)

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`: tensors, numbers, texts, and mappings and lists of them.

        If it cannot be written, a warning is printed and the previous one is kept: a full disk must not stop training.
        """
        begin = time.perf_counter()
        try:
            with files.whole_file(self.path) as partial:
                torch.save({"key": vars(self.key), "state": state}, partial)
        except (OSError, RuntimeError) as error:  # PyTorch's writer reports a full disk as a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else f"is the disk full? {error}".split("\n")[0]
            _warn(
                f"checkpoint {self.path} cannot be written ({reason}): training continues, and writing will be retried"
            )
        self._last = time.perf_counter()
        self._cost = self._last - begin

    def load(self) -> dict[str, Any] | None:
        """Return the state of an interrupted training run, on the CPU, or None if there is none.

        A checkpoint of other parameters, data or code, or one that cannot be read, is rejected with a message and
        renamed. If it was written on a different kind of machine, training resumes with a warning. Nothing in it is
        executed.
        """
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            found, state = Key(**content["key"]), dict(content["state"])
        except Exception:  # damaged bytes raise almost anything, and this file is the only possible cause
            self._refuse("it cannot be read")
            return None
        names = [name for name in ("parameters", "data", "code") if vars(found)[name] != vars(self.key)[name]]
        if names:
            self._refuse(f"it was made with different {' and '.join(names)}")
            return None
        if found.machine != self.key.machine:
            _warn(
                f"checkpoint {self.path} was written on a different kind of machine ({found.machine}; this one: "
                f"{self.key.machine}): training resumes, but the last bits of the weights will differ from those of an "
                "uninterrupted run"
            )
        return state

    def clear(self) -> None:
        """Remove the checkpoint, a rejected one, and remains of a killed process, because training is finished."""
        for path in (self.path, self.refused, files.partial_of(self.path)):
            path.unlink(missing_ok=True)

    @property
    def refused(self) -> Path:
        """Path for a rejected checkpoint, which is kept until training finishes or another one is rejected."""
        return self.path.with_suffix(".refused")

    def _refuse(self, reason: str) -> None:
        self.path.replace(self.refused)
        _warn(
            f"checkpoint {self.path} is rejected, because {reason}: training starts from the beginning, and the file "
            f"is kept as {self.refused} until training finishes"
        )


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


def clean(folder: Path, names: Iterable[str]) -> None:
    """Remove the checkpoints of models that are not among `names`, those in params.yaml."""
    known = set(names)
    for path in sorted([*folder.glob("*.pt"), *folder.glob("*.refused")]):
        if path.stem not in known:
            path.unlink(missing_ok=True)
