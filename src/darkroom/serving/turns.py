"""Whose turn it is to have an image opened, where opening it takes long."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Turns:
    """Gives out turns to open images, the smallest first: no more than `most` pixels at once, or one larger image."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: list[tuple[int, float, int, asyncio.Future[None]]] = []
        self._numbers = count()  # futures have no order

    @asynccontextmanager
    async def turn(self, pixels: int, request: float = 0.0) -> AsyncIterator[None]:
        """Wait until it is the turn of an image of so many `pixels`; it lasts as long as the block.

        Of equal images, that of the earlier `request` is first, so that requests end one after another.
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
