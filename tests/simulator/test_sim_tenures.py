"""The holders of a stream, and the peers of its connections."""

import itertools
import os
import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.simulator.model.record import UNKNOWN, ConnectionSpan, Peer, Record
from rtmsd.simulator.model.tenures import tenures, two_at_once
from rtmsd.simulator.wire.peers import PeerFinder

LATEST_MS = 12


def span(number: int, kind: str, opened_ms: int, closed_ms: int | None, pid: int | None = None) -> ConnectionSpan:
    return ConnectionSpan(
        connection=number,
        kind=kind,
        media_type=int(kind == "media"),
        opened_ms=opened_ms,
        closed_ms=closed_ms,
        peer=Peer("127.0.0.1", number, pid),
    )


@st.composite
def spans(draw: st.DrawFn) -> list[ConnectionSpan]:
    drawn = []
    for number in range(draw(st.integers(0, 5))):
        opened_ms = draw(st.integers(0, LATEST_MS - 1))
        closed_ms = draw(st.none() | st.integers(opened_ms + 1, LATEST_MS))
        kind, pid = draw(st.sampled_from(["signaling", "media"])), draw(st.sampled_from([None, 7, 8]))
        drawn.append(span(number, kind, opened_ms, closed_ms, pid))
    return drawn


def live(each: ConnectionSpan, at_ms: float) -> bool:
    return each.opened_ms < at_ms and (each.closed_ms is None or at_ms < each.closed_ms)


@given(spans())
def test_two_at_once_are_those_that_an_instant_shows(drawn: list[ConnectionSpan]) -> None:
    seen = set()
    for at_ms in (ms + 0.5 for ms in range(LATEST_MS + 1)):
        for one, other in itertools.combinations([each for each in drawn if live(each, at_ms)], 2):
            of_two = None not in (one.peer.pid, other.peer.pid) and one.peer.pid != other.peer.pid
            if of_two or (one.kind, other.kind) == ("signaling", "signaling"):
                seen.add((one.connection, other.connection))
    found = two_at_once(Record(connections=drawn))
    assert {(one.connection, other.connection) for one, other in found} == seen


def test_reconnections_of_a_process_are_one_tenure() -> None:
    record = Record(
        connections=[
            span(1, "signaling", 0, 10, pid=7),
            span(2, "media", 1, 10, pid=7),
            span(3, "signaling", 12, 20, pid=7),
            span(4, "signaling", 21, 30, pid=8),
            span(5, "signaling", 31, None, pid=7),
        ]
    )
    held = [(tenure.peer.pid, tenure.connections, tenure.from_ms, tenure.to_ms) for tenure in tenures(record)]
    assert held == [(7, (1, 3), 0, 20), (8, (4,), 21, 30), (7, (5,), 31, None)]


def test_of_unknown_processes_each_connection_is_a_tenure() -> None:
    record = Record(connections=[span(1, "signaling", 0, 10), span(2, "signaling", 12, 20)])
    assert [tenure.connections for tenure in tenures(record)] == [(1,), (2,)]


@pytest.mark.parametrize(("host", "in_url"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_a_peer_has_its_address_and_if_wanted_its_process(host: str, in_url: str) -> None:
    [listener] = await trio.open_tcp_listeners(0, host=host)
    client = await trio.open_tcp_stream(host, listener.socket.getsockname()[1])
    async with listener, client, await listener.accept() as accepted:
        host, port, *_ = client.socket.getsockname()
        named = PeerFinder(name_processes=True).peer_of(accepted.socket)
        assert named == Peer(host, port, os.getpid())
        assert PeerFinder(name_processes=False).peer_of(accepted.socket) == Peer(host, port)
        assert named.address == f"{in_url}:{port}"
        await client.aclose()
        assert PeerFinder(name_processes=True).peer_of(accepted.socket) == Peer(host, port)  # of no process any more


async def test_a_peer_that_reset_is_unknown() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream(*listener.socket.getsockname())
    async with listener, client, await listener.accept() as accepted:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await client.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await accepted.receive_some()
        assert PeerFinder(name_processes=True).peer_of(accepted.socket) == UNKNOWN
