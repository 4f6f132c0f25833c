"""Any course of events: no bug, no second socket, no unexplained gap, and the stream recovers or ends."""

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtmsd.config import MediaConfig
from rtmsd.streams.core.connections import LinkState
from tests.jumping import run_jumping
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import ASK, HOST, OTHER_HOST, SILENT, Peer, zoom_ms

HEALED_S = 200.0  # longer than any window and the watchdog before it

Act = Callable[[Bench], Awaitable[object]]

# What may happen. On a connection: on the latest one of its kind, if that is open.


def on(kind: str, bench: Bench) -> list[Peer]:
    return bench.zoom.open(kind)[-1:]


async def wait(seconds: float, bench: Bench) -> None:
    await trio.sleep(seconds)


async def cut(kind: str, bench: Bench) -> None:
    for peer in on(kind, bench):
        await peer.cut()


async def close(kind: str, bench: Bench) -> None:
    for peer in on(kind, bench):
        await peer.close()


async def stall(kind: str, bench: Bench) -> None:
    for peer in on(kind, bench):
        peer.stall()


async def fall_silent(kind: str, bench: Bench) -> None:
    for peer in on(kind, bench):
        peer.speaks = False


async def send_audio(kind: str, bench: Bench) -> None:
    for peer in on(kind, bench):
        await peer.audio(zoom_ms())


async def send(kind: str, text: str | bytes, bench: Bench) -> None:
    for peer in on(kind, bench):
        await peer.send(text)


async def ask(kind: str, fields: dict[str, Any], bench: Bench) -> None:
    for peer in on(kind, bench):
        await peer.ask(**fields)


async def answer_next(kind: str, status: int, bench: Bench) -> None:
    bench.zoom.answers[kind].append(status)


async def grant_next(echo: dict[str, dict[str, int]], bench: Bench) -> None:
    bench.zoom.echoes.append(echo)


async def hurry_next(kind: str, early: str, bench: Bench) -> None:
    bench.zoom.hasty[kind] = early


async def refuse_tcp(host: str, bench: Bench) -> None:
    bench.zoom.down.add(host)


async def ignore_tcp(host: str, bench: Bench) -> None:
    bench.zoom.deaf.add(host)


async def heal(bench: Bench) -> None:
    bench.zoom.down.clear()
    bench.zoom.deaf.clear()
    bench.zoom.answers.clear()
    bench.zoom.echoes.clear()
    bench.zoom.hasty.clear()


async def stream_state(state: int, reason: int | None, bench: Bench) -> None:
    for peer in on("signaling", bench):
        await peer.stream_state(state, reason)


async def session_state(session: str, state: int, bench: Bench) -> None:
    for peer in on("signaling", bench):
        await peer.session_state(session, state)


async def report_media(fields: dict[str, int], bench: Bench) -> None:
    for peer in on("signaling", bench):
        await peer.event(7, **fields)


async def interrupt(bench: Bench) -> None:
    await bench.interrupt()


async def fail_over(host: str, bench: Bench) -> None:
    await bench.start(host=host)


async def reconnect(bench: Bench) -> None:
    life = bench.supervisor.streams.get(STREAM)
    if life is not None and life.stream is not None:
        life.stream.reconnect()


def check_that_nothing_is_missing_without_a_reason(manifest: dict[str, Any]) -> None:
    """Whatever was asked for was connected, or is refused; `verify` holds both against the gaps."""
    connected = {media for each in manifest["connections"] for media in each["media"]}
    for media, term in manifest["media"].items():
        if connected and media not in connected:
            assert term["refused"], (media, manifest)
    ended_ms = manifest["ended_ms"]
    assert all(each["closed_ms"] <= ended_ms for each in manifest["connections"])
    assert all(gap["to_ms"] <= ended_ms for gap in manifest["gaps"])


def acts(act: Callable[..., Awaitable[object]], *arguments: list[Any]) -> st.SearchStrategy[Act]:
    return st.builds(partial, st.just(act), *(st.sampled_from(values) for values in arguments))


KINDS = ["signaling", "audio", "transcript", "all"]
HOSTS = [HOST, OTHER_HOST]
NONSENSE = [
    *("}{", "[]", "null", "", b"\xff\xfe", '{"msg_type":null}', '{"msg_type":99}', '{"msg_type":14,"content":{}}'),
    *('{"msg_type":2,"status_code":3}', '{"msg_type":4,"status_code":16}', '{"msg_type":22}'),
    '{"msg_type":8,"state":99,"timestamp":1}',
    '{"msg_type":8,"state":2,"reason":"why","timestamp":-1}',
    '{"msg_type":9,"rtms_session_id":"rs-1","state":-1,"timestamp":99999999999999999999}',
    '{"msg_type":9,"rtms_session_id":"rs-3","state":3,"timestamp":1690000000000}',
    '{"msg_type":6,"event":{"event_type":7,"media_type":[],"timestamp":9007199254740993}}',
    '{"msg_type":6,"event":{"event_type":1,"timestamp":1890000000000}}',
    '{"msg_type":6,"event":{"event_type":3,"participants":[{}, 1, {"user_id":"7","user_name":null}]}}',
    '{"msg_type":14,"content":{"user_id":7,"data":"AAAA","timestamp":1890000000000}}',
    '{"msg_type":17,"content":{"user_id":-7,"data":"\\ud800","timestamp":1}}',
]
ACTS: st.SearchStrategy[Act] = st.one_of(
    acts(wait, [0.0, 0.01, 0.1, 0.5, 1.0, 2.9, 3.0, 5.0, 12.0, 40.0]),
    *(acts(act, KINDS) for act in (cut, close, stall, fall_silent)),
    acts(send_audio, ["audio", "all"]),
    acts(send, KINDS, NONSENSE),
    acts(ask, KINDS, [{}, {"timestamp": "now"}, {"timestamp": 2**70}, {"timestamp": 1.5}]),
    acts(answer_next, KINDS, [0, 2, 8, 15, 16, 45, 99, SILENT]),
    acts(answer_next, ["audio", "transcript", "all"], [9, 12, 19]),
    acts(
        grant_next,
        [{"audio": {}}, {"transcript": {}}, {"audio": {"codec": 4}, "transcript": {}}, {"audio": {"codec": 99}}],
    ),
    acts(
        hurry_next, KINDS, [ASK, '{"msg_type":8,"state":1,"timestamp":1790000000000}', '{"msg_type":14,"content":{}}']
    ),
    *(acts(act, HOSTS) for act in (refuse_tcp, ignore_tcp, fail_over)),
    acts(stream_state, [1, 2, 3, 5, 6], [None, 1, 13, 14, 19]),
    acts(session_state, ["rs-1", "rs-2"], [1, 2, 3, 4, 5]),
    acts(report_media, [{}, {"media_type": 1}, {"media_type": 8}, {"media_type": 32}]),
    *(acts(act) for act in (heal, interrupt, reconnect)),
)


def check_that_all_is_well(bench: Bench) -> None:
    """Every connection there should be is there, with the right server, and answers."""
    stream, peers = bench.stream(), [peer for peer in bench.zoom.peers if peer.is_open]
    assert stream.situation.uplink.is_up
    streaming = [link for link in stream.situation.links if link.state is LinkState.STREAMING]
    assert streaming
    assert {link.state for link in stream.situation.links} <= {LinkState.STREAMING, LinkState.REFUSED}
    assert bench.state() in {"active", "paused"}
    assert len(peers) == 1 + len(streaming)
    assert {f"ws://{peer.host}/signaling" for peer in peers} == {bench.supervisor.streams[STREAM].row.server_urls}
    assert all(len(peer.unanswered) <= 1 for peer in peers)  # one may be on its way


@pytest.mark.parametrize("connections", ["split", "unified"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(course=st.lists(ACTS, max_size=25))
def test_any_course(connections: Literal["split", "unified"], course: list[Act]) -> None:
    async def play() -> None:
        media = MediaConfig(connections=connections)
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            async with open_bench(Path(directory), patch, media=media) as bench:
                bench.zoom.unified = connections == "unified"
                await bench.start()
                for act in course:
                    await act(bench)
                await heal(bench)
                await trio.sleep(HEALED_S)
                is_well = STREAM in bench.supervisor.streams
                if is_well:
                    check_that_all_is_well(bench)
                    await bench.stop()
                await bench.until_gone()
                assert bench.manifest()["state"] in ({"ended"} if is_well else {"ended", "failed"})
                check_that_nothing_is_missing_without_a_reason(bench.manifest())
                assert not [line for line in bench.logs if "exc_info" in line]

    run_jumping(play)
