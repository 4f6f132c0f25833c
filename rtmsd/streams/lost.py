"""The streams that were refused, given up, cut off or failed: for status, lists and doctor, also after a restart."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
import trio

from rtmsd.commands import StartStream
from rtmsd.errors import StorageError
from rtmsd.masking import sanitize_remote_text
from rtmsd.protocol.enums import StopReason
from rtmsd.state.journal import Journal
from rtmsd.state.lost import MAX_LOST, Loss, LostStream
from rtmsd.state.rows import StreamRow
from rtmsd.streams.core.outcome import Outcome

log = structlog.get_logger()

RECENT_MS: Final = 60 * 60 * 1000  # so long a loss degrades
RETRY_S: Final = 5.0
SHARE_EVERY_S: Final = 5.0  # what other processes lost is looked at
MAX_CHANGES: Final = 5 * MAX_LOST
MAX_TEXT: Final = 256

CUT_OFF: Final = frozenset(
    {
        StopReason.INTERNAL_EXCEPTION,
        StopReason.CONNECTION_TIMEOUT,
        StopReason.INSTANCE_CONNECTION_INTERRUPTED,
        StopReason.SIGNAL_CONNECTION_INTERRUPTED,
        StopReason.DATA_CONNECTION_INTERRUPTED,
        StopReason.SIGNAL_CONNECTION_CLOSED_ABNORMALLY,
        StopReason.DATA_CONNECTION_CLOSED_ABNORMALLY,
        StopReason.AUTHENTICATION_FAILURE,
        StopReason.KEEP_ALIVE_TIMEOUT,
        StopReason.STREAMING_NOT_SUPPORTED,
    }
)
"""Stop reasons with which a session that went on was lost: nobody wanted these ends."""


def loss_of(state: str, reason: int | None) -> Loss | None:
    """Return what kind of loss an end is; None for one that somebody wanted."""
    if state == "failed":
        return Loss.FAILED
    if state != "ended":
        return None
    if reason == StopReason.AWAIT_RECONNECTION_TIMEOUT:
        return Loss.GIVEN_UP
    return Loss.CUT_OFF if reason in CUT_OFF else None


class LostStreams:
    """The newest `MAX_LOST`, in memory and, a moment later, in the state file.

    Args:
        local_ms: local time in milliseconds since the Unix epoch.
        is_shared: with other processes, whose lost streams are these as well, some seconds later.
    """

    def __init__(self, journal: Journal, local_ms: Callable[[], int], *, is_shared: bool = False) -> None:
        self._journal = journal
        self._local_ms = local_ms
        self._is_shared = is_shared
        self._streams: dict[tuple[str, Loss], LostStream] = {}  # the newest at the end
        self._changes: dict[tuple[str, Loss], LostStream | None] = {}  # not in the file yet
        self._changed = trio.Event()  # there are some

    # Noting

    def refused(self, start: StartStream, why: str) -> None:
        """A start was answered with 503: Zoom sends it again, up to 85 minutes later, or not."""
        key = start.details.get("session_key")
        self._note(start, Loss.REFUSED, why, recorded=False, session_key=key if isinstance(key, str) else None)

    def ended(self, row: StreamRow, outcome: Outcome, *, recorded: bool) -> None:
        """A stream ended; most are no loss."""
        if outcome.state == "revoked":
            self.forget(row.rtms_stream_id)
        if (loss := loss_of(outcome.state, outcome.reason)) is not None:
            self._note(row, loss, outcome.why, recorded=recorded)

    def accepted(self, rtms_stream_id: str) -> None:
        """A start that was refused before was taken on at last."""
        self._drop(rtms_stream_id, Loss.REFUSED)

    def explained(self, rtms_stream_id: str, reason: int) -> None:
        """Zoom says why a stream ended that we gave up: perhaps because its session was over."""
        if loss_of("ended", reason) is None:
            self._drop(rtms_stream_id, Loss.GIVEN_UP)

    def forget(self, rtms_stream_id: str) -> None:
        """It was revoked: nothing of it may stay."""
        for loss in Loss:
            self._drop(rtms_stream_id, loss)

    def _note(
        self, of: StartStream | StreamRow, loss: Loss, why: str, *, recorded: bool, session_key: str | None = None
    ) -> None:
        earlier = self._streams.pop((of.rtms_stream_id, loss), None)
        if loss is not Loss.REFUSED:
            earlier = None  # only refusals are counted
        now_ms = self._local_ms()
        self._streams[of.rtms_stream_id, loss] = noted = LostStream(
            rtms_stream_id=of.rtms_stream_id,
            loss=loss,
            product=of.product,
            session_id=of.session.id,
            session_key=None if session_key is None else session_key[:MAX_TEXT],
            app=of.app,
            event_ts=of.event_ts,
            first_ms=now_ms if earlier is None else earlier.first_ms,
            last_ms=now_ms,
            times=1 if earlier is None else earlier.times + 1,
            why=sanitize_remote_text(why),
            recorded=recorded,
        )
        self._change((of.rtms_stream_id, loss), noted)
        while len(self._streams) > MAX_LOST:
            self._drop(*next(iter(self._streams)))

    def _drop(self, rtms_stream_id: str, loss: Loss) -> None:
        key = rtms_stream_id, loss
        if self._streams.pop(key, None) is not None or self._is_shared:  # another process may have noted it just now
            self._change(key, None)

    def _change(self, key: tuple[str, Loss], stream: LostStream | None) -> None:
        self._changes.pop(key, None)  # the newest at the end
        self._changes[key] = stream
        if len(self._changes) > MAX_CHANGES:  # while the disk refuses; the file then has a line too many or too few
            del self._changes[next(iter(self._changes))]
        self._changed.set()

    # Looking

    def all(self) -> list[LostStream]:
        return list(self._streams.values())

    def recent(self, *losses: Loss) -> list[LostStream]:
        """Return those of these kinds that were lost within `RECENT_MS`, the newest at the end."""
        since_ms = self._local_ms() - RECENT_MS
        return [each for each in self._streams.values() if each.loss in losses and each.last_ms >= since_ms]

    def unrecorded(self) -> Mapping[str, dict[str, Any]]:
        """Return descriptions of the streams of which there is no recording, by id."""
        return {each.rtms_stream_id: describe(each) for each in self._streams.values() if not each.recorded}

    # Keeping

    async def load(self) -> None:
        """Take over what earlier processes lost, and others beside this one.

        Raises:
            StorageError: the state file cannot be read.
        """
        found = await self._journal.lost_streams()
        self._streams = {(each.rtms_stream_id, each.loss): each for each in found}
        for key, stream in self._changes.items():
            self._streams.pop(key, None)
            if stream is not None:
                self._streams[key] = stream
        while len(self._streams) > MAX_LOST:
            self._drop(*next(iter(self._streams)))

    async def keep(self) -> None:
        """Write what changed, until cancelled. A disk that refuses is tried again."""
        while True:
            with trio.move_on_after(SHARE_EVERY_S if self._is_shared else math.inf):
                await self._changed.wait()
            try:
                await self.flush()
                if self._is_shared:
                    await self.load()
            except StorageError as error:
                log.warning("lost streams could not be written", error=str(error))
                await trio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Write what changed.

        Raises:
            StorageError: the disk refused; what changed still has to be written.
        """
        if not self._changed.is_set():
            return
        changes, self._changes, self._changed = self._changes, {}, trio.Event()
        try:
            await self._journal.change_lost_streams(changes)
        except BaseException:  # also when cancelled
            for key, stream in changes.items():
                self._changes.setdefault(key, stream)
            self._changed.set()
            raise

    async def flush_if_possible(self) -> None:
        with contextlib.suppress(StorageError):
            await self.flush()


def describe(lost: LostStream) -> dict[str, Any]:
    """Return one as the lists of streams have it: what is known although nothing was recorded."""
    is_refused = lost.loss is Loss.REFUSED
    return {
        "rtms_stream_id": lost.rtms_stream_id,
        "product": lost.product,
        "id": lost.session_id,
        "app": lost.app,
        "state": "refused" if is_refused else "failed" if lost.loss is Loss.FAILED else "ended",
        "why": lost.why,
        "started_ms": lost.event_ts,
        "ended_ms": None,
        "stop_reason": None,
        "participants": [],
        "gaps": [],
        "rates": {},
        "lag_ms": None,
        "details": {} if lost.session_key is None else {"session_key": lost.session_key},
        "lost": {"loss": lost.loss.value, "times": lost.times, "first_ms": lost.first_ms, "last_ms": lost.last_ms},
    }
