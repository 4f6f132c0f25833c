"""Garbage on every subject: it is counted, never obeyed, and harms nobody."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

import pytest
import trio

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engine import Ear, Refused
from rtmsd.cluster.engines.nats.connection import Connection
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.layout import Layout
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.records import Beat, Log, Part, PartState, Revoked, Row
from rtmsd.demo.cluster.servers import Servers
from tests.cluster.contract import known, new_id, own
from tests.cluster.nats.conftest import PARTITIONS, Opener
from tests.cluster.nats.work import LIMIT_S, holds, member, orphans

HEADERS: Final = (
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 \xff\xfe\xfd\r\n\r\n",
    b"NATS/1.0 100 \xff\xfe\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: \xff\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0\r\n\xff: \xff\r\n:\r\nno colon\r\n\r\n",
    b"NATS/1.0" + b" " * 2000 + b"\r\n\r\n",
)


def batched(messages: Iterator[tuple[str, bytes]], size: int) -> Iterator[list[tuple[str, bytes]]]:
    while batch := [*islice(messages, size)]:
        yield batch


class Garbage:
    """Messages that nobody should have written."""

    def __init__(self, seed: int, layout: Layout, streams: list[str]) -> None:
        self._random = random.Random(seed)
        self._layout = layout
        self._streams = streams

    def messages(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Yield messages on all subjects."""
        for _ in range(count):
            subject = self._random.choice(self._subjects())
            yield subject, self._random.choice((self._noise, self._damaged, self._misplaced))()

    def _subjects(self) -> list[str]:
        layout, stream = self._layout, self._random.choice([*self._streams, new_id()])
        node = self._random.choice(("a", "b", "x.7"))
        return [
            layout.own(stream),
            layout.row(stream),
            layout.log(stream),
            layout.part(stream, node),
            layout.revoked(stream),
            layout.beat(node),
            layout.question("a", self._random.choice(("hook", "take", "ctl", "x"))),
            f"{layout.name}.00.other.x.y.z",
            f"{layout.name}.ctl.x",
            f"_INBOX_{layout.name}.a.{self._random.randrange(9)}",
        ]

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 7, 100, 2000)))

    def _record(self) -> bytes:
        stream = self._random.choice(self._streams)
        made = (
            Row(rtms_stream_id=stream, token=1, known=known(stream)),
            Log(rtms_stream_id=stream, token=1, n=1, lines={"events": ("{}",)}),
            Part(rtms_stream_id=stream, node="a", token=1, epoch=1, state=PartState.RECORDING),
            Revoked(rtms_stream_id=stream, at_ms=1),
            Beat(node="a", incarnation="forged", n=1),
        )
        return encode(self._random.choice(made))

    def _damaged(self) -> bytes:
        data = bytearray(self._record())
        for _ in range(self._random.randint(1, 4)):
            place = self._random.randrange(len(data))
            data[place : place + self._random.randint(0, 3)] = self._random.randbytes(self._random.randint(0, 3))
        return bytes(data).replace(b'"v":1', self._random.choice((b'"v":0', b'"v":"1"', b'"w":1', b'"v":null')))

    def _misplaced(self) -> bytes:
        """A sound record, of a stream that the subject is not for."""
        stream = new_id()
        return encode(Row(rtms_stream_id=stream, token=1, known=known(stream)))


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_garbage_is_counted_and_never_obeyed(one: Servers, opened: Opener, name: str, count: int) -> None:
    layout = Layout(name, PARTITIONS)
    async with opened(one, "a") as engine, Connection.open(NatsSettings(node="x", servers=one.urls)) as attacker:
        await attacker.up()
        asked: list[bytes] = []

        async def judge(data: bytes) -> bytes:
            asked.append(data)
            raise Refused("no sense")

        engine.bus.serve("hook", judge)
        victims = [new_id() for _ in range(5)]
        for stream in victims:
            await engine.owners.claim(own(member("a", engine), stream), seen=0)
        async with trio.open_nursery() as nursery:
            heard: list[Beat | Ear] = []
            nursery.start_soon(_hear, engine, heard)
            for batch in batched(Garbage(count, layout, victims).messages(count), 100):
                async with trio.open_nursery() as publishers:
                    for subject, data in batch:
                        publishers.start_soon(attacker.publish, subject, data)
            await attacker.flush()
            await holds(lambda: engine.unreadable["beat"] > count / 200)
            nursery.cancel_scope.cancel()

        # Nothing of it is believed.
        assert all(each is Ear.DEAF for each in heard)
        assert asked == []  # none had an address for the answer
        for _, data in Garbage(1, layout, victims).messages(100):
            answer = await attacker.request(layout.question("a", "hook"), data, timeout_s=LIMIT_S)
            assert answer.data == b"no sense"
        assert len(asked) == 100
        assert await orphans(engine) == set()
        assert engine.unreadable["own"] > count / 100
        for stream in victims:
            held = await engine.owners.read(stream)
            assert (held.own, held.is_unfinished) == (None, False)
            assert held.token > 0
        assert await engine.log.parts(victims[0]) == []
        assert await engine.log.read_log(victims[0]) == []
        order = Revoked(rtms_stream_id=new_id(), at_ms=1)
        await engine.log.revoke(order)
        assert [placed.record for placed in await engine.log.revocations()] == [order]
        counted = {kind for kind, number in engine.unreadable.items() if number}
        assert counted >= {"own", "row", "log", "part", "revoked", "beat", "question"}
        # And all works as before.
        await _works(engine, victims[0])


async def test_headers_that_are_none_end_no_connection(one: Servers, opened: Opener, name: str) -> None:
    layout = Layout(name, PARTITIONS)
    async with opened(one, "a") as engine:
        subjects = [layout.beat("x").encode(), layout.question("a", "hook").encode(), f"_INBOX_{name}.a.x.1".encode()]
        url = urlsplit(one.urls[0])
        assert url.hostname is not None
        assert url.port is not None
        stream = await trio.open_tcp_stream(url.hostname, url.port)
        async with stream:
            await stream.send_all(b'CONNECT {"headers":true,"verbose":false,"pedantic":false}\r\n')
            for _ in range(20):
                for headers in HEADERS:
                    for subject in (*subjects, layout.beat("x").encode() + b"\xff\xfe"):
                        sizes = b"%d %d" % (len(headers), len(headers) + 3)
                        await stream.send_all(b"HPUB " + subject + b" " + sizes + b"\r\n" + headers + b"{}!\r\n")
            await stream.send_all(b"PING\r\n")
            with trio.fail_after(LIMIT_S):
                received = b""
                while b"PONG" not in received:
                    received += await stream.receive_some(65536)
        await holds(lambda: engine.unreadable["protocol"] > 0)
        assert engine.owners.is_up
        await _works(engine, new_id())
        assert engine.connections == 1


async def _hear(engine: NatsEngine, heard: list[Beat | Ear]) -> None:
    while True:
        heard.append(await engine.beats.hear())


async def _works(engine: NatsEngine, stream: str) -> None:
    """Check that a member can do what it could."""
    seen = (await engine.owners.read(stream)).token
    mine = own(member("a", engine), stream)
    token = await engine.owners.claim(mine, seen=seen)
    assert (await engine.owners.read(stream)).own == mine
    assert stream in await orphans(engine)
    log = Log(rtms_stream_id=stream, token=token, n=7, lines={"events": ("{}",)})
    await engine.log.purge(stream)
    await engine.log.append(log)
    assert [placed.record for placed in await engine.log.read_log(stream)] == [log]
    engine.bus.serve("ping", _pong)
    assert await engine.bus.ask("a", "ping", b"x", timeout_s=LIMIT_S) == b"x"
    beat = Beat(node="a", incarnation="true", n=1)
    await engine.beats.beat(beat)
    with trio.fail_after(LIMIT_S):
        while (heard := await engine.beats.hear()) != beat:
            assert heard is Ear.DEAF


async def _pong(data: bytes) -> bytes:
    return data
