"""One participant's video, from a simulated Zoom to the files: whose it is, and what an operator can do."""

from pathlib import Path
from typing import Final

import trio

from rtmsd.config import MediaConfig
from rtmsd.config.media import VideoConfig
from rtmsd.simulator import ARRIVED, SimSession, built_in, play
from rtmsd.simulator.scenario.scenario import Step
from tests.daemon.whole import (
    LIMIT_S,
    assert_all_of_it_once,
    assert_well_behaved,
    directory_of,
    lines,
    until_connected,
    until_ended,
    zoom_and_daemon,
)

INDIVIDUAL = MediaConfig(
    types=("audio", "video", "transcript"), video=VideoConfig(streams="individual", switch_after_s=0.02)
)

SEEN: Final = {4: "Ana", 8: "Cleo", 16: "Bo"}
"""Who has to be seen before the steps of that time, however long a busy machine needs to choose."""
REFUSED_BY_S: Final = 34
"""Before these steps the request that is to be refused has come."""


def is_seen(session: SimSession, name: str) -> bool:
    user_id = session.crowd.find(name)
    return any(item.content["user_id"] == user_id and item.fate in ARRIVED for item in session.record.video)


async def until_seen(session: SimSession, step: Step) -> None:
    await until_connected(session, step)
    name = SEEN.get(int(step.at_s))
    with trio.fail_after(LIMIT_S):
        while name and not is_seen(session, name):  # noqa: ASYNC110 nothing signals it, nor the next
            await trio.sleep(0.01)
        while step.at_s == REFUSED_BY_S and session.video_refusals:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_the_scenario_is_recorded_as_it_was_sent(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, media=INDIVIDUAL) as (sim, backend):
        session = await play(sim, built_in()["individual-video"], until_seen)
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
    assert_well_behaved(session.record)
    assert_all_of_it_once(session.record, directory)
    ana, bo, cleo = (person["user_id"] for person in manifest["participants"][:3])
    sent: dict[int, list[int]] = {user_id: [] for user_id in (ana, bo, cleo)}
    for item in session.record.video:
        if item.fate in ARRIVED:
            sent[item.content["user_id"]].append(item.timestamp_ms)
    assert all(sent.values()), "everybody is seen at some time"
    for user_id, times_ms in sent.items():
        (file,) = (each for each in manifest["files"] if (each["media"], each["user_id"]) == ("video", user_id))
        index = lines(directory / file["index"])
        assert [line["timestamp_ms"] for line in index] == times_ms
    chosen = [line for line in lines(directory / "events.jsonl") if line["kind"] == "video_subscription"]
    assert (chosen[0]["user_id"], chosen[0]["status"], chosen[0]["by"]) == (ana, 0, "auto")
    assert {(line["result"], line["status"]) for line in chosen} >= {("ok", 0), ("refused", 45)}
