"""Outstanding work: tried for each name until it is done, whatever becomes of the others."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from rtmsd.errors import RtmsdError
from rtmsd.system.outstanding import LONGEST_S, Outstanding


class Bench:
    """Work that fails so many times for each name, or hangs, or is a bug."""

    def __init__(self) -> None:
        self.work = Outstanding[int]("work", key="name", at_once=2, again_s=1.0)
        self.tries: Counter[str] = Counter()
        self.bugs = 1000
        self.busy = self.most_busy = 0

    def add(self, name: str, failures: int = 0) -> None:
        self.work[name] = failures
        self.work.begin()

    async def do(self, name: str) -> None:
        self.tries[name] += 1
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            if name == "stuck":
                await trio.sleep_forever()
            await trio.sleep(0.1)
            if name == "bug" and self.tries[name] <= self.bugs:
                raise ValueError
            if self.tries[name] <= self.work[name]:
                raise RtmsdError("not yet")
            del self.work[name]
        finally:
            self.busy -= 1


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    bench = Bench()
    nursery.start_soon(bench.work.run, bench.do)
    await trio.lowlevel.checkpoint()
    yield bench
    nursery.cancel_scope.cancel()


async def test_it_is_tried_until_it_is_done(autojump_clock: MockClock, bench: Bench) -> None:
    bench.add("a", failures=3)
    bench.add("b")
    await trio.sleep(0.5)
    assert dict(bench.work) == {"a": 3}
    await trio.sleep(5)
    assert not bench.work
    assert bench.tries == {"a": 4, "b": 1}


async def test_one_that_hangs_or_is_a_bug_holds_up_no_other(autojump_clock: MockClock, bench: Bench) -> None:
    for name in ("stuck", "bug", "a", "b", "c"):
        bench.add(name)
    await trio.sleep(1)
    assert bench.work.keys() == {"stuck", "bug"}
    assert bench.most_busy == 2


async def test_what_comes_again_is_done_again_by_one_task(autojump_clock: MockClock, bench: Bench) -> None:
    for _ in range(3):
        bench.add("a")
        await trio.testing.wait_all_tasks_blocked()
    assert bench.busy == 1
    await trio.sleep(1)
    bench.add("a")
    await trio.sleep(1)
    assert not bench.work
    assert bench.tries == {"a": 2}


async def test_a_bug_is_tried_again_after_pauses_that_double(autojump_clock: MockClock, bench: Bench) -> None:
    bench.bugs = 20
    bench.add("bug")
    await trio.sleep(7.9)  # at 0, 1, 3 and 7 s, and the time that each takes
    assert bench.tries["bug"] == 4
    await trio.sleep(3600)
    assert not bench.work
    assert bench.tries["bug"] == 21
    assert LONGEST_S < 3600 / 20
