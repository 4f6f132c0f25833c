"""The choice of a participant's video by an operator, and what Zoom makes of it, without sockets and in no time."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.admin.messages import AdminError, Code
from rtmsd.admin.video import read_choice
from rtmsd.config import MediaConfig
from rtmsd.config.media import VideoConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health
from rtmsd.sinks.hub import LiveHub
from rtmsd.zoom_api import ZoomApi
from tests.daemon.whole import lines
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import Peer, zoom_ms

ANA, BO, CLEO = 1, 2, 3
INDIVIDUAL = MediaConfig(types=("audio", "video"), video=VideoConfig(streams="individual"))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch, media=INDIVIDUAL) as opened:
        yield opened


@pytest.fixture
def backend(bench: Bench) -> Backend:
    return backend_of(bench)


def backend_of(bench: Bench) -> Backend:
    health = Health(bench.supervisor.config, bench.supervisor, bench.writers)
    return Backend(bench.directory / "config.toml", bench.supervisor, health, ZoomApi(), events=LiveHub(), stop=no_stop)


def no_stop(*, end_streams: bool) -> None:
    raise AssertionError("nobody asked for it")


async def answer(peer: Peer, status: int = 0) -> None:
    """Answer the latest request for a participant's video."""
    user_id = peer.sent(28)[-1]["user_id"]
    await peer.say(29, user_id=user_id, status_code=status, reason="", timestamp=zoom_ms())
    await trio.sleep(0.1)


async def meet(bench: Bench, *cameras: int) -> Peer:
    """Begin a stream with three people, some with cameras on, and nobody asked for yet that was not answered."""
    await bench.up()
    peer = bench.zoom.last("signaling")
    people = [{"user_id": user_id, "user_name": name} for user_id, name in ((ANA, "Ana"), (BO, "Bo"), (CLEO, "Cleo"))]
    await peer.event(3, participants=people)
    for user_id in cameras:
        await peer.event(8, participants=[{"user_id": user_id}])
    await trio.sleep(0.1)
    if cameras:
        await answer(peer)
    return peer


async def choose(backend: Backend, peer: Peer, status: int | None, **choice: Any) -> Any:
    """Choose as an operator, and return the description or the code of the refusal; a status of None: no answer."""
    result: list[Any] = []

    async def ask() -> None:
        try:
            result.append(await backend.choose_video(STREAM, read_choice(choice)))
        except AdminError as error:
            result.append(error)

    known = len(peer.sent(28))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.1)
        if status is not None and len(peer.sent(28)) > known:
            await answer(peer, status)
    return result[0]


def events(bench: Bench) -> list[tuple[Any, ...]]:
    found = [line for line in lines(bench.recording() / "events.jsonl") if line["kind"] == "video_subscription"]
    return [(each["user_id"], each["subscribe"], each["status"], each["by"]) for each in found]


async def test_zoom_is_asked_in_this_order(bench: Bench, autojump_clock: MockClock) -> None:
    peer = await meet(bench, ANA)
    await bench.until(lambda: len(peer.sent(7)) == 2)
    kinds = [message["msg_type"] for _, message in peer.received if message["msg_type"] != 13]
    (at_once, cameras) = peer.sent(5)
    assert {8, 9}.isdisjoint(choice["event_type"] for choice in at_once["events"])
    assert [choice["event_type"] for choice in cameras["events"]] == [8, 9]
    position = peer.received.index(next(each for each in peer.received if each[1] is cameras))
    video_up_s = next(peer for peer in bench.zoom.peers if peer.kind == "video").opened_s
    assert any(message["msg_type"] == 7 for at_s, message in peer.received[:position] if at_s >= video_up_s)
    assert kinds[-1] == 28
    (request,) = peer.sent(28)
    assert (request["user_id"], request["subscribe"]) == (ANA, True)
    assert abs(request["timestamp"] - zoom_ms()) < 15_000
    hello = next(peer for peer in bench.zoom.peers if peer.kind == "video").received[0][1]
    assert hello["media_params"]["video"]["data_opt"] == 4


@pytest.mark.parametrize("lost", ["video", "signaling"])
async def test_after_a_reconnection_zoom_is_asked_again(lost: str, bench: Bench, autojump_clock: MockClock) -> None:
    await meet(bench, ANA)
    before = len(bench.zoom.hellos("video"))
    await bench.zoom.last(lost).cut()
    await bench.until(lambda: len(bench.zoom.hellos("video")) == before + 1)
    await bench.until_up()
    await trio.sleep(1)
    peer = bench.zoom.last("signaling")
    kinds = [message["msg_type"] for _, message in peer.received if message["msg_type"] in {5, 7, 28}]
    assert kinds[-3:] == [7, 5, 28] or kinds[-4:] == [7, 5, 28, 7]
    assert peer.sent(28)[-1]["user_id"] == ANA
    await answer(peer, 44)
    await bench.stop()
    await bench.until_gone()
    assert events(bench) == [(ANA, True, 0, "auto"), (ANA, True, 44, "auto")]


async def test_an_operator_chooses_and_leaves_the_choice_again(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    peer = await meet(bench, ANA, BO)
    assert backend.video(STREAM)["user_name"] == "Ana"
    chosen = await choose(backend, peer, 0, user_id=BO)
    assert (chosen["user_id"], chosen["user_name"], chosen["chosen_by"], chosen["choice"]) == (BO, "Bo", "operator", BO)
    await peer.event(2, user_id=ANA, user_name="Ana")
    await trio.sleep(5)
    assert len(peer.sent(28)) == 2  # the choice holds, whoever speaks
    assert (await choose(backend, peer, 0, off=True))["user_id"] is None
    assert (await choose(backend, peer, 0, auto=True))["user_id"] == ANA
    assert [(each["user_id"], each["subscribe"]) for each in peer.sent(28)] == [
        (ANA, True),
        (BO, True),
        (BO, False),
        (ANA, True),
    ]
    await bench.stop()
    await bench.until_gone()
    by = ["auto", "operator", "operator", "auto"]
    assert [(event[0], event[3]) for event in events(bench)] == list(zip([ANA, BO, BO, ANA], by, strict=True))
    assert not [gap for gap in bench.manifest()["gaps"] if gap["media"] == "video"]


FAILURES = (
    (77, 0, Code.NOT_IN_STREAM, "no participant 77"),
    (BO, 4, Code.NOT_IN_STREAM, "status 4"),
    (BO, 45, Code.REFUSED_IN_STATE, "45: Something broke inside Zoom"),
    (BO, 999, Code.REFUSED_IN_STATE, "unknown status 999"),
    (BO, None, Code.TIMED_OUT, "within 10 s"),
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure[:2]))
async def test_a_choice_that_fails_says_why(
    failure: tuple[int, int | None, Code, str], bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    user_id, status, code, words = failure
    peer = await meet(bench, ANA)
    began_s = trio.current_time()
    refusal = await choose(backend, peer, status, user_id=user_id)
    assert isinstance(refusal, AdminError)
    assert (refusal.code, words in refusal.detail) == (code, True), refusal.detail
    assert trio.current_time() <= began_s + 10
    known = backend.video(STREAM)
    if status is None:  # it holds, and is asked for at the next reason
        assert (known["choice"], known["latest"]["result"]) == (BO, "no answer")
        await peer.event(3, participants=[{"user_id": 9}])
        await trio.sleep(0.1)
        assert peer.sent(28)[-1]["user_id"] == BO
    else:
        assert (known["choice"], known["user_id"]) == ("auto", ANA)


async def test_a_second_choice_replaces_one_that_waits(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    peer = await meet(bench, ANA)
    async with trio.open_nursery() as nursery:

        async def first() -> None:
            refusal = await choose(backend, peer, None, user_id=BO)
            assert refusal.code is Code.REFUSED_IN_STATE
            assert "another choice" in refusal.detail

        nursery.start_soon(first)
        await trio.sleep(1)
        nursery.start_soon(choose_and_check, backend, peer)
        await trio.sleep(0.1)
        assert len(peer.sent(28)) == 2  # one request at a time
        await answer(peer)
        assert peer.sent(28)[-1]["user_id"] == CLEO
        await answer(peer)


async def choose_and_check(backend: Backend, peer: Peer) -> None:
    assert (await backend.choose_video(STREAM, read_choice({"user_id": CLEO})))["choice"] == CLEO


async def test_a_stream_that_ends_leaves_no_operator_waiting(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    peer = await meet(bench, ANA)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await choose(backend, peer, None, user_id=BO)).code is Code.REFUSED_IN_STATE

        nursery.start_soon(ask)
        await trio.sleep(1)
        await bench.stop()
        ended_s = await bench.until_gone()
    assert trio.current_time() <= ended_s + 1


async def test_a_choice_survives_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    for number in range(2):
        async with open_bench(tmp_path, monkeypatch, media=INDIVIDUAL) as bench:
            if number == 0:
                peer = await meet(bench, ANA, BO)
                bench.stream().report(bench.stream().core.video.choose, read_choice({"user_id": BO}))
                await trio.sleep(0.1)
                await answer(peer)
            else:
                await bench.until(lambda: bench.zoom.peers and bench.zoom.last("signaling").sent(28))
                assert [each["user_id"] for each in bench.zoom.last("signaling").sent(28)] == [BO]
                assert list(bench.stream().core.video.policy.people.cameras) == [ANA, BO]  # type: ignore[union-attr]
                assert bench.manifest()["video"] == {"choice": BO, "cameras": [ANA, BO]}


async def test_zoom_that_grants_another_kind_of_video_is_noticed(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    bench.zoom.grants["video"] = {"data_opt": 3}
    await bench.up()
    peer = bench.zoom.last("signaling")
    await peer.event(8, participants=[{"user_id": ANA}])
    await trio.sleep(1)
    assert peer.sent(28) == []
    assert [choice["event_type"] for choice in peer.sent(5)[-1]["events"]] == [8, 9]
    assert bench.logged("participants' video cannot be chosen")
    assert backend.stream(STREAM)["video"]["streams"] == "active-speaker"
    assert any(STREAM in warning for warning in backend.status()["warnings"])
    with pytest.raises(AdminError, match="did not grant") as caught:
        backend.video(STREAM)
    assert caught.value.code is Code.REFUSED_IN_STATE


async def test_a_stream_whose_video_zoom_chooses_has_none_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    usual = attrs.evolve(INDIVIDUAL, video=VideoConfig())
    async with open_bench(tmp_path, monkeypatch, media=usual) as bench:
        backend = backend_of(bench)
        await bench.up()
        assert {8, 9} <= {choice["event_type"] for choice in bench.zoom.last("signaling").sent(5)[0]["events"]}
        with pytest.raises(AdminError, match=r"media\.video\.streams") as caught:
            backend.video(STREAM)
        assert caught.value.code is Code.REFUSED_IN_STATE
        with pytest.raises(AdminError, match=r"media\.video\.streams"):
            await backend.choose_video(STREAM, read_choice({"auto": True}))


async def test_before_a_stream_connects_there_is_nobody_to_choose(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    await meet(bench, ANA)
    managed = bench.supervisor.streams[STREAM]
    assert managed.recorder is not None
    assert managed.recorder.video["cameras"] == [ANA], "the manifest has what a restart must know"
    stream, managed.stream = managed.stream, None  # as while a recording is opened, which a slow disk makes long
    with pytest.raises(AdminError, match="has not begun to connect") as caught:
        backend.video(STREAM)
    assert caught.value.code is Code.REFUSED_IN_STATE
    with pytest.raises(AdminError, match="has not begun to connect"):
        await backend.choose_video(STREAM, read_choice({"auto": True}))
    managed.stream = stream


async def test_where_video_is_refused_there_is_nobody_to_choose(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    bench.zoom.always["video"] = 10
    await bench.start()
    await bench.until_up(links=1)
    await trio.sleep(1)
    with pytest.raises(AdminError, match="refuses video") as caught:
        await backend.choose_video(STREAM, read_choice({"auto": True}))
    assert caught.value.code is Code.REFUSED_IN_STATE
    await bench.stop()
    await bench.until_gone()
    with pytest.raises(AdminError, match="has ended"):
        backend.video(STREAM)


async def test_one_connection_for_all_media_does_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_bench(tmp_path, monkeypatch, media=attrs.evolve(INDIVIDUAL, connections="unified")) as bench:
        bench.zoom.unified = True
        await bench.start()
        await bench.until_up(links=1)
        peer = bench.zoom.last("signaling")
        await peer.event(8, participants=[{"user_id": ANA}])
        await trio.sleep(0.1)
        assert [message["msg_type"] for _, message in peer.received if message["msg_type"] != 1] == [5, 7, 5, 28]


async def test_the_log_hears_once_of_the_same_refusal(bench: Bench, autojump_clock: MockClock) -> None:
    peer = await meet(bench)
    await peer.event(8, participants=[{"user_id": ANA}])
    for _ in range(3):
        await trio.sleep(5)
        await answer(peer, 45)
        await peer.event(3, participants=[{"user_id": 9}])
    assert len(peer.sent(28)) == 3
    assert [line["status_code"] for line in bench.logged("video not subscribed")] == [45]


async def test_a_lost_connection_on_which_nobody_was_to_be_seen_leaves_a_gap_that_ends(
    bench: Bench, autojump_clock: MockClock
) -> None:
    await meet(bench)
    await trio.sleep(30)
    await bench.zoom.last("video").cut()
    await bench.until(lambda: len(bench.zoom.hellos("video")) == 2)
    await bench.until_up()
    await trio.sleep(30)
    await bench.stop()
    await bench.until_gone()
    (gap,) = [gap for gap in bench.manifest()["gaps"] if gap["media"] == "video"]
    assert gap["to_ms"] - gap["from_ms"] < 20_000
