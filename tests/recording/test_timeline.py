"""Courses of a stream on its timeline, and the gaps and pauses that come of them."""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.schema import manifest_from_json, new_manifest
from rtmsd.recording.timeline.resuming import resume_timeline
from rtmsd.recording.timeline.timeline import Timeline
from rtmsd.recording.verify.times import check_gaps, check_tiling, verify_manifest

T = 1_790_000_000_000


def gaps(timeline: Timeline) -> list[tuple[int, float | None, str]]:
    listed, _ = timeline.listed()
    return [(gap.from_ms - T, None if gap.to_ms == math.inf else gap.to_ms - T, gap.cause) for gap in listed]


def cut(timeline: Timeline, number: int, at_ms: int, cause: str = "media_reconnect") -> int:
    """Media is lost with everything heard up to `at_ms`, and connected again."""
    timeline.lost(number, T + at_ms, cause, "cut")
    return timeline.connected("media", {"audio"})


def connected() -> tuple[Timeline, int]:
    timeline = Timeline(T)
    timeline.connected("signaling", ())
    return timeline, timeline.connected("media", {"audio"})


def test_a_gap_lasts_until_zoom_speaks_again() -> None:
    timeline, number = connected()
    timeline.lost(number, T + 10_000, "media_reconnect", "reset")
    assert gaps(timeline) == [(10_000, None, "media_reconnect")]
    timeline.connected("media", {"audio"})
    timeline.heard(T + 14_000)
    assert gaps(timeline) == [(10_000, 14_000, "media_reconnect")]
    assert [*timeline.connections][-1].opened_ms == T + 14_000


def test_the_first_packet_soon_after_moves_the_end_of_the_gap() -> None:
    timeline, number = connected()
    cut(timeline, number, 10_000)
    timeline.heard(T + 14_000)
    timeline.covered("audio", 1, T + 14_300, T + 14_320)
    assert gaps(timeline) == [(10_000, 14_300, "media_reconnect")]
    timeline.covered("audio", 1, T + 14_600, T + 14_620)
    assert gaps(timeline) == [(10_000, 14_300, "media_reconnect")]


def test_buffered_packets_close_a_gap() -> None:
    timeline, number = connected()
    cut(timeline, number, 10_000)
    for start_ms in range(10_000, 12_000, 100):
        timeline.covered("audio", 1, T + start_ms, T + start_ms + 100)
    timeline.heard(T + 14_000)
    assert gaps(timeline) == [(12_000, 14_000, "media_reconnect")]
    for start_ms in range(12_000, 14_000, 100):
        timeline.covered("audio", 1, T + start_ms + 7, T + start_ms + 107)
    assert gaps(timeline) == []
    assert [*timeline.connections][-1].opened_ms == T + 10_000


def test_what_buffered_packets_leave_out_stays_missing() -> None:
    timeline, number = connected()
    cut(timeline, number, 10_000)
    timeline.heard(T + 14_000)
    timeline.covered("audio", 1, T + 11_000, T + 12_000)
    timeline.covered("audio", 2, T + 12_015, T + 13_000)
    assert gaps(timeline) == [(10_000, 11_000, "media_reconnect"), (13_000, 14_000, "media_reconnect")]


def test_a_gap_keeps_its_first_cause_while_nothing_comes() -> None:
    timeline, number = connected()
    timeline.heard(T + 9_000, number)
    again = cut(timeline, number, 10_000, "server_failover")
    timeline.lost(again, T + 10_000, "signaling_reconnect", "again")
    timeline.connected("media", {"audio"})
    timeline.heard(T + 20_000)
    assert gaps(timeline) == [(10_000, 20_000, "server_failover")]


def test_media_lost_just_before_signaling_have_its_cause() -> None:
    timeline, number = connected()
    timeline.lost(number, T + 10_000, "media_reconnect", "reset")
    timeline.same_outage("signaling_reconnect")
    assert gaps(timeline) == [(10_000, None, "signaling_reconnect")]


def test_a_pause_is_no_gap() -> None:
    timeline, number = connected()
    timeline.lost(number, T + 10_000, "media_reconnect", "reset")
    timeline.paused(T + 12_000)
    timeline.resumed(T + 15_000)
    timeline.connected("media", {"audio"})
    timeline.heard(T + 20_000)
    assert gaps(timeline) == [(10_000, 12_000, "media_reconnect"), (15_000, 20_000, "media_reconnect")]


def test_media_may_overtake_the_word_that_a_pause_ended() -> None:
    timeline = Timeline(T)
    timeline.paused(T + 1_000)
    timeline.resumed(T + 20_500, by_now=True)  # the first packets after it end here
    assert [(pause.from_ms, pause.to_ms) for pause in timeline.pauses.entries()] == [(T + 1_000, T + 20_500)]
    timeline.resumed(T + 20_000)
    assert [(pause.from_ms, pause.to_ms) for pause in timeline.pauses.entries()] == [(T + 1_000, T + 20_000)]
    timeline.resumed(T + 20_100)  # said again, later
    assert [(pause.from_ms, pause.to_ms) for pause in timeline.pauses.entries()] == [(T + 1_000, T + 20_000)]


def test_a_word_long_after_the_end_of_a_pause_does_not_prolong_it() -> None:
    timeline = Timeline(T)
    timeline.paused(T + 1_000)
    timeline.resumed(T + 20_500, by_now=True)
    timeline.resumed(T + 90_000)
    assert [(pause.from_ms, pause.to_ms) for pause in timeline.pauses.entries()] == [(T + 1_000, T + 20_500)]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("is_paused", "expected"),
    [(False, [(6_000, 20_000, "signaling_reconnect")]), (True, [(25_000, 30_000, "dropped")])],
)
def test_a_pause_in_which_signaling_is_lost_may_have_ended_before_zoom_says_so(
    is_paused: bool, expected: list[tuple[int, int, str]], restarted: bool
) -> None:
    timeline, number = connected()
    timeline.heard(T + 5_000)
    timeline.paused(T + 5_000)
    timeline.heard(T + 6_000)
    timeline.lost(number, T + 5_000, "signaling_reconnect", "reset")
    timeline.lost(1, None, "signaling_reconnect", "reset")
    for _ in range(1 + restarted):
        if restarted:
            timeline = resume_timeline(manifest_from_json(manifest(timeline, "active", None)), T + 5_000)
        timeline.connected("signaling", ())
        timeline.connected("media", {"audio"})
    timeline.heard(T + 20_000)
    if is_paused:
        timeline.paused(T + 20_000)
        timeline.resumed(T + 25_000)
        timeline.missing("audio", None, T + 25_000, T + 30_000, "dropped")
    else:
        timeline.resumed(T + 20_000)
    assert gaps(timeline) == expected


def test_a_dead_signaling_connection_does_not_prolong_a_pause_to_the_end() -> None:
    timeline, number = connected()
    timeline.heard(T + 5_000)
    timeline.paused(T + 5_000)
    timeline.lost(number, T + 5_000, "media_reconnect", "reset")
    timeline.ended(T + 60_000, None)
    assert gaps(timeline) == [(5_000, 60_000, "media_reconnect")]


def test_sockets_that_close_as_part_of_the_end_make_no_gap() -> None:
    timeline, number = connected()
    timeline.lost(number, T + 10_000, "media_reconnect", "closed")
    timeline.heard(T + 11_000)
    timeline.ended(T + 11_000, T + 10_000, closing=[number])
    assert gaps(timeline) == []
    assert [*timeline.connections][-1].closed_ms == T + 11_000


def test_a_loss_before_the_end_that_zoom_lived_through_is_a_gap() -> None:
    timeline, number = connected()
    timeline.lost(number, T + 10_000, "media_reconnect", "closed")
    timeline.heard(T + 11_000)
    timeline.ended(T + 12_000, T + 10_000, closing=[number])
    assert gaps(timeline) == [(10_000, 12_000, "media_reconnect")]


def test_sockets_that_were_lost_some_time_before_the_end_are_no_part_of_it() -> None:
    timeline, number = connected()
    timeline.lost(number, T + 10_000, "media_reconnect", "closed")
    timeline.ended(T + 14_000, T + 10_000)
    assert gaps(timeline) == [(10_000, 14_000, "media_reconnect")]


def dead_from(silent_ms: int) -> Timeline:
    """Signaling lives on; of media nothing was heard for so long before the end, and the socket never closed."""
    timeline, number = connected()
    timeline.heard(T + 60_000 - silent_ms, number)
    for time_ms in range(60_000 - silent_ms, 60_000, 1_000):
        timeline.heard(T + time_ms)
    timeline.ended(T + 60_000, None)
    assert not list(check_tiling(manifest(timeline, "ended", T + 60_000)))
    return timeline


def test_a_connection_that_was_dead_before_the_end_leaves_a_gap() -> None:
    timeline = dead_from(20_000)
    assert gaps(timeline) == [(40_000, 60_000, "media_reconnect")]
    assert [*timeline.connections][-1].why == "silent before the end"


def test_silence_before_the_end_in_which_no_keep_alive_was_due_is_no_gap() -> None:
    assert gaps(dead_from(10_000)) == []


@pytest.mark.parametrize("media", ["audio", "chat"])
def test_media_are_a_sign_of_life_whatever_time_they_are_of(media: str) -> None:
    timeline = Timeline(T)
    timeline.connected("signaling", ())
    timeline.connected("media", {media})
    arrived = itertools.count()
    for time_ms in range(0, 60_000, 1_000):
        timeline.heard(T + time_ms)
        timeline.connections.brought(
            lambda media: T + 3_000 if media == ("audio",) else None, lambda media: next(arrived), timeline.clock_ms
        )
    timeline.ended(T + 60_000, T + 3_000)
    assert gaps(timeline) == []


def test_a_socket_that_closes_with_the_end_was_dead_if_it_was_silent_for_too_long() -> None:
    timeline, number = connected()
    timeline.heard(T + 10_000, number)
    timeline.lost(number, T + 10_000, "media_reconnect", "closed")
    timeline.ended(T + 40_000, None, closing=[number])
    assert gaps(timeline) == [(10_000, 40_000, "media_reconnect")]


def test_a_timestamp_ahead_of_time_silences_no_participant() -> None:
    timeline, number = connected()
    timeline.heard(T + 10_000, number)
    timeline.ended(T + 12_000, T + 300_000)
    assert gaps(timeline) == []


def test_absurd_times_change_nothing() -> None:
    timeline, _ = connected()
    for time_ms in (0, -1, T + 10**12, 2**62):
        timeline.heard(time_ms)
        timeline.missing("audio", 1, time_ms, time_ms + 20, "corrupt")
    assert timeline.clock_ms == T
    assert gaps(timeline) == []


@pytest.mark.parametrize(("apart_ms", "is_one"), [(0, True), (10, True), (11, False), (20, False)])
def test_what_came_between_two_dropped_packets_is_not_called_missing(apart_ms: int, is_one: bool) -> None:
    """Packets are 20 ms or longer; times that are a little off are none."""
    timeline, _ = connected()
    second_ms = T + 1020 + apart_ms
    timeline.missing("audio", 1, T + 1000, T + 1020, "dropped")
    timeline.missing("audio", 1, second_ms, second_ms + 20, "dropped")
    spans = [(T + 1000, second_ms + 20)] if is_one else [(T + 1000, T + 1020), (second_ms, second_ms + 20)]
    assert [(gap.from_ms, gap.to_ms) for gap in timeline.listed()[0]] == spans


def test_thousands_of_gaps_stay_bounded() -> None:
    timeline, _ = connected()
    for number in range(12_000):
        timeline.missing("audio", number % 3, T + 100 * number, T + 100 * number + 20, "dropped")
    found = timeline.listed()[0]
    assert len(found) <= 10_000
    assert min(gap.from_ms for gap in found) == T


def test_a_new_start_after_the_end_is_no_gap() -> None:
    timeline, _ = connected()
    ended_ms = timeline.ended(T + 5_000, None)
    again = resume_timeline(manifest_from_json(manifest(timeline, "ended", ended_ms)), None)
    again.reopened(T + 60_000, ended_ms)
    again.connected("media", {"audio"})
    end_ms = again.ended(T + 70_000, None)
    assert gaps(again) == []
    assert not list(check_tiling(manifest(again, "ended", end_ms)))


def manifest(timeline: Timeline, state: str, ended_ms: int | None) -> dict[str, Any]:
    times = {"started_ms": T, "ended_ms": ended_ms, **timeline.to_manifest()}
    whole = to_json(new_manifest(rtms_stream_id="x", state=state, **times))
    restored: dict[str, Any] = json.loads(json.dumps(whole))
    return restored


steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "heard",
                "packet",
                "late",
                "frame",
                "late_frame",
                "media_lost",
                "media",
                "signaling_lost",
                "signaling",
                "pause",
                "resume",
                "restart",
            ]
        ),
        st.integers(0, 5_000),
    ),
    max_size=40,
)


@given(steps, st.booleans())
def test_connections_pauses_and_gaps_always_tile(moves: list[tuple[str, int]], with_time: bool) -> None:
    timeline = Timeline(T)
    up: dict[str, int] = {}
    now_ms = newest_ms = T
    for move, ms in moves:
        now_ms += ms
        match move:
            case "heard" if "signaling" in up:
                timeline.heard(now_ms)
            case "packet" | "late" if "media" in up:
                start_ms = now_ms if move == "packet" else max(T, now_ms - 4 * ms)
                if start_ms < timeline.audio_watch_ms:
                    timeline.covered("audio", 1, start_ms, start_ms + 100)
                newest_ms = max(newest_ms, start_ms + 100)
            case "frame" | "late_frame" if "media" in up:
                start_ms = now_ms if move == "frame" else max(T, now_ms - 4 * ms)
                if start_ms < timeline.watch_ms("video"):
                    timeline.shown("video", 1, start_ms, start_ms + (80 if ms % 2 else 2000))
                newest_ms = max(newest_ms, start_ms)
            case "media_lost" | "signaling_lost" if (kind := move.removesuffix("_lost")) in up:
                timeline.lost(up.pop(kind), newest_ms if kind == "media" else None, f"{kind}_reconnect", "lost")
            case "media" | "signaling" if move not in up:
                up[move] = timeline.connected(move, {"audio", "transcript", "video"} if move == "media" else ())
            case "pause":
                timeline.paused(now_ms)
            case "resume":
                timeline.resumed(now_ms)
            case "restart":
                timeline = resume_timeline(manifest_from_json(manifest(timeline, "active", None)), newest_ms)
                up.clear()
            case _:
                pass
    ended_ms = timeline.ended(now_ms if with_time else None, newest_ms)
    end = manifest(timeline, "ended", ended_ms)
    assert not [*check_tiling(end), *check_gaps(end)]


def test_what_a_process_took_that_left_no_word_is_missing_from_the_start() -> None:
    timeline = Timeline(T)
    timeline.interrupted("daemon_restart", ["audio"])
    timeline.connected("signaling", ())
    timeline.connected("media", {"audio"})
    timeline.covered("audio", 1, T + 200, T + 220)
    timeline.heard(T + 220)
    assert gaps(timeline) == [(0, 200, "daemon_restart")]


def test_audio_buffered_from_the_start_leaves_nothing_missing_after_a_restart() -> None:
    timeline = Timeline(T)
    timeline.interrupted("daemon_restart", ["audio"])
    timeline.connected("signaling", ())
    timeline.connected("media", {"audio"})
    timeline.covered("audio", 1, T + 10, T + 30)
    timeline.heard(T + 30)
    assert gaps(timeline) == []
    assert [*timeline.connections][-1].opened_ms == T


def test_media_without_keep_alives_are_missing_only_since_the_last_manifest() -> None:
    timeline = Timeline(T)
    timeline.connected("media", {"transcript"})
    timeline.connections.brought(
        lambda media: T + 7_000 if media == ("transcript",) else None, lambda media: 1, timeline.clock_ms
    )
    again = resume_timeline(manifest_from_json(manifest(timeline, "active", None)), None)
    assert gaps(again) == [(7_000, None, "daemon_restart")]


def test_a_gap_that_becomes_shorter_is_news_for_the_manifest() -> None:
    timeline, number = connected()
    cut(timeline, number, 10_000)
    for start_ms in (10_000, 10_100):
        before = timeline.changes.count
        timeline.covered("audio", 1, T + start_ms, T + start_ms + 100)
        assert timeline.changes.count > before
    timeline.heard(T + 14_000)
    before = timeline.changes.count
    timeline.covered("audio", 1, T + 10_200, T + 10_300)
    assert timeline.changes.count > before
    assert gaps(timeline) == [(10_300, 14_000, "media_reconnect")]


def test_buffered_packets_of_an_earlier_outage_count_for_the_connection_that_brought_them() -> None:
    timeline, first = connected()
    second = cut(timeline, first, 10_000)
    timeline.heard(T + 11_000, second)  # it is up, and brings nothing: the server waits for a word on signaling
    cut(timeline, second, 12_000, "signaling_reconnect")
    for start_ms in range(10_000, 12_100, 100):
        timeline.covered("audio", 1, T + start_ms, T + start_ms + 100)
    timeline.heard(T + 12_100)
    ended_ms = timeline.ended(T + 13_000, None)
    assert gaps(timeline) == []
    assert not list(check_tiling(manifest(timeline, "ended", ended_ms)))


def test_media_that_never_came_back_after_a_restart_are_missing_as_a_whole() -> None:
    timeline = Timeline(T)
    timeline.interrupted("daemon_restart", ["audio", "transcript"])
    timeline.connected("signaling", ())
    timeline.connected("media", {"audio"})
    timeline.covered("audio", 1, T, T + 2_000)
    timeline.heard(T + 2_000)
    timeline.ended(T + 2_000, None)
    assert [(gap.media, gap.from_ms, gap.to_ms) for gap in timeline.listed()[0]] == [("transcript", T, T + 2_000)]


# Video, which is never buffered


def video_back(fps: int, *, since_ms: int, first_ms: int, word_ms: int | None = None) -> Timeline:
    """Video was lost, and came back with frames at this rate, some before a word on signaling and some behind it."""
    timeline = Timeline(T)
    number = timeline.connected("media", ["video"])
    timeline.lost(number, T + since_ms, "media_reconnect", "reset")
    timeline.connected("media", ["video"])
    for frame in range(3 * fps):
        time_ms = T + first_ms + frame * 1000 // fps
        if word_ms is not None and T + word_ms <= time_ms:
            timeline.heard(T + word_ms)
            word_ms = None
        if time_ms < timeline.watch_ms("video"):
            timeline.shown("video", frame % 2, time_ms, time_ms + 2000 // fps)
    timeline.heard(T + 60_000)
    return timeline


@pytest.mark.parametrize("fps", [1, 5, 25, 30])
@pytest.mark.parametrize("word_ms", [None, 5900, 6000, 6500, 8000])
def test_the_first_frame_ends_the_outage_of_video(fps: int, word_ms: int | None) -> None:
    timeline = video_back(fps, since_ms=1000, first_ms=6000, word_ms=word_ms)
    assert gaps(timeline) == [(1000, 6000, "media_reconnect")]
    ended_ms = timeline.ended(T + 61_000, None)
    assert not list(verify_manifest(manifest(timeline, "ended", ended_ms)))


@pytest.mark.parametrize(("fps", "apart_ms", "is_gap"), [(25, 80, False), (25, 81, True), (1, 1900, False)])
def test_a_frame_lasts_until_the_next_but_not_for_ever(fps: int, apart_ms: int, is_gap: bool) -> None:
    timeline = video_back(fps, since_ms=1000, first_ms=1000 + apart_ms)
    assert gaps(timeline) == ([(1000, 1000 + apart_ms, "media_reconnect")] if is_gap else [])
    ended_ms = timeline.ended(T + 61_000, None)
    assert not list(verify_manifest(manifest(timeline, "ended", ended_ms)))


def test_a_word_before_the_first_frame_means_that_the_frame_was_sent_before() -> None:
    """Signaling overtakes: the frame shows since when there was video again."""
    timeline = Timeline(T)
    number = timeline.connected("media", ["video"])
    timeline.lost(number, T + 1000, "media_reconnect", "reset")
    timeline.connected("media", ["video"])
    timeline.heard(T + 6000)
    for time_ms in range(5500, 6500, 40):
        timeline.shown("video", 5, T + time_ms, T + time_ms + 80)
    assert gaps(timeline) == [(1000, 5500, "media_reconnect")]


def test_a_frame_of_before_the_loss_ends_no_outage() -> None:
    timeline = Timeline(T)
    number = timeline.connected("media", ["video"])
    timeline.lost(number, T + 1000, "media_reconnect", "reset")
    timeline.connected("media", ["video"])
    timeline.shown("video", 5, T + 1000, T + 1080)
    timeline.heard(T + 6000)
    assert gaps(timeline) == [(1080, 6000, "media_reconnect")]
