"""The `websockets` library under asyncio, decoding with the standard library: how Zoom's Python sample receives."""

import asyncio
import contextlib

from common import COUNT, HANDSHAKE, Tally, payload_plain, ssl_context, url
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def receive(number, tally):
    async with connect(url(number), ssl=ssl_context(), max_size=None, compression=None) as socket:
        await socket.send(HANDSHAKE)
        await socket.recv()
        tally.opened()
        with contextlib.suppress(ConnectionClosed):
            while True:
                tally.take(number, await socket.recv())


async def main():
    tally = Tally(payload_plain)
    await asyncio.gather(*(receive(number, tally) for number in range(COUNT)))
    tally.report()


asyncio.run(main())
