"""Zoom's REST API for streams: the token endpoint, and `PATCH .../rtms_app/status`.

An accepted request is answered at once and executed afterwards, as by Zoom. Plain HTTP, one request a connection.
"""

import base64
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
import h11
import jwt
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.products import ENDPOINTS
from rtmsd.simulator.model.settings import SimRoom, SimulatorSettings
from rtmsd.simulator.stream.phase import OVER
from rtmsd.simulator.stream.session import SimSession

API_PATH: Final = "/v2"
TOKEN_PATH: Final = "/oauth/token"
TOKEN_VALID_S: Final = 3600

_REQUEST_S: Final = 10.0
_MAX_BODY_BYTES: Final = 65536
_CHUNK_BYTES: Final = 16384


class ApiAnswer(NamedTuple):
    """The answer to a request, with additional headers as ("retry-after", "2")."""

    status: int
    content: Mapping[str, Any] = {}
    headers: tuple[tuple[str, str], ...] = ()


def error(status: int, code: int, message: str) -> ApiAnswer:
    """Return a refusal in Zoom's words."""
    return ApiAnswer(status, {"code": code, "message": message})


ACCEPTED: Final = ApiAnswer(202)
NOT_THE_HOST: Final = error(400, 2308, "Not allowed to start RTMS app.")
OPERATION_FAILED: Final = error(400, 2310, "Failed to perform RTMS app operation.")
UNAUTHORIZED: Final = error(401, 124, "Invalid access token.")
INVALID: Final = error(400, 300, "Validation Failed.")
NO_SUCH_SESSION: Final = error(404, 3001, "Session does not exist.")
NO_SUCH_PATH: Final = error(404, 404, "Not found.")
TRANSIENT: Final = error(400, 3000, "Service temporarily unavailable.")
RATE_LIMITED: Final = error(429, 429, "You have reached the maximum per-second rate limit.")


@attrs.frozen
class ApiRequest:
    """A request as received."""

    method: str
    target: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes


class Platform(Protocol):
    """The simulator as the API uses it."""

    settings: SimulatorSettings
    nursery: trio.Nursery
    rooms: dict[str, SimRoom]

    def stream_of(self, room: SimRoom) -> SimSession | None:
        """Return the newest stream of a session, live or ended."""

    async def start_stream(self, room: SimRoom) -> SimSession:
        """Start a stream and return after its webhook."""


class RestApi:
    """Serves the API for one simulator.

    Attributes:
        base_url, token_url: for `base_url` and `token_url` of a configuration's `[app.api]`.
        requests: all requests, also those for tokens, with the status of the answer.
    """

    def __init__(self, platform: Platform, address: str, clock_s: Callable[[], float] = time.time) -> None:
        self.base_url = f"http://{address}{API_PATH}"
        self.token_url = f"http://{address}{TOKEN_PATH}"
        self.requests: list[tuple[ApiRequest, int]] = []
        self._platform = platform
        self._clock_s = clock_s
        self._tokens: dict[str, float] = {}  # with the expiry of each
        self._forced: deque[ApiAnswer] = deque()

    def answer_next(self, answer: ApiAnswer, times: int = 1) -> None:
        """Give this answer to so many requests about streams, whatever they ask for."""
        self._forced.extend([answer] * times)

    def withdraw_tokens(self) -> None:
        """Invalidate all tokens issued so far."""
        self._tokens.clear()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Handle one connection; invalid HTTP gets no answer."""
        connection = h11.Connection(h11.SERVER)
        async with stream:
            try:
                with trio.move_on_after(_REQUEST_S):
                    request = await _receive(connection, stream)
                    answer = self._answer(request)
                    self.requests.append((request, answer.status))
                    await _send(connection, stream, answer)
            except (h11.ProtocolError, trio.BrokenResourceError):
                pass

    def _answer(self, request: ApiRequest) -> ApiAnswer:
        if urlsplit(request.target).path == TOKEN_PATH:
            return self._grant(request)
        return self._forced.popleft() if self._forced else self._judge(request)

    # Tokens

    def _grant(self, request: ApiRequest) -> ApiAnswer:
        settings = self._platform.settings
        basic = base64.b64encode(f"{settings.api_key}:{settings.api_secret}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {basic}":
            return ApiAnswer(400, {"reason": "Invalid client_id or client_secret", "error": "invalid_client"})
        fields = parse_qs(request.body.decode("ascii", "replace"))
        if fields != {"grant_type": ["account_credentials"], "account_id": [settings.account_id]}:
            return ApiAnswer(400, {"reason": "Bad Request", "error": "invalid_request"})
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self._clock_s() + TOKEN_VALID_S
        return ApiAnswer(200, {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_VALID_S})

    def _is_authorized(self, product: str, authorization: str) -> bool:
        """Whether a bearer token is valid: a JWT of the Video SDK, or one issued here, as the product's row says."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            return False
        if ENDPOINTS[product].auth == "oauth":
            return self._tokens.get(token, 0) > self._clock_s()
        settings = self._platform.settings
        try:
            claims = jwt.decode(
                token, settings.api_secret, algorithms=["HS256"], options={"require": ["iss", "iat", "exp"]}
            )
        except jwt.InvalidTokenError:
            return False
        return bool(claims["iss"] == settings.api_key)

    # Streams

    def _judge(self, request: ApiRequest) -> ApiAnswer:
        product, session_id = read_path(urlsplit(request.target).path)
        if not product or request.method != "PATCH":
            return NO_SUCH_PATH
        if not self._is_authorized(product, request.headers.get("authorization", "")):
            return UNAUTHORIZED
        room = self._platform.rooms.get(session_id)
        if room is None or ENDPOINTS.get(room.product) != ENDPOINTS[product]:
            return NO_SUCH_SESSION
        action = self._read_action(request.body, product)
        return INVALID if action is None else self._act(action, room)

    def _read_action(self, body: bytes, product: str) -> str | None:
        """Return the action, None for an invalid body. For sessions `settings` is optional."""
        try:
            asked = json.loads(body)
            settings = asked.get("settings", {})
            client_id = settings.get("client_id")
        except (ValueError, AttributeError):
            return None
        right = client_id == self._platform.settings.client_id or (product == "session" and client_id is None)
        action = asked.get("action")
        return action if right and isinstance(action, str) else None

    def _act(self, action: str, room: SimRoom) -> ApiAnswer:
        """Begin an action, unless the state of the stream forbids it."""
        start_soon = self._platform.nursery.start_soon
        stream = self._platform.stream_of(room)
        if stream is not None and stream.stop_reason is StopReason.MEETING_ENDED:
            return NO_SUCH_SESSION
        live = stream if stream is not None and stream.phase not in OVER else None
        match action:
            case "start" if live is None:
                start_soon(self._platform.start_stream, room)
            case "stop" if live is not None:
                start_soon(live.stop, StopReason.HOST_TRIGGERED)
            case "pause" if live is not None and not live.paused:
                live.pause()
            case "resume" if live is not None and live.paused:
                live.resume()
            case "start" | "stop" | "pause" | "resume":
                return OPERATION_FAILED
            case _:
                return INVALID
        return ACCEPTED


def read_path(path: str) -> tuple[str, str]:
    """Return product and id of a path, ("", "") for an unknown one.

    Zoom decodes the path before splitting it, and the id once more: an id with "/" has to be encoded twice.
    """
    decoded = unquote(path).removeprefix(API_PATH)
    for product, endpoint in ENDPOINTS.items():
        before, _, behind = endpoint.path.partition("{id}")
        session_id = decoded.removeprefix(before).removesuffix(behind)
        if decoded == f"{before}{session_id}{behind}" and "/" not in session_id:
            return product, unquote(session_id)
    return "", ""


async def _receive(connection: h11.Connection, stream: trio.SocketStream) -> ApiRequest:
    """Return one request.

    Raises:
        h11.ProtocolError: invalid, or too long.
    """
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(_CHUNK_BYTES))
            case h11.Request():
                head = event
            case h11.Data(data=data) if len(body) + len(data) <= _MAX_BODY_BYTES:
                body += data
            case h11.EndOfMessage() if head is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                return ApiRequest(head.method.decode(), head.target.decode(), headers, body)
            case _:
                raise h11.RemoteProtocolError("no request, or too long a one")


async def _send(connection: h11.Connection, stream: trio.SocketStream, answer: ApiAnswer) -> None:
    body = json.dumps(answer.content).encode() if answer.content else b""
    headers = [("content-length", str(len(body))), ("connection", "close"), *answer.headers]
    if body:
        headers.append(("content-type", "application/json"))
    for event in (h11.Response(status_code=answer.status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
        await stream.send_all(connection.send(event) or b"")
