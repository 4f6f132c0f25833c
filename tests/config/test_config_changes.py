"""Changes that a reload reports, with secrets masked."""

import json
from pathlib import Path

import attrs

from rtmsd.config import (
    AdminConfig,
    AppConfig,
    Change,
    ClusterConfig,
    Config,
    LogConfig,
    MediaConfig,
    RecordingConfig,
    StateConfig,
    WebhookConfig,
    ZoomConfig,
    as_masked_dict,
    describe_changes,
    secrets_of,
    until_restart,
)
from rtmsd.config.changes import NEEDS_RESTART

MAIN = AppConfig(client_id="abc", client_secret="client-secret", webhook_secrets=("hook-1", "hook-2"))
CONFIG = Config(apps=(MAIN,))


def test_nothing_changed() -> None:
    assert describe_changes(CONFIG, attrs.evolve(CONFIG, warnings=("unwise",))) == []


def test_changes_in_the_order_of_the_file() -> None:
    new = attrs.evolve(
        CONFIG,
        webhook=WebhookConfig(listen="127.0.0.1:1"),
        zoom=ZoomConfig(allowed_hosts=("localhost",), ca_file=Path("/ca.pem")),
        media=MediaConfig(types=("audio",)),
        recording=RecordingConfig(directory=Path("/r"), keep_days=7),
        log=LogConfig(level="debug"),
    )
    assert describe_changes(CONFIG, new) == [
        Change("webhook.listen", "127.0.0.1:8080", "127.0.0.1:1", needs_restart=True),
        Change("zoom.allowed_hosts", ["*.zoom.us", "*.zoom.com"], ["localhost"], needs_restart=False),
        Change("zoom.ca_file", None, "/ca.pem", needs_restart=False),
        Change("media.types", ["audio", "transcript"], ["audio"], needs_restart=False),
        Change("recording.directory", "/var/lib/rtmsd/recordings", "/r", needs_restart=True),
        Change("recording.keep_days", 0, 7, needs_restart=False),
        Change("log.level", "info", "debug", needs_restart=False),
    ]


def test_restart_bound_keys_alone_stay_in_force() -> None:
    new = attrs.evolve(
        CONFIG,
        webhook=WebhookConfig(path="/other"),
        media=MediaConfig(types=("audio",)),
        recording=RecordingConfig(directory=Path("/r"), sync_interval_s=2, buffer_bytes=10**6, keep_days=7),
        state=StateConfig(file=Path("/s")),
        admin=AdminConfig(metrics_listen="127.0.0.1:9090"),
    )
    left = describe_changes(until_restart(CONFIG, new), new)
    assert left == [change for change in describe_changes(CONFIG, new) if change.needs_restart]
    assert {change.path.partition(".")[0] for change in left} == {"webhook", "recording", "state", "admin"}


def test_a_secret_changed_and_is_not_shown() -> None:
    new = attrs.evolve(CONFIG, apps=(attrs.evolve(MAIN, webhook_secrets=("hook-2",), client_secret="another"),))
    assert describe_changes(CONFIG, new) == [
        Change("app[main].client_secret", "***", "***", needs_restart=False),
        Change("app[main].webhook_secret", "***", "***", needs_restart=False),
    ]


def test_apps_go_by_name() -> None:
    other = attrs.evolve(MAIN, name="other", webhook_secrets=("hook-3",))
    assert describe_changes(attrs.evolve(CONFIG, apps=(MAIN, other)), attrs.evolve(CONFIG, apps=(other, MAIN))) == []
    assert describe_changes(CONFIG, attrs.evolve(CONFIG, apps=(MAIN, other))) == [
        Change("app[other].name", None, "other", needs_restart=False),
        Change("app[other].client_id", None, "abc", needs_restart=False),
        Change("app[other].client_secret", None, "***", needs_restart=False),
        Change("app[other].webhook_secret", None, "***", needs_restart=False),
        Change("app[other].protocol_version", None, 1, needs_restart=False),
        Change("app[other].event_codes", None, [], needs_restart=False),
    ]


def test_restart_bound_keys() -> None:
    recording = ("recording.directory", "recording.sync_interval_s", "recording.buffer_bytes")
    assert ("webhook.", *recording, "state.", "admin.", "daemon.", "cluster") == NEEDS_RESTART


def test_secrets_are_masked() -> None:
    assert secrets_of(CONFIG) == {"client-secret", "hook-1", "hook-2"}
    shown = repr(CONFIG) + json.dumps(as_masked_dict(CONFIG)) + repr(describe_changes(CONFIG, Config()))
    assert not any(secret in shown for secret in secrets_of(CONFIG))


def test_the_clusters_secrets_are_masked_where_there_are_any() -> None:
    config = attrs.evolve(CONFIG, cluster=ClusterConfig(user="a", password="open-sesame"))
    assert secrets_of(config) - secrets_of(CONFIG) == {"open-sesame"}
    assert "open-sesame" not in repr(config)
    masked = as_masked_dict(config)["cluster"]
    assert (masked["password"], masked["nkey"]) == ("***", "")


def test_a_section_that_comes_or_goes_waits_for_a_restart() -> None:
    new = attrs.evolve(CONFIG, cluster=ClusterConfig(servers=("tls://n1",)))
    for before, after in ((CONFIG, new), (new, CONFIG)):
        changes = describe_changes(before, after)
        assert {change.path for change in changes} >= {"cluster.servers", "cluster.beat_s"}
        assert all(change.needs_restart for change in changes)
        assert until_restart(before, after) == before
