"""Connections that were cut: the last packet of one person had come, and that of another was lost on the way.

The outage begins for everybody where the first one ends. What the other said up to there is a gap of their own, whoever
goes on with the stream, or whether nobody does.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.timeline.medium import FELL_SILENT_MS
from rtmsd.recording.timeline.timeline import Timeline
from rtmsd.recording.verify.verify import verify
from tests.recording.conftest import STARTED_MS as T
from tests.recording.conftest import Studio, manifest, packet

AUDIO: Final = frozenset({"audio"})
PACKET_MS: Final = 20
PEOPLE: Final = (5, 6, 7)


def gaps(found: dict[str, Any]) -> list[tuple[str, int | None, int, int | None]]:
    return [
        (gap["cause"], gap["user_id"], gap["from_ms"] - T, None if gap["to_ms"] is None else gap["to_ms"] - T)
        for gap in found["gaps"]
    ]


def say(recorder: Recorder, ticks: Iterable[int], user_id: int) -> None:
    for tick in ticks:
        recorder.media.audio(user_id, None, T + PACKET_MS * tick, packet(tick))


async def cut(studio: Studio, *, in_order: bool = False) -> Recorder:
    """A stream whose connection was lost when 5 had been heard until 200 ms, 6 until 160, and 7 long before."""
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    number = recorder.connected("media", AUDIO)
    say(recorder, range(1), 7)
    say(recorder, range(50, 60), 5)
    say(recorder, range(50, 58), 6)
    recorder.lost(number, GapCause.MEDIA_RECONNECT, "reset", in_order=in_order)
    return recorder


async def end(recorder: Recorder, at_ms: int) -> dict[str, Any]:
    recorder.heard(T + at_ms - PACKET_MS)  # Zoom goes on: that media closed was not part of the end
    recorder.ended(6, T + at_ms, is_zooms=True)
    await recorder.finish()
    assert verify(recorder.directory) == []
    return manifest(recorder)


async def test_the_stream_ends_before_audio_is_back(studio: Studio) -> None:
    found = await end(await cut(studio), 3000)
    assert gaps(found) == [("media_reconnect", 6, 1160, 1200), ("media_reconnect", None, 1200, 3000)]


async def test_it_is_connected_again_and_ends_before_anybody_is_heard(studio: Studio) -> None:
    recorder = await cut(studio)
    recorder.connected("media", AUDIO)
    found = await end(recorder, 1400)
    assert gaps(found) == [("media_reconnect", 6, 1160, 1200), ("media_reconnect", None, 1200, 1380)]


@pytest.mark.parametrize("is_killed", [False, True])
async def test_the_process_is_replaced_meanwhile_and_the_stream_ends(studio: Studio, is_killed: bool) -> None:
    recorder = await cut(studio)
    if is_killed:
        await studio.writer.flush()
    else:
        await recorder.suspend()
    recorder = await studio.open()
    recorder.interrupted(GapCause.DAEMON_RESTART, AUDIO)
    found = await end(recorder, 3000)
    assert [(user_id, *times) for _, user_id, *times in gaps(found)] == [(6, 1160, 1200), (None, 1200, 3000)]
    assert len({cause for cause, *_ in gaps(found)}) == 1


async def test_it_has_the_cause_of_the_wider_outage(studio: Studio) -> None:
    recorder = await cut(studio)
    recorder.same_outage(GapCause.SERVER_FAILOVER)
    found = await end(recorder, 3000)
    assert gaps(found) == [("server_failover", 6, 1160, 1200), ("server_failover", None, 1200, 3000)]


async def test_a_connection_that_was_dead_long_before_the_end(studio: Studio) -> None:
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.connected("media", AUDIO)
    say(recorder, range(60), 5)
    say(recorder, range(58), 6)
    recorder.media.advance_clock()
    recorder.heard(T + 1200)
    found = await end(recorder, 60_000)
    assert gaps(found) == [("media_reconnect", 6, 1160, 1200), ("media_reconnect", None, 1200, 60_000)]


async def test_what_zoom_sends_again_is_not_missing(studio: Studio) -> None:
    recorder = await cut(studio)
    recorder.connected("media", AUDIO)
    for tick in range(58, 70):
        say(recorder, [tick] if tick >= 60 else [], 5)
        say(recorder, [tick], 6)
    assert gaps(await end(recorder, 1400)) == []


async def test_who_fell_silent_before_all_came_lacks_nothing(studio: Studio) -> None:
    """Zoom closed behind the last that it sent: nothing was on its way."""
    found = await end(await cut(studio, in_order=True), 3000)
    assert gaps(found) == [("media_reconnect", None, 1200, 3000)]


async def test_who_leaves_a_living_connection_misses_nothing_on_it(studio: Studio) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    say(recorder, range(60), 5)
    say(recorder, range(58), 6)
    await recorder.suspend(GapCause.NODE_TAKEOVER, "handed over")
    assert gaps(manifest(recorder)) == [("node_takeover", None, 1200, None)]


async def test_who_is_silent_when_zoom_closes_media_with_the_end_lacks_nothing(studio: Studio) -> None:
    recorder = await cut(studio)
    recorder.ended(6, T + 1220, is_zooms=True)
    await recorder.finish()
    assert gaps(manifest(recorder)) == []


@given(st.dictionaries(st.integers(1, 9), st.integers(0, 3000)), st.integers(0, 3000))
def test_who_was_heard_shortly_before_lacks_the_time_up_to_the_outage(heard: dict[int, int], since: int) -> None:
    timeline = Timeline(T)
    number = timeline.connected("media", AUDIO)
    timeline.lost(number, T + since, "media_reconnect", "cut", heard={each: T + ms for each, ms in heard.items()})
    found = {gap.user_id: (gap.from_ms - T, gap.to_ms - T) for gap in timeline.listed()[0]}
    assert found.pop(None) == (since, math.inf)
    until = min(since, max(heard.values(), default=since))
    assert found == {
        each: (ms, until) for each, ms in heard.items() if until - FELL_SILENT_MS < ms <= until - PACKET_MS
    }


@settings(max_examples=60, deadline=None)
@given(
    came=st.integers(1, 150),  # of the packets of all, as Zoom sends them: those of one tick behind each other
    quiet=st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 49)), max_size=30),
    then=st.sampled_from(["ended", "connected", "suspended", "killed"]),
    is_resumed=st.booleans(),
)
def test_wherever_it_is_cut_each_packet_is_there_or_in_a_gap(
    tmp_path_factory: pytest.TempPathFactory, came: int, quiet: list[tuple[int, int]], then: str, is_resumed: bool
) -> None:
    sent = [(user_id, tick) for tick in range(50) for user_id in PEOPLE if (user_id, tick) not in quiet]
    spoke = {user_id for user_id, _ in sent[:came]}

    async def play() -> dict[str, Any]:
        studio = Studio(tmp_path_factory.mktemp("cut"))
        recorder = await studio.open()
        recorder.connected("signaling", frozenset())
        number = recorder.connected("media", AUDIO)
        for user_id, tick in sent[:came]:
            say(recorder, [tick], user_id)
        recorder.lost(number, GapCause.MEDIA_RECONNECT, "reset")
        match then:
            case "connected":
                recorder.connected("media", AUDIO)
            case "suspended":
                await recorder.suspend()
            case "killed":
                await studio.writer.flush()
        if then in {"suspended", "killed"} and is_resumed:
            recorder = await studio.open()
            recorder.interrupted(GapCause.DAEMON_RESTART, AUDIO)
            if sent[came:]:
                recorder.connected("media", AUDIO)
        elif then in {"suspended", "killed"}:
            return manifest(recorder)
        return await end(recorder, 1500)

    found = trio.run(play)
    for user_id, tick in sent[came:]:
        from_ms, to_ms = PACKET_MS * tick, PACKET_MS * (tick + 1)
        for _, owner, start_ms, stop_ms in gaps(found):
            if owner in {None, user_id} and start_ms <= from_ms < (math.inf if stop_ms is None else stop_ms):
                from_ms = to_ms if stop_ms is None else max(from_ms, stop_ms)
        assert from_ms >= to_ms or user_id not in spoke
    first_lost = sent[came][1] if came < len(sent) else 50
    for _, owner, start_ms, _ in gaps(found):
        assert owner is None or start_ms <= PACKET_MS * first_lost or owner in spoke
