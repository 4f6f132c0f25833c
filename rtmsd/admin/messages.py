"""The messages of admin commands: caller, request, replies, and refusals with their codes."""

import enum
import http
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import trio

from rtmsd.errors import RtmsdError
from rtmsd.http.messages import Reply
from rtmsd.sinks.ndjson import json_line

JsonObject: TypeAlias = Mapping[str, Any]

NDJSON_TYPE: Final = "application/x-ndjson"
AT_ONCE: Final = 100  # objects written between two turns of the event loop: 2 ms
PROBLEM_TYPE: Final = "application/problem+json"


class Access(enum.Enum):
    """The right that a command demands of its caller."""

    READ = "read"  # whoever can open the socket
    CONTROL = "control"  # root and the daemon's own uid


@attrs.frozen
class Caller:
    """The process at the other end of the socket, as the kernel knew it when it connected (SO_PEERCRED)."""

    pid: int
    uid: int

    def may(self, access: Access, own_uid: int) -> bool:
        return access is Access.READ or self.uid in (0, own_uid)


@attrs.frozen(kw_only=True)
class Request:
    """A request that matched a command.

    Attributes:
        params: the `{...}` of the command's path, percent-decoded; `rtms_stream_id` is the full id of a known stream.
        query: the command's own query parameters; one that was not sent is absent.
    """

    params: Mapping[str, str] = attrs.field(factory=dict)
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""

    def json_object(self) -> JsonObject:
        """Return the body as a JSON object; an empty body is an empty object.

        Raises:
            AdminError: BAD_REQUEST, for anything else.
        """
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as exc:
            raise AdminError(Code.BAD_REQUEST, f"the body is not JSON: {exc}") from exc
        if not isinstance(value, dict):
            raise AdminError(Code.BAD_REQUEST, "the body is not a JSON object")
        return value

    def flag(self, name: str) -> bool:
        """Return a query parameter that is 1 or 0, true or false; absent is false."""
        match self.query.get(name, "0"):
            case "1" | "true":
                return True
            case "0" | "false":
                return False
            case other:
                raise AdminError(Code.BAD_REQUEST, f"{name}={other}: write {name}=1 or {name}=0")


def json_reply(value: Any) -> Reply:
    return Reply(body=json_line(value))


async def json_list(values: Sequence[JsonObject]) -> bytes:
    """Return a list as JSON, written with turns for the event loop: it may be of thousands of streams."""
    parts: list[bytes] = []
    for begin in range(0, len(values), AT_ONCE):
        await trio.lowlevel.checkpoint()
        parts += [json_line(value).rstrip() for value in values[begin : begin + AT_ONCE]]
    return b"[" + b",".join(parts) + b"]\n"


class Code(enum.StrEnum):
    """The `code` of a refusal, stable for scripts, and the HTTP status of its answer."""

    status: http.HTTPStatus

    def __new__(cls, code: str, status: http.HTTPStatus) -> "Code":
        member = str.__new__(cls, code)
        member._value_, member.status = code, status
        return member

    BAD_REQUEST = "bad_request", http.HTTPStatus.BAD_REQUEST
    NOT_PERMITTED = "not_permitted", http.HTTPStatus.FORBIDDEN
    NO_SUCH_PATH = "no_such_path", http.HTTPStatus.NOT_FOUND
    NO_SUCH_STREAM = "no_such_stream", http.HTTPStatus.NOT_FOUND
    NO_SUCH_PARTICIPANT = "no_such_participant", http.HTTPStatus.CONFLICT
    NOT_IN_STREAM = "not_in_stream", http.HTTPStatus.NOT_FOUND
    NO_SUCH_RECORDING = "no_such_recording", http.HTTPStatus.NOT_FOUND
    NO_SUCH_NODE = "no_such_node", http.HTTPStatus.NOT_FOUND
    NO_SUCH_DELIVERY = "no_such_delivery", http.HTTPStatus.NOT_FOUND
    METHOD_NOT_ALLOWED = "method_not_allowed", http.HTTPStatus.METHOD_NOT_ALLOWED
    REQUEST_TIMEOUT = "request_timeout", http.HTTPStatus.REQUEST_TIMEOUT
    TIMED_OUT = "timed_out", http.HTTPStatus.GATEWAY_TIMEOUT
    AMBIGUOUS = "ambiguous", http.HTTPStatus.CONFLICT
    REFUSED_IN_STATE = "refused_in_state", http.HTTPStatus.CONFLICT
    TOO_LARGE = "too_large", http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    BAD_CONFIGURATION = "bad_configuration", http.HTTPStatus.UNPROCESSABLE_ENTITY
    ZOOM_REFUSED = "zoom_refused", http.HTTPStatus.BAD_GATEWAY
    TOO_MANY_CONNECTIONS = "too_many_connections", http.HTTPStatus.SERVICE_UNAVAILABLE
    FAILED = "failed", http.HTTPStatus.INTERNAL_SERVER_ERROR
    INTERNAL = "internal", http.HTTPStatus.INTERNAL_SERVER_ERROR


class AdminError(RtmsdError):
    """A refusal, reported to the caller.

    Attributes:
        code: for scripts; decides the HTTP status.
        detail: what is wrong and how to fix it, for a person.
        more: further members of the problem object (candidates, mistakes, ...).
        http_status: when it differs from that of `code`.
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        http_status: http.HTTPStatus | None = None,
        **more: Any,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.http_status = http_status or code.status
        self.detail = detail
        self.headers = headers or {}
        self.more = more

    def reply(self) -> Reply:
        """Return the refusal as an RFC 9457 problem object."""
        status = self.http_status
        problem = {
            "title": status.phrase,
            "status": status.value,
            "code": self.code,
            "detail": self.detail,
            **self.more,
        }
        return Reply(status=status, content_type=PROBLEM_TYPE, body=json_line(problem), headers=self.headers)
