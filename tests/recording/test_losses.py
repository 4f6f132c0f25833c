"""Losses around a kill, a half-open connection and an end: none is listed twice, forgotten or cut short."""

from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify

AUDIO = frozenset({"audio"})


def listed(found: dict[str, Any], start_ms: int) -> list[tuple[str, Any, int, int | None, str]]:
    """The gaps of a manifest, in milliseconds since the start."""
    return [
        (
            gap["media"],
            gap["user_id"],
            gap["from_ms"] - start_ms,
            None if gap["to_ms"] is None else gap["to_ms"] - start_ms,
            gap["cause"],
        )
        for gap in found["gaps"]
    ]


async def cut_and_back(studio: Any, tools: Any, *users: int, packets: int = 1) -> Any:
    """A recorder whose media connection was lost behind these packets of these users, and is there again."""
    recorder = await studio.open()
    number = recorder.connected("media", AUDIO)
    for user_id in users:
        for n in range(packets):
            recorder.media.audio(user_id, None, tools.T + 20 * n, tools.packet(n))
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    return recorder


# Holes within a file


async def with_a_hole(studio: Any, tools: Any) -> Any:
    """Killed when of an outage from 200 to 400 ms two packets had come out of Zoom's buffer, behind live ones."""
    T = tools.T
    first = await cut_and_back(studio, tools, 5, packets=10)
    first.heard(T + 400)
    for n in (20, 21, 12, 13):
        first.media.audio(5, None, T + 20 * n, tools.packet(n))
    await studio.writer.flush()
    return await studio.open()


async def test_a_hole_within_a_file_is_filled_after_a_restart(studio: Any, tools: Any) -> None:
    T = tools.T
    second = await with_a_hole(studio, tools)
    second.connected("media", AUDIO)
    for n in (10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 22):
        second.media.audio(5, None, T + 20 * n, tools.packet(n))
    second.heard(T + 460)
    second.ended(6, T + 460)
    await second.finish()
    assert tools.samples(second.directory / "audio/5.wav") == b"".join(tools.packet(n) for n in range(23))
    assert listed(tools.manifest(second), T) == []
    assert tools.manifest(second)["counters"]["duplicates"] == 2
    assert verify(second.directory) == []


async def test_a_hole_that_nothing_fills_stays_a_gap_over_restarts(studio: Any, tools: Any) -> None:
    T = tools.T
    await with_a_hole(studio, tools)
    third = await studio.open()
    third.connected("media", AUDIO)
    third.media.audio(5, None, T + 440, tools.packet(22))
    third.heard(T + 460)
    third.ended(6, T + 460)
    await third.finish()
    assert listed(tools.manifest(third), T) == [
        ("audio", None, 200, 240, "media_reconnect"),
        ("audio", None, 280, 400, "media_reconnect"),
    ]
    assert verify(third.directory) == []


async def test_what_a_killed_flush_had_brought_into_a_file_is_neither_missing_nor_taken_twice(
    studio: Any, tools: Any, tmp_path: Path
) -> None:
    T = tools.T
    first = await cut_and_back(studio, tools, 5)
    first.heard(T + 100)
    first.media.audio(5, None, T + 100, tools.packet(5))
    await studio.writer.flush()
    older = (first.directory / "stream.json").read_bytes()
    first.media.audio(5, None, T + 20, tools.packet(1))
    first.media.audio(5, None, T + 40, tools.packet(2))
    await studio.writer.flush()
    (first.directory / "stream.json").write_bytes(older)  # the manifest goes last: it was never written

    second = await studio.open()
    second.connected("media", AUDIO)
    for n in (1, 2, 3):
        second.media.audio(5, None, T + 20 * n, tools.packet(n))
    second.heard(T + 120)
    second.ended(6, T + 120)
    await second.finish()
    expected = [*(tools.packet(n) for n in range(4)), bytes(640), tools.packet(5)]
    assert tools.samples(second.directory / "audio/5.wav") == b"".join(expected)
    assert listed(tools.manifest(second), T) == [("audio", None, 80, 100, "media_reconnect")]
    assert tools.manifest(second)["counters"]["duplicates"] == 2


async def test_a_repeat_explains_nothing(studio: Any, tools: Any) -> None:
    """The oldest of many holes are forgotten: what comes for one of those cannot be kept, and stays missing."""
    T = tools.T
    recorder = await cut_and_back(studio, tools, 5)
    recorder.heard(T + 10_000)
    for n in range(80):
        recorder.media.audio(5, None, T + 10_000 + 200 * n, tools.packet(n))
    recorder.media.audio(5, None, T + 5000, tools.packet(1))
    assert listed(recorder.manifest(), T) == [("audio", None, 20, 10_000, "media_reconnect")]


# One loss, listed once


async def test_a_loss_of_everybody_is_not_listed_for_one_person_too(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await cut_and_back(studio, tools, 5, 6)
    recorder.media.audio(6, None, T + 100, tools.packet(2))  # and of 5 nothing, for the same time
    recorder.heard(T + 130)
    assert listed(recorder.manifest(), T) == [
        ("audio", None, 20, 100, "media_reconnect"),
        ("audio", 5, 100, 120, "media_reconnect"),
    ]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_loss_within_everybodys_is_listed_once_the_others_got_theirs(
    studio: Any, tools: Any, restarted: bool
) -> None:
    T = tools.T
    recorder = await cut_and_back(studio, tools, 5, 6)
    recorder.media.audio(6, None, T + 100, tools.packet(2))
    recorder.heard(T + 120)
    if restarted:
        await studio.writer.flush()
        recorder = await studio.open()
        recorder.connected("media", AUDIO)
    for n in (1, 2, 3, 4):
        recorder.media.audio(6, None, T + 20 * n, tools.packet(n))
    if restarted:
        recorder.media.audio(6, None, T + 120, tools.packet(6))
        recorder.heard(T + 140)
    recorder.ended(6, T + 140)
    await recorder.finish()
    assert ("audio", 5, 20, 120, "media_reconnect") in listed(tools.manifest(recorder), T)
    assert verify(recorder.directory) == []


async def test_a_kill_in_the_middle_of_a_burst_lists_nothing_twice(studio: Any, tools: Any) -> None:
    T = tools.T
    first = await cut_and_back(studio, tools, 5, 6)
    await studio.writer.flush()
    older = (first.directory / "stream.json").read_bytes()
    for n in range(1, 30):
        first.media.audio(5, None, T + 20 * n, tools.packet(n))
    await studio.writer.flush()
    (first.directory / "stream.json").write_bytes(older)  # killed before that of 6, and the manifest, were written

    second = await studio.open()
    assert listed(second.manifest(), T) == [
        ("audio", 6, 20, 600, "daemon_restart"),
        ("audio", None, 600, None, "daemon_restart"),
    ]


async def test_repair_joins_what_an_older_version_listed_twice(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, None, tools.T, tools.packet(0))
    recorder.ended(6, tools.T + 9000)
    await recorder.finish()
    path = recorder.directory / "stream.json"
    gap = '{"media":"audio","user_id":%s,"from_ms":%d,"to_ms":%d,"cause":"daemon_restart"}'
    twice = ",".join(
        gap % (who, tools.T + low, tools.T + high) for who, low, high in [(5, 20, 400), ("null", 100, 300)]
    )
    path.write_text(path.read_text().replace('"gaps": []', f'"gaps": [{twice}]'))
    assert [problem.kind for problem in verify(recorder.directory)] == ["gap"]
    assert repair(recorder.directory) == ["stream.json: overlapping gaps merged"]
    assert listed(tools.manifest(recorder), tools.T) == [
        ("audio", 5, 20, 100, "daemon_restart"),
        ("audio", None, 100, 300, "daemon_restart"),
        ("audio", 5, 300, 400, "daemon_restart"),
    ]
    assert verify(recorder.directory) == []


# The end, and a beginning that was cut short


async def test_an_end_appears_together_with_when_and_why(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.state("active")
    recorder.state("ended")  # decided; sockets are still being read
    await studio.writer.flush()
    found = tools.manifest(recorder)
    assert (found["state"], found["ended_ms"], found["stop_reason"]) == ("active", None, None)
    assert not [event for event in studio.events if event.get("state") == "ended"]
    recorder.ended(6, tools.T + 500)
    await studio.writer.flush()
    found = tools.manifest(recorder)
    assert (found["state"], found["ended_ms"], found["stop_reason"]) == ("ended", tools.T + 500, 6)
    assert [event["state"] for event in studio.events if event["kind"] == "stream_state"][-1] == "ended"


async def test_a_revoked_stream_has_no_names_while_it_is_being_deleted(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, "Ana", tools.T, tools.packet(0))
    recorder.state("revoked")
    recorder.ended(8, None, "revoked")
    assert "Ana" not in str(recorder.snapshot())
    await studio.writer.flush()  # one that comes before the deletion
    found = tools.manifest(recorder)
    assert (found["state"], found["participants"], found["files"]) == ("revoked", [], [])
    assert found["ended_ms"] is not None
    await recorder.delete()
    assert [path.name for path in recorder.directory.iterdir()] == ["stream.json"]


async def test_a_deletion_that_was_cut_short_is_finished_when_the_stream_starts_again(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    for number in range(100):
        recorder.media.audio(5, "Ana", tools.T + 20 * number, tools.packet(number))
    await studio.writer.flush()
    recorder.ended(8, None, "revoked")
    await recorder.flusher.flush()  # the receipt is there, the files are still
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, "Ana", tools.T + 9000, tools.packet(5))
    recorder.ended(6, tools.T + 10_000)
    await recorder.finish()
    assert tools.samples(recorder.directory / "audio" / "5.wav") == tools.packet(5)
    assert verify(recorder.directory) == []


async def test_a_stream_is_on_disk_as_soon_as_it_is_opened(
    studio: Any, tools: Any, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    recorder = await studio.open()
    await nursery.start(studio.writer.run)
    await trio.sleep(studio.settings.sync_interval_s / 9)
    assert tools.manifest(recorder)["state"] == "connecting"
    nursery.cancel_scope.cancel()


async def test_of_a_stream_that_was_cut_off_before_it_left_a_trace(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.interrupted("daemon_restart", ["audio", "transcript"])
    recorder.ended(6, tools.T + 5000)
    await recorder.finish()
    assert tools.manifest(recorder)["state"] == "ended"
    assert listed(tools.manifest(recorder), tools.T) == [
        ("audio", None, 0, 5000, "daemon_restart"),
        ("transcript", None, 0, 5000, "daemon_restart"),
    ]
    assert verify(recorder.directory) == []


async def test_media_that_are_asked_for_no_more_after_a_restart_are_a_gap(studio: Any, tools: Any) -> None:
    """It was connected, and the stream went on: without a gap its time would be missing without a word."""
    first = await studio.open()
    first.connected("media", AUDIO | {"transcript"})
    first.media.audio(5, None, tools.T, tools.packet(0))
    await first.suspend()
    studio.events.clear()
    second = await studio.open()
    second.interrupted("daemon_restart", AUDIO)
    second.connected("media", AUDIO)
    second.media.audio(5, None, tools.T + 20, tools.packet(1))
    second.heard(tools.T + 40)
    second.ended(6, tools.T + 5000)
    await second.finish()
    assert listed(tools.manifest(second), tools.T) == [("transcript", None, 20, 5000, "daemon_restart")]
    given_up = [event for event in studio.events if event["kind"] == "media_given_up"]
    assert [event["media"] for event in given_up] == [["transcript"]]
    assert verify(second.directory) == []


async def test_an_end_that_is_repeated_after_a_kill_opens_no_gap(studio: Any, tools: Any) -> None:
    first = await studio.open()
    first.connected("media", AUDIO)
    first.media.audio(5, None, tools.T, tools.packet(0))
    first.ended(6, tools.T + 500)
    await first.finish()  # and before the journal heard of it the daemon was killed
    second = await studio.open()
    second.interrupted("daemon_restart", ["audio", "transcript"])
    second.ended(6, tools.T + 700)
    await second.finish()
    assert listed(tools.manifest(second), tools.T) == []
    assert verify(second.directory) == []


async def test_the_first_words_of_somebody_may_be_lost_beside_another_who_is_heard(studio: Any, tools: Any) -> None:
    """Nothing of 6 came before the loss, and its packet for the time at which 5 is back was on its way."""
    recorder, T = await studio.open(), tools.T
    number = recorder.connected("media", AUDIO)
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, None, T + 40, tools.packet(1))
    for user_id in (5, 6):
        recorder.media.audio(user_id, None, T + 60, tools.packet(2))
    recorder.media.audio(7, None, T + 200, tools.packet(3))  # who only speaks later
    recorder.heard(T + 220)
    gaps = [(gap["user_id"], gap["from_ms"] - T, gap["to_ms"] - T, gap["cause"]) for gap in recorder.snapshot()["gaps"]]
    assert (6, 40, 60, "media_reconnect") in gaps
    assert 7 not in {user_id for user_id, *_ in gaps}


async def test_what_a_killed_process_had_written_of_one_it_may_have_lost_of_another(studio: Any, tools: Any) -> None:
    """Killed between the first writes of two participants: nothing says that 6 had been heard, too."""
    first, T = await studio.open(), tools.T
    first.connected("media", AUDIO)
    first.media.audio(5, None, T, tools.packet(1))
    await first.suspend()
    second = await studio.open()
    second.interrupted("daemon_restart", ["audio"])
    second.connected("media", AUDIO)
    for user_id in (5, 6):
        second.media.audio(user_id, None, T + 60, tools.packet(2))
    second.heard(T + 80)
    of_6 = [gap for gap in second.snapshot()["gaps"] if gap["user_id"] == 6]
    assert min(gap["from_ms"] - T for gap in of_6) == 0
    assert {gap["cause"] for gap in of_6} == {"daemon_restart"}


async def test_what_somebody_said_before_a_loss_is_not_explained_by_coming_back_first(studio: Any, tools: Any) -> None:
    recorder, T = await studio.open(), tools.T
    number = recorder.connected("media", AUDIO)
    for user_id in (5, 6):
        recorder.media.audio(user_id, None, T, tools.packet(1))
    for ms in (20, 40):  # those of 6 were on their way
        recorder.media.audio(5, None, T + ms, tools.packet(2))
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    for user_id in (6, 5):
        recorder.media.audio(user_id, None, T + 60, tools.packet(3))
    recorder.heard(T + 80)
    (gap,) = recorder.snapshot()["gaps"]
    assert (gap["user_id"], gap["from_ms"] - T, gap["to_ms"] - T, gap["cause"]) == (6, 20, 60, "media_reconnect")
