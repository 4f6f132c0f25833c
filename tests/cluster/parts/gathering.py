"""Members that have parts of one stream on disk, and can be there or away."""

import functools
import json
from array import array
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engines.memory import MemoryEngine, MemoryMember
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.parts.copying import Copier
from rtmsd.cluster.parts.describing import part_of
from rtmsd.cluster.parts.gathering import Gatherer
from rtmsd.cluster.parts.joining import Joiner
from rtmsd.cluster.parts.serving import PartServer
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import Log, Part
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.paths import DAY_MS
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.parts import Inherited, summarize
from rtmsd.system.garbage import Garbage
from tests.cluster.parts.manifests import T
from tests.streams.harness import Bench, at_once, open_bench
from tests.streams.zoom import zoom_ms

STREAM: Final = "stream/1"
MEDIA: Final = frozenset({"audio"})
FORMAT: Final = AudioFormat(codec=PayloadType.L16, rate_hz=16_000, channels=1, mixed=False, send_rate_ms=20)


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 2**24


@functools.cache
def packet(number: int) -> bytes:
    """Samples of 20 ms that no other packet has."""
    return array("H", (1 + (number * 320 + each) % 65_535 for each in range(320))).tobytes()


def _utterance(at_ms: int) -> dict[str, Any]:
    text = f"said at {(at_ms - T) // 1000}"
    return {
        **dict.fromkeys(("start_ms", "end_ms", "language", "language_tag", "attribute", "details")),
        "user_id": 5,
        "user_name": "Ana",
        "text": text,
        "timestamp_ms": at_ms,
        "received_ms": at_ms,
    }


async def record(
    root: Path, node: str, epoch: int, numbers: range, before: Part | None = None, *, ends: bool = False
) -> Part:
    """Record a part: packets of 20 ms since `T`, let go or ended after the last. Returns its record."""
    info = StreamInfo(
        rtms_stream_id=STREAM, product="session", session=SessionRef("session_id", "a"), app="main", started_ms=T
    )
    inherited = None
    if before is not None:
        inherited = Inherited.read(
            node=before.node,
            epoch=before.epoch,
            clock_ms=before.clock_ms,
            first_packet_ms=None,
            paused_since_ms=None,
            participants=before.participants,
            media=before.media,
        )
    recorder = await open_recorder(
        info,
        Writer(Settings(root / node / "recordings"), run_sync=at_once),
        local_ms=lambda: T,
        cause=GapCause.NODE_TAKEOVER,
        tenure=PartTenure(node=node, epoch=epoch, token=epoch),
        inherited=inherited,
    )
    saved: list[Any] = []
    recorder.flusher.on_saved = saved.append
    recorder.media.audio_format(FORMAT)
    recorder.terms.asked_now = MEDIA
    if epoch > 1:
        recorder.interrupted(GapCause.NODE_TAKEOVER, MEDIA)
    recorder.connected("signaling", frozenset())
    recorder.connected("media", MEDIA)
    for number in numbers:
        recorder.media.audio(5, "Ana", T + 20 * number, packet(number))
    end_ms = T + 20 * numbers.stop
    recorder.heard(end_ms)
    if ends:
        recorder.ended(6, end_ms, is_zooms=True)
        await recorder.finish()
    else:
        await recorder.suspend()
    part = part_of(saved[-1])
    assert part is not None
    assert summarize(saved[-1]).bytes == part.bytes
    return part


@attrs.define(eq=False)
class Node:
    """One life of a member."""

    name: str
    bench: Bench
    member: MemoryMember
    teller: PartTeller
    server: PartServer
    gatherer: Gatherer
    garbage: Garbage
    tasks: trio.Nursery

    @property
    def directory(self) -> Path:
        (found,) = self.bench.directory.glob("recordings/2*/stream%2F1")
        return found

    async def gathered(self) -> Any:
        return await self.gatherer.gather(STREAM)


@attrs.define
class Cluster:
    """Attributes:
    bytes_per_s: at which parts are copied.
    days: that have passed in no time.
    wrap: what stands between a member and its engine.
    """

    root: Path
    monkeypatch: pytest.MonkeyPatch
    engine: MemoryEngine = attrs.field(factory=MemoryEngine)
    bytes_per_s: float = 2e7
    days: float = 0
    wrap: Callable[[MemoryMember], Any] = lambda member: member
    lives: int = 0
    tables: dict[str, Members] = attrs.field(factory=dict)

    @asynccontextmanager
    async def live(self, name: str, *, serves: bool = True) -> AsyncIterator[Node]:
        self.lives += 1
        async with self.engine.join(name, f"{name}-{self.lives}") as member, trio.open_nursery() as outer:
            engine = self.wrap(member)
            teller = PartTeller(member)
            await outer.start(teller.run)
            async with (
                open_bench(self.root / name, self.monkeypatch, on_recorder=teller.follow) as bench,
                trio.open_nursery() as tasks,
            ):
                garbage = Garbage()
                members = Members(Member(node=name, incarnation=member.incarnation), lambda: 0)
                self.tables[name] = members
                self.tell()
                server = PartServer(bench.supervisor, bench.writers, teller, garbage=garbage)
                if serves:
                    server.serve(member)
                copier = Copier(engine, bytes_per_s=self.bytes_per_s, run_sync=at_once, garbage=garbage)
                joiner = Joiner(
                    engine,
                    bench.supervisor,
                    bench.writers,
                    teller,
                    copier,
                    members=members,
                    node=name,
                    clock_ms=self._clock_ms,
                )
                gatherer = Gatherer(joiner, bench.supervisor.librarian, self._clock_ms)
                teller.on_ended = gatherer.ended
                yield Node(name, bench, member, teller, server, gatherer, garbage, tasks)
                tasks.cancel_scope.cancel()
            del self.tables[name]
            self.tell()
            outer.cancel_scope.cancel()

    def tell(self, *, silent: Collection[str] = ()) -> None:
        """Have all hear the beats of those that are there."""
        there = [members.me for name, members in self.tables.items() if name not in silent]
        for members in self.tables.values():
            members.update(there)

    def _clock_ms(self) -> int:
        return zoom_ms() + round(self.days * DAY_MS)

    def keep(self, token: int, n: int, *seconds: int) -> None:
        """Have the engine keep lines of a transcript, of what was said so long after the start."""
        lines = tuple(json.dumps(_utterance(T + 1000 * each)) for each in seconds)
        log = Log(rtms_stream_id=STREAM, token=token, n=n, lines={"transcript": lines})
        self.engine.tables.put_log(STREAM, encode(log))

    def states(self) -> dict[str, str]:
        return {part.node: part.state.value for part in self.engine.tables.parts(STREAM)}
