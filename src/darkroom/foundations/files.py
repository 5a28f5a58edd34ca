"""Atomic and deterministic writing of files and folders."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkroom.foundations import errors


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory that replaces `path` when the block succeeds.

    When the block raises, the directory is removed and an older `path` is unchanged. Remains of a killed process are
    removed by the next one, because the temporary name is always the same.
    """
    partial = partial_of(path)
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        # Two renames: a process killed in between leaves the old folder under its temporary name, not a partial one.
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        partial.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:  # always raised again, with the path if it has none
        _name(error, path)
        raise
    finally:
        _remove(partial)


def _remove(folder: Path) -> None:
    """Remove a folder if it is there, completely even if a signal interrupts the removal."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def partial_of(path: Path) -> Path:
    """Return the temporary name under which `path` is written."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` when the block succeeds."""
    partial = partial_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # otherwise a power failure could leave an empty file under the new name
        partial.replace(path)
    except Exception as error:  # always raised again, with the path if it has none
        _name(error, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _name(error: Exception, path: Path) -> None:
    """Raise an error of the operating system without a file name, such as for a full disk, again with `path`."""
    number = errors.system_number(error)
    if number is not None and getattr(error, "filename", None) is None:
        raise OSError(number, os.strerror(number), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with LF line ends, atomically."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, so that equal values are equal bytes.

    Raises ValueError for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
