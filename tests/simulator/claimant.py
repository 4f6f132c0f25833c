"""A process that wants a stream: it asks for signaling until it is accepted, then answers keep-alives.

Its arguments are the URL and message 1. It prints the status of each answer, and "closed" when it loses signaling.
"""

import json
import sys

import trio
from trio_websocket import ConnectionClosed, open_websocket_url

_AGAIN_S = 0.1


async def claim(url: str, handshake: str) -> None:
    while True:
        async with open_websocket_url(url) as websocket:
            await websocket.send_message(handshake)
            status = json.loads(await websocket.get_message())["status_code"]
            print(status, flush=True)
            try:
                while True:
                    message = json.loads(await websocket.get_message())
                    if message["msg_type"] == 12:
                        await websocket.send_message(json.dumps({**message, "msg_type": 13}))
            except ConnectionClosed:
                if status == 0:
                    print("closed", flush=True)
                    return
        await trio.sleep(_AGAIN_S)


if __name__ == "__main__":
    trio.run(claim, sys.argv[1], sys.argv[2])
