"""trio-websocket as it comes, with the fastest decoder."""

import contextlib

import trio
from common import COUNT, HANDSHAKE, Tally, ssl_context, url
from trio_websocket import ConnectionClosed, open_websocket_url


async def receive(number, tally):
    async with open_websocket_url(url(number), ssl_context=ssl_context(), max_message_size=2**25) as socket:
        await socket.send_message(HANDSHAKE)
        await socket.get_message()
        tally.opened()
        with contextlib.suppress(ConnectionClosed):
            while True:
                tally.take(number, await socket.get_message())


async def main():
    tally = Tally()
    async with trio.open_nursery() as nursery:
        for number in range(COUNT):
            nursery.start_soon(receive, number, tally)
    tally.report()


trio.run(main)
