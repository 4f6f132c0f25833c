"""JetStream's API, by requests. What gets no answer is sent again until its time is up.

Source: NATS documentation, "JetStream wire API reference" and ADR-9, ADR-43; error codes from the server's errors.json.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.client import Message
from rtmsd.cluster.engines.nats.connection import NO_HEADERS, Connection
from rtmsd.cluster.engines.nats.link import Denied

TRY_S: Final = 1.0
"""A request that a server took with it when it died is sent again after this time."""
_AGAIN_S: Final = 0.05
"""No leader is there yet, or another write is in flight."""

_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_WRONG_SEQUENCE: Final = 10071
_IN_FLIGHT: Final = 10164
_BUSY: Final = 503  # as a status: no leader, or overloaded


class WrongSequence(Exception):
    """The condition of a write does not hold."""


class ApiError(Away):
    """The servers refuse a request for a reason that repeating does not change soon: a full disk, say."""


@attrs.frozen
class Stored:
    """A message of a stream."""

    sequence: int
    subject: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Place:
    """The numbers of a message that a consumer delivers: in the stream, and in all that it delivers.

    Attributes:
        pending: how many there are behind it.
    """

    sequence: int
    consumer_sequence: int
    pending: int


def place_of(message: Message) -> Place | None:
    """Read the subject on which JetStream expects acknowledgements: it numbers the message."""
    parts = message.reply.split(".")
    if parts[:2] != ["$JS", "ACK"]:
        return None
    # With a domain there are two parts more in front, and perhaps one behind.
    fields = parts[4:9] if len(parts) == 9 else parts[6:11]
    try:
        _, sequence, consumer_sequence, _, pending = map(int, fields)
    except ValueError:
        return None
    return Place(sequence, consumer_sequence, pending)


@attrs.frozen
class RefusedWrite:
    """A write that was not done, and why: a full disk, no leader."""

    subject: str
    why: str


class JetStream:
    """The API, over one connection.

    Attributes:
        trouble: the reason for which nothing must be asked at all; None: there is none.
        refused: the latest write, if it was not done; None: it was.
    """

    def __init__(self, connection: Connection, *, answer_s: float) -> None:
        self._connection = connection
        self._answer_s = answer_s
        self.trouble: str | None = None
        self.refused: RefusedWrite | None = None

    async def store(
        self,
        subject: str,
        data: bytes,
        *,
        only_if: tuple[str, int] | None = None,
        replaces: bool = False,
        keep_s: int | None = None,
    ) -> int:
        """Store a message. Returns its sequence number.

        Args:
            only_if: a subject, and the sequence number that its newest message must have; 0: it has none.
            replaces: what the subject has had before is forgotten.
            keep_s: it is forgotten after this time.

        Raises:
            WrongSequence: of `only_if`.
            Away: no answer; it may have been stored.
        """
        headers = {}
        if only_if is not None:
            fence, sequence = only_if
            headers["Nats-Expected-Last-Subject-Sequence"] = str(sequence)
            if fence != subject:
                headers["Nats-Expected-Last-Subject-Sequence-Subject"] = fence
        if replaces:
            headers["Nats-Rollup"] = "sub"
        if keep_s is not None:
            headers["Nats-TTL"] = f"{keep_s}s"
        try:
            stored = _stored(await self._ask(subject, data, headers))
        except Away as exc:
            self.refused = RefusedWrite(subject, str(exc))
            raise
        except WrongSequence:
            self.refused = None
            raise
        self.refused = None
        return stored

    async def newest(self, stream: str, subject: str) -> Stored | None:
        """Return the newest message on a subject, which may have wildcards; from the stream's leader.

        Raises:
            Away: no answer.
        """
        return await self._get(stream, {"last_by_subj": subject})

    async def next(self, stream: str, subject: str, *, after: int) -> Stored | None:
        """Return the first message on a subject, which may have wildcards, that was stored after a sequence number.

        Raises:
            Away: no answer.
        """
        return await self._get(stream, {"seq": after + 1, "next_by_subj": subject})

    async def _get(self, stream: str, which: Mapping[str, Any]) -> Stored | None:
        answer = await self._api(f"STREAM.MSG.GET.{stream}", which)
        if _code(answer) == _NO_MESSAGE:
            return None
        match answer:
            case {"message": {"seq": int(sequence), "subject": str(subject), **message}}:
                data = message.get("data", "")
                return Stored(sequence, subject, base64.b64decode(data) if isinstance(data, str) else b"")
        raise _refusal(answer)

    async def purge(self, stream: str, subject: str) -> None:
        """Forget all messages on a subject, which may have wildcards.

        Raises:
            Away: no answer; it may have been done.
        """
        _expect(await self._api(f"STREAM.PURGE.{stream}", {"filter": subject}), "success")

    async def info(self, stream: str) -> Mapping[str, Any] | None:
        """Return configuration ("config") and state of a stream; None: there is no such stream.

        Raises:
            Away: no answer.
        """
        answer = await self._api(f"STREAM.INFO.{stream}")
        if _code(answer) == _NO_STREAM:
            return None
        _expect(answer, "config")
        return answer

    async def create(self, config: Mapping[str, Any]) -> None:
        """Create a stream; no change where it is there and the same.

        Raises:
            Away: no answer, or it is there and different.
        """
        _expect(await self._api(f"STREAM.CREATE.{config['name']}", config), "config")

    async def update(self, config: Mapping[str, Any]) -> None:
        """Change a stream.

        Raises:
            Away: no answer, or it cannot be changed so.
        """
        _expect(await self._api(f"STREAM.UPDATE.{config['name']}", config), "config")

    async def follow(self, stream: str, subject: str, *, name: str, inbox: str, heartbeat_s: float) -> int:
        """Have the newest message of each subject, and then all new ones, delivered to an inbox. Returns how many there
        are of the former. It ends by itself when nobody listens there.

        Raises:
            Away: no answer; it may have begun.
        """
        return await self._consume(
            stream,
            subject,
            name,
            {
                "deliver_subject": inbox,
                "deliver_policy": "last_per_subject",
                "ack_policy": "none",
                "flow_control": True,
                "idle_heartbeat": int(heartbeat_s * 1e9),
                "inactive_threshold": int(10e9),
            },
        )

    async def deliver(self, stream: str, subject: str, *, after: int, most: int, name: str, inbox: str) -> int:
        """Have messages on a subject that were stored after a sequence number delivered to an inbox, the first `most`
        of them. Returns how many there are. Who delivers may not have the newest. It ends by itself.

        Raises:
            Away: no answer; it may have begun.
        """
        return await self._consume(
            stream,
            subject,
            name,
            {
                "deliver_subject": inbox,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": after + 1,
                "ack_policy": "explicit",  # and none is acknowledged
                "max_ack_pending": most,
                "inactive_threshold": int(1e9),
            },
        )

    async def _consume(self, stream: str, subject: str, name: str, how: Mapping[str, Any]) -> int:
        """Create a consumer that lasts as long as it is listened to. Returns how much it has to deliver so far."""
        config = {
            "name": name,
            "filter_subject": subject,
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            **how,
        }
        answer = await self._api(
            f"CONSUMER.CREATE.{stream}.{name}.{subject}", {"stream_name": stream, "config": config}
        )
        _expect(answer, "config")
        pending = answer.get("num_pending")
        return pending if isinstance(pending, int) else 0

    async def _api(self, what: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        body = b"" if arguments is None else msgspec.json.encode(arguments)
        return await self._ask(f"$JS.API.{what}", body)

    async def _ask(self, subject: str, data: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Mapping[str, Any]:
        """Send a request, again and again while there is hope. Returns the answer, be it an error."""
        if self.trouble is not None:
            raise Away(self.trouble)
        deadline = trio.current_time() + self._answer_s
        error: Away | None = None
        while True:
            left_s = deadline - trio.current_time()
            if error is not None and left_s < _AGAIN_S:  # no time for an answer: what was wrong before says more
                raise error
            try:
                if self._connection.server is None:
                    with trio.move_on_after(left_s):
                        await self._connection.up()
                    left_s = deadline - trio.current_time()
                message = await self._connection.request(subject, data, headers, timeout_s=max(min(TRY_S, left_s), 0.0))
                answer = _read(message)
                if not _is_passing(answer):
                    return answer
                error = Away(_text(answer))
            except Denied:
                raise
            except Away as exc:
                error = exc
            await trio.sleep_until(min(trio.current_time() + _AGAIN_S, deadline))


def _read(message: Message) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(message.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Away("the answer is not JSON")
    return answer


def _error(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    error = answer.get("error")
    return error if isinstance(error, dict) else {}


def _code(answer: Mapping[str, Any]) -> object:
    return _error(answer).get("err_code")


def _is_passing(answer: Mapping[str, Any]) -> bool:
    error = _error(answer)
    return error.get("err_code") == _IN_FLIGHT or error.get("code") == _BUSY


def _text(answer: Mapping[str, Any]) -> str:
    error = _error(answer)
    return f"{error.get('description', 'an answer without sense')} (error {error.get('err_code', '?')})"


def _stored(answer: Mapping[str, Any]) -> int:
    match answer:
        case {"seq": int(sequence)} if sequence > 0:
            return sequence
    raise _refusal(answer)


def _expect(answer: Mapping[str, Any], key: str) -> Any:
    if _error(answer) or key not in answer:
        raise _refusal(answer)
    return answer[key]


def _refusal(answer: Mapping[str, Any]) -> Exception:
    return (WrongSequence if _code(answer) == _WRONG_SEQUENCE else ApiError)(_text(answer))
