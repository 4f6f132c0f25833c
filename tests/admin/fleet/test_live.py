"""Answers that last: events of all workers, and a tap at the worker that has the stream."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.admin.fleet.events import AGAIN_S, MAX_LINE_BYTES
from rtmsd.http.client import BrokenReply, LiveReply, open_stream
from tests.admin.fleet.crew import Backend, Worker, live, workers
from tests.admin.fleet.test_silent_workers import hanging, mad
from tests.admin.test_admin_server import FakeRecorder


class Lines:
    """The lines of an answer that lasts."""

    def __init__(self, reply: LiveReply) -> None:
        self._reply = reply
        self._heard = b""

    async def next(self) -> dict[str, Any]:
        with trio.fail_after(60):
            while b"\n" not in self._heard:
                data = await self._reply.chunk()
                assert data is not None
                self._heard += data
        text, _, self._heard = self._heard.partition(b"\n")
        line: dict[str, Any] = json.loads(text)
        return line


@asynccontextmanager
async def events_at(worker: Worker) -> AsyncIterator[Lines]:
    with await worker.open("/v1/events") as reply:
        assert (reply.status, reply.content_type) == (200, "application/x-ndjson")
        yield Lines(reply)


def publish(worker: Worker, number: int) -> None:
    worker.backend.events.publish({"rtms_stream_id": f"at-{worker.number}", "kind": "test", "number": number})


# Events


async def test_events_of_all_workers_come_live_and_in_their_order(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, Backend(), Backend(), Backend()) as crew, events_at(crew[1]) as lines:
        for number in range(20):
            for worker in crew:
                publish(worker, number)
        heard = [await lines.next() for _ in range(60)]
    for worker in crew:
        numbers = [line["number"] for line in heard if line["rtms_stream_id"] == f"at-{worker.number}"]
        assert numbers == list(range(20))


async def test_a_reader_that_sees_the_head_misses_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, Backend(), Backend()) as crew:
        with await crew[0].open("/v1/events") as reply:
            publish(crew[1], 1)
            publish(crew[0], 1)
            lines = Lines(reply)
            assert {(await lines.next())["rtms_stream_id"] for _ in range(2)} == {"at-1", "at-2"}


async def test_a_worker_that_dies_and_comes_back_is_picked_up_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, Backend(), Backend()) as crew, trio.open_nursery() as nursery:
        async with events_at(crew[0]) as lines:
            crew[1].kill()
            gone = await lines.next()
            assert gone.items() >= {"kind": "worker", "worker": "2", "state": "silent"}.items()
            publish(crew[0], 1)  # the others go on
            assert (await lines.next())["number"] == 1
            await trio.sleep(3 * AGAIN_S)  # and it is told once
            await crew[1].start(nursery)
            assert (await lines.next()).items() >= {"worker": "2", "state": "answering"}.items()
            publish(crew[1], 2)
            assert (await lines.next())["number"] == 2
        nursery.cancel_scope.cancel()


async def test_a_worker_that_hangs_is_told_and_holds_nobody_up(autojump_clock: MockClock, tmp_path: Path) -> None:
    with hanging(tmp_path / "s2"):
        async with workers(tmp_path, Backend(), silent=["2"]) as crew, events_at(crew[0]) as lines:
            assert (await lines.next()).items() >= {"worker": "2", "state": "silent"}.items()
            publish(crew[0], 1)
            assert (await lines.next())["number"] == 1


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 500 Bug\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_LINE_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["no HTTP", "refusal", "no lines", "end"],
)
async def test_a_mad_worker_is_told(autojump_clock: MockClock, tmp_path: Path, said: bytes) -> None:
    crowd = workers(tmp_path, Backend(), silent=["2"])
    async with mad(tmp_path / "s2", said), crowd as crew, events_at(crew[0]) as lines:
        assert (await lines.next()).items() >= {"worker": "2", "state": "silent"}.items()
        publish(crew[0], 1)
        while (await lines.next()).get("number") != 1:
            pass


async def test_a_half_line_of_one_worker_never_joins_another(autojump_clock: MockClock, tmp_path: Path) -> None:
    half = b'HTTP/1.1 200 OK\r\n\r\n{"number":5}\n{"number"'
    crowd = workers(tmp_path, Backend(), silent=["2"])
    async with mad(tmp_path / "s2", half), crowd as crew, events_at(crew[0]) as lines:
        assert await lines.next() == {"number": 5}
        publish(crew[0], 1)
        assert {(await lines.next()).get("kind") for _ in range(2)} == {"worker", "test"}


async def test_a_slow_reader_is_told_what_it_lost_and_holds_nobody_up(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with workers(tmp_path, Backend(), Backend()) as crew, events_at(crew[0]) as lines:
        for number in range(5000):  # 10 MB: more than rings and sockets hold
            crew[1].backend.events.publish({"kind": "test", "number": number, "text": "x" * 2000})
            if number % 100 == 0:
                await wait_all_tasks_blocked()
        publish(crew[1], -1)
        heard, lost = 0, 0
        while (line := await lines.next()).get("number") != -1:
            heard, lost = heard + (line["kind"] == "test"), lost + line.get("events", 0)
    assert heard + lost == 5000
    assert lost > 1000


async def test_readers_that_leave_are_forgotten_everywhere(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, Backend(), Backend()) as crew:
        async with events_at(crew[0]), events_at(crew[1]):
            assert [len(worker.backend.events._sinks) for worker in crew] == [2, 2]
        with trio.fail_after(60):
            while any(worker.backend.events._sinks for worker in crew):
                await trio.lowlevel.checkpoint()


# Tap


@asynccontextmanager
async def tapped(directory: Path, query: str, *, of: int) -> AsyncIterator[tuple[FakeRecorder, LiveReply, Worker]]:
    """Ask worker 1 of two to tap a stream that worker `of` has."""
    backends = [Backend(), Backend()]
    recorder = FakeRecorder()
    backends[of - 1].known["beta"] = live("beta")
    backends[of - 1].recorders["beta"] = recorder
    async with workers(directory, *backends) as crew:
        with await open_stream(crew[0].public, "GET", f"/v1/streams/be/tap?{query}", timeout_s=60) as reply:
            yield recorder, reply, crew[of - 1]


async def rest(reply: LiveReply) -> bytes:
    heard = b""
    while (data := await reply.chunk()) is not None:
        heard += data
    return heard


async def test_a_tap_is_the_same_wherever_the_stream_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    found = []
    for of in (1, 2):
        (tmp_path / str(of)).mkdir()
        async with tapped(tmp_path / str(of), "media=audio&format=wav", of=of) as (recorder, reply, _):
            [listener] = recorder.listeners
            for number in range(100):
                listener.audio(0, None, number, bytes(range(number, number + 20)))
            listener.ended()
            fields = {name: value for name, value in reply.headers.items() if name != "date"}
            found.append(
                (reply.status, reply.content_type, fields, reply.trailer_names, await rest(reply), reply.trailers())
            )
        assert recorder.listeners == []
    assert found[0] == found[1]
    assert found[0][3] == ("rtmsd-lost-frames",)
    assert found[0][5] == {"rtmsd-lost-frames": "0"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("media=smell", 400, "bad_request"),
        ("format=wav&user_id=5", 409, "no_such_participant"),
        ("format=opus", 409, "refused_in_state"),
        ("colour=red", 400, "bad_request"),
    ],
)
async def test_a_refused_tap_is_the_same_wherever_the_stream_is(
    *, autojump_clock: MockClock, tmp_path: Path, query: str, status: int, code: str
) -> None:
    found = []
    for of in (1, 2):
        (tmp_path / str(of)).mkdir()
        async with tapped(tmp_path / str(of), query, of=of) as (_, reply, _):
            found.append((reply.status, reply.content_type, await rest(reply)))
    assert found[0] == found[1]
    assert (found[0][0], json.loads(found[0][2])["code"]) == (status, code)


async def test_media_come_live(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with tapped(tmp_path, "media=audio", of=2) as (recorder, reply, _):
        lines = Lines(reply)
        for number in range(3):
            recorder.listeners[0].audio(7, "Ana", number, b"live")
            line = await lines.next()
            assert (line["timestamp_ms"], base64.b64decode(line["data"])) == (number, b"live")


async def test_a_reader_that_leaves_ends_the_tap_at_the_owner(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with tapped(tmp_path, "media=audio", of=2) as (recorder, reply, _):
        assert len(recorder.listeners) == 1
        reply.close()
        with trio.fail_after(60):
            while recorder.listeners:
                await trio.lowlevel.checkpoint()


async def test_an_owner_that_dies_cuts_the_tap_off(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An answer that ended well would be taken for the end of the stream."""
    async with tapped(tmp_path, "media=audio", of=2) as (recorder, reply, owner):
        recorder.listeners[0].audio(7, "Ana", 1, b"live")
        await Lines(reply).next()
        owner.kill()
        with pytest.raises(BrokenReply):
            await rest(reply)
