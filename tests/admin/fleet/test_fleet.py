"""Commands at any worker: carried out by whom they concern, for all, in the name of who asked.

Time is virtual: no load of the machine makes a worker late.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from trio.testing import MockClock

from rtmsd.admin.commands import COMMANDS, Command, Spread
from rtmsd.admin.fleet.local import COUNTERS, NAMES
from rtmsd.admin.fleet.peers import CALLER_FIELD, Peers
from rtmsd.admin.messages import Access, AdminError, Code
from rtmsd.errors import ConfigError
from rtmsd.http.messages import HttpRequest, Reply
from tests.admin.fleet.crew import OURSELVES, STRANGER, Backend, ended, live, workers
from tests.admin.test_admin_server import FakeCluster


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.spread is Spread.MERGE], ids=lambda each: each.name
)
async def test_each_command_for_all_names_who_is_in_its_answer(
    autojump_clock: MockClock, tmp_path: Path, command: Command
) -> None:
    async with workers(tmp_path, Backend(), Backend(), silent=["3"]) as crew:
        if command.name == "events":
            with await crew[0].open(command.path) as reply:
                assert json.loads(await reply.chunk() or b"").items() >= {"kind": "worker", "worker": "3"}.items()
            return
        answered = await crew[1].ask(f"GET {command.path}")
    assert (answered.headers["rtmsd-workers"], answered.headers["rtmsd-silent"]) == ("1 2 3", "3")


def test_what_one_worker_does_names_its_stream() -> None:
    owned = [command for command in COMMANDS if command.spread is Spread.OWNER]
    assert all("{rtms_stream_id}" in command.path or "{recording}" in command.path for command in owned)


@pytest.mark.parametrize("asked", [0, 1, 2])
@pytest.mark.parametrize(
    ("line", "body", "call"),
    [
        ("POST /v1/streams/beta/stop", b"", ("stop", "beta-1")),
        ("POST /v1/streams/beta-1/reconnect", b"", ("reconnect", "beta-1")),
        ("POST /v1/streams/b/video", b'{"user_id": 7}', ("video", "beta-1", "participant 7")),
        ("DELETE /v1/recordings/beta-1", b"", ("remove", "beta-1")),
    ],
)
async def test_the_owner_carries_it_out(
    *, autojump_clock: MockClock, tmp_path: Path, asked: int, line: str, body: bytes, call: tuple[Any, ...]
) -> None:
    backends = Backend(live("alpha")), Backend(live("beta-1")), Backend(ended("gamma", 5))
    async with workers(tmp_path, *backends) as crew:
        with structlog.testing.capture_logs() as logged:
            reply = await crew[asked].ask(line, body)
        assert reply.status == 200, reply
    assert [backend.calls for backend in backends] == [[], [call], []]
    assert [(entry["event"], entry["uid"], entry["pid"]) for entry in logged] == [("admin command", os.geteuid(), 77)]


async def test_a_stream_says_which_worker_has_it(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, Backend(live("alpha")), Backend(live("beta"))) as crew:
        assert (await crew[0].json("GET /v1/streams/beta"))["worker"] == "2"
        assert (await crew[1].json("GET /v1/streams/beta"))["worker"] == "2"


async def test_an_id_with_odd_characters_reaches_its_owner(autojump_clock: MockClock, tmp_path: Path) -> None:
    odd = "a/b+c=?%2F é"
    backend = Backend(live(odd))
    async with workers(tmp_path, Backend(), backend) as crew:
        reply = await crew[0].json("POST /v1/streams/a%2Fb/stop")
    assert reply == {"rtms_stream_id": odd}
    assert backend.calls == [("stop", odd)]


async def test_rights_are_checked_before_anything_is_passed_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    backends = Backend(live("alpha")), Backend(live("beta"))
    async with workers(tmp_path, *backends) as crew:
        for line in ("POST /v1/streams/beta/stop", "POST /v1/drain", "POST /v1/reload", "POST /v1/shutdown"):
            refused = await crew[0].ask(line, caller=STRANGER)
            assert (refused.status, json.loads(refused.body)["code"]) == (403, "not_permitted")
        assert crew[0].parent.orders == []
    assert [backend.calls for backend in backends] == [[], []]


async def test_nobody_speaks_for_another_at_the_public_socket(autojump_clock: MockClock, tmp_path: Path) -> None:
    backends = Backend(live("alpha")), Backend(live("beta"))
    pretending = [(CALLER_FIELD.encode(), b"0 1")]
    async with workers(tmp_path, *backends) as crew:
        for target in ("/v1/streams/alpha/stop", "/v1/streams/beta/stop", "/v1/shutdown", "/v1/drain"):
            request = HttpRequest(method="POST", target=target, headers=pretending)
            refused = await crew[0].fleet.answer(STRANGER, request)
            assert isinstance(refused, Reply)
            assert refused.status == 403
        for target in (NAMES, COUNTERS):
            request = HttpRequest(method="GET", target=target, headers=pretending)
            unknown = await crew[0].fleet.answer(OURSELVES, request)
            assert isinstance(unknown, Reply)
            assert unknown.status == 404
    assert [backend.calls for backend in backends] == [[], []]


async def test_a_worker_checks_again_for_whom_it_acts(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The one that passes it on may be an earlier version."""
    backend = Backend(live("beta"))
    async with workers(tmp_path, Backend(), backend) as crew:
        request = HttpRequest(method="POST", target="/v1/streams/beta/stop")
        reply = await Peers({"2": crew[1].private}).ask("2", request, STRANGER)
    assert (reply.status, backend.calls) == (403, [])


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize(
    ("prefix", "status", "code"),
    [("same", 409, "ambiguous"), ("same-1", 200, None), ("other", 404, "no_such_stream"), ("", 404, "no_such_stream")],
)
async def test_a_beginning_is_ambiguous_across_workers(
    *, autojump_clock: MockClock, tmp_path: Path, asked: int, prefix: str, status: int, code: str | None
) -> None:
    async with workers(tmp_path, Backend(live("same-1")), Backend(live("same-12"), live("zeta"))) as crew:
        reply = await crew[asked].ask(f"GET /v1/streams/{prefix}")
    answered = json.loads(reply.body)
    assert (reply.status, answered.get("code")) == (status, code)
    if code == "ambiguous":
        assert answered["candidates"] == ["same-1", "same-12"]


async def test_a_mistyped_beginning_suggests_a_stream_of_another_worker(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with workers(tmp_path, Backend(), Backend(live("9f2c4e6a"))) as crew:
        assert (await crew[0].json("GET /v1/streams/9f2d4e"))["detail"].endswith("; did you mean 9f2c4e6a?")


async def test_of_a_stream_that_two_workers_know_the_living_one_is_meant(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    earlier, now = Backend(ended("alpha", 9)), Backend(live("alpha"))
    async with workers(tmp_path, earlier, now, Backend(ended("alpha", 5))) as crew:
        for worker in crew:
            await worker.ask("POST /v1/streams/alpha/stop")
    assert (earlier.calls, len(now.calls)) == ([], 3)


async def test_a_recording_that_nobody_writes_is_removed_by_whoever_is_asked(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    asked, other = Backend(), Backend(ended("alpha", 5))
    async with workers(tmp_path, asked, other) as crew:
        assert (await crew[0].ask("DELETE /v1/recordings/alpha")).status == 200
    assert (asked.calls, other.calls) == ([("remove", "alpha")], [])


async def test_a_refusal_of_the_owner_is_its_own(autojump_clock: MockClock, tmp_path: Path) -> None:
    backend = Backend(live("beta"))
    backend.failure = AdminError(Code.NOT_IN_STREAM, "no participant 7", participants=["8"])
    async with workers(tmp_path, Backend(), backend) as crew:
        reply = await crew[0].ask("POST /v1/streams/beta/video", b'{"user_id": 7}')
    assert (reply.status, reply.content_type) == (404, "application/problem+json")
    assert json.loads(reply.body)["participants"] == ["8"]


# All carry it out


@pytest.mark.parametrize(
    ("line", "call", "order"),
    [
        ("POST /v1/drain", ("drain",), ("drain", True)),
        ("POST /v1/undrain", ("undrain",), ("drain", False)),
        ("POST /v1/reload", ("reload",), "reload"),
    ],
)
async def test_all_carry_it_out_and_the_parent_keeps_it(
    autojump_clock: MockClock, tmp_path: Path, line: str, call: tuple[Any, ...], order: object
) -> None:
    backends = Backend(), Backend(), Backend()
    async with workers(tmp_path, *backends) as crew:
        with structlog.testing.capture_logs() as logged:
            answered = await crew[1].json(line)
        assert answered["not_done"] == {}
        assert [worker.parent.orders for worker in crew] == [[], [order], []]
    assert [backend.calls for backend in backends] == [[call]] * 3
    assert {entry["pid"] for entry in logged} == {77}


async def test_a_mistake_in_the_file_changes_nothing_anywhere(autojump_clock: MockClock, tmp_path: Path) -> None:
    asked, other = Backend(), Backend()
    asked.failure = ConfigError(["media.types: none"])
    async with workers(tmp_path, asked, other) as crew:
        reply = await crew[0].ask("POST /v1/reload")
        assert crew[0].parent.orders == []
    assert (reply.status, json.loads(reply.body)["mistakes"], other.calls) == (422, ["media.types: none"], [])


async def test_changes_that_several_found_are_told_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    first, second = Backend(), Backend()
    first.changed = [{"path": "log.level"}]
    second.changed = [{"path": "log.level"}, {"path": "media.types"}]
    async with workers(tmp_path, first, second) as crew:
        answered = await crew[0].json("POST /v1/reload")
    assert answered["changed"] == [{"path": "log.level"}, {"path": "media.types"}]


async def test_a_worker_that_refuses_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    other = Backend()
    other.failure = ConfigError(["media.types: none"])
    async with workers(tmp_path, Backend(), other) as crew:
        answered = await crew[0].json("POST /v1/reload")
    assert answered["not_done"] == {"2": "it refused: the configuration is wrong"}


# Whoever is asked


@pytest.mark.parametrize(
    "line", ["POST /v1/shutdown", "POST /v1/session/pause", "GET /v1/config", "GET /v1/recordings"]
)
async def test_what_is_shared_is_done_once(autojump_clock: MockClock, tmp_path: Path, line: str) -> None:
    asked, other = Backend(), Backend()
    async with workers(tmp_path, asked, other) as crew:
        assert (await crew[0].ask(line, b"{}")).status == 200
    assert len(asked.calls) == (line.startswith("POST"))
    assert other.calls == []


def test_reading_never_changes_anything() -> None:
    assert {command.spread for command in COMMANDS if command.access is Access.READ} <= {
        Spread.ANY,
        Spread.MERGE,
        Spread.OWNER,
    }


async def test_a_stream_that_no_worker_has_is_looked_for_in_the_cluster(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    backends = Backend(live("alpha")), Backend(live("beta-1"))
    cluster = backends[0].cluster = FakeCluster()
    async with workers(tmp_path, *backends) as crew:
        assert await crew[0].json("POST /v1/streams/far-1/stop") == {"from": "b"}
        assert await crew[0].json("POST /v1/streams/beta/stop") == {"rtms_stream_id": "beta-1"}
        assert (await crew[1].json("POST /v1/streams/far-1/stop"))["code"] == "no_such_stream"
        assert await crew[0].json("GET /v1/cluster") == {"node": "a", "wrong": []}
    assert cluster.calls == [("stop", "far-1")]
    assert backends[1].calls == [("stop", "beta-1")]


async def test_a_silent_worker_may_have_it_as_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    backend = Backend(live("alpha"))
    cluster = backend.cluster = FakeCluster()
    async with workers(tmp_path, backend, silent=["2"]) as crew:
        assert (await crew[0].json("POST /v1/streams/far-1/stop"))["code"] == "timed_out"
    assert cluster.calls == []
