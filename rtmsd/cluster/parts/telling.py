"""The teller of parts: writes to the engine what this member has on disk of its streams.

Nothing waits for it, and nothing fails by it. What it writes is the newest at that time: one record of a stream is on
its way, and what changes meanwhile is written after it. While the engine is away, one waits for each stream.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import attrs
import structlog
import trio
from msgspec import UNSET

from rtmsd.cluster.codec import BadRecord
from rtmsd.cluster.engine import Away, StreamLog
from rtmsd.cluster.parts.describing import part_of, shortened, structure
from rtmsd.cluster.records import Part, PartState
from rtmsd.protocol.causes import FINAL_STATES
from rtmsd.recording.manifest.schema import Manifest
from rtmsd.recording.recorder import Recorder
from rtmsd.system.throttle import Throttle

log = structlog.get_logger(__name__)

TIMES_EVERY_S: Final = 5.0
AGAIN_S: Final = 1.0
AT_ONCE: Final = 64  # records on their way
MAX_STREAMS: Final = 10_000
"""Streams that are remembered. When there are more, the oldest go: a record that waits for the engine is dropped."""

Make: TypeAlias = Callable[[], Part | None]


@attrs.define(eq=False)
class _Stream:
    """What the engine is told of a stream.

    Attributes:
        newest: makes the record that is to be written; None: the engine has the newest.
        known: the structure that the engine has.
        at_s: when that was written.
        turn_s: when a record that tells but times may be written; None: it has no turn yet.
        news: `newest` was replaced.
        told: there is nothing to write.
    """

    newest: Make | None = None
    known: object = None
    at_s: float = -math.inf
    turn_s: float | None = None
    is_busy: bool = False
    news: trio.Event = attrs.field(factory=trio.Event)
    told: trio.Event = attrs.field(factory=trio.Event)


class PartTeller:
    """One for all streams of this member. Start `run` before the first stream.

    Attributes:
        on_ended: called with the manifest of a recording that ended.
        dropped: records that never reached the engine, as there were too many, or as it takes no such record.
    """

    def __init__(self, engine: StreamLog) -> None:
        self.on_ended: Callable[[Manifest], None] = lambda manifest: None
        self.dropped = 0
        self._engine = engine
        self._streams: dict[str, _Stream] = {}  # the oldest first
        self._at_once = trio.CapacityLimiter(AT_ONCE)
        self._next_turn_s = -math.inf
        self._refusals_logged = Throttle(60.0)
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell the engine, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def follow(self, recorder: Recorder) -> None:
        """Have the part described that is being recorded, whenever that has changed on disk."""
        recorder.flusher.on_saved = self.saved

    def saved(self, manifest: Manifest) -> None:
        """Have the part described of which this is the manifest that is on disk now."""
        try:
            if manifest.part is not UNSET:
                self._write(manifest.rtms_stream_id, partial(part_of, manifest))
            if manifest.state in FINAL_STATES:
                self.on_ended(manifest)
        except Exception:  # the recording goes on
            log.exception("part not described", rtms_stream_id=manifest.rtms_stream_id)

    def tell(self, part: Part) -> None:
        """Have a record written, in place of one that waits."""
        self._write(part.rtms_stream_id, lambda: part)

    async def wait_told(self, rtms_stream_id: str) -> None:
        """Wait until the engine knows the newest of a stream."""
        while (stream := self._streams.get(rtms_stream_id)) is not None and stream.newest is not None:
            await stream.told.wait()

    def _write(self, rtms_stream_id: str, make: Make) -> None:
        if self._nursery.cancel_scope.cancel_called:  # this process ends: another member's question came too late
            return
        stream = self._streams.setdefault(rtms_stream_id, _Stream())
        stream.newest = make
        stream.news.set()
        if not stream.is_busy:
            stream.is_busy = True
            self._nursery.start_soon(self._look_after, rtms_stream_id, stream)
        if len(self._streams) > MAX_STREAMS:
            self._forget_oldest(rtms_stream_id)

    def _forget_oldest(self, but: str) -> None:
        """Forget one, of those first that have nothing to write."""
        others = [key for key in self._streams if key != but]
        oldest = next((key for key in others if not self._streams[key].is_busy), others[0])
        forgotten = self._streams.pop(oldest)
        if forgotten.newest is not None:
            self.dropped += 1
            forgotten.newest = None
            forgotten.news.set()
            forgotten.told.set()

    async def _look_after(self, rtms_stream_id: str, stream: _Stream) -> None:
        """Write the records of a stream until there is none to write."""
        is_over = False
        while (make := stream.newest) is not None:
            stream.news = trio.Event()
            try:
                part = make()
                is_done = part is None or await self._told(stream, part)
            except Exception:
                log.exception("part not described", rtms_stream_id=rtms_stream_id)
                part, is_done = None, True
                self.dropped += 1
            if is_done and stream.newest is make:
                stream.newest = None
                is_over = part is not None and part.state is not PartState.RECORDING
        stream.is_busy = False
        stream.told.set()
        stream.told = trio.Event()
        if is_over and self._streams.get(rtms_stream_id) is stream:
            del self._streams[rtms_stream_id]

    async def _told(self, stream: _Stream, part: Part) -> bool:
        """Write a record, in its time. Returns False where there may be a newer one by now, or the engine is away."""
        now = structure(part)
        if now == stream.known and (time_s := self._turn_s(stream)) > trio.current_time():
            with trio.move_on_at(time_s):
                await stream.news.wait()
            return False
        try:
            async with self._at_once:
                await self._put(part)
        except Away:
            await trio.sleep(AGAIN_S)
            return False
        stream.known, stream.at_s, stream.turn_s = now, trio.current_time(), None
        return True

    def _turn_s(self, stream: _Stream) -> float:
        """Return when a record may be written that tells but times, or, before it is due, when to ask again.

        Turns are apart: a flush saves the manifests of many streams at once, and their records would hold up the loop.
        """
        if stream.turn_s is None:
            now_s = trio.current_time()
            if now_s < (due_s := stream.at_s + TIMES_EVERY_S):
                return due_s
            stream.turn_s = max(now_s, self._next_turn_s)
            self._next_turn_s = stream.turn_s + TIMES_EVERY_S / 2 / max(len(self._streams), 1)
        return stream.turn_s

    async def _put(self, part: Part) -> None:
        """Write a record, a shorter one where that is too large.

        Raises:
            Away: no answer; it may be written.
        """
        error = None
        for each in shortened(part):
            try:
                await self._engine.put_part(each)
            except BadRecord as refused:
                error = refused
            else:
                return
        self.dropped += 1
        if (more := self._refusals_logged.admit()) is not None:
            log.warning(
                "engine does not take a part",
                rtms_stream_id=part.rtms_stream_id,
                error=str(error),
                more_since_last=more,
            )
