"""Members with hearts and streams over the engine in memory, each with an admin API for all, and models of the rest."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from rtmsd.cluster.engines.memory import MemoryMember
from rtmsd.cluster.engines.survey import Survey
from rtmsd.cluster.life.heart import Heart
from rtmsd.cluster.liveness import Liveness
from rtmsd.cluster.records import Beat, MemberState
from rtmsd.daemon.health import Trouble
from rtmsd.errors import RtmsdError
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


@attrs.frozen
class Passage:
    node: str | None = None
    why: str | None = None


@attrs.frozen
class Result:
    passages: Mapping[str, Passage]


class NotMoved(RtmsdError):
    pass


@attrs.define
class ModelHandover:
    """Hands over whatever is there in two seconds, to `to`; None: nobody takes it."""

    mate: Mate
    to: str | None = "a"
    moved: list[tuple[str, str | None]] = attrs.field(factory=list)

    async def drain(self, for_s: float) -> Result:
        streams = sorted(self.mate.streams)
        await trio.sleep(2)
        return Result({name: Passage(self.to, None if self.to else "nobody has room") for name in streams})

    async def move(self, rtms_stream_id: str, node: str | None = None) -> str:
        await trio.sleep(0.1)
        if self.to is None:
            raise NotMoved("c: it has 10 of 10 streams")
        self.moved.append((rtms_stream_id, node))
        return node or self.to


@attrs.define(eq=False, kw_only=True)
class Node:
    """A member.

    Attributes:
        ungathered, unconfirmed: what its parts say.
        ahead_ms: of its clock.
    """

    mate: Mate
    member: MemoryMember
    is_draining: bool = False
    ungathered: set[str] = attrs.field(factory=set)
    unconfirmed: dict[str, set[str]] = attrs.field(factory=dict)
    ahead_ms: int = 0
    capacity: int = 10
    fenced: int = 0
    engine: ModelEngine = attrs.field(factory=ModelEngine)
    backend: Backend = attrs.field(factory=Backend)
    health: ModelHealth = attrs.field(factory=ModelHealth)
    handover: ModelHandover = attrs.field(init=False)
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

    def _local_ms(self) -> int:
        return T0_MS + int(trio.current_time() * 1000) + self.ahead_ms

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Live until the mate dies."""
        mate = self.mate
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
            ungathered=lambda: self.ungathered,
            unconfirmed=lambda: self.unconfirmed,
        )
        async with trio.open_nursery() as nursery:
            self.handover = ModelHandover(mate)
            self.draining = Draining(self.handover, take_none=self._take_none, for_s=60, nursery=nursery)
            self.here = Answering(
                self.backend, self.health, self.view, ownership=mate.ownership, controls=self.draining
            )
            self.here.serve(self.member)
            self.control = Control(self.here, self.view, mate.members, self.member, self.member)
            nursery.start_soon(self.heart.run)
            task_status.started()

    async def begin(self, *rtms_stream_ids: str) -> None:
        """Own streams, and have them in the admin API."""
        for name in rtms_stream_ids:
            await self.mate.ownership.accept(start(name))
            self.backend.known[name] = live(name, app="main", why=None, gaps=[])


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
async def three_nodes() -> AsyncIterator[Nodes]:
    async with a_crew("a", "b", "c") as crew, trio.open_nursery() as nursery:
        nodes = Nodes()
        nodes.crew, nodes.scopes = crew, {}
        for name, mate in crew.mates.items():
            member = crew.engine.member(name)
            assert member is not None
            node = nodes[name] = Node(mate=mate, member=member)
            await nursery.start(_run, node, nodes.scopes)
        await trio.sleep(5)
        yield nodes
        nursery.cancel_scope.cancel()


async def _run(node: Node, scopes: dict[str, trio.CancelScope], *, task_status: trio.TaskStatus[None]) -> None:
    with trio.CancelScope() as scope:
        scopes[node.mate.node] = scope
        await node.run(task_status=task_status)
