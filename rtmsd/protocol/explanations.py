"""What Zoom's numbers mean in plain words, why they come, and what to do: for `rtmsctl explain`. Imports little."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from rtmsd.protocol.enums import SessionState, StatusCode, StopReason, StreamState


class Meaning(NamedTuple):
    """In words what a number means.

    Attributes:
        name: Zoom's name, without its prefix.
        meaning: what happened.
        cause: what usually brings it about.
        remedy: what a person should do, also when that is nothing.
    """

    name: str
    meaning: str
    cause: str
    remedy: str


_OUR_BUG: Final = "rtmsd and Zoom's server disagree on the message: a bug, or a change at Zoom's."
_REPORT: Final = "Look for a newer version of rtmsd; else report it with the log lines around it."
_WAIT: Final = "Nothing: rtmsd retries until the window ends."
_NOTHING: Final = "Nothing: this is a normal end."
_RESTART: Final = (
    "The stream is dead: start it again from the client or with `rtmsctl session start`;"
    ' with streams.restart_policy = "api" rtmsd does.'
)


def _not_supported(media: str, scope: str) -> tuple[str, str, str]:
    return (
        f"The app may not have {media}; the other media go on.",
        f"The scope {scope} is missing, the product does not offer {media}, or the host switched it off.",
        f"Add the scope in the Zoom app and start the stream anew, or take {media} out of media.types.",
    )


def _bad_param(what: str, key: str) -> tuple[str, str, str]:
    return (
        f"Zoom refuses what was asked for: the {what}.",
        "A combination that is not in Zoom's matrix of media parameters.",
        f"Change {key}; `rtmsd check` knows the matrix. If it finds no mistake, the matrix has changed at Zoom's.",
    )


STATUS_CODES: Final[Mapping[int, Meaning]] = {
    code: Meaning(code.name, *texts)
    for code, texts in {
        StatusCode.OK: ("The request was granted.", "All is well.", "Nothing."),
        StatusCode.INVALID_MESSAGE_TYPE: ("A message type that does not belong on this connection.", _OUR_BUG, _REPORT),
        StatusCode.INVALID_RTMS_STREAM_ID: (
            "Zoom knows no such stream any more.",
            "It has ended, or the reconnection window passed before rtmsd came back.",
            "Nothing can bring it back; start a new stream. If it comes at once, answer webhooks faster.",
        ),
        StatusCode.INVALID_SIGNATURE: (
            "Zoom does not accept the signature of the handshake.",
            "client_id or client_secret are wrong: swapped, of the development instead of the production app,"
            " of another app, or the webhook secret in the place of the client secret.",
            "Copy client_id and client_secret anew from the credentials page of the app that sent the webhook.",
        ),
        StatusCode.INVALID_PAYLOAD: ("A field of a message is missing or has the wrong type.", _OUR_BUG, _REPORT),
        StatusCode.INVALID_EVENTS: ("The list of subscribed events is unusable.", _OUR_BUG, _REPORT),
        StatusCode.INVALID_EVENT_TYPE: ("An event that cannot be subscribed to.", _OUR_BUG, _REPORT),
        StatusCode.INVALID_MEDIA_TYPE: ("The media type is missing or no number.", _OUR_BUG, _REPORT),
        StatusCode.DUPLICATE_SIGNAL_REQUEST: (
            "The stream already has a signaling connection; the new one was refused.",
            "Zoom has not noticed yet that the previous connection is gone, or a second program takes the same stream.",
            _WAIT + " If it does not end, look for another daemon or a sample running with the same app.",
        ),
        StatusCode.MEDIA_TYPE_AUDIO_NOT_SUPPORT: _not_supported("audio", "meeting:read:meeting_audio (or webinar's)"),
        StatusCode.MEDIA_TYPE_VIDEO_NOT_SUPPORT: _not_supported("video", "meeting:read:meeting_video (or webinar's)"),
        StatusCode.MEDIA_TYPE_DESKSHARE_NOT_SUPPORT: _not_supported(
            "share", "meeting:read:meeting_screenshare (or webinar's)"
        ),
        StatusCode.MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT: _not_supported(
            "transcript", "meeting:read:meeting_transcript (or webinar's)"
        ),
        StatusCode.MEDIA_TYPE_CHAT_NOT_SUPPORT: _not_supported("chat", "meeting:read:meeting_chat (or webinar's)"),
        StatusCode.MEDIA_TYPE_INVALID_VALUE: (
            "The media type is a number that means nothing.",
            _OUR_BUG,
            'Try media.connections = "split", which asks for one type at a time. ' + _REPORT,
        ),
        StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST: (
            "A connection for all media exists already, so that there may be no other.",
            "Zoom has not noticed yet that the previous connection is gone, or a second program takes the same stream.",
            _WAIT,
        ),
        StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION: (
            "This media type has a connection already.",
            "Zoom has not noticed yet that the previous connection is gone, or a second program takes the same stream.",
            _WAIT,
        ),
        StatusCode.INVALID_MEDIA_PARAMS: _bad_param("media parameters", "[media]"),
        StatusCode.INVALID_MEDIA_AUDIO_PARAMS: _bad_param("audio parameters", "[media.audio]"),
        StatusCode.INVALID_MEDIA_AUDIO_CONTENT_TYPE: _bad_param("packaging of audio", "media.audio.codec"),
        StatusCode.INVALID_MEDIA_AUDIO_SAMPLE_RATE: _bad_param("sample rate", "media.audio.sample_rate_hz"),
        StatusCode.INVALID_MEDIA_AUDIO_CHANNEL: _bad_param("number of channels", "media.audio.channels"),
        StatusCode.INVALID_MEDIA_AUDIO_CODEC: _bad_param("audio codec", "media.audio.codec"),
        StatusCode.INVALID_MEDIA_AUDIO_DATA_OPT: _bad_param("kind of audio streams", "media.audio.streams"),
        StatusCode.INVALID_MEDIA_AUDIO_SEND_RATE: _bad_param("length of a packet", "media.audio.send_rate_ms"),
        StatusCode.INVALID_MEDIA_VIDEO_PARAMS: _bad_param("video parameters", "[media.video]"),
        StatusCode.INVALID_MEDIA_VIDEO_CONTENT_TYPE: _bad_param("packaging of video", "[media.video]"),
        StatusCode.INVALID_MEDIA_VIDEO_CODEC: _bad_param("video codec", "media.video.codec or media.video.fps"),
        StatusCode.INVALID_MEDIA_VIDEO_RESOLUTION: _bad_param("resolution", "media.video.resolution"),
        StatusCode.INVALID_MEDIA_VIDEO_DATA_OPT: _bad_param("kind of video streams", "[media.video]"),
        StatusCode.INVALID_MEDIA_VIDEO_FPS: _bad_param("frame rate", "media.video.fps"),
        StatusCode.INVALID_MEDIA_DESKSHARE_PARAMS: _bad_param("share parameters", "[media.share]"),
        StatusCode.INVALID_MEDIA_DESKSHARE_CONTENT_TYPE: _bad_param("packaging of the share", "[media.share]"),
        StatusCode.INVALID_MEDIA_DESKSHARE_CODEC: _bad_param("codec", "media.share.codec or media.share.fps"),
        StatusCode.INVALID_MEDIA_DESKSHARE_RESOLUTION: _bad_param("resolution", "media.share.resolution"),
        StatusCode.INVALID_MEDIA_DESKSHARE_FPS: _bad_param("frame rate", "media.share.fps"),
        StatusCode.INVALID_MEDIA_TRANSCRIPT_PARAMS: _bad_param("transcript parameters", "[media.transcript]"),
        StatusCode.INVALID_MEDIA_TRANSCRIPT_CONTENT_TYPE: _bad_param("packaging of transcripts", "[media.transcript]"),
        StatusCode.INVALID_MEDIA_CHAT_PARAMS: _bad_param("chat parameters", "[media]"),
        StatusCode.INVALID_MEDIA_CHAT_CONTENT_TYPE: _bad_param("packaging of chat", "[media]"),
        StatusCode.INVALID_RTMS_SESSION_ID: ("Zoom knows no such sub-session.", "It has ended meanwhile.", "Nothing."),
        StatusCode.INVALID_CLIENT_READY_ACK: ("Zoom does not accept that we are ready.", _OUR_BUG, _REPORT),
        StatusCode.INVALID_EVENT_SUBSCRIBE: ("The subscription of an event is unusable.", _OUR_BUG, _REPORT),
        StatusCode.INVALID_MEDIA_TRANSCRIPT_SOURCE_LANGUAGE: _bad_param("language", "media.transcript.language"),
        StatusCode.DUPLICATE_VIDEO_SUBSCRIPTION: (
            "This participant's video is subscribed already.",
            "The same subscription was sent twice.",
            "Nothing: the video goes on.",
        ),
        StatusCode.INTERNAL_EXCEPTION: (
            "Something broke inside Zoom.",
            "Trouble in Zoom's data centre.",
            _WAIT + " If it lasts, look at status.zoom.us.",
        ),
        StatusCode.INVALID_MEDIA_TRANSCRIPT_TARGET_LANGUAGE: _bad_param(
            "language to translate to", "[media.transcript]"
        ),
        StatusCode.CHAT_SESSION_KEY_NOT_AVAILABLE: (
            "The chat cannot be read.",
            "Zoom has no key for it, as with end-to-end encryption.",
            'Take "chat" out of media.types for such meetings.',
        ),
    }.items()
}

STOP_REASONS: Final[Mapping[int, Meaning]] = {
    reason: Meaning(reason.name, *texts)
    for reason, texts in {
        StopReason.UNDEFINED: ("The stream ended without a reason.", "Zoom gave none.", _NOTHING),
        StopReason.HOST_TRIGGERED: ("The host stopped the stream.", "Stopped in the client.", _NOTHING),
        StopReason.USER_TRIGGERED: ("The app's user stopped the stream.", "Stopped in the client.", _NOTHING),
        StopReason.USER_LEFT: ("The app's user left.", "The stream belongs to that user.", _NOTHING),
        StopReason.USER_EJECTED: ("The host removed the app's user.", "The stream belongs to that user.", _NOTHING),
        StopReason.HOST_DISABLED_APP: (
            "The host switched the app off.",
            "Done in the client.",
            "Ask the host, if it was not meant.",
        ),
        StopReason.MEETING_ENDED: (
            "The session or meeting is over.",
            "Everybody left, or the host ended it.",
            _NOTHING,
        ),
        StopReason.STREAM_CANCELED: (
            "The stream was cancelled.",
            "A participant asked for it.",
            "Nothing; whether the recording may be kept is for you to find out.",
        ),
        StopReason.STREAM_REVOKED: (
            "Consent was revoked: everything stored for the stream must be deleted at once.",
            "The user or an administrator withdrew the permission.",
            "rtmsd has deleted its files and left a receipt; delete copies made elsewhere.",
        ),
        StopReason.ALL_APPS_DISABLED: (
            "All apps were switched off in the session.",
            "The host or an administrator did it.",
            "Ask the host, if it was not meant.",
        ),
        StopReason.INTERNAL_EXCEPTION: ("Something broke inside Zoom.", "Trouble in Zoom's data centre.", _RESTART),
        StopReason.CONNECTION_TIMEOUT: (
            "Zoom waited for our connection in vain.",
            "The webhook came late, was refused, or the way from here to Zoom is blocked.",
            _RESTART + " `rtmsctl doctor` looks for the cause.",
        ),
        StopReason.INSTANCE_CONNECTION_INTERRUPTED: (
            "The session's own connection inside Zoom was lost.",
            "Trouble between the session and Zoom's RTMS servers.",
            _RESTART,
        ),
        StopReason.SIGNAL_CONNECTION_INTERRUPTED: (
            "The signaling connection was lost, and not back in time.",
            "The network, or this host was too busy to answer keep-alives.",
            _RESTART,
        ),
        StopReason.DATA_CONNECTION_INTERRUPTED: (
            "A media connection was lost, and not back in time.",
            "The network, or this host was too busy to answer keep-alives.",
            _RESTART,
        ),
        StopReason.SIGNAL_CONNECTION_CLOSED_ABNORMALLY: (
            "Our side dropped the signaling connection.",
            "rtmsd was killed, or a proxy in between cut it.",
            _RESTART,
        ),
        StopReason.DATA_CONNECTION_CLOSED_ABNORMALLY: (
            "Our side dropped a media connection.",
            "rtmsd was killed, or a proxy in between cut it.",
            _RESTART,
        ),
        StopReason.EXIT_SIGNAL: ("Zoom's RTMS server was shut down.", "Maintenance at Zoom's.", _RESTART),
        StopReason.AUTHENTICATION_FAILURE: (
            "Zoom ended the stream because it could not tell who we are.",
            "Wrong credentials, or those of the development app used with the production app: often about a second"
            " after a handshake that went well.",
            "Check client_id and client_secret of the app that sent the webhook, then start the stream again.",
        ),
        StopReason.AWAIT_RECONNECTION_TIMEOUT: (
            "We did not reconnect in time.",
            "The network, or rtmsd, was down for longer than Zoom's window (about a minute).",
            _RESTART,
        ),
        StopReason.RECEIVER_REQUEST_CLOSE: (
            "We asked Zoom to close the stream.",
            "`rtmsctl stop`, or a daemon stopped with --end-streams.",
            _NOTHING,
        ),
        StopReason.CUSTOMER_DISCONNECTED: ("The customer hung up.", "The end of the engagement.", _NOTHING),
        StopReason.AGENT_DISCONNECTED: ("The agent hung up.", "The end of the engagement.", _NOTHING),
        StopReason.ADMIN_DISABLED_APP: (
            "An administrator switched the app off.",
            "Done in the account's settings.",
            "Ask the administrator, if it was not meant.",
        ),
        StopReason.KEEP_ALIVE_TIMEOUT: (
            "Three keep-alives stayed unanswered.",
            "This host was overloaded or asleep, or the network swallowed them.",
            _RESTART + " Look at rtmsd_event_loop_lag_seconds in the metrics.",
        ),
        StopReason.MANUAL_API_TRIGGERED: ("The stream was stopped through the API.", "Somebody's program.", _NOTHING),
        StopReason.STREAMING_NOT_SUPPORTED: (
            "The contact center queue does not offer streaming.",
            "Its settings.",
            "Switch streaming on for the queue.",
        ),
    }.items()
}

_OBSERVE: Final = "Nothing: rtmsd follows it by itself."

STREAM_STATES: Final[Mapping[int, Meaning]] = {
    state: Meaning(state.name, *texts)
    for state, texts in {
        StreamState.INACTIVE: ("The stream does not run yet.", "Its first state.", _OBSERVE),
        StreamState.ACTIVE: ("Media are being sent.", "All connections are up.", _OBSERVE),
        StreamState.INTERRUPTED: (
            "Zoom lost one of our connections.",
            "The network, or keep-alives that were not answered; the reason beside it says which connection.",
            _WAIT,
        ),
        StreamState.TERMINATING: ("The stream is about to end.", "The reason beside it says why.", _OBSERVE),
        StreamState.TERMINATED: ("The stream has ended for good.", "The reason beside it says why.", _OBSERVE),
        StreamState.PAUSED: ("No media are sent.", "All who shared media have paused.", _OBSERVE),
        StreamState.RESUMED: ("Media are sent again.", "A pause is over.", _OBSERVE),
    }.items()
}

SESSION_STATES: Final[Mapping[int, Meaning]] = {
    state: Meaning(state.name, *texts)
    for state, texts in {
        SessionState.INACTIVE: ("The sub-session does not run yet.", "Its first state.", _OBSERVE),
        SessionState.INITIALIZE: ("The sub-session is being set up.", "A user started RTMS.", _OBSERVE),
        SessionState.STARTED: ("The sub-session runs.", "A user started RTMS.", _OBSERVE),
        SessionState.PAUSED: ("The sub-session is paused.", "The user or the host paused it.", _OBSERVE),
        SessionState.RESUMED: ("The sub-session runs again.", "The user or the host resumed it.", _OBSERVE),
        SessionState.STOPPED: (
            "The sub-session has ended; the stream ends with its last one.",
            "The stop reason beside it says why.",
            _OBSERVE,
        ),
    }.items()
}

API_ERRORS: Final[Mapping[int, Meaning]] = {
    2308: Meaning(
        "NOT_ALLOWED_TO_START",
        "Zoom does not let the app be started.",
        "The user it is asked for is neither host nor alternative host, or joined anonymously instead of invited.",
        "Name a participant who may (--participant), or let the host start it.",
    ),
    2310: Meaning(
        "OPERATION_FAILED",
        "Zoom could not do it.",
        "The account has no active Developer Pack (a trial that expired, a basic account), or bought it a minute ago "
        "and it is still being set up; or the stream is not in a state for this.",
        "See to the Developer Pack; `rtmsctl ps` tells the state of the stream.",
    ),
    3000: Meaning(
        "TEMPORARILY_UNAVAILABLE", "Zoom has trouble.", "Trying again, as rtmsd does, did not help.", "Try later."
    ),
}
"""Codes in the answers of Zoom's REST API. Source: protocol.md, section 3.3."""

TABLES: Final[Mapping[str, Mapping[int, Meaning]]] = {
    "stop reason": STOP_REASONS,
    "status code": STATUS_CODES,
    "stream state": STREAM_STATES,
    "session state": SESSION_STATES,
    "API error": API_ERRORS,
}

_PREFIXES: Final = ("RTMS_", "STATUS_", "STOP_BC_")


class Explanation(NamedTuple):
    """`kind` is a key of `TABLES`."""

    kind: str
    number: int
    meaning: Meaning


def explain(what: str) -> list[Explanation]:
    """Return everything that a number or a name (with or without Zoom's prefix, in any case) can mean.

    The most frequent question, a stop reason, comes first; an unknown number or name gives an empty list.
    """
    name = what.strip().upper().replace("-", "_")
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return [
        Explanation(kind, int(number), meaning)
        for kind, table in TABLES.items()
        for number, meaning in table.items()
        if name in (str(int(number)), meaning.name)
    ]
