"""The words that rtmsctl explains: states, causes of gaps, troubles, results, counters and refusals."""

from collections.abc import Mapping
from typing import Final

from rtmsd.ctl.cluster_glossary import CLUSTER_TROUBLES, MEMBER_STATES, STREAM_FLAGS
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.explanations import Meaning
from rtmsd.protocol.status_texts import Texts

_NOTHING: Final = "Nothing."
_BY_ITSELF: Final = "Nothing: rtmsd recovers by itself."
_SECRETS: Final = "`rtmsctl doctor` says which secret is wrong."

STREAM_STATES: Final[Mapping[str, Texts]] = {
    RecordingState.CONNECTING: ("Announced; no media has arrived yet.", "Handshakes are in progress.", _BY_ITSELF),
    RecordingState.ACTIVE: ("Media is received and recorded.", "All is well.", _NOTHING),
    RecordingState.PAUSED: ("Zoom sends no media for a while: no gap.", "Somebody paused it.", "Resume it."),
    RecordingState.RECOVERING: (
        "A connection is lost, and Zoom still accepts a reconnection.",
        "The network, another Zoom server, or a restart.",
        "If it stays so: `rtmsctl inspect STREAM` says why, `rtmsctl doctor` checks the network.",
    ),
    RecordingState.ENDED: (
        "The stream has ended, and its files are complete.",
        "The stop reason says why; 19 when the reconnection window passed.",
        "Nothing; `rtmsctl explain` explains the stop reason.",
    ),
    RecordingState.FAILED: (
        "rtmsd gave up the stream; what was received before is kept.",
        "Zoom refused permanently (credentials, scopes, parameters), or a bug in rtmsd.",
        "`rtmsctl inspect STREAM` says why; the log has the details.",
    ),
    RecordingState.REVOKED: (
        "Everything recorded of the stream was deleted; only a receipt is left.",
        "Zoom demanded it with stop reason 8.",
        "Nothing; it must not be restored.",
    ),
    "part": (
        "This node of the cluster recorded a part of the stream, and let it go: nothing is added to it here.",
        "Another node went on from it, or will (`rtmsctl cluster ps`). In stream.json its state is still `recovering`.",
        "Nothing: when the stream has ended, its parts are joined by themselves; or by `rtmsctl recordings gather`.",
    ),
    "refused": (
        "The start was answered with 503, and nothing of the stream is recorded.",
        "rtmsd was draining, the disk was low, or the state file could not be written.",
        "Zoom repeats a start after 5, 25 and 85 minutes: fix the cause before then (`rtmsctl doctor`).",
    ),
}
"""By `RecordingState`; in lists also a part that was let go, and a start that was refused, which has no recording."""

GAP_CAUSES: Final[Mapping[str, Texts]] = {
    GapCause.MEDIA_RECONNECT: (
        "The media connection was lost, and Zoom's buffer did not reach back to the loss.",
        "The network, or Zoom closed the connection.",
        "If it happens often: `rtmsctl doctor`, and check the network path to Zoom.",
    ),
    GapCause.SIGNALING_RECONNECT: (
        "The signaling connection was lost, and media with it.",
        "The network, or keep-alives answered too late on a busy machine.",
        "If it happens often, look at the event loop's lag in `rtmsctl metrics`.",
    ),
    GapCause.SERVER_FAILOVER: ("Zoom moved the stream to another server.", "Zoom.", _NOTHING),
    GapCause.DAEMON_RESTART: (
        "rtmsd did not run, or one of its workers died.",
        "It was stopped, upgraded or killed; or came back with a configuration that asks for less, until the end.",
        "`journalctl -u rtmsd` says which; shorten upgrades.",
    ),
    GapCause.NODE_TAKEOVER: (
        "Another node of the cluster took the stream over.",
        "The node that had it died, was drained, or lost its link to the others.",
        "Nothing; `stream_state` in events.jsonl says who took over from whom, and why.",
    ),
    GapCause.DROPPED: (
        "Media was received and could not be kept.",
        "The disk was full or blocked until recording.buffer_bytes was used up; or media still arrived half a "
        "minute after the stream's end.",
        "Free space, use a faster disk, or raise recording.buffer_bytes.",
    ),
    GapCause.CORRUPT: (
        "Media was received and could not be read.",
        "Zoom or something in between sent broken messages.",
        "Look at the counters in `rtmsctl inspect STREAM`; report it to Zoom if it continues.",
    ),
    GapCause.REFUSED: (
        "Media was asked for, and Zoom did not grant it, or in a form that cannot be stored.",
        "The app lacks the scope, Zoom rejects the parameters, or no connection was made before the end.",
        "`rtmsctl inspect STREAM` says why; add the scope to the app, or remove the media from media.types.",
    ),
    GapCause.DAMAGED: (
        "Media was recorded, and is gone from its file: the manifest lists what is no longer on disk.",
        "Somebody, or a program, cut, removed or replaced files of the recording; or the disk lost them.",
        "Look for `file_damaged` in events.jsonl and for other writers below recording.directory; use a backup.",
    ),
}

DAEMON_STATES: Final[Mapping[str, Texts]] = {
    "ok": ("The daemon serves, and nothing is wrong.", "All is well.", _NOTHING),
    "degraded": (
        "The daemon serves, and something is wrong.",
        "The lines below the status say what; each has a code that `explain` knows.",
        "Follow what they say.",
    ),
    "draining": ("New streams are refused; running ones continue.", "`rtmsctl drain`.", "`rtmsctl undrain`."),
    "starting": ("The daemon is not ready yet.", "It has just been started.", "Wait a moment."),
    "serving": ("Both sockets answer.", "All is well.", _NOTHING),
    "stopping": ("The daemon completes its files and exits.", "Somebody stopped it.", _NOTHING),
}

LINK_STATES: Final[Mapping[str, Texts]] = {
    "idle": ("Signaling is not up, so there is no media connection.", "The stream connects.", _BY_ITSELF),
    "streaming": ("The connection is up.", "All is well.", _NOTHING),
    "lost": ("The connection is lost, and will be tried again.", "LATEST LOSS says why.", _BY_ITSELF),
    "refused": (
        "Zoom does not grant these media: no further attempt.",
        "A missing scope, or a product without them.",
        "`rtmsctl inspect STREAM` has the status; `explain status N`.",
    ),
}

TROUBLES: Final[Mapping[str, Texts]] = {
    "disk_unreadable": (
        "The recording directory cannot be read.",
        "A disk that does not answer, a missing mount, or permissions.",
        "Check that recording.directory exists and can be read.",
    ),
    "disk_low": (
        "Less than recording.min_free_bytes is free: new streams are refused.",
        "The disk is full.",
        "Free space, or set recording.keep_days or keep_bytes.",
    ),
    "disk_error": ("Writing to the disk fails.", "Full, read-only or broken.", "Free space, look at dmesg."),
    "sync_lag": ("Writing to the disk takes long.", "A slow or busy disk.", "Use a faster one; find what loads it."),
    "buffer_full": (
        "Unwritten media fill recording.buffer_bytes; frames are dropped.",
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
        "Put it back; after 10 s the daemon writes a new one from memory.",
    ),
    "state_file_damaged": (
        "The state file was damaged when rtmsd started, and was set aside.",
        "A broken disk, or something wrote into it.",
        "Look at the file that status names; live streams were found from their recordings.",
    ),
    "webhook_signatures": ("The latest webhooks did not verify.", "The wrong Secret Token, most likely.", _SECRETS),
    "webhook_stale": (
        "The latest webhooks have a good signature, but an old timestamp.",
        "A wrong clock here, or a proxy that delays them.",
        "Set the clock; see webhook.max_age_s.",
    ),
    "webhook_events": (
        "A genuine webhook was refused with 400; Zoom does not repeat it.",
        "A required field is missing.",
        "`rtmsctl doctor` says which; report it.",
    ),
    "requests_crashed": (
        "Requests at the webhook's address were answered 500 in the last hour: a bug.",
        "A bug in rtmsd, or an incompatible release of a library.",
        "The log has a traceback: report it.",
    ),
    "media_refused": (
        "Zoom did not grant media that the configuration asks for; the other media are recorded.",
        "A missing scope, or a product without them.",
        "`rtmsctl ps -a` says which, `explain` the status; or remove them from media.types.",
    ),
    "starts_refused": (
        "Starts were answered with 503 in the last hour, and not accepted since.",
        "rtmsd was draining, or short of disk space or descriptors.",
        "`rtmsctl ps -a` names them and says why; Zoom repeats them for 85 minutes.",
    ),
    "not_connected": (
        "Streams cannot connect to Zoom.",
        "WHY in `rtmsctl ps` shows the latest reason.",
        "Check name resolution, firewall, proxy and zoom.allowed_hosts.",
    ),
    "streams_failed": (
        "Streams failed, or were lost before their end, in the last hour.",
        "Credentials, scopes or parameters that Zoom refuses.",
        "`rtmsctl ps -a` names them, `rtmsctl inspect STREAM` says why.",
    ),
    "deliveries_dead": (
        "Finished recordings could not be given to a sink in the last day.",
        "Its program fails.",
        "`rtmsctl deliveries ls --state dead`, then `show ID`, and `replay ID` when it is fixed.",
    ),
    "worker_silent": (
        "A worker does not answer; what it has is missing in lists and figures, and cannot be controlled.",
        "It has ended and is being started again, or it hangs, or the machine is overloaded.",
        "The parent starts it again, and the others take over its streams; if it lasts, see `journalctl -u rtmsd`.",
    ),
    "no_media": (
        "A stream is connected and receives nothing, not even keep-alives.",
        "A firewall or proxy drops the packets.",
        "`rtmsctl reconnect STREAM`.",
    ),
    **CLUSTER_TROUBLES,
}

DELIVERY_STATES: Final[Mapping[str, Texts]] = {
    "waiting": (
        "A finished recording is to be given to a sink.",
        "It failed before, others run, or its stream lives again.",
        "WHY and NEXT in `rtmsctl deliveries ls` say more.",
    ),
    "running": ("The sink's program runs.", "A stream has ended.", _NOTHING),
    "done": ("The sink has the recording.", "All is well.", _NOTHING),
    "dead": (
        "The sink did not take the recording, and it is not tried again.",
        "Its retries are used up, it refused for good, or its [[sink]] is gone.",
        "`rtmsctl deliveries show ID` has the reason; `rtmsctl deliveries replay ID`.",
    ),
}

WEBHOOK_RESULTS: Final[Mapping[str, Texts]] = {
    "accepted": ("A webhook was accepted.", "All is well.", _NOTHING),
    "duplicate": ("The same webhook was accepted before.", "Zoom repeats them.", _NOTHING),
    "late": ("A webhook was older than what is known already.", "Zoom's late retries.", _NOTHING),
    "foreign": ("A genuine webhook about a stream of another app.", "Two apps on one endpoint.", _NOTHING),
    "validation": ("Zoom checked the endpoint.", "Somebody pressed Validate.", _NOTHING),
    "notice": ("Zoom reported its limit of concurrent streams.", "`rtmsctl doctor` shows it.", _NOTHING),
    "unknown": ("A genuine event that rtmsd does not use.", "A subscription to more than RTMS.", _NOTHING),
    "bad_event": ("A genuine webhook that cannot be used.", "A field is missing.", "See the log, report it."),
    "unsigned": ("A request without a signature.", "Scanners, a browser.", _NOTHING),
    "stale": ("A genuine webhook with an old timestamp.", "A wrong clock, or a slow proxy.", "Set the clock."),
    "swapped": ("Webhooks are signed with what is configured as client_secret.", "A mix-up.", "Swap the two."),
    "forged": ("No configured webhook_secret verifies it.", "A wrong secret, or a forged request.", _SECRETS),
    "refused": ("A start was answered 503.", "rtmsd is draining or short of disk space.", "`rtmsctl status` says why."),
    "unsafe": ("A webhook could not be journalled, and was answered 503.", "The disk.", "See `rtmsctl status`."),
    "crashed": ("A request hit a bug, and was answered 500.", "See the log.", "Report it."),
    "too_large": ("A body over webhook.max_body_bytes.", "Not Zoom, most likely.", _NOTHING),
    "too_slow": ("A request that did not arrive in time.", "Scanners, or a bad connection.", _NOTHING),
}

COUNTERS: Final[Mapping[str, Texts]] = {
    "duplicates": ("Packets that arrived twice; one was kept.", "Zoom repeats after a reconnection.", _NOTHING),
    "same_time": ("Packets with the time of the one before; all were kept.", "Zoom's clock is coarse.", _NOTHING),
    "trimmed_ms": ("Silence removed to keep a track in time.", "Jitter, clock drift.", _NOTHING),
    "cut_ms": (
        "Audio that arrived too late: its place is taken, or silence of Opus on disk.",
        "Zoom's clock jumped back.",
        _NOTHING,
    ),
    "inserted_ms": ("Silence inserted to keep a track in time.", "Jitter, clock drift.", _NOTHING),
    "unknown_kinds": (
        "What Zoom sent and this version does not know, by name; events.jsonl has it.",
        "A newer protocol.",
        "Upgrade rtmsd if it matters to you.",
    ),
    "rtp_lost": ("Packets that RTP's numbers say were sent, and that never came.", "Zoom lost them.", _NOTHING),
    "lag": ("How far reception is ahead of the disk.", "A busy disk.", "Above some seconds: check the disk."),
}

_BROKEN: Final = ("Zoom, or something in between.", "The rest goes on; report it to Zoom if there are many.")

CORRUPT_KINDS: Final[Mapping[str, Texts]] = {
    "bad_utf8": ("Messages that are no UTF-8.", *_BROKEN),
    "bad_json": ("Messages that are no JSON.", *_BROKEN),
    "not_object": ("Messages that are JSON and no object.", *_BROKEN),
    "wrong_type": ("Messages with a field of another type than it has, or without one that they need.", *_BROKEN),
    "unexpected": ("Messages that can be read, and do not belong where they came.", *_BROKEN),
    "bad_base64": ("Media data that are no base64.", *_BROKEN),
    "length_mismatch": ("Media data of another length than the message says.", *_BROKEN),
    "timestamp": ("Media with a time that cannot be.", *_BROKEN),
    "odd_length": ("Audio of a part of a sample, or of a packet.", *_BROKEN),
    "opus": ("Packets that are no Opus, or whose length cannot be told.", *_BROKEN),
    "rtp": ("Packets that are no RTP, or of another payload than was granted.", *_BROKEN),
    "image": ("Pictures that are no JPEG or PNG; they are kept.", *_BROKEN),
}

VIDEO_RESULTS: Final[Mapping[str, Texts]] = {
    "ok": ("Zoom sends the video that was chosen.", "All is well.", _NOTHING),
    "gone": ("Zoom knows no such participant.", "The participant left.", "Nothing: another one is chosen."),
    "refused": ("Zoom refused the choice; the one before holds.", "Its status says why.", "`rtmsctl video STREAM`."),
    "no_answer": ("Zoom did not answer a choice.", "Zoom is busy.", "Nothing: it is tried again at the next reason."),
    "replaced": ("Another choice came before Zoom answered.", "Two operators, or one in a hurry.", _NOTHING),
}
"""Of a choice of a participant's video."""

PROBLEMS: Final[Mapping[str, Texts]] = {
    "bad_request": ("The request is not understood.", "A typing error, or another version.", "See the message."),
    "ambiguous": ("The prefix matches several ids.", "It is too short.", "Write more of it."),
    "no_such_stream": ("No stream has that id.", "A typing error.", "`rtmsctl ps -a` lists them."),
    "no_such_recording": ("No recording has that id.", "A typing error.", "`rtmsctl recordings ls` lists them."),
    "no_such_node": ("No member of the cluster has that name.", "A typing error.", "`rtmsctl cluster status`."),
    "no_such_delivery": ("No delivery has that id.", "A typing error.", "`rtmsctl deliveries ls` lists them."),
    "no_such_participant": ("Nobody in the stream has that id.", "A typing error.", "`rtmsctl inspect STREAM`."),
    "not_in_stream": ("That participant is not in the stream.", "A typing error.", "`rtmsctl video STREAM`."),
    "no_such_path": ("The daemon does not know this request.", "Another version.", "Compare `rtmsctl status`."),
    "method_not_allowed": ("Not with this HTTP method.", "A typing error with curl.", "See the message."),
    "not_permitted": ("Only root and the daemon's own user may control.", "Others may look.", "Use sudo."),
    "refused_in_state": ("Not in this state.", "It has ended, is live, or has no such media.", "See the message."),
    "request_timeout": ("The request did not arrive whole in time.", "A busy machine.", "Try again."),
    "timed_out": ("The request took too long.", "Zoom or the disk does not answer.", "Try again."),
    "too_large": ("The request is too large.", "A typing error with curl.", "See the message."),
    "too_many_connections": ("Too many clients at once.", "Taps left open.", "Close some."),
    "bad_configuration": ("The file is wrong, and nothing was changed.", "Each mistake is named.", "Correct it."),
    "zoom_refused": ("Zoom's REST API refused.", "The message has Zoom's code.", "`explain` that code."),
    "failed": ("It could not be done.", "The message says why.", "See the message."),
    "internal": ("A bug in rtmsd.", "The log has a traceback.", "Report it."),
}

FAILURES: Final[Mapping[str, Texts]] = {
    "protocol_version": (
        "Zoom answered a handshake in another version of the protocol than rtmsd asked for: the stream failed at once.",
        "A server that speaks the second version alone, as Zoom Phone may, or one that does not know it.",
        "Try app.protocol_version = 2 (or 1 again); rtmsd speaks JSON over WebSocket, no protobuf.",
    ),
    "no_websocket_address": (
        "Zoom named media servers, none of them with a WebSocket address: the stream failed at once.",
        "The app asks for another transport, as SRT (srt://...), or lacks the scopes of all media.",
        "Choose WebSocket as the app's transport, and check its scopes; rtmsd speaks no SRT.",
    ),
}
"""Failures of a stream that Zoom has no number for."""

WORDS: Final[Mapping[str, Mapping[str, Meaning]]] = {
    kind: {name: Meaning(str(name), *texts) for name, texts in rows.items()}
    for kind, rows in {
        "rtmsd state": STREAM_STATES,
        "gap cause": GAP_CAUSES,
        "daemon state": DAEMON_STATES,
        "link state": LINK_STATES,
        "trouble": TROUBLES,
        "member state": MEMBER_STATES,
        "stream flag": STREAM_FLAGS,
        "delivery state": DELIVERY_STATES,
        "webhook result": WEBHOOK_RESULTS,
        "counter": COUNTERS,
        "corrupt kind": CORRUPT_KINDS,
        "video choice": VIDEO_RESULTS,
        "failure": FAILURES,
        "problem": PROBLEMS,
    }.items()
}
"""By kind."""
