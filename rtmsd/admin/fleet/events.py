"""The events of all workers as one endless answer."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import structlog
import trio

from rtmsd.admin.fleet.peers import why_silent
from rtmsd.admin.messages import NDJSON_TYPE
from rtmsd.http.client import BrokenReply, ClientError, LiveReply
from rtmsd.http.messages import Source, StreamReply
from rtmsd.sinks.hub import LiveHub
from rtmsd.sinks.ndjson import json_line
from rtmsd.sinks.taps import EventTap
from rtmsd.streams.running import local_ms

log = structlog.get_logger()

AGAIN_S: Final = 0.25
MAX_LINE_BYTES: Final = 1 << 20

Open = Callable[[], Awaitable[LiveReply]]
"""Asks one worker for its events. Raises ClientError."""


class _Arriving:
    """The `Source` of a reader. Nothing waits here: a slow reader's events wait, and are lost and counted, where they
    happened, in a ring of each worker.
    """

    def __init__(self, lines: trio.MemoryReceiveChannel[bytes]) -> None:
        self._lines = lines

    async def chunk(self) -> bytes | None:
        try:
            return await self._lines.receive()
        except trio.EndOfChannel as exc:  # those who sent have crashed: it is cut off
            raise trio.BrokenResourceError from exc

    def trailers(self) -> Mapping[str, str]:
        return {}


async def follow_all(hub: LiveHub, peers: Mapping[str, Open], nursery: trio.Nursery) -> StreamReply:
    """Return an answer with the events of this worker and all others, from now on.

    Those of one worker keep their order. One that ends, or never answered, is asked again until it does, and the
    reader gets: `{"kind": "worker", "worker": "2", "state": "silent"}`, later `"answering"`.

    Args:
        hub: of this worker.
        nursery: has the tasks, until the reader leaves.
    """
    send, receive = trio.open_memory_channel[bytes](0)
    scope: trio.CancelScope = await nursery.start(_follow, hub, peers, send)

    @contextmanager
    def arriving() -> Iterator[Source]:
        try:
            yield _Arriving(receive)
        finally:
            scope.cancel()

    return StreamReply(content_type=NDJSON_TYPE, open=arriving)


async def _follow(
    hub: LiveHub,
    peers: Mapping[str, Open],
    send: trio.MemorySendChannel[bytes],
    *,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    """Send on all events. Started when each worker has answered, or has had its time."""
    tap = EventTap()
    try:
        with trio.CancelScope() as scope, hub.attached(tap):
            async with trio.open_nursery() as following:
                following.start_soon(_pass_on, tap, send)
                asked = {worker: trio.Event() for worker in peers}
                for worker, ask in peers.items():
                    following.start_soon(_follow_one, worker, ask, send, asked[worker])
                for each in asked.values():
                    await each.wait()
                task_status.started(scope)
    except Exception:  # a bug: it costs this reader
        log.exception("following the events of all workers crashed")
    finally:
        send.close()


async def _pass_on(tap: EventTap, send: trio.MemorySendChannel[bytes]) -> None:
    while (data := await tap.chunk()) is not None:
        await send.send(data)


async def _follow_one(worker: str, ask: Open, send: trio.MemorySendChannel[bytes], asked: trio.Event) -> None:
    """Send on the events of one worker, whatever becomes of it; set `asked` when the first attempt has succeeded or
    failed.
    """
    is_silent = False
    while True:
        why = "it ended"
        try:
            with await ask() as reply:
                if reply.status != HTTPStatus.OK:
                    raise BrokenReply(f"status {reply.status}")
                asked.set()
                if is_silent:
                    await send.send(_news(worker, "answering"))
                    is_silent = False
                arriving = _WholeLines(reply)
                while (lines := await arriving.next()) is not None:
                    await send.send(lines)
        except ClientError as error:
            why = why_silent(error)
        asked.set()
        if not is_silent:
            await send.send(_news(worker, "silent", why))
            is_silent = True
        await trio.sleep(AGAIN_S)


def _news(worker: str, state: str, why: str | None = None) -> bytes:
    more = {} if why is None else {"why": why}
    return json_line({"at_ms": local_ms(), "kind": "worker", "worker": worker, "state": state, **more})


class _WholeLines:
    """What comes, cut after line feeds: lines of several workers must not run into each other."""

    def __init__(self, reply: LiveReply) -> None:
        self._reply = reply
        self._rest = b""

    async def next(self) -> bytes | None:
        """Return one line or more; None at the end.

        Raises:
            BrokenReply: it was cut off, or has no lines.
        """
        while (data := await self._reply.chunk()) is not None:
            whole, feed, self._rest = (self._rest + data).rpartition(b"\n")
            if feed:
                return whole + feed
            if len(self._rest) > MAX_LINE_BYTES:
                raise BrokenReply("it sends no lines")
        return None
