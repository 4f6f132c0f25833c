"""RTP of the simulator, read by a parser of the tests; and answers that grant something else than was asked for."""

import itertools
import struct
from typing import Any, NamedTuple

import pytest

from rtmsd.simulator import (
    Answers,
    AudioAnswer,
    Dialect,
    PictureAnswer,
    Simulator,
    SimulatorSettings,
    open_simulator,
)
from tests.simulator.conftest import PATIENT, Client

SETTINGS = SimulatorSettings(speed=20, close_s=60, timing=PATIENT)
ANA = 16778240
OPUS = {"content_type": 1, "codec": 4, "sample_rate": 3, "channel": 1, "data_opt": 2}
G711 = {"content_type": 1, "codec": 2, "sample_rate": 0, "channel": 1, "data_opt": 2}
G722 = {"content_type": 1, "codec": 3, "sample_rate": 1, "channel": 1, "data_opt": 2}


class Packet(NamedTuple):
    payload_type: int
    sequence: int
    ticks: int
    ssrc: int
    csrcs: int
    extension: bytes
    padding: int
    payload: bytes


def read(data: bytes) -> Packet:
    """RFC 3550, section 5.1."""
    first, kind, sequence, ticks, ssrc = struct.unpack_from(">BBHII", data)
    assert first >> 6 == 2
    csrcs, at, extension, padding = first & 15, 12 + 4 * (first & 15), b"", 0
    if first & 16:
        words = struct.unpack_from(">H", data, at + 2)[0]
        extension = data[at + 4 : at + 4 + 4 * words]
        at += 4 + 4 * words
    if first & 32:
        padding = data[-1]
    return Packet(kind, sequence, ticks, ssrc, csrcs, extension, padding, data[at : len(data) - padding])


async def rtp_of(simulator: Simulator, audio: dict[str, Any], *actions: tuple[str, Any]) -> tuple[list[Packet], Any]:
    """Ana's packets on the wire, 40 before each action and after the last, and the session."""
    session = await simulator.start_session(["Ana"])
    client = Client(session, SETTINGS)
    async with client.signaling() as signaling, client.media(signaling, 1, audio=audio):
        await client.more(40)
        for name, arguments in actions:
            getattr(session, name)(*arguments)
            await client.more(40)
        await session.stop()
        await client.closed(2)
    return [read(data) for _, _, data in client.packets], session


@pytest.mark.parametrize(("audio", "payload_type", "step"), [(OPUS, 111, 960), (G711, 8, 160), (G722, 9, 160)])
async def test_rtp_carries_the_packets_of_the_record(audio: dict[str, int], payload_type: int, step: int) -> None:
    async with open_simulator(SETTINGS) as simulator:
        packets, session = await rtp_of(simulator, audio)
    assert [packet.payload for packet in packets] == [packet.data for packet in session.record.audio[ANA].arrived()]
    assert {packet.payload_type for packet in packets} == {payload_type}
    assert {packet.ssrc for packet in packets} == {packets[0].ssrc}
    first = packets[0]
    assert [packet.sequence for packet in packets] == [(first.sequence + n) & 0xFFFF for n in range(len(packets))]
    assert packets[-1].sequence < first.sequence, "the numbers wrap around"
    assert [packet.ticks for packet in packets] == [first.ticks + step * n for n in range(len(packets))]


async def test_headers_jumps_and_sources_on_demand() -> None:
    dialect = Dialect(rtp_csrcs=3, rtp_extension_words=2, rtp_padding_bytes=7)
    async with open_simulator(SETTINGS) as simulator:
        packets, session = await rtp_of(
            simulator, OPUS, ("write_as", [dialect]), ("rtp_jump", ["Ana", 5]), ("rtp_restart", ["Ana"])
        )
    assert [packet.payload for packet in packets] == [packet.data for packet in session.record.audio[ANA].arrived()]
    assert {(packet.csrcs, packet.extension, packet.padding) for packet in packets} == {
        (0, b"", 0),
        (3, b"ZoomZoom", 7),
    }
    assert len({packet.ssrc for packet in packets}) == 2
    steps = [
        (after.sequence - before.sequence) & 0xFFFF
        for before, after in itertools.pairwise(packets)
        if before.ssrc == after.ssrc
    ]
    assert sorted(set(steps)) == [1, 6]
    assert session.record.rtp_skipped == {ANA: 5}


async def test_what_a_stalled_connection_did_not_send_keeps_its_numbers() -> None:
    async with open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"])
        client = Client(session, SETTINGS)
        async with client.signaling() as signaling:
            async with client.media(signaling, 1, audio=OPUS):
                await client.more(20)
                [connection] = session.connections("media")
                connection.wire.stall()
                await simulator.clock.sleep(1)
                assert connection.wire.queued_bytes
                session.drop(connection, "stalled")
                await client.closed(1)
            async with client.media(signaling, 1, audio=OPUS):
                await client.more(100)
                await session.stop()
                await client.closed(3)
    packets = [read(data) for _, _, data in client.packets]
    first = packets[0].sequence
    assert [packet.sequence for packet in packets] == [(first + n) & 0xFFFF for n in range(len(packets))]


AUDIO = {"content_type": 2, "sample_rate": 1, "channel": 1, "codec": 1, "data_opt": 2, "send_rate": 100}


@pytest.mark.parametrize(
    ("answer", "changed"),
    [
        (AudioAnswer(), {}),
        (AudioAnswer(codec="OPUS"), {"codec": 4, "sample_rate": 3, "send_rate": 20}),
        (AudioAnswer(codec="G711", content="rtp"), {"codec": 2, "content_type": 1, "sample_rate": 0, "send_rate": 20}),
        (AudioAnswer(sample_rate_hz=8000, channels=2), {"sample_rate": 0, "channel": 2}),
        (AudioAnswer(streams="mixed", send_rate_ms=40), {"data_opt": 1, "send_rate": 40}),
        (AudioAnswer(content="rtp"), {"content_type": 1}),  # with L16: the packets stay plain
    ],
)
async def test_other_audio_is_granted_and_sent(answer: AudioAnswer, changed: dict[str, int]) -> None:
    granted = AUDIO | changed
    async with open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"], answers=Answers(audio=answer))
        client = Client(session, SETTINGS)
        async with client.signaling() as signaling, client.media(signaling, 1, audio=AUDIO):
            await client.more(9)
            await session.stop()
            await client.closed(2)
    assert client.granted["audio"] == granted
    bare = [read(data).payload if changed.get("codec") and answer.content else data for _, _, data in client.packets]
    [log] = session.record.audio.values()
    assert bare == [packet.data for packet in log.arrived()]
    steps = {
        later - earlier for (_, earlier, _), (_, later, _) in zip(client.packets, client.packets[1:], strict=False)
    }
    assert steps == {granted["send_rate"]}
    if granted["codec"] == 1:
        rate_hz = {0: 8000, 1: 16000}[granted["sample_rate"]]
        assert {len(data) for data in bare} == {rate_hz * granted["channel"] * 2 * granted["send_rate"] // 1000}


async def test_other_pictures_are_granted() -> None:
    answers = Answers(video=PictureAnswer(codec="PNG", resolution="SD", fps=2), share=PictureAnswer(fps=3))
    async with open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"], product="meeting", answers=answers)
        client = Client(session, SETTINGS)
        asked = {"codec": 7, "fps": 25, "resolution": 2}
        async with client.signaling() as signaling, client.media(signaling, 6, video=asked, deskshare=asked):
            await session.stop()
    video, share = client.granted["video"], client.granted["deskshare"]
    assert (video["codec"], video["resolution"], video["fps"]) == (6, 1, 2)
    assert (share["codec"], share["resolution"], share["fps"]) == (7, 2, 3)


async def test_the_answer_may_change_in_the_middle() -> None:
    async with open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"])
        client = Client(session, SETTINGS)
        async with client.signaling() as signaling:
            async with client.media(signaling, 1, audio=AUDIO):
                await client.more(5)
                session.answer_with(Answers(audio=AudioAnswer(codec="OPUS", channels=2)))
                session.cut_media()
                await client.closed(1)
            async with client.media(signaling, 1, audio=AUDIO):
                await client.more(20)
                await session.stop()
                await client.closed(3)
    assert (client.granted["audio"]["codec"], client.granted["audio"]["channel"]) == (4, 2)
    log = session.record.audio[ANA]
    assert {packet.duration_ms for packet in log} == {100, 20}
    assert [data for _, _, data in client.packets] == [packet.data for packet in log.arrived()]
