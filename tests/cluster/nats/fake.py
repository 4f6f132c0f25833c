"""A server that says what a test wants, where a real one would not."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from rtmsd.transport.network import READ_BYTES


class FakeServer:
    """NATS's first words: INFO, CONNECT, PING, PONG; then whatever it was given to say.

    Attributes:
        received: all that came over each connection, as text.
        says: said once to each client that has connected; then the connection ends.
    """

    def __init__(self, info: Mapping[str, Any], says: bytes = b"") -> None:
        self._info = {
            "server_id": "fake",
            "version": "2.15.1",
            "headers": True,
            "max_payload": 1_048_576,
            "proto": 1,
        } | dict(info)
        self.says = says
        self.received: list[str] = []
        self.connected = trio.Event()
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def running(cls, info: Mapping[str, Any], says: bytes = b"") -> AsyncIterator["FakeServer"]:
        server = cls(info, says)
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
            server.url = f"nats://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            yield server
            nursery.cancel_scope.cancel()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one client, until it goes or all is said."""
        number = len(self.received)
        self.received.append("")
        try:
            async with stream:
                await stream.send_all(b"INFO " + json.dumps(self._info).encode() + b" \r\n")
                while data := await stream.receive_some(READ_BYTES):
                    self.received[number] += data.decode()
                    if b"PING\r\n" in data:
                        await stream.send_all(b"PONG\r\n" + self.says)
                        self.connected.set()
                        if self.says:
                            return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
