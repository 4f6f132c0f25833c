"""A crew of members over the engine in memory, each with a model of a supervisor, beside a model of Zoom."""

import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import attrs
import trio

from rtmsd.cluster.engine import Away, Fenced
from rtmsd.cluster.engines.memory import MemoryEngine, MemoryMember
from rtmsd.cluster.handover.handover import Handover
from rtmsd.cluster.handover.taker import Taker
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Log, Row, Why
from rtmsd.cluster.router import HOOK, Router
from rtmsd.cluster.rules import least_loaded
from rtmsd.cluster.takeover import Takeover
from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited
from rtmsd.state.rows import StreamRow
from rtmsd.state.verdicts import close, judge
from rtmsd.streams.beginning import row_of
from rtmsd.streams.drivers.tenure import Permission
from rtmsd.system.garbage import Garbage

T0_MS: Final = 1_790_000_000_000
HANDSHAKE_S: Final = 0.2
RETRY_S: Final = 1.5
APPEND_EVERY_S: Final = 5.0


def start(rtms_stream_id: str = "s", event_ts: int = T0_MS, app: str = "main") -> StartStream:
    return StartStream(
        product="session",
        session=SessionRef("session_id", f"of {rtms_stream_id}"),
        rtms_stream_id=rtms_stream_id,
        server_urls="wss://rtms.zoom.test",
        app=app,
        event_ts=event_ts,
        details={"account_id": "a"},
    )


def stop(
    rtms_stream_id: str = "s", event_ts: int | None = T0_MS + 1000, reason: int = 6, app: str = "main"
) -> StopStream:
    return StopStream(
        product="session",
        session=SessionRef("session_id", f"of {rtms_stream_id}"),
        rtms_stream_id=rtms_stream_id,
        app=app,
        event_ts=event_ts,
        stop_reason=reason,
    )


def interrupt(rtms_stream_id: str = "s", event_ts: int = T0_MS + 500) -> InterruptStream:
    return InterruptStream(
        product="session",
        session=SessionRef("session_id", f"of {rtms_stream_id}"),
        rtms_stream_id=rtms_stream_id,
        app="main",
        event_ts=event_ts,
    )


@attrs.define
class Zoom:
    """Who has the one signaling connection that each stream may have.

    Attributes:
        mode: what becomes of a second one: "refuse" answers it with status 8, "evict" closes the first.
        handshakes: accepted ones, as (time, incarnation, stream).
        refused: status 8, counted by stream.
    """

    mode: Literal["refuse", "evict"] = "refuse"
    slots: dict[str, "Life"] = attrs.field(factory=dict)
    handshakes: list[tuple[float, str, str]] = attrs.field(factory=list)
    refused: Counter[str] = attrs.field(factory=Counter)

    def connect(self, life: "Life", incarnation: str) -> bool:
        rtms_stream_id = life.row.rtms_stream_id
        holder = self.slots.get(rtms_stream_id)
        if holder is not None and holder is not life and self.mode == "refuse":
            self.refused[rtms_stream_id] += 1
            return False
        if holder is not None and holder is not life:
            holder.cut()
        self.slots[rtms_stream_id] = life
        self.handshakes.append((trio.current_time(), incarnation, rtms_stream_id))
        return True

    def disconnect(self, life: "Life") -> None:
        if self.slots.get(life.row.rtms_stream_id) is life:
            del self.slots[life.row.rtms_stream_id]


@attrs.define(eq=False)
class Life:
    """A stream of a member, and whether it is connected."""

    row: StreamRow
    begun_by: StreamCommand | None
    cause: GapCause | None
    act: Callable[[StreamCommand], None]
    is_connecting: bool = True
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    lost: trio.Event = attrs.field(factory=trio.Event)
    is_letting_go: bool = False
    gone: trio.Event = attrs.field(factory=trio.Event)
    waiting: list[StreamCommand] = attrs.field(factory=list)  # what came while it was let go

    @property
    def end(self) -> int | None:
        return self.row.stop_reason

    def submit(self, command: StreamCommand, /) -> None:
        self.act(command)

    def cut(self) -> None:
        """Zoom ends the connection."""
        self.lost.set()


class ModelLives:
    """The supervisor, as ownership sees it: judges and writes as a journal of the cluster does, asks before it dials.

    Attributes:
        lives: the streams that there are now.
        begun: those that began here, in order, with the command or the cause.
        acted: commands that were carried out on a stream of ours.
        refuses: why new streams are refused.
        finish_s: what it takes to finish the files of a stream.
        let_go_s: what it takes to let a stream go.
        broken: streams that cannot be begun, as of a bug.
    """

    def __init__(self, engine: MemoryMember, zoom: Zoom, nursery: trio.Nursery, apps: frozenset[str]) -> None:
        self.lives: dict[str, Life] = {}
        self.begun: list[tuple[str, StreamCommand | None, GapCause | None]] = []
        self.acted: list[StreamCommand] = []
        self.refused: list[tuple[StartStream, str]] = []
        self.refuses: str | None = None
        self.finish_s = 0.1
        self.let_go_s = 0.0
        self.broken: set[str] = set()
        self.ownership: Ownership
        self.redirect: Callable[[StreamCommand], None]
        self._engine, self._zoom, self._nursery, self._apps = engine, zoom, nursery, apps
        self._journal = trio.Lock()

    @property
    def streams(self) -> Mapping[str, Life]:
        return self.lives

    async def accept(self, command: StreamCommand) -> Verdict:
        is_in_doubt, life = False, self.lives.get(command.rtms_stream_id)
        while True:
            try:
                verdict = await self._record(command)
            except Away:
                if not isinstance(command, StartStream):
                    self.act(command)
                    raise
                is_in_doubt = True  # the same again, until it is known whether it was written
                await trio.sleep(1)
                continue
            if is_in_doubt and verdict is Verdict.DUPLICATE:
                verdict = Verdict.NEW
            if verdict is Verdict.NEW and life is not None and life.gone.is_set():
                self.redirect(command)
            elif verdict is Verdict.NEW:
                self.act(command)
            return verdict

    async def _record(self, command: StreamCommand) -> Verdict:
        async with self._journal:
            held = await self._engine.read(command.rtms_stream_id)
            others = self._apps - {command.app}
            verdict, known = judge(held.known, command, other_apps=others, received_ms=T0_MS)
            if known != held.known and held.token:
                mine = self.ownership.mine.get(command.rtms_stream_id)
                token = held.token if mine is None else mine.token
                await self._engine.put_row(Row(rtms_stream_id=command.rtms_stream_id, token=token, known=known))
            return verdict

    def act(self, command: StreamCommand) -> None:
        self.acted.append(command)
        life = self.lives.get(command.rtms_stream_id)
        match command:
            case StartStream() | StopStream() if life is None:  # it ended while this was being written
                self.adopt(row_of(command), begun_by=command)
            case _ if life is None:
                pass
            case _ if life.is_letting_go:
                life.waiting.append(command)
            case StopStream():
                self._end(life, command.stop_reason)
            case StartStream():
                life.row = attrs.evolve(life.row, server_urls=command.server_urls, event_ts=command.event_ts)

    def adopt(
        self,
        row: StreamRow,
        *,
        begun_by: StreamCommand | None = None,
        cause: GapCause | None = None,
        takeover: Mapping[str, Any] | None = None,
        tenure: PartTenure | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        if row.rtms_stream_id in self.broken:
            raise ValueError("a bug")
        assert (begun_by is None) != (cause is None)
        if row.rtms_stream_id in self.lives:
            assert row.rtms_stream_id not in self.ownership.mine, "one life for each stream"
            return  # it was resumed before anybody could say whose it is
        self.begun.append((row.rtms_stream_id, begun_by, cause))
        life = self.lives[row.rtms_stream_id] = Life(row, begun_by, cause, self.act)
        if row.stop_reason is None:
            self._nursery.start_soon(self._live, life)
        else:
            self._end(life, row.stop_reason)

    async def _write(self, life: Life) -> None:
        """Append to the stream's log now and then: who lost the stream is fenced."""
        rtms_stream_id = life.row.rtms_stream_id
        for n in itertools.count():
            await trio.sleep(APPEND_EVERY_S)
            if self.lives.get(rtms_stream_id) is not life or (mine := self.ownership.mine.get(rtms_stream_id)) is None:
                return
            try:
                await self._engine.append(Log(rtms_stream_id=rtms_stream_id, token=mine.token, n=n, lines={}))
            except Fenced as fenced:
                await self.ownership.lost(rtms_stream_id, str(fenced))
            except Away:
                pass

    async def _live(self, life: Life) -> None:
        rtms_stream_id = life.row.rtms_stream_id
        self._nursery.start_soon(self._write, life)
        with life.scope:
            while True:
                permission = await self.ownership.may_connect(rtms_stream_id)
                if permission is Permission.LOST:
                    self._nursery.start_soon(self.let_go, rtms_stream_id, "another owns it")
                    await trio.sleep_forever()
                await trio.sleep(HANDSHAKE_S)
                if self._zoom.connect(life, self._engine.incarnation):
                    life.is_connecting = False
                    with trio.move_on_after(30 if permission is Permission.BLIND else float("inf")):
                        await life.lost.wait()
                    if permission is Permission.BLIND and life.lost.is_set():
                        self._nursery.start_soon(self.let_go, rtms_stream_id, "lost after a blind connection")
                        await trio.sleep_forever()
                    await life.lost.wait()
                    life.lost = trio.Event()
                    self._zoom.disconnect(life)
                    await trio.sleep(3)
                elif permission is Permission.BLIND:
                    self._nursery.start_soon(self.let_go, rtms_stream_id, "refused after a blind connection")
                    await trio.sleep_forever()
                else:
                    await trio.sleep(RETRY_S)

    async def let_go(self, rtms_stream_id: str, why: str) -> None:
        await trio.lowlevel.checkpoint()
        if (life := self.lives.get(rtms_stream_id)) is None or life.end is not None:
            return
        if not life.is_letting_go:
            life.is_letting_go = True
            life.scope.cancel()
            self._zoom.disconnect(life)
            self._nursery.start_soon(self._leave, life)
        await life.gone.wait()

    async def _leave(self, life: Life) -> None:
        await trio.sleep(self.let_go_s)
        del self.lives[life.row.rtms_stream_id]
        self.ownership.let_go(life.row.rtms_stream_id)
        life.gone.set()
        for command in life.waiting:
            self.redirect(command)

    def _end(self, life: Life, reason: int) -> None:
        if life.end == StopReason.STREAM_REVOKED != reason:  # no later end undoes that
            return
        life.row = attrs.evolve(life.row, stop_reason=reason)
        life.scope.cancel()
        self._zoom.disconnect(life)
        self._nursery.start_soon(self._finish, life, reason)

    async def _finish(self, life: Life, reason: int) -> None:
        """Close the row, as often as it takes: another writer of rows has the engine's answer or is fenced."""
        rtms_stream_id = life.row.rtms_stream_id
        await trio.sleep(self.finish_s)
        while self.lives.get(rtms_stream_id) is life:
            try:
                async with self._journal:
                    held = await self._engine.read(rtms_stream_id)
                    mine = self.ownership.mine.get(rtms_stream_id)
                    if mine is None or mine.token != held.token or held.known.row is None:
                        break
                    row = close(held.known.row, reason=reason, ended_ms=T0_MS, event_ts=life.row.event_ts)
                    if row is not None:
                        known = attrs.evolve(held.known, row=row)
                        await self._engine.put_row(Row(rtms_stream_id=rtms_stream_id, token=held.token, known=known))
                    break
            except Away:
                await trio.sleep(1)
        if self.lives.get(rtms_stream_id) is life and life.end == reason:  # not revoked meanwhile
            del self.lives[rtms_stream_id]

    def refusal(self, start: StartStream) -> str | None:
        return self.refuses

    def refuse(self, start: StartStream, why: str) -> None:
        self.refused.append((start, why))


@attrs.define(eq=False, kw_only=True)
class Mate:
    """A member of the crew, from its start to its death."""

    node: str
    incarnation: str
    members: Members
    lives: ModelLives
    ownership: Ownership
    router: Router
    takeover: Takeover
    handover: Handover
    taker: Taker
    garbage: Garbage
    nursery: trio.Nursery

    @property
    def streams(self) -> set[str]:
        return set(self.lives.lives)

    @property
    def connected(self) -> set[str]:
        return {name for name, life in self.lives.lives.items() if self.lives._zoom.slots.get(name) is life}


class Crew:
    """The members, and the parent that says who lives.

    Attributes:
        capacity: of each member.
        let_go_s: what it takes each member to let a stream go.
        draining: nodes that take no streams.
        is_dead: whether a member is believed to be dead where nobody listens.
    """

    def __init__(self, nursery: trio.Nursery, *, patience_s: float = 20.0) -> None:
        self.engine = MemoryEngine()
        self.zoom = Zoom()
        self.mates: dict[str, Mate] = {}
        self.apps = frozenset({"main", "other"})
        self.capacity = 1000
        self.let_go_s = 0.0
        self.draining: set[str] = set()
        self.is_dead: bool = True
        self._nursery, self._patience_s = nursery, patience_s

    async def begin(self, *nodes: str) -> None:
        for node in nodes:
            await self._nursery.start(self._live, node)
        self.tell()

    async def _live(self, node: str, *, task_status: trio.TaskStatus[None]) -> None:
        incarnation = uuid.uuid4().hex
        async with AsyncExitStack() as stack:
            member = await stack.enter_async_context(self.engine.join(node, incarnation))
            nursery = await stack.enter_async_context(trio.open_nursery())
            me = Member(node=node, incarnation=incarnation, capacity=self.capacity)
            members = Members(me, lambda: len(lives.streams))
            lives = ModelLives(member, self.zoom, nursery, self.apps)
            ownership = lives.ownership = Ownership(
                members,
                member,
                lives,
                apps=lambda: self.apps,
                cause=_cause,
                patience_s=self._patience_s,
                clock_ms=lambda: T0_MS,
            )
            garbage = Garbage()
            router = Router(
                members,
                member,
                ownership,
                lives,
                choose=partial(least_loaded, here=node),
                keep=_keep,
                deliver_as=HOOK,
                garbage=garbage,
                is_dead=self._is_dead,
            )
            takeover = Takeover(members, member, ownership, lives, in_order=_as_they_come)
            lives.redirect, lives.let_go_s = router.redirect, self.let_go_s
            mate = Mate(
                node=node,
                incarnation=incarnation,
                members=members,
                lives=lives,
                ownership=ownership,
                router=router,
                takeover=takeover,
                handover=Handover(members, member, ownership, lives),
                taker=Taker(members, member, ownership, lives, apps=lambda: self.apps, garbage=garbage),
                garbage=garbage,
                nursery=nursery,
            )
            self.mates[node] = mate
            self.tell()
            await nursery.start(router.run)
            nursery.start_soon(ownership.run)
            nursery.start_soon(takeover.run)
            task_status.started()
        for life in lives.lives.values():
            self.zoom.disconnect(life)

    async def _is_dead(self, member: Member) -> bool:
        await trio.lowlevel.checkpoint()
        return self.is_dead

    def drain(self, node: str, *, on: bool = True) -> None:
        """Have a member take no streams, or take them again. All hear of it."""
        (self.draining.add if on else self.draining.discard)(node)
        if node in self.mates:
            self.mates[node].lives.refuses = "draining" if on else None
        self.tell()

    def tell(self) -> None:
        """Give all the table, as the parent does."""
        table = [
            Member(
                node=mate.node,
                incarnation=mate.incarnation,
                streams=len(mate.streams),
                capacity=self.capacity,
                is_draining=mate.node in self.draining,
            )
            for mate in self.mates.values()
        ]
        for mate in self.mates.values():
            mate.members.update(table)

    async def kill(self, node: str, *, unnoticed_s: float = 0.0) -> None:
        """End a member at once. The others hear of it after a while."""
        mate = self.mates.pop(node)
        mate.nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        if unnoticed_s:
            await trio.sleep(unnoticed_s)
        for other in self.mates.values():
            other.members.died(mate.incarnation)

    def owners(self, rtms_stream_id: str) -> list[str]:
        """Return the members at which the stream lives."""
        return [mate.node for mate in self.mates.values() if rtms_stream_id in mate.streams]

    def state(self, rtms_stream_id: str) -> tuple[str | None, bool]:
        """Return the owner's node in the engine, and whether the stream is unfinished."""
        held = self.engine.tables.read(rtms_stream_id)
        return None if held.own is None else held.own.node, held.is_unfinished


def _cause(why: Why) -> GapCause:
    return GapCause.NODE_TAKEOVER if why is Why.HANDED_OVER else GapCause.DAEMON_RESTART


async def _keep(command: StreamCommand) -> Verdict:
    """A journal of a member's own: whatever comes is new to it."""
    await trio.lowlevel.checkpoint()
    return Verdict.NEW


async def _as_they_come(rows: list[StreamRow]) -> list[StreamRow]:
    await trio.lowlevel.checkpoint()
    return rows


@asynccontextmanager
async def a_crew(*nodes: str, patience_s: float = 20.0) -> AsyncIterator[Crew]:
    async with trio.open_nursery() as nursery:
        crew = Crew(nursery, patience_s=patience_s)
        await crew.begin(*nodes)
        yield crew
        nursery.cancel_scope.cancel()
