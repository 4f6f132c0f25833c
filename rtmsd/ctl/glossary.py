"""Words that rtmsctl prints, beside states and causes: of the daemon, its links, its webhooks, and its refusals."""

from collections.abc import Mapping
from typing import Final

from rtmsd.protocol.explanations import Meaning

_NOTHING: Final = "Nothing."
_BY_ITSELF: Final = "Nothing: rtmsd sees to it by itself."
_SECRETS: Final = "`rtmsctl doctor` tells the secrets apart."


def _table(rows: Mapping[str, tuple[str, str, str]]) -> Mapping[str, Meaning]:
    return {name: Meaning(name, *texts) for name, texts in rows.items()}


DAEMON_STATES: Final = _table(
    {
        "ok": ("The daemon serves, and nothing is wrong.", "All is well.", _NOTHING),
        "degraded": (
            "The daemon serves, and something is wrong.",
            "The lines below the status say what; each has a code that `explain` knows.",
            "Follow what they say.",
        ),
        "draining": ("No new streams are taken; running ones go on.", "`rtmsctl drain`.", "`rtmsctl undrain`."),
        "starting": ("The daemon is not ready yet.", "It has just been started.", "Wait a moment."),
        "serving": ("Both sockets answer.", "All is well.", _NOTHING),
        "stopping": ("The daemon finishes its files and ends.", "Somebody stopped it.", _NOTHING),
    }
)

LINK_STATES: Final = _table(
    {
        "idle": ("Signaling is not up, so there is no media connection.", "The stream connects.", _BY_ITSELF),
        "streaming": ("The connection is up.", "All is well.", _NOTHING),
        "lost": ("The connection is lost, and the next attempt is awaited.", "LATEST LOSS says it.", _BY_ITSELF),
        "refused": (
            "Zoom will not give these media: no further attempt.",
            "A missing scope, or a product without them.",
            "`rtmsctl inspect STREAM` has the status; `explain status N`.",
        ),
    }
)

TROUBLES: Final = _table(
    {
        "disk_unreadable": (
            "The recording directory cannot be looked at.",
            "A disk that stands still, a mount that is gone, or permissions.",
            "See that recording.directory is there and answers.",
        ),
        "disk_low": (
            "Less than recording.min_free_bytes is free: new streams are refused.",
            "The disk is full.",
            "Make room, or set recording.keep_days or keep_bytes.",
        ),
        "disk_error": ("The disk refuses to be written.", "Full, read-only or broken.", "Make room, look at dmesg."),
        "sync_lag": ("Writing to the disk takes long.", "A slow or busy disk.", "Use a faster one, see what loads it."),
        "buffer_full": (
            "Media that wait to be written fill recording.buffer_bytes; frames are dropped.",
            "The disk does not keep up.",
            "Use a faster disk, or raise recording.buffer_bytes.",
        ),
        "descriptors": (
            "Too few file descriptors are left for another stream: new streams are refused.",
            "Many streams or clients at once, under a low limit.",
            "Raise LimitNOFILE of the service; `rtmsctl status` has the figures.",
        ),
        "state_file": (
            "The state file is gone, replaced, or cannot be written: new streams are refused.",
            "Somebody moved or deleted it, or the disk.",
            "Put it back; after 10 s it is written anew from what the daemon knows.",
        ),
        "state_file_damaged": (
            "The state file was damaged when rtmsd started, and was set aside.",
            "A broken disk, or something wrote into it.",
            "Look at the file that status names; recordings told what was live.",
        ),
        "webhook_signatures": ("The latest webhooks did not verify.", "The wrong Secret Token, most likely.", _SECRETS),
        "webhook_stale": (
            "The latest webhooks were signed rightly, but too long ago.",
            "A wrong clock here, or something that holds them back.",
            "Set the clock; see webhook.max_age_s.",
        ),
        "webhook_events": (
            "A genuine webhook was refused with 400, and Zoom does not send it again.",
            "It lacks a field that cannot be done without.",
            "`rtmsctl doctor` says which; report it.",
        ),
        "requests_crashed": (
            "Requests at the webhook's address were answered 500 in the last hour: a bug.",
            "A fault of rtmsd's, or of a library that does not fit it.",
            "The log has a traceback: report it.",
        ),
        "media_refused": (
            "Zoom did not grant media that the configuration asks for; the other media are recorded.",
            "A missing scope, or a product without them.",
            "`rtmsctl ps -a` says which, `explain` the status; or take them out of media.types.",
        ),
        "starts_refused": (
            "Starts were answered with 503 in the last hour, and not taken on since.",
            "rtmsd was draining, or short of disk or descriptors.",
            "`rtmsctl ps -a` names them and says why; Zoom sends them again for 85 minutes.",
        ),
        "not_connected": (
            "Streams cannot connect to Zoom.",
            "WHY in `rtmsctl ps` has the latest reason.",
            "See name resolution, firewall, proxy and zoom.allowed_hosts.",
        ),
        "streams_failed": (
            "Streams failed, or were lost before their end, in the last hour.",
            "Credentials, scopes or parameters that Zoom refuses.",
            "`rtmsctl ps -a` names them, `rtmsctl inspect STREAM` says why.",
        ),
        "no_media": (
            "A stream is connected and hears nothing, not even keep-alives.",
            "Something in between swallows the packets.",
            "`rtmsctl reconnect STREAM`.",
        ),
    }
)

WEBHOOK_RESULTS: Final = _table(
    {
        "accepted": ("A webhook was taken, and acted on.", "All is well.", _NOTHING),
        "duplicate": ("The same webhook had been taken before.", "Zoom repeats them.", _NOTHING),
        "late": ("A webhook was older than what is known already.", "Zoom's late retries.", _NOTHING),
        "foreign": ("A genuine webhook about a stream of another app.", "Two apps on one endpoint.", _NOTHING),
        "validation": ("Zoom checked the endpoint.", "Somebody pressed Validate.", _NOTHING),
        "notice": ("Zoom spoke of the limit of streams at once.", "`rtmsctl doctor` has it.", _NOTHING),
        "unknown": ("A genuine event that rtmsd has no use for.", "A subscription to more than RTMS.", _NOTHING),
        "bad_event": ("A genuine webhook that cannot be acted on.", "A field is missing.", "See the log, report it."),
        "unsigned": ("A request without a signature.", "Scanners, a browser.", _NOTHING),
        "stale": (
            "A genuine webhook, signed too long ago.",
            "A wrong clock, or a slow proxy.",
            "Set the clock.",
        ),
        "swapped": ("Webhooks are signed with what is configured as client_secret.", "A mix-up.", "Swap the two."),
        "forged": ("No configured webhook_secret verifies it.", "A wrong secret, or a stranger.", _SECRETS),
        "refused": ("A start was answered 503.", "rtmsd drains or is short of disk.", "`rtmsctl status` says why."),
        "unsafe": ("A webhook could not be journalled, and was answered 503.", "The disk.", "See `rtmsctl status`."),
        "crashed": ("A request ran into a bug, and was answered 500.", "See the log.", "Report it."),
        "too_large": ("A body over webhook.max_body_bytes.", "Hardly Zoom.", _NOTHING),
        "too_slow": ("A request that did not arrive in time.", "Scanners, or a bad connection.", _NOTHING),
    }
)

COUNTERS: Final = _table(
    {
        "duplicates": ("Packets that came twice; one was kept.", "Zoom repeats after a reconnection.", _NOTHING),
        "same_time": ("Packets with the time of the one before; all were kept.", "Zoom's clock is coarse.", _NOTHING),
        "trimmed_ms": ("Silence taken out to keep a track in time.", "Jitter, clocks that drift.", _NOTHING),
        "cut_ms": (
            "Audio that came too late for its place, where other audio is.",
            "Zoom's clock jumped back.",
            _NOTHING,
        ),
        "inserted_ms": ("Silence put in to keep a track in time.", "Jitter, clocks that drift.", _NOTHING),
        "lag": ("How far what was received is ahead of the disk.", "A busy disk.", "Above some seconds: see the disk."),
    }
)

PROBLEMS: Final = _table(
    {
        "bad_request": ("The request is not understood.", "A slip, or another version.", "See the message."),
        "ambiguous": ("The beginning of an id fits several.", "It is too short.", "Write more of it."),
        "no_such_stream": ("No stream has that id.", "A slip.", "`rtmsctl ps -a` lists them."),
        "no_such_recording": ("No recording has that id.", "A slip.", "`rtmsctl recordings ls` lists them."),
        "no_such_participant": ("Nobody in the stream has that id.", "A slip.", "`rtmsctl inspect STREAM`."),
        "no_such_path": ("The daemon does not know this request.", "Another version.", "Compare `rtmsctl status`."),
        "method_not_allowed": ("Not with this HTTP method.", "A slip with curl.", "See the message."),
        "not_permitted": ("Only root and the daemon's own user may control.", "Others may look.", "Use sudo."),
        "refused_in_state": ("Not in this state.", "It has ended, is live, or has no such media.", "See the message."),
        "request_timeout": ("The request did not arrive whole in time.", "A busy machine.", "Try again."),
        "timed_out": ("What was asked for took too long.", "Zoom or the disk does not answer.", "Try again."),
        "too_large": ("The request is too large.", "A slip with curl.", "See the message."),
        "too_many_connections": ("Too many clients at once.", "Taps that were left open.", "Close some."),
        "bad_configuration": ("The file is wrong, and nothing was changed.", "Each mistake is named.", "Correct it."),
        "zoom_refused": ("Zoom's REST API refused.", "The message has Zoom's code.", "`explain` that code."),
        "failed": ("It could not be done.", "The message says why.", "See the message."),
        "internal": ("A bug of rtmsd's.", "The log has a traceback.", "Report it."),
    }
)

WORDS: Final[Mapping[str, Mapping[str, Meaning]]] = {
    "daemon state": DAEMON_STATES,
    "link state": LINK_STATES,
    "trouble": TROUBLES,
    "webhook result": WEBHOOK_RESULTS,
    "counter": COUNTERS,
    "problem": PROBLEMS,
}
"""By kind; `rtmsd.ctl.terms` has the states of streams and the causes of gaps."""
