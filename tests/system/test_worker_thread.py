"""The thread for work that blocks: results, errors, cancellation, and its end."""

import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rtmsd.system.worker_thread import WorkerThread


async def test_each_call_has_its_result_or_error_from_the_same_thread() -> None:
    worker = WorkerThread("test")
    first = await worker.run_sync(threading.get_ident)
    with pytest.raises(ZeroDivisionError):
        await worker.run_sync(lambda: 1 // 0)
    assert await worker.run_sync(threading.get_ident) == first != threading.get_ident()
    worker.close()


async def test_a_call_under_way_cannot_be_cancelled_and_one_to_come_is_not_made(nursery: trio.Nursery) -> None:
    worker, go_on, results = WorkerThread("test"), threading.Event(), []

    async def call() -> None:
        results.append(await worker.run_sync(go_on.wait))
        await worker.run_sync(lambda: results.append(False))

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(call)
            await wait_all_tasks_blocked()
            scope.cancel()
            go_on.set()
    assert results == [True]
    worker.close()


async def test_a_closed_one_ends_after_its_calls_and_may_be_used_again() -> None:
    worker = WorkerThread("test")
    thread = await worker.run_sync(threading.current_thread)
    worker.close()
    await trio.to_thread.run_sync(thread.join, 5.0)
    assert not thread.is_alive()
    assert await worker.run_sync(lambda: 7) == 7
    worker.close()
