"""The engine in memory: several members in one process, with every fault that an engine can have. For tests."""

import contextlib
import enum
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import Final, TypeVar

import structlog
import trio
from outcome import Outcome, capture

from rtmsd.cluster.codec import decode, encode
from rtmsd.cluster.engine import (
    BEATS_KEPT,
    MAX_MESSAGE_BYTES,
    Away,
    Ear,
    EngineError,
    Handler,
    Nobody,
    Placed,
    Refused,
    TooLarge,
)
from rtmsd.cluster.engines.memory_tables import Tables
from rtmsd.cluster.records import Beat, Held, Log, Own, Part, Revoked, Row

logger = structlog.get_logger(__name__)

T = TypeVar("T")

AWAY_AFTER_S: Final = 1.0
"""How long a call waits for an engine that does not answer."""


class Fault(enum.Enum):
    """What is wrong with the engine, or with one member's connection to it; the worst first."""

    AWAY = enum.auto()  # the connection is lost: nothing is done, nothing comes in
    FROZEN = enum.auto()  # the connection stands: what is said meanwhile is done or heard afterwards, in one burst
    FULL = enum.auto()  # its disk: writes are refused at once
    DEAF = enum.auto()  # beats, orders and questions do not come; own calls work
    ANSWER_LOST = enum.auto()  # writes are done, and their answers do not come


_SILENT: Final = frozenset({Fault.AWAY, Fault.DEAF, Fault.FROZEN})
"""Nothing comes in."""
_MISSING: Final = frozenset({Fault.AWAY, Fault.DEAF})
"""What others said meanwhile is never heard."""


class MemoryEngine:
    """What the members share, and the faults.

    Attributes:
        delay_s: of each call: half of it before, half after something is done.
        tables: what is kept.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.tables = Tables()
        self._members: dict[str, MemoryMember] = {}
        self._faults: dict[str | None, Fault] = {}
        self._stalled: list[tuple[str, Callable[[], object]]] = []  # what frozen members said
        self._change = trio.Event()

    @contextlib.asynccontextmanager
    async def join(self, node: str, incarnation: str) -> AsyncIterator["MemoryMember"]:
        """Have a member take part until the context ends, which is its death. A later one of its name replaces it."""
        async with trio.open_nursery() as nursery:
            member = self._members[node] = MemoryMember(self, node, incarnation, nursery)
            try:
                yield member
            finally:
                if self._members.get(node) is member:
                    del self._members[node]
                nursery.cancel_scope.cancel()

    @contextlib.contextmanager
    def failing(self, fault: Fault, node: str | None = None) -> Iterator[None]:
        """Have a fault while the context lasts: for one member, or (None) for all."""
        self.fail(fault, node)
        try:
            yield
        finally:
            self.recover(node)

    def fail(self, fault: Fault, node: str | None = None) -> None:
        """Have a fault from now on, in place of the one that there was."""
        self._end(node)
        self._faults[node] = fault
        self._go_on()

    def recover(self, node: str | None = None) -> None:
        """End the fault of one member, or that of all; no change where there is none."""
        self._end(node)
        self._go_on()

    # For members

    def fault(self, node: str) -> Fault | None:
        faults = [fault for each in (None, node) if (fault := self._faults.get(each)) is not None]
        return min(faults, key=lambda fault: fault.value, default=None)

    def member(self, node: str) -> "MemoryMember | None":
        return self._members.get(node)

    async def call(self, node: str, work: Callable[[], T], *, is_write: bool = False) -> T:
        """Do something for a member, with the faults that there are for it."""
        await trio.sleep(self.delay_s / 2)
        with trio.move_on_after(AWAY_AFTER_S):
            await self.wait_until(lambda: self.fault(node) is not Fault.AWAY)
        if self.fault(node) is Fault.AWAY:
            raise Away("there is no connection to the engine")
        if self.fault(node) is Fault.FULL and is_write:
            raise Away("the engine's disk is full")
        done: list[Outcome[T]] = []
        self.say(node, lambda: done.append(capture(work)))
        with trio.move_on_after(AWAY_AFTER_S):
            await self.wait_until(lambda: bool(done))
        if not done:
            raise Away("the engine does not answer")
        await trio.sleep(self.delay_s / 2)
        if self.fault(node) is Fault.ANSWER_LOST and is_write:
            await trio.sleep(AWAY_AFTER_S)
            raise Away("the engine's answer did not come")
        return done[0].unwrap()

    def say(self, node: str, work: Callable[[], object]) -> None:
        """Do something now, or when the member's connection is no longer frozen: whether anyone still waits or not."""
        if self.fault(node) is Fault.FROZEN:
            self._stalled.append((node, work))
        else:
            work()
            self.changed()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not holds():
            await self._change.wait()

    def publish(self, beat: bytes) -> None:
        for member in self._members.values():
            member.receive(beat)

    def changed(self) -> None:
        """Have all look again that wait for something."""
        self._change.set()
        self._change = trio.Event()

    def _end(self, node: str | None) -> None:
        if self._faults.pop(node, None) in _MISSING:
            for member in self._members.values():
                if node in (None, member.node):
                    member.missed()

    def _go_on(self) -> None:
        stalled, self._stalled = self._stalled, []
        for node, work in stalled:
            self.say(node, work)
        self.changed()


class MemoryMember:
    """The engine, as one member has it."""

    def __init__(self, engine: MemoryEngine, node: str, incarnation: str, nursery: trio.Nursery) -> None:
        self.node = node
        self.incarnation = incarnation
        self._engine = engine
        self._nursery = nursery
        self._handlers: dict[str, Handler] = {}
        self._turns: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)
        self._beats: deque[bytes | Ear] = deque()

    # OwnerStore

    @property
    def is_up(self) -> bool:
        return self._engine.fault(self.node) is not Fault.AWAY

    async def read(self, rtms_stream_id: str) -> Held:
        return await self._engine.call(self.node, lambda: self._engine.tables.read(rtms_stream_id))

    async def claim(self, own: Own, *, seen: int) -> int:
        return await self._write(lambda: self._engine.tables.claim(own, seen))

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        return await self._engine.call(self.node, lambda: self._engine.tables.orphans(living))

    # Bus

    def serve(self, what: str, handler: Handler) -> None:
        self._handlers[what] = handler

    async def ask(self, node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"question {what}", len(data))
        answers: list[bytes | EngineError] = []
        with trio.move_on_after(timeout_s):
            await trio.sleep(self._engine.delay_s / 2)
            await self._engine.wait_until(lambda: self.is_up)
            self._engine.say(self.node, lambda: self._put(node, what, data, answers))
            await self._engine.wait_until(lambda: bool(answers) and not self._is_cut)
            await trio.sleep(self._engine.delay_s / 2)
            if isinstance(answers[0], EngineError):
                raise answers[0]
            return answers[0]
        raise Away(f"{node} did not answer {what} within {timeout_s:g} s")

    def _put(self, node: str, what: str, data: bytes, answers: list[bytes | EngineError]) -> None:
        """Put a question to a member. It is worked on also when the asker no longer waits for the answer."""
        asked = self._engine.member(node)
        if asked is None or what not in asked._handlers or not asked.is_up:
            answers.append(Nobody(f"no process called {node} takes questions of {what}"))
        elif self._engine.fault(node) is not Fault.DEAF:
            asked._nursery.start_soon(asked._work, what, data, answers)

    async def _work(self, what: str, data: bytes, answers: list[bytes | EngineError]) -> None:
        await self._engine.wait_until(lambda: not self._is_cut)
        answer = await self._answer(what, data)
        await self._engine.wait_until(lambda: not self._is_cut)
        answers.append(answer)
        self._engine.changed()

    async def _answer(self, what: str, data: bytes) -> bytes | Refused:
        try:
            answer = await self._handlers[what](data)
        except EngineError as exc:
            return Refused(str(exc))
        except Exception:
            logger.exception("answering a question crashed", what=what)
            return Refused("internal error")
        return answer if len(answer) <= MAX_MESSAGE_BYTES else Refused("the answer is too large")

    # StreamLog

    async def append(self, log: Log) -> None:
        async with self._turns[log.rtms_stream_id]:
            await self._write(lambda: self._engine.tables.append(log))

    async def put_row(self, row: Row) -> None:
        await self._write(lambda: self._engine.tables.put_row(row))

    async def put_part(self, part: Part) -> None:
        await self._write(lambda: self._engine.tables.put_part(part))

    async def parts(self, rtms_stream_id: str) -> Sequence[Part]:
        return await self._engine.call(self.node, lambda: self._engine.tables.parts(rtms_stream_id))

    async def read_log(self, rtms_stream_id: str, *, after: int = 0) -> Sequence[Placed[Log]]:
        return await self._engine.call(self.node, lambda: self._engine.tables.read_log(rtms_stream_id, after))

    async def purge(self, rtms_stream_id: str) -> None:
        await self._write(lambda: self._engine.tables.purge(rtms_stream_id))

    async def revoke(self, revoked: Revoked) -> None:
        await self._write(lambda: self._engine.tables.revoke(revoked))

    async def revocations(self, *, after: int = 0) -> Sequence[Placed[Revoked]]:
        tables = self._engine.tables
        await self._engine.wait_until(
            lambda: self._engine.fault(self.node) not in _SILENT and bool(tables.revocations(after))
        )
        return tables.revocations(after)

    # Beats

    async def beat(self, beat: Beat) -> None:
        await trio.lowlevel.checkpoint()
        if self._engine.fault(self.node) is Fault.AWAY:
            raise Away("there is no connection to the engine")
        data = encode(beat)
        self._engine.say(self.node, lambda: self._engine.publish(data))

    async def hear(self) -> Beat | Ear:
        await self._engine.wait_until(lambda: self._engine.fault(self.node) not in _SILENT and bool(self._beats))
        heard = self._beats.popleft()
        return heard if isinstance(heard, Ear) else decode(Beat, heard)

    # For the engine

    def receive(self, beat: bytes) -> None:
        if len(self._beats) >= BEATS_KEPT:
            self.missed()
        self._beats.append(beat)

    def missed(self) -> None:
        self._beats.clear()
        self._beats.append(Ear.DEAF)

    @property
    def _is_cut(self) -> bool:
        """Whether neither questions nor answers get through now."""
        return self._engine.fault(self.node) in (Fault.AWAY, Fault.FROZEN)

    async def _write(self, work: Callable[[], T]) -> T:
        return await self._engine.call(self.node, work, is_write=True)
