"""The status codes of refused handshakes, and what each leads to, on signaling and on media (protocol.md, 8.4)."""

import pytest
import trio

from tests.streams.harness import Bench
from tests.streams.zoom import ASK

GONE = 2
WRONG_SIGNATURE = 3
LATER = [8, 15, 16, 45]
UNKNOWN = [48, 99, -7, 2**40]
NOT_SUPPORTED = {9: "audio", 10: "video", 11: "share", 12: "transcript", 13: "chat"}
NEVER = [1, 3, 4, 5, 6, 7, 14, *range(17, 44), 46, 47]
A_WHILE_S = 20.0


# Signaling


@pytest.mark.parametrize("status", LATER + UNKNOWN)
async def test_signaling_is_asked_for_again(bench: Bench, status: int) -> None:
    bench.zoom.answers["signaling"].extend([status, status])
    await bench.start()
    await bench.until_up()
    assert len(bench.zoom.hellos("signaling")) == 3
    assert bench.state() == "active"


@pytest.mark.parametrize("status", [GONE, *NEVER, *NOT_SUPPORTED])
async def test_signaling_is_not_asked_for_again(bench: Bench, status: int) -> None:
    bench.zoom.always["signaling"] = status
    await bench.start()
    await bench.until_gone()
    assert len(bench.zoom.hellos("signaling")) == 1
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("failed", None)
    [line] = bench.logged("signaling handshake refused")
    assert line["status_code"] == status
    [line] = bench.logged("stream ended")
    assert f"status {status}" in line["why"]


async def test_a_wrong_signature_is_shown_as_what_it_is(bench: Bench) -> None:
    """It is the configuration that is wrong: for all streams of the app."""
    bench.zoom.always["signaling"] = WRONG_SIGNATURE
    await bench.start()
    await bench.until_gone()
    [line] = bench.logged("signaling handshake refused")
    assert (line["log_level"], line["action"]) == ("error", "bad_credentials")


# Media


@pytest.mark.parametrize("status", LATER + UNKNOWN)
async def test_media_are_asked_for_again(bench: Bench, status: int) -> None:
    bench.zoom.answers["audio"].extend([status, status])
    await bench.start()
    await bench.until_up()
    assert len(bench.zoom.hellos("audio")) == 3
    assert len(bench.zoom.hellos("signaling")) == len(bench.zoom.hellos("transcript")) == 1


@pytest.mark.parametrize("status", [*NEVER, *NOT_SUPPORTED])
async def test_media_are_not_asked_for_again_and_the_others_go_on(bench: Bench, status: int) -> None:
    bench.zoom.always["transcript"] = status
    await bench.start()
    await bench.until_up(links=1)
    await trio.sleep(A_WHILE_S)
    assert len(bench.zoom.hellos("transcript")) == 1
    assert len(bench.zoom.hellos("signaling")) == len(bench.zoom.hellos("audio")) == 1
    assert bench.state() == "active"
    [line] = bench.logged("media refused")
    assert (line["log_level"], line["media"]) == ("error", ["transcript"])
    assert bench.logged("media handshake refused") == [], "once is enough"
    assert f"status {status}" in line["why"]
    await bench.stop()
    await bench.until_gone()


async def test_without_any_media_left_the_stream_fails(bench: Bench) -> None:
    bench.zoom.always |= {"audio": 9, "transcript": 12}
    await bench.start()
    await bench.until_gone()
    assert bench.manifest()["state"] == "failed"
    assert "no media left" in bench.logged("stream ended")[0]["why"]


async def test_media_that_zoom_knows_no_stream_for_let_signaling_find_out(bench: Bench) -> None:
    bench.zoom.answers["audio"].append(GONE)
    await bench.start()
    await bench.until_up()
    assert len(bench.zoom.hellos("signaling")) == 2
    assert bench.state() == "active"


async def test_when_signaling_does_not_know_the_stream_either_it_is_over(bench: Bench) -> None:
    await bench.up()
    bench.zoom.always |= {"audio": GONE, "signaling": GONE}
    await bench.zoom.last("audio").cut()
    await trio.sleep(1)
    await bench.until_gone()
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("ended", 19)
    assert len(bench.zoom.hellos("signaling")) == 2


EARLY = {
    "signaling": '{"msg_type":6,"event":{"event_type":3,"timestamp":1790000000500,"participants":[{"user_id":7}]}}',
    "audio": '{"msg_type":14,"content":{"user_id":7,"data":"AAAA","timestamp":1790000000000}}',
}


@pytest.mark.parametrize("kind", ["signaling", "audio"])
@pytest.mark.parametrize("is_ask", [False, True])
async def test_what_comes_before_the_handshake_is_kept_or_answered(bench: Bench, kind: str, is_ask: bool) -> None:
    bench.zoom.hasty[kind] = ASK if is_ask else EARLY[kind]
    await bench.start()
    await bench.until_up()
    assert len(bench.zoom.hellos(kind)) == 1
    await trio.sleep(1)
    if is_ask:
        assert bench.zoom.last(kind).sent(13) == [{"msg_type": 13, "timestamp": 1, "sequence": 1}]
    elif kind == "audio":
        assert bench.stream().recorder.media.messages == {"audio": 1}
    else:
        assert [each["user_id"] for each in bench.stream().recorder.manifest()["participants"]] == [7]


@pytest.mark.parametrize(
    ("kind", "event"), [("signaling", "signaling not connected"), ("audio", "media not connected")]
)
async def test_the_log_says_at_once_why_there_is_no_connection(bench: Bench, kind: str, event: str) -> None:
    """And not again each time, nor only when the window is over."""
    bench.zoom.hasty[kind] = "}{"
    await bench.start()
    await trio.sleep(A_WHILE_S)
    assert len(bench.zoom.dialled) >= 3
    [line] = bench.logged(event)
    assert (line["log_level"], line["why"]) == ("warning", "bad_json: Expecting value")
    del bench.zoom.hasty[kind]
    await bench.until_up()
    assert not [line for line in bench.logs if "exc_info" in line]
