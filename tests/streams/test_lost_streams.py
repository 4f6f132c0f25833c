"""Streams that were not had: refused, given up, cut off or failed. All of them are seen, also after a restart."""

from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.commands import StartStream, StopStream, Verdict
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health
from rtmsd.errors import StorageError
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.sinks.hub import LiveHub
from rtmsd.state.journal import Journal, LocalJournal
from rtmsd.state.lost import MAX_LOST, Loss
from rtmsd.streams.lost import RECENT_MS, LostStreams, loss_of
from rtmsd.zoom_api import ZoomApi
from tests.streams.harness import STREAM, Bench, at_once, open_bench
from tests.streams.zoom import HOST, T0

SESSION = SessionRef("session_id", "session 1")


def start(name: str, **details: Any) -> StartStream:
    return StartStream(
        product="session",
        session=SESSION,
        rtms_stream_id=name,
        server_urls=f"ws://{HOST}/signaling",
        app="main",
        event_ts=T0,
        details=details,
    )


def desk(bench: Bench) -> Backend:
    """The daemon as seen from its admin socket."""

    def no_stop(*, end_streams: bool) -> None:
        raise AssertionError("nobody asked for it")

    health = Health(bench.supervisor.config, bench.supervisor, bench.writers)
    return Backend(bench.directory / "c.toml", bench.supervisor, health, ZoomApi(), events=LiveHub(), stop=no_stop)


def troubles(backend: Backend) -> dict[str, str]:
    backend.health.look()
    return {each["code"]: each["detail"] for each in backend.status()["degraded"]}


async def failing(backend: Backend) -> dict[str, str]:
    return {each["check"]: each["detail"] for each in await backend.doctor() if each["ok"] is False}


# Refused


async def test_a_refused_start_is_listed_and_degrades_until_it_is_taken_on(bench: Bench) -> None:
    backend = desk(bench)
    bench.supervisor.refuse_starts = "draining"
    for _ in range(2):
        assert await bench.supervisor.accept(start("late", session_key="Room 5")) is Verdict.REFUSED
    (listed,) = backend.streams(include_ended=True)
    assert (listed["rtms_stream_id"], listed["state"], listed["why"]) == ("late", "refused", "draining")
    assert listed["details"] == {"session_key": "Room 5"}
    assert listed["lost"]["times"] == 2
    assert backend.streams(include_ended=False) == []
    assert "late" in backend.ids()
    assert backend.stream("late")["lost"] == listed["lost"]
    assert "1 start answered with 503" in troubles(backend)["starts_refused"]
    assert "late" in (await failing(backend))["streams"]
    assert [event["kind"] for event in bench.events] == ["start_refused"] * 2, "`watch` shows it"
    bench.supervisor.refuse_starts = None
    await bench.supervisor.accept(start("late"))
    assert troubles(backend) == {}
    await bench.until_up(rtms_stream_id="late")
    assert [each["state"] for each in backend.streams(include_ended=True)] == ["active"]


async def test_a_start_that_the_journal_refuses_is_listed_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise StorageError("the state file: disk I/O error")

    monkeypatch.setattr(bench.journal, "record", refuse)
    with pytest.raises(StorageError):
        await bench.supervisor.accept(start("unsafe"))
    (listed,) = desk(bench).streams(include_ended=True)
    assert (listed["state"], listed["why"]) == ("refused", "the state file: disk I/O error")


async def test_of_a_revoked_stream_nothing_stays(bench: Bench) -> None:
    bench.supervisor.refuse_starts = "draining"
    await bench.supervisor.accept(start("secret", session_key="Room 5"))
    await bench.stop(StopReason.STREAM_REVOKED, "secret")
    assert bench.supervisor.lost.all() == []


async def test_of_a_stream_revoked_just_before_a_kill_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch) as first:
        first.supervisor.refuse_starts = "draining"
        await first.supervisor.accept(start("secret", session_key="Room 5"))
        await trio.sleep(1)  # for the state file
        stop = StopStream(
            product="session", session=SESSION, rtms_stream_id="secret", app="main", event_ts=T0 + 1, stop_reason=8
        )
        await first.journal.record(stop)  # and not a step further
    async with open_bench(tmp_path, monkeypatch) as second:
        await trio.sleep(2)
        assert second.supervisor.streams == {}
        assert second.supervisor.lost.all() == []
        assert await second.journal.lost_streams() == []


async def test_another_apps_revocation_makes_nothing_forgotten(bench: Bench) -> None:
    bench.zoom.down.add(HOST)
    await bench.start("ours")
    await bench.until_gone("ours")
    assert bench.supervisor.lost.all()
    bench.supervisor.config = attrs.evolve(
        bench.supervisor.config,
        apps=(*bench.supervisor.config.apps, attrs.evolve(bench.supervisor.config.apps[0], name="other")),
    )
    stop = StopStream(
        product="session", session=SESSION, rtms_stream_id="ours", app="other", event_ts=T0 + 9, stop_reason=8
    )
    assert await bench.supervisor.accept(stop) is Verdict.FOREIGN
    assert bench.supervisor.lost.all()


async def test_what_was_lost_is_known_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as first:
        first.supervisor.refuse_starts = "draining"
        await first.supervisor.accept(start("refused", session_key="Room 5"))
        first.supervisor.refuse_starts = None
        first.zoom.down.add(HOST)
        await first.start("gone")
        await first.until_gone("gone")
        before = first.supervisor.lost.all()
        await trio.sleep(1)  # for the state file
    async with open_bench(tmp_path, monkeypatch) as second:
        backend = desk(second)
        assert second.supervisor.lost.all() == before
        assert {each.loss for each in before} == {Loss.REFUSED, Loss.GIVEN_UP}
        assert [each["state"] for each in backend.streams(include_ended=True)] == ["refused"], "the other has files"
        assert "1 given up in the last hour, the latest (gone)" in troubles(backend)["streams_failed"]
        assert "gone" in (await failing(backend))["streams"]


# Given up, cut off


async def test_a_stream_given_up_counts_with_its_reason(bench: Bench) -> None:
    backend = desk(bench)
    await bench.up()
    bench.zoom.down.add(HOST)
    await bench.zoom.last("signaling").cut()
    await bench.until_gone()
    assert "1 given up in the last hour" in troubles(backend)["streams_failed"]
    assert 'rtmsd_streams_ended_total{reason="await_reconnection_timeout",state="ended"} 1.0' in str(
        backend.metrics().decode()
    )


async def test_a_session_that_was_over_meanwhile_was_not_given_up(bench: Bench) -> None:
    await bench.up()
    bench.zoom.down.add(HOST)
    await bench.zoom.last("signaling").cut()
    await bench.until_gone()
    await bench.stop(StopReason.MEETING_ENDED)
    assert bench.supervisor.lost.all() == []


async def test_a_stream_that_zoom_cut_off_is_no_normal_end(bench: Bench) -> None:
    await bench.up()
    await bench.stop(StopReason.INTERNAL_EXCEPTION)
    await bench.until_gone()
    assert "1 cut off in the last hour" in troubles(desk(bench))["streams_failed"]


@pytest.mark.parametrize("reason", [0, 1, 2, 3, 4, 5, 6, 7, 9, 20, 21, 22, 23, 25, 99])
def test_ends_that_somebody_wanted_are_no_loss(reason: int) -> None:
    assert loss_of("ended", reason) is None


# Why a stream is not connected


async def test_a_stream_that_cannot_connect_says_why_and_until_when(bench: Bench) -> None:
    backend = desk(bench)
    bench.zoom.down.add(HOST)
    await bench.start()
    await trio.sleep(5)
    (listed,) = backend.streams(include_ended=False)
    assert "refused" in listed["why"]
    assert listed["failed_attempts"] == 2
    assert listed["next_attempt_in_s"] == pytest.approx(4.0, abs=0.5)  # at 3 + 6
    assert listed["gives_up_in_s"] == pytest.approx(55, abs=0.5)
    assert STREAM in troubles(backend)["not_connected"]
    assert "gives up in" in troubles(backend)["not_connected"]
    bench.zoom.down.clear()
    await bench.until_up()
    (listed,) = backend.streams(include_ended=False)
    assert (listed["failed_attempts"], listed["next_attempt_in_s"], listed["gives_up_in_s"]) == (0, None, None)
    assert troubles(backend) == {}


async def test_media_that_cannot_connect_say_so_too(bench: Bench) -> None:
    bench.zoom.media_host = "media.zoom.test"
    await bench.up()
    bench.zoom.down.add("media.zoom.test")
    await bench.zoom.last("audio").cut()
    await trio.sleep(5)
    known = desk(bench).stream(STREAM)
    assert known["why"].startswith("audio: ")
    assert known["next_attempt_in_s"] == pytest.approx(4.0, abs=0.5)
    (audio,) = [link for link in known["links"] if link["media"] == ["audio"]]
    assert audio["gives_up_in_s"] == pytest.approx(60, abs=0.5)
    assert STREAM in troubles(desk(bench))["not_connected"]


# Bounds


@given(names=st.lists(st.integers(0, 400), max_size=600))
def test_it_remembers_so_many_and_the_newest(names: list[int]) -> None:
    now = [0]
    lost = LostStreams(cast("Journal", None), lambda: now[0])  # noting asks nothing of it
    for name in names:
        now[0] += 1
        lost.refused(start(str(name)), "draining")
    newest = list(dict.fromkeys(reversed([str(name) for name in names])))[:MAX_LOST]
    assert [each.rtms_stream_id for each in lost.all()] == newest[::-1]


async def test_an_hour_later_it_degrades_no_more_but_is_listed(tmp_path: Path) -> None:
    now = [0]
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=at_once)
    lost = LostStreams(journal, lambda: now[0])
    lost.refused(start("one"), "draining")
    await lost.flush()
    now[0] = RECENT_MS
    assert len(lost.recent(*Loss)) == 1
    now[0] += 1
    assert lost.recent(*Loss) == []
    again = LostStreams(journal, lambda: now[0])
    await again.load()
    assert set(again.unrecorded()) == {"one"}
    await journal.aclose()
