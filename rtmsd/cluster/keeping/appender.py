"""The appender: copies lines of a stream's events and transcript to the engine, joined, in order, without a hole.

They are in the stream's own files as well: what is lost here is lost for the other members only, until parts are
gathered. So nothing waits for the engine, and every wait has a bound. Whatever fails, lines are in memory, on the disk,
appended, or counted.
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
CRASHES: Final = 5
"""In a row, as the same lines were to be appended: they are given up then, for the sake of those behind them."""
PATIENCE: Final = 60
"""Steps that failed in a row, about one a second: a stream's end is not held up any longer."""
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
    DROPPED = "dropped"  # there was no room, in memory or on the disk, or they were given up


@attrs.define(eq=False)
class _Taken:
    """Lines on their way to the engine or to the disk.

    Attributes:
        sent_as: token and number under which they were appended, perhaps: they are sent again under the same.
    """

    lines: Lines
    sent_as: tuple[int, int] | None = None

    @property
    def count(self) -> int:
        return sum(map(len, self.lines.values()))


@attrs.define(eq=False)
class _Stream:
    """A stream that writes.

    Attributes:
        waiting: file and line.
        taken: the oldest of those that are not on the disk, until it is known what became of them.
        n: of the next append under `token`.
        is_spooled: lines are on disk; what comes goes behind them.
        is_busy: a task looks after it.
        failures: steps that failed in a row.
        crashes: those of them that crashed, with the oldest lines.
    """

    waiting: list[tuple[str, str]] = attrs.field(factory=list)
    waiting_bytes: int = 0
    taken: _Taken | None = None
    token: int = 0
    n: int = 0
    is_spooled: bool = False
    is_busy: bool = False
    failures: int = 0
    crashes: int = 0
    is_full: trio.Event = attrs.field(factory=trio.Event)

    @property
    def has_any(self) -> bool:
        """Whether there are lines that are not on the disk."""
        return bool(self.waiting) or self.taken is not None

    def take(self) -> _Taken:
        """Take the oldest lines, about as many as are joined: the same until something has become of them."""
        if self.taken is not None:
            return self.taken
        lines: dict[str, list[str]] = {}
        size_bytes = count = 0
        for stem, line in self.waiting:
            if count and size_bytes + len(line) > JOIN_BYTES:
                break
            lines.setdefault(stem, []).append(line)
            size_bytes, count = size_bytes + len(line), count + 1
        del self.waiting[:count]
        self.waiting_bytes -= size_bytes
        self.taken = _Taken({stem: tuple(each) for stem, each in lines.items()})
        return self.taken


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
        """Whether lines of a stream are on their way: its end is to be told after them, as it fences them. What has
        failed for long holds it up no more.
        """
        stream = self._streams.get(rtms_stream_id)
        return stream is not None and stream.is_busy and stream.failures < PATIENCE

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
            self.results[Result.DROPPED] += 1
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
            stream.taken = None
        await self._spool.forget(rtms_stream_id)

    def _wake(self, rtms_stream_id: str) -> None:
        stream = self._streams[rtms_stream_id]
        if not stream.is_busy:
            stream.is_busy = True
            self._nursery.start_soon(self._look_after, rtms_stream_id, stream)

    async def _look_after(self, rtms_stream_id: str, stream: _Stream) -> None:
        """Send the lines of a stream, one append at a time, until none wait."""
        while stream.has_any or stream.is_spooled:
            if not stream.is_spooled and stream.waiting_bytes < JOIN_BYTES:
                stream.is_full = trio.Event()
                with trio.move_on_after(JOIN_S):
                    await stream.is_full.wait()
            goes_on = False
            try:
                async with self._at_once:
                    if stream.crashes >= CRASHES:
                        await self._give_up(rtms_stream_id, stream)
                        goes_on = True
                    elif stream.has_any or stream.is_spooled:  # they may have been forgotten meanwhile
                        goes_on = await self._step(rtms_stream_id, stream)
                        stream.failures = 0
            except StorageError as error:
                stream.failures += 1
                log.warning("log lines not appended yet", rtms_stream_id=rtms_stream_id, error=str(error))
            except Exception:
                stream.failures += 1
                stream.crashes += 1
                log.exception("log lines not appended yet", rtms_stream_id=rtms_stream_id)
            await trio.sleep(0 if goes_on else AGAIN_S)
        stream.is_busy = False
        if len(self._streams) > self._sweep_at:  # of who is let go, the number of the next append is of no more use
            self._streams = {
                key: each for key, each in self._streams.items() if each.is_busy or self._token(key) is not None
            }
            self._sweep_at = 2 * len(self._streams) + SWEEP

    async def _step(self, rtms_stream_id: str, stream: _Stream) -> bool:
        """Send, or spool, what is next. Returns False when there is no sense in going on at once."""
        if stream.is_spooled:
            if stream.has_any:
                try:
                    await self._to_disk(rtms_stream_id, stream)
                except StorageError as error:  # they wait in memory, while those before them are appended
                    log.warning("log lines not spooled", rtms_stream_id=rtms_stream_id, error=str(error))
                else:
                    if stream.waiting:
                        return True
            return await self._deliver(rtms_stream_id, stream)
        taken = stream.take()
        result = await self._append_taken(rtms_stream_id, stream, taken)
        if stream.taken is not taken:  # forgotten
            return True
        if result is Result.SPOOLED:
            await self._to_disk(rtms_stream_id, stream)
            return False
        stream.taken, stream.crashes = None, 0
        self.results[result] += taken.count
        return True

    async def _to_disk(self, rtms_stream_id: str, stream: _Stream) -> None:
        taken = stream.take()
        dropped = await self._spool.add(rtms_stream_id, taken.lines, taken.sent_as)
        self.results[Result.DROPPED] += dropped
        stream.is_spooled = True
        if stream.taken is not taken:
            await self._spool.forget(rtms_stream_id)
            return
        stream.taken = None
        self.results[Result.SPOOLED] += taken.count

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
        is_anothers = result is Result.ANOTHERS
        count = await (self._spool.drop(rtms_stream_id) if is_anothers else self._spool.remove(batch))
        self.results[result] += count
        stream.crashes = 0
        return True

    async def _give_up(self, rtms_stream_id: str, stream: _Stream) -> None:
        """Drop the oldest lines: to append them has crashed again and again."""
        if stream.is_spooled:
            count = await self._spool.drop_oldest(rtms_stream_id, JOIN_BYTES)
        else:
            count = 0 if stream.taken is None else stream.taken.count
            stream.taken = None
        self.results[Result.DROPPED] += count
        stream.crashes = 0
        log.error(
            "log lines given up, as each try to append them crashed; other members lack them until the recording is"
            " gathered, and the stream's own files have them; report the crash, which is in the log above",
            rtms_stream_id=rtms_stream_id,
            lines=count,
        )

    async def _append_taken(self, rtms_stream_id: str, stream: _Stream, taken: _Taken) -> Result:
        token = await self._newest_token(rtms_stream_id)
        if token and taken.sent_as is None:
            try:
                taken.sent_as = await self._next_as(rtms_stream_id, stream, token)
            except Away:
                return Result.SPOOLED
        return await self._append(rtms_stream_id, taken.lines, token, taken.sent_as)

    async def _append_batch(self, stream: _Stream, batch: Batch) -> Result:
        """Append lines from the disk, under a number that is written down first: they are sent again under the same."""
        token, sent_as = await self._newest_token(batch.rtms_stream_id), batch.sent_as
        if token and (sent_as is None or sent_as[0] != token):
            try:
                if sent_as is not None and sent_as in await self._numbers(batch.rtms_stream_id):
                    return Result.APPENDED  # in an earlier tenure, though the answer did not come
                sent_as = await self._next_as(batch.rtms_stream_id, stream, token)
            except Away:
                return Result.SPOOLED
            await self._spool.mark(batch, *sent_as)
        return await self._append(batch.rtms_stream_id, batch.lines, token, sent_as)

    async def _append(
        self, rtms_stream_id: str, lines: Lines, token: int | None, sent_as: tuple[int, int] | None
    ) -> Result:
        """Append lines, and return what became of them.

        Args:
            token: the newest.
            sent_as: token and number of these lines.
        """
        try:
            if token is None:
                return await self._whose(rtms_stream_id)
            if sent_as is None or sent_as[0] != token:
                return Result.SPOOLED
            began_s = trio.current_time()
            await self._engine.append(Log(rtms_stream_id=rtms_stream_id, token=token, n=sent_as[1], lines=lines))
            self._observe_s(trio.current_time() - began_s)
        except Away:
            return Result.SPOOLED
        except BadRecord as error:
            log.warning("log lines are not fit for the engine", rtms_stream_id=rtms_stream_id, error=str(error))
            return Result.REFUSED
        except Fenced as fenced:
            if await self._newest_token(rtms_stream_id) != token:  # claimed again meanwhile
                return Result.SPOOLED
            self._on_fenced(rtms_stream_id, str(fenced))
            return Result.ANOTHERS
        return Result.APPENDED

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

    async def _next_as(self, rtms_stream_id: str, stream: _Stream, token: int) -> tuple[int, int]:
        """Return token and number for an append.

        Raises:
            Away: no answer.
        """
        if token != stream.token:
            n = 0
            if self._token(rtms_stream_id) is None:  # an earlier life may have appended under it
                n = max((n + 1 for of, n in await self._numbers(rtms_stream_id) if of == token), default=0)
            stream.token, stream.n = token, n
        stream.n += 1
        return token, stream.n - 1

    async def _numbers(self, rtms_stream_id: str) -> set[tuple[int, int]]:
        """Return token and number of all that is appended.

        Raises:
            Away: no answer.
        """
        numbers: set[tuple[int, int]] = set()
        after = 0
        while page := await self._engine.read_log(rtms_stream_id, after=after):
            numbers |= {(each.record.token, each.record.n) for each in page}
            after = page[-1].place
        return numbers
