"""A cache of the features of images, keyed by what determines them: the network and the image's pixels.

One SQLite database contains one record per image and extractor. Its transactions make it safe: several processes may
use it at the same time, and a killed one leaves whole records. The default journal is used instead of WAL, because WAL
does not work on network file systems, and writes are rare.
"""

import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

LIMIT = 2_000_000_000
"""Largest size of the database in bytes; the least recently used records are removed first."""
OVERHEAD = 200
"""Bytes that a record needs in addition to its features: key, times and checksum."""
FRESH = 3600.0
"""Seconds during which another use of a record is not noted, so that most runs only read."""
WAIT = 60.0
"""Seconds to wait for another process that writes."""
AT_ONCE = 500
"""Keys per query: SQLite allows 999 values by default in older versions."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
CHECKSUM = 4
"""Bytes before the features in a record: CRC-32 of its key and its features."""

Features = npt.NDArray[np.float16]
"""Shape (images, values). Half precision has more significant digits than the bfloat16 of the computation."""
Key = bytes
Records = dict[Key, tuple[Features, float]]
"""Features and seconds by key."""
Hash = bytes
"""SHA-256 of an image's pixels, 32 bytes."""
Result = TypeVar("Result")

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, "
    "seconds REAL NOT NULL, used REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS features (number INTEGER PRIMARY KEY, content BLOB NOT NULL)",
)


@dataclass(frozen=True)
class Found:
    """The available features among those requested."""

    known: npt.NDArray[np.bool_]
    """Shape (images,): which images have features."""
    features: Features
    """Those of the known images, in order: shape (known images, values)."""
    seconds: float
    """Time that it took to compute them."""


@dataclass(frozen=True)
class FeatureCache:
    """Cache folder for the features of any images by any networks.

    An `extractor` is a text that identifies everything that determines the features of an image: weights, preprocessing
    and view. If the cache cannot be used, for example because the disk is full, a warning is printed, and the features
    are computed again: a cache must not stop a training run.
    """

    folder: Path
    limit: int = LIMIT

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / "features.sqlite"

    def load(self, extractor: str, images: Sequence[Hash]) -> Found:
        """Return the available features of `images`."""
        keys = [_key(extractor, image) for image in images]
        nothing: Records = {}
        found = self._use(lambda database: _read(database, keys), nothing)
        width = max((len(row) for row, _ in found.values()), default=0)
        available = [key for key in keys if key in found]
        features = np.stack([found[key][0] for key in available]) if available else np.zeros((0, width), np.float16)
        known = np.array([key in found for key in keys], dtype=np.bool_)
        return Found(known, features, sum(found[key][1] for key in available))

    def save(self, extractor: str, images: Sequence[Hash], features: Features, seconds: float) -> None:
        """Add the features of `images`, which took `seconds`, and remove others if there is no room for them.

        Features that are already available are kept as they are.
        """
        contents = np.ascontiguousarray(features, "<f2")
        keys = [_key(extractor, image) for image in images]
        most = self.limit // (contents.itemsize * contents.shape[1] + OVERHEAD)
        records = {key: row.tobytes() for key, row in zip(keys[:most], contents[:most], strict=True)}
        self._use(lambda database: _write(database, records, seconds / len(images), self.limit), None)

    def _use(self, action: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """Return what `action` returns for the database, or `otherwise` if it cannot be used.

        A damaged database is replaced by an empty one.
        """
        for attempt in range(2):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                if not self.path.exists():
                    for outdated in self.folder.glob("*.npy"):  # of earlier versions, up to 2 GB
                        outdated.unlink(missing_ok=True)
                with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as database:
                    _prepare(database)
                    return action(database)
            except (sqlite3.Error, OSError) as error:
                # The low byte is the kind of error; the others are details.
                if not attempt and getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
                    self.path.unlink(missing_ok=True)
                    continue
                print(f"warning: {self.path} cannot be used ({error}): features are not cached", file=sys.stderr)
                break
        return otherwise


def _key(extractor: str, image: Hash) -> Key:
    return sha256(extractor.encode() + b"\0" + image).digest()


def _checksum(key: Key, content: bytes) -> bytes:
    """Return the checksum of a record, which detects damage that SQLite does not."""
    return zlib.crc32(content, zlib.crc32(key)).to_bytes(CHECKSUM, "little")


def _prepare(database: sqlite3.Connection) -> None:
    """Create the tables in a new database."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'features'").fetchone():
        database.execute("PRAGMA page_size = 32768")  # so that a page holds several records
        with _transaction(database):  # together, since another process may be doing the same
            for statement in SCHEMA:
                database.execute(statement)


def _read(database: sqlite3.Connection, keys: Sequence[Key]) -> Records:
    """Return the available records; remove damaged records, and note when the others were used."""
    found: Records = {}
    damaged: list[tuple[int]] = []
    used: list[tuple[float, int]] = []
    now = time.time()
    for begin in range(0, len(keys), AT_ONCE):
        part = keys[begin : begin + AT_ONCE]
        rows = database.execute(
            "SELECT number, key, seconds, used, content FROM entries JOIN features USING (number) "
            f"WHERE key IN ({','.join('?' * len(part))})",
            part,
        )
        for number, key, seconds, last, record in rows:
            content = record[CHECKSUM:] if isinstance(record, bytes) else b""
            if not content or record[:CHECKSUM] != _checksum(key, content):
                damaged.append((number,))
                continue
            found[key] = (np.frombuffer(content, "<f2"), seconds)
            if now - last > FRESH:
                used.append((now, number))
    if used or damaged:
        with _transaction(database):
            database.executemany("UPDATE entries SET used = ? WHERE number = ?", used)
            _remove(database, damaged)
    return found


def _write(database: sqlite3.Connection, records: dict[Key, bytes], seconds: float, limit: int) -> None:
    """Add records, each of which took `seconds`, and keep those that exist."""
    with _transaction(database):
        _make_room(database, limit, sum(len(content) + OVERHEAD for content in records.values()))
        for key, content in records.items():
            cursor = database.execute(
                "INSERT OR IGNORE INTO entries (key, size, seconds, used) VALUES (?, ?, ?, ?)",
                (key, len(content) + OVERHEAD, seconds, time.time()),
            )
            if cursor.rowcount:
                record = _checksum(key, content) + content
                database.execute("INSERT INTO features VALUES (?, ?)", (cursor.lastrowid, record))


def _make_room(database: sqlite3.Connection, limit: int, wanted: int) -> None:
    """Remove the least recently used records until `wanted` bytes fit, and a twentieth of the limit in addition.

    Pages are counted instead of records, because a page becomes free only when all of its records are removed.
    """
    while (excess := _size(database) + wanted - limit) > 0:
        freed, removed = 0, []
        for number, size in database.execute("SELECT number, size FROM entries ORDER BY used, number"):
            removed.append((number,))
            freed += size
            if freed > excess + limit // 20:
                break
        if not removed:
            return
        _remove(database, removed)


def _size(database: sqlite3.Connection) -> int:
    """Return the number of bytes in use, without free pages."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _remove(database: sqlite3.Connection, numbers: list[tuple[int]]) -> None:
    for table in ("entries", "features"):
        database.executemany(f"DELETE FROM {table} WHERE number = ?", numbers)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all changes of the block or none; other processes wait."""
    database.execute("BEGIN IMMEDIATE")
    with database:  # commits, or rolls back after an error
        yield
