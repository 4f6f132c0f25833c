"""The configuration as classes, one a section. `config.toml` explains each key.

Attributes are the file's keys, apart from `Config.apps` (`[[app]]`) and `AppConfig.webhook_secrets` (`webhook_secret`).
A field with `repr=False` is a secret, and is masked wherever a configuration is shown. One with `RESTART_BOUND`, or in
such a section, is not changed by a reload. Keys of `[media]` and `[recording]` may stand under an app, too, except
with `FILE_WIDE`.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import attrs

from rtmsd.config.cluster import ClusterConfig
from rtmsd.config.media import MAX_APPS, MediaConfig
from rtmsd.config.overrides import FILE_WIDE, Overrides
from rtmsd.config.rules.addresses import (
    HostPattern,
    host_and_port_or_none,
    host_and_port_or_unix,
    socket_path,
    webhook_path,
)
from rtmsd.config.rules.secret import Secret
from rtmsd.config.rules.values import (
    NAME,
    Between,
    Matches,
    Seconds,
    no_repeats,
    not_empty,
    not_placeholder,
    one_word,
)
from rtmsd.config.sinks import RemuxConfig, SinkConfig

HTTPS_URL: Final = Matches(r"[hH][tT][tT][pP][sS]?://[!-~]+", "an http:// or https:// address")
NOT_IN_FILE: Final = ""
RESTART_BOUND: Final = {"restart_bound": True}  # metadata of what is opened once; all else may change while running
MAX_WORKERS: Final = 256
Count: TypeAlias = Annotated[int, Between(1, 1_000_000)]
Bytes: TypeAlias = Annotated[int, Between(0, 2**60)]


def file_fields(cls: type) -> Iterator[tuple[str, "attrs.Attribute[Any]"]]:
    """Yield the key in the file and the attribute, for each attribute of a section that stands in the file."""
    for field in attrs.fields(cls):
        key = field.metadata.get("key", field.name)
        if key != NOT_IN_FILE:
            yield key, field


@attrs.frozen(kw_only=True)
class WebhookConfig:
    listen: Annotated[str, host_and_port_or_unix] = "127.0.0.1:8080"
    path: Annotated[str, webhook_path] = "/webhook"
    max_age_s: Seconds = 300
    max_body_bytes: Annotated[int, Between(1024, 16 * 2**20)] = 65536
    max_connections: Count = 1000
    read_timeout_s: Seconds = 10


@attrs.frozen(kw_only=True)
class ApiConfig:
    """Credentials of Zoom's REST API, which are not those of the stream handshakes."""

    auth: Literal["video-sdk", "oauth"] = "video-sdk"
    key: Annotated[str, one_word]
    secret: Secret = attrs.field(repr=False)
    account_id: Annotated[str, not_placeholder] = ""
    base_url: Annotated[str, HTTPS_URL] = "https://api.zoom.us/v2"
    token_url: Annotated[str, HTTPS_URL] = "https://zoom.us/oauth/token"


@attrs.frozen(kw_only=True)
class RecordingConfig:
    directory: Path = attrs.field(default=Path("/var/lib/rtmsd/recordings"), metadata=RESTART_BOUND)
    sync_interval_s: Annotated[float, Between(0.01, 60)] = attrs.field(
        default=0.5, metadata={**RESTART_BOUND, **FILE_WIDE}
    )
    buffer_bytes: Annotated[int, Between(65536, 2**40)] = attrs.field(
        default=256 * 2**20, metadata={**RESTART_BOUND, **FILE_WIDE}
    )
    min_free_bytes: Bytes = attrs.field(default=2**30, metadata=FILE_WIDE)
    keep_days: Annotated[int, Between(0, 36_500)] = 0
    keep_bytes: Bytes = 0
    remux: Literal["off", "mkv", "mp4"] = "off"


@attrs.frozen(kw_only=True, cache_hash=True)
class AppConfig:
    """One Zoom app. Any of `webhook_secrets` verifies its webhooks, so that a change of secret loses no event."""

    name: Annotated[str, NAME] = "main"
    client_id: Annotated[str, one_word]
    client_secret: Secret = attrs.field(repr=False)
    webhook_secrets: Annotated[tuple[Secret, ...], not_empty] = attrs.field(
        repr=False, metadata={"key": "webhook_secret"}
    )
    api: ApiConfig | None = None
    protocol_version: Literal[1, 2] = 1
    event_codes: Annotated[tuple[Annotated[int, Between(0, 2**31)], ...], no_repeats] = ()
    media: Overrides[MediaConfig] = attrs.field(factory=Overrides)
    recording: Overrides[RecordingConfig] = attrs.field(factory=Overrides)


@attrs.frozen(kw_only=True)
class ZoomConfig:
    allowed_hosts: Annotated[tuple[HostPattern, ...], not_empty] = ("*.zoom.us", "*.zoom.com")
    allow_plain_ws: bool = False
    ca_file: Path | None = None
    max_message_bytes: Annotated[int, Between(1024, 2**30)] = 32 * 2**20
    also_send_meeting_uuid: bool = False


@attrs.frozen(kw_only=True)
class StreamsConfig:
    connect_timeout_s: Seconds = 5
    handshake_timeout_s: Seconds = 10
    keep_alive_timeout_s: Seconds = 65
    reconnect_delay_s: Seconds = 3
    reconnect_delay_max_s: Seconds = 30
    media_window_s: Seconds = 65
    signaling_window_s: Seconds = 60
    stop_grace_s: Seconds = 2
    drain_s: Seconds = 8
    max_rest_ms: Annotated[int, Between(0, 100)] = 20
    restart_policy: Literal["none", "api"] = "none"


@attrs.frozen(kw_only=True)
class StateConfig:
    file: Path = Path("/var/lib/rtmsd/state.sqlite")


@attrs.frozen(kw_only=True)
class AdminConfig:
    socket: Annotated[Path, socket_path] = Path("/run/rtmsd/admin.sock")
    metrics_listen: Annotated[str, host_and_port_or_none] = ""


@attrs.frozen(kw_only=True)
class DaemonConfig:
    workers: Annotated[int, Between(0, MAX_WORKERS)] = 1

    @property
    def processes(self) -> int:
        """How many workers there are on this machine; 1: the daemon is one process, without any."""
        return self.workers or min(len(os.sched_getaffinity(0)), MAX_WORKERS)


def worker_socket(admin_socket: Path, node: str) -> Path:
    """Return the path of the socket on which a worker answers the others; they are called "1", "2", ..."""
    return admin_socket.with_name(f"{admin_socket.name}.worker-{node}")


@attrs.frozen(kw_only=True)
class LogConfig:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json", "journal"] = "auto"


@attrs.frozen(kw_only=True, cache_hash=True)  # `of_app` finds what it remembers by it, several times a second
class Config:
    """The whole file.

    Attributes:
        warnings: lines about what works but is unwise; they do not make two files differ.
        given: paths of the keys that stand in the file; nor do these.
    """

    webhook: WebhookConfig = attrs.field(factory=WebhookConfig, metadata=RESTART_BOUND)
    apps: tuple[AppConfig, ...] = attrs.field(default=(), metadata={"key": "app"})  # empty: refused by `load`
    zoom: ZoomConfig = attrs.field(factory=ZoomConfig)
    streams: StreamsConfig = attrs.field(factory=StreamsConfig)
    media: MediaConfig = attrs.field(factory=MediaConfig)
    recording: RecordingConfig = attrs.field(factory=RecordingConfig)
    sinks: tuple[SinkConfig, ...] = attrs.field(default=(), metadata={"key": "sink"})
    state: StateConfig = attrs.field(factory=StateConfig, metadata=RESTART_BOUND)
    admin: AdminConfig = attrs.field(factory=AdminConfig, metadata=RESTART_BOUND)
    daemon: DaemonConfig = attrs.field(factory=DaemonConfig, metadata=RESTART_BOUND)
    cluster: ClusterConfig | None = attrs.field(default=None, metadata=RESTART_BOUND)
    log: LogConfig = attrs.field(factory=LogConfig)
    warnings: tuple[str, ...] = attrs.field(default=(), eq=False, metadata={"key": NOT_IN_FILE})
    given: frozenset[str] = attrs.field(default=frozenset(), eq=False, metadata={"key": NOT_IN_FILE})

    def of_app(self, name: str) -> "Config":
        """Return the configuration as it holds for the streams of an app; as it stands for one that is not in it."""
        app = next((app for app in self.apps if app.name == name), None)
        if app is None or not (app.media.values or app.recording.values):
            return self
        return _overridden(self, app)

    @property
    def directories(self) -> dict[Path, RecordingConfig]:
        """The directories of recordings with their limits: that of the whole file first, also where no app uses it.

        Apps of one directory have the same limits. Where a reload may have brought them together, as a new directory
        waits for a restart, the limit counts that keeps more.
        """
        users: dict[Path, list[RecordingConfig]] = {self.recording.directory: []}
        for app in self.apps:
            recording = self.of_app(app.name).recording
            users.setdefault(recording.directory, []).append(recording)
        return {directory: _keeping_most(found or [self.recording]) for directory, found in users.items()}

    @property
    def archive_sinks(self) -> tuple[SinkConfig, ...]:
        """The sinks that have a section, and the one that `recording.remux` asks for."""
        formats = {app.name: self.of_app(app.name).recording.remux for app in self.apps}
        return (*self.sinks, RemuxConfig(formats=formats)) if set(formats.values()) - {"off"} else self.sinks

    def directory_key(self, directory: Path) -> str:
        """Return the path of the key that names a directory of recordings."""
        own = (app.recording.path for app in self.apps if ("directory", directory) in app.recording.values)
        return f"{next(own)}.directory" if directory != self.recording.directory else "recording.directory"


@lru_cache(maxsize=MAX_APPS)  # all streams of an app share one
def _overridden(config: Config, app: AppConfig) -> Config:
    return attrs.evolve(
        config, media=app.media.applied(config.media), recording=app.recording.applied(config.recording)
    )


def _keeping_most(rules: list[RecordingConfig]) -> RecordingConfig:
    """Return the limits that delete least; 0 is none."""
    days, sizes = [each.keep_days for each in rules], [each.keep_bytes for each in rules]
    return attrs.evolve(rules[0], keep_days=max(days) if all(days) else 0, keep_bytes=max(sizes) if all(sizes) else 0)
