"""A stream that changes hands: between workers, which share directory and journal, and between nodes, which do not."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from rtmsd.commands import StartStream
from rtmsd.config import AppConfig, Config, RecordingConfig, StateConfig, ZoomConfig
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.verify.verify import verify
from rtmsd.recording.writers import Writers
from rtmsd.simulator import ARRIVED, SimSession, SimulatorSettings, Tone, open_simulator
from rtmsd.simulator.media.marks import find_marks
from rtmsd.state.journal import LocalJournal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.beginning import row_of
from rtmsd.streams.restart import Restarter
from rtmsd.streams.supervisor import Supervisor
from rtmsd.zoom_api import ZoomApi
from tests.faults.breakage import audio_of
from tests.faults.process import until
from tests.faults.reckoning import manifest_of, read_track, reckon, recording_of

HELD = 8
SETTINGS = SimulatorSettings(tone=Tone.MARKED)


async def nothing() -> list[StreamRow]:
    await trio.lowlevel.checkpoint()
    return []


def config_of(place: Path) -> Config:
    app = AppConfig(
        client_id=SETTINGS.client_id,
        client_secret=SETTINGS.client_secret,
        webhook_secrets=(SETTINGS.webhook_secret,),
    )
    return Config(
        apps=(app,),
        zoom=ZoomConfig(allowed_hosts=("127.0.0.1",), allow_plain_ws=True),
        recording=RecordingConfig(directory=place / "recordings", min_free_bytes=0),
        state=StateConfig(file=place / "state.sqlite"),
    )


@asynccontextmanager
async def open_members(place: Path, number: int) -> AsyncIterator[list[Supervisor]]:
    """Members that share a directory and a journal, and resume nothing by themselves."""
    config = config_of(place)
    config.recording.directory.mkdir(parents=True)
    async with trio.open_nursery() as nursery:
        journal = await LocalJournal.open(config.state.file)
        writers = Writers.open(config.recording, config.directories)
        restarter = Restarter(ZoomApi(), lambda: config)
        await nursery.start(writers.run)
        members = [
            Supervisor(config, journal, writers, restarter=restarter, on_event=lambda _: None) for _ in range(number)
        ]
        for member in members:
            await nursery.start(member.run, nothing)
        yield members
        nursery.cancel_scope.cancel()
    await journal.aclose()


def start_of(session: SimSession) -> StartStream:
    return StartStream(
        product="session",
        session=SessionRef("session_id", session.session_id),
        rtms_stream_id=session.rtms_stream_id,
        server_urls=session.signaling_url,
        app="main",
        event_ts=session.started_ms,
    )


async def begin(member: Supervisor, session: SimSession) -> None:
    start = start_of(session)
    await member.journal.record(start, set())
    member.adopt(row_of(start), begun_by=start)
    await more_audio(session)


async def more_audio(session: SimSession) -> None:
    before = audio_of(session)
    await until(lambda: audio_of(session) > before + 10)


async def test_no_packet_is_lost_when_workers_hand_it_to_each_other(place: Path, show: Callable[..., None]) -> None:
    async with open_simulator(SETTINGS) as simulator, open_members(place, 2) as (one, other):
        session = await simulator.start_session(["Ana"])
        await begin(one, session)
        for giver, taker in ((one, other), (other, one)):
            await giver.let_go(session.rtms_stream_id, "moved")
            [row] = await taker.journal.unfinished()
            taker.adopt(row, cause=GapCause.DAEMON_RESTART, takeover={"why": "moved"})
            await more_audio(session)
        await session.stop()
        await until(lambda: not one.streams)
        assert await one.journal.unfinished() == []
    total = reckon(place / "recordings", session)
    show("handed over twice", total)
    assert not total.faults
    assert not total.lost
    manifest = manifest_of(recording_of(place / "recordings", session))
    assert manifest["state"] == "ended"
    assert len([file for file in manifest["files"] if file["media"] == "audio"]) == 1
    assert session.record.refusals() == []
    assert not session.record.violations


@attrs.frozen
class Part:
    """What one node has of a stream.

    Attributes:
        numbers: of the packets, and how often each is there.
    """

    manifest: dict[str, object]
    numbers: Counter[int]

    @classmethod
    def read(cls, root: Path, session: SimSession) -> "Part":
        directory = recording_of(root, session)
        assert not [str(problem) for problem in verify(directory)]
        manifest = manifest_of(directory)
        [log] = session.record.audio.values()
        [track] = [read_track(directory / each["path"]) for each in manifest["files"] if each["media"] == "audio"]
        marks = find_marks(track.samples, len(next(iter(log)).data))
        return cls(manifest, Counter(mark.number for mark in marks if mark.whole))


async def test_no_packet_is_lost_when_a_node_waits_for_one_that_is_not_dead(
    place: Path, show: Callable[..., None]
) -> None:
    """The one keeps the other out at Zoom, until it is let go. Each has a part, and nothing is missing in both."""
    async with (
        open_simulator(SETTINGS) as simulator,
        open_members(place / "1", 1) as [one],
        open_members(place / "2", 1) as [other],
    ):
        session = await simulator.start_session(["Ana"])
        await begin(one, session)
        await other.journal.record(start_of(session), set())
        other.adopt(row_of(start_of(session)), cause=GapCause.NODE_TAKEOVER)
        await until(lambda: len(session.record.refusals()) >= 3)
        await one.let_go(session.rtms_stream_id, "another owns it")
        await more_audio(session)
        await session.stop()
        await until(lambda: not other.streams)
    parts = [Part.read(place / name / "recordings", session) for name in "12"]
    [log] = session.record.audio.values()
    sent = {packet.number for packet in log if packet.fate in ARRIVED}
    show("taken from one that was not dead", *(f"part of {len(part.numbers)} packets" for part in parts))
    assert [part.manifest["state"] for part in parts] == ["recovering", "ended"]
    assert sum((part.numbers for part in parts), Counter()) == Counter(sent)
    assert {handshake.status_code for handshake in session.record.refusals()} == {HELD}
    assert set(session.record.violation_names()) == {"second_connection"}, "which is what this is about"
