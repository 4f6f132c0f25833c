"""The appender: copies lines of a stream's events and transcript to the engine, joined, in order, without a hole.

They are in the stream's own files as well: what is lost here is lost for the other members only, until parts are
gathered. So nothing waits for the engine, and every wait has a bound.
"""

import enum
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs
import structlog
import trio

from rtmsd.cluster.codec import BadRecord
from rtmsd.cluster.engine import Away, Fenced, OwnerStore, StreamLog
from rtmsd.cluster.keeping.spool import Batch, Lines, Spool
from rtmsd.cluster.records import Log
from rtmsd.errors import StorageError

log = structlog.get_logger(__name__)

JOIN_S: Final = 0.5
JOIN_BYTES: Final = 64_000
WAITING_BYTES: Final = 1_000_000
"""Of one stream's lines that wait in memory, as an append or the disk is slow. When there are more, the oldest go."""
AGAIN_S: Final = 1.0
AT_ONCE: Final = 64  # streams whose lines are on their way
SWEEP: Final = 64  # streams beyond twice those that live, at which the others are forgotten


class Engine(OwnerStore, StreamLog, Protocol):
    """An engine, as far as the appender needs it."""


class Result(enum.Enum):
    """What became of lines."""

    APPENDED = "appended"
    SPOOLED = "spooled"  # the engine does not answer, or the stream is not claimed yet
    ANOTHERS = "anothers"  # the stream is another member's: they stay in this member's part
    REFUSED = "refused"  # the engine takes no such line


@attrs.define(eq=False)
class _Stream:
    """A stream that writes.

    Attributes:
        waiting: file and line.
        n: of the next append under `token`.
        is_spooled: lines are on disk; what comes goes behind them.
        is_busy: a task looks after it.
        times_forgotten: what was taken before the latest time is not to be spooled.
    """

    waiting: list[tuple[str, str]] = attrs.field(factory=list)
    waiting_bytes: int = 0
    token: int = 0
    n: int = 0
    is_spooled: bool = False
    is_busy: bool = False
    times_forgotten: int = 0
    is_full: trio.Event = attrs.field(factory=trio.Event)

    def take(self) -> Lines:
        """Take the oldest lines, about as many as are joined."""
        lines: dict[str, list[str]] = {}
        size_bytes = count = 0
        for stem, line in self.waiting:
            if count and size_bytes + len(line) > JOIN_BYTES:
                break
            lines.setdefault(stem, []).append(line)
            size_bytes, count = size_bytes + len(line), count + 1
        del self.waiting[:count]
        self.waiting_bytes -= size_bytes
        return {stem: tuple(each) for stem, each in lines.items()}

    def next_as(self, token: int) -> tuple[int, int]:
        """Return token and number for an append."""
        if token != self.token:
            self.token, self.n = token, 0
        self.n += 1
        return token, self.n - 1


class Appender:
    """Appends lines of the streams of this member. Start `run` before the first is written.

    Args:
        node: this member.
        token: of a stream that lives here; 0: not claimed yet; None: it does not live here.
        last_token: the same of one that lives here no more, and of which the engine does not know the end yet.
        on_fenced: is called with a stream that turns out to be another's, and the reason: it is to be let go.
        observe_s: is given the time that each append took, in seconds.

    Attributes:
        results: lines, counted by what became of them.
        dropped: lines for which there was no room in memory, or on a disk that refuses.
    """

    def __init__(
        self,
        engine: Engine,
        spool: Spool,
        *,
        node: str,
        token: Callable[[str], int | None],
        last_token: Callable[[str], Awaitable[int | None]],
        on_fenced: Callable[[str, str], None],
        observe_s: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.results = Counter(dict.fromkeys(Result, 0))
        self.dropped = 0
        self._engine, self._spool, self._node = engine, spool, node
        self._token, self._last_token, self._on_fenced = token, last_token, on_fenced
        self._observe_s = observe_s
        self._streams: dict[str, _Stream] = {}
        self._sweep_at = SWEEP
        self._at_once = trio.CapacityLimiter(AT_ONCE)
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Append, until cancelled: first what an earlier life has left."""
        left: list[str] = []
        try:
            left = await self._spool.streams()
        except StorageError as error:
            log.warning("log lines of an earlier life not appended", error=str(error))
        async with trio.open_nursery() as self._nursery:
            for rtms_stream_id in left:
                self._streams[rtms_stream_id] = _Stream(is_spooled=True)
                self._wake(rtms_stream_id)
            task_status.started()
            await trio.sleep_forever()

    def has_lines(self, rtms_stream_id: str) -> bool:
        """Whether lines of a stream are on their way: its end is to be told after them, as it fences them."""
        stream = self._streams.get(rtms_stream_id)
        return stream is not None and stream.is_busy

    def write(self, rtms_stream_id: str, stem: str, line: str) -> None:
        """Have a line appended soon.

        Args:
            stem: of the file: "events", "transcript".
            line: JSON, without the line's end.
        """
        stream = self._streams.setdefault(rtms_stream_id, _Stream())
        stream.waiting.append((stem, line))
        stream.waiting_bytes += len(line)
        while stream.waiting_bytes > WAITING_BYTES and len(stream.waiting) > 1:
            stream.waiting_bytes -= len(stream.waiting.pop(0)[1])
            self.dropped += 1
        if stream.waiting_bytes >= JOIN_BYTES:
            stream.is_full.set()
        self._wake(rtms_stream_id)

    async def forget(self, rtms_stream_id: str) -> None:
        """Drop all lines of a stream that was revoked, those on their way included.

        Raises:
            StorageError: some may still be on disk.
        """
        stream = self._streams.get(rtms_stream_id)
        if stream is not None:
            stream.waiting.clear()
            stream.waiting_bytes = 0
            stream.times_forgotten += 1
        await self._spool.forget(rtms_stream_id)

    def _wake(self, rtms_stream_id: str) -> None:
        stream = self._streams[rtms_stream_id]
        if not stream.is_busy:
            stream.is_busy = True
            self._nursery.start_soon(self._look_after, rtms_stream_id, stream)

    async def _look_after(self, rtms_stream_id: str, stream: _Stream) -> None:
        """Send the lines of a stream, one append at a time, until none wait."""
        while stream.waiting or stream.is_spooled:
            if not stream.is_spooled and stream.waiting_bytes < JOIN_BYTES:
                stream.is_full = trio.Event()
                with trio.move_on_after(JOIN_S):
                    await stream.is_full.wait()
            again_s = 0.0
            try:
                async with self._at_once:
                    if not await self._step(rtms_stream_id, stream):
                        again_s = AGAIN_S
            except StorageError as error:
                log.warning("log lines not spooled", rtms_stream_id=rtms_stream_id, error=str(error))
                again_s = AGAIN_S
            except Exception:
                log.exception("log lines not appended", rtms_stream_id=rtms_stream_id)
                again_s = AGAIN_S
            await trio.sleep(again_s)
        stream.is_busy = False
        if len(self._streams) > self._sweep_at:  # of who is let go, the number of the next append is of no more use
            self._streams = {
                key: each for key, each in self._streams.items() if each.is_busy or self._token(key) is not None
            }
            self._sweep_at = 2 * len(self._streams) + SWEEP

    async def _step(self, rtms_stream_id: str, stream: _Stream) -> bool:
        """Send, or spool, what is next. Returns False when there is no sense in going on at once."""
        if not stream.is_spooled:
            lines, times_forgotten = stream.take(), stream.times_forgotten
            result, sent_as = await self._append(rtms_stream_id, stream, lines, None)
            if stream.times_forgotten != times_forgotten:
                return True
            if result is Result.SPOOLED:
                stream.is_spooled = True
                await self._to_disk(rtms_stream_id, lines, sent_as)
                return False
            self._count(result, lines)
            return True
        if stream.waiting:
            await self._to_disk(rtms_stream_id, stream.take(), None)
            if stream.waiting:
                return True
        return await self._deliver(rtms_stream_id, stream)

    async def _to_disk(self, rtms_stream_id: str, lines: Lines, sent_as: tuple[int, int] | None) -> None:
        try:
            await self._spool.add(rtms_stream_id, lines, sent_as)
        except StorageError:
            self.dropped += sum(map(len, lines.values()))
            raise
        self._count(Result.SPOOLED, lines)

    async def _deliver(self, rtms_stream_id: str, stream: _Stream) -> bool:
        """Append the oldest lines that are on disk."""
        if not self._engine.is_up:
            return False
        batch = await self._spool.head(rtms_stream_id, JOIN_BYTES)
        if batch is None:
            stream.is_spooled = False
            return True
        result = await self._append_batch(stream, batch)
        if result is Result.SPOOLED:
            return False
        self._count(result, batch.lines)
        if result is Result.ANOTHERS:
            await self._spool.forget(rtms_stream_id)
        else:
            await self._spool.remove(batch)
        return True

    async def _append_batch(self, stream: _Stream, batch: Batch) -> Result:
        """Append lines from the disk, under a number that is written down first: they are sent again under the same."""
        token, sent_as = await self._newest_token(batch.rtms_stream_id), batch.sent_as
        if token and (sent_as is None or sent_as[0] != token):
            try:
                if sent_as is not None and await self._is_there(batch.rtms_stream_id, sent_as):
                    return Result.APPENDED
            except Away:
                return Result.SPOOLED
            sent_as = stream.next_as(token)
            await self._spool.mark(batch, *sent_as)
        result, _ = await self._append(batch.rtms_stream_id, stream, batch.lines, sent_as)
        return result

    async def _append(
        self, rtms_stream_id: str, stream: _Stream, lines: Lines, sent_as: tuple[int, int] | None
    ) -> tuple[Result, tuple[int, int] | None]:
        """Append lines, and return what became of them, and as what they were sent.

        Args:
            sent_as: token and number, of which the token is still the newest, as far as is known. None: the next ones.
        """
        token = await self._newest_token(rtms_stream_id)
        try:
            if token is None:
                return await self._whose(rtms_stream_id), sent_as
            if token == 0 or (sent_as is not None and sent_as[0] != token):
                return Result.SPOOLED, sent_as
            sent_as = sent_as or stream.next_as(token)
            began_s = trio.current_time()
            await self._engine.append(Log(rtms_stream_id=rtms_stream_id, token=token, n=sent_as[1], lines=lines))
            self._observe_s(trio.current_time() - began_s)
        except Away:
            return Result.SPOOLED, sent_as
        except BadRecord as error:
            log.warning("log lines are not fit for the engine", rtms_stream_id=rtms_stream_id, error=str(error))
            return Result.REFUSED, sent_as
        except Fenced as fenced:
            if await self._newest_token(rtms_stream_id) != token:  # claimed again meanwhile
                return Result.SPOOLED, sent_as
            self._on_fenced(rtms_stream_id, str(fenced))
            return Result.ANOTHERS, sent_as
        return Result.APPENDED, sent_as

    async def _newest_token(self, rtms_stream_id: str) -> int | None:
        token = self._token(rtms_stream_id)
        return await self._last_token(rtms_stream_id) if token is None else token

    async def _whose(self, rtms_stream_id: str) -> Result:
        """Look whether this member may have a stream again, whose lines an earlier life has left.

        Raises:
            Away: no answer.
        """
        held = await self._engine.read(rtms_stream_id)
        is_ours = held.own is None or held.own.node == self._node
        return Result.SPOOLED if is_ours and held.is_unfinished else Result.ANOTHERS

    async def _is_there(self, rtms_stream_id: str, sent_as: tuple[int, int]) -> bool:
        """Whether an append of an earlier tenure was done, though its answer did not come.

        Raises:
            Away: no answer.
        """
        after = 0
        while page := await self._engine.read_log(rtms_stream_id, after=after):
            if any((each.record.token, each.record.n) == sent_as for each in page):
                return True
            after = page[-1].place
        return False

    def _count(self, result: Result, lines: Lines) -> None:
        self.results[result] += sum(map(len, lines.values()))
