"""A client written from the protocol's text alone, and an endpoint for webhooks: neither uses the daemon."""

import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from rtmsd.protocol.signature import handshake_signature
from rtmsd.simulator import SimSession, SimulatorSettings, Timing, Tone

EVERYTHING = {"audio": {"data_opt": 2}, "transcript": {}}

PATIENT: Final = Timing(
    keep_alive_misses=60, signaling_window_s=1200, media_window_s=1300, attach_window_s=1200, buffer_s=1200
)
"""Windows for a client on a busy machine: Zoom's are three seconds at the speed of the tests."""

SETTINGS: Final = SimulatorSettings(speed=20, tone=Tone.MARKED, close_s=60, timing=PATIENT)


@attrs.define
class Client:
    """One stream's client. `messages` are control messages by socket, `packets` (user, timestamp, data) of audio."""

    session: SimSession
    settings: SimulatorSettings
    tls: ssl.SSLContext | None = None
    answers: bool = True
    packets: list[tuple[Any, int, bytes]] = attrs.Factory(list)
    transcripts: list[dict[str, Any]] = attrs.Factory(list)
    pictures: list[tuple[int, dict[str, Any]]] = attrs.Factory(list)
    messages: list[tuple[str, dict[str, Any]]] = attrs.Factory(list)
    closes: list[tuple[str, int]] = attrs.Factory(list)
    urls: dict[str, str] = attrs.Factory(dict)
    granted: dict[str, Any] = attrs.Factory(dict)
    raw_frames: list[str | bytes] = attrs.Factory(list)
    news: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    @property
    def who(self) -> dict[str, Any]:
        session = self.session
        signature = handshake_signature(
            self.settings.client_id, self.settings.client_secret, session.session_id, session.rtms_stream_id
        )
        return {
            session.id_key: session.session_id,
            "rtms_stream_id": session.rtms_stream_id,
            "signature": signature,
        }

    @asynccontextmanager
    async def socket(self, url: str) -> AsyncIterator[WebSocketConnection]:
        """Yield a WebSocket. trio-websocket leaves the TCP socket open when the server closes first; this does not."""
        parts = urlsplit(url)
        stream: Any = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
        if self.tls is not None:
            stream = trio.SSLStream(stream, self.tls, server_hostname=parts.hostname, https_compatible=True)
        async with stream, trio.open_nursery() as nursery:
            resource = f"{parts.path}?{parts.query}"
            websocket = await wrap_client_stream(nursery, stream, parts.netloc, resource, message_queue_size=1000)
            yield websocket
            with trio.move_on_after(1):
                await websocket.aclose()
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def signaling(self, url: str | None = None, **more: Any) -> AsyncIterator[WebSocketConnection]:
        """Yield a signaling socket that is up and subscribed."""
        async with self.socket(url or self.session.signaling_url) as websocket:
            answer = await ask(websocket, {"msg_type": 1, "protocol_version": 1, **self.who, **more})
            assert answer["msg_type"] == 2, answer
            assert answer["status_code"] == 0, answer
            self.urls = answer["media_server"]["server_urls"]
            events = [{"event_type": number, "subscribe": True} for number in (2, 3, 4, 5, 6, 8, 9)]
            await send(websocket, {"msg_type": 5, "events": events})
            async with self._reading("signaling", websocket):
                yield websocket

    @asynccontextmanager
    async def media(
        self, signaling: WebSocketConnection, media_type: int = 9, url: str = "all", **params: Any
    ) -> AsyncIterator[WebSocketConnection]:
        """Yield a media socket that streams."""
        async with self.socket(self.urls[url]) as websocket:
            request = {"msg_type": 3, **self.who, "media_type": media_type, "media_params": params or EVERYTHING}
            answer = await ask(websocket, request)
            assert answer["msg_type"] == 4, answer
            assert answer["status_code"] == 0, answer
            self.granted = answer["media_params"]
            await send(signaling, {"msg_type": 7, "rtms_stream_id": self.session.rtms_stream_id})
            async with self._reading("media", websocket):
                yield websocket

    @asynccontextmanager
    async def _reading(self, name: str, websocket: WebSocketConnection) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, name, websocket)
            yield
            nursery.cancel_scope.cancel()

    async def _read(self, name: str, websocket: WebSocketConnection) -> None:
        try:
            while True:
                await self._take(name, websocket, await websocket.get_message())
                self.news.unpark_all()
        except ConnectionClosed as exc:
            self.closes.append((name, exc.reason.code if exc.reason else 1006))
            self.news.unpark_all()

    async def _take(self, name: str, websocket: WebSocketConnection, raw: str | bytes) -> None:
        try:
            message = json.loads(raw)
            number = message["msg_type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self.raw_frames.append(raw)
            return
        if number == 14 and isinstance(message.get("content", {}).get("data"), str):
            self.raw_frames.append(raw)
            self._take_audio(message["content"])
        elif number in (15, 16):
            self.pictures.append((number, message["content"]))
        elif number == 17:
            self.transcripts.append(message["content"])
        else:
            self.messages.append((name, message))
            if number == 12 and self.answers:
                await send(websocket, {**message, "msg_type": 13})

    def _take_audio(self, content: dict[str, Any]) -> None:
        with contextlib.suppress(ValueError):
            data = base64.b64decode(content["data"], validate=True)
            self.packets.append((content.get("user_id", content.get("channel_id")), content["timestamp"], data))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition that only a received message can fulfil."""
        with trio.fail_after(60):
            while not condition():
                await self.news.park()

    async def more(self, count: int) -> None:
        """Wait for more than `count` further packets."""
        so_far = len(self.packets)
        await self.until(lambda: len(self.packets) > so_far + count)

    async def closed(self, count: int) -> None:
        """Wait for the close of `count` connections in total."""
        await self.until(lambda: len(self.closes) == count)

    def of_type(self, number: int) -> list[dict[str, Any]]:
        return [message for _, message in self.messages if message["msg_type"] == number]

    def events(self, number: int) -> list[dict[str, Any]]:
        return [message["event"] for message in self.of_type(6) if message["event"]["event_type"] == number]


async def send(websocket: WebSocketConnection, message: dict[str, Any]) -> None:
    await websocket.send_message(json.dumps(message))


async def ask(websocket: WebSocketConnection, message: dict[str, Any]) -> dict[str, Any]:
    await send(websocket, message)
    answer: dict[str, Any] = json.loads(await websocket.get_message())
    return answer


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for a condition without a message to announce it."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


@attrs.define
class Endpoint:
    """A webhook endpoint that keeps (headers, body) of each request and answers with the next of `statuses`, or 200."""

    url: str
    requests: list[tuple[dict[str, str], bytes]] = attrs.Factory(list)
    statuses: list[int] = attrs.Factory(list)
    answer: Callable[[bytes], bytes] = lambda body: b""
    news: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        async with stream:
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            head, _, body = received.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")[1:]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive_some()
            self.requests.append((headers, body))
            status = self.statuses.pop(0) if self.statuses else 200
            answer = self.answer(body)
            await stream.send_all(
                b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (status, len(answer), answer)
            )
            self.news.unpark_all()

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    async def until(self, count: int) -> None:
        with trio.fail_after(60):
            while len(self.requests) < count:
                await self.news.park()


@asynccontextmanager
async def open_endpoints(count: int) -> AsyncIterator[list[Endpoint]]:
    """Serve so many endpoints."""
    async with trio.open_nursery() as nursery:
        endpoints = []
        for _ in range(count):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            endpoints.append(Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/webhook"))
            nursery.start_soon(trio.serve_listeners, endpoints[-1].serve, listeners)
        yield endpoints
        nursery.cancel_scope.cancel()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoints(1) as [endpoint]:
        yield endpoint
