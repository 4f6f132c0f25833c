"""The frames of a wire and their fates."""

from collections.abc import AsyncIterator

import pytest
import trio

from rtmsd.simulator.model.fate import Fate
from rtmsd.simulator.wire.frames import TEXT, frame
from rtmsd.simulator.wire.wire import Wire, WireState

CLOSE = b"\x88\x02\x03\xe8"


class Fates(list[Fate]):
    settle = list.append


@pytest.fixture
async def wire_and_peer() -> AsyncIterator[tuple[Wire, trio.SocketStream]]:
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(theirs) as peer:
        yield Wire(trio.SocketStream(ours)), peer
        ours.close()


async def test_nothing_is_sent_after_a_close_frame(wire_and_peer: tuple[Wire, trio.SocketStream]) -> None:
    wire, peer = wire_and_peer
    before, behind = Fates(), Fates()
    wire.put(frame(TEXT, b"before"), before)
    await wire.send_all(CLOSE)
    wire.put(frame(TEXT, b"behind"), behind)
    assert wire.state is WireState.CLOSING
    assert before == [Fate.SENT]
    assert behind == [Fate.DISCARDED]  # so that it is sent again on the next connection
    await wire.aclose()
    assert await peer.receive_some() == frame(TEXT, b"before") + CLOSE
    assert await peer.receive_some() == b""
