"""Stops that name their stream and little else, and what a start says besides: kept as long as the stream is."""

import pytest

from rtmsd.commands import StartStream, StopStream, Verdict
from rtmsd.protocol.messages import SessionRef
from tests.streams.harness import SESSION, STREAM, Bench
from tests.streams.zoom import HOST, OTHER_HOST, T0

DETAILS = {"session_key": "room-7", "account_id": "Acct", "sip": {"vip": True}}


def bare_stop(reason: int) -> StopStream:
    return StopStream(
        product="session",
        session=SessionRef("session_id", ""),
        rtms_stream_id=STREAM,
        app="main",
        event_ts=None,
        stop_reason=reason,
    )


async def start_with_details(bench: Bench) -> None:
    start = StartStream(
        product="session",
        session=SESSION,
        rtms_stream_id=STREAM,
        server_urls=f"ws://{HOST}/signaling",
        app="main",
        event_ts=T0,
        details=DETAILS,
    )
    assert await bench.supervisor.accept(start) is Verdict.NEW


async def test_a_bare_stop_ends_a_live_stream(bench: Bench) -> None:
    await bench.up()
    assert await bench.supervisor.accept(bare_stop(6)) is Verdict.NEW
    await bench.until_gone()
    manifest = bench.manifest()
    assert (manifest["state"], manifest["stop_reason"], manifest["id"]) == ("ended", 6, SESSION.id)
    assert manifest["ended_ms"] >= manifest["started_ms"]
    assert await bench.supervisor.accept(bare_stop(6)) in {Verdict.DUPLICATE, Verdict.LATE}


async def test_a_bare_revocation_deletes_what_no_journal_knows(bench: Bench) -> None:
    await start_with_details(bench)
    await bench.until_up()
    await bench.stop()
    await bench.until_gone()
    await bench.journal.prune(now_ms=2**52)  # as if the state file had been lost
    assert bench.manifest()["details"] == DETAILS
    assert await bench.supervisor.accept(bare_stop(8)) is Verdict.NEW
    await bench.until_gone()
    manifest = bench.manifest()
    assert (manifest["state"], manifest["id"]) == ("revoked", SESSION.id)
    assert "details" not in manifest
    assert [path.name for path in bench.recording().iterdir()] == ["stream.json"]


async def test_details_are_shown_of_a_live_stream_and_known_to_the_journal(bench: Bench) -> None:
    await start_with_details(bench)
    await bench.until_up()
    assert bench.manifest()["details"] == DETAILS
    (row,) = await bench.journal.unfinished()
    assert row.details == DETAILS


@pytest.mark.parametrize("reason", [6, 8])
async def test_a_bare_stop_of_an_unknown_stream_leaves_a_tombstone(bench: Bench, reason: int) -> None:
    assert await bench.supervisor.accept(bare_stop(reason)) is Verdict.NEW
    await bench.until(lambda: not bench.supervisor.streams)
    assert await bench.supervisor.accept(bare_stop(reason)) is Verdict.LATE
    assert not list(bench.directory.glob("recordings/*/*"))


async def test_what_a_failover_says_besides_is_in_the_manifest_of_the_live_stream(bench: Bench) -> None:
    await start_with_details(bench)
    await bench.until_up()
    again = StartStream(
        product="session",
        session=SESSION,
        rtms_stream_id=STREAM,
        server_urls=f"ws://{OTHER_HOST}/signaling",
        app="main",
        event_ts=T0 + 60_000,
        details={"session_key": "room-8"},
    )
    assert await bench.supervisor.accept(again) is Verdict.NEW
    await bench.until(lambda: bench.manifest()["details"] == {**DETAILS, "session_key": "room-8"})
    assert bench.manifest()["state"] not in {"ended", "failed"}
