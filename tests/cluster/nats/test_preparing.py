"""Streams that are created, compared and refused; servers that are too old or too narrow."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.connection import Connection
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.jetstream import JetStream
from rtmsd.cluster.engines.nats.layout import Layout, Mismatch
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.demo.cluster.servers import Servers, running
from tests.cluster.contract import new_id, own
from tests.cluster.nats.conftest import Opener
from tests.cluster.nats.fake import FakeServer
from tests.cluster.nats.work import LIMIT_S, holds, member, until_answered


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"partitions": 3}, r"^cluster.partitions is 3 here, but the cluster was made with 2: use 2, or another"),
        ({"partitions": 1}, r"^cluster.partitions is 1 here, but the cluster was made with 2: "),
        ({"replicas": 3}, r"^cluster.replicas is 3 here, but the cluster was made with 1: "),
    ],
)
async def test_another_configuration_is_refused(
    one: Servers, opened: Opener, change: dict[str, int], words: str
) -> None:
    async with opened(one, "a"):
        pass
    with pytest.raises(Mismatch, match=words):
        async with opened(one, "b", **change):
            raise AssertionError


async def test_how_long_records_are_kept_may_change(one: Servers, opened: Opener, name: str) -> None:
    stream = f"{name.upper()}_00"
    for keep_log_s in (7200.0, 3600.0):
        async with opened(one, "a", keep_log_s=keep_log_s):
            config = (await _config(one, stream)) or {}
        assert config["max_age"] == keep_log_s * 1e9
    assert (config["discard"], config["num_replicas"], config["allow_direct"]) == ("new", 1, False)


async def test_a_survey_of_one_server_finds_all_streams_and_what_they_hold(one: Servers, opened: Opener) -> None:
    async with opened(one, "a", name="surveyed") as engine:
        before = await engine.survey(LIMIT_S)
        await engine.owners.claim(own(member("a", engine), new_id()), seen=0)
        after = await engine.survey(LIMIT_S)
    assert [store.name for store in before.stores] == ["SURVEYED_REVOKED", "SURVEYED_00", "SURVEYED_01"]
    assert (before.silent, [*before.behind()], [*before.short()]) == ([], [], [])
    assert after.bytes > before.bytes == 0


async def test_a_survey_without_an_answer_says_of_what(one: Servers, opened: Opener) -> None:
    async with opened(one, "a", name="unheard") as engine:
        found = await engine.survey(0)
    assert (found.stores, found.silent) == ([], ["UNHEARD_REVOKED", "UNHEARD_00", "UNHEARD_01"])


async def test_a_stream_that_is_not_ours_is_left_alone(one: Servers, opened: Opener) -> None:
    async with Connection.open(NatsSettings(node="x", servers=one.urls)) as connection:
        await JetStream(connection, answer_s=LIMIT_S).create({"name": "TAKEN_REVOKED", "subjects": ["elsewhere.>"]})
    with pytest.raises(Mismatch, match=r"TAKEN_REVOKED that rtmsd did not make: use another cluster.name"):
        async with opened(one, "a", name="taken"):
            raise AssertionError
    assert ((await _config(one, "TAKEN_REVOKED")) or {})["subjects"] == ["elsewhere.>"]


async def test_members_may_begin_all_at_once(one: Servers, opened: Opener) -> None:
    async def begin(node: str) -> None:
        async with opened(one, node, name="together"):
            pass

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(begin, f"m{number}")


@pytest.mark.parametrize("version", ["2.10.29", "1.4.0", "nonsense", "2"])
async def test_an_old_server_is_refused(version: str) -> None:
    async with FakeServer.running({"version": version}) as server:
        words = f"is version {version}: update it to 2.11 or newer"
        with pytest.raises(Mismatch, match=words):
            async with NatsEngine.open(NatsSettings(node="a", servers=(server.url,))):
                raise AssertionError


async def test_a_server_of_small_messages_is_refused(tmp_path: Path) -> None:
    words = "65536 bytes only: set its max_payload"
    with running(tmp_path, more="max_payload: 64KB") as servers, pytest.raises(Mismatch, match=words):
        async with NatsEngine.open(NatsSettings(node="a", servers=servers.urls)):
            raise AssertionError


async def test_a_server_that_turns_out_to_be_unfit_is_not_used_and_nothing_ends() -> None:
    """A member that records must not end for it."""
    async with (
        FakeServer.running({"version": "2.10.1"}) as old,
        NatsEngine.open(NatsSettings(node="a", servers=(old.url,)), start_s=0) as engine,
    ):
        await holds(lambda: "update it to 2.11" in str(engine.trouble))
        with pytest.raises(Away, match=r"update it to 2\.11"):
            await engine.owners.read(new_id())
        with trio.move_on_after(0.05) as waiting:
            await engine.log.revocations()
        assert waiting.cancelled_caught
        assert not engine.owners.is_up
        assert "MSG.GET" not in old.received[0]


async def test_who_is_thrown_out_connects_anew() -> None:
    """Errors after which nats-py gives up."""
    async with FakeServer.running({}, b"-ERR 'Unknown Protocol Operation'\r\n") as server:
        settings = NatsSettings(node="a", servers=(server.url,))
        async with Connection.open(settings) as connection, connection.subscribe("some.subject"):
            await holds(lambda: connection.number >= 2)
        assert len(server.received) >= 2
        assert all("CONNECT" in text for text in server.received[:2])


async def test_a_full_disk_is_an_engine_that_is_away(tmp_path: Path) -> None:
    with running(tmp_path, max_file="1M") as servers:
        settings = NatsSettings(node="a", servers=servers.urls, replicas=1, partitions=1, answer_s=1)
        async with Connection.open(settings) as connection, NatsEngine.open(settings) as engine:
            stream = JetStream(connection, answer_s=1)
            await _until_refused(lambda: stream.store("rtms.00.log.x", bytes(100_000)))
            assert (await until_answered(partial(engine.owners.read, new_id()))).token == 0
            assert engine.owners.is_up
            mine = own(member("a", engine), new_id())
            await _until_refused(lambda: engine.owners.claim(mine, seen=0))
            await holds(lambda: "insufficient resources" in (engine.trouble or ""))  # and that is told
            await until_answered(lambda: stream.purge("RTMS_00", "rtms.00.log.x"))
            await holds(lambda: engine.trouble is None)  # although nobody writes anything
            await until_answered(lambda: engine.owners.claim(mine, seen=0))


def test_a_probe_is_in_the_stream_of_what_was_refused() -> None:
    layout = Layout("rtms", 2)
    assert layout.probe_beside(layout.log("x"), "a") == f"rtms.{layout.partition('x')}.probe.a"
    assert layout.probe_beside(layout.revoked("x"), "a") == "rtms.00.probe.a"


def test_names_stay_apart() -> None:
    layout = Layout("rtms", 16)
    odd = "a.b*c>d /\r\n"
    subjects = [layout.own(odd), layout.row(odd), layout.log(odd), layout.part(odd, "n.3"), layout.revoked(odd)]
    assert all(set(subject).isdisjoint("*> \r\n/") for subject in subjects)
    assert [len(subject.split(".")) for subject in subjects] == [4, 4, 4, 6, 3]
    assert layout.all_partitions[int(layout.partition(odd))] == layout.partition(odd)
    assert len({layout.partition(f"stream-{number}") for number in range(1000)}) == 16


async def _until_refused(write: Callable[[], Awaitable[object]]) -> None:
    """Write until the servers have no room. On a busy machine one of them may not answer in time before that."""
    with trio.fail_after(LIMIT_S):
        while True:
            try:
                await write()
            except Away as exc:
                if re.search("(?i)insufficient|resource|maximum|exceeded", str(exc)):
                    return


async def _config(servers: Servers, stream: str) -> dict[str, object] | None:
    async with Connection.open(NatsSettings(node="x", servers=servers.urls)) as connection:
        info = await JetStream(connection, answer_s=LIMIT_S).info(stream)
    return None if info is None else info["config"]
