"""Turns to open large images: the smallest first, and never more pixels at once than allowed."""

import asyncio

from darkroom.serving.turns import Turns


def run(most: int, sizes: list[int], give_up: tuple[int, ...] = ()) -> tuple[list[int], int]:
    """Let images of `sizes` wait while one of `most` pixels is open; return their order, and the most open at once."""
    order: list[int] = []
    open_, largest = 0, 0

    async def one(turns: Turns, size: int) -> None:
        nonlocal open_, largest
        async with turns.turn(size):
            order.append(size)
            open_ += size
            largest = max(largest, open_)
            await asyncio.sleep(0.001)
            open_ -= size

    async def main() -> None:
        turns = Turns(most)
        first = asyncio.create_task(one(turns, most))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(one(turns, size)) for size in sizes]
        await asyncio.sleep(0)
        for place in give_up:
            tasks[place].cancel()
        await asyncio.gather(first, *tasks, return_exceptions=True)
        assert turns._taken == 0
        assert turns._waiting == []

    asyncio.run(main())
    return order[1:], largest


def test_the_smallest_is_next() -> None:
    assert run(10, [9, 3, 8, 7])[0] == [3, 7, 8, 9]


def test_no_more_pixels_are_open_than_allowed() -> None:
    order, largest = run(10, [4, 4, 4, 2, 2])
    assert order == [2, 2, 4, 4, 4]
    assert largest == 10


def test_one_image_may_be_larger_than_all_that_is_allowed() -> None:
    order, largest = run(10, [30, 20])
    assert order == [20, 30]
    assert largest == 30


def test_who_gives_up_leaves_the_turn_to_others() -> None:
    assert run(10, [3, 5, 9], give_up=(0, 2))[0] == [5]


def test_of_equal_images_the_earlier_request_s_is_next() -> None:
    order: list[str] = []

    async def one(turns: Turns, name: str, request: float) -> None:
        for _ in range(2):
            async with turns.turn(5, request):
                order.append(name)
                await asyncio.sleep(0.001)

    async def main() -> None:
        turns = Turns(5)
        await asyncio.gather(one(turns, "a", 1.0), one(turns, "b", 2.0))

    asyncio.run(main())
    assert order[0] == "a"
    assert order[-1] == "b"
