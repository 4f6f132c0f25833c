"""The reasons of a stream's state, and what it heard: kept in its files, for whoever looks later."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.streams.harness import Bench, open_bench
from tests.streams.zoom import OTHER_HOST, T0

UNAVAILABLE = 45
MEDIA_HOST = "media.zoom.test"


def events(bench: Bench, kind: str) -> list[dict[str, Any]]:
    """The lines of this kind in the stream's `events.jsonl`."""
    lines = (bench.recording() / "events.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def states(bench: Bench) -> list[tuple[str, str | None]]:
    return [(event["state"], event["why"]) for event in events(bench, "stream_state")]


# Why


async def test_a_stream_that_failed_says_why_in_its_files(bench: Bench) -> None:
    await bench.start(host="rtms.evil.test")
    await bench.until_gone()
    manifest = bench.manifest()
    assert manifest["state"] == "failed"
    assert "rtms.evil.test" in manifest["why"]
    assert states(bench) == [("connecting", None), ("failed", manifest["why"])]


async def test_a_bug_is_named_where_the_log_is_not_at_hand(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.up()

    def buggy(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("rtmsd.streams.drivers.messages.MessageWriter.write", buggy)
    await bench.until_gone()
    assert bench.manifest()["why"] == "a bug of ours (ZeroDivisionError), see the log"


async def test_each_change_of_state_says_what_it_came_from(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(5)
    await bench.zoom.last("signaling").cut()
    await trio.sleep(10)
    await bench.stop(6)
    await bench.until_gone()
    (first, _), (active, up), (recovering, lost), (again, _), (ended, stopped) = states(bench)
    assert (first, active, recovering, again, ended) == ("connecting", "active", "recovering", "active", "ended")
    assert (up, stopped) == ("media handshake", "stopped webhook")
    assert lost
    assert events(bench, "stream_state")[-1]["stop_reason"] == 6


async def test_a_stream_that_was_given_up_says_what_the_last_attempt_came_to(bench: Bench) -> None:
    bench.zoom.always["signaling"] = UNAVAILABLE
    await bench.start()
    await bench.until_gone()
    why = f"signaling not back within its window: handshake refused: status {UNAVAILABLE}"
    assert bench.manifest()["why"].startswith(why)


async def test_media_that_were_given_up_say_what_the_last_attempt_came_to(bench: Bench) -> None:
    bench.zoom.media_host = MEDIA_HOST
    await bench.up()
    bench.zoom.down.add(MEDIA_HOST)
    for name in ("audio", "transcript"):
        await bench.zoom.last(name).cut()
    await bench.until_gone()
    head, _, last = bench.manifest()["why"].partition(" not back within its window: ")
    assert head in {"audio", "transcript"}
    assert last == "" or MEDIA_HOST in last or "refused" in last, last


async def test_a_stream_taken_up_again_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.up()
        await trio.sleep(2)
    assert (bench.manifest()["state"], bench.manifest()["why"]) == ("recovering", "the daemon stops")
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.until_up()
        await trio.sleep(2)
        assert ("recovering", "taken up again") in states(bench)
        assert bench.manifest()["why"] == "media handshake"


# Webhooks in the files


def webhooks(bench: Bench) -> list[dict[str, Any]]:
    noted = events(bench, "webhook")
    return [{key: value for key, value in event.items() if key not in {"at_ms", "kind"}} for event in noted]


async def test_the_webhooks_of_a_stream_are_in_its_files(bench: Bench) -> None:
    await bench.up()
    await bench.start(event_ts=T0)  # a retry: nothing new
    await trio.sleep(5)
    await bench.interrupt(event_ts=T0 + 1000)
    await bench.start(host=OTHER_HOST, event_ts=T0 + 5000)
    await bench.until(lambda: bench.zoom.last("signaling").host == OTHER_HOST)
    await bench.until_up()
    await bench.stop(6, event_ts=T0 + 20_000)
    await bench.until_gone()
    assert webhooks(bench) == [
        {"zoom_ms": T0, "event": "rtms_started", "app": "main"},
        {"zoom_ms": T0 + 1000, "event": "rtms_interrupted", "app": "main"},
        {"zoom_ms": T0 + 5000, "event": "rtms_started", "app": "main"},
        {"zoom_ms": T0 + 20_000, "event": "rtms_stopped", "app": "main", "stop_reason": 6},
    ]
    assert [event["event"] for event in bench.events if event["kind"] == "webhook"] == [
        each["event"] for each in webhooks(bench)
    ]


async def test_webhooks_that_come_while_the_files_are_opened_are_in_them(bench: Bench) -> None:
    await bench.start(event_ts=T0)
    await bench.stop(6, event_ts=T0 + 500)
    await bench.until_gone()
    assert [(each["event"], each["zoom_ms"]) for each in webhooks(bench)] == [
        ("rtms_started", T0),
        ("rtms_stopped", T0 + 500),
    ]


async def test_a_stream_taken_up_again_hears_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        async with open_bench(tmp_path, monkeypatch) as bench:
            if not bench.supervisor.streams:
                await bench.start()
            await bench.until_up()
            await trio.sleep(2)
    assert [each["event"] for each in webhooks(bench)] == ["rtms_started"]


# What was agreed on


async def test_other_media_than_asked_for_are_logged_loudly_and_once(bench: Bench) -> None:
    bench.zoom.grants["audio"] = {"sample_rate": 3, "data_opt": 1, "send_rate": 100}
    await bench.up()
    bench.stream().reconnect()
    await bench.until(lambda: len(bench.zoom.hellos("audio")) == 2)
    await bench.until_up()
    expected = {("audio.sample_rate", 1, 3), ("audio.data_opt", 2, 1)}
    logged = bench.logged("Zoom sends other media than was asked for")
    assert [line["log_level"] for line in logged] == ["error", "error"]
    assert {(line["field"], line["asked"], line["got"]) for line in logged} == expected
    await bench.stop(6)
    await bench.until_gone()
    written = events(bench, "media_changed")
    assert {(line["field"], line["asked"], line["got"]) for line in written} == expected
    assert len(written) == 2
