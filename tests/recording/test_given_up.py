"""A stream that was given up, as Zoom did not know it any more, and of which a late webhook says when it ended."""

from typing import Any

import pytest

from rtmsd.protocol.enums import StopReason
from rtmsd.recording.verify.verify import verify

HEARD_MS = 2000


async def given_up(studio: Any, tools: Any, reason: int) -> None:
    """Record for a while, lose Zoom, and end without Zoom's word on when."""
    recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    recorder.connected("signaling", frozenset())
    number = recorder.connected("media", frozenset({"audio"}))
    for at_ms in range(0, HEARD_MS, 20):
        recorder.media.audio(7, "Ana", tools.T + at_ms, tools.packet(at_ms))
    recorder.lost(number, "signaling_reconnect", "reset")
    recorder.ended(reason, None, why="slot gone: status 2: no such stream")
    await recorder.finish()


async def ended_again(studio: Any, tools: Any, *, started_ms: int, ended_ms: int) -> dict[str, Any]:
    """Zoom's word on the end comes after all, from `started_ms` on, and nothing else."""
    studio.started_again_ms = tools.T + started_ms
    recorder = await studio.open()
    recorder.ended(6, tools.T + ended_ms, why="stopped webhook", is_zooms=True)
    await recorder.finish()
    assert not verify(recorder.directory)
    found: dict[str, Any] = tools.manifest(recorder)
    return found


@pytest.mark.parametrize("later_ms", [300, 40_000])
async def test_what_came_until_zooms_end_is_missing(studio: Any, tools: Any, later_ms: int) -> None:
    await given_up(studio, tools, StopReason.AWAIT_RECONNECTION_TIMEOUT)
    end_ms = HEARD_MS + later_ms
    found = await ended_again(studio, tools, started_ms=end_ms, ended_ms=end_ms)
    (gap,) = found["gaps"]
    assert (gap["from_ms"] - tools.T, gap["to_ms"] - tools.T) == (HEARD_MS, end_ms)
    assert (gap["media"], gap["user_id"], gap["cause"]) == ("audio", None, "signaling_reconnect")
    assert (found["ended_ms"] - tools.T, found["stop_reason"], found["pauses"]) == (end_ms, 6, [])


async def test_nothing_is_missing_of_the_time_until_zoom_began_it_again(studio: Any, tools: Any) -> None:
    await given_up(studio, tools, StopReason.AWAIT_RECONNECTION_TIMEOUT)
    found = await ended_again(studio, tools, started_ms=9000, ended_ms=10_000)
    assert not found["gaps"]
    (pause,) = found["pauses"]
    assert (pause["from_ms"] - tools.T, pause["why"]) == (HEARD_MS, "ended")


async def test_an_end_that_zoom_said_stays_the_end(studio: Any, tools: Any) -> None:
    await given_up(studio, tools, StopReason.MEETING_ENDED)
    found = await ended_again(studio, tools, started_ms=9000, ended_ms=9000)
    assert not found["gaps"]
    (pause,) = found["pauses"]
    assert (pause["from_ms"] - tools.T, pause["to_ms"] - tools.T, pause["why"]) == (HEARD_MS, 9000, "ended")
