"""A priority queue for decoding large images."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Turns:
    """Admits images for decoding, smallest first: at most `most` pixels at a time, or one larger image."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: list[tuple[int, float, int, asyncio.Future[None]]] = []
        self._numbers = count()  # futures have no order

    @asynccontextmanager
    async def turn(self, pixels: int, request: float = 0.0) -> AsyncIterator[None]:
        """Wait until an image with `pixels` pixels is admitted, and occupy its share for the duration of the block.

        Among images of equal size, the earlier `request` comes first, so that requests complete one after another.
        """
        entry = (pixels, request, next(self._numbers), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, entry)
        try:
            self._admit()
            await entry[3]
            yield
        finally:
            if entry in self._waiting:  # given up
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            else:
                self._taken -= pixels
            self._admit()

    def _admit(self) -> None:
        while self._waiting and (not self._taken or self._taken + self._waiting[0][0] <= self._most):
            pixels, _, _, future = heapq.heappop(self._waiting)
            self._taken += pixels
            if not future.done():
                future.set_result(None)
