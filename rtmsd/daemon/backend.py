"""The daemon's side of the admin API: status, streams, control, reload."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import structlog
import trio

from rtmsd import __version__
from rtmsd import config as configuration
from rtmsd import log as logging
from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.admin.metrics import Metrics, Totals
from rtmsd.admin.video import check_participant, check_settled, described
from rtmsd.config import Config
from rtmsd.daemon import deliveries, labels
from rtmsd.daemon.deliveries import DeliveryDesk
from rtmsd.daemon.doctor import Facts, examine, findings_json
from rtmsd.daemon.health import Health, TroubleCode
from rtmsd.daemon.holdings import limits
from rtmsd.daemon.sessions import control_session
from rtmsd.errors import StorageError
from rtmsd.protocol.causes import RecordingState
from rtmsd.recording.free_space import FreeSpace
from rtmsd.recording.library.librarian import NoSuchRecording, RecordingInUse
from rtmsd.recording.recorder import Recorder
from rtmsd.sinks.hub import LiveHub
from rtmsd.sinks.registry import build
from rtmsd.state.lost import Loss
from rtmsd.streams.core.video.choice import Choice
from rtmsd.streams.managed_stream import ManagedStream
from rtmsd.streams.summary import Tally, describe, state_of, video_warnings
from rtmsd.streams.supervisor import Supervisor
from rtmsd.zoom_api import ZoomApi

if TYPE_CHECKING:
    from rtmsd.admin.cluster import ClusterBackend

log = structlog.get_logger()

SUMMARY: Final = (
    *("rtms_stream_id", "product", "id", "app", "state", "why", "started_ms", "ended_ms", "stop_reason"),
    *("rates", "lag_ms", "last_packet_age_s", "gaps", "media", "participants", "directory", "details"),
    *("lost", "failed_attempts", "next_attempt_in_s", "gives_up_in_s"),
)

UNUSED: Final = (
    "the configuration does not name it any more; its recordings are listed and kept until they are removed, or it is "
    "the directory of an app again"
)
LOOK_S: Final = 2.0  # a stalled disk must not hold up the other findings


class Stop(Protocol):
    """Begins the shutdown."""

    def __call__(self, *, end_streams: bool) -> None: ...


class Backend:
    """Implements `rtmsd.admin.commands.AdminBackend`.

    Args:
        in_file: the configuration, where it is not what holds for this process.
        derive: returns what does, of what the file says.

    Attributes:
        in_force: the configuration, as the file has it.
        events: the hub of all streams' events.
        listening: the bound addresses, by name.
        deliveries: what operators see of them, and replay.
        health: the daemon's troubles, and whether it is ready.
        metrics_source: the counters of the hot paths.
        supervisor: of this process's streams.
        cluster: that this process is a member of; its role sets it.
    """

    def __init__(
        self,
        config_path: Path,
        supervisor: Supervisor,
        health: Health,
        api: ZoomApi,
        *,
        events: LiveHub,
        stop: Stop,
        in_file: Config | None = None,
        derive: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        self.events = events
        self.cluster: ClusterBackend | None = None
        self.listening: dict[str, Any] = {}
        self.metrics_source = Metrics(self._totals)
        self._config_path = config_path
        self.in_force = in_file or supervisor.config
        self._derive = derive
        self.supervisor = supervisor
        self._api = api
        self.health = health
        self._stop = stop
        self.deliveries = DeliveryDesk(supervisor.deliveries, supervisor.config.recording.directory)
        self._started_s = time.monotonic()
        self._secrets = configuration.secrets_of(supervisor.config)  # and earlier ones: live streams keep them
        health.writers.observe(self.metrics_source.sync_duration.observe, self.metrics_source.ingest_latency.observe)

    # Queries

    def status(self) -> JsonObject:
        supervisor, health = self.supervisor, self.health
        totals, tally = self._totals(), supervisor.tally()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "phase": health.phase.value,
            "ready": health.is_ready(),
            "draining": health.is_draining,
            "degraded": [attrs.asdict(trouble) for trouble in health.troubles],
            "streams": {state: number for state, number in totals.streams.items() if number},
            "totals": {
                "streams": tally.streams,
                "ended": ended_by_state(tally),
                "lost": dict(Counter(each.loss.value for each in supervisor.lost.recent(*Loss))),
                "messages": dict(tally.messages),
                "dropped": sum(tally.dropped.values()),
            },
            "disk": {
                "free_bytes": health.free_bytes,
                "pending_bytes": self.health.writers.pending_bytes,
                "last_sync_age_s": round(self.health.writers.last_sync_age_s, 3),
                "unsynced_s": round(self.health.writers.unsynced_s, 3),
                "unsynced_max_s": round(self.health.writers.unsynced_max_s, 3),
                "error": self.health.writers.error,
                "directories": [self._directory_json(space) for space in health.spaces],
            },
            "state": {
                "file": str(supervisor.journal.path),
                "error": supervisor.journal.trouble,
                "set_aside": None if (aside := supervisor.journal.set_aside) is None else str(aside),
            },
            "deliveries": deliveries.status(supervisor.deliveries),
            "warnings": [
                *supervisor.config.warnings,
                *deliveries.warnings(supervisor.deliveries),
                *video_warnings(supervisor.streams.values()),
                *health.webhooks.concurrency.warnings(time.time()),
                *(f"{each}: {UNUSED}" for each in health.unused()),
            ],
            "listening": self.listening,
            "webhook": {
                "last_ms": self.last_webhook_ms(),
                "results": dict(health.webhooks.results),
            },
            "config_file": str(self._config_path),
        }

    def last_webhook_ms(self) -> int | None:
        """Return when the last webhook came, in milliseconds since the Unix epoch; None: not yet."""
        return max((int(at_s * 1000) for at_s in self.health.webhooks.last_s.values()), default=None)

    def _directory_json(self, space: FreeSpace) -> JsonObject:
        """One directory of recordings, as status has it."""
        config = self.supervisor.config
        kept = limits(config, space.directory)
        directories = {app.name: config.of_app(app.name).recording.directory for app in config.apps}
        return {
            "directory": str(space.directory),
            "apps": [app for app, directory in directories.items() if directory == space.directory],
            "free_bytes": space.bytes,
            "unread": self.supervisor.librarian.unread.get(space.directory),
            "keep_days": kept.keep_days,
            "keep_bytes": kept.keep_bytes,
        }

    def ids(self) -> Iterable[str]:
        supervisor = self.supervisor
        ended = (each["rtms_stream_id"] for each in supervisor.ended)
        return list(dict.fromkeys([*supervisor.streams, *ended, *supervisor.lost.unrecorded()]))

    def streams(self, *, include_ended: bool) -> Sequence[JsonObject]:
        live = self.supervisor.streams
        found = [_summary(describe(life)) for life in live.values()]
        if include_ended:
            found += [_summary(ended) for ended in self.supervisor.ended if ended["rtms_stream_id"] not in live]
            listed = {each["rtms_stream_id"] for each in found if each["state"] != RecordingState.ENDED}
            lost = self.supervisor.lost.unrecorded()
            found += [_summary(each) for rtms_stream_id, each in lost.items() if rtms_stream_id not in listed]
        return found

    def stream(self, rtms_stream_id: str) -> JsonObject:
        life = self.supervisor.streams.get(rtms_stream_id)
        if life is not None:
            return describe(life)
        known = (each for each in reversed(self.supervisor.ended) if each["rtms_stream_id"] == rtms_stream_id)
        lost = self.supervisor.lost.unrecorded().get(rtms_stream_id)
        ended = next(known, None)
        if ended is None:
            assert lost is not None  # `ids` has no others
            return lost
        return ended if lost is None else {**ended, "lost": lost["lost"]}

    def recorder(self, rtms_stream_id: str) -> Recorder | None:
        life = self.supervisor.streams.get(rtms_stream_id)
        return None if life is None else life.recorder

    def config(self) -> JsonObject:
        config = self.in_force
        return configuration.as_masked_dict(config) | {"effective": configuration.effective(config)}

    def metrics(self) -> bytes:
        return self.metrics_source.render()

    def _totals(self) -> Totals:
        supervisor, health = self.supervisor, self.health
        tally = supervisor.tally()
        return Totals(
            streams=Counter(state_of(life) for life in supervisor.streams.values()),
            streams_ended={**labels.STREAMS_ENDED, **tally.ended},
            media_messages={**labels.MEDIA, **tally.messages},
            media_bytes={**labels.MEDIA, **tally.media_bytes},
            media_dropped={**labels.DROPPED, **tally.dropped},
            webhooks={**labels.WEBHOOKS, **health.webhooks.results},
            reconnects={**labels.RECONNECTS, **tally.reconnects},
            keep_alives={**labels.KEEP_ALIVES, **tally.keep_alives},
            unknown={**labels.UNKNOWN, **tally.unknown},
            rtp_lost=tally.rtp_lost,
            concurrency=health.webhooks.concurrency.gauge((app.name for app in supervisor.config.apps), time.time()),
            deliveries=deliveries.gauge(supervisor.deliveries),
            delivery_attempts=deliveries.attempts(supervisor.deliveries),
            degraded={code.value: 0 for code in TroubleCode} | {trouble.code.value: 1 for trouble in health.troubles},
            pending_bytes=self.health.writers.pending_bytes,
            unsynced_s=self.health.writers.unsynced_s,
            disk_free_bytes=health.free_bytes,
            directory_free_bytes={str(each.directory): each.bytes for each in health.spaces if each.bytes is not None},
        )

    async def recordings(self) -> Sequence[JsonObject]:
        return [recording.to_json() for recording in await self.supervisor.librarian.recordings()]

    async def doctor(self) -> Sequence[JsonObject]:
        health, history = self.health, self.supervisor.diagnostics
        facts = Facts(
            now_s=time.time(),
            uptime_s=time.monotonic() - self._started_s,
            max_age_s=self.supervisor.config.webhook.max_age_s,
            webhooks=health.webhooks,
            troubles=health.troubles,
            free_bytes={str(space.directory): space.bytes for space in health.spaces},
            accepted_s=history.accepted_s,
            refused_s=history.refused_s,
            stopped_s=history.stopped_s,
            refused_media=await self._refused_media(),
            unusable_sinks=deliveries.warnings(self.supervisor.deliveries),
        )
        of_cluster = () if self.cluster is None else await self.cluster.doctor()
        return [*findings_json(examine(facts)), *of_cluster]

    async def _refused_media(self) -> Sequence[str]:
        """Media that the latest recording of each app lacks, from disk: an earlier process may have recorded it."""
        config, recordings = self.supervisor.config, []
        with trio.move_on_after(LOOK_S), contextlib.suppress(StorageError):  # reported by another finding
            recordings = await self.supervisor.librarian.recordings()
        latest = {each.app: each for each in recordings}  # the oldest first
        return [
            f"{media} of app {app.name!r}, in {recording.rtms_stream_id}: {why}"
            for app in config.apps
            if (recording := latest.get(app.name)) is not None
            for media, why in recording.refused.items()
            if media in config.of_app(app.name).media.types
        ]

    # Control

    async def stop(self, rtms_stream_id: str) -> None:
        self._alive(rtms_stream_id)
        self.supervisor.close(rtms_stream_id)

    async def reconnect(self, rtms_stream_id: str) -> None:
        stream = self._alive(rtms_stream_id).stream
        if stream is None:
            raise AdminError(Code.REFUSED_IN_STATE, f"stream {rtms_stream_id} has not begun to connect")
        stream.reconnect()

    def video(self, rtms_stream_id: str) -> JsonObject:
        return described(self.stream(rtms_stream_id))

    async def choose_video(self, rtms_stream_id: str, choice: Choice) -> JsonObject:
        life = self._alive(rtms_stream_id)
        described(known := describe(life))
        check_participant(known, choice)
        assert life.stream is not None  # that has a video to be described
        check_settled(await life.stream.operators.choose(choice))
        return described(describe(life))

    def _alive(self, rtms_stream_id: str) -> ManagedStream:
        """Return a stream whose end is not decided yet."""
        life = self.supervisor.streams.get(rtms_stream_id)
        if life is None or life.end is not None:
            raise AdminError(Code.REFUSED_IN_STATE, f"stream {rtms_stream_id} has ended")
        return life

    def drain(self) -> None:
        self.health.drain(True)

    def undrain(self) -> None:
        self.health.drain(False)

    async def shutdown(self, *, end_streams: bool) -> None:
        self._stop(end_streams=end_streams)

    async def remove_recording(self, rtms_stream_id: str) -> None:
        try:
            await self.supervisor.librarian.remove(rtms_stream_id)
        except NoSuchRecording as exc:
            raise AdminError(Code.NO_SUCH_RECORDING, str(exc)) from exc
        except RecordingInUse as exc:
            raise AdminError(Code.REFUSED_IN_STATE, str(exc)) from exc

    async def control_session(self, action: str, fields: dict[str, Any]) -> JsonObject:
        return await control_session(self._api, self.supervisor.config.apps, action, fields)

    async def reload(self) -> JsonObject:
        """Read the file again: apply it as a whole, or raise ConfigError."""
        return self.apply(configuration.load(self._config_path))

    def apply(self, new: Config) -> JsonObject:
        """Use a configuration from now on. Live streams keep their settings.

        Changes that need a restart are not applied, and listed at each reload until then.
        """
        old = self.in_force
        changes = configuration.describe_changes(old, new)
        self.in_force = configuration.until_restart(old, new)
        self.supervisor.config = self.health.config = self._derive(self.in_force)
        self._secrets |= configuration.secrets_of(new)
        self.supervisor.deliveries.configure(build(self.supervisor.config.archive_sinks, self._secrets))
        logging.configure(new.log, secrets=self._secrets)
        log.info(
            "configuration reloaded",
            changed=[change.path for change in changes],
            needs_restart=[change.path for change in changes if change.needs_restart],
        )
        return {"changed": [attrs.asdict(change) for change in changes]}


def ended_by_state(tally: Tally) -> dict[str, int]:
    """Return how many streams ended in each final state."""
    counts: Counter[str] = Counter()
    for (state, _), number in tally.ended.items():
        counts[state] += number
    return dict(counts)


def _summary(known: dict[str, Any]) -> dict[str, Any]:
    return {key: known.get(key) for key in SUMMARY}
