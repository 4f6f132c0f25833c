"""Explanations of Zoom's numbers: their meaning, usual cause and remedy, for `rtmsctl explain`. Imports little."""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from rtmsd.protocol.enums import SessionState, StopReason, StreamState
from rtmsd.protocol.status_texts import STATUS_TEXTS, WAIT, Texts

_Number = TypeVar("_Number", bound=enum.IntEnum)


class Meaning(NamedTuple):
    """The explanation of one number.

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


_NOTHING: Final = "Nothing: this is a normal end."
_BUSY: Final = "The network, or this host was too busy to answer keep-alives."
_CUT: Final = "rtmsd was killed, or a proxy in between cut it."
_NOT_MEANT: Final = "Ask the host, if it was not meant."
_RESTART: Final = (
    "The stream is dead: start it again from the client or with `rtmsctl session start`;"
    ' with streams.restart_policy = "api" rtmsd does.'
)


def _meanings(texts: Mapping[_Number, Texts]) -> Mapping[int, Meaning]:
    return {number: Meaning(number.name, *words) for number, words in texts.items()}


STATUS_CODES: Final = _meanings(STATUS_TEXTS)

_STOP_TEXTS: Final[Mapping[StopReason, Texts]] = {
    StopReason.UNDEFINED: ("The stream ended without a reason.", "Zoom gave none.", _NOTHING),
    StopReason.HOST_TRIGGERED: ("The host stopped the stream.", "Stopped in the client.", _NOTHING),
    StopReason.USER_TRIGGERED: ("The app's user stopped the stream.", "Stopped in the client.", _NOTHING),
    StopReason.USER_LEFT: ("The app's user left.", "The stream belongs to that user.", _NOTHING),
    StopReason.USER_EJECTED: ("The host removed the app's user.", "The stream belongs to that user.", _NOTHING),
    StopReason.HOST_DISABLED_APP: ("The host switched the app off.", "Done in the client.", _NOT_MEANT),
    StopReason.MEETING_ENDED: ("The session or meeting has ended.", "Everybody left, or the host ended it.", _NOTHING),
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
        _NOT_MEANT,
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
        _BUSY,
        _RESTART,
    ),
    StopReason.DATA_CONNECTION_INTERRUPTED: ("A media connection was lost, and not back in time.", _BUSY, _RESTART),
    StopReason.SIGNAL_CONNECTION_CLOSED_ABNORMALLY: ("Our side dropped the signaling connection.", _CUT, _RESTART),
    StopReason.DATA_CONNECTION_CLOSED_ABNORMALLY: ("Our side dropped a media connection.", _CUT, _RESTART),
    StopReason.EXIT_SIGNAL: ("Zoom's RTMS server was shut down.", "Maintenance at Zoom's.", _RESTART),
    StopReason.AUTHENTICATION_FAILURE: (
        "Zoom ended the stream because it could not identify us.",
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
}
STOP_REASONS: Final = _meanings(_STOP_TEXTS)

_OBSERVE: Final = "Nothing: rtmsd follows it by itself."

STREAM_STATES: Final[Mapping[StreamState, Texts]] = {
    StreamState.INACTIVE: ("The stream does not run yet.", "Its first state.", _OBSERVE),
    StreamState.ACTIVE: ("Media are being sent.", "All connections are up.", _OBSERVE),
    StreamState.INTERRUPTED: (
        "Zoom lost one of our connections.",
        "The network, or keep-alives that were not answered; the reason beside it says which connection.",
        WAIT,
    ),
    StreamState.TERMINATING: ("The stream is about to end.", "The reason beside it says why.", _OBSERVE),
    StreamState.TERMINATED: ("The stream has ended for good.", "The reason beside it says why.", _OBSERVE),
    StreamState.PAUSED: ("No media are sent.", "All who shared media have paused.", _OBSERVE),
    StreamState.RESUMED: ("Media are sent again.", "A pause ended.", _OBSERVE),
}

SESSION_STATES: Final[Mapping[SessionState, Texts]] = {
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
        "See to the Developer Pack; `rtmsctl ps` shows the state of the stream.",
    ),
    3000: Meaning(
        "TEMPORARILY_UNAVAILABLE", "Zoom has trouble.", "Trying again, as rtmsd does, did not help.", "Try later."
    ),
}
"""Codes in the answers of Zoom's REST API. Source: protocol.md, section 3.3."""

TABLES: Final[Mapping[str, Mapping[int, Meaning]]] = {
    "stop reason": STOP_REASONS,
    "status code": STATUS_CODES,
    "stream state": _meanings(STREAM_STATES),
    "session state": _meanings(SESSION_STATES),
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
