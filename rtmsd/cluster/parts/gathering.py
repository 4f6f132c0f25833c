"""Gathering when a stream ends: who has its last part joins it with the others'.

The manifests are the list of what is to be done: a recording that ended, is a part, and was not joined. So a restart
loses nothing. What cannot be done yet, as a member is away, is tried again for a week (`joining`).
"""

import math
from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from rtmsd.cluster.parts.joining import Joiner
from rtmsd.errors import RtmsdError
from rtmsd.protocol.causes import FINAL_STATES
from rtmsd.recording.disk.paths import DAY_MS
from rtmsd.recording.gather.gather import Gathered
from rtmsd.recording.library.librarian import Librarian
from rtmsd.recording.library.retention import UNGATHERED_DAYS
from rtmsd.recording.manifest.part import is_incomplete
from rtmsd.recording.manifest.schema import Manifest

log = structlog.get_logger(__name__)

AGAIN_S: Final = 60.0
LATEST_S: Final = 3600.0
"""Between tries of one stream: the pause doubles from one to the other."""


@attrs.define
class _Try:
    due_s: float = -math.inf
    pause_s: float = AGAIN_S


class Gatherer:
    """Gathers one stream after the other.

    Args:
        clock_ms: local time in milliseconds since the Unix epoch.
    """

    def __init__(self, joiner: Joiner, librarian: Librarian, clock_ms: Callable[[], int]) -> None:
        self._joiner, self._librarian, self._clock_ms = joiner, librarian, clock_ms
        self._tries: dict[str, _Try] = {}
        self._news = trio.Event()
        self._turn = trio.Lock()
        self._current: tuple[str, trio.CancelScope] | None = None

    @property
    def ungathered(self) -> list[str]:
        """The streams that are to be gathered, or have just been found to be complete."""
        return list(self._tries)

    def ended(self, manifest: Manifest) -> None:
        """A recording ended here: see `PartTeller.on_ended`."""
        if is_incomplete(manifest):
            self._tries[manifest.rtms_stream_id] = _Try()
            self._news.set()

    async def run(self) -> None:
        """Gather what is to be gathered, until cancelled: first what an earlier life has left."""
        await self._scan()
        while True:
            self._news = trio.Event()
            for rtms_stream_id, each in list(self._tries.items()):
                if each.due_s <= trio.current_time() and not await self._is_done(rtms_stream_id):
                    each.due_s, each.pause_s = trio.current_time() + each.pause_s, min(2 * each.pause_s, LATEST_S)
            with trio.move_on_at(min((each.due_s for each in self._tries.values()), default=math.inf)):
                await self._news.wait()

    async def watch(self) -> None:
        """Know what is to be gathered, until cancelled, and leave it to whoever asks for it."""
        await self._scan()
        await trio.sleep_forever()

    async def _scan(self) -> None:
        try:
            recordings = await self._librarian.recordings()
        except RtmsdError as error:
            log.warning("recordings that are to be gathered not found", error=str(error))
            return
        since_ms = self._clock_ms() - UNGATHERED_DAYS * DAY_MS
        for recording in recordings:
            if recording.is_part and recording.state in FINAL_STATES and recording.last_ms >= since_ms:
                self._tries.setdefault(recording.rtms_stream_id, _Try())
        if not self._librarian.unread:  # else more may be to be gathered
            async with self._turn:
                await self._joiner.remove_copies(but=self._tries)

    async def _is_done(self, rtms_stream_id: str) -> bool:
        try:
            await self.gather(rtms_stream_id)
        except (OSError, RtmsdError) as error:
            log.info("stream not gathered yet", rtms_stream_id=rtms_stream_id, error=str(error))
        except Exception:
            log.exception("gathering crashed", rtms_stream_id=rtms_stream_id)
        else:
            return True
        return False

    async def gather(self, rtms_stream_id: str) -> Gathered | None:
        """Gather a stream now, in its turn. Returns and raises as `Joiner.gather`; None also if it was revoked."""
        async with self._turn:
            with trio.CancelScope() as scope:
                self._current = rtms_stream_id, scope
                try:
                    gathered = await self._joiner.gather(rtms_stream_id)
                    self._tries.pop(rtms_stream_id, None)
                    return gathered
                finally:
                    self._current = None
        return None

    async def forget(self, rtms_stream_id: str) -> None:
        """Stop gathering a stream that is to be deleted: nothing of it is written any more when this returns."""
        self._tries.pop(rtms_stream_id, None)
        if self._current is not None and self._current[0] == rtms_stream_id:
            self._current[1].cancel()
            async with self._turn:
                pass
