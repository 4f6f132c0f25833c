"""Workers that are dead, stopped or mad: the others answer, and say who is missing.

Time is virtual: no load of the machine makes a worker late, and one that hangs costs no time.
"""

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from rtmsd.admin.fleet.peers import ASK_S
from rtmsd.http.listening import open_unix
from tests.admin.fleet.crew import Backend, ended, live, workers

GARBAGE = (
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{]",
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\xff\xfe\x00\x00",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n17",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n[1]",
    b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}',
    b"HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"[" * 60000,
)


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """A worker that was stopped (SIGSTOP): the kernel goes on to take connections, and nobody answers."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(100)
        yield


@contextmanager
def dead(path: Path) -> Iterator[None]:
    """A worker that was killed: its socket's file is still there."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    yield


@contextmanager
def never_started(path: Path) -> Iterator[None]:
    yield


@asynccontextmanager
async def mad(path: Path, said: bytes) -> AsyncIterator[None]:
    """A worker that says this, whatever it is asked."""
    async with saying(path, lambda _: said):
        yield


@asynccontextmanager
async def saying(path: Path, to_say: Callable[[bytes], bytes], *, stays: bool = False) -> AsyncIterator[None]:
    """A worker that says what `to_say` makes of a request; with `stays` it then keeps the connection, in silence."""

    async def say(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(to_say(await stream.receive_some()))
            if stays:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listener = open_unix("test", path, mode=0o600, backlog=10)
        await nursery.start(partial(trio.serve_listeners, say, [listener]))
        yield
        nursery.cancel_scope.cancel()


SILENCES = (hanging, dead, never_started)


def backends() -> tuple[Backend, Backend]:
    return (
        Backend(live("alpha"), ended("gone", 5), ready=True, phase="serving", streams={"active": 1}, pid=1),
        Backend(live("beta"), ready=True, phase="serving", streams={"active": 1}, pid=2),
    )


@pytest.mark.parametrize("silence", SILENCES)
async def test_the_others_answer_and_name_who_is_silent(
    autojump_clock: MockClock, tmp_path: Path, silence: type
) -> None:
    with silence(tmp_path / "s3"):
        async with workers(tmp_path, *backends(), silent=["3"]) as crew:
            began_s = trio.current_time()
            status = await crew[0].json("GET /v1/status")
            assert trio.current_time() - began_s <= ASK_S
            listed = await crew[1].ask("GET /v1/streams")
            assert trio.current_time() - began_s <= 2 * ASK_S
            [*_, finding] = await crew[1].json("GET /v1/doctor")
            metrics = (await crew[1].ask("GET /v1/metrics")).body.decode()
    assert (status["silent"], status["streams"], status["ready"]) == (["3"], {"active": 2}, True)
    assert [(each["worker"], each["pid"], each["streams"]) for each in status["workers"]] == [
        *[("1", 1, 1), ("2", 2, 1)],
        ("3", None, None),
    ]
    [trouble] = status["degraded"]
    assert (trouble["code"], trouble["worker"]) == ("worker_silent", "3")
    assert trouble["detail"].startswith("worker 3 does not answer: ")
    assert [each["rtms_stream_id"] for each in json.loads(listed.body)] == ["alpha", "beta"]
    assert listed.headers["rtmsd-silent"] == "3"
    assert (finding["check"], finding["ok"]) == ("workers", False)
    assert 'rtmsd_workers{state="silent"} 1.0' in metrics
    assert 'rtmsd_degraded{code="worker_silent"} 1.0' in metrics


@pytest.mark.parametrize("silence", SILENCES)
async def test_nothing_is_carried_out_that_a_silent_worker_may_have_been_meant_for(
    autojump_clock: MockClock, tmp_path: Path, silence: type
) -> None:
    first, second = backends()
    with silence(tmp_path / "s3"):
        async with workers(tmp_path, first, second, silent=["3"]) as crew:
            for line in (
                "POST /v1/streams/unknown/stop",  # it may be there
                "POST /v1/streams/bet/stop",  # another that begins so may be there
                "POST /v1/streams/gone/stop",  # it may have been started again there
                "DELETE /v1/recordings/gone",  # so it may
                "GET /v1/streams/unknown",
            ):
                refused = await crew[0].ask(line)
                assert (refused.status, json.loads(refused.body)["code"]) == (504, "timed_out"), line
                assert json.loads(refused.body)["silent"] == ["3"]
            assert first.calls == second.calls == []
            assert (await crew[0].ask("POST /v1/streams/beta/stop")).status == 200
            assert (await crew[0].ask("POST /v1/streams/alpha/stop")).status == 200
            assert (await crew[0].ask("GET /v1/streams/bet")).status == 200
    assert (first.calls, second.calls) == ([("stop", "alpha")], [("stop", "beta")])


@pytest.mark.parametrize("silence", SILENCES)
async def test_the_parent_passes_an_order_on_to_who_is_silent(
    autojump_clock: MockClock, tmp_path: Path, silence: type
) -> None:
    with silence(tmp_path / "s3"):
        async with workers(tmp_path, *backends(), silent=["3"]) as crew:
            answered = await crew[0].json("POST /v1/drain")
            assert crew[0].parent.orders == [("drain", True)]
    assert (answered["draining"], list(answered["not_done"])) == (True, ["3"])


@pytest.mark.parametrize("said", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("line", ["GET /v1/status", "GET /v1/streams", "GET /v1/doctor", "GET /v1/metrics"])
async def test_garbage_is_silence(autojump_clock: MockClock, tmp_path: Path, line: str, said: bytes) -> None:
    async with mad(tmp_path / "s3", said), workers(tmp_path, *backends(), silent=["3"]) as crew:
        reply = await crew[0].ask(line)
    makes_sense = line == "GET /v1/status" and said.endswith(b'{"a":1}')  # of another version, perhaps
    assert reply.status == 200
    assert reply.headers.get("rtmsd-silent") == (None if makes_sense else "3")


@pytest.mark.parametrize("said", GARBAGE, ids=range(len(GARBAGE)))
async def test_a_mad_worker_owns_nothing(autojump_clock: MockClock, tmp_path: Path, said: bytes) -> None:
    async with mad(tmp_path / "s3", said), workers(tmp_path, *backends(), silent=["3"]) as crew:
        assert (await crew[0].ask("GET /v1/streams/beta")).status == 200
        assert (await crew[0].ask("GET /v1/streams/unknown")).status == 504
        assert (await crew[0].ask("POST /v1/drain")).status == 200


async def test_an_owner_that_stops_before_it_answers_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    backend = Backend(live("beta"))
    stopped = trio.Event()

    async def stop(rtms_stream_id: str) -> None:
        await stopped.wait()

    backend.stop = stop  # type: ignore[method-assign]
    async with workers(tmp_path, Backend(), backend) as crew:
        reply = await crew[0].json("POST /v1/streams/beta/stop")
    assert reply["code"] == "timed_out"
    assert reply["detail"] == "worker 2 has it: no reply in time; it may still carry it out"


NAMES = b'{"beta":{"live":true,"ended_ms":null}}'
HAS_IT = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(NAMES), NAMES)


@pytest.mark.parametrize("line", ["GET /v1/streams/beta/tap", "GET /v1/streams/beta", "POST /v1/streams/beta/stop"])
@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0", b"HTTP/1.1 409 No\r\ncontent-length: 9\r\n\r\n{"], ids=["nothing", "no HTTP", "half"]
)
async def test_an_owner_that_goes_mad_is_named(
    *, autojump_clock: MockClock, tmp_path: Path, line: str, said: bytes, stays: bool
) -> None:
    owner = saying(tmp_path / "s2", lambda asked: HAS_IT if b"/worker/names" in asked else said, stays=stays)
    async with owner, workers(tmp_path, Backend(), silent=["2"]) as crew:
        refused = await crew[0].ask(line)
    assert (refused.status, json.loads(refused.body)["code"]) == (504, "timed_out")
    assert json.loads(refused.body)["detail"].startswith("worker 2 has it: ")


async def test_an_owner_that_has_just_died_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    def last_words(_asked: bytes) -> bytes:
        (tmp_path / "s2").unlink()
        return HAS_IT

    async with saying(tmp_path / "s2", last_words), workers(tmp_path, Backend(), silent=["2"]) as crew:
        refused = await crew[0].json("POST /v1/streams/beta/stop")
    assert refused["code"] == "refused_in_state"
    assert "worker 2, which had it, has ended" in refused["detail"]


async def test_a_worker_that_comes_back_is_asked_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, *backends()) as crew, trio.open_nursery() as nursery:
        crew[1].kill()
        assert (await crew[0].json("GET /v1/status"))["silent"] == ["2"]
        await crew[1].start(nursery)
        assert (await crew[0].json("GET /v1/status"))["silent"] == []
        nursery.cancel_scope.cancel()
