"""rtmsd's own receive path and nothing else: no recording, no signaling. Runs where rtmsd is installed."""

import contextlib

import trio
from common import CA, COUNT, HANDSHAKE, Tally, url

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConnectionLost
from rtmsd.protocol.media_data import decode_batch
from rtmsd.transport.websocket import open_media


class Handler:
    def __init__(self, number, tally):
        self.number = number
        self.tally = tally

    def consume(self, batch):
        decode_batch(batch, self, self.control)

    def audio(self, user_id, user_name, timestamp_ms, data):
        tally = self.tally
        tally.messages += 1
        tally.data_bytes += len(data)
        if self.number < 5:
            tally.note_age(data)

    video = share = audio

    def text(self, data):
        raise NotImplementedError

    corrupt = text

    def control(self, raw):
        self.tally.opened()


async def receive(number, zoom, tally):
    async with open_media(url(number), zoom, 30, Handler(number, tally).consume) as socket:
        await socket.send(HANDSHAKE)
        with contextlib.suppress(ConnectionLost):
            await socket.wait_closed()


async def main():
    tally = Tally()
    zoom = ZoomConfig(allowed_hosts=("127.0.0.1",), allow_plain_ws=True, ca_file=CA)
    async with trio.open_nursery() as nursery:
        for number in range(COUNT):
            nursery.start_soon(receive, number, zoom, tally)
    tally.report()


trio.run(main)
