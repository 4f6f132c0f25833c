"""Checks across keys, skipped where a key alone is wrong already: one slip makes one line."""

import ipaddress
import itertools
import ssl
from typing import Final

from rtmsd.config.media import MediaConfig, TranscriptConfig, VideoConfig
from rtmsd.config.model import AppConfig, Config
from rtmsd.config.reading import Reader
from rtmsd.config.rules import UNIX_PREFIX
from rtmsd.config.sinks import SinkConfig
from rtmsd.protocol import media_matrix

MIN_KEEP_ALIVE_TIMEOUT_S: Final = 30.0


def check(config: Config, reader: Reader) -> None:
    """Add to the reader's mistakes and warnings those between keys of a configuration that could be read."""
    _check_apps(config.apps, reader)
    _check_media(config.media, reader)
    _check_video(config.media, reader)
    _check_transcript(config.media.transcript, reader)
    _check_streams(config, reader)
    _check_files(config, reader)
    _check_listeners(config, reader)
    _check_sinks(config.sinks, reader)


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
    ("audio", "content_type"): "media.audio.codec",
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


def _check_media(media: MediaConfig, reader: Reader) -> None:
    refused = [
        (MEDIA_KEYS[mistake.media, mistake.field], mistake.message)
        for mistake in media_matrix.check(media.params(), media.requested)
    ]
    for key, text in [(key, text) for key, text in refused if reader.is_sound(key.rpartition(".")[0])]:
        reader.mistake(key, text)


def _check_video(media: MediaConfig, reader: Reader) -> None:
    video, usual = media.video, VideoConfig()
    if not reader.is_sound("media.video"):
        return
    if video.streams == "active-speaker":
        for key in ("follow", "switch_after_s"):
            if getattr(video, key) != getattr(usual, key):
                reader.mistake(f"media.video.{key}", 'has no meaning unless streams = "individual": Zoom chooses')
    elif video.follow == "manual" and video.switch_after_s != usual.switch_after_s:
        reader.mistake(
            "media.video.switch_after_s", 'has no meaning with follow = "manual": operators\' choices are made at once'
        )
    if video.streams == "individual" and "video" not in media.types:
        reader.warnings.append('media.video.streams: "individual" has no effect without "video" in media.types')


def _check_transcript(transcript: TranscriptConfig, reader: Reader) -> None:
    if transcript.language == "auto" and not transcript.detect_language:
        reader.mistake("media.transcript.detect_language", 'must be true with language = "auto"')


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
    ca_file = config.zoom.ca_file
    if ca_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
        except ssl.SSLError:
            reader.mistake("zoom.ca_file", f"{ca_file} holds no PEM certificate")
        except OSError as exc:
            reader.mistake("zoom.ca_file", f"cannot read {ca_file}: {exc.strerror}")


def _check_listeners(config: Config, reader: Reader) -> None:
    webhook, admin = config.webhook.listen, config.admin
    if webhook == f"{UNIX_PREFIX}{admin.socket}":
        reader.mistake("webhook.listen", "is the same socket as admin.socket")
    if webhook == admin.metrics_listen and not webhook.endswith(":0"):
        reader.mistake("admin.metrics_listen", "is the same address as webhook.listen")
    if admin.metrics_listen and not _is_loopback(admin.metrics_listen.rpartition(":")[0].strip("[]")):
        reader.warnings.append(
            f"admin.metrics_listen: {admin.metrics_listen} is not on loopback, and metrics have no password: "
            "see that a firewall lets in Prometheus alone"
        )


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can connect. A name is not resolved: today's answer may not be tomorrow's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
