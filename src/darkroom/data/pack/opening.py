"""Decoding of images on all cores: bytes to pixels and metadata, in input order."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from darkroom import framing, images
from darkroom.data.pack import traits
from darkroom.data.pack.hashing import perceptual_hash
from darkroom.data.pack.traits import Traits
from darkroom.foundations.errors import DarkroomError
from darkroom.framing import Fit

FEW, LITTLE = 4_000, 16_000_000
"""Up to this many images and bytes, one process is faster than starting others, which takes half a second."""
CHUNK, CHUNK_BYTES = 128, 1_000_000
"""Number of images sent to a worker at once, or as many as have this many bytes as files or pixels."""
IN_FLIGHT = 256_000_000
"""Largest number of bytes of files and pixels in transit, which bounds memory if single files are huge."""


@dataclass(frozen=True)
class Opened:
    """Pixels and metadata of an image, or the reason why there are none."""

    pixels: npt.NDArray[np.uint8] | None
    width: int = 0
    height: int = 0
    sha256: str = ""
    phash: str = ""
    reason: str = ""
    traits: Traits | None = None
    moments: npt.NDArray[np.int64] | None = None
    """Sums over the pixels as in `moments.npy`, shape (2, 3), if they are known from an earlier run."""
    line: str = ""
    """Its line in the cache of decoded images, if it is from there."""


Known = Callable[[bytes], Opened | None]
"""Returns the decoded image in the bytes of a file, or None if it has to be decoded."""
Content = bytes | str | Opened
"""The bytes of a file, why it cannot be read, or what is known about it."""
Chunk = list[tuple[str, Content]]


def open_all(
    members: Iterable[tuple[str, bytes | str]],
    size: int,
    workers: int | None = None,
    fit: Fit = framing.DEFAULT,
    known: Known | None = None,
) -> Iterator[tuple[str, Opened]]:
    """Yield (name, opened) for each (name, bytes) of `members`, in input order, with pixels of shape (size, size, 3).
    If a member has a reason instead of bytes, the reason is passed on.

    `workers` is the number of processes, by default one per core, or only this one for few images. It affects the time,
    never the result. With `known`, few images have to be decoded, so other processes start only if there are many.

    Raises DarkroomError when a worker is killed.
    """
    chunks = _chunks(members, max(1, min(CHUNK, CHUNK_BYTES // (size * size * 3))), known)
    processes = workers or _cores()
    if known and workers is None:
        yield from _open_few(chunks, size, fit)
    elif workers is None:
        ahead, more = _read_ahead(chunks)
        chunks = chain(ahead, chunks)
        processes = processes if more else 1
    if processes > 1:
        yield from _open_in_workers(chunks, size, fit, processes)
    else:
        yield from ((name, _open_one(data, size, fit)) for chunk in chunks for name, data in chunk)


def _chunks(members: Iterable[tuple[str, bytes | str]], most: int, known: Known | None) -> Iterator[Chunk]:
    chunk: Chunk = []
    weight = 0
    for name, data in members:
        content: Content = (known(data) if known and isinstance(data, bytes) else None) or data
        chunk.append((name, content))
        weight += _size(content)
        if len(chunk) == most or weight >= CHUNK_BYTES:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


def _read_ahead(chunks: Iterator[Chunk]) -> tuple[list[Chunk], bool]:
    """Return the first chunks, and whether to use more than one process."""
    ahead: list[Chunk] = []
    count = weight = 0
    for chunk in chunks:
        ahead.append(chunk)
        count += len(chunk)
        weight += _weight(chunk)
        if count > FEW or weight > LITTLE:
            return ahead, True
    return ahead, False


def _open_few(chunks: Iterator[Chunk], size: int, fit: Fit) -> Iterator[tuple[str, Opened]]:
    """Decode chunks in this process until many images had to be decoded, or to the end."""
    count = weight = 0
    while count <= FEW and weight <= LITTLE and (chunk := next(chunks, None)):
        yield from ((name, _open_one(data, size, fit)) for name, data in chunk)
        count += len(_new(chunk))
        weight += sum(map(_size, _new(chunk)))


def _open_in_workers(chunks: Iterator[Chunk], size: int, fit: Fit, processes: int) -> Iterator[tuple[str, Opened]]:
    """Decode chunks in `processes` - 1 others and, while no result is ready, in this one."""
    # Spawned, not forked: a child of a threaded parent may deadlock, and every system has spawn.
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[Chunk, Future[list[Opened]]]] = deque()
    pool = ProcessPoolExecutor(processes - 1, mp_context=context, initializer=_start_worker)
    try:
        while True:
            while _busy(waiting) < 2 * (processes - 1) and _has_room(waiting, size) and (chunk := next(chunks, None)):
                waiting.append((chunk, _submit(pool, chunk, size, fit)))
            if not waiting:
                return
            if not waiting[0][1].done() and _has_room(waiting, size) and (chunk := next(chunks, None)):
                waiting.append((chunk, Future()))
                waiting[-1][1].set_result(_open_chunk(_new(chunk), size, fit))
            else:
                chunk, future = waiting.popleft()
                decoded = iter(future.result())
                yield from ((name, data if isinstance(data, Opened) else next(decoded)) for name, data in chunk)
    except BrokenProcessPool:
        raise DarkroomError("a worker was killed, most likely because memory ran out: run again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, chunk: Chunk, size: int, fit: Fit) -> Future[list[Opened]]:
    """Let a worker decode the images of a chunk that are not known."""
    if new := _new(chunk):
        return pool.submit(_open_chunk, new, size, fit)
    done: Future[list[Opened]] = Future()
    done.set_result([])
    return done


def _new(chunk: Chunk) -> list[bytes | str]:
    return [data for _, data in chunk if not isinstance(data, Opened)]


def _busy(waiting: deque[tuple[Chunk, Future[list[Opened]]]]) -> int:
    return sum(not future.done() for _, future in waiting)


def _has_room(waiting: deque[tuple[Chunk, Future[list[Opened]]]], size: int) -> bool:
    return sum(_weight(chunk) + len(chunk) * size * size * 3 for chunk, _ in waiting) < IN_FLIGHT


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to the whole process group; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait for work forever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _open_chunk(chunk: list[bytes | str], size: int, fit: Fit) -> list[Opened]:
    return [_open_one(data, size, fit) for data in chunk]


def _open_one(data: Content, size: int, fit: Fit) -> Opened:
    if isinstance(data, Opened):
        return data
    if isinstance(data, str):
        return Opened(None, reason=data)
    try:
        decoded = images.decode(data, size, fit=fit)
    except images.ImageError as error:
        return Opened(None, reason=str(error))
    digest = hashlib.sha256(data).hexdigest()
    # Without bars, which images of the same proportions have in common.
    shown = framing.content(decoded.width, decoded.height, size, fit).cut(decoded.pixels)
    phash = perceptual_hash(shown)
    return Opened(decoded.pixels, decoded.width, decoded.height, digest, phash, traits=traits.read(data))


def _weight(chunk: Chunk) -> int:
    return sum(_size(data) for _, data in chunk)


def _size(data: Content) -> int:
    if isinstance(data, Opened):
        return 0 if data.pixels is None else data.pixels.nbytes
    return len(data)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
