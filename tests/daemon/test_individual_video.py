"""One participant's video, from a simulated Zoom to the files: whose it is, and what an operator can do."""

from pathlib import Path

from rtmsd.config import MediaConfig
from rtmsd.config.media import VideoConfig
from rtmsd.simulator import ARRIVED
from tests.daemon.whole import (
    assert_all_of_it_once,
    assert_well_behaved,
    directory_of,
    lines,
    play_whole,
    until_ended,
    zoom_and_daemon,
)

INDIVIDUAL = MediaConfig(
    types=("audio", "video", "transcript"), video=VideoConfig(streams="individual", switch_after_s=0.02)
)


async def test_the_scenario_is_recorded_as_it_was_sent(tmp_path: Path) -> None:
    # Slower than others: a camera that is on for 4 s must be seen on a busy machine, too.
    async with zoom_and_daemon(tmp_path, media=INDIVIDUAL, simulator={"speed": 6}) as (sim, backend):
        session = await play_whole(sim, "individual-video")
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
