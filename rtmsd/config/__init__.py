"""config.toml as frozen classes: read strictly, checked whole, handed out in slices."""

from rtmsd.config.changes import Change, as_masked_dict, describe_changes, effective, secrets_of, until_restart
from rtmsd.config.cluster import ClusterConfig
from rtmsd.config.loading import load
from rtmsd.config.machine import unusable, why_not_bound
from rtmsd.config.media import AudioConfig, MediaConfig, MediaName, ShareConfig, TranscriptConfig, VideoConfig
from rtmsd.config.model import (
    AdminConfig,
    ApiConfig,
    AppConfig,
    Config,
    DaemonConfig,
    LogConfig,
    RecordingConfig,
    StateConfig,
    StreamsConfig,
    WebhookConfig,
    ZoomConfig,
)
from rtmsd.config.overrides import Overrides
from rtmsd.config.sinks import ExecConfig, SinkConfig
from rtmsd.config.workers import is_called, left_behind, machine_of, of_worker

__all__ = [
    "AdminConfig",
    "ApiConfig",
    "AppConfig",
    "AudioConfig",
    "Change",
    "ClusterConfig",
    "Config",
    "DaemonConfig",
    "ExecConfig",
    "LogConfig",
    "MediaConfig",
    "MediaName",
    "Overrides",
    "RecordingConfig",
    "ShareConfig",
    "SinkConfig",
    "StateConfig",
    "StreamsConfig",
    "TranscriptConfig",
    "VideoConfig",
    "WebhookConfig",
    "ZoomConfig",
    "as_masked_dict",
    "describe_changes",
    "effective",
    "is_called",
    "left_behind",
    "load",
    "machine_of",
    "of_worker",
    "secrets_of",
    "until_restart",
    "unusable",
    "why_not_bound",
]
