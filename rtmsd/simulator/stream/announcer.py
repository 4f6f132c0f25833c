"""The server's messages on signaling: events, states, and answers to requests for them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rtmsd.protocol.enums import EventType, MsgType, SessionState, StatusCode, StopReason, StreamState
from rtmsd.protocol.reading import Fields
from rtmsd.simulator.model.record import ControlMessage, Record
from rtmsd.simulator.stream import checks
from rtmsd.simulator.wire.links import Links
from rtmsd.simulator.wire.wire import WireState

_UNSOLICITED = frozenset({EventType.FIRST_PACKET_TIMESTAMP, EventType.MEDIA_CONNECTION_INTERRUPTED})


class Announcer:
    """Sends on the signaling connection while there is one; without one a message is neither sent nor recorded.

    Attributes:
        session_state, stream_state: as last announced; there is one sub-session.
    """

    def __init__(
        self, links: Links, rtms_session_id: str, time_keys: Sequence[str], record: Record, now_ms: Callable[[], int]
    ) -> None:
        self.session_state = SessionState.INACTIVE
        self.stream_state = StreamState.INACTIVE
        self._links = links
        self._rtms_session_id = rtms_session_id
        self._time_keys = time_keys
        self._record = record
        self._now_ms = now_ms
        self._subscribed: set[int] = set()
        self._codes: set[int] = set()
        self._speaker: int | None = None  # the active one last announced

    def unsubscribe(self) -> None:
        """Drop all subscriptions: a new connection has none."""
        self._subscribed.clear()
        self._codes.clear()

    @property
    def tells_of_cameras(self) -> bool:
        """Whether the client hears of cameras that are turned on and off."""
        return self._subscribed >= {EventType.PARTICIPANT_VIDEO_ON, EventType.PARTICIPANT_VIDEO_OFF}

    def post(self, fields: Fields) -> None:
        """Send any object."""
        connection = self._links.signaling
        if connection is not None:
            connection.post(fields)
            if connection.wire.state in (WireState.OPEN, WireState.STALLED):
                sent = ControlMessage(connection=connection.number, at_ms=self._now_ms(), fields=fields)
                self._record.sent.append(sent)

    def stamped(self, msg_type: MsgType, **fields: Any) -> None:
        """Send a message with the time."""
        self.post({"msg_type": int(msg_type), **fields, "timestamp": self._now_ms()})

    def session(self, state: SessionState, reason: StopReason | None = None) -> None:
        """Announce a state of the sub-session (message 9), the reason of its end under both documented names."""
        self.session_state = state
        reasons = {} if reason is None else {"stop_reason": int(reason), "reason": int(reason)}
        self.stamped(MsgType.SESSION_STATE_UPDATE, rtms_session_id=self._rtms_session_id, state=int(state), **reasons)

    def stream(self, state: StreamState, reason: StopReason | None = None) -> None:
        """Announce a state of the stream (message 8)."""
        self.stream_state = state
        reasons = {} if reason is None else {"reason": int(reason)}
        self.stamped(MsgType.STREAM_STATE_UPDATE, state=int(state), **reasons)

    def event(self, event_type: int, timestamp_ms: int | None = None, **more: Any) -> None:
        """Send an event (message 6) if the client subscribed to it, or need not."""
        if event_type in _UNSOLICITED or event_type in self._subscribed:
            at_ms = self._now_ms() if timestamp_ms is None else timestamp_ms
            event = {"event_type": int(event_type), **dict.fromkeys(self._time_keys, at_ms), **more}
            self.post({"msg_type": int(MsgType.EVENT_UPDATE), "event": event})

    def code_event(self, event_code: int, *, unasked: bool, **more: Any) -> None:
        """Send an event of the protocol's second version: `unasked`, or to who subscribed to it."""
        if unasked or event_code in self._codes:
            event = {"event_code": event_code, **dict.fromkeys(self._time_keys, self._now_ms()), **more}
            self.post({"msg_type": int(MsgType.EVENT_UPDATE), "event": event})

    def speaker(self, user_id: int, person: Mapping[str, Any], now_ms: int) -> None:
        """Announce the active speaker after a change."""
        if user_id != self._speaker:
            self._speaker = user_id
            self.event(EventType.ACTIVE_SPEAKER_CHANGE, now_ms, **person)

    def subscribe(self, choices: object, *, strict: bool) -> tuple[set[int], str | None]:
        """Apply the `events` of message 5; return the new subscriptions, and the name of a violation.

        Args:
            strict: False reads a bare number as a subscription, as Zoom's contact center sample sends it.
        """
        if not strict and isinstance(choices, list):
            choices = [{"event_type": each, "subscribe": True} if checks.is_int(each) else each for each in choices]
        if not isinstance(choices, list) or not all(map(_is_choice, choices)):
            return set(), "bad_subscription"
        for choice in choices:
            if "event_code" in choice:
                (self._codes.add if choice["subscribe"] else self._codes.discard)(choice["event_code"])
        choices = [choice for choice in choices if "event_type" in choice]
        fresh = {choice["event_type"] for choice in choices if choice["subscribe"]} - self._subscribed
        if EventType.ACTIVE_SPEAKER_CHANGE in fresh:
            self._speaker = None
        self._subscribed |= fresh
        self._subscribed -= {choice["event_type"] for choice in choices if not choice["subscribe"]}
        return fresh, "forbidden_subscription" if fresh & _UNSOLICITED else None

    def answer_session_state(self, asked: object) -> None:
        """Answer message 10 with 11."""
        if asked == self._rtms_session_id:
            answer: dict[str, Any] = {"state": int(self.session_state)}
        else:
            answer = {"status_code": int(StatusCode.INVALID_RTMS_SESSION_ID), "reason": "no such session"}
        self.stamped(MsgType.SESSION_STATE_RESP, rtms_session_id=asked, **answer)

    def answer_stream_state(self, asked: object) -> None:
        """Answer message 19 with 20."""
        self.stamped(MsgType.STREAM_STATE_RESP, rtms_stream_id=asked, state=int(self.stream_state))


def people(user_ids: Iterable[int], name: Callable[[int], str] | None = None) -> list[dict[str, Any]]:
    """Return the `participants` of an event, with names where the event has them."""
    return [{"user_id": user_id} | ({"user_name": name(user_id)} if name else {}) for user_id in user_ids]


def _is_choice(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("subscribe"), bool):
        return False
    numbers = [value[key] for key in ("event_type", "event_code") if key in value]
    return len(numbers) == 1 and all(map(checks.is_int, numbers))
