"""aiohttp's client, with the fastest decoder."""

import asyncio

import aiohttp
from common import COUNT, HANDSHAKE, Tally, ssl_context, url


async def receive(number, session, tally):
    async with session.ws_connect(url(number), max_msg_size=0, compress=0) as socket:
        await socket.send_str(HANDSHAKE)
        await socket.receive()
        tally.opened()
        async for message in socket:
            tally.take(number, message.data)


async def main():
    tally = Tally()
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl_context() or True)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(receive(number, session, tally) for number in range(COUNT)))
    tally.report()


asyncio.run(main())
