"""Two daemons with a simulated Zoom, as if they were two workers of one: their real answers as one."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from prometheus_client.parser import text_string_to_metric_families

from rtmsd.admin.fleet.fleet import Fleet
from rtmsd.admin.fleet.kept import APART
from rtmsd.admin.fleet.peers import Peers
from rtmsd.admin.listener import open_admin_socket
from rtmsd.admin.server import serve_admin
from rtmsd.cluster.engines.sockets import SocketBus, open_socket
from rtmsd.config.model import worker_socket
from rtmsd.daemon.backend import Backend
from rtmsd.http.client import open_stream, request
from rtmsd.simulator import SimSession
from tests.admin.fleet.crew import FakeParent
from tests.daemon.whole import LIMIT_S, zoom_and_daemon


@attrs.define
class Both:
    """Attributes:
    doors: the public socket of each.
    sessions: one of each.
    backends: of each.
    """

    doors: list[Path]
    sessions: list[SimSession]
    backends: list[Backend]

    async def get(self, door: int, path: str) -> Any:
        reply = await request(self.doors[door], "GET", path, timeout_s=LIMIT_S)
        assert reply.status == 200, reply
        return json.loads(reply.body)


async def until_heard(backend: Backend) -> None:
    with trio.fail_after(LIMIT_S):
        while True:
            if backend.status()["totals"]["messages"].get("audio"):
                return
            await trio.sleep(0.01)


async def serve_both_doors(
    base: Path,
    fleet: Fleet,
    private: trio.SocketListener,
    public: trio.SocketListener,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Serve as a worker does."""
    async with trio.open_nursery() as nursery:
        bus = SocketBus(partial(worker_socket, base))
        await nursery.start(partial(bus.run, private, lambda _: fleet.local.respond))
        await nursery.start(partial(serve_admin, [public], fleet.answer))
        task_status.started()


@asynccontextmanager
async def both(directory: Path) -> AsyncIterator[Both]:
    """Run both until the block ends, each with a session whose media flow."""
    async with AsyncExitStack() as stack:
        found = Both([], [], [])
        for number in ("1", "2"):
            (directory / number).mkdir()
            zoom, backend = await stack.enter_async_context(zoom_and_daemon(directory / number))
            session = await zoom.start_session(["Ana"])
            await session.wait_reconnected()
            await until_heard(backend)
            found.sessions.append(session)
            found.backends.append(backend)
        base = directory / "admin"
        nursery = await stack.enter_async_context(trio.open_nursery())
        for number, backend in zip(("1", "2"), found.backends, strict=True):
            peers = Peers({other: worker_socket(base, other) for other in ("1", "2") if other != number}, ask_s=LIMIT_S)
            fleet = Fleet(number, peers, backend, FakeParent(), nursery, disks=APART)
            private = stack.enter_context(open_socket(worker_socket(base, number)))
            found.doors.append(directory / f"door-{number}")
            public = stack.enter_context(open_admin_socket(found.doors[-1]))
            await nursery.start(partial(serve_both_doors, base, fleet, private, public))
        yield found
        nursery.cancel_scope.cancel()


async def test_status_streams_and_metrics_of_both(tmp_path: Path) -> None:
    async with both(tmp_path) as two:
        ids = [session.rtms_stream_id for session in two.sessions]
        for door in (0, 1):
            status = await two.get(door, "/v1/status")
            assert status.keys() - two.backends[door].status().keys() == {"workers", "silent"}
            assert (status["streams"], status["silent"], status["ready"]) == ({"active": 2}, [], True)
            assert [worker["streams"] for worker in status["workers"]] == [1, 1]
            assert status["totals"]["messages"]["audio"] >= 2
            listed = {each["rtms_stream_id"]: each["worker"] for each in await two.get(door, "/v1/streams?all=1")}
            assert listed == dict(zip(ids, ["1", "2"], strict=True))
            assert [finding["check"] for finding in await two.get(door, "/v1/doctor")][-1] == "workers"
            recorded = {each["rtms_stream_id"]: each["worker"] for each in await two.get(door, "/v1/recordings")}
            assert recorded == listed
            assert len(status["disk"]["directories"]) == 2
            for rtms_stream_id, worker in listed.items():
                assert (await two.get(door, f"/v1/streams/{rtms_stream_id}"))["worker"] == worker
        text = (await request(two.doors[1], "GET", "/v1/metrics", timeout_s=LIMIT_S)).body.decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["rtmsd_streams", "active"] == 2
    assert found["rtmsd_webhooks_total", "accepted"] == 2
    assert found["rtmsd_workers", "answering"] == 2
    assert found["rtmsd_media_messages_total", "audio"] >= 2


async def test_a_stream_is_heard_and_ended_at_either_door(tmp_path: Path) -> None:
    async with both(tmp_path) as two:
        ids = [session.rtms_stream_id for session in two.sessions]
        with trio.fail_after(LIMIT_S):
            lines = b""
            with await open_stream(two.doors[0], "GET", f"/v1/streams/{ids[1]}/tap", timeout_s=LIMIT_S) as reply:
                while b'"media":"audio"' not in lines:
                    lines += await reply.chunk() or b""
            with await open_stream(two.doors[0], "GET", "/v1/events", timeout_s=LIMIT_S) as events:
                heard = b""
                for rtms_stream_id in ids:
                    await request(two.doors[0], "POST", f"/v1/streams/{rtms_stream_id}/stop", timeout_s=LIMIT_S)
                ended = {(rtms_stream_id, "ended") for rtms_stream_id in ids}
                while not ended <= {
                    (event.get("rtms_stream_id"), event.get("state"))
                    for event in map(json.loads, heard.splitlines(keepends=True)[: heard.count(b"\n")])
                }:
                    heard += await events.chunk() or b""
