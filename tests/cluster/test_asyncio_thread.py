"""An asyncio loop in a thread, called and cancelled from Trio."""

import asyncio
import threading

import pytest
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.asyncio_thread import AsyncioThread, open_thread

LIMIT_S = 10.0


class Sleeper:
    """Coroutines of the loop, that say what has become of them."""

    def __init__(self, thread: AsyncioThread) -> None:
        self._thread = thread
        self.running = 0
        self.cancelled = 0
        self.begun = trio.Event()

    async def sleep(self) -> None:
        self.running += 1
        self._thread.token.run_sync_soon(self.begun.set)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def test_a_result_and_an_error_come_back() -> None:
    async def divide(a: int, b: int) -> float:
        await asyncio.sleep(0)
        return a / b

    async with open_thread("test") as thread:
        assert await thread.call(divide, 6, 3) == 2
        with pytest.raises(ZeroDivisionError):
            await thread.call(divide, 1, 0)


async def test_it_is_another_thread_which_is_gone_afterwards() -> None:
    async def where() -> threading.Thread:
        return threading.current_thread()

    async with open_thread("of-its-own") as thread:
        there = await thread.call(where)
        assert there is not threading.current_thread()
        assert there.name == "of-its-own"
    there.join(LIMIT_S)
    assert not there.is_alive()


async def test_many_calls_run_at_once() -> None:
    gate = asyncio.Event()
    arrived = 0

    async def meet() -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            gate.set()
        await gate.wait()

    with trio.fail_after(LIMIT_S):
        async with open_thread("test") as thread, trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(thread.call, meet)


async def test_a_cancelled_call_ends_its_task_before_it_returns() -> None:
    async with open_thread("test") as thread:
        sleeper = Sleeper(thread)
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(thread.call, sleeper.sleep)
                await sleeper.begun.wait()
                nursery.cancel_scope.cancel()
        assert (sleeper.running, sleeper.cancelled) == (0, 1)


async def test_a_call_that_is_cancelled_before_it_begins_does_nothing() -> None:
    async with open_thread("test") as thread:
        sleeper = Sleeper(thread)
        with trio.CancelScope() as scope:
            scope.cancel()
            await thread.call(sleeper.sleep)
        assert scope.cancelled_caught
        assert sleeper.running == 0


async def test_a_task_that_swallows_a_cancellation_gets_another() -> None:
    begun = trio.Event()
    swallowed = 0

    async with open_thread("test") as thread:

        async def stubborn() -> None:
            nonlocal swallowed
            thread.token.run_sync_soon(begun.set)
            while swallowed < 3:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    swallowed += 1
            await asyncio.sleep(3600)

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(thread.call, stubborn)
                await begun.wait()
                nursery.cancel_scope.cancel()
    assert swallowed == 3


async def test_what_has_a_result_when_it_is_cancelled_returns_it() -> None:
    begun = trio.Event()

    async with open_thread("test") as thread:

        async def finish() -> str:
            thread.token.run_sync_soon(begun.set)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return "done all the same"
            return "slept"

        results: list[str] = []

        async def call() -> None:
            results.append(await thread.call(finish))

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await begun.wait()
                nursery.cancel_scope.cancel()
    assert results == ["done all the same"]


async def test_the_end_cancels_what_runs_and_refuses_what_comes() -> None:
    async with open_thread("test") as thread:
        sleeper = Sleeper(thread)
        thread.start(sleeper.sleep)
        with trio.fail_after(LIMIT_S):
            await sleeper.begun.wait()
    assert (sleeper.running, sleeper.cancelled) == (0, 1)
    with pytest.raises(Away):
        await thread.call(sleeper.sleep)


async def test_posts_are_carried_out_in_order() -> None:
    seen: list[int] = []

    async def nothing() -> None:
        pass

    async with open_thread("test") as thread:
        for number in range(100):
            thread.post(seen.append, number)
        await thread.call(nothing)
    assert seen == [*range(100)]
