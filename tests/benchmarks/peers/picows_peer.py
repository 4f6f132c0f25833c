"""picows, a WebSocket client in Cython under asyncio, with the fastest decoder."""

import asyncio

from common import COUNT, HANDSHAKE, Tally, ssl_context, url
from picows import WSListener, WSMsgType, ws_connect


class Listener(WSListener):
    def __init__(self, number, tally):
        self.number = number
        self.tally = tally
        self.is_ready = False

    def on_ws_connected(self, transport):
        transport.send(WSMsgType.TEXT, HANDSHAKE.encode())

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
        elif self.is_ready:
            self.tally.take(self.number, frame.get_payload_as_memoryview())
        else:
            self.is_ready = True
            self.tally.opened()


async def receive(number, tally):
    transport, _ = await ws_connect(lambda: Listener(number, tally), url(number), ssl_context=ssl_context())
    await transport.wait_disconnected()


async def main():
    tally = Tally()
    await asyncio.gather(*(receive(number, tally) for number in range(COUNT)))
    tally.report()


asyncio.run(main())
