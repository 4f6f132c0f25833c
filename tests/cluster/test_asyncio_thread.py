"""An asyncio loop in a thread, beside Trio."""

import asyncio
import threading
from typing import Final

import trio

from rtmsd.cluster.engines.asyncio_thread import AsyncioThread, open_thread

LIMIT_S: Final = 60.0


async def _caught_up(thread: AsyncioThread) -> None:
    """Wait until all that was posted is done."""
    done = trio.Event()
    thread.post(thread.token.run_sync_soon, done.set)
    with trio.fail_after(LIMIT_S):
        await done.wait()


async def test_it_is_another_thread_which_is_gone_afterwards() -> None:
    seen: list[threading.Thread] = []
    async with open_thread("of-its-own") as thread:
        thread.post(lambda: seen.append(threading.current_thread()))
        await _caught_up(thread)
        assert seen[0] is not threading.current_thread()
        assert seen[0].name == "of-its-own"
    seen[0].join(LIMIT_S)
    assert not seen[0].is_alive()


async def test_posts_are_carried_out_in_order() -> None:
    seen: list[int] = []
    async with open_thread("test") as thread:
        for number in range(100):
            thread.post(seen.append, number)
        await _caught_up(thread)
        assert seen == [*range(100)]
    thread.post(seen.append, 100)  # too late, and no error
    assert seen == [*range(100)]


async def test_the_end_cancels_what_runs() -> None:
    begun = trio.Event()
    ended: list[str] = []

    async def sleep(thread: AsyncioThread) -> None:
        thread.token.run_sync_soon(begun.set)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async with open_thread("test") as thread:
        thread.start(sleep, thread)
        with trio.fail_after(LIMIT_S):
            await begun.wait()
    assert ended == ["cancelled"]


async def test_a_cancelled_block_ends_the_thread_too() -> None:
    ended: list[str] = []

    async def sleep() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    with trio.move_on_after(LIMIT_S) as scope:
        async with open_thread("test") as thread:
            thread.start(sleep)
            await _caught_up(thread)
            scope.cancel()
            await trio.sleep_forever()
    assert ended == ["cancelled"]


async def test_a_task_that_fails_ends_nothing() -> None:
    async def fail() -> None:
        raise ValueError

    async with open_thread("test") as thread:
        thread.start(fail)
        await _caught_up(thread)
