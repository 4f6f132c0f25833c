"""The watchdog alone: who is dropped when, of several connections."""

import attrs
import pytest
import trio
import trio.testing

from rtmsd.errors import ConnectionLost, KeepAliveTimeout
from rtmsd.streams.drivers.watchdog import Watchdog

TIMEOUT_S = 65.0


@attrs.define(eq=False)
class Connection:
    """Writes down when, and why, it was dropped."""

    last_heard_s: float = attrs.field(factory=trio.current_time)
    dropped: list[tuple[float, str]] = attrs.field(factory=list)

    def drop(self, lost: ConnectionLost) -> None:
        assert isinstance(lost, KeepAliveTimeout)
        self.dropped.append((trio.current_time(), str(lost)))

    def hear(self) -> None:
        self.last_heard_s = trio.current_time()


@pytest.fixture
async def watchdog(nursery: trio.Nursery) -> Watchdog:
    watchdog = Watchdog(TIMEOUT_S)

    async def look() -> None:
        while True:
            due_s = watchdog.look(trio.current_time())
            await trio.sleep_until(due_s)

    nursery.start_soon(look)
    await trio.testing.wait_all_tasks_blocked()
    return watchdog


def watched(watchdog: Watchdog, name: str = "signaling") -> Connection:
    connection = Connection()
    watchdog.watch(connection, name)
    return connection


async def test_the_silent_one_of_several_is_dropped_on_time_and_once(watchdog: Watchdog) -> None:
    await trio.sleep(7)
    lively, silent = watched(watchdog, "signaling"), watched(watchdog, "the media connection")
    for _ in range(20):
        await trio.sleep(10)
        lively.hear()
    assert silent.dropped == [(7 + TIMEOUT_S, "nothing heard on the media connection for 65 s")]
    assert lively.dropped == []


async def test_each_has_a_deadline_of_its_own(watchdog: Watchdog) -> None:
    connections = []
    for _ in range(5):
        connections.append(watched(watchdog))
        await trio.sleep(20)
    connections[3].hear()
    await trio.sleep(200)
    dropped_s = [at_s for connection in connections for at_s, _ in connection.dropped]
    assert dropped_s == [TIMEOUT_S, 20 + TIMEOUT_S, 40 + TIMEOUT_S, 100 + TIMEOUT_S, 80 + TIMEOUT_S]


async def test_one_that_speaks_again_in_time_is_kept(watchdog: Watchdog) -> None:
    connection = watched(watchdog)
    await trio.sleep(TIMEOUT_S - 1)
    connection.hear()
    await trio.sleep(TIMEOUT_S - 1)
    assert connection.dropped == []
    await trio.sleep(2)
    assert [at_s for at_s, _ in connection.dropped] == [2 * TIMEOUT_S - 1]


async def test_one_that_comes_after_a_long_quiet_is_dropped_on_time(watchdog: Watchdog) -> None:
    await trio.sleep(1000)
    connection = watched(watchdog)
    await trio.sleep(TIMEOUT_S + 1)
    assert [at_s for at_s, _ in connection.dropped] == [1000 + TIMEOUT_S]


async def test_one_that_is_gone_is_forgotten_and_may_come_back(watchdog: Watchdog) -> None:
    connection = watched(watchdog)
    await trio.sleep(TIMEOUT_S - 1)
    watchdog.forget(connection)
    watchdog.forget(connection)
    await trio.sleep(100)
    assert connection.dropped == []
    connection.hear()
    watchdog.watch(connection, "signaling")
    await trio.sleep(TIMEOUT_S + 1)
    assert [at_s for at_s, _ in connection.dropped] == [2 * TIMEOUT_S - 1 + 100]
