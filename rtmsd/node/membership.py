"""A member of a cluster: whose each stream is, who acts on a webhook, and what becomes of the streams of the dead."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final, NoReturn

import structlog
import trio

from rtmsd import __version__
from rtmsd.cluster.handover.handover import Handover
from rtmsd.cluster.handover.taker import Taker
from rtmsd.cluster.keeping.appender import Appender
from rtmsd.cluster.keeping.journal import ClusterJournal
from rtmsd.cluster.keeping.lines import Lines
from rtmsd.cluster.keeping.renewal import Renewal
from rtmsd.cluster.keeping.resuming import resume_kept
from rtmsd.cluster.keeping.spool import Spool
from rtmsd.cluster.keeping.store import KeptStore
from rtmsd.cluster.life.heart import Heart
from rtmsd.cluster.liveness import Liveness
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.parts.copying import Copier
from rtmsd.cluster.parts.gathering import Gatherer
from rtmsd.cluster.parts.inheriting import Inheritance
from rtmsd.cluster.parts.joining import Joiner
from rtmsd.cluster.parts.revocations import Revocations
from rtmsd.cluster.parts.serving import PartServer
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import Beat, Held, MemberState, Why
from rtmsd.cluster.router import HOOK, Router
from rtmsd.cluster.rules import place
from rtmsd.cluster.takeover import Takeover
from rtmsd.commands import StreamCommand
from rtmsd.config.cluster import ClusterConfig
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.errors import RtmsdError
from rtmsd.node.engine import MemberEngine, OpenEngine
from rtmsd.node.metrics import Times
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.disk.retrying import own_threads
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.recorder import Recorder
from rtmsd.state.rows import StreamRow
from rtmsd.streams.drivers.tenure import Permission
from rtmsd.streams.resuming import longest_out_first
from rtmsd.streams.running import local_ms
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.garbage import Garbage

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 20.0
"""For the engine to say whose a stream is, before it is connected without that: Zoom keeps it for 60 s."""
AGAIN_S: Final = 1.0  # after a crash of a part
KEPT_EVERY_S: Final = 10.0
_TAKEN_OVER: Final = frozenset({Why.DIED, Why.UNREACHABLE, Why.HANDED_OVER})


class Membership:
    """Connects the streams of this process with those of the other members. Also the `Tenure` that each handshake asks.

    Args:
        node: this member's name.
        open_engine: see `MemberEngine`.
        spool: of log lines while the engine is away.

    Attributes:
        incarnation: this life of the member.
        supervisor: of the streams of this process; writers: of their recordings.
        router: takes webhooks.
        handover: gives streams to other members; `taker` takes theirs.
        gatherer: joins the parts of streams that ended here. revocations: deletes what was revoked.
        state: as others hear it.
        times: how long takeovers and appends took.
        garbage: what others sent that cannot be read.
        fenced: how often a stream turned out to be another member's.
    """

    takeover_cause = GapCause.NODE_TAKEOVER

    def __init__(
        self,
        needs: SupervisorNeeds,
        settings: ClusterConfig,
        *,
        node: str,
        open_engine: OpenEngine,
        spool: Spool,
    ) -> None:
        self.incarnation = secrets.token_hex(8)
        self.state = MemberState.STARTING
        self.times, self.fenced = Times(), 0
        self.webhook_ms: Callable[[], int | None] = lambda: None
        self.settings, self._node, self._publish = settings, node, needs.on_event
        self._nursery: trio.Nursery
        self._leaving = trio.Event()
        self._losing: set[str] = set()  # streams that are another's, perhaps
        self.writers = writers = needs.writers
        self.garbage = Garbage()
        self.engine = engine = MemberEngine(open_engine)
        liveness = Liveness(node, self.incarnation, beat_s=settings.beat_s, dead_after_beats=settings.dead_after_beats)
        me = Member(node=node, incarnation=self.incarnation, capacity=settings.capacity_streams, is_ready=False)
        self.members = Members(me, lambda: len(self.supervisor.streams), liveness)
        self.appender = Appender(
            engine,
            spool,
            node=node,
            token=self._token,
            last_token=self._last_token,
            on_fenced=self._lost,
            observe_s=self.times.append.observe,
        )
        self._lines = Lines(self.appender, settings.log)
        self._parts = PartTeller(engine)
        self.journal = ClusterJournal(
            needs.journal,
            engine,
            node=node,
            incarnation=self.incarnation,
            on_claimed=self._claimed,
            on_lost=self._lost,
            has_lines=self.appender.has_lines,
            clock_ms=local_ms,
        )
        self.supervisor = supervisor = Supervisor(
            needs.config,
            self.journal,
            writers,
            restarter=needs.restarter,
            on_event=self._on_event,
            tenure=self,
            on_let_go=self._let_go,
            redirect=self._redirect,
            on_recorder=self._on_recorder,
        )
        self.heart = Heart(
            engine,
            self.members,
            liveness,
            describe=self.describe,
            beat_s=settings.beat_s,
            dead_after_beats=settings.dead_after_beats,
            clock_ms=local_ms,
        )
        self.store = store = KeptStore(engine, self.journal)
        self.ownership = Ownership(
            self.members,
            store,
            supervisor,
            apps=self._apps,
            cause=lambda why: self.takeover_cause if why in _TAKEN_OVER else GapCause.DAEMON_RESTART,
            patience_s=PATIENCE_S,
            clock_ms=local_ms,
            prepare=Inheritance(engine, local_ms).prepare,
            confirm=partial(store.confirm, incarnation=self.incarnation),
        )
        random = Random()
        self.router = Router(
            self.members,
            engine,
            self.ownership,
            supervisor,
            choose=lambda members: place(members, random),
            keep=self.journal.keep,
            deliver_as=HOOK,
            garbage=self.garbage,
            on_delivered=self.journal.handed_on,
            can_begin_alone=True,
        )
        self.takeover = Takeover(
            self.members,
            store,
            self.ownership,
            supervisor,
            in_order=self._in_order,
            handshakes=settings.takeover_handshakes,
            observe_s=self.times.takeover.observe,
        )
        self.handover = Handover(self.members, engine, self.ownership, supervisor, tell=self._tell_next_owner)
        copier = Copier(engine, bytes_per_s=settings.gather_bytes_per_s, run_sync=own_threads(2), garbage=self.garbage)
        joiner = Joiner(
            engine,
            supervisor,
            writers,
            self._parts,
            copier,
            members=self.members,
            node=node,
            clock_ms=local_ms,
        )
        self.gatherer = Gatherer(joiner, supervisor.librarian, local_ms)
        self.revocations = Revocations(
            engine, supervisor, writers, self._parts, node=node, forget=[self.appender.forget, self.gatherer.forget]
        )
        PartServer(supervisor, writers, self._parts, garbage=self.garbage).serve(engine)
        self.taker = Taker(self.members, engine, self.ownership, supervisor, apps=self._apps, garbage=self.garbage)

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part, until cancelled. Started when webhooks can be taken, and what an earlier life had is resumed.

        Raises:
            RtmsdError: the engine cannot be used with this configuration.
        """
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self.engine.run)
            await self._nursery.start(self.appender.run)
            await self._nursery.start(self._parts.run)
            await self._nursery.start(self.router.run)
            for part in (self.heart.run, self.ownership.run, self._deliver_kept):
                self._nursery.start_soon(keep, part)
            await resume_kept(
                await self._in_order(await self.journal.unfinished()),
                self.journal,
                self.ownership,
                self.supervisor,
                node=self._node,
                takeover_cause=self.takeover_cause,
            )
            self.state = MemberState.UP
            self.heart.changed()
            self._nursery.start_soon(keep, self.journal.run)
            self._nursery.start_soon(keep, self._take_over)
            renewal = Renewal(self.ownership, self.store, incarnation=self.incarnation, keep_s=self.settings.keep_log_s)
            self._nursery.start_soon(keep, renewal.run)
            self._nursery.start_soon(keep, self.revocations.run)
            self._parts.on_ended = self.gatherer.ended
            self._nursery.start_soon(keep, self._gather if self.settings.gather == "at_end" else self.gatherer.watch)
            task_status.started()
            await trio.sleep_forever()

    async def _take_over(self) -> None:
        await self.heart.has_listened.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.takeover.run)
            await self._leaving.wait()
            nursery.cancel_scope.cancel()
        await trio.sleep_forever()  # this process stops

    async def _gather(self) -> None:
        await self.heart.has_listened.wait()  # who was not heard by then is away
        await self.gatherer.run()

    def leave(self) -> None:
        """Take over nothing more, and be given nothing more, as this process stops."""
        self.state = MemberState.DRAINING
        self.heart.changed()
        self.taker.close()
        self._leaving.set()

    async def _tell_next_owner(self, rtms_stream_id: str) -> None:
        await self.journal.tell(rtms_stream_id)
        await self._parts.wait_told(rtms_stream_id)

    async def hand_over(self) -> None:
        """Give all streams to other members, if that is configured, as this process stops. Those that stay are resumed
        by its next life, or taken over by whoever is first.
        """
        if self.settings.on_stop == "hand_over" and self.supervisor.streams:
            await self.handover.drain(self.settings.hand_over_s)

    def describe(self) -> Beat:
        is_draining = self.state is MemberState.UP and self.supervisor.refuse_starts is not None
        return Beat(
            node=self._node,
            incarnation=self.incarnation,
            n=0,
            state=MemberState.DRAINING if is_draining else self.state,
            streams=len(self.supervisor.streams),
            capacity=self.settings.capacity_streams,
            webhook_ms=self.webhook_ms(),
            zone=self.settings.zone_name[:64],
            release=__version__,
        )

    # Streams

    async def _in_order(self, rows: Sequence[StreamRow]) -> list[StreamRow]:
        roots = self.writers.directories
        return await longest_out_first(roots, list(rows), self.writers[roots[0]].run_sync)

    def _apps(self) -> list[str]:
        return [app.name for app in self.supervisor.config.apps]

    async def may_connect(self, rtms_stream_id: str) -> Permission:
        """See `Tenure`."""
        try:
            return await self.ownership.may_connect(rtms_stream_id)
        except Exception:
            log.exception("question for the owner crashed", rtms_stream_id=rtms_stream_id)
            return Permission.BLIND

    def _claimed(self, rtms_stream_id: str, token: int, epoch: int) -> None:
        if (managed := self.supervisor.streams.get(rtms_stream_id)) is not None:
            self.ownership.hold(rtms_stream_id, token, epoch)
            managed.owned(PartTenure(node=self._node, epoch=epoch, token=token))
        else:
            self.ownership.let_go(rtms_stream_id)  # it is mine, as the engine says, and resumed

    def _lost(self, rtms_stream_id: str, why: str) -> None:
        self.fenced += 1
        if rtms_stream_id not in self._losing:
            self._losing.add(rtms_stream_id)
            self._nursery.start_soon(_contain, partial(self._lose, rtms_stream_id, why))

    async def _lose(self, rtms_stream_id: str, why: str) -> None:
        """Let go a stream that was refused to this member, unless the engine says that it is nobody else's."""
        try:
            with trio.move_on_after(PATIENCE_S):
                while (held := await self._held(rtms_stream_id)) is None:  # noqa: ASYNC110 the engine has no event
                    await trio.sleep(AGAIN_S)
                managed = self.supervisor.streams.get(rtms_stream_id)
                if self.members.is_me(held.own):
                    return  # it was renewed, or claimed again, at that moment
                if held.own is None and managed is not None and managed.end is None:
                    log.warning("engine has lost the owner of a stream", rtms_stream_id=rtms_stream_id)
                    self.ownership.resume_unproven(managed.row)  # nobody else has it
                    return
        finally:
            self._losing.discard(rtms_stream_id)
        await self.ownership.lost(rtms_stream_id, why)
        await self._hand_on_kept()

    async def _held(self, rtms_stream_id: str) -> Held | None:
        with contextlib.suppress(RtmsdError):
            return await self.ownership.read(rtms_stream_id)
        return None

    def _let_go(self, rtms_stream_id: str, _why: str) -> None:
        async def forget() -> None:
            async with self.ownership.turns.of(rtms_stream_id):  # in which it may be handed over
                await self.journal.let_go(rtms_stream_id)

        self.ownership.let_go(rtms_stream_id)
        self._nursery.start_soon(_contain, forget)

    def _redirect(self, command: StreamCommand) -> None:
        self.router.redirect(command)

    # Webhooks for others, also of an earlier life

    async def _deliver_kept(self) -> NoReturn:
        while True:
            await self._hand_on_kept()
            await trio.sleep(KEPT_EVERY_S)

    async def _hand_on_kept(self) -> None:
        for command in await self.journal.kept():
            self.router.deliver(command)

    # Lines for the engine

    def _token(self, rtms_stream_id: str) -> int | None:
        return self.ownership.token(rtms_stream_id)

    async def _last_token(self, rtms_stream_id: str) -> int | None:
        return await self.journal.token(rtms_stream_id)

    def _on_event(self, event: dict[str, Any]) -> None:
        self._publish(event)
        if self.ownership.token(event["rtms_stream_id"]) is not None:
            self._lines.copy(event)

    def _on_recorder(self, recorder: Recorder) -> None:
        self._parts.follow(recorder)
        self._lines.follow(recorder)


async def _contain(work: Callable[[], Awaitable[None]]) -> None:
    """Do something on which no stream depends."""
    try:
        await work()
    except RtmsdError as error:
        log.warning("cluster not told", error=str(error))
    except Exception:
        log.exception("cluster crashed")


async def keep(part: Callable[[], Awaitable[None]]) -> None:
    """Run a part of the cluster that never ends: again when it crashed, as no stream may end by it."""
    while True:
        await _contain(part)
        await trio.sleep(AGAIN_S)
