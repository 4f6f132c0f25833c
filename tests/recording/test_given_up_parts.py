"""A stream that a member of a cluster gave up, and of which Zoom's stop comes late, to whichever member."""

from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.verify.verify import verify
from tests.recording.test_gather import MEDIA, Cluster

HEARD: Final = 100
STOPPED: Final = 300


@attrs.frozen
class Course:
    """Who gives up a stream, and who is told when it ended.

    Attributes:
        had: the first records; a second takes the stream over and never reaches Zoom. The last gives up.
        told: hears of the stop, in a tenure of its own; None: it is who gave up, in the same life.
        cause: of what is missing.
    """

    had: str
    told: str | None
    cause: str


COURSES: Final = (
    Course("a", None, "signaling_reconnect"),
    Course("a", "a", "signaling_reconnect"),
    Course("a", "b", "node_takeover"),
    Course("ab", None, "node_takeover"),
    Course("ab", "b", "node_takeover"),
    Course("ab", "a", "node_takeover"),
    Course("ab", "c", "node_takeover"),
)


async def give_up(recorder: Recorder) -> None:
    recorder.ended(StopReason.AWAIT_RECONNECTION_TIMEOUT, None, why="slot gone: status 2: no such stream")
    await recorder.finish()
    assert verify(recorder.directory) == []


async def play(cluster: Cluster, course: Course) -> None:
    recorder = await cluster.take("a")
    cluster.say(recorder, range(HEARD))
    cluster.heard(recorder, HEARD)
    if course.had == "a":
        for number in (1, 2):
            recorder.lost(number, GapCause.SIGNALING_RECONNECT, "reset")
        await give_up(recorder)
        return
    await recorder.suspend(GapCause.NODE_TAKEOVER)
    recorder, known = await cluster.open("b"), cluster.latest
    recorder.interrupted(GapCause.NODE_TAKEOVER, MEDIA)
    await give_up(recorder)
    cluster.latest = known  # of a part of which nothing was recorded nobody inherits


@pytest.fixture
def cluster(tmp_path: Path, tools: Any) -> Cluster:
    return Cluster(tmp_path, tools)


@pytest.mark.parametrize("course", COURSES, ids=lambda course: f"{course.had}-{course.told}")
async def test_what_came_until_zooms_end_is_missing(cluster: Cluster, tools: Any, course: Course) -> None:
    await play(cluster, course)
    told = course.told or course.had[-1]
    recorder = await cluster.open(told)
    if course.told is not None:
        recorder.interrupted(GapCause.NODE_TAKEOVER, MEDIA)
    await cluster.end(recorder, STOPPED)
    assert verify(recorder.directory) == []
    nodes = sorted({*course.had, told})
    for found in (tools.manifest(recorder), cluster.gather(*nodes)):
        for media in MEDIA:
            assert cluster.gaps(found, media) == [(course.cause, None, HEARD, STOPPED)]
        assert (found["ended_ms"], found["stop_reason"], found["pauses"]) == (tools.T + 20 * STOPPED, 6, [])
