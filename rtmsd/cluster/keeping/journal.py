"""The journal of a member on several machines: the engine tells the others, the state file what happens without it.

Each change is synced in the state file first, and marked as not yet told. So a command is safe whether the engine
answers or not, its verdict does not depend on that, and a member that is started again tells what the last one could
not. The engine has the newest row whole: to tell it once, late, is as good as telling each change.
"""

import sqlite3
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeGuard, TypeVar

import attrs
import structlog
import trio

from rtmsd.cluster.codec import BadRecord
from rtmsd.cluster.engine import Away, EngineError, Fenced, OwnerStore, StreamLog
from rtmsd.cluster.hooks import BadHook, decode_command, encode_command
from rtmsd.cluster.keeping.telling import Teller
from rtmsd.cluster.records import Held, Own, TenureState
from rtmsd.commands import StartStream, StopStream, StreamCommand, Verdict
from rtmsd.errors import StorageError
from rtmsd.protocol.enums import StopReason
from rtmsd.state import parts, verdicts
from rtmsd.state.journal import Journal
from rtmsd.state.lost import Changes, LostStream
from rtmsd.state.parts import PartRow
from rtmsd.state.rows import Known, StreamRow
from rtmsd.system.throttle import Throttle
from rtmsd.system.turns import Turns

log = structlog.get_logger(__name__)

T = TypeVar("T")

READ_S: Final = 0.8
AGAIN_S: Final = 1.0  # between tries to tell the engine
AT_ONCE: Final = 64  # streams about which it is told


class Store(OwnerStore, StreamLog, Protocol):
    """An engine, as far as the journal needs it."""


class ClusterJournal:
    """Implements `Journal`. What it has of streams is what this member has; `KeptStore` writes claims down in it.

    Args:
        local: the state file, which no other process uses.
        node, incarnation: this member.
        on_claimed: is called when a stream that was begun without the engine is claimed, with its token and epoch. One
            that has no life here, as this process began later, is to be resumed.
        on_lost: is called when a stream turns out to be another's, with the reason: it is to be let go.
        has_lines: whether log lines of a stream are on their way: its end is told after them, as it fences them.
    """

    def __init__(
        self,
        local: Journal,
        engine: Store,
        *,
        node: str,
        incarnation: str,
        on_claimed: Callable[[str, int, int], None],
        on_lost: Callable[[str, str], None],
        has_lines: Callable[[str], bool] = lambda rtms_stream_id: False,
        clock_ms: Callable[[], int],
    ) -> None:
        self.local = local
        self.turns = Turns()
        self._engine, self._clock_ms = engine, clock_ms
        self._on_claimed, self._on_lost = on_claimed, on_lost
        self._incarnation = incarnation
        self._has_lines = has_lines
        self._refusals_logged = Throttle(60.0)
        self._failures_logged = Throttle(60.0)
        self._teller = Teller(engine, node, incarnation)
        self._is_pending = trio.Event()
        self._is_pending.set()  # of the life before, perhaps

    @property
    def path(self) -> Path:
        return self.local.path

    @property
    def is_shared(self) -> bool:
        return self.local.is_shared

    @property
    def set_aside(self) -> Path | None:
        return self.local.set_aside

    @property
    def salvaged(self) -> int:
        return self.local.salvaged

    @property
    def trouble(self) -> str | None:
        return self.local.trouble

    # Commands

    async def record(self, command: StreamCommand, other_apps: Set[str] = frozenset()) -> Verdict:
        """See `Journal`. A start that nobody is known to have makes the stream this member's, unclaimed, while the
        engine is away; another command is kept for the owner then.

        Raises:
            Fenced: the stream is another's. Nothing was recorded here; the owner has to judge.
        """
        rtms_stream_id = command.rtms_stream_id
        async with self.turns.of(rtms_stream_id):
            part, known = await self._read(rtms_stream_id)
            if part is None:
                verdict = await self._of_others(command, other_apps)
                if verdict is not None:
                    return verdict
                part, known = await self._read(rtms_stream_id)
            verdict, after = verdicts.judge(known, command, other_apps=other_apps, received_ms=self._clock_ms())
            if after is known:
                return verdict
            if part is None and verdict is not Verdict.NEW:  # nothing begins by it
                return await self.local.record(command, other_apps)
            await self._change(rtms_stream_id, after, command=command)
            if part is not None:
                await self._tell(rtms_stream_id)
            return verdict

    async def _of_others(self, command: StreamCommand, other_apps: Set[str]) -> Verdict | None:
        """Return the verdict on a command to a stream that the file does not have as this member's; None: it is."""
        is_start = isinstance(command, StartStream)
        try:
            held = await self._ask(command.rtms_stream_id)
        except Away:
            return None if is_start else await self.keep(command)
        if self._is_mine(held.own):  # the disk refused to hold it when it was claimed
            await self.hold(command.rtms_stream_id, held.known, token=held.token, nonce=held.own.nonce)
            return None
        if held.token == 0 and held.known.row is None:
            is_revocation = isinstance(command, StopStream) and command.stop_reason == StopReason.STREAM_REVOKED
            # A revocation is an order to all: others may have parts of what the engine has forgotten.
            return None if is_start or is_revocation else await self.local.record(command, other_apps)
        verdict, _ = verdicts.judge(held.known, command, other_apps=other_apps, received_ms=self._clock_ms())
        if verdict is Verdict.NEW:  # it is safe nowhere
            raise Fenced("another member has the stream, or had it")
        return verdict

    def _is_mine(self, own: Own | None) -> TypeGuard[Own]:
        return own is not None and own.incarnation == self._incarnation and own.state is TenureState.LIVE

    async def keep(self, command: StreamCommand) -> Verdict:
        """Make a command safe that is another's to carry out, and say whether it was not kept before.

        Raises:
            StorageError: it is not safe.
        """
        keep = partial(parts.keep, rtms_stream_id=command.rtms_stream_id, command=encode_command(command))
        return Verdict.NEW if await self.local.transact(keep) else Verdict.DUPLICATE

    async def kept(self) -> list[StreamCommand]:
        """Return the commands that are for other members, in the order in which they came: of an earlier life, too."""
        commands: list[StreamCommand] = []
        for each in await self.local.transact(parts.kept):
            try:
                commands.append(decode_command(each))
            except BadHook as bad:  # a newer version's, perhaps, to which this member may be updated again
                if (more := self._refusals_logged.admit()) is not None:
                    log.warning("kept webhook not delivered", why=str(bad), more_since_last=more)
        return commands

    async def handed_on(self, command: StreamCommand) -> None:
        """Forget a command that its owner has."""
        forget = partial(parts.forget_kept, rtms_stream_id=command.rtms_stream_id, command=encode_command(command))
        await self.local.transact(forget)

    # Tenures

    async def token(self, rtms_stream_id: str) -> int | None:
        """Return the token of this member's tenure, as long as the engine does not know its end; 0: not claimed yet.
        None: the stream is not this member's.
        """
        part, _ = await self._read(rtms_stream_id)
        return None if part is None else part.token

    # Ends

    async def revoke(self, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
        async with self.turns.of(rtms_stream_id):
            part, known = await self._read(rtms_stream_id)
            if part is None:
                await self.local.revoke(rtms_stream_id, stopped_ms=stopped_ms, event_ts=event_ts)
            elif known.row is not None:
                row = verdicts.revoke(known.row, stopped_ms=stopped_ms, event_ts=event_ts)
                if row is not None:
                    await self._change(rtms_stream_id, attrs.evolve(known, row=row))
                    await self._tell_or_lose(rtms_stream_id)

    async def close_stream(
        self,
        rtms_stream_id: str,
        *,
        reason: int,
        ended_ms: int,
        event_ts: int | None = None,
        on_closed: Callable[[sqlite3.Connection], None] = lambda db: None,
    ) -> None:
        """See `Journal`. A stream that is another's by now is forgotten here, and not closed."""
        async with self.turns.of(rtms_stream_id):
            part, known = await self._read(rtms_stream_id)
            if part is not None and await self._is_anothers(rtms_stream_id, part):
                await self._lose(rtms_stream_id, "it ended here, and is another's")
                if reason != StopReason.STREAM_REVOKED:  # that is an end wherever it is
                    return
                part = None
            if part is not None:  # the mark comes first: what is closed and not marked would never be told
                await self._change(rtms_stream_id, known)
            await self.local.close_stream(
                rtms_stream_id, reason=reason, ended_ms=ended_ms, event_ts=event_ts, on_closed=on_closed
            )
            if part is not None:
                await self._tell_or_lose(rtms_stream_id)
                if reason == StopReason.STREAM_REVOKED:
                    await self.local.expunge(rtms_stream_id)

    async def let_go(self, rtms_stream_id: str) -> None:
        """Take note that a stream was let go here. One that is another's, as far as the engine says, is forgotten: the
        next life is not to resume it.
        """
        async with self.turns.of(rtms_stream_id):
            part, _ = await self._read(rtms_stream_id)
            if part is not None and await self._is_anothers(rtms_stream_id, part):
                await self._lose(rtms_stream_id, "it was let go")

    async def _is_anothers(self, rtms_stream_id: str, part: PartRow) -> bool:
        """Whether another member has claimed a stream of ours, as far as the engine says."""
        try:
            held = await self._ask(rtms_stream_id)
        except Away:
            return False
        is_claimed = 0 not in (part.token, held.token) and part.token != held.token
        return is_claimed and not self._teller.has_ended(part, held)

    # The engine

    async def run(self) -> None:
        """Tell the engine, until cancelled, what it does not know yet."""
        while True:
            await self._is_pending.wait()
            self._is_pending = trio.Event()
            try:
                is_done = await self.tell_all()
            except StorageError as error:
                log.warning("state file cannot be read for the engine", error=str(error))
                is_done = False
            except Exception:
                log.exception("engine not told")
                is_done = False
            if not is_done:
                self._is_pending.set()
                await trio.sleep(AGAIN_S)

    async def tell_all(self) -> bool:
        """Tell the engine what it does not know yet, and return whether it knows all now."""
        told: list[bool] = []
        at_once = trio.CapacityLimiter(AT_ONCE)

        async def tell(rtms_stream_id: str) -> None:
            async with at_once, self.turns.of(rtms_stream_id):
                told.append(self._engine.is_up and await self._tell_or_lose(rtms_stream_id))

        async with trio.open_nursery() as nursery:
            for rtms_stream_id in await self.local.transact(parts.pending):
                nursery.start_soon(tell, rtms_stream_id)
        return all(told)

    async def tell(self, rtms_stream_id: str) -> None:
        """Tell the engine what it does not know yet of one stream, that included which is being recorded now."""
        async with self.turns.of(rtms_stream_id):
            await self._tell_or_lose(rtms_stream_id)

    async def _tell_or_lose(self, rtms_stream_id: str) -> bool:
        """Tell the engine about a stream. Returns False when it did not answer: it is told later."""
        try:
            return await self._tell(rtms_stream_id)
        except Fenced as fenced:
            self._on_lost(rtms_stream_id, str(fenced))
            return True

    async def _tell(self, rtms_stream_id: str) -> bool:
        """Tell the engine about a stream. Whatever fails, it is told later: what was made safe before has its verdict,
        and the others are told all the same.

        Raises:
            Fenced: it is another's, and was forgotten here.
        """
        try:
            return await self._tell_now(rtms_stream_id)
        except Fenced:
            raise
        except Exception as error:
            is_bug = not isinstance(error, StorageError)
            if (more := self._failures_logged.admit()) is not None:
                log.warning(
                    "engine not told of a stream yet",
                    rtms_stream_id=rtms_stream_id,
                    error=str(error) or type(error).__name__,
                    more_since_last=more,
                    exc_info=is_bug,
                )
            return False

    async def _tell_now(self, rtms_stream_id: str) -> bool:
        part, known = await self._read(rtms_stream_id)
        if part is None or not part.is_pending or known.row is None:
            return True
        if known.row.closed and part.token and self._has_lines(rtms_stream_id):
            return False
        try:
            claimed = await self._teller.tell(part, known.row, known)
        except Fenced as fenced:
            await self._lose(rtms_stream_id, str(fenced))
            raise
        except (EngineError, BadRecord) as error:
            if not isinstance(error, Away) and (more := self._refusals_logged.admit()) is not None:
                log.warning(
                    "engine does not take a stream",
                    rtms_stream_id=rtms_stream_id,
                    error=str(error),
                    more_since_last=more,
                )
            return False
        if claimed is not None:
            await self.hold(rtms_stream_id, claimed.known, token=claimed.token, nonce=part.nonce)
        await self.local.transact(partial(parts.told, rtms_stream_id=rtms_stream_id))
        if claimed is not None and not known.row.closed:
            self._on_claimed(rtms_stream_id, claimed.token, claimed.epoch)
        return True

    async def _ask(self, rtms_stream_id: str) -> Held:
        """Return what the engine says of a stream.

        Raises:
            Away: no answer, or none in time: Zoom waits for an answer to its webhook.
        """
        with trio.move_on_after(READ_S):
            return await self._engine.read(rtms_stream_id)
        raise Away("the engine did not say in time who owns the stream")

    # The state file

    async def hold(self, rtms_stream_id: str, known: Known, *, token: int, nonce: str) -> None:
        """Write down that a stream is this member's."""
        now_ms = self._clock_ms()
        await self.local.transact(
            partial(parts.hold, rtms_stream_id=rtms_stream_id, known=known, token=token, nonce=nonce, now_ms=now_ms)
        )

    async def _read(self, rtms_stream_id: str) -> tuple[PartRow | None, Known]:
        return await self.local.transact(partial(parts.read, rtms_stream_id=rtms_stream_id))

    async def _change(self, rtms_stream_id: str, known: Known, *, command: StreamCommand | None = None) -> None:
        """Write down what is known of a stream of this member, and that the engine does not know it yet."""
        change = partial(
            parts.change,
            rtms_stream_id=rtms_stream_id,
            known=known,
            command=None if command is None else encode_command(command),
            now_ms=self._clock_ms(),
        )
        await self.local.transact(change, needs_file=isinstance(command, StartStream))
        self._is_pending.set()

    async def _lose(self, rtms_stream_id: str, why: str) -> None:
        log.warning("stream is another member's", rtms_stream_id=rtms_stream_id, why=why)
        await self.local.transact(partial(parts.lose, rtms_stream_id=rtms_stream_id))

    async def expunge(self, rtms_stream_id: str) -> None:
        await self.local.expunge(rtms_stream_id)

    async def unfinished(self) -> list[StreamRow]:
        return await self.local.unfinished()

    async def known(self, rtms_stream_id: str) -> Known:
        return await self.local.known(rtms_stream_id)

    async def lost_streams(self) -> list[LostStream]:
        return await self.local.lost_streams()

    async def change_lost_streams(self, changes: Changes) -> None:
        await self.local.change_lost_streams(changes)

    async def transact(self, work: Callable[[sqlite3.Connection], T], *, needs_file: bool = False) -> T:
        return await self.local.transact(work, needs_file=needs_file)
