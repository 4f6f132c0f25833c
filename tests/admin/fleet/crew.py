"""Several workers in one process, each with its real servers on real Unix sockets; their backends are fakes."""

import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from rtmsd.admin.fleet.fleet import Fleet
from rtmsd.admin.fleet.kept import SHARED, Disks
from rtmsd.admin.fleet.peers import ASK_S, Peers
from rtmsd.admin.fleet.status import ParentProcess
from rtmsd.admin.listener import open_admin_socket
from rtmsd.admin.messages import Caller
from rtmsd.admin.metrics import Metrics, Totals
from rtmsd.admin.server import serve_admin
from rtmsd.admin.tap import TapRecorder
from rtmsd.cluster.engines.sockets import SocketBus, open_socket
from rtmsd.http.client import LiveReply, open_stream
from rtmsd.http.messages import HttpRequest, Reply
from tests.admin.test_admin_server import FakeBackend, FakeRecorder

PARENT = ParentProcess(pid=4711, began_s=0.0)
OURSELVES = Caller(pid=77, uid=os.geteuid())
STRANGER = Caller(pid=78, uid=os.geteuid() + 4242)


class FakeParent:
    """Records orders."""

    def __init__(self) -> None:
        self.process = PARENT
        self.orders: list[object] = []

    def drain(self, on: bool) -> None:
        self.orders.append(("drain", on))

    def reload(self) -> None:
        self.orders.append("reload")


class Backend(FakeBackend):
    """One worker's: streams as their descriptions, and what else a test sets."""

    def __init__(self, *streams: Mapping[str, Any], **status: Any) -> None:
        super().__init__()
        self.known = {stream["rtms_stream_id"]: dict(stream) for stream in streams}
        self.status_json: dict[str, Any] = status
        self.findings: list[dict[str, Any]] = []
        self.totals = Totals()
        self.source = Metrics(lambda: self.totals)
        self.recorders: dict[str, FakeRecorder] = {}
        self.changed: list[dict[str, Any]] = []

    def status(self) -> dict[str, Any]:
        return self.status_json

    def ids(self) -> Iterable[str]:
        return list(self.known)

    def streams(self, *, include_ended: bool) -> Sequence[dict[str, Any]]:
        return [each for each in self.known.values() if include_ended or each["state"] != "ended"]

    def stream(self, rtms_stream_id: str) -> dict[str, Any]:
        return self.known[rtms_stream_id]

    def recorder(self, rtms_stream_id: str) -> TapRecorder | None:
        return self.recorders.get(rtms_stream_id)

    async def doctor(self) -> Sequence[dict[str, Any]]:
        return self.findings

    async def recordings(self) -> Sequence[dict[str, Any]]:
        return []

    async def reload(self) -> dict[str, Any]:
        await super().reload()
        return {"changed": self.changed}

    def metrics(self) -> bytes:
        return self.source.render()


def live(rtms_stream_id: str, started_ms: int = 0, **more: Any) -> dict[str, Any]:
    return {"rtms_stream_id": rtms_stream_id, "state": "active", "started_ms": started_ms, "ended_ms": None, **more}


def ended(rtms_stream_id: str, ended_ms: int, **more: Any) -> dict[str, Any]:
    return {**live(rtms_stream_id), "state": "ended", "ended_ms": ended_ms, **more}


@attrs.define
class Worker:
    """A worker that runs.

    Attributes:
        private: where it answers the others.
        public: where it answers clients for all; with real workers there is one socket of them all.
    """

    number: str
    backend: Backend
    fleet: Fleet
    parent: FakeParent
    private: Path
    public: Path
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def ask(self, line: str, body: bytes = b"", caller: Caller = OURSELVES) -> Reply:
        method, _, target = line.partition(" ")
        reply = await self.fleet.answer(caller, HttpRequest(method=method, target=target, body=body))
        assert isinstance(reply, Reply)
        return reply

    async def json(self, line: str, body: bytes = b"", caller: Caller = OURSELVES) -> Any:
        return json.loads((await self.ask(line, body, caller)).body)

    async def open(self, target: str) -> LiveReply:
        """Ask as a client at the public socket does, for an answer that lasts."""
        return await open_stream(self.public, "GET", target, timeout_s=60)

    async def start(self, nursery: trio.Nursery) -> None:
        """Serve, until `kill`."""
        self.scope = trio.CancelScope()
        await nursery.start(self._serve)

    def kill(self) -> None:
        """End all its connections, and answer no more."""
        self.scope.cancel()

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        bus = SocketBus(self.private.with_name)
        with self.scope, open_socket(self.private) as private, open_admin_socket(self.public) as public:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(bus.run, private, lambda _: self.fleet.local.respond))
                await nursery.start(partial(serve_admin, [public], self.fleet.answer))
                task_status.started()


@asynccontextmanager
async def workers(
    directory: Path,
    *backends: Backend,
    silent: Sequence[str] = (),
    ask_s: float = ASK_S,
    disks: Disks = SHARED,
) -> AsyncIterator[list[Worker]]:
    """Run a worker for each backend, numbered from 1; `silent` ones are peers that nobody runs."""
    numbers = [str(number) for number in range(1, len(backends) + 1)]
    sockets = {number: directory / f"s{number}" for number in (*numbers, *silent)}
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        crew = []
        for number, backend in zip(numbers, backends, strict=True):
            peers = Peers({other: path for other, path in sockets.items() if other != number}, ask_s)
            parent = FakeParent()
            fleet = Fleet(number, peers, backend, parent, nursery, disks=disks)
            worker = Worker(number, backend, fleet, parent, sockets[number], directory / f"a{number}")
            await worker.start(nursery)
            crew.append(worker)
        yield crew
        nursery.cancel_scope.cancel()
