"""The simulator's side of a stream, seen by a client over real sockets."""

import itertools
import json
import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio
from trio_websocket import ConnectionClosed

from rtmsd.protocol.enums import MediaType, StatusCode, StopReason
from rtmsd.simulator import (
    ARRIVED,
    Cut,
    Dialect,
    Fate,
    Person,
    SimSession,
    Simulator,
    SimulatorSettings,
    Timing,
    open_simulator,
)
from rtmsd.simulator.media.marks import find_marks
from rtmsd.simulator.model.record import StrayConnection
from tests.simulator.conftest import PATIENT, SETTINGS, Client, eventually


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SETTINGS) as simulator:
        yield simulator


def sent(session: SimSession) -> list[tuple[int, int, bytes]]:
    """Return the audio that must have arrived."""
    logs = session.record.audio.values()
    return [(packet.user_id, packet.timestamp_ms, packet.data) for log in logs for packet in log.arrived()]


def is_older_than(session: SimSession, age_ms: int) -> bool:
    return session.now_ms > session.started_ms + age_ms


async def until_ended(session: SimSession) -> None:
    with trio.fail_after(60):
        await session.ended.wait()


async def test_a_whole_session_arrives_exactly_as_recorded(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana", "Bo"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await client.until(lambda: len(client.packets) > 200 and client.of_type(12))
        session.leave("Bo")
        session.join("Cleo")
        await client.until(lambda: client.events(4) and client.events(2)[1:])
        await session.stop(StopReason.HOST_TRIGGERED)
        await client.closed(2)
    assert sorted(client.packets) == sorted(sent(session))
    assert [item.content for item in session.record.transcripts if item.fate in ARRIVED] == client.transcripts
    assert {name for name, _ in client.closes} == {"signaling", "media"}
    assert {code for _, code in client.closes} == {1000}
    joins = client.events(3)
    assert [p["user_name"] for join in joins for p in join["participants"]] == ["Ana", "Bo", "Cleo"]
    assert "user_name" not in client.events(4)[0]["participants"][0]
    assert [m["state"] for m in client.of_type(9)] == [1, 2, 5]
    assert [m["state"] for m in client.of_type(8)] == [1, 3, 4]
    assert client.events(1)[0]["timestamp"] == min(timestamp for _, timestamp, _ in client.packets)
    assert session.record.summary()["violations"] == {}
    assert [w.event for w in session.record.webhooks] == ["session.rtms_started", "session.rtms_stopped"]


async def test_marked_audio_lies_in_the_timeline_without_a_hole(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await client.until(lambda: len(client.packets) > 100)
        await session.stop()
    log = session.record.audio_of(16778240)
    start_ms, track = log.timeline()
    marks = list(find_marks(track, 640))
    assert start_ms == session.started_ms
    assert [mark.number for mark in marks] == list(range(len(log)))
    assert all(mark.whole and mark.user_id == 16778240 for mark in marks)


@pytest.mark.parametrize("how", list(Cut))
async def test_nothing_is_lost_or_doubled_by_a_media_cut(simulator: Simulator, how: Cut) -> None:
    session = await simulator.start_session(["Ana", "Bo"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling:
        async with client.media(signaling):
            await client.until(lambda: len(client.packets) > 50)
            session.cut_media(how=how)
            await client.until(lambda: client.closes)
        assert client.closes == [("media", 1006)]
        async with client.media(signaling):
            await client.more(50)
            await session.stop()
            await client.closed(3)
    in_flight = [
        (p.user_id, p.timestamp_ms, p.data)
        for log in session.record.audio.values()
        for p in log
        if p.fate is Fate.IN_FLIGHT
    ]
    assert set(sent(session)) <= set(client.packets) <= set(sent(session) + in_flight)
    assert len(set(client.packets)) == len(client.packets)
    assert all(log.count(Fate.DISCARDED, Fate.LOST) == 0 for log in session.record.audio.values())
    assert len(client.events(7)) == 1
    assert [m["state"] for m in client.of_type(8)][:3] == [1, 2, 1]


async def test_buffered_audio_comes_first_unless_unwanted(simulator: Simulator) -> None:
    for buffer_data, fate in ((True, Fate.BUFFERED), (False, Fate.DISCARDED)):
        session = await simulator.start_session(["Ana"])
        await eventually(partial(is_older_than, session, 3000))
        client = Client(session, SETTINGS)
        async with client.signaling(buffer_data=buffer_data) as signaling, client.media(signaling):
            await client.more(0)
            await session.stop()
        log = session.record.audio_of(16778240)
        assert log.count(fate) > 90
        assert (client.packets[0][1] == session.started_ms) is buffer_data


async def test_what_is_said_during_a_pause_is_never_sent(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await client.until(lambda: client.packets)
        session.pause()
        paused_ms = session.now_ms
        await client.until(lambda: [name for name, m in client.messages if m["msg_type"] == 12 and name == "media"])
        resumed_ms = session.now_ms
        session.resume()
        await client.more(5)
        await session.stop()
        await client.closed(2)
    assert not [t for _, t, _ in client.packets if paused_ms <= t < resumed_ms]
    assert [m["state"] for m in client.of_type(9)] == [1, 2, 3, 4, 5]
    assert [m["state"] for m in client.of_type(8)] == [1, 5, 6, 3, 4]
    assert sorted(client.packets) == sorted(sent(session))


async def test_unanswered_keep_alives_cost_the_connection(endpoint: Any) -> None:
    settings = SimulatorSettings(speed=100, webhook_url=endpoint.url)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session([Person(user_name="Ana", talking=False)])
        client = Client(session, settings, answers=False)
        async with client.signaling() as signaling, client.media(signaling):
            await client.closed(2)
        assert len(session.record.keep_alives) >= 3
        assert session.record.violation_names()["keep_alives_unanswered"] >= 1
        await until_ended(session)
        await endpoint.until(3)
    assert [body["event"] for body in endpoint.bodies()] == [
        "session.rtms_started",
        "session.rtms_interrupted",
        "session.rtms_stopped",
    ]
    assert "server_urls" not in endpoint.bodies()[1]["payload"]
    assert endpoint.bodies()[2]["payload"]["stop_reason"] == StopReason.AWAIT_RECONNECTION_TIMEOUT


async def test_a_wrong_answer_is_a_violation_and_no_answer(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS, answers=False)
    async with client.signaling() as signaling:
        await client.until(lambda: client.of_type(12))
        asked = client.of_type(12)[0]
        for answer in ({"timestamp": asked["timestamp"] + 1}, {"timestamp": asked["timestamp"]}):
            await signaling.send_message(str({"msg_type": 13, **answer}).replace("'", '"'))
        await signaling.send_message('{"msg_type":19,"rtms_stream_id":"x"}')
        await client.until(lambda: client.of_type(20))
    assert [v.name for v in session.record.violations] == ["keep_alive_answer"]
    assert session.record.keep_alives[0].answered_s is not None
    assert session.record.keep_alives[0].sequence_echoed is False  # as Zoom's samples answer


async def test_a_second_signaling_connection_is_refused(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtmsd.simulator.wire.watch._CONTESTED_S", 0.2)
    session = await simulator.start_session()
    client = Client(session, SETTINGS)
    async with client.signaling(), client.socket(session.signaling_url) as second:
        answer = await _ask(second, {"msg_type": 1, **client.who})
        assert answer["status_code"] == StatusCode.DUPLICATE_SIGNAL_REQUEST
        assert answer["reason"] == "Duplicate signal request"
        with pytest.raises(ConnectionClosed) as closed:
            await second.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1000
        await eventually(lambda: session.record.violations)
    assert session.record.violation_names() == {"second_connection": 1}


@pytest.mark.parametrize(
    ("first", "second", "status"), [(1, 1, 16), (1, 9, 16), (32, 8, 15), (1, 32, 16), (1, 8, 0), (9, 2, 10)]
)
async def test_one_media_connection_a_type(simulator: Simulator, first: int, second: int, status: int) -> None:
    session = await simulator.start_session()
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling, first), client.socket(client.urls["all"]) as s:
        assert (await _ask(s, {"msg_type": 3, **client.who, "media_type": second}))["status_code"] == status


async def test_media_wait_for_message_7(simulator: Simulator) -> None:
    session = await simulator.start_session()
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.socket(client.urls["audio"]) as media:
        await _ask(media, {"msg_type": 3, **client.who, "media_type": 1})
        await media.send_message('{"msg_type":7,"rtms_stream_id":"' + session.rtms_stream_id + '"}')
        await signaling.send_message('{"msg_type":19,"rtms_stream_id":"x"}')
        await client.until(lambda: client.of_type(20))
        assert not session.ready.is_set()
        await signaling.send_message('{"msg_type":7,"rtms_stream_id":"' + session.rtms_stream_id + '"}')
        assert '"msg_type":14' in await media.get_message()
    assert session.record.violation_names() == {"ready_ack_on_media": 1}


async def test_failover_moves_to_another_url(endpoint: Any) -> None:
    settings = attrs.evolve(SETTINGS, webhook_url=endpoint.url)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session(["Ana"])
        client = Client(session, settings)
        async with client.signaling() as signaling, client.media(signaling):
            await client.until(lambda: client.packets)
            old_url = session.signaling_url
            await session.failover()
            await client.closed(2)
        first, second = endpoint.bodies()
        assert second["event"] == "session.rtms_started"
        assert second["event_ts"] > first["event_ts"]
        assert second["payload"]["server_urls"] == session.signaling_url != old_url
        async with client.socket(old_url) as stale:
            assert (await _ask(stale, {"msg_type": 1, **client.who}))["status_code"] == 2
        async with client.signaling() as signaling, client.media(signaling):
            await client.more(10)
            await session.stop()
            await client.closed(4)
        assert sorted(client.packets) == sorted(sent(session))


async def test_cut_signaling_cuts_media_and_both_recover(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    session.refuse_next(StatusCode.DUPLICATE_SIGNAL_REQUEST, 1)
    async with client.socket(session.signaling_url) as refused:
        assert (await _ask(refused, {"msg_type": 1, **client.who}))["status_code"] == 8
    for cut in (1, 2):
        async with client.signaling() as signaling, client.media(signaling):
            await client.more(10)
            session.cut_signaling()
            await client.closed(2 * cut)
    async with client.signaling() as signaling, client.media(signaling):
        await session.stop()
        await client.closed(6)
    assert sorted(client.packets) == sorted(sent(session))
    assert [w.event for w in session.record.webhooks].count("session.rtms_interrupted") == 2
    assert [span.why for span in session.record.connections[:2]] == ["signaling was cut", "signaling was interrupted"]


async def test_a_silent_connection_stays_open_for_the_client() -> None:
    noticing = attrs.evolve(PATIENT, keep_alive_misses=10)
    async with open_simulator(attrs.evolve(SETTINGS, timing=noticing)) as simulator:
        await _play_silence(await simulator.start_session(["Ana"]))


async def _play_silence(session: SimSession) -> None:
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling:
        async with client.media(signaling):
            await client.until(lambda: len(client.packets) > 10)
            session.silence("media")
            await eventually(lambda: session.record.audio_of(16778240).count(Fate.LOST) > 10)
            await client.until(lambda: len(client.packets) == len(sent(session)))
            assert client.closes == []
        await client.until(lambda: client.events(7))  # Zoom noticed by its own keep-alives
        async with client.media(signaling):
            await session.stop()
            await client.closed(2)
    assert sorted(client.packets) == sorted(sent(session))


async def test_a_stall_loses_nothing(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await client.until(lambda: len(client.packets) > 10)
        await session.stall(4)
        await session.stop()
        await client.closed(2)
    assert sorted(client.packets) == sorted(sent(session))
    assert session.record.audio_of(16778240).count(Fate.DISCARDED) == 0


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(binary=True),
        Dialect(shuffled_keys=True, extra_fields=True, names=False, length=False),
        Dialect(fragment_bytes=200),
        Dialect(jitter_ms=5, keep_alive_sequence=False),
    ],
)
async def test_dialects_carry_the_same_audio(simulator: Simulator, dialect: Dialect) -> None:
    session = await simulator.start_session(["Ana"])
    session.write_as(dialect)
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await client.until(lambda: len(client.packets) > 20)
        await session.stop()
        await client.closed(2)
    assert sorted(client.packets) == sorted(sent(session))
    assert {type(raw) for raw in client.raw_frames} == {bytes if dialect.binary else str}


async def test_mixed_audio_has_no_name(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana", "Bo"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling, 1, audio={"send_rate": 100}):
        await client.until(lambda: len(client.packets) > 5)
        await session.stop()
        await client.closed(2)
    assert list(session.record.audio) == [0]
    assert {(user_id, len(data)) for user_id, _, data in client.packets} == {(0, 3200)}
    assert not any("user_name" in raw for raw in client.raw_frames)


async def test_a_stream_without_a_client_ends() -> None:
    async with open_simulator(SimulatorSettings(speed=1000, timing=Timing(attach_window_s=60))) as simulator:
        session = await simulator.start_session(["Ana"])
        await until_ended(session)
        assert session.stop_reason is StopReason.CONNECTION_TIMEOUT
        client = Client(session, simulator.settings)
        async with client.socket(session.signaling_url) as late:
            assert (await _ask(late, {"msg_type": 1, **client.who}))["status_code"] == 2


async def test_the_client_closes_the_stream(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        for stream_id in ("another", session.rtms_stream_id):
            await signaling.send_message('{"msg_type":21,"rtms_stream_id":"' + stream_id + '"}')
        await client.closed(2)
    assert [m["status_code"] for m in client.of_type(22)] == [2, 0]
    await until_ended(session)
    assert session.stop_reason is StopReason.RECEIVER_REQUEST_CLOSE


async def test_a_server_that_plays_dead_records_no_violation() -> None:
    settings = attrs.evolve(SETTINGS, timing=Timing(keep_alive_s=2), speed=50)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session(["Ana"])
        client = Client(session, settings)
        async with client.signaling() as signaling, client.media(signaling):
            session.silence()
            await eventually(lambda: not session.connections())
        assert [request.answered_s for request in session.record.keep_alives[-3:]] == [None] * 3
        assert session.record.violations == []


async def test_contact_center_events_and_the_last_state_have_both_documented_names(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"], product="contact_center")
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await session.ready.wait()
        session.join("Bo")
        await session.stop(StopReason.HOST_TRIGGERED)
        await client.closed(2)
    [joined] = [event for event in client.events(3) if event["participants"][0]["user_name"] == "Bo"]
    assert joined["timestamp"] == joined["event_ts"]
    stopped = client.of_type(9)[-1]
    assert stopped["reason"] == stopped["stop_reason"] == StopReason.HOST_TRIGGERED


async def test_over_tls_with_a_ca_of_its_own() -> None:
    settings = attrs.evolve(SETTINGS, tls=True)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session(["Ana", "Bo"])
        assert session.signaling_url.startswith("wss://")
        context = ssl.create_default_context(cadata=simulator.ca_pem.decode())
        client = Client(session, settings, tls=context)
        async with client.signaling() as signaling, client.media(signaling):
            await client.until(lambda: len(client.packets) > 100)
            await session.stop()
            await client.closed(2)
        assert sorted(client.packets) == sorted(sent(session))
        host, port = simulator.address.split(":")
        stranger = await trio.open_ssl_over_tcp_stream(host, int(port))
        with pytest.raises(trio.BrokenResourceError):
            await stranger.do_handshake()
        await trio.aclose_forcefully(stranger)


@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_its_urls_are_valid_over_tls_on_any_address(host: str) -> None:
    settings = SimulatorSettings(host=host, tls=True)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session()
        client = Client(session, settings, tls=ssl.create_default_context(cadata=simulator.ca_pem.decode()))
        async with client.signaling(), await trio.open_tcp_stream(*address_of(simulator.rest.base_url)):
            assert session.record.violations == []


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


async def test_broken_frames_reach_the_client_and_the_record(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling):
        await client.until(lambda: client.packets)
        count = session.malformed_frames(["cut_json", "null", "bad_base64"])
        await client.until(lambda: "null" in client.raw_frames)
        await client.more(5)
        session.violate_websocket("reserved_bit")
        await client.until(lambda: client.closes)
    assert count == 3
    assert session.record.hostile == {"cut_json": 1, "null": 1, "bad_base64": 1, "reserved_bit": 1}


async def test_unknown_urls_do_not_exist(simulator: Simulator) -> None:
    notices: list[object] = []
    simulator.observer = lambda _stream_id, notice: notices.append(notice)
    await simulator.start_session()
    host, port = simulator.address.split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(
            b"GET /signal HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 404 " in await stream.receive_some()
    assert notices == [StrayConnection("no stream has the URL path /signal")]


async def test_cameras_and_shared_screens(simulator: Simulator) -> None:
    people = [Person(user_name="Ana", camera=True), Person(user_name="Bo")]
    session = await simulator.start_session(people, product="meeting")
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling, 6, video={"codec": 7, "fps": 25}):
        await client.until(lambda: len(client.pictures) > 3)
        session.share("Bo")
        await client.until(lambda: {16} < {number for number, _ in client.pictures})
        session.camera("Ana", False)
        session.stop_sharing()
        await client.until(lambda: client.events(6))
        await session.stop()
        await client.closed(2)
    for number, log in ((15, session.record.video), (16, session.record.share)):
        assert [item.content for item in log] == [content for sent, content in client.pictures if sent == number]
    assert {content["user_name"] for number, content in client.pictures if number == 15} == {"Ana"}
    assert client.events(8)[0]["participants"] == [{"user_id": 16778240}]
    assert client.events(5)[0]["user_name"] == "Bo"
    assert "user_id" not in client.events(6)[0]
    times = [content["timestamp"] for number, content in client.pictures if number == 15]
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {40}


async def test_individual_video_and_misplaced_messages(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"], product="meeting")
    client = Client(session, SETTINGS)
    video = {"codec": 7, "fps": 25, "data_opt": 4}
    async with client.signaling() as signaling, client.media(signaling, int(MediaType.VIDEO), video=video):
        for user_id in (1, 16778240, 16778240):
            await _send(signaling, {"msg_type": 28, "user_id": user_id, "subscribe": True, "timestamp": 1})
        await _send(signaling, {"msg_type": 3})
        await _send(signaling, {"msg_type": 77})
        await _send(signaling, {"msg_type": 10, "rtms_session_id": "?"})
        await _send(signaling, {"msg_type": 10, "rtms_session_id": session.rtms_session_id})
        await client.until(lambda: len(client.of_type(11)) == 2)
    assert [m["status_code"] for m in client.of_type(29)] == [4, 0, 44]
    assert [m.get("state") for m in client.of_type(11)] == [None, 2]
    assert client.of_type(11)[0]["status_code"] == 40
    assert session.record.violation_names() == {"misplaced_handshake": 1, "unexpected_message": 1}


async def test_individual_video_is_asked_for_anew_on_each_connection(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"], product="meeting")
    session.refuse_video(StatusCode.INTERNAL_EXCEPTION)
    session.ignore_video()
    client = Client(session, SETTINGS)
    asked = {"msg_type": 28, "user_id": 16778240, "subscribe": True, "timestamp": 1}
    async with client.signaling() as signaling:
        for number in (2, 5):
            async with client.media(signaling, int(MediaType.VIDEO), video={"data_opt": 4}):
                for _ in range(3):
                    await _send(signaling, asked)
                await client.until(lambda: len(client.of_type(29)) == number)  # noqa: B023 (done within the loop)
    assert [m["status_code"] for m in client.of_type(29)] == [45, 0, 0, 44, 44]
    dan = session.join(Person(user_name="Dan", camera=True))
    assert session.crowd.present[dan].camera
    assert session.record.violation_names() == {}


async def test_video_that_is_asked_for_before_cameras_are_known_breaks_the_order(simulator: Simulator) -> None:
    session = await simulator.start_session(["Ana"], product="meeting")
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling:
        await _send(signaling, {"msg_type": 28, "user_id": 16778240, "subscribe": True, "timestamp": 1})
        await client.until(lambda: client.of_type(29))
    assert client.of_type(29)[0]["status_code"] == 4
    assert session.record.violation_names() == {"early_video_subscription": 1}


async def _send(websocket: Any, message: dict[str, Any]) -> None:
    await websocket.send_message(json.dumps(message))


async def _ask(websocket: Any, message: dict[str, Any]) -> dict[str, Any]:
    await _send(websocket, message)
    answer: dict[str, Any] = json.loads(await websocket.get_message())
    return answer
