"""The admin server on a real Unix socket: commands, rights, refusals, limits for each caller, and the log."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.admin.commands import COMMANDS, AdminBackend, DeliveryBackend
from rtmsd.admin.listener import open_admin_socket
from rtmsd.admin.messages import Access, AdminError, Caller, Code
from rtmsd.admin.routing import find, resolve
from rtmsd.admin.server import MAX_CONNECTIONS, answer, serve_admin
from rtmsd.admin.tap import TapRecorder
from rtmsd.errors import ConfigError, StorageError
from rtmsd.http.messages import HttpRequest, Reply
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.sinks.hub import LiveHub
from rtmsd.streams.core.video.choice import Choice

if TYPE_CHECKING:
    from rtmsd.admin.cluster import ClusterBackend
    from rtmsd.sinks.base import LiveSink

ODD_ID = "a/b+c=?%2F é"
IDS = ("stream-1", "stream-12", "other", ODD_ID)
STRANGER = Caller(pid=1, uid=os.geteuid() + 4242)
OURSELVES = Caller(pid=1, uid=os.geteuid())


NO_CHOICES = (
    *(b"", b"{}", b"[]", b'{"user_id": "7"}', b'{"user_id": true}', b'{"user_id": 0}', b'{"user_id": 4294967296}'),
    *(
        b'{"off": false}',
        b'{"off": 1}',
        b'{"off": true, "auto": true}',
        b'{"user_id": 7, "auto": true}',
        b'{"user": 7}',
    ),
)


class FakeRecorder:
    def __init__(self) -> None:
        self.listeners: list[LiveSink] = []
        self.pcm = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=True, send_rate_ms=100)

    def snapshot(self) -> dict[str, Any]:
        return {"participants": [], "files": []}


class FakeDeliveries:
    async def listed(self) -> Sequence[dict[str, Any]]:
        return [{"id": 1}]

    async def show(self, number: int) -> dict[str, Any]:
        return {"id": number}

    async def replay(self, number: int) -> dict[str, Any]:
        return {"id": number, "state": "waiting"}


class FakeBackend:
    """A daemon that records its calls; `failure` is raised by every awaiting method."""

    def __init__(self) -> None:
        self.events = LiveHub()
        self.calls: list[tuple[Any, ...]] = []
        self.taps = FakeRecorder()
        self.deliveries: DeliveryBackend = FakeDeliveries()
        self.cluster: ClusterBackend | None = None
        self.failure: Exception | None = None

    def status(self) -> dict[str, Any]:
        return {"version": "1", "warnings": []}

    def ids(self) -> Iterable[str]:
        return IDS

    def streams(self, *, include_ended: bool) -> Sequence[dict[str, Any]]:
        return [{"rtms_stream_id": one} for one in (IDS if include_ended else IDS[:1])]

    def stream(self, rtms_stream_id: str) -> dict[str, Any]:
        return {"rtms_stream_id": rtms_stream_id}

    def recorder(self, rtms_stream_id: str) -> TapRecorder | None:
        return self.taps if rtms_stream_id == "stream-1" else None

    async def stop(self, rtms_stream_id: str) -> None:
        self._tell("stop", rtms_stream_id)

    async def reconnect(self, rtms_stream_id: str) -> None:
        self._tell("reconnect", rtms_stream_id)

    def video(self, rtms_stream_id: str) -> dict[str, Any]:
        return {"user_id": 7}

    async def choose_video(self, rtms_stream_id: str, choice: Choice) -> dict[str, Any]:
        self._tell("video", rtms_stream_id, str(choice))
        return {"user_id": choice.user_id}

    async def reload(self) -> dict[str, Any]:
        self._tell("reload")
        return {"changed": []}

    def drain(self) -> None:
        self._tell("drain")

    def undrain(self) -> None:
        self._tell("undrain")

    async def shutdown(self, *, end_streams: bool) -> None:
        self._tell("shutdown", end_streams)

    def metrics(self) -> bytes:
        return b"rtmsd_streams 1\n"

    def config(self) -> dict[str, Any]:
        return {"media": {}}

    async def doctor(self) -> Sequence[dict[str, Any]]:
        return [{"check": "clock", "ok": True, "detail": "", "mend": ""}]

    async def recordings(self) -> Sequence[dict[str, Any]]:
        return [{"rtms_stream_id": "old"}]

    async def remove_recording(self, rtms_stream_id: str) -> None:
        self._tell("remove", rtms_stream_id)

    async def control_session(self, action: str, fields: dict[str, Any]) -> dict[str, Any]:
        self._tell("session", action, fields)
        return {"action": action}

    def _tell(self, *what: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.calls.append(what)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


async def ask(backend: AdminBackend, line: str, body: bytes = b"", caller: Caller = OURSELVES) -> tuple[int, Any]:
    method, _, target = line.partition(" ")
    reply = await answer(backend, caller, HttpRequest(method=method, target=target, body=body))
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body)


@asynccontextmanager
async def serving(backend: AdminBackend, path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with open_admin_socket(path) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_admin, [listener], partial(answer, backend))
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://rtmsd") as client:
                yield client
            nursery.cancel_scope.cancel()


# Each command


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/status", {"version": "1", "warnings": []}),
        ("/v1/streams", [{"rtms_stream_id": "stream-1"}]),
        ("/v1/streams?all=0", [{"rtms_stream_id": "stream-1"}]),
        ("/v1/streams?all=1", [{"rtms_stream_id": one} for one in IDS]),
        ("/v1/streams/oth", {"rtms_stream_id": "other"}),
        ("/v1/streams/" + quote(ODD_ID, safe=""), {"rtms_stream_id": ODD_ID}),
        ("/v1/streams/oth/video", {"user_id": 7}),
        ("/v1/config", {"media": {}}),
        ("/v1/doctor", [{"check": "clock", "ok": True, "detail": "", "mend": ""}]),
        ("/v1/recordings", [{"rtms_stream_id": "old"}]),
    ],
)
async def test_reading_is_open_to_anybody_on_the_socket(backend: FakeBackend, target: str, expected: object) -> None:
    assert await ask(backend, f"GET {target}", caller=STRANGER) == (200, expected)
    assert backend.calls == []


@pytest.mark.parametrize(
    ("line", "body", "call", "answered"),
    [
        ("POST /v1/streams/stream-1/stop", b"", ("stop", "stream-1"), {"rtms_stream_id": "stream-1"}),
        ("POST /v1/streams/a%2F/reconnect", b"", ("reconnect", ODD_ID), {"rtms_stream_id": ODD_ID}),
        ("POST /v1/streams/oth/video", b'{"user_id": 7}', ("video", "other", "participant 7"), {"user_id": 7}),
        ("POST /v1/streams/oth/video", b'{"off": true}', ("video", "other", "off"), {"user_id": None}),
        ("POST /v1/streams/oth/video", b'{"auto": true}', ("video", "other", "auto"), {"user_id": None}),
        ("POST /v1/reload", b"", ("reload",), {"changed": []}),
        ("POST /v1/drain", b"", ("drain",), {"draining": True}),
        ("POST /v1/undrain", b"", ("undrain",), {"draining": False}),
        ("POST /v1/shutdown", b"", ("shutdown", False), {"stopping": True, "end_streams": False}),
        ("POST /v1/shutdown?end_streams=true", b"", ("shutdown", True), {"stopping": True, "end_streams": True}),
        ("DELETE /v1/recordings/old%2Fid", b"", ("remove", "old/id"), {"rtms_stream_id": "old/id"}),
        ("POST /v1/session/pause", b'{"id": "x"}', ("session", "pause", {"id": "x"}), {"action": "pause"}),
    ],
)
async def test_control_is_for_root_and_the_daemons_own_user(
    backend: FakeBackend, line: str, body: bytes, call: tuple[Any, ...], answered: object
) -> None:
    status, refusal = await ask(backend, line, body, caller=STRANGER)
    assert (status, refusal["code"], backend.calls) == (403, "not_permitted", [])
    with structlog.testing.capture_logs() as logged:
        assert await ask(backend, line, body, caller=Caller(pid=77, uid=0)) == (200, answered)
    assert [(line["event"], line["pid"], line["uid"]) for line in logged] == [("admin command", 77, 0)]
    assert await ask(backend, line, body, caller=OURSELVES) == (200, answered)
    assert backend.calls == [call, call]


# A cluster


class FakeCluster:
    """The other members have the streams `far-1` and `far-2`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def status(self) -> dict[str, Any]:
        return {"node": "a", "wrong": []}

    async def streams(self, *, include_ended: bool) -> dict[str, Any]:
        return {"streams": [], "silent": {}, "all": include_ended}

    async def drain(self, node: str) -> dict[str, Any]:
        self.calls.append(("drain", node))
        return {"nodes": [node]}

    async def undrain(self, node: str) -> dict[str, Any]:
        self.calls.append(("undrain", node))
        return {"nodes": [node]}

    async def move(self, prefix: str, node: str | None) -> dict[str, Any]:
        self.calls.append(("move", prefix, node))
        return {"node": node}

    async def gather(self, prefix: str) -> dict[str, Any]:
        self.calls.append(("gather", prefix))
        return {"node": "b"}

    async def elsewhere(self, command: str, prefix: str) -> dict[str, Any]:
        self.calls.append((command, resolve(prefix, ["far-1", "far-2"])))
        return {"from": "b"}

    async def doctor(self) -> Sequence[dict[str, Any]]:
        return []


CLUSTER_WRITES = [
    ("/v1/cluster/nodes/b.2/drain", b"", ("drain", "b.2"), {"nodes": ["b.2"]}),
    ("/v1/cluster/nodes/b/undrain", b"", ("undrain", "b"), {"nodes": ["b"]}),
    ("/v1/cluster/streams/a%2Fb/move", b"", ("move", "a/b", None), {"node": None}),
    ("/v1/cluster/streams/far/move", b'{"node": "b"}', ("move", "far", "b"), {"node": "b"}),
    ("/v1/cluster/streams/a%2Fb/gather", b"", ("gather", "a/b"), {"node": "b"}),
]


@pytest.mark.parametrize(("target", "body", "call", "answered"), CLUSTER_WRITES)
async def test_members_are_controlled_with_the_same_right(
    backend: FakeBackend, target: str, body: bytes, call: tuple[Any, ...], answered: object
) -> None:
    cluster = backend.cluster = FakeCluster()
    status, refusal = await ask(backend, f"POST {target}", body, caller=STRANGER)
    assert (status, refusal["code"], cluster.calls) == (403, "not_permitted", [])
    assert await ask(backend, f"POST {target}", body) == (200, answered)
    assert cluster.calls == [call]


async def test_the_cluster_is_open_to_anybody_on_the_socket(backend: FakeBackend) -> None:
    backend.cluster = FakeCluster()
    assert await ask(backend, "GET /v1/cluster", caller=STRANGER) == (200, {"node": "a", "wrong": []})
    status, answered = await ask(backend, "GET /v1/cluster/streams?all=1", caller=STRANGER)
    assert (status, answered["all"]) == (200, True)


@pytest.mark.parametrize("line", ["GET /v1/cluster", *(f"POST {target}" for target, *_ in CLUSTER_WRITES)])
async def test_without_a_cluster_its_requests_say_so(backend: FakeBackend, line: str) -> None:
    status, problem = await ask(backend, line)
    assert (status, problem["code"]) == (409, "refused_in_state")
    assert "[cluster]" in problem["detail"]


@pytest.mark.parametrize("body", [b"[]", b'{"nod": "b"}', b'{"node": 1}', b'{"node": ["b"]}'])
async def test_a_move_that_cannot_be_read_is_refused(backend: FakeBackend, body: bytes) -> None:
    cluster = backend.cluster = FakeCluster()
    status, problem = await ask(backend, "POST /v1/cluster/streams/far-1/move", body)
    assert (status, problem["code"], cluster.calls) == (400, "bad_request", [])


async def test_a_stream_that_is_not_here_is_looked_for_in_the_cluster(backend: FakeBackend) -> None:
    cluster = backend.cluster = FakeCluster()
    assert await ask(backend, "POST /v1/streams/far-1/stop") == (200, {"from": "b"})
    assert await ask(backend, "GET /v1/streams/oth") == (200, {"rtms_stream_id": "other"})
    status, problem = await ask(backend, "GET /v1/streams/stream")
    assert (status, problem["code"]) == (409, "ambiguous")
    status, problem = await ask(backend, "POST /v1/streams/far/reconnect")
    assert (status, problem["candidates"]) == (409, ["far-1", "far-2"])
    assert (await ask(backend, "GET /v1/streams/nobody/tap"))[0] == 404
    assert (await ask(backend, "POST /v1/streams/far-1/stop", caller=STRANGER))[0] == 403
    assert cluster.calls == [("stop", "far-1")]
    assert backend.calls == []


def test_every_command_that_is_not_a_get_demands_control() -> None:
    assert all((command.method == "GET") == (command.access is Access.READ) for command in COMMANDS)


# Refusals


@pytest.mark.parametrize(
    ("line", "body", "status", "code"),
    [
        ("GET /v1/streams/stream", b"", 409, "ambiguous"),
        ("GET /v1/streams/nobody", b"", 404, "no_such_stream"),
        ("POST /v1/streams/nobody/stop", b"", 404, "no_such_stream"),
        ("GET /v1/streams/", b"", 404, "no_such_stream"),
        ("GET /v1/streams/%ff", b"", 400, "bad_request"),
        ("GET /v1/streams?al=1", b"", 400, "bad_request"),
        ("GET /v1/streams?all=yes", b"", 400, "bad_request"),
        ("GET /v1/streams?all=1&all=1", b"", 400, "bad_request"),
        ("GET /v1/streams?all", b"", 400, "bad_request"),
        ("GET /v1/streams/stream-1/tap?media=smell", b"", 400, "bad_request"),
        ("GET /v1/streams/stream-1/tap?format=wav&user_id=5", b"", 409, "no_such_participant"),
        ("GET /v1/streams/other/tap", b"", 409, "refused_in_state"),
        ("GET /", b"", 404, "no_such_path"),
        ("GET *", b"", 404, "no_such_path"),
        ("GET v1/v1/status", b"", 404, "no_such_path"),
        ("GET /v1/%7Brtms_stream_id%7D", b"", 404, "no_such_path"),
        ("PUT /v1/status", b"", 405, "method_not_allowed"),
        ("POST /v1/session/explode", b"", 404, "no_such_path"),
        ("POST /v1/session/start", b"[]", 400, "bad_request"),
        ("POST /v1/session/start", b"{", 400, "bad_request"),
        ("POST /v1/session/start", b"[" * 60_000, 400, "bad_request"),
        *(("POST /v1/streams/oth/video", body, 400, "bad_request") for body in NO_CHOICES),
    ],
)
async def test_a_refusal_has_its_code(backend: FakeBackend, line: str, body: bytes, status: int, code: str) -> None:
    reported_status, problem = await ask(backend, line, body)
    assert (reported_status, problem["status"], problem["code"], backend.calls) == (status, status, code, [])
    assert problem["detail"]


async def test_an_ambiguous_prefix_is_refused_with_the_candidates(backend: FakeBackend) -> None:
    _, problem = await ask(backend, "GET /v1/streams/str")
    assert problem["candidates"] == ["stream-1", "stream-12"]


def test_a_wrong_method_is_refused_with_the_right_ones() -> None:
    with pytest.raises(AdminError) as caught:
        find("BREW", "/v1/drain")
    assert caught.value.reply().headers == {"allow": "POST"}


@pytest.mark.parametrize(
    ("failure", "status", "code", "more"),
    [
        (AdminError(Code.REFUSED_IN_STATE, "it ends already"), 409, "refused_in_state", {}),
        (ConfigError(["a: wrong", "b: wrong"]), 422, "bad_configuration", {"mistakes": ["a: wrong", "b: wrong"]}),
        (StorageError("disk full"), 500, "failed", {"detail": "disk full"}),
        (ZeroDivisionError("secret detail"), 500, "internal", {"detail": "a bug in rtmsd: its log has the traceback"}),
    ],
)
async def test_a_failing_command_is_reported_and_logged(
    backend: FakeBackend, failure: Exception, status: int, code: str, more: dict[str, Any]
) -> None:
    backend.failure = failure
    with structlog.testing.capture_logs() as logged:
        reported_status, problem = await ask(backend, "POST /v1/reload")
    assert (reported_status, problem["code"]) == (status, code)
    assert problem.items() >= more.items()
    assert (logged[-1]["event"], logged[-1]["code"]) == ("admin command refused", code)


@given(ids=st.sets(st.text(alphabet="ab", max_size=4), max_size=8), prefix=st.text(alphabet="ab", max_size=4))
def test_a_prefix_names_a_stream_exactly_when_no_other_begins_with_it(ids: set[str], prefix: str) -> None:
    matching = {one for one in ids if one.startswith(prefix)}
    try:
        found = resolve(prefix, ids)
    except AdminError as refusal:
        assert prefix not in ids
        assert refusal.code is (Code.AMBIGUOUS if len(matching) > 1 and prefix else Code.NO_SUCH_STREAM)
    else:
        assert found == prefix or (prefix and matching == {found})


def test_a_mistyped_beginning_suggests_the_stream() -> None:
    with pytest.raises(AdminError) as refusal:
        resolve("9f2d4e", {"9f2c4e6a", "53b27814"})
    assert refusal.value.detail.endswith("; did you mean 9f2c4e6a?")


@given(target=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
async def test_no_target_crashes_the_server(target: str) -> None:
    status, _ = await ask(FakeBackend(), "GET /v1/streams/" + target)
    assert status in (200, 400, 404, 409)


# On the socket


async def test_a_tap_begins_with_its_head_and_follows_the_recorder(backend: FakeBackend, tmp_path: Path) -> None:
    tap = "/v1/streams/stream-1/tap?media=audio&format=wav"
    async with serving(backend, tmp_path / "a.sock") as client, client.stream("GET", tap) as reply:
        assert (reply.status_code, reply.headers["content-type"]) == (200, "audio/wav")
        [listener] = backend.taps.listeners
        listener.audio(0, None, 1, b"live")
        listener.ended()
        heard = b"".join([part async for part in reply.aiter_bytes()])
        assert heard.startswith(b"RIFF")
        assert heard.endswith(b"live")
    assert backend.taps.listeners == []


async def test_a_reader_of_a_tap_that_leaves_is_forgotten(backend: FakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with serving(backend, path):
        async with await trio.open_unix_socket(path) as reader:
            await reader.send_all(b"GET /v1/streams/stream-1/tap HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.receive_some()).startswith(b"HTTP/1.1 200 ")
            backend.events.publish({"rtms_stream_id": "stream-1", "kind": "participant_join"})
            assert (
                b'{"media":"events","rtms_stream_id":"stream-1","kind":"participant_join"}\n'
                in await reader.receive_some()
            )
            assert len(backend.taps.listeners) == 1
        with trio.fail_after(60):
            while backend.taps.listeners:
                await trio.lowlevel.checkpoint()


async def test_the_connections_of_one_uid_are_limited(backend: FakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with serving(backend, path) as client:
        assert (await client.get("/v1/status")).status_code == 200
        held = [await trio.open_unix_socket(path) for _ in range(MAX_CONNECTIONS)]  # the client's is idle: it goes
        for stream in held:
            await stream.send_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        async with await trio.open_unix_socket(path) as one_more:
            assert b'"code":"too_many_connections"' in await read_all(one_more)
        await held.pop().aclose()
        with trio.fail_after(60):
            while (await ask_anew(path)).startswith(b"HTTP/1.1 503"):
                pass
        for stream in held:
            await stream.aclose()


async def test_idle_clients_give_way_to_new_ones(backend: FakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with serving(backend, path):
        held = [await trio.open_unix_socket(path) for _ in range(MAX_CONNECTIONS + 3)]
        with trio.fail_after(60):
            assert (await ask_anew(path)).startswith(b"HTTP/1.1 200")
            for stream in held[:3]:
                assert await read_all(stream) == b""
        for stream in held:
            await stream.aclose()


async def read_all(stream: trio.SocketStream) -> bytes:
    heard = b""
    with suppress(trio.BrokenResourceError):  # refused before it had asked
        while data := await stream.receive_some():
            heard += data
    return heard


async def ask_anew(path: Path) -> bytes:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return await read_all(stream)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_the_caller_is_identified_by_the_kernel(backend: FakeBackend, tmp_path: Path) -> None:
    client = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); s.connect('a.sock');"
        "os.setgid(65534); os.setuid(65534);"  # too late: the kernel noted who connected
        "t = socket.socket(socket.AF_UNIX); t.connect('a.sock')\n"
        "for one in (s, t):\n"
        "    one.sendall(b'POST /v1/drain HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "    print(one.makefile('rb').readline().split()[1].decode())"
    )
    path = tmp_path / "a.sock"
    async with serving(backend, path):
        await trio.Path(path).chmod(0o666)
        await trio.Path(tmp_path).chmod(0o755)
        asked = await trio.run_process([sys.executable, "-c", client, str(tmp_path)], capture_stdout=True)
    assert asked.stdout.split() == [b"200", b"403"]
    assert backend.calls == [("drain",)]


async def test_curl_works(backend: FakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with serving(backend, path):
        command = ["curl", "-sS", "--unix-socket", str(path), "-w", "%{http_code}", "http://x/v1/streams/stream"]
        asked = await trio.run_process(command, capture_stdout=True)
    assert asked.stdout.endswith(b"\n409")
    assert json.loads(asked.stdout.rpartition(b"\n")[0])["code"] == "ambiguous"
