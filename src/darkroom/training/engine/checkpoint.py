"""Checkpoints of the training state, so that a power failure costs seconds and not hours."""

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
"""A checkpoint is written after this many times the seconds that the last one took: large networks on slow disks are
not to spend their time on writing."""


@dataclass(frozen=True)
class Key:
    """What a checkpoint belongs to. A training resumes only from one of the same parameters, data and code."""

    parameters: str
    """SHA-256, as are those of data and code."""
    data: str
    code: str
    machine: str
    """Device, precision, number of processes and threads, torch's version: they decide how sums are rounded."""


def digest(value: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(value.encode()).hexdigest()


def code() -> str:
    """Return the SHA-256 over all modules of the training wing."""
    modules = sorted(Path(__file__).parents[1].rglob("*.py"))
    return digest("".join(files.sha256(path) for path in modules))


class Checkpointer:
    """Writes the state of one training to one file, whole or not at all, and gives it back."""

    def __init__(self, path: Path, key: Key, every: float = EVERY) -> None:
        self.path, self.key, self.every = path, key, every
        self._last, self._cost = time.perf_counter(), 0.0

    def due(self) -> bool:
        """Return whether `every` seconds have passed since the last checkpoint, or more if writing it took long."""
        return time.perf_counter() - self._last >= max(self.every, SHARE * self._cost)

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`: tensors, numbers, texts, and mappings and lists of them.

        When it cannot be written, a line says so and the one before stays: a full disk must not end the training.
        """
        begin = time.perf_counter()
        try:
            with files.whole_file(self.path) as partial:
                torch.save({"key": vars(self.key), "state": state}, partial)
        except (OSError, RuntimeError) as error:  # PyTorch's writer reports a full disk as a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else f"is the disk full? {error}".split("\n")[0]
            _warn(f"checkpoint {self.path} cannot be written ({reason}): training continues, and writing is retried")
        self._last = time.perf_counter()
        self._cost = self._last - begin

    def load(self) -> dict[str, Any] | None:
        """Return the state of a training that was broken off, on the processor, or None where there is none.

        One of other parameters, data or code, or that cannot be read, is refused in a printed line and set aside under
        another name. From one that another kind of machine wrote training resumes, with a warning. Nothing in it is
        executed.
        """
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            found, state = Key(**content["key"]), dict(content["state"])
        except Exception:  # damaged bytes raise almost anything, and nothing but this file is to blame
            self._refuse("it cannot be read")
            return None
        names = [name for name in ("parameters", "data", "code") if vars(found)[name] != vars(self.key)[name]]
        if names:
            self._refuse(f"it was made with different {' and '.join(names)}")
            return None
        if found.machine != self.key.machine:
            _warn(
                f"checkpoint {self.path} was written by another kind of machine ({found.machine}) than this one "
                f"({self.key.machine}): training resumes, and its weights will differ from an uninterrupted one's in "
                "their last bits"
            )
        return state

    def clear(self) -> None:
        """Remove the file, one that was set aside, and what a kill left of one: the training is finished."""
        for path in (self.path, self.refused, files.partial_of(self.path)):
            path.unlink(missing_ok=True)

    @property
    def refused(self) -> Path:
        """Where a file that does not fit is set aside, until the training is finished or sets aside another."""
        return self.path.with_suffix(".refused")

    def _refuse(self, reason: str) -> None:
        self.path.replace(self.refused)
        _warn(
            f"checkpoint {self.path} is refused, since {reason}: training starts from the beginning, and the file is "
            f"kept as {self.refused} until the training has finished"
        )


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


def clean(folder: Path, names: Iterable[str]) -> None:
    """Remove the checkpoints of models that are no longer in params.yaml, `names` being those that are."""
    known = set(names)
    for path in sorted([*folder.glob("*.pt"), *folder.glob("*.refused")]):
        if path.stem not in known:
            path.unlink(missing_ok=True)
