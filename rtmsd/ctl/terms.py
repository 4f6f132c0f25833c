"""rtmsd's own words in plain ones: the states of a stream that `ps` shows, and the causes of gaps."""

from collections.abc import Mapping
from typing import Final

from rtmsd.protocol.explanations import Meaning

_BY_ITSELF: Final = "Nothing: rtmsd sees to it by itself."

STREAM_STATES: Final[Mapping[str, Meaning]] = {
    meaning.name: meaning
    for meaning in (
        Meaning(
            "connecting", "The stream was announced, and no media flows yet.", "Handshakes are under way.", _BY_ITSELF
        ),
        Meaning("active", "Media is received and recorded.", "All is well.", "Nothing."),
        Meaning(
            "paused", "Zoom sends no media for a while; that is no gap.", "Somebody paused the stream.", "Resume it."
        ),
        Meaning(
            "recovering",
            "A connection is lost, and rtmsd is within Zoom's window to come back.",
            "The network, a move of Zoom's server, or a restart of rtmsd.",
            "If it stays so: `rtmsctl inspect STREAM` says why, `rtmsctl doctor` looks at the network.",
        ),
        Meaning(
            "ended",
            "The stream is over and its files are complete.",
            "The stop reason says why; 19 when the window to reconnect passed.",
            "Nothing; `rtmsctl explain` tells the stop reason.",
        ),
        Meaning(
            "failed",
            "rtmsd gave the stream up; what was received before is kept.",
            "Zoom refused for good (credentials, scopes, parameters), or a bug of rtmsd's.",
            "`rtmsctl inspect STREAM` says why, the log has the details.",
        ),
        Meaning(
            "refused",
            "The start was answered with 503, and nothing of the stream is recorded.",
            "rtmsd was draining, the disk was low, or the state file could not be written.",
            "Zoom sends a start again after 5, 25 and 85 minutes: mend the cause until then (`rtmsctl doctor`).",
        ),
        Meaning(
            "revoked",
            "Everything recorded of the stream was deleted; only a receipt is left.",
            "Zoom demanded it with stop reason 8.",
            "Nothing; it must not be brought back.",
        ),
    )
}

GAP_CAUSES: Final[Mapping[str, Meaning]] = {
    meaning.name: meaning
    for meaning in (
        Meaning(
            "media_reconnect",
            "Media is missing because its connection was lost, and Zoom's buffer did not reach back to the loss.",
            "The network, or Zoom closed the connection.",
            "If it happens often: `rtmsctl doctor`, and look at the way to Zoom.",
        ),
        Meaning(
            "signaling_reconnect",
            "Media is missing because the signaling connection was lost, and media with it.",
            "The network, or keep-alives answered too late on a busy machine.",
            "If it happens often, look at the event loop's lag in `rtmsctl metrics`.",
        ),
        Meaning("server_failover", "Media is missing from Zoom's move to another server.", "Zoom.", "Nothing."),
        Meaning(
            "daemon_restart",
            "Media is missing from the time in which rtmsd did not run.",
            "It was stopped, upgraded or killed; or came back with a configuration that asks for less, until the end.",
            "`journalctl -u rtmsd` tells which; shorten upgrades.",
        ),
        Meaning(
            "dropped",
            "Media was received and could not be kept.",
            "The disk was full or stood still until recording.buffer_bytes was used up; or media still came half a "
            "minute after the stream's end.",
            "Make room, use a faster disk, or raise recording.buffer_bytes.",
        ),
        Meaning(
            "corrupt",
            "Media was received and could not be read.",
            "Zoom or something in between sent broken messages.",
            "Look at the counters in `rtmsctl inspect STREAM`; report it to Zoom if it goes on.",
        ),
        Meaning(
            "refused",
            "Media was asked for, and Zoom did not give it, or in a form that cannot be stored.",
            "The app lacks the scope, the parameters do not suit Zoom, or no connection came about before the end.",
            "`rtmsctl inspect STREAM` says why; add the scope to the app, or take the media out of media.types.",
        ),
        Meaning(
            "damaged",
            "Media was recorded, and is gone from its file: what the manifest had promised is not on disk any more.",
            "Somebody, or a program, cut, removed or replaced files of the recording; or the disk lost them.",
            "Look for `file_damaged` in events.jsonl and for other writers below recording.directory; use a backup.",
        ),
        Meaning(
            "node_takeover",
            "Media is missing from the time in which another node took the stream over.",
            "A node of the cluster was stopped or lost.",
            _BY_ITSELF,
        ),
    )
}
