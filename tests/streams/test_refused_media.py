"""Media asked for and not granted: one gap with its cause, stated in the manifest, and the others go on."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.config import MediaConfig
from rtmsd.recording.verify.verify import missing, verify
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import OTHER_HOST, T0, zoom_ms

H264 = 7
NOT_SUPPORTED, NO_SCOPE = 9, 12
RECEIVER, ENDED = 7, 6
REFUSALS = [9, 10, 11, 12, 13, *range(17, 40)]


def gaps(manifest: dict[str, Any], media: str) -> list[tuple[int, int | None, str]]:
    """Relative to the start."""
    start = manifest["started_ms"]
    return [
        (gap["from_ms"] - start, None if gap["to_ms"] is None else gap["to_ms"] - start, gap["cause"])
        for gap in manifest["gaps"]
        if gap["media"] == media
    ]


async def play(bench: Bench, seconds: int, kind: str = "audio") -> None:
    for _ in range(seconds):
        for peer in bench.zoom.open(kind)[-1:]:
            await peer.audio(zoom_ms())
        await trio.sleep(1)


async def end(bench: Bench) -> dict[str, Any]:
    await bench.stop(ENDED)
    await bench.until_gone()
    return bench.manifest()


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_medium_refused_is_one_gap_from_start_to_end(bench: Bench, status: int) -> None:
    bench.zoom.always["transcript"] = status
    await bench.start()
    await bench.until_up(links=1)
    await play(bench, 20)
    assert gaps(bench.stream().recorder.manifest(), "transcript") == [(0, None, "refused")]
    stopped_ms = zoom_ms() - T0
    manifest = await end(bench)
    assert gaps(manifest, "transcript") == [(0, stopped_ms, "refused")]
    assert gaps(manifest, "audio") == []
    term = manifest["media"]["transcript"]
    assert term["asked"]["language"] == "ENGLISH"
    assert term["granted"] is None
    assert term["refused"]["status"] == status
    assert f"status {status}" in term["refused"]["why"]
    assert manifest["media"]["audio"]["granted"] == manifest["media"]["audio"]["asked"]
    assert manifest["media"]["audio"]["asked"] == {
        "content_type": "RAW_AUDIO",
        "sample_rate_hz": 16000,
        "channels": 1,
        "codec": "L16",
        "data_opt": "AUDIO_MULTI_STREAMS",
        "send_rate_ms": 100,
    }
    assert missing(bench.recording()).missing_ms == {"refused": stopped_ms}


async def test_all_media_refused_fail_the_stream_and_each_is_a_gap(bench: Bench) -> None:
    bench.zoom.always |= {"audio": NOT_SUPPORTED, "transcript": NO_SCOPE}
    await bench.start()
    await bench.until_gone()
    manifest = bench.manifest()
    assert manifest["state"] == "failed"
    assert {name: term["refused"]["status"] for name, term in manifest["media"].items()} == {
        "audio": NOT_SUPPORTED,
        "transcript": NO_SCOPE,
    }


async def test_a_pause_is_no_part_of_the_gap(bench: Bench) -> None:
    bench.zoom.always["transcript"] = NO_SCOPE
    await bench.start()
    await bench.until_up(links=1)
    signaling = bench.zoom.last("signaling")
    await play(bench, 10)
    paused_ms = zoom_ms() - T0
    await signaling.session_state("rs-1", 3)
    await trio.sleep(20)
    resumed_ms = zoom_ms() - T0
    await signaling.session_state("rs-1", 4)
    await play(bench, 10)
    stopped_ms = zoom_ms() - T0
    assert gaps(await end(bench), "transcript") == [
        (0, paused_ms, "refused"),
        (resumed_ms, stopped_ms, "refused"),
    ]


async def test_a_medium_refused_after_it_was_up_is_missing_since_its_last_connection(bench: Bench) -> None:
    await bench.up()
    await play(bench, 10)
    heard_ms = zoom_ms() - T0
    bench.zoom.always["audio"] = NOT_SUPPORTED
    await bench.zoom.last("audio").cut()
    await trio.sleep(30)
    stopped_ms = zoom_ms() - T0
    manifest = await end(bench)
    [(from_ms, to_ms, cause)] = gaps(manifest, "audio")
    assert (to_ms, cause) == (stopped_ms, "refused")
    assert from_ms == pytest.approx(heard_ms, abs=1000)
    assert manifest["media"]["audio"]["granted"] is not None
    assert manifest["media"]["audio"]["refused"]["status"] == NOT_SUPPORTED


@pytest.mark.parametrize("by", ["failover", "operator"])
async def test_a_medium_refused_at_first_and_granted_by_the_next_server_ends_the_gap(bench: Bench, by: str) -> None:
    bench.zoom.always["transcript"] = NO_SCOPE
    await bench.start()
    await bench.until_up(links=1)
    await play(bench, 20)
    bench.zoom.always.clear()
    if by == "failover":
        await bench.start(host=OTHER_HOST)
    else:
        bench.stream().reconnect()
    await bench.until_up()
    back_ms = zoom_ms() - T0
    assert not bench.supervisor.diagnostics.refusals
    await play(bench, 20)
    manifest = await end(bench)
    [(from_ms, to_ms, cause)] = gaps(manifest, "transcript")
    assert (from_ms, cause) == (0, "refused")
    assert to_ms == pytest.approx(back_ms, abs=2000)
    assert manifest["media"]["transcript"]["refused"] is None
    assert manifest["media"]["transcript"]["granted"]["language"] == "ENGLISH"


async def test_a_refusal_outlives_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as first:
        first.zoom.always["transcript"] = NO_SCOPE
        await first.start()
        await first.until_up(links=1)
        await play(first, 10)
    async with open_bench(tmp_path, monkeypatch) as second:
        second.zoom.always["transcript"] = NO_SCOPE
        await second.until_up(links=1)
        await play(second, 10)
        stopped_ms = zoom_ms() - T0
        manifest = await end(second)
        assert gaps(manifest, "transcript") == [(0, stopped_ms, "refused")]
        [recording] = await second.supervisor.librarian.recordings()
        assert list(recording.refused) == ["transcript"]


async def test_a_refusal_is_shown_of_streams_live_and_ended(bench: Bench) -> None:
    bench.zoom.always["transcript"] = NO_SCOPE
    await bench.start()
    await bench.until_up(links=1)
    assert list(bench.supervisor.diagnostics.refusals) == [("main", "transcript")]
    await end(bench)
    [described] = bench.supervisor.ended
    assert described["media"]["transcript"]["refused"]["status"] == NO_SCOPE
    assert list(bench.supervisor.diagnostics.refusals) == [("main", "transcript")]


# What cannot be stored


@pytest.mark.parametrize(
    ("granted", "part"),
    [
        ({"codec": H264, "sample_rate": 3}, "H264 cannot be stored"),
        ({"codec": 77}, "77"),
        ({"sample_rate": 9}, "9"),
        ({"channel": 6}, "6 channels"),
        ({"codec": 3, "sample_rate": 3}, "G722"),
    ],
)
async def test_what_cannot_be_stored_counts_as_refused_at_once(
    bench: Bench, granted: dict[str, int], part: str
) -> None:
    bench.zoom.grants["audio"] = granted
    await bench.start()
    await bench.until_up(links=1)
    await trio.sleep(90)
    assert len(bench.zoom.hellos("audio")) == 1
    assert bench.state() == "active"
    [line] = bench.logged("media refused")
    assert part in line["why"]
    stopped_ms = zoom_ms() - T0
    manifest = await end(bench)
    assert gaps(manifest, "audio") == [(0, stopped_ms, "refused")]
    assert manifest["state"] == "ended"
    assert manifest["media"]["audio"]["granted"] is None
    assert (manifest["media"]["audio"]["refused"]["status"], part in manifest["media"]["audio"]["refused"]["why"]) == (
        None,
        True,
    )


@pytest.mark.parametrize("granted", [{"codec": 4, "sample_rate": 3}, {"codec": 4, "send_rate": 20, "channel": 2}])
async def test_opus_granted_where_l16_was_asked_is_stored(bench: Bench, granted: dict[str, int]) -> None:
    """What the server says decides; so it does the other way round, where L16 is what was asked and granted."""
    bench.zoom.grants["audio"] = granted
    await bench.start()
    await bench.until_up()
    for number in range(50):
        data = b"\xf8" + bytes((number,)) * 40
        await bench.zoom.last("audio").audio(T0 + 20 * number, data=data)
    await trio.sleep(2)
    manifest = await end(bench)
    [entry] = [each for each in manifest["files"] if each["media"] == "audio"]
    assert (entry["path"].rpartition(".")[2], entry["codec"]) == ("opus", "OPUS")
    assert (entry["duration_ms"], entry["channels"]) == (1000, granted.get("channel", 1))
    assert manifest["media"]["audio"]["refused"] is None
    assert manifest["counters"]["corrupt"] == 0


async def test_nothing_else_left_fails_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch, media=MediaConfig(types=("audio",))) as bench:
        bench.zoom.grants["audio"] = {"codec": H264, "sample_rate": 3}
        await bench.start()
        assert await bench.until_gone() <= 1
        assert bench.manifest()["state"] == "failed"
        assert "H264" in bench.manifest()["why"]


# One connection for all


@pytest.mark.parametrize(
    ("echo", "handshakes"),
    [
        ({"audio": {}}, 1),  # nothing of transcript will come on this connection
        ({"audio": {}, "transcript": {}}, 1),
        ({"audio": {"codec": H264, "sample_rate": 3}, "transcript": {}}, 2),  # or its packets would come
    ],
)
async def test_a_part_of_what_was_asked_for_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, echo: dict[str, dict[str, int]], handshakes: int
) -> None:
    async with open_bench(tmp_path, monkeypatch, media=MediaConfig(connections="unified")) as bench:
        bench.zoom.unified = True
        bench.zoom.echoes.append(echo)
        await bench.start()
        await bench.until_up(links=1)
        await trio.sleep(30)
        assert len(bench.zoom.hellos("all")) == handshakes
        stopped_ms = zoom_ms() - T0
        manifest = await end(bench)
        refused = {"audio"} if handshakes == 2 else {"audio", "transcript"} - set(echo)
        for media in ("audio", "transcript"):
            assert gaps(manifest, media) == ([(0, stopped_ms, "refused")] if media in refused else [])
            assert (manifest["media"][media]["refused"] is not None) == (media in refused)


async def test_an_answer_that_names_other_media_grants_nothing(bench: Bench) -> None:
    bench.zoom.echoes.append({"chat": {}})
    await bench.start()
    await bench.until(lambda: bench.logged("media refused"))
    await bench.until_up(links=1)
    await end(bench)


async def test_no_server_for_a_medium_is_a_refusal_when_its_window_is_over(bench: Bench) -> None:
    """Message 2 leaves out what there is no scope for; what answers in its place does not know it."""
    bench.zoom.always["transcript"] = 45
    await bench.start()
    await bench.until_up(links=1)
    await play(bench, 80)
    stopped_ms = zoom_ms() - T0
    assert gaps(await end(bench), "transcript") == [(0, stopped_ms, "refused")]


async def test_what_is_not_connected_before_the_end_is_a_gap(bench: Bench) -> None:
    bench.zoom.always["transcript"] = 45
    await bench.start()
    await bench.until_up(links=1)
    await play(bench, 10)
    stopped_ms = zoom_ms() - T0
    manifest = await end(bench)
    assert gaps(manifest, "transcript") == [(0, stopped_ms, "refused")]
    assert manifest["media"]["transcript"]["refused"] | {"at_ms": 0} == {
        "status": None,
        "why": "not connected before the end",
        "at_ms": 0,
    }


async def test_an_answer_after_the_end_connects_nothing(bench: Bench) -> None:
    """Message 7 is not sent any more: nothing would come."""
    bench.zoom.slow["transcript"] = 1.5
    await bench.start()
    await bench.until_up(links=1)
    await play(bench, 1)
    stopped_ms = zoom_ms() - T0
    manifest = await end(bench)
    assert gaps(manifest, "transcript") == [(0, stopped_ms, "refused")]
    assert [each["media"] for each in manifest["connections"] if each["kind"] == "media"] == [["audio"]]


def test_verify_finds_a_refusal_without_its_gap(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {
        "version": 1,
        "rtms_stream_id": STREAM,
        "state": "ended",
        "started_ms": T0,
        "ended_ms": T0 + 5000,
        "participants": [],
        "files": [],
        "gaps": [],
        "connections": [],
        "counters": {"messages": {}},
        "media": {"audio": {"asked": {}, "granted": None, "refused": {"status": 9, "why": "status 9", "at_ms": T0}}},
    }
    path = tmp_path / "stream.json"
    path.write_text(json.dumps(manifest))
    [problem] = verify(tmp_path)
    assert problem.kind == "unexplained"
    gap = {"media": "audio", "user_id": None, "from_ms": T0, "to_ms": T0 + 5000, "cause": "refused"}
    path.write_text(json.dumps({**manifest, "gaps": [gap]}))
    assert verify(tmp_path) == []
    assert missing(tmp_path) == (1, {"refused": 5000}, {}, {"audio": {"refused": 5000}})


async def test_a_stream_started_again_asks_again_and_its_refusal_counts_from_then(bench: Bench) -> None:
    await bench.up()
    await play(bench, 10)
    first_end_ms = zoom_ms() - T0
    await end(bench)
    await trio.sleep(20)
    bench.zoom.always["transcript"] = NO_SCOPE
    again_ms = zoom_ms() - T0
    await bench.start()
    await bench.until_up(links=1)
    await play(bench, 10)
    stopped_ms = zoom_ms() - T0
    manifest = await end(bench)
    assert first_end_ms < again_ms
    assert gaps(manifest, "transcript") == [(again_ms, stopped_ms, "refused")]
    bench.zoom.always.clear()
    await trio.sleep(20)
    await bench.start()
    await bench.until_up()
    await play(bench, 3)
    manifest = await end(bench)
    assert gaps(manifest, "transcript") == [(again_ms, stopped_ms, "refused")]
    assert manifest["media"]["transcript"]["refused"] is None
