"""A stream that was given up, as Zoom did not know it any more, and of which a late webhook says when it ended."""

from typing import Any, Final

import pytest

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.verify.verify import verify

HEARD_MS: Final = 2000
GIVEN_UP: Final = StopReason.AWAIT_RECONNECTION_TIMEOUT
AUDIO: Final = frozenset({"audio"})


async def recorded(studio: Any, tools: Any) -> Any:
    recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    recorder.connected("signaling", frozenset())
    recorder.connected("media", AUDIO)
    for at_ms in range(0, HEARD_MS, 20):
        recorder.media.audio(7, "Ana", tools.T + at_ms, tools.packet(at_ms))
    return recorder


async def give_up(recorder: Any, reason: int = GIVEN_UP) -> None:
    """End without Zoom's word on when."""
    recorder.ended(reason, None, why="slot gone: status 2: no such stream")
    await recorder.finish()
    assert not verify(recorder.directory)


async def given_up(studio: Any, tools: Any, reason: int = GIVEN_UP) -> None:
    """Record for a while, lose Zoom, and end."""
    recorder = await recorded(studio, tools)
    for number in (1, 2):
        recorder.lost(number, GapCause.SIGNALING_RECONNECT, "reset")
    await give_up(recorder, reason)


async def ended_again(
    studio: Any, tools: Any, ended_ms: int, *, started_ms: int | None = None, cause: GapCause | None = None
) -> dict[str, Any]:
    """Zoom's word on the end comes after all, and nothing else.

    Args:
        started_ms: when Zoom began it last; None: no start was heard.
        cause: for which a process takes it up whose next life this is; None: it is the same life.
    """
    studio.started_again_ms = 0 if started_ms is None else tools.T + started_ms
    recorder = await studio.open()
    if cause is not None:
        recorder.interrupted(cause, AUDIO)
    recorder.ended(6, tools.T + ended_ms, why="stopped webhook", is_zooms=True)
    await recorder.finish()
    assert not verify(recorder.directory)
    found: dict[str, Any] = tools.manifest(recorder)
    assert (found["ended_ms"] - tools.T, found["stop_reason"], found.get("gaps_within")) == (ended_ms, 6, [])
    return found


def gaps(found: dict[str, Any], tools: Any) -> list[tuple[Any, ...]]:
    return [
        (gap["media"], gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T, gap["cause"])
        for gap in found["gaps"]
    ]


@pytest.mark.parametrize("later_ms", [300, 40_000])
@pytest.mark.parametrize("cause", [None, GapCause.DAEMON_RESTART])
@pytest.mark.parametrize("started_ms", [None, 0])
async def test_what_came_until_zooms_end_is_missing(
    studio: Any, tools: Any, later_ms: int, cause: GapCause | None, started_ms: int | None
) -> None:
    await given_up(studio, tools)
    end_ms = HEARD_MS + later_ms
    found = await ended_again(studio, tools, end_ms, started_ms=started_ms, cause=cause)
    assert gaps(found, tools) == [("audio", None, HEARD_MS, end_ms, "signaling_reconnect")]
    assert found["pauses"] == []


async def test_it_is_missing_for_the_cause_of_the_loss(studio: Any, tools: Any) -> None:
    """The stream ended while the daemon was down."""
    recorder = await recorded(studio, tools)
    await recorder.flusher.flush()  # and is killed
    again = await studio.open()
    again.interrupted(GapCause.DAEMON_RESTART, AUDIO)
    await give_up(again)
    found = await ended_again(studio, tools, 5000)
    assert gaps(found, tools) == [("audio", None, HEARD_MS, 5000, "daemon_restart")]


async def test_it_is_missing_of_media_that_were_to_be_connected_again(studio: Any, tools: Any) -> None:
    """Killed before it could write that it was connected at all."""
    await (await studio.open()).flusher.flush()
    again = await studio.open()
    again.interrupted(GapCause.DAEMON_RESTART, AUDIO)
    await give_up(again)
    found = await ended_again(studio, tools, 5000, cause=GapCause.NODE_TAKEOVER)
    assert gaps(found, tools) == [("audio", None, 0, 5000, "daemon_restart")]


async def test_refused_media_stay_refused_until_the_end(studio: Any, tools: Any) -> None:
    recorder = await recorded(studio, tools)
    recorder.refused(["transcript"], 12, "not supported")
    recorder.lost(1, GapCause.SIGNALING_RECONNECT, "reset")
    await give_up(recorder)  # with media that are connected still
    found = await ended_again(studio, tools, 5000)
    assert gaps(found, tools) == [
        ("transcript", None, 0, 5000, "refused"),
        ("audio", None, HEARD_MS, 5000, "signaling_reconnect"),
    ]


async def test_a_stream_that_goes_on_after_all_misses_the_time_between(studio: Any, tools: Any) -> None:
    await given_up(studio, tools)
    recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    recorder.interrupted(GapCause.DAEMON_RESTART, AUDIO)
    recorder.connected("media", AUDIO)
    recorder.heard(tools.T + 9000)
    for at_ms in range(4000, 10_000, 20):
        recorder.media.audio(7, "Ana", tools.T + at_ms, tools.packet(at_ms))
    recorder.ended(6, tools.T + 10_000, is_zooms=True)
    await recorder.finish()
    assert not verify(recorder.directory)
    found = tools.manifest(recorder)
    assert gaps(found, tools) == [("audio", None, HEARD_MS, 4000, "signaling_reconnect")]
    assert found["pauses"] == []


async def test_one_that_is_given_up_again_has_the_same_end(studio: Any, tools: Any) -> None:
    await given_up(studio, tools)
    recorder = await studio.open()
    recorder.interrupted(GapCause.DAEMON_RESTART, AUDIO)
    await give_up(recorder)
    found = tools.manifest(recorder)
    assert (found["ended_ms"] - tools.T, found["gaps"], found["pauses"]) == (HEARD_MS, [], [])
    found = await ended_again(studio, tools, 5000)
    assert gaps(found, tools) == [("audio", None, HEARD_MS, 5000, "signaling_reconnect")]


async def test_nothing_is_missing_of_the_time_until_zoom_began_it_again(studio: Any, tools: Any) -> None:
    await given_up(studio, tools)
    found = await ended_again(studio, tools, 10_000, started_ms=9000)
    assert not found["gaps"]
    (pause,) = found["pauses"]
    assert (pause["from_ms"] - tools.T, pause["why"]) == (HEARD_MS, "ended")


@pytest.mark.parametrize("started_ms", [None, 9000])
async def test_an_end_that_zoom_said_stays_the_end(studio: Any, tools: Any, started_ms: int | None) -> None:
    await given_up(studio, tools, StopReason.MEETING_ENDED)
    found = await ended_again(studio, tools, 9000, started_ms=started_ms)
    assert not found["gaps"]
    (pause,) = found["pauses"]
    assert (pause["from_ms"] - tools.T, pause["to_ms"] - tools.T, pause["why"]) == (HEARD_MS, 9000, "ended")
