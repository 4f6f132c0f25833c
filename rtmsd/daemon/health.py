"""The health of the daemon: whether media flow, and the troubles that keep them from it."""

import enum
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import structlog
import trio

from rtmsd.config import Config
from rtmsd.recording.free_space import FreeSpace
from rtmsd.recording.writers import Writers
from rtmsd.state.deliveries import DeliveryState
from rtmsd.state.lost import Loss, LostStream
from rtmsd.streams.running import local_ms
from rtmsd.streams.summary import is_silent, is_slot_held, is_stuck, not_connected
from rtmsd.streams.supervisor import Supervisor
from rtmsd.webhook.stats import SIGNED_AND_DISTRUSTED, Result, WebhookStats

log = structlog.get_logger()

LOOK_EVERY_S: Final = 1.0
FIRST_LOOK_S: Final = 0.2  # the start waits so long for the free space; a stalled disk must not hold it up
SYNC_LAG_S: Final = 3.0  # beyond `recording.sync_interval_s`: the disk is in trouble
SILENT_S: Final = 15.0  # Zoom sends a keep-alive every 10 s where no media flow
SET_ASIDE_SHOWN_S: Final = 3600.0  # status shows for so long that the state file was damaged at the start
WEBHOOK_DESCRIPTORS: Final = 4  # open while a start is decided on
DISTRUSTED_IN_ROW: Final = 3  # webhooks that no secret verifies: a wrong secret, not a stray forgery
STUCK_ATTEMPTS: Final = 2  # failed in a row: more than an interruption
LOST_EVENT_COUNTS_S: Final = 3600.0
DEAD_COUNTS_MS: Final = 86_400_000  # a delivery that is dead for longer is no news


class TroubleCode(enum.StrEnum):
    """The kinds of trouble; label of `rtmsd_degraded`."""

    DISK_UNREADABLE = "disk_unreadable"
    DISK_LOW = "disk_low"
    DISK_ERROR = "disk_error"
    SYNC_LAG = "sync_lag"
    BUFFER_FULL = "buffer_full"
    DESCRIPTORS = "descriptors"
    STATE_FILE = "state_file"
    STATE_FILE_DAMAGED = "state_file_damaged"
    WEBHOOK_SIGNATURES = "webhook_signatures"
    WEBHOOK_STALE = "webhook_stale"
    WEBHOOK_EVENTS = "webhook_events"
    REQUESTS_CRASHED = "requests_crashed"
    STREAMS_FAILED = "streams_failed"
    MEDIA_REFUSED = "media_refused"
    STARTS_REFUSED = "starts_refused"
    NOT_CONNECTED = "not_connected"
    SLOT_HELD = "slot_held"
    NO_MEDIA = "no_media"
    DELIVERIES_DEAD = "deliveries_dead"
    ENGINE_AWAY = "engine_away"
    PERMISSION_MISSING = "permission_missing"
    ALONE = "alone"
    NAMESAKE = "namesake"
    SPOOL_FULL = "spool_full"
    UNGATHERED = "ungathered"
    UNCONFIRMED_REVOCATION = "unconfirmed_revocation"
    CLOCK = "clock"


@attrs.frozen
class Trouble:
    """A present trouble. `code` is stable; `detail` says what to look at."""

    code: TroubleCode
    detail: str


class Phase(enum.Enum):
    STARTING = "starting"
    SERVING = "serving"  # both sockets answer
    STOPPING = "stopping"


class Health:
    """Checks every second, logs changes, and refuses new streams while the disk is too full for them.

    Attributes:
        phase: of the daemon's life.
        is_draining: no new streams, by order of an operator.
        webhooks: counts of the endpoint.
        writers: of media to disk.
        troubles: at present.
        spaces: what is free in each directory of recordings.
        others: finds the troubles of what this process is beside others; its role may set it.
        ordered: is told when draining begins or ends; the same.
    """

    def __init__(self, config: Config, supervisor: Supervisor, writers: Writers) -> None:
        self.config = config
        self.phase = Phase.STARTING
        self.is_draining = False
        self.webhooks = WebhookStats()
        self.troubles: tuple[Trouble, ...] = ()
        self.spaces = [FreeSpace(directory, writers[directory].run_sync) for directory in writers.directories]
        self.others: Callable[[], Iterable[Trouble]] = tuple
        self.ordered: Callable[[bool], None] = lambda on: None
        self._began_s = time.monotonic()
        self._supervisor = supervisor
        self.writers = writers

    @property
    def free_bytes(self) -> int | None:
        """Bytes free for recordings, where least is free; None when no disk says."""
        return min((space.bytes for space in self.spaces if space.bytes is not None), default=None)

    def unused(self) -> list[Path]:
        """Return the directories of recordings that the configuration does not name any more."""
        return [directory for directory in self.writers.directories if directory not in self.config.directories]

    def is_ready(self) -> bool:
        """For the load balancer: troubles do not count, or it would take the endpoint away."""
        return self.phase is Phase.SERVING and not self.is_draining

    def summary(self) -> str:
        """One line for `systemctl status`."""
        streams = len(self._supervisor.streams)
        troubles = "".join(f", {trouble.code}" for trouble in self.troubles)
        return f"{streams} stream{'s' * (streams != 1)}, {self.writers.pending_bytes} bytes to write{troubles}"

    def drain(self, on: bool) -> None:
        if on != self.is_draining:
            self.is_draining = on
            self._decide_on_starts()
            self.ordered(on)

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check until cancelled. Started when the free space is known, if the disk answers at once."""
        async with trio.open_nursery() as nursery:
            for space in self.spaces:
                nursery.start_soon(space.watch, LOOK_EVERY_S, self._decide_on_starts)
            with trio.move_on_after(FIRST_LOOK_S):
                for space in self.spaces:
                    await space.answered.wait()
            task_status.started()
            while True:
                self.look()
                await trio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        before = {trouble.code for trouble in self.troubles}
        self._decide_on_starts()  # or what is said of them were not so yet, after a reload
        self.troubles = tuple(self._troubles())
        for trouble in self.troubles:
            if trouble.code not in before:
                log.warning("degraded", code=trouble.code, detail=trouble.detail)
        for code in before - {trouble.code for trouble in self.troubles}:
            log.info("recovered", code=code)

    def _decide_on_starts(self) -> None:
        self._supervisor.refuse_starts = "draining" if self.is_draining else None
        self._supervisor.full_directories = {
            space.directory: f"less than recording.min_free_bytes free in {space.directory}" for space in self.low()
        }

    def held_slots(self) -> list[str]:
        """Return the streams that another connection keeps from Zoom."""
        lives = self._supervisor.streams.values()
        return sorted(life.row.rtms_stream_id for life in lives if life.stream and is_slot_held(life.stream))

    def low(self) -> list[FreeSpace]:
        """Return the apps' directories that are too full for new streams: apps with another one are not affected."""
        least_bytes = self.config.recording.min_free_bytes
        used = {self._directory(app.name) for app in self.config.apps}
        spaces = [space for space in self.spaces if space.directory in used]
        return [space for space in spaces if space.bytes is not None and space.bytes < least_bytes]

    def _disk_troubles(self) -> Iterator[Trouble]:
        if unreadable := [space.trouble for space in self.spaces if space.trouble is not None]:
            yield Trouble(TroubleCode.DISK_UNREADABLE, "; ".join(unreadable))
        if low := [self._low(space) for space in self.low() if space.trouble is None]:
            least_bytes = self.config.recording.min_free_bytes
            yield Trouble(TroubleCode.DISK_LOW, f"{'; '.join(low)}; recording.min_free_bytes is {least_bytes}")

    def _low(self, space: FreeSpace) -> str:
        apps = [app.name for app in self.config.apps if self._directory(app.name) == space.directory]
        return f"{space.bytes} bytes free in {space.directory}, starts are refused of {', '.join(apps)}"

    def _directory(self, app: str) -> Path:
        return self.config.of_app(app).recording.directory

    def _troubles(self) -> Iterator[Trouble]:
        recording, writer = self.config.recording, self.writers
        yield from self._disk_troubles()
        yield from self._state_file_troubles()
        if (shortage := self._supervisor.shortage(WEBHOOK_DESCRIPTORS)) is not None:
            yield Trouble(TroubleCode.DESCRIPTORS, f"{shortage}; new streams are refused")
        if writer.error is not None:
            yield Trouble(TroubleCode.DISK_ERROR, writer.error)
        elif writer.last_sync_age_s > recording.sync_interval_s + SYNC_LAG_S:
            yield Trouble(TroubleCode.SYNC_LAG, f"nothing was synced for {writer.last_sync_age_s:.1f} s")
        short = [
            life.row.rtms_stream_id
            for life in self._supervisor.streams.values()
            if life.outcome is None and life.recorder is not None and life.recorder.media.backlog.is_short
        ]
        if short:
            whose = f"{', '.join(sorted(short)[:5])} ({len(short)} of {len(self._supervisor.streams)} streams)"
            yield Trouble(
                TroubleCode.BUFFER_FULL,
                f"unwritten media fill recording.buffer_bytes: Zoom is held back, then frames are dropped, of {whose}",
            )
        yield from webhook_troubles(self.webhooks, time.time())
        yield from self._stream_troubles()
        deliveries = self._supervisor.deliveries
        if deliveries.dead_ms is not None and local_ms() - deliveries.dead_ms < DEAD_COUNTS_MS:
            dead = sum(number for (_, state), number in deliveries.counts.items() if state is DeliveryState.DEAD)
            yield Trouble(TroubleCode.DELIVERIES_DEAD, f"{dead} not delivered; `rtmsctl deliveries ls` says why")
        yield from self.others()

    def _state_file_troubles(self) -> Iterator[Trouble]:
        journal = self._supervisor.journal
        if journal.trouble is not None:
            yield Trouble(TroubleCode.STATE_FILE, journal.trouble)
        set_aside = journal.set_aside
        if set_aside is not None and time.monotonic() - self._began_s < SET_ASIDE_SHOWN_S:
            found = journal.salvaged
            yield Trouble(
                TroubleCode.STATE_FILE_DAMAGED,
                f"the state file was damaged and is kept as {set_aside}; {found} streams could be read from it",
            )

    def _stream_troubles(self) -> Iterator[Trouble]:
        supervisor = self._supervisor
        apps = {app.name for app in self.config.apps}
        failed = [
            f"{it.number} of app {app!r} since one last connected, the latest ({it.rtms_stream_id}): {it.why}"
            for app, it in supervisor.diagnostics.failures.items()
            if app in apps
        ]
        if lost := supervisor.lost.recent(Loss.GIVEN_UP, Loss.CUT_OFF, Loss.FAILED):
            failed.append(f"{_counted(lost)} in the last hour, the latest ({lost[-1].rtms_stream_id}): {lost[-1].why}")
        if failed:
            yield Trouble(TroubleCode.STREAMS_FAILED, f"streams failed: {'; '.join(failed)}")
        not_granted = [
            f"{media} of app {app!r}, latest in {rtms_stream_id}: {why}"
            for (app, media), (rtms_stream_id, why) in supervisor.diagnostics.refusals.items()
            if app in apps and media in self.config.of_app(app).media.types
        ]
        if not_granted:
            yield Trouble(TroubleCode.MEDIA_REFUSED, f"asked for and not granted: {'; '.join(not_granted)}")
        if refused := supervisor.lost.recent(Loss.REFUSED):
            latest = refused[-1]
            yield Trouble(
                TroubleCode.STARTS_REFUSED,
                f"{len(refused)} start{'s' * (len(refused) != 1)} answered with 503 in the last hour and not taken on "
                f"since, the latest ({latest.rtms_stream_id}): {latest.why}",
            )
        streams = {life.row.rtms_stream_id: life.stream for life in supervisor.streams.values() if life.stream}
        if held := self.held_slots():
            why = "another connection has their slots at Zoom"
            yield Trouble(TroubleCode.SLOT_HELD, f"{len(held)} not connected, as {why}: {', '.join(held[:5])}")
        stuck = sorted({name for name, stream in streams.items() if is_stuck(stream, STUCK_ATTEMPTS)}.difference(held))
        if stuck:
            why = not_connected(streams[stuck[0]])
            yield Trouble(TroubleCode.NOT_CONNECTED, f"{len(stuck)} not connected, the first ({stuck[0]}): {why}")
        silent = sorted(name for name, stream in streams.items() if is_silent(stream, SILENT_S))
        if silent:
            heard = f"connected, but neither media nor keep-alives for {SILENT_S:g} s"
            yield Trouble(TroubleCode.NO_MEDIA, f"{heard}: {', '.join(silent[:5])}")


def _counted(lost: Sequence[LostStream]) -> str:
    """Return the number of each kind of loss: "2 given up, 1 failed"."""
    counts = Counter(each.loss for each in lost)
    return ", ".join(f"{counts[loss]} {loss.value.replace('_', ' ')}" for loss in Loss if counts[loss])


def webhook_troubles(webhooks: WebhookStats, now_s: float) -> Iterator[Trouble]:
    """Yield the troubles of incoming webhooks."""
    if webhooks.distrusted_in_row >= DISTRUSTED_IN_ROW:
        latest = max(SIGNED_AND_DISTRUSTED, key=lambda result: webhooks.last_s.get(result, -math.inf))
        row = f"the last {webhooks.distrusted_in_row} webhooks were refused, the latest because"
        skew_s = webhooks.skew_s or 0.0
        yield {
            Result.STALE: Trouble(
                TroubleCode.WEBHOOK_STALE,
                f"{row} it was stale: signed rightly, but this clock is {abs(skew_s):.0f} s "
                f"{'ahead of' if skew_s > 0 else 'behind'} its timestamp; wrong clock, or something delays them",
            ),
            Result.SWAPPED: Trouble(
                TroubleCode.WEBHOOK_SIGNATURES,
                f"{row} it was signed with what is configured as client_secret: swapped with webhook_secret?",
            ),
            Result.FORGED: Trouble(
                TroubleCode.WEBHOOK_SIGNATURES, f"{row} no webhook_secret verifies its signature: wrong secret?"
            ),
        }[latest]
    if now_s - webhooks.last_s.get(Result.BAD_EVENT, -math.inf) < LOST_EVENT_COUNTS_S:
        yield Trouble(
            TroubleCode.WEBHOOK_EVENTS,
            f"a genuine webhook was refused with 400, and Zoom does not send it again: {webhooks.last_bad_event}",
        )
    if webhooks.crashed_lately(now_s):
        yield Trouble(
            TroubleCode.REQUESTS_CRASHED,
            f"requests at the webhook's address answered 500: {webhooks.results[Result.CRASHED]}, "
            f"the latest for {webhooks.last_crash}",
        )
