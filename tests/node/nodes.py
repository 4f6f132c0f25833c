"""Members with hearts and streams over the engine in memory, each with an admin API for all, and models of the rest."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from rtmsd.cluster.engines.memory import MemoryMember
from rtmsd.cluster.engines.survey import Survey
from rtmsd.cluster.life.heart import Heart
from rtmsd.cluster.liveness import Liveness
from rtmsd.cluster.parts.outstanding import Outstanding
from rtmsd.cluster.records import Beat, MemberState
from rtmsd.daemon.health import Trouble
from rtmsd.node.answering import Answering
from rtmsd.node.control import Control
from rtmsd.node.draining import Draining
from rtmsd.node.view import View
from tests.admin.fleet.crew import Backend, live
from tests.cluster.crew import T0_MS, Crew, Mate, a_crew, start

BEAT_S: Final = 1.0


@attrs.define
class Server:
    address: str = "n1:4222"
    version: str = "2.11.4"


@attrs.define
class ModelEngine:
    """What is seen of servers."""

    trouble: str | None = None
    server: Server | None = attrs.field(factory=Server)
    denied: tuple[str, ...] = ()
    unreadable: Mapping[str, int] = attrs.field(factory=lambda: {"row": 0})
    found: Survey = attrs.field(factory=Survey)

    async def survey(self, timeout_s: float) -> Survey:
        await trio.lowlevel.checkpoint()
        return self.found


@attrs.define
class ModelHealth:
    troubles: Sequence[Trouble] = ()
    slots: Collection[str] = ()

    def held_slots(self) -> Collection[str]:
        return self.slots


class NodeBackend(Backend):
    """The admin API of a member: its live streams, and what a test adds."""

    def __init__(self, mate: Mate) -> None:
        super().__init__()
        self.more: dict[str, dict[str, Any]] = {}
        self._mate = mate

    @property
    def known(self) -> dict[str, dict[str, Any]]:
        streams = {name: live(name, app="main", why=None, gaps=[]) for name in self._mate.streams}
        return {**self.more, **streams}

    @known.setter
    def known(self, known: dict[str, dict[str, Any]]) -> None:
        assert not known


@attrs.define(eq=False, kw_only=True)
class Node:
    """A member.

    Attributes:
        ungathered, unconfirmed: streams of which parts are to be joined, and revoked ones with who has parts left.
        gather_error: why they cannot be joined.
        ahead_ms: of its clock.
    """

    mate: Mate
    member: MemoryMember
    is_draining: bool = False
    ungathered: set[str] = attrs.field(factory=set)
    unconfirmed: dict[str, set[str]] = attrs.field(factory=dict)
    gather_error: Exception | None = None
    ahead_ms: int = 0
    fenced: int = 0
    capacity: int = 10
    engine: ModelEngine = attrs.field(factory=ModelEngine)
    backend: NodeBackend = attrs.field(init=False)
    health: ModelHealth = attrs.field(factory=ModelHealth)
    heart: Heart = attrs.field(init=False)
    view: View = attrs.field(init=False)
    here: Answering = attrs.field(init=False)
    draining: Draining = attrs.field(init=False)
    control: Control = attrs.field(init=False)

    def describe(self) -> Beat:
        state = MemberState.DRAINING if self.is_draining else MemberState.UP
        return Beat(
            node=self.mate.node,
            incarnation=self.mate.incarnation,
            n=0,
            state=state,
            streams=len(self.mate.streams),
            capacity=self.capacity,
            release="1.2.0",
            zone="z",
        )

    def _take_none(self, on: bool) -> None:
        self.is_draining = on
        self.mate.lives.refuses = "draining" if on else None

    async def _not_deleted(self, rtms_stream_id: str) -> set[str]:
        await trio.lowlevel.checkpoint()
        return self.unconfirmed[rtms_stream_id]

    async def _gather(self, rtms_stream_id: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self.gather_error is not None:
            raise self.gather_error
        return {"rtms_stream_id": rtms_stream_id, "parts": ["x", "y"]}

    def _local_ms(self) -> int:
        return T0_MS + int(trio.current_time() * 1000) + self.ahead_ms

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Live until the mate dies."""
        mate = self.mate
        self.backend = NodeBackend(mate)
        self.heart = Heart(
            self.member,
            mate.members,
            Liveness(mate.node, mate.incarnation),
            describe=self.describe,
            clock_ms=self._local_ms,
        )
        self.view = View(
            heart=self.heart,
            describe=self.describe,
            engine=lambda: self.engine,
            beat_s=BEAT_S,
            outstanding=Outstanding(
                ungathered=lambda: self.ungathered,
                revoked=lambda: list(self.unconfirmed),
                unconfirmed=self._not_deleted,
            ),
        )
        async with trio.open_nursery() as nursery:
            self.draining = Draining(mate.handover, take_none=self._take_none, for_s=60, nursery=nursery)
            self.here = Answering(
                self.backend,
                self.health,
                ownership=mate.ownership,
                draining=self.draining,
                ungathered=lambda: self.ungathered,
                gather=self._gather,
                garbage=mate.garbage,
            )
            self.here.serve(self.member)
            self.control = Control(self.here, self.view, mate.members, self.member, self.member)
            nursery.start_soon(self.heart.run)
            nursery.start_soon(self.view.outstanding.run)
            task_status.started()

    async def begin(self, *rtms_stream_ids: str) -> None:
        """Own streams."""
        for name in rtms_stream_ids:
            await self.mate.ownership.accept(start(name))


class Nodes(dict[str, Node]):
    """By name."""

    crew: Crew
    scopes: dict[str, trio.CancelScope]

    async def kill(self, name: str) -> None:
        """End a member at once; the others find out by its silence."""
        self.scopes.pop(name).cancel()
        mate = self.crew.mates.pop(name)
        mate.nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def three_nodes(*names: str, settle_s: float = 5.0) -> AsyncIterator[Nodes]:
    async with a_crew(*names or ("a", "b", "c")) as crew, trio.open_nursery() as nursery:
        nodes = Nodes()
        nodes.crew, nodes.scopes = crew, {}
        for name, mate in crew.mates.items():
            member = crew.engine.member(name)
            assert member is not None
            node = nodes[name] = Node(mate=mate, member=member)
            await nursery.start(_run, node, nodes.scopes)
        await trio.sleep(settle_s)
        yield nodes
        nursery.cancel_scope.cancel()


async def _run(node: Node, scopes: dict[str, trio.CancelScope], *, task_status: trio.TaskStatus[None]) -> None:
    with trio.CancelScope() as scope:
        scopes[node.mate.node] = scope
        await node.run(task_status=task_status)
