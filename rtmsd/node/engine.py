"""The engine as a member of a cluster has it: opened again after a crash, and away in between.

Whatever goes wrong in it ends clustering for a while, and no stream.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias, TypeVar

import structlog
import trio

from rtmsd.cluster.engine import Away, Beats, Bus, Ear, Handler, OwnerStore, Placed, StreamLog
from rtmsd.cluster.records import Beat, Held, Log, Own, Part, Revoked, Row
from rtmsd.errors import RtmsdError, leaves

log = structlog.get_logger(__name__)

T = TypeVar("T")

AGAIN_S: Final = 1.0


class Ends(Protocol):
    """A member's ends of an engine, as `NatsEngine` has them."""

    @property
    def owners(self) -> OwnerStore: ...
    @property
    def log(self) -> StreamLog: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def beats(self) -> Beats: ...


OpenEngine: TypeAlias = Callable[[], AbstractAsyncContextManager[Ends]]


class MemberEngine:
    """Implements `Engine`."""

    def __init__(self, open_engine: OpenEngine) -> None:
        self._open = open_engine
        self._ends: Ends | None = None
        self._was_opened = trio.Event()
        self._handlers: dict[str, Handler] = {}
        self._waits: set[trio.CancelScope] = set()  # of those who wait for news, however long

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it open, until cancelled. Started when it was opened, or has crashed: it is away then.

        Raises:
            RtmsdError: it cannot be used with this configuration. Once this has started, that is no reason to end.
        """
        has_started = False

        def started() -> None:
            nonlocal has_started
            if not has_started:
                has_started = True
                task_status.started()

        while True:
            try:
                async with self._open() as ends:
                    self._begin(ends)
                    started()
                    await trio.sleep_forever()
            except* RtmsdError as group:
                if not has_started:
                    raise
                log.error("engine cannot be used", errors=[str(error) for error in leaves(group)])  # noqa: TRY400
            except* Exception:
                log.exception("engine crashed; it is opened again")
            finally:
                self._end()
            started()
            await trio.sleep(AGAIN_S)

    def _begin(self, ends: Ends) -> None:
        self._ends = ends
        for what, handler in self._handlers.items():
            ends.bus.serve(what, handler)
        self._was_opened.set()

    def _end(self) -> None:
        self._ends = None
        self._was_opened = trio.Event()
        for scope in self._waits:
            scope.cancel()

    @property
    def _now(self) -> Ends:
        if self._ends is None:
            raise Away("the engine is not open")
        return self._ends

    async def _wait(self, news: Callable[[Ends], Awaitable[T]]) -> T | None:
        """Wait for news; None: the engine was closed meanwhile."""
        await self._was_opened.wait()
        with trio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await news(self._now)
            finally:
                self._waits.discard(scope)
        return None

    # See `Engine`

    @property
    def is_up(self) -> bool:
        return self._ends is not None and self._ends.owners.is_up

    async def read(self, rtms_stream_id: str) -> Held:
        return await self._now.owners.read(rtms_stream_id)

    async def claim(self, own: Own, *, seen: int) -> int:
        return await self._now.owners.claim(own, seen=seen)

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        return await self._now.owners.orphans(living)

    async def ask(self, node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
        return await self._now.bus.ask(node, what, data, timeout_s=timeout_s)

    def serve(self, what: str, handler: Handler) -> None:
        self._handlers[what] = handler
        if self._ends is not None:
            self._ends.bus.serve(what, handler)

    async def append(self, log: Log) -> None:
        await self._now.log.append(log)

    async def put_row(self, row: Row) -> None:
        await self._now.log.put_row(row)

    async def put_part(self, part: Part) -> None:
        await self._now.log.put_part(part)

    async def parts(self, rtms_stream_id: str) -> Sequence[Part]:
        return await self._now.log.parts(rtms_stream_id)

    async def read_log(self, rtms_stream_id: str, *, after: int = 0) -> Sequence[Placed[Log]]:
        return await self._now.log.read_log(rtms_stream_id, after=after)

    async def purge(self, rtms_stream_id: str) -> None:
        await self._now.log.purge(rtms_stream_id)

    async def revoke(self, revoked: Revoked) -> None:
        await self._now.log.revoke(revoked)

    async def revocations(self, *, after: int = 0) -> Sequence[Placed[Revoked]]:
        while (found := await self._wait(lambda ends: ends.log.revocations(after=after))) is None:
            pass
        return found

    async def beat(self, beat: Beat) -> None:
        await self._now.beats.beat(beat)

    async def hear(self) -> Beat | Ear:
        heard = await self._wait(lambda ends: ends.beats.hear())
        return Ear.DEAF if heard is None else heard
