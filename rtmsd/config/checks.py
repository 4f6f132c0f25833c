"""Checks across keys, skipped where a key alone is wrong already: one slip makes one line."""

import itertools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rtmsd.config.cluster import ClusterConfig, missing_packages
from rtmsd.config.media import MediaConfig, VideoConfig
from rtmsd.config.model import AppConfig, Config, worker_socket
from rtmsd.config.reading import Reader
from rtmsd.config.rules.addresses import SOCKET_PATH_MAX_BYTES, UNIX_PREFIX, is_loopback
from rtmsd.config.rules.certificates import present, trust
from rtmsd.config.sinks import SinkConfig
from rtmsd.protocol import media_matrix

MIN_KEEP_ALIVE_TIMEOUT_S: Final = 30.0


def check(config: Config, reader: Reader) -> None:
    """Add to the reader's mistakes and warnings those between keys of a configuration that could be read."""
    _check_apps(config.apps, reader)
    _check_media(config, reader)
    _warn_of_video(config, reader)
    _check_directories(config, reader)
    _check_streams(config, reader)
    _check_files(config, reader)
    _check_listeners(config, reader)
    _check_sinks(config.sinks, reader)
    _check_cluster(config, reader)


def _check_apps(apps: tuple[AppConfig, ...], reader: Reader) -> None:
    if not apps and reader.is_sound("app"):
        reader.mistake("app", "is missing; the credentials of a Zoom app stand in a section [[app]]")
    for app in apps:
        if app.client_secret in app.webhook_secrets:
            reader.mistake(
                "app.webhook_secret",
                f"of {app.name!r} is the same as client_secret: they are different values on Zoom's pages, "
                "the Secret Token (event subscriptions) and the Client Secret (app credentials)",
            )
        if app.api and app.api.auth == "oauth" and not app.api.account_id:
            reader.mistake("app.api.account_id", f'of {app.name!r} is missing, and auth = "oauth" needs it')
    for one, other in itertools.combinations(apps, 2):
        if one.name == other.name:
            reader.mistake("app.name", f"two apps are named {one.name!r}; give each a name of its own")
        if set(one.webhook_secrets) & set(other.webhook_secrets):
            reader.mistake(
                "app.webhook_secret",
                f"{one.name!r} and {other.name!r} have the same one, so that the app of an event is unknown",
            )


def _check_sinks(sinks: tuple[SinkConfig, ...], reader: Reader) -> None:
    names = [sink.name for sink in sinks]
    for index, name in enumerate(names):
        if name in names[:index]:
            reader.mistake(f"sink[{index}].name", f"two sinks are named {name!r}; give each a name of its own")


# Keys of the file for the fields that `media_matrix.check` names.
MEDIA_KEYS: Final = {
    ("audio", "content_type"): "media.audio.content",
    ("audio", "codec"): "media.audio.codec",
    ("audio", "sample_rate"): "media.audio.sample_rate_hz",
    ("audio", "channel"): "media.audio.channels",
    ("audio", "data_opt"): "media.audio.streams",
    ("audio", "send_rate"): "media.audio.send_rate_ms",
    ("video", "codec"): "media.video.codec",
    ("video", "resolution"): "media.video.resolution",
    ("video", "fps"): "media.video.fps",
    ("video", "data_opt"): "media.video.streams",
    ("deskshare", "codec"): "media.share.codec",
    ("deskshare", "resolution"): "media.share.resolution",
    ("deskshare", "fps"): "media.share.fps",
    ("transcript", "src_language"): "media.transcript.language",
}

# Where the wire's words are not those of the file.
_IN_WORDS: Final = {("audio", "content_type"): 'must be "raw" with codec = "L16": "rtp" goes with OPUS, G711 and G722'}


def _check_media(config: Config, reader: Reader) -> None:
    """Check what holds for each app, and name the place that can repair it: the whole file's, or the app's."""
    file_wide = dict(_media_mistakes(config.media))
    found = [("media", key, text) for key, text in file_wide.items() if not config.apps]
    for app in config.apps:
        for key, text in _media_mistakes(config.of_app(app.name).media):
            if key in app.media:
                found.append((app.media.path, key, text))
            elif file_wide.get(key) == text:
                found.append(("media", key, text))
            else:
                section = f"media.{key}".rpartition(".")[0]
                found.append((app.media.path, key, f"{text}; the value is that of [{section}], another may stand here"))
    sound = [(f"{path}.{key}", text) for path, key, text in found if _is_sound(reader, path, key)]
    for key, text in sound:
        reader.mistake(key, text)


def _is_sound(reader: Reader, path: str, key: str) -> bool:
    """Return whether nothing is wrong yet in the section of a key, the whole file's or the app's."""
    return all(reader.is_sound(f"{place}.{key}".rpartition(".")[0]) for place in {path, "media"})


def _media_mistakes(media: MediaConfig) -> Iterator[tuple[str, str]]:
    """Yield keys below `[media]` whose values do not go together, and why."""
    for mistake in media_matrix.check(media.params(), media.requested):
        field = mistake.media, mistake.field
        yield MEDIA_KEYS[field].removeprefix("media."), _IN_WORDS.get(field, mistake.message)
    if media.transcript.language == "auto" and not media.transcript.detect_language:
        yield "transcript.detect_language", 'must be true with language = "auto"'
    video, usual = media.video, VideoConfig()
    if video.streams == "active-speaker":
        for key in ("follow", "switch_after_s"):
            if getattr(video, key) != getattr(usual, key):
                yield f"video.{key}", 'has no meaning unless streams = "individual": Zoom chooses'
    elif video.follow == "manual" and video.switch_after_s != usual.switch_after_s:
        yield "video.switch_after_s", 'has no meaning with follow = "manual": operators\' choices are made at once'


def _warn_of_video(config: Config, reader: Reader) -> None:
    for app in config.apps:
        media = config.of_app(app.name).media
        if media.video.streams == "individual" and "video" not in media.types:
            path = app.media.path if {"types", "video.streams"} & {key for key, _ in app.media.values} else "media"
            warning = f'{path}.video.streams: "individual" has no effect without "video" in {path}.types'
            if warning not in reader.warnings and reader.is_sound(f"{path}.video"):
                reader.warnings.append(warning)


LIMITS: Final = ("keep_days", "keep_bytes")


def _check_directories(config: Config, reader: Reader) -> None:
    """Recordings of apps may share a directory, with the same limits, or have directories beside each other."""
    apps = [(app, config.of_app(app.name).recording) for app in config.apps]
    for (one, first), (other, second) in itertools.combinations(apps, 2):
        for key in LIMITS if first.directory == second.directory else ():
            if getattr(first, key) != getattr(second, key):
                app = other if key in other.recording else one
                reader.mistake(
                    f"{app.recording.path}.{key}",
                    f"{one.name!r} and {other.name!r} record into {first.directory} with different limits, and a limit "
                    "is that of the directory; give one of them a directory of its own",
                )
    real = {directory: Path(os.path.realpath(directory)) for directory in config.directories}
    for (named, path), (again, same) in itertools.combinations(real.items(), 2):
        if path == same:
            reader.mistake(config.directory_key(again), f"{again} is {named} by another name: write both alike")
    for (outer, around), (inner, within) in itertools.permutations(real.items(), 2):
        if around in within.parents:
            where = f"{inner} is inside {outer}, which {config.directory_key(outer)} names"
            why = "no directory of recordings may hold another one: put it beside that"
            reader.mistake(config.directory_key(inner), f"{where}; {why}")


def _check_streams(config: Config, reader: Reader) -> None:
    streams = config.streams
    if streams.reconnect_delay_s > streams.reconnect_delay_max_s and reader.is_sound("streams"):
        reader.mistake(
            "streams.reconnect_delay_s",
            f"{streams.reconnect_delay_s} is more than reconnect_delay_max_s, {streams.reconnect_delay_max_s}",
        )
    if streams.keep_alive_timeout_s < MIN_KEEP_ALIVE_TIMEOUT_S:
        reader.warnings.append(
            f"streams.keep_alive_timeout_s: Zoom asks for a sign of life every 10 s, and a stalling disk may keep one "
            f"unread for as long; {streams.keep_alive_timeout_s:g} s cut connections that are sound: take "
            f"{MIN_KEEP_ALIVE_TIMEOUT_S:g} or more"
        )
    if streams.restart_policy == "api":
        for app in config.apps:
            if app.api is None and reader.is_sound("app"):
                reader.mistake("app.api", f'of {app.name!r} is missing, and streams.restart_policy = "api" needs it')


def _check_files(config: Config, reader: Reader) -> None:
    cluster = config.cluster or ClusterConfig()
    for key, ca_file in (("zoom.ca_file", config.zoom.ca_file), ("cluster.ca_file", cluster.ca_file)):
        if ca_file:
            with reader.catching(key):
                trust(_context(), ca_file)
    if cluster.cert_file and cluster.key_file:
        with reader.catching("cluster.cert_file"):
            present(_context(), cluster.cert_file, cluster.key_file)


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _check_cluster(config: Config, reader: Reader) -> None:
    cluster = config.cluster
    if cluster is None:
        return
    if missing := missing_packages():
        reader.mistake("cluster", missing)
    for key, text in cluster.mistakes():
        if reader.is_sound(f"cluster.{key}"):
            reader.mistake(f"cluster.{key}", text)


def _check_listeners(config: Config, reader: Reader) -> None:
    webhook, admin = config.webhook.listen, config.admin
    if webhook == f"{UNIX_PREFIX}{admin.socket}":
        reader.mistake("webhook.listen", "is the same socket as admin.socket")
    if webhook == admin.metrics_listen and not webhook.endswith(":0"):
        reader.mistake("admin.metrics_listen", "is the same address as webhook.listen")
    if (processes := config.daemon.processes) > 1 and reader.is_sound("admin"):
        longest = os.fsencode(worker_socket(admin.socket, str(processes)))
        if (excess := len(longest) - SOCKET_PATH_MAX_BYTES) > 0:
            reader.mistake(
                "admin.socket",
                f"is {excess} bytes too long with daemon.workers: each worker has a socket of its own beside it, the "
                f"last {longest.decode(errors='replace')}",
            )
    if admin.metrics_listen and not is_loopback(admin.metrics_listen.rpartition(":")[0].strip("[]")):
        reader.warnings.append(
            f"admin.metrics_listen: {admin.metrics_listen} is not on loopback, and metrics have no password: "
            "see that a firewall lets in Prometheus alone"
        )
