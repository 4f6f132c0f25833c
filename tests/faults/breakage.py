"""Failures of networks, servers and disks, and the recovery of a stream."""

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import trio

from rtmsd.simulator import Cut, SimSession, Timing
from rtmsd.simulator.wire.wire import WireState
from tests.faults.process import until

TIMING: Final = Timing(
    keep_alive_s=0.4,
    keep_alive_misses=5,
    utterance_s=1,
    transcript_lag_s=0.2,
    stop_grace_s=0.1,
    webhook_retry_s=(1, 1, 1),
)
STREAMS: Final = {
    "reconnect_delay_s": 0.05,
    "reconnect_delay_max_s": 0.4,
    "keep_alive_timeout_s": 1.8,
    "handshake_timeout_s": 2,
}


async def _stall(session: SimSession) -> None:
    await session.stall(0.5)


async def _twice(session: SimSession) -> None:
    """The server fails, and the one that takes over fails while it is being connected to."""
    await session.failover(close=False)
    await trio.sleep(0.03)
    await session.failover()


async def _everything(session: SimSession) -> None:
    """Media goes, then signaling, then the server, each before the daemon has recovered from the last."""
    session.cut_media(how=Cut.RESET)
    await trio.sleep(0.02)
    session.cut_signaling(how=Cut.RESET)
    await trio.sleep(0.06)
    await session.failover()


FAULTS: Final[dict[str, Callable[[SimSession], object]]] = {
    "media, ended": lambda session: session.cut_media(),
    "media, reset": lambda session: session.cut_media(how=Cut.RESET),
    "media, in the middle of a frame": lambda session: session.cut_media(how=Cut.TRUNCATED),
    "media, reset and not announced": lambda session: session.cut_media(how=Cut.RESET, announce=False),
    "media, half-open": lambda session: session.silence("media"),
    "stalled": _stall,
    "signaling, with a webhook": lambda session: session.cut_signaling(),
    "signaling, without": lambda session: session.cut_signaling(how=Cut.RESET, webhook=False),
    "signaling, half-open": lambda session: session.silence("signaling"),
    "everything, half-open": lambda session: session.silence(),
    "interrupted webhook alone": SimSession.interrupt,
    "server failover": SimSession.failover,
    "server failover, old sockets half-open": lambda session: session.failover(close=False),
    "failover of a failover": _twice,
    "media, signaling and server": _everything,
}


async def break_things(session: SimSession, faults: Iterable[str], counts: Counter[str]) -> None:
    """Do all this to one stream, one fault after the other."""
    for fault in faults:
        await recovered(session)
        await trio.sleep(0.1)
        await inflict(session, fault)
        counts[fault] += 1
    await recovered(session)


async def inflict(session: SimSession, fault: str) -> None:
    done = FAULTS[fault](session)
    if inspect.isawaitable(done):
        await done


async def recovered(session: SimSession) -> None:
    """Wait until all three connections are there, none is dead, and audio flows."""
    await until(lambda: is_whole(session))
    arrived = audio_of(session)
    await until(lambda: audio_of(session) >= arrived + 20 and is_whole(session))


def audio_of(session: SimSession) -> int:
    return sum(log.count() for log in session.record.audio.values())


def is_whole(session: SimSession) -> bool:
    """Whether all three connections are there, and none is dead."""
    connections = session.connections()
    return len(connections) == 3 and all(connection.wire.state is WireState.OPEN for connection in connections)


def fill(disk: Path) -> Path:
    """Fill the disk. Returns the file to delete."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast
